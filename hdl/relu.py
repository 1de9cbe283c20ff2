"""The saturating ReLU of the hidden layers, which rounds up."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats, unsigned_bits
from golden.parameters import Parameters
from hdl.rounding import shift_by_layer


class Relu(wiring.Component):
    """From a hidden unit's sum to its activation in two clocks (contract, section 6).

    ``h = min((max(z, 0) + 2**(s+g) - 1) >> (s+g), 2**A - 1)``, one sum a clock. Stages are named as
    in ``docs/architecture.md``, section 7.

    Attributes:
        valid: ``total`` is to become an activation (e2).
        layer: Hidden layer, counted from 0, whose shift counts (e2).
        total: ``z``, ``f`` fraction bits (e2).
        activation: ``h``, a register (e4); held unless ``valid`` was set two clocks before.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        super().__init__(
            {
                "valid": In(1),
                "layer": In(unsigned_bits(parameters.depth - 2)),
                "total": In(signed(Formats.of(parameters).accumulator_bits)),
                "activation": Out(unsigned(parameters.activation_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        shifts = [s + p.accumulator_fraction_bits for s in p.activation_shifts[:-1]]
        positive = self.total[:-1] & (~self.total[-1]).replicate(len(self.total) - 1)
        shifted = shift_by_layer(positive, self.layer, shifts, lambda n: (1 << n) - 1)

        valid3 = Signal()
        rounded = Signal(shifted.shape())
        m.d.sync += [valid3.eq(self.valid), rounded.eq(shifted)]
        low, high = rounded[: p.activation_bits], rounded[p.activation_bits :]
        with m.If(valid3):
            m.d.sync += self.activation.eq(low | high.any().replicate(p.activation_bits))
        return m
