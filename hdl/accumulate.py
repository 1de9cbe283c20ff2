"""Products by a drawn weight, which are selections, and their sum."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats
from golden.parameters import Parameters
from hdl.rounding import add_carry


def _magnitude(draw: Value, x: Value, g: int) -> Value:
    """Return the bits of ``|T| * x`` of an unsigned ``x``, ``g`` more: 0, ``x`` or ``2x``."""
    if g == 0:
        result = x & draw[0].replicate(len(x))
    else:
        # |T| = 1 has bit 0; +2 and -2 are 010 and 110.
        once, twice = draw[0], draw[1] & ~draw[0]
        extended = Cat(x, Const(0, 1))
        doubled = Cat(Const(0, 1), x)
        result = (extended & once.replicate(len(doubled))) | (
            doubled & twice.replicate(len(doubled))
        )
    assert len(result) == len(x) + g
    return result


class Select(wiring.Component):
    """One lane's product ``T * x`` of the backward pass (contract, section 8).

    Args:
        width: Bits of ``x``.
        g: Fraction bits of a drawn weight.

    Attributes:
        draw: ``T``, in ``-2**g .. 2**g``.
        x: Signed, never ``-2**(width-1)``: deltas are symmetric, so that ``-x`` has ``width`` bits.
        term: A register: ``T * x`` less ``carry``, ``g`` fraction bits.
        carry: A register: 1 for a negative ``T``, of which ``term`` has only the ones' complement.
            The adders behind have room for it.
    """

    def __init__(self, width: int, g: int) -> None:
        self._g = g
        super().__init__(
            {
                "draw": In(signed(2 + g)),
                "x": In(signed(width)),
                "term": Out(signed(width + g)),
                "carry": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        negative = self.draw[-1]
        magnitude = self.x
        if self._g:
            # Of a T that is not 0, an odd one is +1 or -1.
            magnitude = Mux(self.draw[0], self.x, self.x.shift_left(1))
        # -x = ~x + 1.
        inverted = magnitude.as_unsigned() ^ negative.replicate(len(magnitude))
        # The step says whether they count: a reset needs not clear them.
        term = Signal.like(self.term, reset_less=True)
        carry = Signal.like(self.carry, reset_less=True)
        m.d.comb += [self.term.eq(term), self.carry.eq(carry)]
        m.d.sync += [term.eq(inverted.as_signed()), carry.eq(negative)]
        # This reset of a register costs nothing, a mask costs a look-up table for each bit.
        with m.If(self.draw == 0):
            m.d.sync += term.eq(0)
        return m


class Accumulate(wiring.Component):
    """One lane's step of the forward sum, combinational (contract, section 6).

    Attributes:
        base: Sum so far, or the bias term; ``f`` fraction bits.
        draw: ``T`` or a Booth digit, in ``-2**g .. 2**g``.
        value: Input or activation, shifted to its place.
        total: ``base + T * value``. It never overflows: ``golden.formats`` counts every input.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        formats = Formats.of(parameters)
        total = formats.accumulator_bits
        super().__init__(
            {
                "base": In(signed(total)),
                "draw": In(signed(2 + parameters.draw_fraction_bits)),
                "value": In(unsigned(formats.value_bits)),
                "total": Out(signed(total)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        negative = self.draw[-1]
        magnitude = _magnitude(self.draw, self.value, self._p.draw_fraction_bits)
        # base + ((T != 0 ? x : 0) ^ neg) + neg.
        # A digit of 2 in the highest plane, which no weight has, may reach beyond the total.
        inverted = Cat(magnitude ^ negative.replicate(len(magnitude)), negative)[: len(self.total)]
        total = add_carry(self.base, inverted.as_signed(), negative)
        m.d.comb += self.total.eq(total[: len(self.total)])
        return m
