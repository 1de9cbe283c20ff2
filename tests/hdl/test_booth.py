"""The gateware's Booth digits are the golden model's: every plane of every weight, or of many."""

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *

from golden.booth import booth_digit
from golden.parameters import Parameters
from hdl.booth import Booth
from sim.simulators import SIMULATORS, SimulationFailed
from tests.hdl.unit_bench import PARAMETER_SETS, SEED, Bench, Vectors, bench, check


def vectors(p: Parameters) -> Vectors:
    weights = list(range(-p.weight_max, p.weight_max + 1))
    if len(weights) > 4096:
        random = np.random.default_rng(SEED)
        weights = [*weights[:8], -1, 0, 1, *weights[-8:], *random.choice(weights, 2000).tolist()]
    rows = [(weight, plane) for weight in weights for plane in range(p.planes)]
    weight, plane = zip(*rows, strict=True)
    digits = [booth_digit(*row, p.draw_steps) for row in rows]
    return Vectors({"weight": weight, "plane": plane}, {"digit": digits})


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_booth(simulator: str, tmp_path: Path) -> None:
    each = {f"{name}_booth": vectors(p) for name, p in PARAMETER_SETS.items()}
    check(simulator, bench(), each, tmp_path)


class Faulty(Booth):
    """Takes the sign for a digit like the others."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.plane == self._p.planes - 1):
            m.d.comb += self.digit.eq(self.weight[-1])
        return m


def test_fault_is_found(tmp_path: Path) -> None:
    p = PARAMETER_SETS["ternary"]
    with pytest.raises(SimulationFailed, match=r"booth, clock \d+:\s+digit: expected -1, got"):
        check("icarus", Bench({"booth": Faulty(p)}), {"booth": vectors(p)}, tmp_path)
