"""Products by a drawn weight, and their sum, are what multiplication makes them."""

from golden.formats import Formats
from golden.parameters import Parameters
from hdl.accumulate import Accumulate, Select
from hdl.formal.bench import Bench, implies, within


def select(p: Parameters) -> Bench:
    """Product of the backward pass, for every delta, one clock later."""
    bench = Bench()
    g, formats = p.draw_fraction_bits, Formats.of(p)
    unit = bench.unit(Select(formats.delta_bits, g))
    bench.assume(within(unit.draw, 1 << g))
    bench.assume(within(unit.x, (1 << (formats.delta_bits - 1)) - 1))
    expected = bench.named(unit.draw * unit.x, "expected")
    product = bench.past(expected, "expected", reset_less=True)
    bench.prove(unit.term + unit.carry == product, "term + carry == T * d")
    return bench


def accumulate(p: Parameters) -> Bench:
    """A step of the forward sum, for every sum so far, value and drawn weight."""
    bench = Bench()
    unit = bench.unit(Accumulate(p))
    bound = (1 << (len(unit.total) - 1)) - 1
    total = bench.named(unit.base + unit.draw * unit.value, "expected")
    bench.assume(within(unit.draw, 1 << p.draw_fraction_bits))
    bench.prove(
        implies(within(total, bound), unit.total == total),
        "total == base + T * x wherever it fits",
    )
    return bench
