"""The gateware's selections are the golden model's products by a drawn weight."""

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *

from golden.accumulate import accumulate
from golden.formats import Formats
from golden.parameters import Parameters
from hdl.accumulate import Accumulate, Select
from sim.simulators import SIMULATORS, SimulationFailed
from tests.hdl.unit_bench import PARAMETER_SETS, SEED, Bench, Vectors, bench, check


def draws(p: Parameters) -> list[int]:
    """Return all values of a drawn weight; binary connect has no 0, but ternary hardware."""
    return list(range(-(1 << p.draw_fraction_bits), (1 << p.draw_fraction_bits) + 1))


def spread(low: int, high: int, most: int) -> list[int]:
    """Return all integers from ``low`` to ``high``, or their edges and random ones if too many."""
    if high - low < most:
        return list(range(low, high + 1))
    edges = {low, low + 1, high - 1, high, *(x for x in (-1, 0, 1) if low <= x <= high)}
    return [*edges, *np.random.default_rng(SEED).integers(low, high + 1, most).tolist()]


def accumulate_vectors(p: Parameters) -> Vectors:
    """Every value with every draw, added to bases whose total fits, up to both ends."""
    formats = Formats.of(p)
    limit = (1 << (formats.accumulator_bits - 1)) - 1
    random = np.random.default_rng(SEED)
    rows = []
    for value in spread(0, (1 << formats.value_bits) - 1, 256):
        for t in draws(p):
            if abs(t * value) > limit:
                continue
            low, high = -limit - 1 - min(0, t * value), limit - max(0, t * value)
            rows += [(base, t, value) for base in (low, high, int(random.integers(low, high)))]
    base, draw, value = zip(*rows, strict=True)
    total = [accumulate(*row) for row in rows]
    return Vectors({"base": base, "draw": draw, "value": value}, {"total": total})


def select_vectors(p: Parameters) -> Vectors:
    limit = (1 << (max(p.output_delta_bits, p.hidden_delta_bits) - 1)) - 1
    rows = [(t, x) for x in spread(-limit, limit, 4096) for t in draws(p)]
    draw, x = zip(*rows, strict=True)
    # Registers: what goes in comes out a clock later.
    late = [(0, 0), *rows[:-1]]
    carry = [int(t < 0) for t, _ in late]
    term = [accumulate(0, *row) - c for row, c in zip(late, carry, strict=True)]
    return Vectors({"draw": draw, "x": x}, {"term": term, "carry": carry})


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_accumulate(simulator: str, tmp_path: Path) -> None:
    vectors = {f"{name}_accumulate": accumulate_vectors(p) for name, p in PARAMETER_SETS.items()}
    vectors |= {f"{name}_select": select_vectors(p) for name, p in PARAMETER_SETS.items()}
    check(simulator, bench(), vectors, tmp_path)


class FaultyAccumulate(Accumulate):
    """Forgets the carry of a negation: adds the ones' complement."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.draw == -1):
            m.d.comb += self.total.eq(self.base + ~self.value.as_signed())
        return m


class FaultySelect(Select):
    """Forgets a factor of 2."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.select = select = Select(len(self.x), len(self.draw) - 2)
        m.d.comb += [
            select.draw.eq(Mux(self.draw == 2, 1, self.draw)),
            select.x.eq(self.x),
            self.term.eq(select.term),
            self.carry.eq(select.carry),
        ]
        return m


def test_fault_in_accumulate_is_found(tmp_path: Path) -> None:
    p = PARAMETER_SETS["ternary"]
    faulty = Bench({"accumulate": FaultyAccumulate(p)})
    with pytest.raises(
        SimulationFailed, match=r"accumulate, clock \d+:\s+total: expected -?\d+, got"
    ):
        check("icarus", faulty, {"accumulate": accumulate_vectors(p)}, tmp_path)


def test_fault_in_select_is_found(tmp_path: Path) -> None:
    p = PARAMETER_SETS["half_steps"]
    faulty = Bench({"select": FaultySelect(p.hidden_delta_bits, 1)})
    message = r"select, clock \d+:\s+term: expected -4094, got -2047\s"
    with pytest.raises(SimulationFailed, match=message):
        check("icarus", faulty, {"select": select_vectors(p)}, tmp_path)
