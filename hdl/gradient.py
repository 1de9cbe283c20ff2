"""Shifts in place of the gradient's products: increments, and the deltas of hidden units."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats, unsigned_bits
from golden.parameters import Parameters
from hdl.rounding import saturate, shift_by_layer
from hdl.shapes import constant

# With d the delta, K the shift and r the random number, the increment of a weight is
#
#     ((d << e) + r) >> K  ==  (d + folded(r)) >> min(K - e, D)
#
# for a delta of D bits and K >= e: golden.gradient.folded, of which r's bits below e meet zeros,
# and of whose bits above those of any delta only the ends carry or borrow. What is added is the
# same for all lanes: it is made once, and a lane shifts no bit that would be rounded away. For
# K < e, nothing is rounded, and r >> e is 0.


def _least_shift(parameters: Parameters) -> int:
    """Return the smallest right shift ``K - e`` of a delta; below 0 it goes left."""
    return min(parameters.update_shifts) - parameters.activation_bits


def _longest_shift(parameters: Parameters) -> int:
    """Return the longest right shift of a delta: one that leaves its sign alone."""
    return max(1, _least_shift(parameters), Formats.of(parameters).delta_bits)


def amount_shape(parameters: Parameters) -> Shape:
    """Return the shape of a delta's right shift, counted from the least."""
    return unsigned(unsigned_bits(_longest_shift(parameters) - _least_shift(parameters)))


def rounding_shape(parameters: Parameters) -> Shape:
    """Return the shape of what is added to a delta before its shift."""
    return unsigned(_longest_shift(parameters))


def update_step_signature(
    parameters: Parameters, amount: Shape, rounding: Shape
) -> wiring.Signature:
    """Return the ports of what works out the shift and the rounding of all lanes' increments."""
    p = parameters
    sources = p.random_sources
    return wiring.Signature(
        {
            "exponent": In(unsigned(Formats.of(p).exponent_bits)),
            "layer": In(unsigned_bits(p.depth - 1)),
            "rate_shift": In(unsigned_bits(p.max_rate_shift)),
            "random": In(data.ArrayLayout(p.update_bits, sources)),
            "amount": Out(amount),
            "rounding": Out(data.ArrayLayout(rounding, sources)),
        }
    )


class UpdateStep(wiring.Component):
    """Work out what the increments of a step have in common (contract, section 9).

    Attributes:
        layer: Layer, counted from 0 (s4).
        rate_shift: ``sh`` of the sample (s4).
        exponent: ``e`` of the list entry (s5).
        random: ``R`` of each source, ``u`` random bits (s5).
        amount: Right shift for :class:`Gradient`: ``K - e`` above its smallest value (s5).
        rounding: Of each source, what :class:`Gradient` adds: ``folded(r)`` (s5).
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = p = parameters
        super().__init__(update_step_signature(p, amount_shape(p), rounding_shape(p)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        least, longest = _least_shift(p), _longest_shift(p)
        largest = max(p.update_shifts) + p.max_rate_shift - least
        step = constant(m, self.layer, [k - least for k in p.update_shifts], "step")
        # K: a register, because the rounding hangs on the exponent by many look-up tables.
        total = step + self.rate_shift
        update_shift, net = Signal(total.shape()), Signal(total.shape())
        m.d.sync += update_shift.eq(total)
        m.d.comb += [
            # By the definition of the least shift, no difference is negative.
            net.eq((update_shift - self.exponent).as_unsigned()),
            self.amount.eq(Mux(net > longest - least, longest - least, net)),
        ]
        with m.Switch(net):
            for shift in range(max(least, 1), least + largest + 1):
                with m.Case(shift - least):
                    for i in range(p.random_sources):
                        folded = _folded(self.random[i], shift, longest)
                        m.d.comb += self.rounding[i].eq(folded)
        return m


def _folded(random: Value, shift: int, longest: int) -> Value:
    """Return ``golden.gradient.folded`` of a random number ``r >> e``, for ``shift = K - e``."""
    # r = ((2R + 1) << K) >> (u + 1).
    draw = Cat(Const(1, 1), random)
    number = Cat(Const(0, shift), draw)[len(draw) :]
    if shift <= longest:
        return number
    low, high = number[: longest - 1], number[longest - 1 :]
    return Mux(high.any(), Cat(low & high.all().replicate(len(low)), Const(1, 1)), low)


class Gradient(wiring.Component):
    """Make one lane's increment in two clocks (contract, section 9).

    ``((d << e) + r) >> K``. Stage names are those of ``docs/architecture.md``, section 6.

    Attributes:
        delta: ``d``, points down the loss (s6).
        rounding: From :class:`UpdateStep` (s6).
        amount: From :class:`UpdateStep` (s7).
        enable7: There is a step to update with (s7).
        increment: A register (s8), held unless ``enable7`` was set in the clock before.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = p = parameters
        super().__init__(
            {
                "delta": In(signed(Formats.of(p).delta_bits)),
                "rounding": In(rounding_shape(p)),
                "amount": In(amount_shape(p)),
                "enable7": In(1),
                "increment": Out(signed(Formats.of(p).increment_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        least = _least_shift(self._p)
        total = self.delta + self.rounding
        rounded = Signal(total.shape())
        m.d.sync += rounded.eq(total)
        placed = rounded.shift_left(-least) if least < 0 else rounded.shift_right(least)
        with m.If(self.enable7):
            # golden.formats bounds every increment: what is cut off repeats the sign.
            m.d.sync += self.increment.eq(placed >> self.amount)
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
