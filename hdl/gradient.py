"""Shifts in place of the gradient's products: increments, and the deltas of hidden units."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats, unsigned_bits
from golden.parameters import Parameters
from hdl.rounding import saturate, shift_by_layer
from hdl.shapes import constant

# One arithmetic shifter serves weights and biases. With d the delta and u random bits R, let
#
#     v = floor(d * 2**(e - K + u + 1))        N = 2R + 1 for a weight, 2**u for a bias
#     increment = (v + N) >> (u + 1)
#
# For a weight this is ((d << e) + r) >> K with r = ((2R + 1) << K) >> (u + 1), because
# floor(floor(x) + n) = floor(x + n) for an integer n, and floor(floor(x) / 2**n) = floor(x / 2**n):
#   K >= u + 1: r = N * 2**(K-u-1) exactly, so the contract's value is
#               floor((d * 2**(e-K+u+1) + N) / 2**(u+1)), and N lets v stand for its first term.
#   K <  u + 1: d * 2**(e-K+u+1) is the integer v, and r = floor(N / 2**(u+1-K)), so the contract's
#               value is floor(floor((v + N) / 2**(u+1-K)) / 2**K) = floor((v + N) / 2**(u+1)).
# For a bias the exponent is e = k - kb, so that e - K = -(kb + sh) =: -n, and
#   n >= 1: (v + 2**u) >> (u+1) = floor(d / 2**n + 1/2) = (d + 2**(n-1)) >> n;
#   n =  0: v = d << (u+1), and the half below the integer d falls away.


def _max_left(parameters: Parameters) -> int:
    """Return the largest left shift ``e - K + u + 1`` of a delta, at least 0."""
    p = parameters
    largest = max(p.activation_bits - min(p.update_shifts), -p.bias_shift)
    return max(0, largest + p.update_bits + 1)


def amount_shape(parameters: Parameters) -> Shape:
    """Return the shape of a delta's right shift, from :class:`ShiftAmount` to :class:`Gradient`."""
    p = parameters
    # Every rate shift that the port can carry counts, not only those of the schedule.
    rate_shift = (1 << unsigned_bits(p.max_rate_shift)) - 1
    largest = _max_left(p) - p.update_bits - 1 + max(p.update_shifts) + rate_shift
    return Shape.cast(range(largest + 1))


class ShiftAmount(wiring.Component):
    """Work out the shift of the deltas, the same for all lanes, combinationally.

    Attributes:
        exponent: ``e`` of the list entry; ignored for a bias.
        layer: Layer, counted from 0.
        rate_shift: ``sh`` of the sample.
        bias: The step updates biases.
        amount: Right shift for :class:`Gradient`: ``K - e`` above its smallest value.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = p = parameters
        super().__init__(
            {
                "exponent": In(unsigned(Formats.of(p).exponent_bits)),
                "layer": In(unsigned_bits(p.depth - 1)),
                "rate_shift": In(unsigned_bits(p.max_rate_shift)),
                "bias": In(1),
                "amount": Out(amount_shape(p)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        offset = _max_left(p) - p.update_bits - 1
        # By the definition of the largest left shift, no amount is negative.
        step = constant(m, self.layer, [k + offset for k in p.update_shifts], "step")
        net = Mux(self.bias, p.bias_shift + offset, step - self.exponent) + self.rate_shift
        m.d.comb += self.amount.eq(net[: len(self.amount)])
        return m


class Gradient(wiring.Component):
    """Make one lane's increment in two clocks (contract, section 9).

    ``((d << e) + r) >> K`` for a weight, ``(d + half) >> (kb + sh)`` for a bias. Stage names are
    those of ``docs/architecture.md``, section 6.

    Attributes:
        delta: ``d``, points down the loss (s6).
        amount: From :class:`ShiftAmount` (s6).
        random: ``R``, the ``u`` random bits (s7); ignored for a bias.
        bias: The step updates biases (s7).
        enable7: There is a step to update with (s7).
        increment: A register (s8); held unless ``enable7`` was set in the clock before.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = p = parameters
        formats = Formats.of(p)
        super().__init__(
            {
                "delta": In(signed(formats.delta_bits)),
                "amount": In(amount_shape(p)),
                "random": In(unsigned(p.update_bits)),
                "bias": In(1),
                "enable7": In(1),
                "increment": Out(signed(formats.increment_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        u = self._p.update_bits
        widened = self.delta.shift_left(_max_left(self._p))
        shifted = Signal(widened.shape())
        m.d.sync += shifted.eq(widened >> self.amount)

        # N: 2R + 1, or 2**u, of which R's highest bit is the only one set.
        random = Mux(self.bias, Const(1 << (u - 1), u), self.random)
        rounded = (shifted + Cat(~self.bias, random)).shift_right(u + 1)
        with m.If(self.enable7):
            # golden.formats bounds every increment: what is cut off repeats the sign.
            increment = rounded[: len(self.increment)].as_signed()
            m.d.sync += self.increment.eq(increment)
        return m


class HiddenDelta(wiring.Component):
    """Scale a column's backward sum to a hidden delta, combinationally (contract, section 8).

    Attributes:
        partial: ``p``, complete, ``g`` fraction bits.
        layer: Layer whose backward pass runs, ``1 .. L-1`` counted from 0.
        hidden_delta: ``clip((p + half) >> (sb + g), .)``.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = p = parameters
        super().__init__(
            {
                "partial": In(signed(Formats.of(p).partial_bits)),
                "layer": In(unsigned_bits(p.depth - 1)),
                "hidden_delta": Out(signed(p.hidden_delta_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        shifts = [sb + p.draw_fraction_bits for sb in p.delta_shifts]
        # Layer 0 has no backward sum; it shares the first shift.
        rounded = shift_by_layer(
            self.partial, self.layer, [shifts[0], *shifts], lambda n: (1 << n) >> 1
        )
        m.d.comb += self.hidden_delta.eq(saturate(rounded, p.hidden_delta_bits))
        return m
