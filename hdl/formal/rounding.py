"""Saturation and rounding shifts are clip and floor."""

from amaranth.hdl import *

from golden.parameters import Parameters
from hdl.formal.bench import Bench, clip, implies, within
from hdl.gradient import HiddenDelta
from hdl.relu import Relu
from hdl.update import UpdateBias, UpdateWeight


def update_weight(p: Parameters) -> Bench:
    """For every increment and every weight, in its range or not."""
    bench = Bench()
    unit = bench.unit(UpdateWeight(p))
    bench.prove(within(unit.new_weight, p.weight_max), "a new weight is in its range")
    bench.prove(
        unit.new_weight == clip(unit.weight + unit.increment, p.weight_max),
        "the new weight is the saturated sum",
    )
    return bench


def update_bias(p: Parameters) -> Bench:
    """For every increment and every bias, in its range or not."""
    bench = Bench()
    unit = bench.unit(UpdateBias(p))
    bench.prove(within(unit.new_bias, p.bias_max), "a new bias is in its range")
    bench.prove(
        unit.new_bias == clip(unit.bias + unit.increment, p.bias_max),
        "the new bias is the saturated sum",
    )
    return bench


def hidden_delta(p: Parameters) -> Bench:
    """For every backward sum and layer."""
    bench = Bench()
    unit = bench.unit(HiddenDelta(p))
    bench.assume((unit.layer >= 1) & (unit.layer < p.depth))
    bench.prove(within(unit.hidden_delta, p.hidden_delta_max), "a hidden delta is in its range")
    for layer, shift in enumerate(p.delta_shifts, start=1):
        n = shift + p.draw_fraction_bits
        expected = clip((unit.partial + ((1 << n) >> 1)) >> n, p.hidden_delta_max)
        bench.prove(
            implies(unit.layer == layer, unit.hidden_delta == expected),
            "the hidden delta is the backward sum, rounded half up and saturated",
        )
    return bench


def relu(p: Parameters) -> Bench:
    """For every sum and hidden layer, two clocks later."""
    bench = Bench()
    unit = bench.unit(Relu(p))
    bench.assume(unit.layer < p.depth - 1)
    total, layer = bench.past(unit.total, "total"), bench.past(unit.layer, "layer")
    valid = bench.past(unit.valid, "valid")
    expected = Signal(p.activation_bits)
    for position, shift in enumerate(p.activation_shifts[:-1]):
        n = shift + p.accumulator_fraction_bits
        rounded = (Mux(total > 0, total, 0) + (1 << n) - 1) >> n
        with bench.module.If(valid & (layer == position)):
            bench.module.d.sync += expected.eq(
                Mux(rounded > p.activation_max, p.activation_max, rounded)
            )
    bench.prove(
        unit.activation == expected,
        "an activation is the positive part of its sum, rounded up and saturated, or held",
    )
    return bench
