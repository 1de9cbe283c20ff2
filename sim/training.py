"""Training with the functional golden model: epochs, test error, metrics."""

import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from golden.network import Network
from sim.data import Dataset

#: Called with the samples done since the start.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Epoch:
    """What is known of one epoch; errors and fractions are in percent.

    Attributes:
        epoch: Number of the epoch, from 0.
        rate_shift: Learning-rate shift ``sh``.
        samples: Training samples of it; fewer than the data set has, if a part was done before.
        train_error: Samples predicted wrongly, each before the network learnt from it.
        trained_fraction: Samples that changed the weights: some output delta was not 0.
        test_error: Test samples that exact inference predicts wrongly, after the epoch.
        seconds: Wall time of its training.
    """

    epoch: int
    rate_shift: int
    samples: int
    train_error: float
    trained_fraction: float
    test_error: float
    seconds: float


def exact_error(network: Network, dataset: Dataset) -> float:
    """Return the percentage of test samples that exact inference predicts wrongly."""
    predictions = network.infer(dataset.test_pixels)
    return 100 * float(np.mean(predictions != dataset.test_labels))


def train(
    network: Network,
    dataset: Dataset,
    epochs: int,
    *,
    first_sample: int = 0,
    progress: Progress | None = None,
) -> Iterator[Epoch]:
    """Train in file order until ``epochs`` epochs are done; yield each when it is.

    Args:
        network: Is trained in place.
        dataset: The samples.
        epochs: Epochs in all, counted from the start of the schedule.
        first_sample: Samples that the network has learnt from before.
        progress: Called from time to time.
    """
    size = len(dataset.train_labels)
    trained_samples = 0
    for epoch in range(first_sample // size, epochs):
        first = max(0, first_sample - epoch * size)
        shift = network.parameters.rate_shift(epoch)
        labels = dataset.train_labels[first:]

        def report(samples: int, before: int = trained_samples) -> None:
            if progress is not None:
                progress(before + samples)

        began = time.perf_counter()
        result = network.train(dataset.train_pixels[first:], labels, shift, progress=report)
        seconds = time.perf_counter() - began
        trained_samples += len(labels)
        yield Epoch(
            epoch=epoch,
            rate_shift=shift,
            samples=len(labels),
            train_error=100 * float(np.mean(result.predictions != labels)),
            trained_fraction=100 * float(np.mean(result.trained)),
            test_error=exact_error(network, dataset),
            seconds=seconds,
        )


def save_metrics(epochs: list[Epoch], path: Path) -> None:
    """Write one line for each epoch as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Epoch)])
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in epochs)
