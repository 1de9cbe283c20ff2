"""The loss: squared hinge deltas and the running prediction."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats, unsigned_bits
from golden.parameters import Parameters


class Loss(wiring.Component):
    """From the output sums, one a clock, to prediction and output deltas (contract, section 7).

    Stage names are those of ``docs/architecture.md``, section 7.

    Attributes:
        valid: ``total`` is an output unit's sum (e2).
        index: Number of the unit (e2). Units come in ascending order.
        total: ``z``, ``g`` fraction bits (e2).
        label: Class of the sample; stable while a sample's units pass.
        clear: Forget the sample: ``any`` is 0 and the next sum is the largest.
        output_delta: ``d_L``, a register (e4); held unless ``valid`` was set two clocks before.
        best_sum: Largest sum since ``clear``.
        best_index: The lowest unit that has it: the prediction.
        any: Some output delta since ``clear`` is not 0; set in the clock after e4.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        self._formats = formats = Formats.of(parameters)
        index = unsigned(unsigned_bits(parameters.layers[-1] - 1))
        super().__init__(
            {
                "valid": In(1),
                "index": In(index),
                "total": In(signed(formats.sum_bits)),
                "label": In(index),
                "clear": In(1),
                "output_delta": Out(signed(parameters.output_delta_bits)),
                "best_sum": Out(signed(formats.sum_bits)),
                "best_index": Out(index),
                "any": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p

        best_valid = Signal()
        with m.If(self.valid):
            m.d.sync += best_valid.eq(1)
            with m.If(~best_valid | (self.total > self.best_sum)):
                m.d.sync += [self.best_sum.eq(self.total), self.best_index.eq(self.index)]

        # e3. A sum of the output layer is bounded by that layer's size, and so is its logit: bits
        # beyond logit_bits, which the sums of a wider layer may use, repeat the sign.
        valid3, is_label3 = Signal(), Signal()
        logit = Signal(signed(self._formats.logit_bits))
        shifted = self.total.shift_right(p.activation_shifts[-1] + p.draw_fraction_bits)
        m.d.sync += [
            valid3.eq(self.valid),
            is_label3.eq(self.index == self.label),
            logit.eq(shifted[: len(logit)].as_signed()),
        ]

        # e4. The label's delta is M - o cut to 0 .. max, the others' -M - o cut to -max .. 0.
        delta_max = p.output_delta_max
        raw = Mux(is_label3, p.margin, -p.margin) - logit
        low, high = Mux(is_label3, 0, -delta_max), Mux(is_label3, delta_max, 0)
        clipped = Mux(raw < low, low, Mux(raw > high, high, raw))
        valid4 = Signal()
        m.d.sync += valid4.eq(valid3)
        with m.If(valid3):
            m.d.sync += self.output_delta.eq(clipped[: len(self.output_delta)].as_signed())
        with m.If(valid4 & (self.output_delta != 0)):
            m.d.sync += self.any.eq(1)

        with m.If(self.clear):
            m.d.sync += [best_valid.eq(0), self.any.eq(0)]
        return m
