"""Connect draws what section 5 of the contract says."""

from amaranth.hdl import *

from golden.parameters import Parameters
from hdl.connect import Connect
from hdl.formal.bench import Bench, implies, within


def connect(p: Parameters) -> Bench:
    """For every weight and every random number, and for the draw of the deterministic rule."""
    bench = Bench()
    unit = bench.unit(Connect(p))
    q, g, fraction = p.draw_shift, p.draw_fraction_bits, p.weight_fraction_bits
    rb = p.draw_bits if p.draw == "stochastic" else 0

    def drawn(r: Value | int) -> Value:
        if p.connect == "binary":
            return Mux((unit.weight + (1 << fraction) + r) >> q >= 1, 1, -1)
        return (unit.weight + r) >> q

    random = unit.random if rb else Const(0)
    half = 1 << (q - 1)
    bench.prove(within(unit.draw, 1 << g), "a drawn weight is in its range")
    bench.prove(
        implies(unit.half | (rb == 0), unit.draw == drawn((((random << 1) + 1) << q) >> (rb + 1))),
        "T is W plus the random number, rounded down",
    )
    bench.prove(
        implies(~unit.half & (unit.random == (1 << rb >> 1)), unit.draw == drawn(half)),
        "without the half step, half of the random range draws by the deterministic rule",
    )
    return bench
