"""Gateware and golden models in lockstep: every probed word on every clock, then all state."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from golden import Parameters
from golden.checkpoint import Checkpoint
from golden.clocked import EXACT, SAMPLED, THRESHOLDED, transfers_per_sample
from golden.inference import RULES
from golden.network import Network
from golden.oracle import Oracle
from golden.state import State
from sim.data import load_digits
from sim.lockstep import Stimulus, cosim, lockstep
from tests.configurations import gateware_parameters, random_rules, random_samples

SAMPLES = 10

#: Seeds of the random configurations: all on Icarus, some on Verilator too.
SEEDS = range(30)
VERILATOR_SEEDS = (0, 5, 10, 11, 16, 23)


def configuration(seed: int) -> tuple[Parameters, Stimulus]:
    """Return a random network, and samples to train on and to evaluate, the second one blank."""
    parameters = gateware_parameters(seed)
    pixels, labels = random_samples(parameters, seed, SAMPLES)
    pixels[1] = 0
    rng = np.random.default_rng(seed)
    rule, draws = random_rules(parameters, seed, SAMPLES)
    return parameters, Stimulus(
        pixels=pixels,
        labels=labels,
        train=rng.random(SAMPLES) < 0.6,
        rate_shift=rng.integers(0, parameters.max_rate_shift + 1, SAMPLES),
        epoch=np.zeros(SAMPLES, np.int64),
        rule=rule,
        draws=draws,
        sparse=rng.random(SAMPLES) < 0.5,
    )


def oracle_sample(oracle: Oracle, stimulus: Stimulus, each: int) -> int:
    """Return the oracle's prediction of a sample, after which it stands behind the sample."""
    train, shift, rule, draws = stimulus.settings()[each].tolist()
    pixels, label = stimulus.pixels[each].tolist(), int(stimulus.labels[each])
    if train:
        return oracle.sample(pixels, label, True, shift)
    return oracle.infer(pixels, RULES[rule], draws)


def check_lockstep(seed: int, simulator: str, folder: Path) -> None:
    """Run a random network, with stalls if the seed is odd, and compare its end with the oracle.

    The oracle shares no code with the models that the lockstep itself used.
    """
    parameters, stimulus = configuration(seed)
    stalls = 0.4 if seed % 2 else 0.0
    result = lockstep(
        parameters, stimulus, folder=folder, simulator=simulator, stalls=stalls, seed=seed
    )
    oracle = Oracle(parameters)
    predictions = [oracle_sample(oracle, stimulus, each) for each in range(len(stimulus.labels))]
    assert result.predictions.tolist() == predictions
    assert result.state.digest() == oracle.digest()
    assert result.clocks == result.predicted_clocks
    # Every word of the probe table on every clock, at least; a clock without words proves nothing.
    assert result.comparisons > 50 * result.clocks > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_random_configuration_on_icarus(seed: int, tmp_path: Path) -> None:
    check_lockstep(seed, "icarus", tmp_path)


@pytest.mark.parametrize("seed", VERILATOR_SEEDS)
def test_random_configuration_on_verilator(seed: int, tmp_path: Path) -> None:
    check_lockstep(seed, "verilator", tmp_path)


def test_configurations_cover_the_promise() -> None:
    """The seeds reach the ends of what is promised: depths, rules, odd sizes, lanes."""
    drawn = [configuration(seed)[0] for seed in SEEDS]
    assert {each.depth for each in drawn} == {1, 2, 3, 4}
    assert {each.connect for each in drawn} == {"ternary", "binary"}
    assert {each.draw for each in drawn} == {"stochastic", "deterministic"}
    assert {each.quantizer for each in drawn} == {"nearest", "stochastic"}
    assert {each.draw_steps for each in drawn} == {1, 2}
    assert {each.random_width for each in drawn} == {16, 32, 64}
    assert min(each.lanes for each in drawn) == 1
    assert max(each.lanes for each in drawn) == 32
    assert min(each.weight_bits for each in drawn) == 4
    assert max(each.weight_bits for each in drawn) == 16
    assert any(1 in each.layers[1:-1] for each in drawn)
    assert any(each.layers[1] % each.lanes for each in drawn)


