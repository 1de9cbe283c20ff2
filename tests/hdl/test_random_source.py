"""The gateware's random sources step, save and recall as the golden model's do."""

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *

from golden.random_source import next_state, seeded_states
from hdl.random_source import RandomSource
from sim.simulators import SIMULATORS, SimulationFailed
from tests.hdl.unit_bench import SEED, SOURCES, Bench, Vectors, bench, check, initial_states


def following(states: list[int], width: int) -> list[int]:
    """Return the states that follow, by the golden model."""
    return [int(next_state(np.uint64(state), width)) for state in states]


def period() -> Vectors:
    """Step a source of 16 bits through all its states and once more through the first."""
    (state,) = initial_states("period16")
    states = []
    for _ in range(1 << 16):
        states.append(state)
        (state,) = following([state], 16)
    assert len(set(states)) == (1 << 16) - 1
    assert states[-1] == states[0]
    idle = [0] * len(states)
    return Vectors(
        {"step": [1] * len(states), "replace": idle, "replacement": idle},
        {"word[0]": states, "state[0]": states},
    )


def operations(name: str, clocks: int = 3000) -> Vectors:
    """Step, save, recall and replace at random: everything at once too."""
    width, sources, slots = SOURCES[name]
    random = np.random.default_rng(SEED)
    inputs = {port: random.integers(0, 2, clocks).tolist() for port in ("step", "save", "recall")}
    inputs |= {
        port: random.integers(0, slots, clocks).tolist() for port in ("save_slot", "recall_slot")
    }
    # Replacing is rare, so that what it overrules is seen as well.
    inputs["replace"] = [
        sum((random.random(sources) < 0.1) << np.arange(sources)) for _ in range(clocks)
    ]
    inputs["replacement"] = seeded_states(SEED, clocks, width).tolist()
    outputs: dict[str, list[int]] = {
        f"{port}[{i}]": [] for port in ("word", "state") for i in range(sources)
    }
    state = initial_states(name)
    kept = [state] * slots
    for step, save, recall, save_slot, recall_slot, replace, replacement in zip(
        *inputs.values(), strict=True
    ):
        word = kept[recall_slot] if recall else state
        for i in range(sources):
            outputs[f"word[{i}]"].append(word[i])
            outputs[f"state[{i}]"].append(state[i])
        if save:
            kept[save_slot] = state
        state = following(word, width) if step else word
        state = [replacement if replace >> i & 1 else each for i, each in enumerate(state)]
    return Vectors(inputs, outputs)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_random_source(simulator: str, tmp_path: Path) -> None:
    vectors = {name: operations(name) for name in SOURCES if SOURCES[name][2]}
    vectors["period16"] = period()
    check(simulator, bench(), vectors, tmp_path)


class Faulty(RandomSource):
    """Steps from the registers where it should step from the recalled state."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.step & self.recall):
            m.d.sync += self.register.eq(self.register)
        return m


def test_fault_is_found(tmp_path: Path) -> None:
    width, _, slots = SOURCES["source32"]
    faulty = Bench({"source32": Faulty(width, initial_states("source32"), slots)})
    with pytest.raises(SimulationFailed, match=r"source32, clock \d+:\s+word\[0\]: expected"):
        check("icarus", faulty, {"source32": operations("source32")}, tmp_path)
