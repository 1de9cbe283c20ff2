"""Packets on the host: bytes as the document has them."""

import numpy as np
import pytest

from sim.packets import dense_packets, read_records, sparse_packets

IMAGES = [[0, 2, 0, 0, 0xFF, 0], [0] * 6]
LABELS = [9, 0x1234]


@pytest.mark.parametrize(
    ("bus_bits", "first", "second"),
    [
        (32, "09000000 00020000ff000000", "34120000 0000000000000000"),
        (64, "0900000000000000 00020000ff000000", "3412000000000000 0000000000000000"),
        (128, f"09{'00' * 15} 00020000ff{'00' * 11}", f"3412{'00' * 14} {'00' * 16}"),
    ],
)
def test_dense_packets(bus_bits: int, first: str, second: str) -> None:
    packets = dense_packets(IMAGES, LABELS, bus_bits)
    assert [row.tobytes() for row in packets] == [bytes.fromhex(first), bytes.fromhex(second)]


@pytest.mark.parametrize("bus_bits", [32, 64, 128])
def test_sparse_packets(bus_bits: int) -> None:
    rest = "00" * (bus_bits // 8 - 4)
    first, second = sparse_packets(IMAGES, LABELS, bus_bits)
    assert first.tobytes() == bytes.fromhex(f"09000100{rest} 01000200 0400ff00")
    assert second.tobytes() == bytes.fromhex(f"34120100{rest}")


def test_no_packets() -> None:
    assert dense_packets(np.zeros((0, 6)), [], 32).shape == (0, 3)
    assert sparse_packets(np.zeros((0, 6)), [], 32) == []


@pytest.mark.parametrize("bus_bits", [32, 64, 128])
def test_records(bus_bits: int) -> None:
    words = [0x0003_0002, 0x0007_0002, 5, 0xFFFF_FFFE, 0x0003_0003, 0x0008_0001, 0x8000_0000, 0]
    beats = b"".join(word.to_bytes(bus_bits // 8, "little") for word in words)
    records = read_records(beats, bus_bits, logits=2)
    assert records.prediction.tolist() == [2, 3]
    assert records.label.tolist() == [3, 3]
    assert records.correct.tolist() == [False, True]
    assert records.train.tolist() == [True, False]
    assert records.number.tolist() == [7, 8]
    assert records.logits.tolist() == [[5, -2], [-(2**31), 0]]
    assert read_records(beats[: bus_bits // 4], bus_bits).logits.shape == (1, 0)


@pytest.mark.parametrize(
    ("pixels", "labels", "bus_bits", "message"),
    [
        ([[0, 256]], [0], 32, r"pixels must be in 0\.\.255, not 0\.\.256"),
        ([[0, -1]], [0], 32, r"pixels must be in 0\.\.255, not -1\.\.0"),
        ([[0, 1]], [65536], 32, r"labels must be in 0\.\.65535, not 65536\.\.65536"),
        ([[0, 1]], [0, 1], 32, r"labels must have one entry an image, 1, not \(2,\)"),
        ([0, 1], [0], 32, r"pixels must have the shape \(n, 1\.\.65535\), not \(2,\)"),
        ([[0, 1]], [0], 48, r"bus_bits must be one of \(32, 64, 128\), not 48"),
    ],
)
def test_bad_samples(pixels: list[int], labels: list[int], bus_bits: int, message: str) -> None:
    for packets in (dense_packets, sparse_packets):
        with pytest.raises(ValueError, match=message):
            packets(pixels, labels, bus_bits)


def test_bad_records() -> None:
    with pytest.raises(ValueError, match="a record has 16 bytes, 24 are no whole records"):
        read_records(bytes(24), 64)
    with pytest.raises(ValueError, match="bus_bits must be one of"):
        read_records(bytes(24), 16)
