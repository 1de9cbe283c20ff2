"""The power-of-two quantizer of quantized back propagation."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats
from golden.parameters import Parameters


class Quantize(wiring.Component):
    """Round a layer's input to a power of two, combinationally (contract, section 9).

    Source: Lin et al., arXiv 1510.03009, section 4 (there stochastic).

    Attributes:
        value: ``x``; 0 gives the exponent 0.
        random: ``Q``, the lowest bits of the word; stochastic rule only.
        exponent: ``e`` in ``0 .. A``: ``x`` counts as ``2**e``.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        members = {
            "value": In(unsigned(parameters.activation_bits)),
            "exponent": Out(unsigned(Formats.of(parameters).exponent_bits)),
        }
        if parameters.quantizer == "stochastic":
            members["random"] = In(unsigned(parameters.activation_bits - 1))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        top = self._p.activation_bits
        if self._p.quantizer == "stochastic":
            # Q mod 2**a: only the bits of Q that have a bit of x above them.
            below = Cat(self.value[i + 1 :].any() for i in range(top - 1))
            dithered = self.value + (self.random & below)
            # x < 2**(a+1) and Q mod 2**a < 2**a: the leading one is bit a or a + 1, at most A.
            assert len(dithered) == top + 1
            reached = {e: dithered[e] for e in range(1, top + 1)}
        else:
            # x reaches e when its leading one is bit e, or bit e-1 with bit e-2 set as well.
            reached = {top: self.value[top - 1] & self.value[top - 2], 1: self.value[1]}
            for e in range(2, top):
                reached[e] = self.value[e] | (self.value[e - 1] & self.value[e - 2])
        for e in range(1, top + 1):
            # A later assignment overrules: the largest e counts.
            with m.If(reached[e]):
                m.d.comb += self.exponent.eq(e)
        return m
