"""Booth digits are what section 13 of the contract says, and add up to the weight."""

from amaranth.hdl import *

from golden.parameters import Parameters
from hdl.booth import Booth
from hdl.formal.bench import Bench, within


def booth(p: Parameters) -> Bench:
    """For every weight, all planes at once."""
    bench = Bench()
    weight = bench.free(signed(p.weight_bits), "weight")
    step = p.draw_steps
    total = Const(0)
    for plane in range(p.planes):
        unit = bench.unit(Booth(p), f"plane{plane}")
        bench.module.d.comb += [unit.weight.eq(weight), unit.plane.eq(plane)]
        bench.prove(within(unit.digit, 1 << p.draw_fraction_bits), "a digit is in -2**g .. 2**g")
        total = total + (unit.digit << (step * plane))
        if plane < p.planes - 1:
            low = weight[: step * (plane + 1)].as_signed()
            bench.prove(total == low, "the lowest digits are the lowest bits, read as signed")
    bench.prove(total == weight, "all digits are the weight")
    return bench
