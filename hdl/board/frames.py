"""Frames of a serial line (``docs/board.md``): bytes to checked requests, answers to bytes."""

from amaranth.hdl import *
from amaranth.lib import crc, data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import unsigned_bits
from hdl.board.protocol import CRC_BYTES, ESCAPE, FLAG, FLIP, Opcode, Status
from hdl.collision import UNUSED_ON_COLLISION

#: A byte of a frame's content without its CRC; ``last`` marks the end.
OCTET = data.StructLayout({"data": 8, "last": 1})

# Fewest bytes of a request: its number, its opcode, the CRC.
_SHORTEST = 2 + CRC_BYTES


class FrameReceiver(wiring.Component):
    """Keep the requests that arrive whole and in order, and hand them on.

    A request lies in a buffer until its CRC is known to be right; only then can it be read. After
    one that is damaged, not the next in number, or too large for what is free of the buffer,
    everything is dropped until a HELLO, so that nothing is done out of order. What was kept before
    is handed on all the same.

    Args:
        depth: Bytes of the buffer, a power of two; a request takes those of its number, opcode and
            content, until they are handed on.

    Attributes:
        data: A byte from the line; it and ``error`` count with ``valid``.
        valid: It is there in this clock.
        error: It had no stop bit.
        requests: Number, opcode, content of each request.
        open: Requests are taken; after a reset and after a fault they are not.
        fault: Why they are not, ``OKAY`` if there is nothing to tell: told, or none since HELLO.
        expected: Number of the next request; of the first one that was not taken.
        told: The fault is being told in this clock.
    """

    def __init__(self, depth: int) -> None:
        assert depth & (depth - 1) == 0
        self._depth = depth
        super().__init__(
            {
                "data": In(8),
                "valid": In(1),
                "error": In(1),
                "requests": Out(stream.Signature(OCTET)),
                "open": Out(1),
                "fault": Out(unsigned_bits(max(Status))),
                "expected": Out(8),
                "told": In(1),
            }
        )
        #: The CRC of the frame in hand is right.
        self.match = Signal()
        #: It is the next in number.
        self.next = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = check = crc.catalog.CRC32_ETHERNET().create()
        m.submodules.buffer = buffer = memory.Memory(
            shape=OCTET, depth=self._depth, init=[], attrs=UNUSED_ON_COLLISION
        )
        read, write = buffer.read_port(), buffer.write_port()
        # One bit more than an address, which tells full from empty.
        free, kept, taken = (Signal(range(2 * self._depth), name=n) for n in ("free", "kept", "at"))

        # A byte is written when so many have come behind it that it is none of the CRC.
        late = Signal(8 * (CRC_BYTES + 1))
        count = Signal(range(_SHORTEST + 1))
        number, opcode = Signal(8), Signal(8)
        escaped = Signal()
        spoiled = Signal()
        overflow = Signal()

        flag = self.valid & ~self.error & (self.data == FLAG)
        begun = (count != 0) | escaped | spoiled
        escape = (self.data == ESCAPE) & ~escaped
        content = Signal()
        octet = Signal(8)
        full = Signal()
        good = Signal()
        hello = Signal()
        accept = Signal()
        m.d.comb += [
            content.eq(self.valid & ~self.error & (self.data != FLAG) & ~escape),
            octet.eq(self.data ^ Mux(escaped, FLIP, 0)),
            check.data.eq(octet),
            check.valid.eq(content),
            check.start.eq(flag),
            full.eq((free ^ taken) == self._depth),
            self.match.eq(check.match_detected),
            self.next.eq(number == self.expected),
            good.eq((count == _SHORTEST) & ~(spoiled | escaped | overflow | full) & self.match),
            hello.eq(good & (opcode == Opcode.HELLO)),
            accept.eq(flag & (hello | (good & self.open & self.next))),
            write.addr.eq(free),
            write.data.data.eq(late),
            write.data.last.eq(flag),
        ]
        with m.If(self.told):
            m.d.sync += self.fault.eq(Status.OKAY)
        with m.If(self.valid & self.error):
            m.d.sync += spoiled.eq(1)
        with m.If(self.valid & ~self.error & ~flag & escape):
            m.d.sync += escaped.eq(1)
        with m.If(content):
            m.d.sync += [late.eq(Cat(late[8:], octet)), escaped.eq(0)]
            with m.If(count != _SHORTEST):
                m.d.sync += count.eq(count + 1)
            with m.If(count == 0):
                m.d.sync += number.eq(octet)
            with m.If(count == 1):
                m.d.sync += opcode.eq(octet)
            with m.If(count >= CRC_BYTES + 1):
                with m.If(full):
                    m.d.sync += overflow.eq(1)
                with m.Else():
                    m.d.comb += write.en.eq(1)
                    m.d.sync += free.eq(free + 1)
        with m.If(flag):
            m.d.sync += [count.eq(0), escaped.eq(0), spoiled.eq(0), overflow.eq(0), free.eq(kept)]
            with m.If(accept):
                m.d.comb += write.en.eq(1)
                m.d.sync += [free.eq(free + 1), kept.eq(free + 1), self.expected.eq(number + 1)]
            with m.Elif(self.open & begun):
                m.d.sync += self.open.eq(0)
                with m.If(good):
                    m.d.sync += self.fault.eq(Status.SEQUENCE)
                with m.Elif(overflow | full):
                    m.d.sync += self.fault.eq(Status.OVERFLOW)
                with m.Else():
                    m.d.sync += self.fault.eq(Status.DAMAGED)
            with m.If(hello):
                m.d.sync += [self.open.eq(1), self.fault.eq(Status.OKAY)]

        # Bytes are far apart on the line, so each may take some clocks: the buffer's output is
        # slow, and goes into a register.
        settled = Signal(2)
        m.d.comb += read.addr.eq(taken)
        m.d.sync += settled.eq(Cat(taken != kept, settled[0]))
        with m.If(self.requests.valid):
            with m.If(self.requests.ready):
                m.d.sync += [taken.eq(taken + 1), settled.eq(0), self.requests.valid.eq(0)]
        with m.Else():
            m.d.sync += [
                self.requests.payload.eq(read.data),
                self.requests.valid.eq(settled[1]),
            ]
        return m


