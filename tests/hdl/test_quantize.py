"""The gateware's power-of-two quantizer is the golden model's, for every input of 8 bits."""

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *

from golden.parameters import Parameters
from golden.quantize import nearest, stochastic
from hdl.quantize import Quantize
from sim.simulators import SIMULATORS, SimulationFailed
from tests.hdl.unit_bench import PARAMETER_SETS, SEED, Bench, Vectors, bench, check


def values(p: Parameters) -> list[int]:
    """Return all inputs when they are few, else those about every step and random ones."""
    if p.activation_bits <= 8:
        return list(range(p.activation_max + 1))
    steps = [step for a in range(p.activation_bits) for step in (1 << a, 3 << a >> 1)]
    near = {step + offset for step in steps for offset in (-1, 0, 1)} | {p.activation_max}
    random = np.random.default_rng(SEED).integers(0, p.activation_max + 1, 3000)
    return sorted(near) + random.tolist()


def vectors(p: Parameters) -> Vectors:
    """Every input; with the stochastic rule, every one with every random number."""
    if p.quantizer == "nearest":
        value = values(p)
        return Vectors({"value": value}, {"exponent": [nearest(x) if x else 0 for x in value]})
    rows = [(x, q) for x in values(p) for q in range(1 << (p.activation_bits - 1))]
    value, random = zip(*rows, strict=True)
    exponent = [stochastic(x, q) if x else 0 for x, q in rows]
    return Vectors({"value": value, "random": random}, {"exponent": exponent})


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_quantize(simulator: str, tmp_path: Path) -> None:
    check(
        simulator,
        bench(),
        {f"{name}_quantize": vectors(p) for name, p in PARAMETER_SETS.items()},
        tmp_path,
    )


class Faulty(Quantize):
    """Rounds the tie at the top down."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.value == 192):
            m.d.comb += self.exponent.eq(7)
        return m


@pytest.mark.parametrize("name", ["ternary", "half_steps"])
def test_fault_is_found(name: str, tmp_path: Path) -> None:
    p = PARAMETER_SETS[name]
    message = r"quantize, clock \d+:\s+exponent: expected 8, got 7\s.*: value=192"
    with pytest.raises(SimulationFailed, match=message):
        check("icarus", Bench({"quantize": Faulty(p)}), {"quantize": vectors(p)}, tmp_path)
