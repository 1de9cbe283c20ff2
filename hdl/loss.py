"""The loss: squared hinge deltas, logits summed over passes, and the running prediction."""

from amaranth.hdl import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats, unsigned_bits
from golden.parameters import Parameters
from hdl.collision import UNUSED_ON_COLLISION
from hdl.shapes import depth_of


class Loss(wiring.Component):
    """From the output sums, one a clock, to prediction and output deltas (contract, section 7).

    Stage names are those of ``docs/architecture.md``, section 7.

    Attributes:
        valid: ``total`` is an output unit's sum (e2).
        index: Number of the unit (e2). Units come in ascending order.
        total: ``z``, ``f`` fraction bits (e2).
        again: The sample has been passed before: its sums add to those of the passes before.
        label: Class of the sample; stable while a sample's units pass.
        clear: Forget the sample: ``any`` is 0 and the next sum is the largest.
        output_delta: ``d_L``, a register (e4); held unless ``valid`` was set two clocks before.
        logit_sum: Sum of ``total`` over the passes, a register (e4); held likewise.
        summed: ``logit_sum`` is that of unit ``summed_index`` (e4).
        summed_index: Number of a unit.
        best_sum: Largest ``logit_sum`` since ``clear``; set in the clock after e4.
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
                "total": In(signed(formats.accumulator_bits)),
                "again": In(1),
                "label": In(index),
                "clear": In(1),
                "output_delta": Out(signed(parameters.output_delta_bits)),
                "logit_sum": Out(signed(formats.logit_sum_bits)),
                "best_sum": Out(signed(formats.logit_sum_bits)),
                "best_index": Out(index),
                "any": Out(1),
            }
        )
        self.summed = Signal()
        self.summed_index = Signal(index)
        #: A unit of the sample has been compared.
        self.best_valid = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p

        # e3. A sum of the output layer is bounded by that layer's size, and so is its logit: bits
        # beyond logit_bits, which the sums of a wider layer may use, repeat the sign.
        valid3 = Signal()
        is_label3 = Signal()
        total3 = Signal.like(self.total)
        index3 = Signal.like(self.index)
        logit = Signal(signed(self._formats.logit_bits))
        shift = p.activation_shifts[-1] + p.accumulator_fraction_bits
        shifted = self.total.shift_right(shift)
        m.d.sync += [
            valid3.eq(self.valid),
            is_label3.eq(self.index == self.label),
            logit.eq(shifted[: len(logit)].as_signed()),
            total3.eq(self.total),
            index3.eq(self.index),
        ]
        m.submodules.logits = logits = memory.Memory(
            shape=self.logit_sum.shape(),
            depth=depth_of(p.layers[-1]),
            init=[],
            attrs=UNUSED_ON_COLLISION,
        )
        read, write = logits.read_port(), logits.write_port()
        m.d.comb += read.addr.eq(self.index)

        # e4. The label's delta is M - o cut to 0 .. max, the others' -M - o cut to -max .. 0.
        delta_max = p.output_delta_max
        raw = Mux(is_label3, p.margin, -p.margin) - logit
        low, high = Mux(is_label3, 0, -delta_max), Mux(is_label3, delta_max, 0)
        clipped = Mux(raw < low, low, Mux(raw > high, high, raw))
        valid4 = Signal()
        index4 = Signal.like(self.index)
        m.d.sync += [valid4.eq(valid3), index4.eq(index3)]
        with m.If(valid3):
            # golden.formats counts all passes: what is cut off repeats the sign.
            summed = total3 + Mux(self.again, read.data, 0)
            m.d.sync += [
                self.output_delta.eq(clipped[: len(self.output_delta)].as_signed()),
                self.logit_sum.eq(summed[: len(self.logit_sum)].as_signed()),
            ]
        m.d.comb += [
            write.addr.eq(index4),
            write.data.eq(self.logit_sum),
            write.en.eq(valid4),
            self.summed.eq(valid4),
            self.summed_index.eq(index4),
        ]
        with m.If(valid4):
            m.d.sync += self.best_valid.eq(1)
            with m.If(~self.best_valid | (self.logit_sum > self.best_sum)):
                m.d.sync += [self.best_sum.eq(self.logit_sum), self.best_index.eq(index4)]
            with m.If(self.output_delta != 0):
                m.d.sync += self.any.eq(1)

        with m.If(self.clear):
            m.d.sync += [self.best_valid.eq(0), self.any.eq(0)]
        return m
