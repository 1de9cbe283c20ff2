"""Data sets: the pixel rule, the split, and IDX files that are not what they should be."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from sklearn import datasets

from golden import Parameters
from sim import data
from sim.data import DataError, load, load_digits, load_mnist, scale_pixels

MISSING = "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize("bits", range(2, 17))
def test_pixel_rule(bits: int) -> None:
    values = np.arange(256, dtype=np.uint8)
    expected = [v >> (8 - bits) if bits < 8 else v << (bits - 8) for v in range(256)]
    assert scale_pixels(values, bits).tolist() == expected
    assert max(expected) < 1 << bits


def test_digits() -> None:
    dataset = load_digits(8)
    raw = datasets.load_digits()
    pixels = [[min(16 * int(value), 255) for value in image] for image in raw.data]
    assert dataset.train_pixels.tolist() + dataset.test_pixels.tolist() == pixels
    assert dataset.train_labels.tolist() + dataset.test_labels.tolist() == raw.target.tolist()
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (1437, 360)


def packed(content: bytes) -> bytes:
    """Compress without the time, which would give each test process other names of tests."""
    return gzip.compress(content, mtime=0)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Write a small data set as MNIST's files, half of them packed; make it the published one."""
    rng = np.random.default_rng(1)
    arrays = [
        rng.integers(0, 256, (5, 28, 28), np.uint8),
        np.array([1, 9, 0, 3, 3], np.uint8),
        rng.integers(0, 256, (2, 28, 28), np.uint8),
        np.array([7, 8], np.uint8),
    ]
    for number, (name, array) in enumerate(zip(list(data.MNIST_MD5), arrays, strict=True)):
        content = idx(array)
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        monkeypatch.setitem(data.MNIST_MD5, name, digest)
        if number % 2:
            (folder / f"{name}.gz").write_bytes(packed(content))
        else:
            (folder / name).write_bytes(content)
    return arrays


def test_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = write_mnist(tmp_path, monkeypatch)
    dataset = load_mnist(tmp_path, 4)
    assert dataset.train_pixels.tolist() == (arrays[0].reshape(5, 784) >> 4).tolist()
    assert dataset.train_labels.tolist() == arrays[1].tolist()
    assert dataset.test_pixels.tolist() == (arrays[2].reshape(2, 784) >> 4).tolist()
    assert dataset.test_labels.tolist() == arrays[3].tolist()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no t10k-labels-idx1-ubyte or"),
        (
            packed(b"\0\0\x08\x03" + bytes(12)),
            "does not start with the IDX magic 0x00000801",
        ),
        (packed(b"\0\0\x08\x01\0\0\0\x02\x07"), "has 9 bytes, its header says 10"),
        (packed(b"\0\0\x08\x01"), "has 4 bytes"),
        (packed(b"\0\0\x08\x01\0\0\0\x02\x07\x07"), "is not the published file"),
        (b"not gzip", "cannot read"),
        (packed(bytes(1000))[:-12], "cannot read"),
        (b"\x1f\x8b\x08" + b"\0" * 7 + b"\xff" * 20, "cannot read"),
    ],
)
def test_bad_mnist_file(
    content: bytes | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path, monkeypatch)
    path = tmp_path / f"{MISSING}.gz"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        load_mnist(tmp_path, 8)
    assert "\n" not in str(caught.value)
    assert data.MNIST_SOURCE in str(caught.value)
    assert MISSING in str(caught.value)


def test_data_must_fit_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path, monkeypatch)
    digits, mnist = Parameters.named("digits"), Parameters.named("mnist-small")
    assert load(digits, None).train_pixels.shape == (1437, 64)
    assert load(mnist, tmp_path).train_pixels.shape == (5, 784)
    with pytest.raises(DataError, match=r"784 inputs .* 64 pixels .* --data FOLDER"):
        load(mnist, None)
    with pytest.raises(DataError, match=r"64 inputs .* 784 pixels"):
        load(digits, tmp_path)
    with pytest.raises(DataError, match=r"9 classes, the UCI digits .* 10 classes"):
        load(digits.replace(layers=(64, 32, 9)), None)
