"""Rows of words packed into bits, as the gateware's probe port and memories hold them.

What is expected is packed and compared with what was recorded, 64 bits at a time. Unpacking the
recording instead would take a shift and a mask for every word too, and a comparison for each.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from golden.jit import jit
from golden.parameters import Parameters
from golden.probes import probe_columns, probe_table

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@jit
def _first_difference(rows: Ints, bits: Ints, packed: npt.NDArray[np.uint64]) -> int:
    """Return the first row that does not pack into the same words; -1 if there is none."""
    ones = np.uint64(0xFFFFFFFFFFFFFFFF)
    for row in range(len(packed)):
        word = np.uint64(0)
        filled = 0
        at = 0
        for column in range(len(bits)):
            width = bits[column]
            value = np.uint64(rows[row, column]) & (ones >> np.uint64(64 - width))
            word |= value << np.uint64(filled)
            filled += width
            if filled >= 64:
                if word != packed[row, at]:
                    return row
                at += 1
                filled -= 64
                word = value >> np.uint64(width - filled) if filled > 0 else np.uint64(0)
        if filled > 0 and word != packed[row, at]:
            return row
    return -1


class Packing:
    """How the words of a row lie in its bits, the first in the lowest; rows end in zeros.

    Args:
        bits: Bits of each word, 1..64.

    Attributes:
        row_bytes: Bytes of a packed row: whole 64-bit words, little-endian.
    """

    def __init__(self, bits: Sequence[int]) -> None:
        self._bits = np.array(bits, np.int64)
        self.row_bytes = -(-sum(bits) // 64) * 8

    @classmethod
    def of_probes(cls, parameters: Parameters) -> "Packing":
        """Return the packing of the port ``probes``, one word a column of ``probe_columns``."""
        return cls([probe.bits for probe, _, _ in probe_columns(probe_table(parameters))])

    def first_difference(self, rows: Ints, packed: Bytes) -> int:
        """Return the first row that does not pack into its bytes; -1 if every one does.

        Args:
            rows: int64, shape (n, words); a word counts with its lowest bits.
            packed: uint8, shape (n, ``row_bytes``).
        """
        return int(_first_difference(rows, self._bits, packed.view(np.uint64)))

    def pack(self, rows: Ints) -> Bytes:
        """Return the rows packed, uint8, shape (n, ``row_bytes``)."""
        columns = zip(rows.T, self._bits.tolist(), strict=True)
        bits = [(column >> bit & 1).astype(np.uint8) for column, n in columns for bit in range(n)]
        packed = np.packbits(np.array(bits).T, axis=1, bitorder="little")
        # Packing leaves the order of the transposed array.
        return np.ascontiguousarray(np.pad(packed, [(0, 0), (0, self.row_bytes - packed.shape[1])]))

    def characters(self, packed: Bytes) -> Bytes:
        """Return packed rows as binary characters, the highest bit first, shape (n, bits)."""
        bits = np.unpackbits(packed, axis=1, bitorder="little", count=int(self._bits.sum()))
        return bits[:, ::-1] + np.uint8(ord("0"))

    def first_word(self, row: Ints, packed: Bytes) -> tuple[int, int]:
        """Return the first word of a row that differs, and its bits in the packed row.

        Args:
            row: int64, shape (words,).
            packed: uint8, shape (``row_bytes``,).

        Raises:
            ValueError: If none differs.
        """
        whole = int.from_bytes(packed.tobytes(), "little")
        for column, (word, bits) in enumerate(zip(row.tolist(), self._bits.tolist(), strict=True)):
            mask = (1 << bits) - 1
            if word & mask != whole & mask:
                return column, whole & mask
            whole >>= bits
        raise ValueError("the row packs into just these bytes")
