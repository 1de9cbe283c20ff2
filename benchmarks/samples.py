"""What the networks are shown: MNIST, or images that are made up where there is none."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sim.data import load_mnist

#: Live pixels of MNIST's training images, as a fraction.
LIVE_PIXELS = 0.19

#: Images that are made up.
SYNTHETIC_SAMPLES = 10_000


@dataclass(frozen=True, eq=False)
class Samples:
    """Training images and what they are.

    Attributes:
        name: Of the data, for tables.
        pixels: uint16, shape (samples, 784), 0..255.
        labels: int64, shape (samples,), 0..9.
    """

    name: str
    pixels: npt.NDArray[np.uint16]
    labels: npt.NDArray[np.int64]

    @property
    def live(self) -> float:
        """Fraction of the pixels that are not 0."""
        return np.count_nonzero(self.pixels) / self.pixels.size


def load_samples(folder: Path | None) -> Samples:
    """Return MNIST's training images from a folder, or seeded synthetic ones without a folder.

    A synthetic image is one of ten patterns with noise, cut so that 19 % of its pixels are live.

    Raises:
        DataError: If the files are missing or at fault; one line.
    """
    if folder is not None:
        mnist = load_mnist(folder, 8)
        return Samples("MNIST", mnist.train_pixels, mnist.train_labels)
    rng = np.random.default_rng(1)
    patterns = rng.standard_normal((10, 784), np.float32)
    labels = rng.integers(0, 10, SYNTHETIC_SAMPLES)
    noise = rng.standard_normal((SYNTHETIC_SAMPLES, 784), np.float32)
    heights = patterns[labels] + noise
    dark = np.quantile(heights, 1 - LIVE_PIXELS)
    pixels = np.where(heights > dark, rng.integers(1, 256, heights.shape), 0)
    return Samples("synthetic images", pixels.astype(np.uint16), labels)
