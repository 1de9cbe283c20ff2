"""The saturating additions that end an update."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats
from golden.parameters import Parameters
from hdl.rounding import saturate, sum_is


class UpdateWeight(wiring.Component):
    """Add an increment to a weight, combinationally (contract, section 9).

    Attributes:
        weight: ``W``, ``F`` fraction bits.
        increment: From the gradient, in units of the weight.
        new_weight: ``clip(W + increment, 2**F - 1)``.
    """

    def __init__(self, parameters: Parameters) -> None:
        weight = signed(parameters.weight_bits)
        super().__init__(
            {
                "weight": In(weight),
                "increment": In(signed(Formats.of(parameters).increment_bits)),
                "new_weight": Out(weight),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = self.weight + self.increment
        m.d.comb += self.new_weight.eq(saturate(total, len(self.new_weight)))
        return m


class UpdateBias(wiring.Component):
    """Add an increment to a bias, combinationally (contract, section 9).

    Attributes:
        bias: ``b``, ``fb`` fraction bits.
        increment: From :class:`hdl.gradient.BiasIncrement`, in units of the bias.
        new_bias: ``clip(b + increment, 2**(bias_bits-1) - 1)``.
    """

    def __init__(self, parameters: Parameters) -> None:
        bias = signed(parameters.bias_bits)
        super().__init__(
            {
                "bias": In(bias),
                "increment": In(signed(Formats.of(parameters).bias_increment_bits)),
                "new_bias": Out(bias),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = len(self.new_bias)
        total = self.bias + self.increment
        lowest = sum_is(self.bias, self.increment, -(1 << (bits - 1)))
        m.d.comb += self.new_bias.eq(saturate(total, bits, lowest))
        return m
