"""How many block RAMs of a Lattice ECP5 a trainer takes, from its parameters alone.

A block (DP16KD) holds 512 words of 36 bits, 1024 of 18, 2048 of 9, 4096 of 4, 8192 of 2 or 16384
of 1. A memory is cut into banks of that depth, which lie side by side, bit by bit, in as many
blocks as they need; a multiplexer takes the bank that was read. Of all depths, and of distributed
RAM (16 words of 4 bits), Yosys takes the cheapest: see :func:`_choices`. This is the rule of its
pass ``memory_libmap`` with the library of ``synth_ecp5`` (Yosys 0.70).
"""

from collections.abc import Iterator
from typing import NamedTuple

from golden.formats import Formats, unsigned_bits
from golden.layout import Layout
from golden.parameters import Parameters
from hdl.shapes import delta_shape, depth_of, hidden_entry_shape, input_entry_shape

#: Words, bits of a word, and bits that share a write enable, of each use of a block.
_BLOCKS = ((512, 36, 9), (1024, 18, 9), (2048, 9, 9), (4096, 4, 4), (8192, 2, 2), (16384, 1, 1))

#: The same of distributed RAM.
_DISTRIBUTED = (16, 4, 4)

#: What Yosys reckons for each, in halves of a look-up table.
_BLOCK_COST, _DISTRIBUTED_COST = 256, 8


class MemorySize(NamedTuple):
    """A memory with a clocked write port and a clocked read port.

    Attributes:
        words: Its depth.
        bits: Bits of a word.
        enables: Write enables, each for an equal part of a word.
    """

    words: int
    bits: int
    enables: int = 1


def memory_sizes(parameters: Parameters) -> dict[str, MemorySize]:
    """Return the memories of a trainer by name (``docs/architecture.md``, section 2).

    The slots of the random source are not among them: they are read without a clock, which a block
    RAM cannot do.
    """
    p = parameters
    layout = Layout.of(p)
    block_rows = depth_of(layout.block_rows)
    units = layout.block_rows << unsigned_bits(p.lanes - 1)
    sizes = {
        "weights": MemorySize(depth_of(layout.rows), p.lanes * p.weight_bits),
        "biases": MemorySize(block_rows, p.lanes * p.bias_bits, p.lanes),
        "biases_by_unit": MemorySize(units, p.bias_bits),
        "deltas": MemorySize(block_rows, p.lanes * delta_shape(p).width, p.lanes),
        "input_list": MemorySize(2 * p.layers[0], input_entry_shape(p).size),
    }
    if p.depth > 1:
        entries, widest = depth_of(layout.hidden_entries), depth_of(max(p.layers[1:-1]))
        sizes["hidden_list"] = MemorySize(entries, hidden_entry_shape(p).size)
        sizes["scratch"] = MemorySize(widest, Formats.of(p).partial_bits)
    logits = Formats.of(p).logit_sum_bits
    return sizes | {"logits": MemorySize(depth_of(p.layers[-1]), logits)}


def block_rams(parameters: Parameters) -> dict[str, int]:
    """Return the block RAMs of each memory of a trainer; 0 is one in distributed RAM."""
    return {name: blocks_of(size) for name, size in memory_sizes(parameters).items()}


def blocks_of(size: MemorySize) -> int:
    """Return the block RAMs of a memory; 0 is one in distributed RAM."""
    return min(_choices(size))[1]


def _choices(size: MemorySize) -> Iterator[tuple[int, int]]:
    """Yield cost and block RAMs of each way to build a memory.

    Besides its blocks, a memory of several banks costs half a look-up table for each bit of the
    multiplexer, and for each write enable of each bank.
    """
    for depth, width, byte in (_DISTRIBUTED, *_BLOCKS):
        banks = -(-size.words // depth)
        # What shares a write enable begins on a new byte.
        bits = size.enables * -(-size.bits // size.enables // byte) * byte
        count = -(-banks * bits // width)
        block = depth != _DISTRIBUTED[0]
        cost = count * (_BLOCK_COST if block else _DISTRIBUTED_COST)
        if banks > 1:
            cost += (banks - 1) * size.bits + banks * size.enables
        yield cost, count if block else 0
