"""Where each weight, bias and delta lives in the trainer's memories (contract, section 3).

A memory row holds one input column ``j`` of one block of ``P`` output units, one unit a lane. Lanes
beyond a layer's last unit are padding and hold zeros for ever.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from golden.formats import unsigned_bits
from golden.parameters import Parameters


@dataclass(frozen=True)
class Layout:
    """The memory map of a network.

    Attributes:
        blocks: Blocks of each layer, ``ceil(n_l / P)``; ``L`` entries.
        row_base: First weight row of each layer, ``L`` entries.
        rows: Weight rows in all. Row ``row_base[l] + block * n_(l-1) + j``.
        block_base: First block row of each layer, ``L`` entries. Biases and deltas have one row a
            block, row ``block_base[l] + block``.
        block_rows: Block rows in all.
        hidden_base: First entry of each hidden layer's list in the hidden list memory,
            ``L - 1`` entries.
        hidden_entries: Entries of the hidden list memory.
    """

    blocks: tuple[int, ...]
    row_base: tuple[int, ...]
    rows: int
    block_base: tuple[int, ...]
    block_rows: int
    hidden_base: tuple[int, ...]
    hidden_entries: int

    @classmethod
    def of(cls, parameters: Parameters) -> Self:
        """Derive the memory map."""
        sizes = parameters.layers
        blocks = tuple(-(-size // parameters.lanes) for size in sizes[1:])
        row_base, block_base, rows, block_rows = [], [], 0, 0
        for count, inputs in zip(blocks, sizes, strict=False):
            row_base.append(rows)
            block_base.append(block_rows)
            rows += count * inputs
            block_rows += count
        hidden_base, entries = [], 0
        for size in sizes[1:-1]:
            hidden_base.append(entries)
            entries += size
        return cls(
            blocks=blocks,
            row_base=tuple(row_base),
            rows=rows,
            block_base=tuple(block_base),
            block_rows=block_rows,
            hidden_base=tuple(hidden_base),
            hidden_entries=entries,
        )


def by_unit(parameters: Parameters, rows: npt.NDArray[np.int64]) -> list[int]:
    """Return words of block rows in the order of the memory of biases by unit.

    The place of a unit is its lane in the lowest bits and its block row above them; a number of
    lanes that is no power of two leaves gaps, of zeros.

    Args:
        parameters: The configuration.
        rows: int64, shape (``block_rows``, P).
    """
    slots = 1 << unsigned_bits(parameters.lanes - 1)
    padded: list[int] = np.pad(rows, [(0, 0), (0, slots - parameters.lanes)]).ravel().tolist()
    return padded
