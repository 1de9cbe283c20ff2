"""The gateware's saturating additions are the golden model's."""

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *

from golden.formats import Formats
from golden.parameters import Parameters
from golden.update import clip
from hdl.update import UpdateBias, UpdateWeight
from sim.simulators import SIMULATORS, SimulationFailed
from tests.hdl.unit_bench import PARAMETER_SETS, SEED, Bench, Vectors, bench, check


def sums(maximum: int, increment_bits: int) -> list[tuple[int, int]]:
    """Return words and increments: all words with the edges, sums about saturation, random ones."""
    random = np.random.default_rng(SEED)
    limit = (1 << (increment_bits - 1)) - 1
    words = [-maximum, 1 - maximum, -1, 0, 1, maximum - 1, maximum]
    if maximum < 256:
        words = list(range(-maximum, maximum + 1))
    words += random.integers(-maximum, maximum + 1, 100).tolist()
    rows = []
    for value in words:
        increments = [0, 1, limit, maximum, maximum - value, maximum + 1 - value]
        increments += random.integers(0, limit + 1, 4).tolist()
        rows += [(value, sign * add) for add in increments for sign in (-1, 1) if abs(add) <= limit]
        rows += [
            (value, add)
            for add in (-maximum - value, -maximum - 1 - value, -maximum - 2 - value)
            if abs(add) <= limit
        ]
    return rows


def weight_vectors(p: Parameters) -> Vectors:
    return update_vectors("weight", p.weight_max, Formats.of(p).increment_bits)


def bias_vectors(p: Parameters) -> Vectors:
    return update_vectors("bias", p.bias_max, Formats.of(p).bias_increment_bits)


def update_vectors(word: str, maximum: int, increment_bits: int) -> Vectors:
    rows = sums(maximum, increment_bits)
    words, increments = zip(*rows, strict=True)
    total = [clip(a + b, maximum) for a, b in rows]
    return Vectors({word: words, "increment": increments}, {f"new_{word}": total})


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_update(simulator: str, tmp_path: Path) -> None:
    table = {f"{name}_update_weight": weight_vectors(p) for name, p in PARAMETER_SETS.items()}
    table |= {f"{name}_update_bias": bias_vectors(p) for name, p in PARAMETER_SETS.items()}
    check(simulator, bench(), table, tmp_path)


class FaultyWeight(UpdateWeight):
    """Lets a weight reach the most negative number of the format."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        lowest = -(1 << (len(self.weight) - 1))
        with m.If(self.weight + self.increment == lowest):
            m.d.comb += self.new_weight.eq(lowest)
        return m


class FaultyBias(UpdateBias):
    """Wraps around."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.new_bias.eq(self.bias + self.increment)
        return m


def test_fault_in_weight_is_found(tmp_path: Path) -> None:
    p = PARAMETER_SETS["ternary"]
    faulty = Bench({"weight": FaultyWeight(p)})
    message = r"weight, clock \d+:\s+new_weight: expected -127, got -128\s"
    with pytest.raises(SimulationFailed, match=message):
        check("icarus", faulty, {"weight": weight_vectors(p)}, tmp_path)


def test_fault_in_bias_is_found(tmp_path: Path) -> None:
    p = PARAMETER_SETS["ternary"]
    with pytest.raises(SimulationFailed, match=r"bias, clock \d+:\s+new_bias: expected -8388607"):
        check("icarus", Bench({"bias": FaultyBias(p)}), {"bias": bias_vectors(p)}, tmp_path)
