"""Packing of words into bits, against Python integers; and that every bit counts."""

import random

import numpy as np
import numpy.typing as npt
import pytest

from golden.packing import Packing


def drawn(seed: int) -> tuple[list[int], npt.NDArray[np.int64], list[int], int]:
    """Return bits of each word, rows of words, the rows as integers, and the bits of a row."""
    rng = random.Random(seed)
    bits = [rng.choice((1, 1, 8, rng.randint(1, 64), 64)) for _ in range(rng.randint(1, 40))]
    rows, packed = [], []
    for _ in range(5):
        words = [rng.randrange(-(1 << n - 1), 1 << n - 1) for n in bits]
        low, whole = 0, 0
        for word, n in zip(words, bits, strict=True):
            whole |= (word & (1 << n) - 1) << low
            low += n
        rows.append(words)
        packed.append(whole)
    return bits, np.array(rows, np.int64), packed, low


@pytest.mark.parametrize("seed", range(20))
def test_pack(seed: int) -> None:
    bits, rows, wanted, width = drawn(seed)
    packing = Packing(bits)
    packed = packing.pack(rows)
    assert packed.shape == (5, packing.row_bytes)
    assert [int.from_bytes(row.tobytes(), "little") for row in packed] == wanted
    text = [row.tobytes().decode() for row in packing.characters(packed)]
    assert text == [f"{whole:0{width}b}" for whole in wanted]
    assert packing.first_difference(rows, packed) == -1


@pytest.mark.parametrize("seed", range(20))
def test_every_bit_counts(seed: int) -> None:
    """One flipped bit is found in its row, and so is the word that has it."""
    bits, rows, _, _ = drawn(seed)
    packing = Packing(bits)
    packed = packing.pack(rows)
    place = 0
    for column, n in enumerate(bits):
        for bit in {0, n // 2, n - 1}:
            for row in (1, 4):
                spoiled = packed.copy()
                spoiled[row, (place + bit) // 8] ^= 1 << (place + bit) % 8
                assert packing.first_difference(rows, spoiled) == row
                word = int(rows[row, column]) & (1 << n) - 1
                assert packing.first_word(rows[row], spoiled[row]) == (column, word ^ 1 << bit)
        place += n
    with pytest.raises(ValueError, match="packs into just these"):
        packing.first_word(rows[0], packed[0])
