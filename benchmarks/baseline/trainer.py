"""The trainer with three multipliers a lane, in the frame of ``hdl.trainer``.

It has the same lists, skips, memories, streams and pipeline, to the clock. A lane multiplies where
the product's selects and shifts: ``W * x`` forward, ``W * d`` backward, ``d * x`` for the update,
all of them registered. That is the network of ``connect = "none"`` and ``quantizer = "none"``
(contract, section 11), for which the golden model says what every bit must be.
"""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from golden.formats import unsigned_bits
from golden.parameters import Parameters
from golden.state import State
from hdl.gradient import update_step_signature
from hdl.lane import lane_signature
from hdl.rounding import add_carry, saturate
from hdl.shapes import constant, sum_shape
from hdl.trainer import Trainer
from hdl.verilog import Generated, generate_trainer


def with_multipliers(parameters: Parameters) -> Parameters:
    """Return the parameters of the trainer with multipliers of a network."""
    return parameters.replace(
        connect="none",
        draw_steps=1,
        draw="deterministic",
        quantizer="none",
        inference="drawn",
    )


def _amount_shape(parameters: Parameters) -> Shape:
    p = parameters
    largest = max(p.update_shifts) - least_shift(p)
    return Shape.cast(range(largest + (1 << unsigned_bits(p.max_rate_shift))))


class ProductStep(wiring.Component):
    """The shift of the products ``d * x``, ``K`` above its smallest value, and their random bits.

    The random bits pass as they are: a product is rounded behind its shift.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = p = parameters
        super().__init__(update_step_signature(p, _amount_shape(p), unsigned(p.update_bits)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        least = least_shift(self._p)
        step = constant(m, self.layer, [k - least for k in self._p.update_shifts], "step")
        m.d.sync += self.amount.eq(step + self.rate_shift)
        m.d.comb += self.rounding.eq(self.random)
        return m


def least_shift(parameters: Parameters) -> int:
    """Return the shift of a product that needs no multiplexer."""
    return min(*parameters.update_shifts, parameters.update_bits + 1)


class MultiplierLane(wiring.Component):
    """A lane that multiplies; ports are those of ``hdl.lane.Lane``, clocks too."""

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        members = dict(lane_signature(parameters).members)
        super().__init__(
            members
            | {
                "rounding6": In(parameters.update_bits),
                "amount7": In(_amount_shape(parameters)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        u, least = p.update_bits, least_shift(p)
        with m.If(self.entry5):
            m.d.sync += [self.weight.eq(self.weight5), self.draw.eq(self.weight5)]
        with m.If(self.backward5):
            m.d.sync += self.delta.eq(self.delta5)
        value6 = Cat(self.value6, Const(0, 1)).as_signed()

        # The product of a step is added in the clock in which the next one is multiplied. An end
        # step has none; one that is the first of its block, of an empty list, takes the bias.
        forward = Signal(signed(len(self.weight) + len(value6)))
        added = Signal()
        first = Signal()
        bias_term = Signal(sum_shape(p))
        bias7 = Signal.like(bias_term)
        entry6 = Signal()
        m.d.comb += bias_term.eq(
            self.bias6.shift_left(p.draw_fraction_bits).shift_right(p.bias_fraction_bits)
        )
        m.d.sync += [
            entry6.eq(self.entry5),
            forward.eq(self.weight * value6),
            added.eq(self.accumulate6 & entry6),
            first.eq(self.first6),
            bias7.eq(bias_term),
        ]
        with m.If(added):
            m.d.sync += self.accumulator.eq(Mux(first, bias7, self.accumulator) + forward)
        with m.Elif(self.accumulate6 & self.first6 & ~entry6):
            m.d.sync += self.accumulator.eq(bias_term)

        m.d.sync += self.term.eq(self.weight * self.delta)

        # ((d * x + r) >> K), with r = ((2R + 1) << K) >> (u + 1), is (v + 2R + 1) >> (u + 1), with
        # v = (d * x) << (u + 1) >> K: lower bits meet zeros of r, or are shifted out with them.
        gradient = Signal(signed(len(self.delta) + len(value6)))
        random7 = Signal.like(self.rounding6)
        m.d.sync += [gradient.eq(self.delta * value6), random7.eq(self.rounding6)]
        shifted = (gradient.shift_left(u + 1 - least)) >> self.amount7
        fraction = shifted[: u + 1] + Cat(Const(1, 1), random7)
        whole, carry = Signal.like(self.increment), Signal()
        with m.If(self.backward7):
            m.d.sync += [whole.eq(shifted >> (u + 1)), carry.eq(fraction[-1])]
        m.d.comb += self.increment.eq(add_carry(whole, Const(0, signed(1)), carry))

        weight7, weight8 = Signal.like(self.weight), Signal.like(self.weight)
        m.d.sync += [weight7.eq(self.weight), weight8.eq(weight7)]
        with m.If(self.backward8):
            total = add_carry(weight8, whole, carry)
            m.d.sync += self.new_weight.eq(saturate(total, p.weight_bits))
        with m.If(self.host_load):
            m.d.sync += self.new_weight.eq(self.host_data)
        return m


class MultiplierTrainer(Trainer):
    """The trainer with such lanes."""

    lane_type, update_step_type = MultiplierLane, ProductStep

    def _check(self, parameters: Parameters) -> None:
        if parameters != with_multipliers(parameters):
            raise ValueError("the parameters are not those of with_multipliers")


def generate_baseline(parameters: Parameters, state: State, *, probed: bool = False) -> Generated:
    """Generate the trainer with multipliers, as ``hdl.verilog.generate`` does the product's.

    Raises:
        ValueError: If the parameters are not those of :func:`with_multipliers`.
    """
    return generate_trainer(MultiplierTrainer(parameters, state, probed=probed))
