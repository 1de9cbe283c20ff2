"""Packets of the core's streams, on the host: samples into bytes, bytes into records.

The formats are those of ``docs/packets.md``. Words are 32 bits, little-endian: ``words.tobytes()``
is what goes over the bus, lowest byte first.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

#: Widths of a bus, in bits.
BUS_BITS = (32, 64, 128)

_WORD = np.dtype("<u4")

#: Bit of a header that announces entries instead of pixels.
_SPARSE = 1 << 16


def _check(
    pixels: npt.ArrayLike, labels: npt.ArrayLike, bus_bits: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return images and labels as int64.

    Raises:
        ValueError: If they or the bus are not what packets can carry.
    """
    images, classes = np.asarray(pixels, np.int64), np.asarray(labels, np.int64)
    if bus_bits not in BUS_BITS:
        raise ValueError(f"bus_bits must be one of {BUS_BITS}, not {bus_bits}")
    if images.ndim != 2 or not 1 <= images.shape[1] <= 0xFFFF:
        raise ValueError(f"pixels must have the shape (n, 1..65535), not {images.shape}")
    if classes.shape != images.shape[:1]:
        raise ValueError(f"labels must have one entry an image, {len(images)}, not {classes.shape}")
    for name, values, high in (("pixels", images, 0xFF), ("labels", classes, 0xFFFF)):
        if values.size and not (values.min() >= 0 and values.max() <= high):
            raise ValueError(f"{name} must be in 0..{high}, not {values.min()}..{values.max()}")
    return images, classes


def dense_packets(pixels: npt.ArrayLike, labels: npt.ArrayLike, bus_bits: int) -> Words:
    """Return one packet for each image, with all of its pixels.

    Args:
        pixels: Integers, shape (n, n_0), ``0 .. 2**A - 1``, ``A <= 8``.
        labels: Integers, shape (n,).
        bus_bits: Bits of a beat: 32, 64 or 128.

    Returns:
        uint32, shape (n, words); a row is a packet of whole beats.

    Raises:
        ValueError: If a shape or a value is out of range.
    """
    images, classes = _check(pixels, labels, bus_bits)
    beat = bus_bits // 8
    size = images.shape[1]
    packets = np.zeros((len(images), beat + -(-size // beat) * beat), np.uint8)
    packets[:, beat : beat + size] = images
    words = packets.view(_WORD)
    words[:, 0] = classes
    return words


def sparse_packets(pixels: npt.ArrayLike, labels: npt.ArrayLike, bus_bits: int) -> list[Words]:
    """Return one packet for each image, with an entry for each pixel that is not 0.

    The last beat may be cut short; TKEEP marks the bytes that are there.

    Args:
        pixels: Integers, shape (n, n_0), ``0 .. 2**A - 1``, ``A <= 8``.
        labels: Integers, shape (n,).
        bus_bits: Bits of a beat: 32, 64 or 128.

    Returns:
        uint32, shape (words,), for each image.

    Raises:
        ValueError: If a shape or a value is out of range.
    """
    images, classes = _check(pixels, labels, bus_bits)
    header = bus_bits // 32
    packets = []
    for image, label in zip(images, classes, strict=True):
        listed = np.flatnonzero(image)
        packet = np.zeros(header + len(listed), _WORD)
        packet[0] = label | _SPARSE
        packet[header:] = listed | image[listed] << 16
        packets.append(packet)
    return packets


@dataclass(frozen=True, eq=False)
class Records:
    """What the core says of samples, in order.

    Attributes:
        prediction: int64, shape (n,).
        label: int64, shape (n,), as sent.
        correct: bool, shape (n,): prediction and label agree.
        train: bool, shape (n,): the sample was trained on, not evaluated.
        number: int64, shape (n,): number of the sample since the reset, modulo ``2**16``.
        logits: int64, shape (n, classes): sums ``z`` of the output units, ``g`` fraction bits; no
            columns without.
    """

    prediction: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    correct: npt.NDArray[np.bool_]
    train: npt.NDArray[np.bool_]
    number: npt.NDArray[np.int64]
    logits: npt.NDArray[np.int64]


def read_records(
    beats: bytes | bytearray | npt.NDArray[Any], bus_bits: int, logits: int = 0
) -> Records:
    """Read records.

    Args:
        beats: All bytes of whole records, one after the other.
        bus_bits: Bits of a beat: 32, 64 or 128.
        logits: Logits in each record: the number of classes, or 0.

    Raises:
        ValueError: If the bus cannot be so wide, or the bytes are not whole records.
    """
    if bus_bits not in BUS_BITS:
        raise ValueError(f"bus_bits must be one of {BUS_BITS}, not {bus_bits}")
    content = bytes(beats)
    size = (2 + logits) * (bus_bits // 8)
    if len(content) % size:
        raise ValueError(f"a record has {size} bytes, {len(content)} are no whole records")
    # A beat carries a word in its lowest bits.
    words = np.frombuffer(content, _WORD).reshape(-1, 2 + logits, bus_bits // 32)[:, :, 0]
    first, second = words[:, 0].astype(np.int64), words[:, 1].astype(np.int64)
    return Records(
        prediction=first & 0xFFFF,
        label=first >> 16,
        correct=(second & 1).astype(np.bool_),
        train=(second >> 1 & 1).astype(np.bool_),
        number=second >> 16,
        logits=words[:, 2:].astype(np.int32).astype(np.int64),
    )
