"""The published method: its multiplications to the last one, and that it goes downhill."""

import re
from pathlib import Path

import numpy as np
import pytest

from golden.operations import Tally
from sim.published import (
    PAPER_LAYERS,
    PAPER_MULTIPLICATIONS,
    CountedArray,
    PublishedNetwork,
    count_published,
    counted,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.mark.parametrize(("few", "norm"), PAPER_MULTIPLICATIONS)
def test_multiplications_are_the_published_ones(few: bool, norm: bool) -> None:
    tallies = count_published(PAPER_LAYERS, few_multiplications=few, batch_norm=norm)
    total = sum(tally.multiplications for tally in tallies.values())
    assert total == PAPER_MULTIPLICATIONS[few, norm]
    # 2,910,208 weights and 3,082 units.
    if not few:
        assert all(tallies[phase].multiplications >= 200 * 2_910_208
                   for phase in ("forward", "backward", "update"))  # fmt: skip
    else:
        assert tallies["update"].shifts >= 200 * 2_910_208
    assert tallies["loss"].multiplications == 0
    # The document has the number, and its parts.
    text = DOCUMENT.read_text(encoding="utf-8")
    assert f"{total:,}" in text
    for phase in ("forward", "backward", "update"):
        assert f"{tallies[phase].multiplications:,}" in text


def test_count_does_not_depend_on_the_seed() -> None:
    rng = np.random.default_rng(7)
    counts = []
    for seed in (1, 2):
        network = PublishedNetwork((6, 5, 3), few_multiplications=True, batch_norm=True, seed=seed)
        counts.append(network.step(rng.normal(size=(4, 6)), rng.integers(0, 3, 4)))
    assert counts[0] == counts[1]


def hinge(network: PublishedNetwork, images: np.ndarray, labels: np.ndarray, norm: bool) -> float:
    """Return the mean squared hinge loss, written apart from the step."""
    h = images
    layers = list(zip(network.weights, network.biases, network.gains, strict=True))
    for layer, (weights, biases, gains) in enumerate(layers):
        z = h @ np.asarray(weights)
        if norm:
            z = np.asarray(gains) * (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-4)
        z = z + np.asarray(biases)
        h = np.where(z > 0, z, 0) if layer < len(layers) - 1 else z
    margins = [
        np.sum(np.maximum(0, 1 - np.where(np.arange(len(row)) == label, row, -row)) ** 2)
        for row, label in zip(z, labels, strict=True)
    ]
    return float(np.mean(margins))


@pytest.mark.parametrize("norm", [False, True])
def test_step_goes_down_the_gradient(norm: bool) -> None:
    rng = np.random.default_rng(3)
    images, labels = rng.normal(size=(8, 6)), rng.integers(0, 3, 8)
    rate = 1e-3

    def fresh() -> PublishedNetwork:
        network = PublishedNetwork((6, 5, 4, 3), few_multiplications=False, batch_norm=norm,
                                   rate=rate)  # fmt: skip
        for weights in network.weights:
            np.asarray(weights)[:] *= 0.5  # away from the limits
        return network

    learnt, network = fresh(), fresh()
    learnt.step(images, labels)
    checked = 0
    for name in ("weights", "biases", *(["gains"] if norm else [])):
        for layer, array in enumerate(getattr(network, name)):
            values = np.asarray(array)
            for place in np.ndindex(values.shape):
                kept, losses = values[place], []
                for step in (1e-5, -1e-5):
                    values[place] = kept + step
                    losses.append(hinge(network, images, labels, norm))
                values[place] = kept
                gradient = (losses[0] - losses[1]) / 2e-5
                change = np.asarray(getattr(learnt, name)[layer])[place] - kept
                assert change == pytest.approx(-rate * gradient, rel=1e-3, abs=1e-9)
                checked += 1
    assert checked >= 62 + 12


@pytest.mark.parametrize("norm", [False, True])
def test_few_multiplications_learns_from_what_it_drew(norm: bool) -> None:
    """The drawn weights are ternary; their mean over many steps without learning is the weight."""
    network = PublishedNetwork((4, 3), few_multiplications=True, batch_norm=norm, rate=0.0)
    images, labels = np.ones((5, 4)), np.zeros(5, int)
    weights, total = np.array(network.weights[0]), np.zeros((4, 3))
    for _ in range(2000):
        network.step(images, labels)
        total += np.asarray(network.drawn[0])
    assert set(np.unique(np.asarray(network.drawn[0]))) <= {-1, 0, 1}
    assert np.abs(total / 2000 - weights).max() < 0.06


def test_quantizer_is_unbiased() -> None:
    network = PublishedNetwork((4, 3), few_multiplications=True, batch_norm=False)
    x = counted([0.0, 1.0, -0.75, 2.9])
    drawn = np.array([np.asarray(network._power_of_two(x)) for _ in range(4000)])
    assert set(np.unique(drawn)) == {-1.0, -0.5, 0.0, 1.0, 2.0, 4.0}
    assert np.abs(drawn.mean(0) - np.asarray(x)).max() < 0.06


X, Y = counted(np.full((2, 3), 3.0)), counted(np.full((3, 4), 5.0))
T, E = counted(np.ones((3, 4)), "ternary"), counted(np.full((3, 4), 4.0), "power")


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (lambda: X @ Y, Tally(multiplications=24, additions=24)),
        (lambda: X @ T, Tally(selects=24, additions=24)),
        (lambda: X @ E, Tally(shifts=24, additions=24)),
        (lambda: E.T @ X.T, Tally(shifts=24, additions=24)),
        (lambda: Y * Y, Tally(multiplications=12)),
        (lambda: Y * 0.3, Tally(multiplications=12)),
        (lambda: 0.5 * Y, Tally(shifts=12)),
        (lambda: Y * E, Tally(shifts=12)),
        (lambda: (Y * E) * Y, Tally(shifts=12, multiplications=12)),
        (lambda: (T + T) * Y, Tally(additions=12, multiplications=12)),
        (lambda: np.multiply(Y, Y), Tally(multiplications=12)),
        (lambda: np.reciprocal(Y), Tally(multiplications=12)),
        (lambda: Y.sum(0), Tally(additions=12)),
        (lambda: -Y, Tally(additions=12)),
        (lambda: Y > 0.0, Tally(selects=12)),
    ],
)
def test_each_operation_counts(operation: object, expected: Tally) -> None:
    CountedArray.tally = Tally()
    assert isinstance(operation(), CountedArray)
    assert CountedArray.tally == expected


@pytest.mark.parametrize(
    "operation",
    [lambda: Y / 2.0, lambda: Y**2, lambda: np.exp(Y), lambda: np.multiply.reduce(Y),
     lambda: np.multiply.outer(Y, Y)],
)  # fmt: skip
def test_operation_without_a_rule_is_refused(operation: object) -> None:
    with pytest.raises(TypeError, match=r"no rule to count \w+"):
        operation()


@pytest.mark.parametrize("kind", ["ternary", "power"])
def test_false_claim_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=re.escape("values other than ")):
        counted([0.0, 1.0, 3.0], kind)
