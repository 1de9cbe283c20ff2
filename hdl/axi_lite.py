"""The AXI4-Lite slave: the bus on one side, the registers of a map on the other."""

from collections.abc import Collection

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.register_map import ADDRESS_BITS, Access, Register, RegisterMap

#: Answers of the bus.
OKAY, SLVERR = 0b00, 0b10


class AxiLite(wiring.Component):
    """Serve one access at a time, reads and writes in turn when both wait.

    It decodes addresses, checks every access against the map, keeps the registers that only the
    bus writes, and the flags that only the bus clears. The check takes a clock of its own, so that
    all that an access does begins at registers. One that passes is offered to the owner of the
    register (``select``, ``write`` or not) until ``done``; with ``done`` the owner may still refuse
    it. An access that is refused has no effect but its flags in ``REFUSED``.

    Args:
        register_map: The registers. One of them is ``REFUSED``, with a flag for each reason.
        owned: Names of registers of access ``READ_WRITE`` that their owner keeps.

    Attributes:
        stopped: Registers that only a stopped core lets change may change.
        done: The access on offer is served in this clock.
        data: Word being written.
        write: The access on offer is a write.
        select: By name of register: an access of it is on offer.
        value: By name of register, its word: an output for those that are kept here and for
            constants, else an input; none for what cannot be read.
        event: By name of register of access ``CLEAR_ON_ONE``: an input, flags to set.
        refuse: By name of flag of ``REFUSED``: an input, refuse the access on offer for that.
    """

    def __init__(self, register_map: RegisterMap, owned: Collection[str]) -> None:
        self._map = register_map
        self._owned = owned
        super().__init__(
            {
                "awaddr": In(ADDRESS_BITS),
                "awprot": In(3),
                "awvalid": In(1),
                "awready": Out(1),
                "wdata": In(32),
                "wstrb": In(4),
                "wvalid": In(1),
                "wready": Out(1),
                "bresp": Out(2),
                "bvalid": Out(1),
                "bready": In(1),
                "araddr": In(ADDRESS_BITS),
                "arprot": In(3),
                "arvalid": In(1),
                "arready": Out(1),
                "rdata": Out(32),
                "rresp": Out(2),
                "rvalid": Out(1),
                "rready": In(1),
                "stopped": In(1),
                "done": In(1),
                "data": Out(32),
                "write": Out(1),
            }
        )
        self.select = {each.name: Signal(name=f"select_{each.name}") for each in register_map}
        self.value = {
            each.name: Signal(32, init=each.reset, name=f"value_{each.name}")
            for each in register_map
            if each.readable
        }
        self.event = {
            each.name: Signal(32, name=f"event_{each.name}")
            for each in register_map
            if each.access is Access.CLEAR_ON_ONE
        }
        #: No access is in hand.
        self.idle = Signal()
        #: The access in hand is being checked.
        self.checking = Signal()
        self.refuse = {
            each.name: Signal(name=f"refuse_{each.name}") for each in register_map["REFUSED"].fields
        }

    def field(self, register: str, name: str) -> Value:
        """Return the bits of a field of a register that can be read."""
        field = self._map[register].field(name)
        return self.value[register][field.low : field.low + field.bits]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Written before they are looked at, as all that has no reset.
        address = Signal(ADDRESS_BITS, reset_less=True)
        strobes = Signal(4, reset_less=True)
        served = Signal()
        passed = Signal()

        decoded = {each.name: address == each.offset for each in self._map}
        hits = {name: Signal(name=f"hit_{name}", reset_less=True) for name in decoded}
        for name, select in self.select.items():
            m.d.comb += select.eq(hits[name] & passed)

        def hit(wanted: Collection[Register]) -> Value:
            return Cat(decoded[register.name] for register in wanted).any()

        misfit = Cat(
            decoded[each.name] & self._misfit(each) for each in self._map if each.writable
        ).any()
        # Why an access is refused whatever its owner says.
        found = {
            "ADDRESS": ~Cat(decoded.values()).any(),
            "ACCESS": Mux(
                self.write,
                hit([each for each in self._map if not each.writable]),
                hit([each for each in self._map if not each.readable]),
            ),
            "STROBES": self.write & (strobes != 0b1111),
            "VALUE": self.write & misfit,
            "BUSY": self.write & ~self.stopped & hit([each for each in self._map if each.stopped]),
        }
        faults = {name: Signal(name=f"fault_{name}", reset_less=True) for name in found}
        fault = Signal()
        refused = Signal()
        m.d.comb += [
            fault.eq(Cat(faults.values()).any()),
            refused.eq(fault | (passed & Cat(self.refuse.values()).any())),
        ]

        # One register is hit, so an OR of masked words is the multiplexer.
        chosen = Const(0, 32)
        for name, value in self.value.items():
            chosen = chosen | (value & hits[name].replicate(32))

        with m.FSM(name="bus") as bus:
            with m.State("IDLE"):
                # Who was served last waits for the other one.
                take_read = Signal()
                take_write = Signal()
                m.d.comb += [
                    take_write.eq(self.awvalid & self.wvalid & ~(self.write & self.arvalid)),
                    take_read.eq(self.arvalid & ~take_write),
                    self.awready.eq(take_write),
                    self.wready.eq(take_write),
                    self.arready.eq(take_read),
                ]
                with m.If(take_write | take_read):
                    m.d.sync += [
                        self.write.eq(take_write),
                        address.eq(Mux(take_write, self.awaddr, self.araddr)),
                        self.data.eq(self.wdata),
                        strobes.eq(self.wstrb),
                    ]
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [
                    *(hits[name].eq(value) for name, value in decoded.items()),
                    *(faults[name].eq(value) for name, value in found.items()),
                ]
                m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += [passed.eq(~fault), served.eq(fault | self.done)]
                with m.If(served):
                    response = Mux(refused, SLVERR, OKAY)
                    m.d.sync += [self.bresp.eq(response), self.rresp.eq(response)]
                    m.d.sync += self.rdata.eq(chosen & (~refused).replicate(32))
                    m.next = "RESPOND"
            with m.State("RESPOND"):
                m.d.comb += [self.bvalid.eq(self.write), self.rvalid.eq(~self.write)]
                with m.If(Mux(self.write, self.bready, self.rready)):
                    m.next = "IDLE"

        m.d.comb += [
            self.idle.eq(bus.ongoing("IDLE")),
            self.checking.eq(bus.ongoing("CHECK")),
        ]
        written = Signal()
        m.d.comb += written.eq(served & self.write & ~refused)
        for name, flag in zip(self.refuse, self.event["REFUSED"], strict=False):
            reason = faults.get(name, Const(0)) | (self.refuse[name] & passed)
            m.d.comb += flag.eq(served & reason)
        for register in self._map:
            name = register.name
            if register.access is Access.READ_WRITE and name not in self._owned:
                # What has other bits is refused: they need no flip-flops.
                with m.If(hits[name] & written):
                    m.d.sync += self.value[name].eq(self.data & register.mask)
        for name, event in self.event.items():
            # An event that meets its own clearing stays.
            cleared = self.data & (hits[name] & written).replicate(32)
            m.d.sync += self.value[name].eq((self.value[name] & ~cleared) | event)
        return m

    def _misfit(self, register: Register) -> Value:
        """Return whether ``data`` is nothing that can be written into a register."""
        misfit = (self.data & register.unused) != 0
        for field in register.fields:
            if field.largest < (1 << field.bits) - 1:
                misfit |= self.data[field.low : field.low + field.bits] > field.largest
        return misfit
