"""Ternary and binary connect: stochastic rounding of a weight to -1, 0, +1 or to -1, +1."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.parameters import Parameters


def random_shape(parameters: Parameters) -> Shape:
    """Return the shape of the random bits of a draw; one bit when it is deterministic."""
    return unsigned(parameters.draw_bits if parameters.draw == "stochastic" else 1)


class Connect(wiring.Component):
    """Draw a weight for one pass over a sample, combinationally (contract, section 5).

    Ternary ``T = (W + r) >> q``, binary ``T = +1 if (W + 2**F + r) >> q >= 1 else -1``, with
    ``r = ((2R + 1) << q) >> (rb + 1)``: one adder, of ``rb`` bits and the bits of ``T``.

    Source: Lin et al., arXiv 1510.03009, sections 3.1 and 3.2.

    Attributes:
        weight: ``W``, ``F`` fraction bits.
        random: ``R``, the ``rb`` random bits; one bit that is ignored when ``draw`` is
            deterministic.
        half: 1, the half step below ``R``. With 0 and ``R = 2**(rb-1)`` it is the draw of the
            deterministic rule.
        draw: ``T``, ``g`` fraction bits.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        self._random_bits = parameters.draw_bits if parameters.draw == "stochastic" else 0
        super().__init__(
            {
                "weight": In(signed(parameters.weight_bits)),
                "random": In(random_shape(parameters)),
                "half": In(1),
                "draw": Out(signed(2 + parameters.draw_fraction_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        q, rb = p.draw_shift, self._random_bits
        # The lowest q - rb - 1 bits of r are 0, so that no carry starts below the half step: leave
        # them out, and r is 2R + 1, or just R when rb = q.
        if rb == q:
            skipped, random = 0, self.random
        else:
            half = self.half if rb else Const(1, 1)
            skipped, random = q - rb - 1, Cat(half, self.random[:rb])
        if p.connect == "binary":
            # W + 2**F is W with the sign bit inverted, unsigned, of q bits: T = +1 on carry.
            offset = Cat(self.weight[:-1], ~self.weight[-1])
            total = offset[skipped:] + random
            assert len(total) == q - skipped + 1
            m.d.comb += self.draw.eq(Cat(Const(1, 1), ~total[-1]))
        else:
            total = self.weight[skipped:].as_signed() + random
            drawn = total[q - skipped :][: len(self.draw)]
            # -2**F <= W + r < 2**F + 2**q, so T is in -2**g .. 2**g; what is cut repeats its sign.
            assert len(drawn) == len(self.draw)
            m.d.comb += self.draw.eq(drawn)
        return m
