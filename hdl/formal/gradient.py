"""Increments are what section 9 of the contract says."""

from amaranth.hdl import *

from golden.formats import Formats
from golden.parameters import Parameters
from hdl.formal.bench import Bench, implies, within
from hdl.gradient import BiasIncrement, Gradient, UpdateStep


def gradient(p: Parameters) -> Bench:
    """For every delta, exponent, random number, layer and rate shift, two clocks later."""
    bench = Bench()
    m = bench.module
    step, unit = bench.unit(UpdateStep(p), "step"), bench.unit(Gradient(p))
    m.d.comb += unit.rounding.eq(step.rounding[0])
    m.d.sync += unit.amount.eq(step.amount)
    bench.assume(within(unit.delta, (1 << (Formats.of(p).delta_bits - 1)) - 1))
    bench.assume(step.exponent <= p.activation_bits)
    bench.assume(step.layer < p.depth)
    bench.assume(step.rate_shift <= p.max_rate_shift)

    d, e, layer, sh, random = (
        bench.past(value, name, clocks)
        for value, name, clocks in (
            (unit.delta, "delta", 1),
            (step.exponent, "exponent", 1),
            (step.layer, "layer", 2),
            (step.rate_shift, "rate_shift", 2),
            (step.random[0], "random", 1),
        )
    )
    u = p.update_bits
    kept = Signal(len(unit.increment), name="no_step")
    updated = Signal()
    m.d.sync += [updated.eq(unit.enable7), kept.eq(unit.increment)]
    bench.prove(implies(~updated, unit.increment == kept.as_signed()), "held without a step")
    expected = Signal(signed(len(d) + p.activation_bits + 2))
    for shift in range(p.max_rate_shift + 1):
        for position, k in enumerate(p.update_shifts):
            n = k + shift
            r = (((random << 1) + 1) << n) >> (u + 1)
            with m.If((layer == position) & (sh == shift)):
                m.d.sync += expected.eq(((d << e) + r) >> n)
    # Behind a reset, K is of no layer yet.
    begun = bench.past(Const(1), "begun", 3)
    bench.prove(
        implies(updated & begun, unit.increment == expected),
        "the increment is the shifted delta, rounded, in full width",
    )
    return bench


def bias_increment(p: Parameters) -> Bench:
    """For every delta and rate shift."""
    bench = Bench()
    unit = bench.unit(BiasIncrement(p))
    bench.assume(within(unit.delta, (1 << (Formats.of(p).delta_bits - 1)) - 1))
    bench.assume(unit.rate_shift <= p.max_rate_shift)
    for shift in range(p.max_rate_shift + 1):
        n = p.bias_shift + shift
        expected = (unit.delta + ((1 << n) >> 1)) >> n
        bench.prove(
            implies(unit.rate_shift == shift, unit.increment == expected),
            "the increment is the shifted delta, rounded half up, in full width",
        )
    return bench
