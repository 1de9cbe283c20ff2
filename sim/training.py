"""Training with the functional golden model: epochs, loss and errors of each, metrics as CSV."""

import csv
import io
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields

import numpy as np

from golden.network import Network
from golden.parameters import Parameters
from golden.state import State
from sim.data import Dataset, Labels, Pixels
from sim.jitter import jittered

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
        loss: Mean squared hinge loss of a sample, before the network learnt from it, in units of
            the squared margin ``M**2``: 1 when one logit is off by the whole margin.
        trained_fraction: Samples that changed the weights: some output delta was not 0.
        validation_error: Held-back images that exact inference predicts wrongly, after the epoch;
            ``None`` if none are held back.
        test_error: The same for the test images; ``None`` if images are held back, so that no
            choice between epochs sees the test set.
        seconds: Wall time of its training.

    Raises:
        ValueError: If not exactly one of validation and test error is known.
    """

    epoch: int
    rate_shift: int
    samples: int
    train_error: float
    loss: float
    trained_fraction: float
    validation_error: float | None
    test_error: float | None
    seconds: float

    def __post_init__(self) -> None:
        if (self.validation_error is None) == (self.test_error is None):
            raise ValueError(f"epoch {self.epoch} needs either a validation or a test error")

    @property
    def held_back_error(self) -> float:
        """The validation error, or the test error where no validation error is measured."""
        (error,) = (each for each in (self.validation_error, self.test_error) if each is not None)
        return error


def default_epochs(parameters: Parameters) -> int:
    """Return the epochs that a schedule is made for: three at its lowest rate; 20 without one."""
    return max(parameters.schedule) + 3 if parameters.schedule else 20


def error_percent(network: Network, pixels: Pixels, labels: Labels) -> float:
    """Return the percentage of samples that exact inference predicts wrongly."""
    return 100 * float(np.mean(network.infer(pixels) != labels))


def exact_error(network: Network, dataset: Dataset) -> float:
    """Return the percentage of test samples that exact inference predicts wrongly."""
    return error_percent(network, dataset.test_pixels, dataset.test_labels)


def compile_kernels(parameters: Parameters) -> None:
    """Make the compiled code of training and exact inference ready, on a network thrown away."""
    network = Network(parameters, State.initial(parameters))
    pixels = np.zeros((1, parameters.layers[0]), np.uint16)
    network.train(pixels, np.zeros(1, np.int64))
    network.infer(pixels)


def train(
    network: Network,
    dataset: Dataset,
    epochs: int,
    *,
    validation: int = 0,
    jitter: bool = False,
    first_sample: int = 0,
    progress: Progress | None = None,
) -> Iterator[Epoch]:
    """Train in file order until ``epochs`` epochs are done; yield each when it is.

    Args:
        network: Is trained in place.
        dataset: The samples.
        epochs: Epochs in all, counted from the start of the schedule.
        validation: The last so many training images are held back; their error is measured after
            each epoch, and that of the test images is not.
        jitter: Move half of the training images by a pixel, anew in each epoch (:mod:`sim.jitter`,
            from the parameters' ``dropout_seed``).
        first_sample: Samples that the network has learnt from before.
        progress: Called from time to time.

    Raises:
        ValueError: If no image is left to train on, or images to be moved are not square.
    """
    size = len(dataset.train_labels) - validation
    if size <= 0:
        raise ValueError(
            f"validation must be below the {len(dataset.train_labels):,} training images, "
            f"not {validation:,}"
        )
    trained_samples = 0
    for epoch in range(first_sample // size, epochs):
        first = max(0, first_sample - epoch * size)
        shift = network.parameters.rate_shift(epoch)
        pixels, labels = dataset.train_pixels[:size], dataset.train_labels[first:size]
        if jitter:
            pixels = jittered(pixels, network.parameters.dropout_seed, epoch)

        def report(samples: int, before: int = trained_samples) -> None:
            if progress is not None:
                progress(before + samples)

        began = time.perf_counter()
        result = network.train(pixels[first:], labels, shift, progress=report)
        seconds = time.perf_counter() - began
        trained_samples += len(labels)
        held_back = dataset.train_pixels[size:], dataset.train_labels[size:]
        yield Epoch(
            epoch=epoch,
            rate_shift=shift,
            samples=len(labels),
            train_error=100 * float(np.mean(result.predictions != labels)),
            loss=float(np.mean(result.losses)) / network.parameters.margin**2,
            trained_fraction=100 * float(np.mean(result.trained)),
            validation_error=error_percent(network, *held_back) if validation else None,
            test_error=None if validation else exact_error(network, dataset),
            seconds=seconds,
        )


def metrics_to_csv(epochs: Iterable[Epoch]) -> str:
    """Return one line for each epoch, below a line of names; what is ``None`` is left empty."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, [field.name for field in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in epochs)
    return file.getvalue()


def metrics_from_csv(text: str) -> list[Epoch]:
    """Return the epochs that :func:`metrics_to_csv` wrote, with equal floats.

    Raises:
        ValueError: If the text is something else.
    """
    names = [field.name for field in fields(Epoch)]
    lines = list(csv.reader(io.StringIO(text, newline="")))
    if not lines or lines[0] != names or any(len(line) != len(names) for line in lines):
        raise ValueError(f"each line must have the columns {','.join(names)}")
    rows = (dict(zip(names, line, strict=True)) for line in lines[1:])
    return [
        Epoch(
            epoch=int(row["epoch"]),
            rate_shift=int(row["rate_shift"]),
            samples=int(row["samples"]),
            train_error=float(row["train_error"]),
            loss=float(row["loss"]),
            trained_fraction=float(row["trained_fraction"]),
            validation_error=_optional(row["validation_error"]),
            test_error=_optional(row["test_error"]),
            seconds=float(row["seconds"]),
        )
        for row in rows
    ]


def _optional(text: str) -> float | None:
    return float(text) if text else None
