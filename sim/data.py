"""Data sets: the UCI digits that scikit-learn ships, and MNIST from its four IDX files."""

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from golden.parameters import Parameters

#: The last images of the UCI digits are the test set (contract, section 14).
DIGITS_TEST_IMAGES = 360

#: Pixels and classes of the UCI digits.
DIGITS_PIXELS, DIGITS_CLASSES = 64, 10

#: MD5 of the four MNIST files, unpacked, as their authors published them.
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

#: Where the four files can be had.
MNIST_SOURCE = "https://ossci-datasets.s3.amazonaws.com/mnist/"

Pixels = npt.NDArray[np.uint16]
Labels = npt.NDArray[np.int64]


class DataError(ValueError):
    """A data file is missing, damaged or of the wrong shape; the message is one line."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, in file order.

    Attributes:
        train_pixels: uint16, shape (samples, pixels), ``0 .. 2**A - 1``.
        train_labels: int64, shape (samples,).
        test_pixels: uint16, shape (samples, pixels), ``0 .. 2**A - 1``.
        test_labels: int64, shape (samples,).
    """

    train_pixels: Pixels
    train_labels: Labels
    test_pixels: Pixels
    test_labels: Labels


def scale_pixels(pixels: npt.NDArray[np.uint8], activation_bits: int) -> Pixels:
    """Return 8-bit pixels as pixels of ``A`` bits (contract, section 14)."""
    wide = pixels.astype(np.uint16)
    if activation_bits < 8:
        return np.right_shift(wide, np.uint16(8 - activation_bits))
    return np.left_shift(wide, np.uint16(activation_bits - 8))


def load_digits(activation_bits: int) -> Dataset:
    """Return the UCI digits: 1,437 training and 360 test images of 8 x 8 pixels, 10 classes."""
    # scikit-learn takes a second to load, and MNIST does not need it.
    from sklearn.datasets import load_digits as load_sklearn_digits  # noqa: PLC0415

    digits = load_sklearn_digits()
    pixels = np.minimum(16 * digits.data.astype(np.int64), 255).astype(np.uint8)
    scaled = scale_pixels(pixels, activation_bits)
    labels = digits.target.astype(np.int64)
    split = len(labels) - DIGITS_TEST_IMAGES
    return Dataset(scaled[:split], labels[:split], scaled[split:], labels[split:])


def load_mnist(folder: Path, activation_bits: int) -> Dataset:
    """Return MNIST: 60,000 training and 10,000 test images of 28 x 28 pixels, 10 classes.

    Args:
        folder: Holds the four files, each as it is or packed with gzip (``.gz``).
        activation_bits: Bits of a pixel, ``A``.

    Raises:
        DataError: If a file is missing, damaged or not the published one.
    """
    images, labels, test_images, test_labels = (
        _read_idx(folder, name, digest) for name, digest in MNIST_MD5.items()
    )
    return Dataset(
        scale_pixels(images.reshape(len(images), -1), activation_bits),
        labels.astype(np.int64),
        scale_pixels(test_images.reshape(len(test_images), -1), activation_bits),
        test_labels.astype(np.int64),
    )


def _read_idx(folder: Path, name: str, digest: str) -> npt.NDArray[np.uint8]:
    """Return the array of an IDX file of bytes."""
    packed = folder / f"{name}.gz"
    path = packed if packed.is_file() else folder / name
    if not path.is_file():
        raise DataError(f"no {name} or {name}.gz in {folder}; get it from {MNIST_SOURCE}")
    try:
        content = path.read_bytes()
        if path == packed:
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}; get it from {MNIST_SOURCE}") from error
    # Two zero bytes, type 8 (unsigned byte), number of dimensions; then each as a 32-bit word.
    dimensions = 3 if "images" in name else 1
    if content[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(
            f"{path} does not start with the IDX magic 0x0000080{dimensions}; "
            f"get it from {MNIST_SOURCE}"
        )
    header = 4 + 4 * dimensions
    shape = tuple(int(size) for size in np.frombuffer(content[4:header].ljust(header - 4), ">u4"))
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise DataError(
            f"{path} has {len(content)} bytes, its header says {expected}; "
            f"get it from {MNIST_SOURCE}"
        )
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != digest:
        raise DataError(
            f"{path} is not the published file, its MD5 is not {digest}; get it from {MNIST_SOURCE}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def load(parameters: Parameters, folder: Path | None) -> Dataset:
    """Return MNIST from a folder, or the digits without one, if they fit the network.

    Raises:
        DataError: If the files are at fault, or sizes differ from the network's inputs or classes.
    """
    bits = parameters.activation_bits
    dataset = load_digits(bits) if folder is None else load_mnist(folder, bits)
    name, mend = ("UCI digits", " (MNIST: --data FOLDER)") if folder is None else ("MNIST", "")
    pixels = dataset.train_pixels.shape[1]
    classes = 1 + int(max(dataset.train_labels.max(), dataset.test_labels.max()))
    inputs, outputs = parameters.layers[0], parameters.layers[-1]
    if pixels != inputs or classes > outputs:
        raise DataError(
            f"the network has {inputs} inputs and {outputs} classes, "
            f"the {name} have {pixels} pixels and {classes} classes{mend}"
        )
    return dataset
