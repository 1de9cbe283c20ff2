"""Requests of a serial link carried out on the core's buses (``docs/board.md``)."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import unsigned_bits
from golden.parameters import Parameters
from hdl.board.frames import OCTET
from hdl.board.protocol import VERSION, Opcode, Status
from hdl.register_map import ADDRESS_BITS, RegisterMap


class Bridge(wiring.Component):
    """Carry out one request after the other, and answer each.

    Each ends after a bounded number of clocks: every access of the registers is answered by the
    core, and a sample is only given to a core that is running, which then takes it and gives its
    record. So an answer can always be waited for.

    Args:
        parameters: Of the core.
        depth: Bytes of the buffer in front, a power of two, which HELLO tells.

    Attributes:
        requests: Number, opcode and content of each.
        fault: Why there will be none until a HELLO; told when the requests before are done.
        expected: Number of the first request that was not taken, with ``fault``.
        told: ``fault`` is being told in this clock.
        answers: Number, content and status of each.
        s_axil_awaddr: And the like: the core's registers; the names are the core's, all flows are
            the other way round.
        s_axis_tdata: And the like: samples for the core.
        m_axis_tdata: And the like: records from it.
        busy: A request is in hand.
        sampled: A record was received in this clock.
    """

    def __init__(self, parameters: Parameters, depth: int) -> None:
        self._depth = depth
        self._map = RegisterMap.of(parameters)
        bus_bits = parameters.bus_bits
        self._lanes = bus_bits // 8
        members = {
            "requests": In(stream.Signature(OCTET)),
            "fault": In(unsigned_bits(max(Status))),
            "expected": In(8),
            "told": Out(1),
            "answers": Out(stream.Signature(OCTET)),
            "s_axil_awaddr": Out(ADDRESS_BITS),
            "s_axil_awprot": Out(3),
            "s_axil_awvalid": Out(1),
            "s_axil_awready": In(1),
            "s_axil_wdata": Out(32),
            "s_axil_wstrb": Out(4),
            "s_axil_wvalid": Out(1),
            "s_axil_wready": In(1),
            "s_axil_bresp": In(2),
            "s_axil_bvalid": In(1),
            "s_axil_bready": Out(1),
            "s_axil_araddr": Out(ADDRESS_BITS),
            "s_axil_arprot": Out(3),
            "s_axil_arvalid": Out(1),
            "s_axil_arready": In(1),
            "s_axil_rdata": In(32),
            "s_axil_rresp": In(2),
            "s_axil_rvalid": In(1),
            "s_axil_rready": Out(1),
            "s_axis_tdata": Out(bus_bits),
            "s_axis_tkeep": Out(self._lanes),
            "s_axis_tlast": Out(1),
            "s_axis_tvalid": Out(1),
            "s_axis_tready": In(1),
            "m_axis_tdata": In(bus_bits),
            "m_axis_tlast": In(1),
            "m_axis_tvalid": In(1),
            "m_axis_tready": Out(1),
            "busy": Out(1),
            "sampled": Out(1),
        }
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        octet = self.requests.payload.data
        last = self.requests.payload.last
        number = Signal(8)
        opcode = Signal(8)
        status = Signal(self.fault.shape())
        address = Signal(16)
        #: The content of the request has been taken.
        ended = Signal()
        #: Words of a READ that are still to be answered; 0 stands for 256.
        left = Signal(8)
        word = Signal(32)
        #: Byte of the word in hand.
        place = Signal(2)
        #: The record goes on behind the word in hand.
        more = Signal()
        #: Byte of the beat in hand.
        lane = Signal(range(self._lanes))

        given, taken = Signal(), Signal()
        m.d.comb += [
            taken.eq(self.requests.valid & self.requests.ready),
            given.eq(self.answers.valid & self.answers.ready),
            self.s_axil_awaddr.eq(address),
            self.s_axil_wdata.eq(word),
            self.s_axil_wstrb.eq(0b1111),
            self.s_axil_araddr.eq(address),
            self.s_axis_tlast.eq(ended),
        ]
        with m.If(taken):
            m.d.sync += ended.eq(last)

        def answer(octet: Value, *, last: bool = False) -> None:
            m.d.comb += [
                self.answers.valid.eq(1),
                self.answers.payload.data.eq(octet),
                self.answers.payload.last.eq(last),
            ]

        def malformed(*, over: Value) -> None:
            """Give the request up; what is left of it is dropped."""
            m.d.sync += status.eq(Status.MALFORMED)
            m.next = "DROP"
            with m.If(over):
                m.next = "STATUS"

        with m.FSM(name="bridge") as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.requests.ready.eq(1)
                m.d.sync += status.eq(Status.OKAY)
                with m.If(taken):
                    m.d.sync += number.eq(octet)
                    m.next = "NUMBER"
                with m.Elif(self.fault != Status.OKAY):
                    m.d.comb += self.told.eq(1)
                    m.d.sync += [number.eq(self.expected), status.eq(self.fault), ended.eq(1)]
                    m.next = "NUMBER"
            with m.State("NUMBER"):
                answer(number)
                with m.If(given):
                    m.next = "OPCODE"
                    with m.If(status != Status.OKAY):
                        m.next = "STATUS"
            with m.State("OPCODE"):
                m.d.comb += self.requests.ready.eq(1)
                m.d.sync += [opcode.eq(octet), place.eq(0), lane.eq(0)]
                with m.If(taken):
                    with m.If(last):
                        malformed(over=Const(1))
                    with m.Else():
                        with m.Switch(octet):
                            with m.Case(Opcode.HELLO):
                                m.next = "VERSION"
                            with m.Case(Opcode.READ, Opcode.WRITE):
                                m.next = "ADDRESS_LOW"
                            with m.Case(Opcode.SAMPLE):
                                m.d.sync += address.eq(self._map["STATUS"].offset)
                                m.next = "READ"
                            with m.Default():
                                malformed(over=Const(0))

            with m.State("VERSION"):
                answer(Const(VERSION, 8))
                with m.If(given):
                    m.next = "DEPTH"
            with m.State("DEPTH"):
                answer(Const(self._depth.bit_length() - 1, 8))
                with m.If(given):
                    m.next = "ECHO"
            with m.State("ECHO"):
                with m.If(self.requests.valid):
                    answer(octet)
                m.d.comb += self.requests.ready.eq(self.answers.ready)
                with m.If(taken & last):
                    m.next = "STATUS"

            with m.State("ADDRESS_LOW"):
                m.d.comb += self.requests.ready.eq(1)
                with m.If(taken):
                    m.d.sync += address[:8].eq(octet)
                    m.next = "ADDRESS_HIGH"
                    with m.If(last):
                        malformed(over=Const(1))
            with m.State("ADDRESS_HIGH"):
                m.d.comb += self.requests.ready.eq(1)
                with m.If(taken):
                    m.d.sync += address[8:].eq(octet)
                    m.next = "BYTE"
                    with m.If(opcode == Opcode.READ):
                        m.next = "COUNT"
                    with m.If(last | ((octet >> (ADDRESS_BITS - 8)) != 0)):
                        malformed(over=last)

            with m.State("COUNT"):
                m.d.comb += self.requests.ready.eq(1)
                with m.If(taken):
                    m.d.sync += left.eq(octet)
                    m.next = "READ"
                    with m.If(~last):
                        malformed(over=Const(0))
            with m.State("READ"):
                m.d.comb += self.s_axil_arvalid.eq(1)
                with m.If(self.s_axil_arready):
                    m.next = "READ_DATA"
            with m.State("READ_DATA"):
                m.d.comb += self.s_axil_rready.eq(1)
                m.d.sync += word.eq(self.s_axil_rdata)
                with m.If(self.s_axil_rvalid):
                    with m.If(opcode == Opcode.SAMPLE):
                        m.next = "BEAT"
                        running = self._map["STATUS"].field("RUNNING").low
                        with m.If(~self.s_axil_rdata[running]):
                            m.d.sync += status.eq(Status.STOPPED)
                            m.next = "DROP"
                    with m.Else():
                        with m.If(self.s_axil_rresp != 0):
                            m.d.sync += status.eq(Status.REFUSED)
                        m.next = "WORD"
            with m.State("WORD"):
                answer(word[:8])
                with m.If(given):
                    m.d.sync += [word.eq(word >> 8), place.eq(place + 1)]
                    with m.If(place == 3):
                        m.d.sync += left.eq(left - 1)
                        m.next = "STATUS"
                        with m.If(Mux(opcode == Opcode.SAMPLE, more, left != 1)):
                            m.next = "READ"
                            with m.If(opcode == Opcode.SAMPLE):
                                m.next = "RECORD"

            with m.State("BYTE"):
                m.d.comb += self.requests.ready.eq(1)
                with m.If(taken):
                    m.d.sync += [word.eq(Cat(word[8:], octet)), place.eq(place + 1)]
                    with m.If(place == 3):
                        m.next = "WRITE"
                    with m.Elif(last):
                        malformed(over=Const(1))
            with m.State("WRITE"):
                # The core's slave takes address and data in the same clock.
                m.d.comb += [self.s_axil_awvalid.eq(1), self.s_axil_wvalid.eq(1)]
                with m.If(self.s_axil_awready & self.s_axil_wready):
                    m.next = "WRITTEN"
            with m.State("WRITTEN"):
                m.d.comb += self.s_axil_bready.eq(1)
                with m.If(self.s_axil_bvalid):
                    m.next = "BYTE"
                    with m.If(self.s_axil_bresp != 0):
                        m.d.sync += status.eq(Status.REFUSED)
                        m.next = "DROP"
                    with m.If(ended):
                        m.next = "STATUS"

            with m.State("BEAT"):
                # Behind the end of a packet the beat is filled with bytes that are not there.
                m.d.comb += self.requests.ready.eq(~ended)
                with m.If(taken | ended):
                    m.d.sync += [
                        self.s_axis_tdata.eq(Cat(self.s_axis_tdata[8:], octet)),
                        self.s_axis_tkeep.eq(Cat(self.s_axis_tkeep[1:], ~ended)),
                        lane.eq(lane + 1),
                    ]
                    with m.If(lane == self._lanes - 1):
                        m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.s_axis_tvalid.eq(1)
                with m.If(self.s_axis_tready):
                    m.next = "BEAT"
                    with m.If(ended):
                        m.next = "RECORD"
            with m.State("RECORD"):
                m.d.comb += self.m_axis_tready.eq(1)
                m.d.sync += [word.eq(self.m_axis_tdata), more.eq(~self.m_axis_tlast)]
                with m.If(self.m_axis_tvalid):
                    m.d.comb += self.sampled.eq(self.m_axis_tlast)
                    m.next = "WORD"

            with m.State("DROP"):
                m.d.comb += self.requests.ready.eq(1)
                with m.If(taken & last):
                    m.next = "STATUS"
            with m.State("STATUS"):
                answer(status, last=True)
                with m.If(given):
                    m.next = "IDLE"
        return m
