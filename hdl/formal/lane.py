"""A lane's registers: what it draws, sums and writes back."""

from amaranth.hdl import *

from golden.formats import Formats
from golden.parameters import Parameters
from hdl.formal.bench import Bench, clip, implies, within
from hdl.lane import Lane


def _lane(p: Parameters) -> tuple[Bench, Lane]:
    """Return a bench with a lane whose words are within their formats."""
    bench = Bench()
    unit = bench.unit(Lane(p))
    delta_max = (1 << (Formats.of(p).delta_bits - 1)) - 1
    bench.assume(within(unit.weight5, p.weight_max))
    bench.assume(within(unit.delta5, delta_max))
    bench.assume(unit.plane5 < p.planes)
    bench.prove(within(unit.weight, p.weight_max), "the weight register is in its range")
    bench.prove(within(unit.delta, delta_max), "the delta register is in its range")
    bench.prove(within(unit.draw, 1 << p.draw_fraction_bits), "the drawn weight is in its range")
    return bench, unit


def write_back(p: Parameters) -> Bench:
    """Whatever the steps, from the weight that was read to the weight that is written."""
    bench, unit = _lane(p)
    m = bench.module
    # The window lets nothing else pass.
    bench.assume(implies(unit.host_load, within(unit.host_data, p.weight_max)))
    bench.prove(within(unit.new_weight, p.weight_max), "what is written is in its range")
    weight8 = bench.past(unit.weight, "weight", 2, reset_less=True)
    updated = bench.past(unit.backward8 & ~unit.host_load, "updated")
    expected = Signal(signed(p.weight_bits))
    m.d.sync += expected.eq(clip(weight8 + unit.increment, p.weight_max))
    bench.prove(
        implies(updated, unit.new_weight == expected),
        "what is written is the saturated sum of the step's own weight and increment",
    )
    product = bench.past(bench.named(unit.draw * unit.delta, "product"), "product", reset_less=True)
    bench.prove(unit.term + unit.carry == product, "term + carry == T * d, one clock later")
    return bench


def forward_sum(p: Parameters) -> Bench:
    """With drawn weights, over a list of at most as many entries as the widest layer has inputs."""
    bench, unit = _lane(p)
    m = bench.module
    f, g = p.accumulator_fraction_bits, p.draw_fraction_bits
    most = max(p.layers[:-1])
    bench.assume(~unit.exact6)
    bench.assume(within(unit.bias6, p.bias_max))
    bench.assume(unit.value6 <= p.activation_max << (f - g))
    entries = Signal(range(most + 1))
    counted = bench.named(Mux(unit.first6, 0, entries) + unit.value6.any(), "counted")
    bench.assume(counted <= most)
    term = (((unit.bias6 << g) >> p.bias_fraction_bits) << (f - g)).as_signed()
    base = Mux(unit.first6, term, unit.accumulator)
    total = Signal(signed(len(unit.accumulator) + 4))
    summed = Signal()
    m.d.sync += summed.eq(unit.accumulate6)
    with m.If(unit.accumulate6):
        m.d.sync += [entries.eq(counted), total.eq(base + unit.draw * unit.value6)]
    bound = (((p.bias_max << g) >> p.bias_fraction_bits) + 1 << (f - g)) + entries * (
        p.activation_max << f
    )
    bench.prove(within(unit.accumulator, bound), "every entry adds at most the largest activation")
    bench.prove(
        implies(summed, unit.accumulator == total),
        "the sum is the bias term and the products so far, in full width",
    )
    return bench
