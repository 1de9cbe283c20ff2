"""The gateware's ReLU is the golden model's, two clocks later, and holds between sums."""

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *

from golden.formats import Formats
from golden.parameters import Parameters
from golden.relu import relu
from hdl.relu import Relu
from sim.simulators import SIMULATORS, SimulationFailed
from tests.hdl.unit_bench import HIDDEN_SETS, PARAMETER_SETS, SEED, Bench, Vectors, bench, check


def vectors(p: Parameters) -> Vectors:
    """Sums about the steps of small activations, saturation and the ends, and random ones."""
    random = np.random.default_rng(SEED)
    limit = (1 << (Formats.of(p).accumulator_bits - 1)) - 1
    rows = []
    for layer, shift in enumerate(p.activation_shifts[:-1]):
        step = 1 << (shift + p.accumulator_fraction_bits)
        marks = [*(h * step for h in range(-2, 5)), p.activation_max * step, -limit, limit]
        totals = [total + near for total in marks for near in (-1, 0, 1)]
        totals += random.integers(-limit, limit + 1, 1000).tolist()
        totals += random.integers(0, (p.activation_max + 2) * step, 1000).tolist()
        rows += [(layer, total) for total in totals if abs(total) <= limit]
    random.shuffle(rows)
    layer, total = zip(*[(int(a), int(b)) for a, b in rows], strict=True)
    valid = random.integers(0, 4, len(rows)) != 0

    activation, held = [0, 0], 0
    for v, a, z in zip(valid, layer, total, strict=True):
        if v:
            shift = p.activation_shifts[a] + p.accumulator_fraction_bits
            held = relu(z, shift, p.activation_max)
        activation.append(held)
    return Vectors(
        {"valid": valid, "layer": layer, "total": total}, {"activation": activation[: len(rows)]}
    )


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_relu(simulator: str, tmp_path: Path) -> None:
    check(
        simulator,
        bench(),
        {f"{name}_relu": vectors(p) for name, p in HIDDEN_SETS.items()},
        tmp_path,
    )


class FaultyRounding(Relu):
    """Rounds down: an activation of 1 may become 0."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.activation == 1):
            m.d.sync += self.activation.eq(0)
        return m


def test_fault_is_found(tmp_path: Path) -> None:
    p = PARAMETER_SETS["ternary"]
    with pytest.raises(SimulationFailed, match=r"relu, clock \d+:\s+activation: expected \d+, got"):
        check("icarus", Bench({"relu": FaultyRounding(p)}), {"relu": vectors(p)}, tmp_path)
