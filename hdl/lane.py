"""One lane: the arithmetic of one output unit, from the memory words to the new weight."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats, unsigned_bits
from golden.parameters import Parameters
from hdl.accumulate import Accumulate, Select
from hdl.booth import Booth
from hdl.connect import Connect
from hdl.gradient import Gradient
from hdl.shapes import delta_shape, sum_shape
from hdl.update import UpdateBias, UpdateWeight


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
        delta_enable5: It is a backward entry or end.
        value6: Value of the list entry, shifted to its place; 0 for an end step.
        bias: Bias word: of the step at s6 going forward, at s8 going backward.
        accumulate6: The step is a forward entry or end.
        first6: It is the first of its block.
        amount6: Shift of the delta.
        random7: Random bits of the update.
        bias7: The step is an end.
        increment7: The step is a backward entry or end.
        weight_enable8: The step is a backward entry.
        bias_enable8: The step is a backward end.
        host_load: Put ``host_data`` into the registers of s9 (only while no step is under way).
        host_data: A word for either register.
        weight: ``weight`` register of s6.
        draw: ``draw`` register of s6.
        delta: ``delta`` register of s6.
        accumulator: ``accumulator`` register of s7.
        product: ``T * d``, s7.
        increment: ``increment`` register of s8.
        new_weight: ``new_weight`` register of s9.
        new_bias: ``new_bias`` register of s9.
    """

    def __init__(self, parameters: Parameters) -> None:
        p = parameters
        self._p = p
        formats = Formats.of(p)
        self._connect = connect = Connect(p)
        self._gradient = gradient = Gradient(p)
        super().__init__(
            {
                "weight5": In(signed(p.weight_bits)),
                "delta5": In(delta_shape(p)),
                "random5": In(connect.random.shape()),
                "half5": In(1),
                "plane5": In(unsigned_bits(p.planes - 1)),
                "exact5": In(1),
                "exact6": In(1),
                "entry5": In(1),
                "delta_enable5": In(1),
                "value6": In(formats.value_bits),
                "bias": In(signed(p.bias_bits)),
                "accumulate6": In(1),
                "first6": In(1),
                "amount6": In(gradient.amount.shape()),
                "random7": In(gradient.random.shape()),
                "bias7": In(1),
                "increment7": In(1),
                "weight_enable8": In(1),
                "bias_enable8": In(1),
                "host_load": In(1),
                "host_data": In(32),
                "weight": Out(signed(p.weight_bits)),
                "draw": Out(connect.draw.shape()),
                "delta": Out(delta_shape(p)),
                "accumulator": Out(sum_shape(p)),
                "product": Out(signed(formats.product_bits)),
                "increment": Out(signed(formats.increment_bits)),
                "new_weight": Out(signed(p.weight_bits)),
                "new_bias": Out(signed(p.bias_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        g, f = p.draw_fraction_bits, p.accumulator_fraction_bits

        m.submodules.connect = connect = self._connect
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
        with m.If(self.delta_enable5):
            m.d.sync += self.delta.eq(self.delta5)

        m.submodules.accumulate = accumulate = Accumulate(p)
        # The shifted bias fits a sum: golden.formats counts it in. With drawn weights it has g
        # fraction bits; those below are 0.
        bias_term = Signal(sum_shape(p))
        low = self.exact6.replicate(f - g)
        kept = Cat(low, Const(-1, signed(len(bias_term) - len(low)))).as_signed()
        m.d.comb += [
            bias_term.eq(self.bias.shift_left(f).shift_right(p.bias_fraction_bits)),
            accumulate.base.eq(Mux(self.first6, bias_term & kept, self.accumulator)),
            accumulate.draw.eq(self.draw),
            accumulate.value.eq(self.value6),
        ]
        with m.If(self.accumulate6):
            m.d.sync += self.accumulator.eq(accumulate.total)

        m.submodules.select = select = Select(len(self.delta), g)
        m.d.comb += [select.draw.eq(self.draw), select.x.eq(self.delta)]
        m.d.sync += self.product.eq(select.product)

        m.submodules.gradient = gradient = self._gradient
        m.d.comb += [
            gradient.delta.eq(self.delta),
            gradient.amount.eq(self.amount6),
            gradient.random.eq(self.random7),
            gradient.bias.eq(self.bias7),
            gradient.enable7.eq(self.increment7),
            self.increment.eq(gradient.increment),
        ]

        weight7 = Signal.like(self.weight, name="weight7")
        weight8 = Signal.like(self.weight, name="weight8")
        m.d.sync += [weight7.eq(self.weight), weight8.eq(weight7)]
        m.submodules.update_weight = update_weight = UpdateWeight(p)
        m.submodules.update_bias = update_bias = UpdateBias(p)
        m.d.comb += [
            update_weight.weight.eq(weight8),
            update_weight.increment.eq(self.increment),
            update_bias.bias.eq(self.bias),
            update_bias.increment.eq(self.increment),
        ]
        with m.If(self.weight_enable8):
            m.d.sync += self.new_weight.eq(update_weight.new_weight)
        with m.If(self.bias_enable8):
            m.d.sync += self.new_bias.eq(update_bias.new_bias)
        with m.If(self.host_load):
            # Narrowed to what the host has checked to fit.
            m.d.sync += [
                self.new_weight.eq(self.host_data[: p.weight_bits]),
                self.new_bias.eq(self.host_data[: p.bias_bits]),
            ]
        return m
