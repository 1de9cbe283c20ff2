"""The float reference, which needs torch (``make paper-test``; not part of ``make test``)."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from sim.experiment import float_reference as reference
from sim.experiment.columns import COLUMNS
from sim.experiment.paper_mnist import DIGITS, paper_mnist
from sim.experiment.runs import load_split

SAMPLES = 400_000


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def check_probability(count: int, probability: float) -> None:
    """Check a count of ``SAMPLES`` to five standard deviations."""
    deviation = (SAMPLES * probability * (1 - probability)) ** 0.5
    assert abs(count - SAMPLES * probability) <= 5 * deviation


@pytest.mark.parametrize("weight", [-1.0, -0.9, -0.5, -0.03, 0.0, 0.01, 0.25, 0.8, 1.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_draws_follow_the_weight(weight: float, seed: int) -> None:
    weights = torch.full((SAMPLES,), weight)
    drawn = torch.empty(SAMPLES)
    reference.draw_ternary(weights, generator(seed), drawn)
    sign = 1.0 if weight >= 0 else -1.0
    assert set(drawn.tolist()) <= {0.0, sign}
    check_probability(int((drawn == sign).sum()) if weight else 0, abs(weight))
    reference.draw_binary(weights, generator(seed), drawn)
    assert set(drawn.tolist()) <= {-1.0, 1.0}
    check_probability(int((drawn == 1).sum()), (1 + weight) / 2)


@pytest.mark.parametrize(
    "value", [1.0, 1.25, 1.5, 3.0, 5.5, 0.3, 0.0078125, 0.01, -0.7, -6.0, 255.0, 1.999]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_quantizer_rounds_without_bias(value: float, seed: int) -> None:
    rounded = reference.quantize(torch.full((SAMPLES,), value), generator(seed))
    low = 2.0 ** np.floor(np.log2(abs(value)))
    sign = np.sign(value)
    fraction = abs(value) / low - 1
    assert set(rounded.tolist()) <= ({sign * low, sign * 2 * low} if fraction else {value})
    check_probability(int((rounded.abs() == 2 * low).sum()), fraction)


def test_quantizer_keeps_zeros() -> None:
    assert torch.equal(reference.quantize(torch.zeros(1000), generator(1)), torch.zeros(1000))


@pytest.mark.parametrize("key", COLUMNS)
@pytest.mark.parametrize("seed", [1, 2])
def test_gradients_are_those_of_the_drawn_weights(key: str, seed: int) -> None:
    column = COLUMNS[key]
    layers = (6, 5, 4, 3)
    values = torch.randn(40, 6, generator=generator(seed))
    targets = 2 * torch.eye(3)[torch.arange(40) % 3] - 1
    network = reference.Network(column, layers, "cpu", seed)
    state = network.generator.get_state()
    loss = (1 - targets * network.forward(values)).clamp_(min=0).square().sum()
    gradients = torch.autograd.grad(loss, network.parameters())

    # Once more by torch alone, from the same draws; and what flows between the layers.
    again = generator(0)
    again.set_state(state)
    drawn = []
    for weights in network.weights:
        out = weights.detach().clone()
        if column.connect != "none":
            draw = {"ternary": reference.draw_ternary, "binary": reference.draw_binary}
            draw[column.connect](weights.detach(), again, out)
        drawn.append(out.requires_grad_())
    inputs, sums, hidden = [], [], values
    for layer, weights in enumerate(drawn):
        inputs.append(hidden.detach())
        sums.append(hidden @ weights.T)
        mean, variance = sums[-1].mean(0), sums[-1].var(0, unbiased=False)
        hidden = (sums[-1] - mean) / torch.sqrt(variance + reference.NORM_EPSILON)
        hidden = hidden if layer == 2 else torch.relu(hidden)
    plain = (1 - targets * hidden).clamp(min=0).square().sum()
    deltas = torch.autograd.grad(plain, [*sums, *drawn])
    assert torch.allclose(loss, plain)
    for layer in (2, 1, 0):
        expected = deltas[3 + layer]
        if column.quantized:
            # Backward goes from the last layer to the first.
            expected = deltas[layer].T @ reference.quantize(inputs[layer], again)
        assert torch.allclose(gradients[layer], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("key", COLUMNS)
def test_a_step_clips_drawn_weights_only(key: str) -> None:
    network = reference.Network(COLUMNS[key], (64, 16, 10), "cpu", 1)
    targets = 2 * torch.eye(10)[torch.arange(200) % 10] - 1
    network.step(torch.randn(200, 64, generator=generator(1)), targets, 0.3)
    largest = max(float(weights.detach().abs().max()) for weights in network.weights)
    assert largest > 1.5 if key == "full-precision" else largest == 1


def test_statistics_are_means_over_minibatches() -> None:
    network = reference.Network(COLUMNS["full-precision"], (6, 5, 3), "cpu", 1)
    values = torch.randn(3 * reference.BATCH, 6, generator=generator(2))
    network.gather_statistics(values)
    with torch.no_grad():
        batches = (values @ network.weights[0].T).split(reference.BATCH)
    mean, variance = network.statistics[0]
    assert torch.allclose(mean, torch.stack([b.mean(0) for b in batches]).mean(0), atol=1e-5)
    assert torch.allclose(variance, torch.stack([b.var(0) for b in batches]).mean(0), rtol=1e-4)


class _InterruptError(Exception):
    pass


@pytest.mark.parametrize("key", COLUMNS)
def test_an_interrupted_run_resumes_to_the_bit(key: str, tmp_path: Path) -> None:
    split = load_split(DIGITS, None, 8)
    seen: list[float] = []
    whole = reference.train(key, split, (32,), 3, 1, tmp_path / "whole.npz", seen.append)
    assert seen == sorted(seen)
    assert len(seen) == 3 * 6

    def interrupt(epochs: float) -> None:
        if epochs > 2:
            raise _InterruptError

    checkpoint = tmp_path / "part.npz"
    with pytest.raises(_InterruptError):
        reference.train(key, split, (32,), 3, 1, checkpoint, interrupt)
    with pytest.raises(ValueError, match="is of another run"):
        reference.train(key, split, (32,), 3, 2, checkpoint)
    seen.clear()
    resumed = reference.train(key, split, (32,), 3, 1, checkpoint, seen.append)
    assert seen[0] == 2.0
    assert list(tmp_path.iterdir()) == []

    def numbers(result: reference.FloatResult) -> list[object]:
        history = [(e.epoch, e.rate, e.train_loss, e.validation_error) for e in result.history]
        return [history, result.best_epoch, result.best_test_error, result.last_test_error]

    assert numbers(resumed) == numbers(whole)
    errors = [epoch.validation_error for epoch in whole.history]
    assert whole.best_validation_error == min(errors) == errors[whole.best_epoch]
    other = reference.train(key, split, (32,), 3, 2, checkpoint)
    assert all(
        mine != theirs for mine, theirs in zip(numbers(other)[0], numbers(whole)[0], strict=True)
    )


def test_the_rate_falls_from_first_to_last() -> None:
    rates = [reference._rate(epoch, 10) for epoch in range(11)]
    assert rates[0] == reference.FIRST_RATE
    assert rates[10] == pytest.approx(reference.LAST_RATE)
    ratios = {round(b / a, 12) for a, b in itertools.pairwise(rates)}
    assert len(ratios) == 1


def test_it_learns_beside_the_integers(tmp_path: Path) -> None:
    paper_mnist(
        "mnist-small",
        None,
        tmp_path / "experiment",
        studies=["columns"],
        epochs=1,
        seeds=1,
        jobs=2,
        quick=True,
        float_epochs=8,
    )
    lines = (tmp_path / "experiment" / "results.md").read_text().splitlines()
    (row,) = (line for line in lines if line.startswith("| ternary connect + QBP, float 64-64-10"))
    last_validation = float(row.split("|")[6])
    assert last_validation < 10
