"""One run of an experiment: what it is, and what it gives."""

import hashlib
import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from golden.jit import sources_digest
from golden.network import Network
from golden.parameters import Parameters
from sim.data import load_digits, load_mnist
from sim.experiment.activations import exact_layers, exponent_counts
from sim.experiment.split import Split

#: Version of the arithmetic contract that results stand for: whoever changes what a run gives
#: raises it, so that no old result is taken for a new one. (A hash of the sources would throw
#: hours of results away for a comment.)
CONTRACT_VERSION = 2

#: Validation images whose activations are counted.
COUNTED_IMAGES = 1000

#: Called with the epochs done, a fraction in between; whatever it raises ends the run.
Report = Callable[[float], None]


@dataclass(frozen=True)
class Images:
    """A data set and its split.

    Attributes:
        data: ``"mnist"`` or ``"digits"``.
        validation: Last training images that are kept for validation.
    """

    data: Literal["mnist", "digits"]
    validation: int


@lru_cache(maxsize=2)
def load_split(images: Images, folder: Path | None, bits: int) -> Split:
    """Read a data set once for all runs of a process.

    Args:
        images: Which.
        folder: Folder of the MNIST files; not used for the digits.
        bits: Bits of a pixel.

    Raises:
        DataError: If the files are at fault.
    """
    if images.data == "digits":
        dataset = load_digits(bits)
    elif folder is None:
        raise ValueError("MNIST wants the folder of its files")
    else:
        dataset = load_mnist(folder, bits)
    return Split.of(dataset, images.validation)


@dataclass(frozen=True)
class IntegerRun:
    """A training of the integer golden model; its result depends on these fields alone."""

    parameters: Parameters
    epochs: int
    images: Images

    def identity(self) -> dict[str, Any]:
        """Return all that the result depends on, as JSON values."""
        return {
            "contract": CONTRACT_VERSION,
            "parameters": self.parameters.to_dict(),
            "epochs": self.epochs,
            **asdict(self.images),
        }

    @property
    def file(self) -> Path:
        """Where the result is kept, in the folder of the experiment."""
        canonical = json.dumps(self.identity(), sort_keys=True)
        return Path("runs") / f"{hashlib.sha256(canonical.encode()).hexdigest()[:20]}.json"

    def execute(self, data: Path | None, output: Path, report: Report) -> dict[str, Any]:
        """Train; return the result as JSON values, errors in percent by exact inference.

        Args:
            data: Folder of the MNIST files.
            output: Folder of the experiment; not used.
            report: Is told the epochs done.
        """
        p = self.parameters
        split = load_split(self.images, data, p.activation_bits)
        network = Network(p)
        size = len(split.train_labels)
        history = []
        for epoch in range(self.epochs):

            def progress(samples: int, before: int = epoch) -> None:
                report(before + samples / size)

            began = time.perf_counter()
            result = network.train(
                split.train_pixels, split.train_labels, p.rate_shift(epoch), progress
            )
            history.append(
                {
                    "epoch": epoch,
                    "rate_shift": p.rate_shift(epoch),
                    "train_error": _percent(result.predictions != split.train_labels),
                    "trained_fraction": _percent(result.trained),
                    "validation_error": _percent(
                        network.infer(split.validation_pixels) != split.validation_labels
                    ),
                    "seconds": round(time.perf_counter() - began, 3),
                }
            )
        *inputs, _ = exact_layers(p, network.state, split.validation_pixels[:COUNTED_IMAGES])
        return {
            "validation_error": history[-1]["validation_error"],
            "test_error": _percent(network.infer(split.test_pixels) != split.test_labels),
            "exponent_counts": [exponent_counts(values, p.activation_bits) for values in inputs],
            "history": history,
            "state_sha256": network.state.digest(),
            "golden_sources": sources_digest(),
        }


@dataclass(frozen=True)
class FloatRun:
    """A training of the float reference."""

    column: str
    hidden: tuple[int, ...]
    epochs: int
    seed: int
    images: Images

    def identity(self) -> dict[str, Any]:
        """Return all that the result depends on but the device, as JSON values."""
        return {**asdict(self), "hidden": list(self.hidden), "images": asdict(self.images)}

    @property
    def file(self) -> Path:
        """Where the result is kept, in the folder of the experiment."""
        sizes = "-".join(map(str, self.hidden))
        name = f"{self.images.data}-{sizes}-{self.column}-epochs{self.epochs}-seed{self.seed}.json"
        return Path("float") / name

    def execute(self, data: Path | None, output: Path, report: Report) -> dict[str, Any]:
        """Train, from a checkpoint if there is one; return the result as JSON values.

        Args:
            data: Folder of the MNIST files.
            output: Folder of the experiment, where the checkpoint is kept.
            report: Is told the epochs done.

        Raises:
            ValueError: If torch is missing.
        """
        check_torch()
        # An optional extra, which takes seconds to load.
        from sim.experiment import float_reference  # noqa: PLC0415

        checkpoint = output / self.file.with_suffix(".npz")
        result = float_reference.train(
            self.column,
            load_split(self.images, data, 8),
            self.hidden,
            self.epochs,
            self.seed,
            checkpoint,
            report,
        )
        return asdict(result)


AnyRun = IntegerRun | FloatRun


def check_torch() -> None:
    """Check that the float reference can run.

    Raises:
        ValueError: If torch is missing.
    """
    if importlib.util.find_spec("torch") is None:
        raise ValueError("the float reference needs torch: pip install 'nomul[paper]'")


def _percent(flags: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    return 100 * int(np.count_nonzero(flags)) / flags.size
