"""The gateware's increments and hidden deltas are the golden model's."""

import functools
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *

from golden.formats import Formats
from golden.gradient import bias_increment, hidden_delta, weight_increment
from golden.parameters import Parameters
from golden.rounding import rounding
from hdl.gradient import BiasIncrement, Gradient, HiddenDelta, UpdateStep
from sim.simulators import SIMULATORS, SimulationFailed
from tests.hdl.unit_bench import (
    HIDDEN_SETS,
    PARAMETER_SETS,
    SEED,
    Bench,
    Increment,
    Vectors,
    bench,
    check,
)


def increment(p: Parameters, row: dict[str, int]) -> int:
    """Return what the golden model adds to a weight."""
    k = p.update_shifts[row["layer"]] + row["rate_shift"]
    r = rounding(row["random"], p.update_bits, k)
    return weight_increment(row["delta"], row["exponent"], r, k)


def random_rows(p: Parameters, count: int) -> list[dict[str, int]]:
    """Return random steps, often with the ends of the deltas and of the random bits."""
    random = np.random.default_rng(SEED)
    limit = (1 << (Formats.of(p).delta_bits - 1)) - 1
    rows = []
    for _ in range(count):
        delta = int(random.integers(-limit, limit + 1))
        draw = int(random.integers(0, 1 << p.update_bits))
        rows.append(
            {
                "exponent": int(random.integers(0, p.activation_bits + 1)),
                "layer": int(random.integers(0, p.depth)),
                "rate_shift": int(random.integers(0, p.max_rate_shift + 1)),
                "delta": int(random.choice([-limit, -1, 0, 1, limit, delta, delta, delta])),
                "random": int(random.choice([0, (1 << p.update_bits) - 1, draw, draw])),
                "enable": int(random.integers(0, 4) != 0),
            }
        )
    return rows


@functools.cache
def increment_vectors(p: Parameters) -> Vectors:
    rows = random_rows(p, 5000)
    # What belongs to s4 comes a clock before the rest, what belongs to s7 a clock after it, and the
    # increment a clock after that.
    rows[0]["enable"] = 0
    before = [*rows[1:], rows[0]]
    enable7 = [0, *(row["enable"] for row in rows[:-1])]
    increments, held = [0, 0], 0
    for row in rows:
        if row["enable"]:
            held = increment(p, row)
        increments.append(held)
    return Vectors(
        {
            **{name: [row[name] for row in rows] for name in ("exponent", "random", "delta")},
            **{name: [row[name] for row in before] for name in ("layer", "rate_shift")},
            "enable7": enable7,
        },
        {"increment": increments[: len(rows)]},
    )


def bias_increment_vectors(p: Parameters) -> Vectors:
    """All deltas of a short format, or its ends and random ones, with every rate shift."""
    random = np.random.default_rng(SEED)
    limit = (1 << (Formats.of(p).delta_bits - 1)) - 1
    deltas = [-limit, -2, -1, 0, 1, 2, limit, *random.integers(-limit, limit + 1, 300).tolist()]
    rows = [(d, shift) for d in deltas for shift in range(p.max_rate_shift + 1)]
    delta, rate_shift = zip(*rows, strict=True)
    increments = [bias_increment(d, p.bias_shift + shift) for d, shift in rows]
    return Vectors({"delta": delta, "rate_shift": rate_shift}, {"increment": increments})


