"""Booth recoding: a weight as a few digits that a lane can multiply by."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import unsigned_bits
from golden.parameters import Parameters


class Booth(wiring.Component):
    """Pick a digit of a weight, combinationally (contract, section 13).

    Attributes:
        weight: ``W``, ``F`` fraction bits.
        plane: Number of the digit, ``i``, ``0 .. N-1``.
        digit: ``D_i`` in ``-2**g .. 2**g``, like a drawn weight.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        super().__init__(
            {
                "weight": In(signed(parameters.weight_bits)),
                "plane": In(unsigned_bits(parameters.planes - 1)),
                "digit": Out(signed(2 + parameters.draw_fraction_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        planes, bits = self._p.planes, self._p.draw_steps
        sign = self.weight[-1].replicate(planes * bits - len(self.weight))
        padded = Cat(Const(0, 1), self.weight, sign)
        window = Array(padded[bits * i : bits * i + bits + 1] for i in range(planes))[self.plane]
        m.d.comb += self.digit.eq(window[1:].as_signed() + window[0])
        return m
