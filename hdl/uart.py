"""A UART: bytes over one wire each way, 8 data bits, no parity, 1 stop bit (8N1).

A line rests at 1. A byte is a start bit (0), its bits from the lowest up, and a stop bit (1), each
for a fixed number of clocks.
"""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

#: Fewest clocks of a bit: the receiver samples to a clock, half a bit behind an edge.
MIN_DIVISOR = 4


def check_divisor(divisor: int) -> None:
    """Check the clocks of a bit.

    Raises:
        ValueError: If they are below :data:`MIN_DIVISOR`.
    """
    if divisor < MIN_DIVISOR:
        raise ValueError(f"divisor must be at least {MIN_DIVISOR} clocks a bit, not {divisor}")


class UartReceiver(wiring.Component):
    """Receive bytes.

    Two flip-flops bring the line to the clock. A bit is sampled in its middle, counted from the
    edge of the start bit; a start bit that is over by its middle was a glitch. The sample of the
    stop bit ends a byte, so that the next may begin half a bit early. After a byte without a stop
    bit the line must first go back to 1: a line that is held at 0 is one bad byte.

    Args:
        divisor: Clocks of a bit.

    Raises:
        ValueError: If the divisor is below :data:`MIN_DIVISOR`.

    Attributes:
        rx: The line, from outside of the clock domain.
        data: The byte.
        valid: It is there, for one clock.
        error: With ``valid``: it has no stop bit, and is not to be trusted.
    """

    def __init__(self, divisor: int) -> None:
        check_divisor(divisor)
        self._divisor = divisor
        super().__init__({"rx": In(1), "data": Out(8), "valid": Out(1), "error": Out(1)})
        #: Clocks until the next sample.
        self.wait = Signal(range(divisor))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        meta, line = Signal(init=1), Signal(init=1)
        m.d.sync += [meta.eq(self.rx), line.eq(meta)]
        wait = self.wait
        bit = Signal(range(8))
        sample = Signal()
        m.d.comb += sample.eq(wait == 0)
        m.d.sync += wait.eq(Mux(sample, self._divisor - 1, wait - 1))

        with m.FSM(name="receiver"):
            with m.State("IDLE"):
                m.d.sync += [wait.eq(self._divisor // 2 - 1), bit.eq(0)]
                with m.If(~line):
                    m.next = "START"
            with m.State("START"):
                with m.If(sample):
                    m.next = "DATA"
                    with m.If(line):
                        m.next = "IDLE"
            with m.State("DATA"):
                with m.If(sample):
                    m.d.sync += [self.data.eq(Cat(self.data[1:], line)), bit.eq(bit + 1)]
                    with m.If(bit == 7):
                        m.next = "STOP"
            with m.State("STOP"):
                m.d.comb += [self.valid.eq(sample), self.error.eq(sample & ~line)]
                with m.If(sample):
                    m.next = "IDLE"
                    with m.If(~line):
                        m.next = "BREAK"
            with m.State("BREAK"):
                with m.If(line):
                    m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Send bytes.

    Args:
        divisor: Clocks of a bit.

    Raises:
        ValueError: If the divisor is below :data:`MIN_DIVISOR`.

    Attributes:
        data: The bytes. One is taken in the clock in which its start bit is made.
        tx: The line, from a register.
    """

    def __init__(self, divisor: int) -> None:
        check_divisor(divisor)
        self._divisor = divisor
        super().__init__({"data": In(stream.Signature(8)), "tx": Out(1, init=1)})
        #: As many ones as there are bits on their way, that in hand included.
        self.busy = Signal(10)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wait = Signal(range(self._divisor))
        #: Bits that are still to be made, the stop bit in the highest place.
        left = Signal(9)
        busy = self.busy
        m.d.comb += self.data.ready.eq(~busy.any())
        with m.If(self.data.ready):
            m.d.sync += wait.eq(self._divisor - 1)
            with m.If(self.data.valid):
                m.d.sync += [self.tx.eq(0), left.eq(Cat(self.data.payload, 1)), busy.eq(-1)]
        with m.Else():
            m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 0):
                m.d.sync += [
                    wait.eq(self._divisor - 1),
                    self.tx.eq(left[0]),
                    # Behind the stop bit the line stays at 1.
                    left.eq(Cat(left[1:], 1)),
                    busy.eq(busy[1:]),
                ]
        return m
