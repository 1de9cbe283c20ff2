"""One lane: the arithmetic of one output unit, from the memory words to the new weight."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats, unsigned_bits
from golden.parameters import Parameters
from hdl.accumulate import Accumulate, Select
from hdl.booth import Booth
from hdl.connect import Connect, random_shape
from hdl.gradient import Gradient, amount_shape, rounding_shape
from hdl.shapes import delta_shape, sum_shape
from hdl.update import UpdateWeight


def lane_signature(parameters: Parameters) -> wiring.Signature:
    """Return the ports of a lane."""
    p = parameters
    formats = Formats.of(p)
    return wiring.Signature(
        {
            "weight5": In(signed(p.weight_bits)),
            "delta5": In(delta_shape(p)),
            "random5": In(random_shape(p)),
            "half5": In(1),
            "plane5": In(unsigned_bits(p.planes - 1)),
            "exact5": In(1),
            "exact6": In(1),
            "entry5": In(1),
            "backward5": In(1),
            "value6": In(formats.value_bits),
            "bias6": In(signed(p.bias_bits)),
            "accumulate6": In(1),
            "first6": In(1),
            "rounding6": In(rounding_shape(p)),
            "amount7": In(amount_shape(p)),
            "backward7": In(1),
            "backward8": In(1),
            "host_load": In(1),
            "host_data": In(signed(p.weight_bits)),
            "weight": Out(signed(p.weight_bits)),
            "draw": Out(signed(2 + p.draw_fraction_bits)),
            "delta": Out(delta_shape(p)),
            "accumulator": Out(sum_shape(p)),
            "term": Out(signed(formats.product_bits)),
            "carry": Out(1),
            "increment": Out(signed(formats.increment_bits)),
            "new_weight": Out(signed(p.weight_bits)),
        }
    )


class Lane(wiring.Component):
    """Stages s5 to s9 of the step pipeline for one lane (``docs/architecture.md``, section 6).

    The digit in a name is the stage whose step the signal belongs to.

    Attributes:
        weight5: Weight word.
        delta5: Delta word.
        random5: Random bits of the draw.
        half5: Their half step.
        plane5: Plane of the step, for the rule exact.
        exact5: The rule is exact, for the step at s5.
        exact6: The same for the step at s6.
        entry5: The step is an entry.
        backward5: It is a backward entry.
        value6: Value of the list entry, shifted to its place; 0 for an end step.
        bias6: Bias word of the step at s6.
        accumulate6: The step is a forward entry or end.
        first6: It is the first of its block.
        rounding6: What is added to the delta before its shift.
        amount7: Shift of the delta.
        backward7: The step is a backward entry.
        backward8: The step is a backward entry.
        host_load: Put ``host_data`` into the register of s9 (only while no step is under way).
        host_data: A weight.
        weight: ``weight`` register of s6.
        draw: ``draw`` register of s6.
        delta: ``delta`` register of s6.
        accumulator: ``accumulator`` register of s7.
        term: ``T * d`` less ``carry``, s7.
        carry: 1 to add to it, s7.
        increment: ``increment`` register of s8.
        new_weight: ``new_weight`` register of s9.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        super().__init__(lane_signature(parameters))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        g, f = p.draw_fraction_bits, p.accumulator_fraction_bits

        m.submodules.connect = connect = Connect(p)
        m.d.comb += [
            connect.weight.eq(self.weight5),
            connect.random.eq(self.random5),
            connect.half.eq(self.half5),
        ]
        draw = connect.draw
        if p.inference == "exact":
            m.submodules.booth = booth = Booth(p)
            m.d.comb += [booth.weight.eq(self.weight5), booth.plane.eq(self.plane5)]
            draw = Mux(self.exact5, booth.digit, draw)
        with m.If(self.entry5):
            m.d.sync += [self.weight.eq(self.weight5), self.draw.eq(draw)]
        with m.If(self.backward5):
            m.d.sync += self.delta.eq(self.delta5)

        m.submodules.accumulate = accumulate = Accumulate(p)
        # The shifted bias fits a sum: golden.formats counts it in. With drawn weights it has g
        # fraction bits; those below are 0.
        bias_term = Signal(sum_shape(p))
        low = self.exact6.replicate(f - g)
        kept = Cat(low, Const(-1, signed(len(bias_term) - len(low)))).as_signed()
        m.d.comb += [
            bias_term.eq(self.bias6.shift_left(f).shift_right(p.bias_fraction_bits)),
            accumulate.base.eq(Mux(self.first6, bias_term & kept, self.accumulator)),
            accumulate.draw.eq(self.draw),
            accumulate.value.eq(self.value6),
        ]
        with m.If(self.accumulate6):
            m.d.sync += self.accumulator.eq(accumulate.total)

        m.submodules.select = select = Select(len(self.delta), g)
        m.d.comb += [
            select.draw.eq(self.draw),
            select.x.eq(self.delta),
            self.term.eq(select.term),
            self.carry.eq(select.carry),
        ]

        m.submodules.gradient = gradient = Gradient(p)
        m.d.comb += [
            gradient.delta.eq(self.delta),
            gradient.rounding.eq(self.rounding6),
            gradient.amount.eq(self.amount7),
            gradient.enable7.eq(self.backward7),
            self.increment.eq(gradient.increment),
        ]

        # Without a reset, like all that only counts with a step.
        weight7 = Signal.like(self.weight, name="weight7", reset_less=True)
        weight8 = Signal.like(self.weight, name="weight8", reset_less=True)
        m.d.sync += [weight7.eq(self.weight), weight8.eq(weight7)]
        m.submodules.update_weight = update_weight = UpdateWeight(p)
        m.d.comb += [
            update_weight.weight.eq(weight8),
            update_weight.increment.eq(self.increment),
        ]
        with m.If(self.backward8):
            m.d.sync += self.new_weight.eq(update_weight.new_weight)
        with m.If(self.host_load):
            m.d.sync += self.new_weight.eq(self.host_data)
        return m
