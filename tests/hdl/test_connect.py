"""The gateware draws weights as the golden model does: every weight with every random number."""

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *

from golden.connect import binary, ternary
from golden.parameters import Parameters
from golden.rounding import rounding
from hdl.connect import Connect
from sim.simulators import SIMULATORS, SimulationFailed
from tests.faults import ThresholdOffByHalf
from tests.hdl.unit_bench import PARAMETER_SETS, SEED, Bench, Vectors, bench, check


def pairs(p: Parameters) -> list[tuple[int, int]]:
    """Return weights and random numbers: all when they are few, else edges and random ones."""
    bits = p.draw_bits if p.draw == "stochastic" else 0
    if (2 * p.weight_max + 1) << bits <= 1 << 16:
        weights = range(-p.weight_max, p.weight_max + 1)
        # Two random numbers for the deterministic rule, which must ignore them.
        return [(w, r) for w in weights for r in range(max(2, 1 << bits))]
    random = np.random.default_rng(SEED)
    half = 1 << (p.weight_fraction_bits - 1)
    edges = [
        w for at in (-p.weight_max, -half, 0, half, p.weight_max) for w in (at - 1, at, at + 1)
    ]
    randoms = [0, 1, (1 << bits) - 1, 1 << (bits - 1)]
    chosen = [(w, r) for w in edges if abs(w) <= p.weight_max for r in randoms]
    return chosen + list(
        zip(
            random.integers(-p.weight_max, p.weight_max + 1, 5000).tolist(),
            random.integers(0, 1 << bits, 5000).tolist(),
            strict=True,
        )
    )


def draw(p: Parameters, weight: int, random: int, *, thresholded: bool = False) -> int:
    bits = p.draw_bits if p.draw == "stochastic" and not thresholded else 0
    r = rounding(random if bits else 0, bits, p.draw_shift)
    if p.connect == "binary":
        return binary(weight, r, p.weight_fraction_bits)
    return ternary(weight, r, p.draw_shift)


def vectors(p: Parameters) -> Vectors:
    """Draws, and the same weights thresholded."""
    rows = [(w, r, 1, draw(p, w, r)) for w, r in pairs(p)]
    bits = p.draw_bits if p.draw == "stochastic" else 1
    rows += [
        (w, 1 << (bits - 1), 0, draw(p, w, 0, thresholded=True))
        for w in dict.fromkeys(w for w, _ in pairs(p))
    ]
    weight, random, half, drawn = zip(*rows, strict=True)
    return Vectors({"weight": weight, "random": random, "half": half}, {"draw": drawn})


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_connect(simulator: str, tmp_path: Path) -> None:
    check(
        simulator,
        bench(),
        {f"{name}_connect": vectors(p) for name, p in PARAMETER_SETS.items()},
        tmp_path,
    )


class Faulty(Connect):
    """Rounds a full-scale positive weight down to 0 when all random bits are set."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.random.all() & (self.weight == self._p.weight_max)):
            m.d.comb += self.draw.eq(0)
        return m


def test_fault_in_the_threshold_is_found(tmp_path: Path) -> None:
    p = PARAMETER_SETS["few_random_bits"]
    message = r"connect, clock \d+:\s+draw: expected -1, got 0\s.*: weight=-72 random=4 half=0\s"
    faulty = Bench({"connect": ThresholdOffByHalf(p)})
    with pytest.raises(SimulationFailed, match=message):
        check("icarus", faulty, {"connect": vectors(p)}, tmp_path)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_fault_is_found(simulator: str, tmp_path: Path) -> None:
    p = PARAMETER_SETS["ternary"]
    message = r"connect, clock \d+:\s+draw: expected 1, got 0\s.*: weight=127 random=127 half=1\s"
    with pytest.raises(SimulationFailed, match=message):
        check(simulator, Bench({"connect": Faulty(p)}), {"connect": vectors(p)}, tmp_path)