@pytest.mark.parametrize("seeds", [SEEDS, VERILATOR_SEEDS])
def test_configurations_cover_the_rules(seeds: Sequence[int]) -> None:
    """Each rule is evaluated in each kind of gateware that has it, several draws too."""
    seen = set()
    for parameters, stimulus in map(configuration, seeds):
        for train, _, rule, draws in stimulus.settings().tolist():
            if not train:
                seen.add((parameters.inference, rule, draws > 1))
                seen.add((parameters.connect, parameters.draw_steps, rule))
    for inference in ("drawn", "exact"):
        assert {(inference, SAMPLED, True), (inference, THRESHOLDED, False)} <= seen
    kinds = [("ternary", 1), ("ternary", 2), ("binary", 1)]
    assert {(*kind, EXACT) for kind in kinds} <= seen
    if seeds is SEEDS:
        assert {(*kind, THRESHOLDED) for kind in kinds} <= seen


@pytest.mark.parametrize("inference", ["drawn", "exact"])
def test_unknown_rules_count_as_sampled(
    inference: Literal["drawn", "exact"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers that the models refuse; the stream carries them all the same."""
    parameters, stimulus = configuration(3)
    parameters = parameters.replace(inference=inference)
    stimulus = dataclasses.replace(stimulus, rule=SAMPLED, train=np.zeros(SAMPLES, np.bool_))
    stream = stimulus.stream(parameters)
    stream.rule[:] = 3 if inference == "exact" else EXACT
    monkeypatch.setattr(Stimulus, "stream", lambda stimulus, parameters: stream)
    result = lockstep(parameters, stimulus, folder=tmp_path, simulator="icarus")
    assert result.state == State.initial(parameters)


@pytest.mark.parametrize(("simulator", "samples"), [("icarus", 12), ("verilator", 200)])
def test_digits(simulator: str, samples: int, tmp_path: Path) -> None:
    """The first samples of the main job end where the functional model ends."""
    parameters = Parameters.named("digits")
    dataset = load_digits(parameters.activation_bits)
    result = cosim(parameters, dataset, folder=tmp_path, samples=samples, simulator=simulator)
    network = Network(parameters)
    trained = network.train(
        dataset.train_pixels[:samples], dataset.train_labels[:samples], rate_shift=0
    )
    assert result.state.digest() == network.state.digest()
    assert result.predictions.tolist() == trained.predictions.tolist()
    assert result.clocks == result.predicted_clocks > samples * transfers_per_sample(parameters)


def test_continues_from_a_state(tmp_path: Path) -> None:
    """Two runs, the second from the checkpoint that the first left, end like one."""
    parameters, stimulus = configuration(3)
    assert isinstance(stimulus.rule, np.ndarray)
    assert isinstance(stimulus.draws, np.ndarray)
    halves = [
        Stimulus(
            pixels=stimulus.pixels[part],
            labels=stimulus.labels[part],
            train=stimulus.train[part],
            rate_shift=stimulus.rate_shift[part],
            epoch=stimulus.epoch[part],
            rule=stimulus.rule[part],
            draws=stimulus.draws[part],
            sparse=stimulus.sparse[part],
        )
        for part in (slice(0, 5), slice(5, None))
    ]
    state: State | None = None
    for number, half in enumerate(halves):
        folder = tmp_path / str(number)
        result = lockstep(parameters, half, folder=folder, simulator="icarus", state=state)
        Checkpoint(parameters, result.state, 5).save(tmp_path / "checkpoint.npz")
        state = Checkpoint.load(tmp_path / "checkpoint.npz").state
    whole = lockstep(parameters, stimulus, folder=tmp_path / "whole", simulator="icarus")
    assert state is not None
    assert state.digest() == whole.state.digest()
