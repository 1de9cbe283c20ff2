"""The serial link: the line on one side, the core's buses on the other."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.parameters import Parameters
from hdl.board.bridge import Bridge
from hdl.board.frames import FrameReceiver, FrameTransmitter
from hdl.board.protocol import Status
from hdl.uart import UartReceiver, UartTransmitter

#: Bytes of the buffer for requests, if no larger one is needed.
_BUFFER = 4096


def buffer_depth(parameters: Parameters) -> int:
    """Return the bytes of the buffer for requests: a power of two, two dense samples at least."""
    sample = parameters.layers[0] + 2 * parameters.bus_bits // 8
    return max(_BUFFER, 1 << (2 * sample - 1).bit_length())


class Link(wiring.Component):
    """A UART, frames, and the bridge to the core (``docs/board.md``).

    Args:
        parameters: Of the core.
        divisor: Clocks of a bit on the line.

    Raises:
        ValueError: If the divisor is below :data:`hdl.uart.MIN_DIVISOR`.

    Attributes:
        rx: Line from the host.
        tx: Line to the host.
        s_axil_awaddr: And the like, up to ``m_axis_tready``: the core's ports, as
            :class:`hdl.board.bridge.Bridge` has them.
        open: Requests are taken.
        lost: A request was lost or damaged, until the next HELLO.
        received: A byte came in this clock.
        sent: A byte went.
        busy: A request is in hand.
        sampled: A sample is done in this clock.
    """

    def __init__(self, parameters: Parameters, divisor: int) -> None:
        depth = buffer_depth(parameters)
        self._receiver, self._transmitter = UartReceiver(divisor), UartTransmitter(divisor)
        self._requests, self._answers = FrameReceiver(depth), FrameTransmitter()
        self._bridge = Bridge(parameters, depth)
        members = self._bridge.signature.members.items()
        self.buses = {n: each for n, each in members if n.startswith(("s_ax", "m_ax"))}
        flags = ("open", "lost", "received", "sent", "busy", "sampled")
        super().__init__(
            {"rx": In(1), "tx": Out(1), **self.buses, **{name: Out(1) for name in flags}}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = self._receiver
        m.submodules.transmitter = transmitter = self._transmitter
        m.submodules.requests = requests = self._requests
        m.submodules.answers = answers = self._answers
        m.submodules.bridge = bridge = self._bridge
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            requests.data.eq(receiver.data),
            requests.valid.eq(receiver.valid),
            requests.error.eq(receiver.error),
            bridge.fault.eq(requests.fault),
            bridge.expected.eq(requests.expected),
            requests.told.eq(bridge.told),
            self.open.eq(requests.open),
            self.received.eq(receiver.valid),
            self.sent.eq(transmitter.data.valid & transmitter.data.ready),
            self.busy.eq(bridge.busy),
            self.sampled.eq(bridge.sampled),
        ]
        wiring.connect(m, requests.requests, bridge.requests)
        wiring.connect(m, bridge.answers, answers.answers)
        wiring.connect(m, answers.data, transmitter.data)
        for name, member in self.buses.items():
            inner, outer = getattr(bridge, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        with m.If(requests.fault != Status.OKAY):
            m.d.sync += self.lost.eq(1)
        with m.Elif(requests.open):
            m.d.sync += self.lost.eq(0)
        return m
