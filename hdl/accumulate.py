"""Products by a drawn weight, which are selections, and their sum."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats
from golden.parameters import Parameters


def _magnitude(draw: Value, x: Value, g: int) -> Value:
    """Return the bits of ``|T| * x``, ``g`` more than ``x`` has: 0, ``x`` or ``2x``."""
    if g == 0:
        result = x.as_unsigned() & draw[0].replicate(len(x))
    else:
        # |T| = 1 has bit 0; +2 and -2 are 010 and 110.
        once, twice = draw[0], draw[1] & ~draw[0]
        extended = Cat(x, x[-1] if x.shape().signed else Const(0, 1))
        doubled = Cat(Const(0, 1), x)
        result = (extended & once.replicate(len(doubled))) | (
            doubled & twice.replicate(len(doubled))
        )
    assert len(result) == len(x) + g
    return result


class Select(wiring.Component):
    """One lane's product ``T * x`` of the backward pass, combinational (contract, section 8).

    Args:
        width: Bits of ``x``.
        g: Fraction bits of a drawn weight.

    Attributes:
        draw: ``T``, in ``-2**g .. 2**g``.
        x: Signed, never ``-2**(width-1)``: deltas are symmetric, so that ``-x`` has ``width`` bits.
        product: ``T * x``, ``g`` fraction bits.
    """

    def __init__(self, width: int, g: int) -> None:
        self._g = g
        super().__init__(
            {
                "draw": In(signed(2 + g)),
                "x": In(signed(width)),
                "product": Out(signed(width + g)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        negative = self.draw[-1]
        magnitude = _magnitude(self.draw, self.x, self._g)
        # -x = ~x + 1; the carry out of the top is dropped, |T * x| fits.
        inverted = magnitude ^ negative.replicate(len(magnitude))
        m.d.comb += self.product.eq((inverted + negative)[: len(self.product)])
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
        # base + ((T != 0 ? x : 0) ^ neg) + neg, with neg in a lowest bit of both operands, where
        # neg + neg is the carry into the sum: one adder, whatever synthesis makes of a third term.
        # A digit of 2 in the highest plane, which no weight has, may reach beyond the total.
        inverted = Cat(magnitude ^ negative.replicate(len(magnitude)), negative)[: len(self.total)]
        total = Cat(negative, self.base).as_signed() + Cat(negative, inverted).as_signed()
        m.d.comb += self.total.eq(total[1 : 1 + len(self.total)])
        return m
