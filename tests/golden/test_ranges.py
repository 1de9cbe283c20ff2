"""The proved ranges: each fits its register, its ends can be reached, and nothing goes beyond."""

import itertools

import pytest

from golden.accumulate import accumulate
from golden.connect import ternary
from golden.gradient import bias_increment, half, weight_increment
from golden.parameters import Parameters
from golden.probes import probe_table
from golden.quantize import nearest
from golden.ranges import SUMS, Range, bits_needed, register_ranges, sum_ranges
from golden.rounding import rounding
from tests.configurations import gateware_parameters

SEEDS = range(40)

#: So small that all operands can be tried.
TINY = Parameters(
    layers=(1, 1, 2),
    lanes=2,
    weight_bits=4,
    activation_bits=3,
    output_delta_bits=4,
    hidden_delta_bits=4,
    bias_bits=8,
    bias_fraction_bits=3,
    activation_shifts=(1, 1),
    delta_shifts=(1,),
    update_shifts=(3, 2),
    bias_shift=1,
    margin_bits=2,
    draw_bits=2,
    update_bits=2,
    schedule=(1, 2),
)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_range_fits_its_register(seed: int) -> None:
    p = gateware_parameters(seed)
    ranges = register_ranges(p)
    assert list(ranges) == [probe.name for probe in probe_table(p)]
    for probe in probe_table(p):
        assert ranges[probe.name].fits(probe.bits, probe.signed), probe.name
        assert ranges[probe.name].low <= ranges[probe.name].high
    sums = sum_ranges(p)
    assert {name for name, _ in sums} <= set(SUMS)
    assert {layer for _, layer in sums} == set(range(1, p.depth + 1))


def test_ends_are_those_of_all_operands() -> None:
    """The extremes over all weights, inputs, deltas, random bits and rates of a tiny network."""
    p, sums = TINY, sum_ranges(TINY)

    def ends(values: set[int]) -> tuple[int, int]:
        return min(values), max(values)

    def proved(name: str, layer: int) -> tuple[int, int]:
        return sums[name, layer].low, sums[name, layer].high

    weights = range(-p.weight_max, p.weight_max + 1)
    r = [rounding(random, p.draw_bits, p.draw_shift) for random in range(1 << p.draw_bits)]
    drawn = {ternary(w, each, p.draw_shift) for w in weights for each in r}
    assert ends({w + each for w in weights for each in r}) == proved("weight + r", 1)
    biases = range(-p.bias_max, p.bias_max + 1)
    inputs = range(p.activation_max + 1)
    z = {
        accumulate(bias >> p.bias_fraction_bits, t, x)
        for bias in biases
        for t in drawn
        for x in inputs
    }
    assert ends(z) == proved("forward sum", 1) == proved("forward sum", 2)

    o = {total >> p.activation_shifts[1] for total in z}
    margins = {p.margin + sign * each for each in o for sign in (-1, 1)}
    assert ends(margins) == proved("margin -+ logit", 2)
    output = {min(max(0, p.margin - each), p.output_delta_max) for each in o}
    output |= {-min(max(0, p.margin + each), p.output_delta_max) for each in o}
    registers = register_ranges(p)
    assert ends(output) == (registers["output_delta"].low, registers["output_delta"].high)
    products = {t * d for t in drawn for d in output}
    assert ends(products) == proved("T * delta", 2)
    partials = {a + b for a, b in itertools.product(products, repeat=2)}
    assert ends(partials) == proved("tree sum", 2)
    assert ends({each + half(p.delta_shifts[0]) for each in partials}) == proved(
        "partial + half", 2
    )

    totals, steps, changes = set(), set(), set()
    for d, rate, random, x in itertools.product(
        output, range(p.max_rate_shift + 1), range(1 << p.update_bits), inputs[1:]
    ):
        k = p.update_shifts[1] + rate
        each = rounding(random, p.update_bits, k)
        totals.add((d << nearest(x)) + each)
        steps.add(weight_increment(d, nearest(x), each, k))
        changes.add(bias_increment(d, p.bias_shift + rate))
    assert ends(totals) == proved("(delta << e) + r", 2)
    assert ends({w + step for w in weights for step in steps}) == proved("weight + increment", 2)
    assert ends({b + change for b in biases for change in changes}) == proved("bias + increment", 2)


@pytest.mark.parametrize(
    ("low", "high", "signed", "bits"),
    [(0, 0, False, 0), (0, 255, False, 8), (0, 256, False, 9), (0, 0, True, 1), (-1, 0, True, 1),
     (-128, 127, True, 8), (-129, 0, True, 9), (0, 128, True, 9)],
)  # fmt: skip
def test_bits_needed(low: int, high: int, signed: bool, bits: int) -> None:
    assert bits_needed(low, high, signed) == bits
    each = Range(low, high, "")
    assert each.fits(bits, signed)
    assert bits in (0, signed) or not each.fits(bits - 1, signed)


def test_what_is_outside() -> None:
    each = Range(-3, 3, "")
    assert each.holds(-3, 3)
    assert not each.holds(-4, 0)
    assert not each.holds(0, 4)
    assert not each.fits(2, True)
    assert not each.fits(8, False)