def hidden_delta_vectors(p: Parameters) -> Vectors:
    """Sums about half steps, about saturation and the ends, and random ones, for every layer."""
    random = np.random.default_rng(SEED)
    limit = (1 << (Formats.of(p).partial_bits - 1)) - 1
    rows = []
    for layer in range(1, p.depth):
        shift = p.delta_shifts[layer - 1] + p.draw_fraction_bits
        step = 1 << shift
        marks = [*(halves * step // 2 for halves in range(-5, 6)), limit]
        marks += [p.hidden_delta_max * step, p.hidden_delta_max * step + step // 2]
        partials = [sign * mark + near for mark in marks for sign in (-1, 1) for near in (-1, 0, 1)]
        partials += random.integers(-limit, limit + 1, 2000).tolist()
        reach = (p.hidden_delta_max + 2) * step
        partials += random.integers(-reach, reach, 2000).tolist()
        rows += [(partial, layer, shift) for partial in partials if abs(partial) <= limit]
    partial, layer, _ = zip(*rows, strict=True)
    delta = [hidden_delta(value, shift, p.hidden_delta_max) for value, _, shift in rows]
    return Vectors({"partial": partial, "layer": layer}, {"hidden_delta": delta})


def test_vectors_reach_every_kind_of_shift() -> None:
    """To the left, by no bit, by fewer bits than a delta has, and by more."""
    kinds = set()
    for p in PARAMETER_SETS.values():
        for row in random_rows(p, 500):
            net = p.update_shifts[row["layer"]] + row["rate_shift"] - row["exponent"]
            bits = Formats.of(p).delta_bits
            kinds.add((net > 0) - (net < 0) + (net > bits))
    assert kinds == {-1, 0, 1, 2}


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_gradient(simulator: str, tmp_path: Path) -> None:
    vectors = {f"{name}_increment": increment_vectors(p) for name, p in PARAMETER_SETS.items()}
    vectors |= {
        f"{name}_bias_increment": bias_increment_vectors(p) for name, p in PARAMETER_SETS.items()
    }
    vectors |= {f"{name}_hidden_delta": hidden_delta_vectors(p) for name, p in HIDDEN_SETS.items()}
    check(simulator, bench(), vectors, tmp_path)


class FaultyUpdateStep(UpdateStep):
    """Wraps behind the largest shift."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If((self.rate_shift == self._p.max_rate_shift) & (self.exponent == 0)):
            m.d.comb += self.amount.eq(0)
        return m


class FaultyGradient(Gradient):
    """Does not hold."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(~self.enable7):
            m.d.sync += self.increment.eq(0)
        return m


class FaultyBiasIncrement(BiasIncrement):
    """Rounds down."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.rate_shift == 3):
            m.d.comb += self.increment.eq(self.delta >> (self._p.bias_shift + 3))
        return m


class FaultyHiddenDelta(HiddenDelta):
    """Saturates the lowest sum to the lowest number of the format."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.partial == 1 - (1 << (len(self.partial) - 1))):
            m.d.comb += self.hidden_delta.eq(-self._p.hidden_delta_max - 1)
        return m


@pytest.mark.parametrize("fault", ["update step", "gradient"])
def test_fault_in_increment_is_found(fault: str, tmp_path: Path) -> None:
    p = PARAMETER_SETS["few_random_bits"]
    if fault == "gradient":
        faulty = Bench({"increment": Increment(UpdateStep(p), FaultyGradient(p))})
    else:
        faulty = Bench({"increment": Increment(FaultyUpdateStep(p), Gradient(p))})
    with pytest.raises(
        SimulationFailed, match=r"increment, clock \d+:\s+increment: expected -?\d+"
    ):
        check("icarus", faulty, {"increment": increment_vectors(p)}, tmp_path)


def test_fault_in_bias_increment_is_found(tmp_path: Path) -> None:
    p = PARAMETER_SETS["few_random_bits"]
    faulty = Bench({"bias": FaultyBiasIncrement(p)})
    with pytest.raises(SimulationFailed, match=r"bias, clock \d+:\s+increment: expected -?\d+"):
        check("icarus", faulty, {"bias": bias_increment_vectors(p)}, tmp_path)


def test_fault_in_hidden_delta_is_found(tmp_path: Path) -> None:
    p = PARAMETER_SETS["ternary"]
    faulty = Bench({"hidden_delta": FaultyHiddenDelta(p)})
    message = r"hidden_delta, clock \d+:\s+hidden_delta: expected -2047, got -2048\s"
    with pytest.raises(SimulationFailed, match=message):
        check("icarus", faulty, {"hidden_delta": hidden_delta_vectors(p)}, tmp_path)
