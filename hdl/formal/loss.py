"""The loss: deltas, sums over the passes, and the lowest unit with the largest sum."""

from amaranth.hdl import *

from golden.formats import EXTRA_DRAWS_BITS
from golden.parameters import Parameters
from hdl.formal.bench import Bench, implies, memory_word, within
from hdl.loss import Loss


def _positive(value: Value) -> Value:
    return Mux(value > 0, value, 0)


def loss(p: Parameters) -> Bench:
    """For every sum that the output layer can have, units in ascending order."""
    bench = Bench()
    m = bench.module
    unit = bench.unit(Loss(p))
    classes, f = p.layers[-1], p.accumulator_fraction_bits
    bound = (p.layers[-2] * p.activation_max << f) + (p.bias_max << f >> p.bias_fraction_bits) + 1
    passes = 1 << EXTRA_DRAWS_BITS
    bench.assume(implies(unit.valid, within(unit.total, bound)))
    valid = [unit.valid]
    for clock in range(2):
        valid.append(bench.past(valid[-1], f"valid{clock}"))
    # The trainer clears when the last unit has been through.
    bench.assume(implies(unit.clear, ~Cat(valid).any()))

    # Units ascend, and all passes of a sample follow one another.
    following = Signal(range(classes + 1))
    with m.If(unit.valid):
        m.d.sync += following.eq(unit.index + 1)
    with m.If(unit.clear):
        m.d.sync += following.eq(0)
    bench.assume(implies(unit.valid, (unit.index >= following) & (unit.index < classes)))
    bench.prove(following <= classes, "units are those of the output layer")

    z, o = bench.past(unit.total, "total", 2), Signal(signed(len(unit.total)))
    is_label = bench.past(unit.index == unit.label, "is_label", 2)
    m.d.comb += o.eq(z >> (p.activation_shifts[-1] + f))
    limit = p.output_delta_max
    wide = Mux(is_label, _positive(p.margin - o), -_positive(p.margin + o))
    delta = Mux(wide > limit, limit, Mux(wide < -limit, -limit, wide))
    bench.prove(unit.summed == valid[2], "a unit takes two clocks")
    bench.prove(
        implies(valid[2], unit.output_delta == delta), "the delta is the hinge's, saturated"
    )
    bench.prove(
        implies(valid[2], unit.summed_index == bench.past(unit.index, "index", 2)),
        "units keep their order",
    )

    # One unit: its sum over the passes, and what the prediction says of it.
    index = bench.fixed(unit.index.shape(), "unit_index")
    bench.assume(index < classes)
    word = memory_word(unit, "logits", index, unit.logit_sum.shape())
    here = bench.named(unit.summed & (unit.summed_index == index), "here")
    done = Signal(range(passes + 1))
    at_e3 = bench.past(unit.valid & (unit.index == index), "at_e3")
    number = bench.named(Mux(unit.again, done, 0), "number")
    bench.assume(implies(at_e3 & unit.again, (done >= 1) & (done < passes)))
    with m.If(at_e3):
        m.d.sync += done.eq(number + 1)
    total = Signal(signed(len(unit.logit_sum) + 1))
    m.d.sync += total.eq(bench.past(unit.total, "z") + Mux(unit.again, word, 0))
    bench.prove(
        implies(here, unit.logit_sum == total), "a logit is the sum over the passes, in full width"
    )
    landed = ~here & (done >= 1)
    bench.prove(implies(landed, within(word, done * bound)), "a pass adds at most a sum")
    bench.prove(implies(here, within(unit.logit_sum, done * bound)), "a pass adds at most a sum")

    seen = Signal()
    mine = Signal.like(unit.logit_sum)
    any_ = Signal()
    latest = Signal(range(classes + 1))
    with m.If(unit.summed):
        m.d.sync += latest.eq(unit.summed_index + 1)
        with m.If(unit.output_delta != 0):
            m.d.sync += any_.eq(1)
    with m.If(here):
        m.d.sync += [seen.eq(1), mine.eq(unit.logit_sum)]
    with m.If(unit.clear):
        m.d.sync += [seen.eq(0), any_.eq(0), latest.eq(0)]
    best = unit.best_index
    bench.prove(unit.best_valid == (latest != 0), "the first unit is the best so far")
    bench.prove(latest <= following, "units keep their order")
    bench.prove(implies(unit.summed, unit.summed_index >= latest), "units keep their order")
    late = bench.past(unit.index, "index_at_e3")
    bench.prove(implies(valid[1], late >= latest), "units keep their order")
    bench.prove(unit.any == any_, "some delta is not 0")
    bench.prove(implies(seen, (latest > index) & (latest > best)), "the best unit was seen")
    bench.prove(implies(latest != 0, latest > best), "the best unit was seen")
    bench.prove(
        implies(seen, (mine < unit.best_sum) | ((mine == unit.best_sum) & (index >= best))),
        "no unit has a larger sum, and none before the best an equal one",
    )
    bench.prove(
        implies(seen & (index == best), mine == unit.best_sum), "the largest sum is the best unit's"
    )
    bench.prove(implies((latest > index) & (best == index), seen), "the best unit was seen")
    return bench