class FrameTransmitter(wiring.Component):
    """Send each answer as a frame: a flag, the content, its CRC, a flag.

    Attributes:
        answers: The content of each frame.
        data: Bytes for the line.
    """

    def __init__(self) -> None:
        super().__init__({"answers": In(stream.Signature(OCTET)), "data": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = check = crc.catalog.CRC32_ETHERNET().create()
        octet = Signal(8)
        #: Bytes of the CRC that are still to be sent.
        rest = Signal(8 * CRC_BYTES)
        left = Signal(range(CRC_BYTES + 1))
        escaped = Signal()
        sent = Signal()
        special = (octet == FLAG) | (octet == ESCAPE)
        m.d.comb += check.data.eq(octet)

        def send_octet() -> None:
            """Offer ``octet``, or its escape first; ``sent`` when it is through."""
            m.d.comb += [
                self.data.valid.eq(1),
                self.data.payload.eq(
                    Mux(escaped, octet ^ FLIP, Mux(special, Const(ESCAPE, 8), octet))
                ),
                sent.eq(self.data.ready & (escaped | ~special)),
            ]
            with m.If(self.data.ready):
                m.d.sync += escaped.eq(special & ~escaped)

        with m.FSM(name="frame"):
            with m.State("IDLE"):
                m.d.comb += [
                    self.data.valid.eq(self.answers.valid),
                    self.data.payload.eq(FLAG),
                    check.start.eq(1),
                ]
                with m.If(self.answers.valid & self.data.ready):
                    m.next = "CONTENT"
            with m.State("CONTENT"):
                m.d.comb += octet.eq(self.answers.payload.data)
                with m.If(self.answers.valid):
                    send_octet()
                m.d.comb += [self.answers.ready.eq(sent), check.valid.eq(sent)]
                with m.If(sent & self.answers.payload.last):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [rest.eq(check.crc), left.eq(CRC_BYTES)]
                m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += octet.eq(rest)
                send_octet()
                with m.If(sent):
                    m.d.sync += [rest.eq(rest >> 8), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "FLAG"
            with m.State("FLAG"):
                m.d.comb += [self.data.valid.eq(1), self.data.payload.eq(FLAG)]
                with m.If(self.data.ready):
                    m.next = "IDLE"
        return m
