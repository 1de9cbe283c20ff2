"""The quantizer rounds to a power of two."""

from amaranth.hdl import *

from golden.parameters import Parameters
from hdl.formal.bench import Bench, implies
from hdl.quantize import Quantize


def quantize(p: Parameters) -> Bench:
    """For every value and, in the stochastic rule, every random number."""
    bench = Bench()
    unit = bench.unit(Quantize(p))
    x, e = unit.value, unit.exponent
    bench.prove(e <= p.activation_bits, "the exponent is in 0 .. A")
    bench.prove(implies(x <= 1, e == 0), "0 and 1 have the exponent 0")
    if p.quantizer == "nearest":
        # Nearest: 0.75 * 2**e <= x < 1.5 * 2**e, where the tie goes up.
        nearest = ((3 << e) <= 4 * x) & (4 * x < (6 << e))
        bench.prove(implies(x > 1, nearest), "2**e is the power of two nearest to x, a tie up")
        return bench
    leading = Signal(range(p.activation_bits))
    for a in range(p.activation_bits):
        with bench.module.If(x[a]):
            bench.module.d.comb += leading.eq(a)
    total = bench.named(x + (unit.random & ((1 << leading) - 1)), "dithered")
    bench.prove(
        implies(x > 0, ((1 << e) <= total) & (total < (2 << e))),
        "e is the leading one of x + (Q mod 2**a)",
    )
    return bench
