"""Evaluation: the test error of every inference rule, from one trained state."""

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from golden.inference import RULES, Rule
from golden.network import MAX_DRAWS, Network
from golden.parameters import Parameters
from sim.data import Labels, Pixels

#: Called with the sample passes done since the start; their number is :func:`sample_passes`.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class RuleResult:
    """What one inference rule gave on some test samples.

    Attributes:
        rule: The rule (contract, section 13).
        draws: ``K`` of the rule ``"sampled"``; 1 for the others.
        passes: Passes over the weights that hardware without a multiplier makes for a sample: ``K``
            of ``"sampled"``, one for each bit of the magnitudes (``F``) of ``"exact"``, else 1.
        samples: Test samples.
        errors: Those of them predicted wrongly.
        error_percent: The same in percent.
        microseconds_per_sample: Wall time of the golden model.
    """

    rule: Rule
    draws: int
    passes: int
    samples: int
    errors: int
    error_percent: float
    microseconds_per_sample: float


def questions(draws: Sequence[int]) -> list[tuple[Rule, int]]:
    """Return rule and draws of what is asked: ``"sampled"`` with each of ``draws``, the others."""
    sampled: list[tuple[Rule, int]] = [("sampled", count) for count in draws]
    return sampled + [(rule, 1) for rule in RULES if rule != "sampled"]


def sample_passes(draws: Sequence[int], samples: int) -> int:
    """Return how many passes of a sample :func:`evaluate` makes in all."""
    return samples * sum(count for _, count in questions(draws))


def evaluate(
    network: Network,
    pixels: Pixels,
    labels: Labels,
    draws: Sequence[int],
    progress: Progress | None = None,
) -> Iterator[RuleResult]:
    """Ask a network by every rule, and yield what each gave; the network stays as it is.

    Args:
        network: The trained network.
        pixels: Test images, shape (n, n_0), n at least 1.
        labels: Their classes, shape (n,).
        draws: Numbers of draws of the rule ``"sampled"``.
        progress: Called from time to time.

    Raises:
        ValueError: If a number of draws, a shape or a value is out of range.
    """
    for count in draws:
        # Not after minutes of work for the numbers before it.
        if not 1 <= count <= MAX_DRAWS:
            raise ValueError(f"draws must be in 1..{MAX_DRAWS}, not {count}")
    before = 0
    for rule, count in questions(draws):

        def report(samples: int, before: int = before, count: int = count) -> None:
            if progress is not None:
                progress(before + samples * count)

        # The first call may compile, which is no part of a sample's time.
        network.infer(pixels[:1], rule, count)
        began = time.perf_counter()
        predictions = network.infer(pixels, rule, count, progress=report)
        seconds = time.perf_counter() - began
        before += len(labels) * count
        errors = int(np.sum(predictions != labels))
        yield RuleResult(
            rule=rule,
            draws=count,
            passes=_passes(network.parameters, rule, count),
            samples=len(labels),
            errors=errors,
            error_percent=100 * errors / len(labels),
            microseconds_per_sample=round(1e6 * seconds / len(labels), 3),
        )


def _passes(parameters: Parameters, rule: Rule, draws: int) -> int:
    return parameters.weight_fraction_bits if rule == "exact" else draws


def save_results(results: Sequence[RuleResult], path: Path) -> None:
    """Write one line for each result as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(RuleResult)])
        writer.writeheader()
        writer.writerows(asdict(result) for result in results)
