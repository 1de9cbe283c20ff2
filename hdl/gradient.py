"""Shifts in place of the gradient's products: increments, and the deltas of hidden units."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats, unsigned_bits
from golden.parameters import Parameters
from hdl.rounding import add_carry, saturate, shift_by_layer
from hdl.shapes import constant

# With d the delta, u random bits R, and
#
#     v = floor(d * 2**(e - K + u + 1))
#
# the increment of a weight, ((d << e) + r) >> K with r = ((2R + 1) << K) >> (u + 1), is
# (v + 2R + 1) >> (u + 1), because floor(floor(x) + n) = floor(x + n) for an integer n, and
# floor(floor(x) / 2**n) = floor(x / 2**n):
#   K >= u + 1: r = (2R + 1) * 2**(K-u-1) exactly, so the contract's value is
#               floor((d * 2**(e-K+u+1) + 2R + 1) / 2**(u+1)), and 2R + 1 lets v stand for its
#               first term.
#   K <  u + 1: d * 2**(e-K+u+1) is the integer v, and r = floor((2R + 1) / 2**(u+1-K)), so the
#               contract's value is floor(floor((v + 2R + 1) / 2**(u+1-K)) / 2**K)
#               = floor((v + 2R + 1) / 2**(u+1)).


def _max_left(parameters: Parameters) -> int:
    """Return the largest left shift ``e - K + u + 1`` of a delta, at least 0."""
    p = parameters
    return max(0, p.activation_bits - min(p.update_shifts) + p.update_bits + 1)


def _widened_bits(parameters: Parameters) -> int:
    """Return the bits of a delta behind the largest left shift."""
    return Formats.of(parameters).delta_bits + _max_left(parameters)


def amount_shape(parameters: Parameters) -> Shape:
    """Return the shape of a delta's right shift, from :class:`ShiftAmount` to :class:`Gradient`."""
    # A larger shift leaves the sign alone, as this one does.
    return Shape.cast(range(_widened_bits(parameters)))


def shift_amount_signature(parameters: Parameters, amount: Shape) -> wiring.Signature:
    """Return the ports of what works out the shift of all lanes, with ``amount`` of a shape."""
    p = parameters
    return wiring.Signature(
        {
            "exponent": In(unsigned(Formats.of(p).exponent_bits)),
            "layer": In(unsigned_bits(p.depth - 1)),
            "rate_shift": In(unsigned_bits(p.max_rate_shift)),
            "amount": Out(amount),
        }
    )


class ShiftAmount(wiring.Component):
    """Work out the shift of the deltas, the same for all lanes, combinationally.

    Attributes:
        exponent: ``e`` of the list entry.
        layer: Layer, counted from 0.
        rate_shift: ``sh`` of the sample.
        amount: Right shift for :class:`Gradient`: ``K - e`` above its smallest value.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        super().__init__(shift_amount_signature(parameters, amount_shape(parameters)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        offset = _max_left(p) - p.update_bits - 1
        # By the definition of the largest left shift, no amount is negative.
        step = constant(m, self.layer, [k + offset for k in p.update_shifts], "step")
        net = (step - self.exponent + self.rate_shift).as_unsigned()
        largest = _widened_bits(p) - 1
        m.d.comb += self.amount.eq(Mux(net > largest, largest, net))
        return m


class Gradient(wiring.Component):
    """Make one lane's increment in two clocks (contract, section 9).

    ``((d << e) + r) >> K``. Stage names are those of ``docs/architecture.md``, section 6.

    Attributes:
        delta: ``d``, points down the loss (s6).
        amount: From :class:`ShiftAmount` (s6).
        random: ``R``, the ``u`` random bits (s7).
        enable7: There is a step to update with (s7).
        whole: A register (s8): the increment, without what the fractions carry.
        carry: A register (s8): 1 to add to it. The adder of :class:`hdl.update.UpdateWeight` has
            room for it. Both are held unless ``enable7`` was set in the clock before.
        increment: Their sum.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = p = parameters
        increment = signed(Formats.of(p).increment_bits)
        super().__init__(
            {
                "delta": In(signed(Formats.of(p).delta_bits)),
                "amount": In(amount_shape(p)),
                "random": In(unsigned(p.update_bits)),
                "enable7": In(1),
                "whole": Out(increment),
                "carry": Out(1),
                "increment": Out(increment),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        u = self._p.update_bits
        widened = self.delta.shift_left(_max_left(self._p))
        shifted = Signal(signed(_widened_bits(self._p)))
        m.d.sync += shifted.eq(widened >> self.amount)

        fraction = shifted[: u + 1] + Cat(Const(1, 1), self.random)
        with m.If(self.enable7):
            # golden.formats bounds every increment: what is cut off repeats the sign.
            m.d.sync += [self.whole.eq(shifted >> (u + 1)), self.carry.eq(fraction[-1])]
        m.d.comb += self.increment.eq(add_carry(self.whole, Const(0, signed(1)), self.carry))
        return m


class BiasIncrement(wiring.Component):
    """Scale a delta to the increment of a bias, combinationally (contract, section 9).

    Attributes:
        delta: ``d``.
        rate_shift: ``sh`` of the sample.
        increment: ``(d + half) >> (kb + sh)``; ``half`` is 0 when the shift is 0.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = p = parameters
        formats = Formats.of(p)
        super().__init__(
            {
                "delta": In(signed(formats.delta_bits)),
                "rate_shift": In(unsigned_bits(p.max_rate_shift)),
                "increment": Out(signed(formats.bias_increment_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Twice the value, rounded down: the half that is added then is 1 for every shift.
        doubled = (self.delta.shift_left(1) >> self.rate_shift) >> self._p.bias_shift
        m.d.comb += self.increment.eq((doubled + 1).shift_right(1))
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
