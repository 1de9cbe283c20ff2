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
    """Over a list of at most as many entries as the widest layer has inputs, by every rule.

    With drawn weights the bound of the sum is proved. In the rule exact it is assumed, since it
    follows from all planes of a list at once (contract, section 13); what is proved is that a sum
    within it is right: bias term, digits, products.
    """
    bench, unit = _lane(p)
    m = bench.module
    f, g = p.accumulator_fraction_bits, p.draw_fraction_bits
    most = max(p.layers[:-1])
    bench.assume(within(unit.bias6, p.bias_max))
    term = (((unit.bias6 << g) >> p.bias_fraction_bits) << (f - g)).as_signed()
    exact = Const(0)
    if p.inference == "exact":
        exact = unit.exact6
        term = Mux(exact, (unit.bias6 << f) >> p.bias_fraction_bits, term)
        _prove_digit(bench, p, unit)
    drawn = bench.named(unit.accumulate6 & ~exact, "drawn")
    of_block = Signal(name="exact_of_block")
    bench.assume(implies(unit.accumulate6 & ~unit.first6, exact == of_block))
    bench.assume(implies(drawn, unit.value6 <= p.activation_max << (f - g)))
    entries = Signal(range(most + 1))
    counted = bench.named(Mux(unit.first6, 0, entries) + unit.value6.any(), "counted")
    bench.assume(implies(drawn, counted <= most))
    base = Mux(unit.first6, term, unit.accumulator)
    following = bench.named(base + unit.draw * unit.value6, "following")
    total = Signal(signed(len(unit.accumulator) + 4))
    summed = Signal()
    m.d.sync += summed.eq(unit.accumulate6)
    with m.If(unit.accumulate6):
        m.d.sync += [total.eq(following), of_block.eq(exact)]
    with m.If(drawn):
        m.d.sync += entries.eq(counted)
    largest = (p.bias_max << f >> p.bias_fraction_bits) + 1 + (most * p.activation_max << f)
    bench.assume(implies(unit.accumulate6 & exact, within(following, largest)))
    bound = (((p.bias_max << g) >> p.bias_fraction_bits) + 1 << (f - g)) + entries * (
        p.activation_max << f
    )
    bench.prove(
        implies(~of_block, within(unit.accumulator, bound)),
        "every entry adds at most the largest activation",
    )
    bench.prove(
        implies(summed, unit.accumulator == total),
        "the sum is the bias term and the products so far, in full width",
    )
    return bench


def _prove_digit(bench: Bench, p: Parameters, unit: Lane) -> None:
    """Claim that a step of the rule exact multiplies by its plane's digit (section 13)."""
    plane, exact = Signal.like(unit.plane5, name="plane6"), Signal(name="exact_of_step")
    with bench.module.If(unit.entry5):
        bench.module.d.sync += [plane.eq(unit.plane5), exact.eq(unit.exact5)]
    bench.prove(plane < p.planes, "a plane is one of the weight")
    # w_(-1) = 0 is below, and bits beyond the highest are the sign.
    bits = Cat(Const(0, 1), unit.weight).as_signed() >> (p.draw_steps * plane)
    digit = bits[0] - bits[1]
    if p.draw_steps > 1:
        digit = bits[0] + bits[1] - (bits[2] << 1)
    bench.prove(
        implies(exact, unit.draw == digit), "in the rule exact, a digit of the step's weight"
    )
