"""Random sources: xorshift generators of 16, 32 or 64 bits (contract, section 4).

Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8(14), 2003. A source's word is its
present state; taking a word means to read it and then to step. Saving and restoring a source is
copying its state, a ``np.uint64`` whatever the width.
"""

import numpy as np
import numpy.typing as npt

from golden.jit import unit

_MASK64 = (1 << 64) - 1


@unit
def next_state(state: np.uint64, width: int) -> np.uint64:
    """Return the state that follows ``state``.

    Args:
        state: Present state, ``1 .. 2**width - 1``.
        width: Bits of the state: 16, 32 or 64.
    """
    if width == 16:
        state ^= (state << np.uint64(7)) & np.uint64(0xFFFF)
        state ^= state >> np.uint64(9)
        state ^= (state << np.uint64(8)) & np.uint64(0xFFFF)
    elif width == 32:
        state ^= (state << np.uint64(13)) & np.uint64(0xFFFFFFFF)
        state ^= state >> np.uint64(17)
        state ^= (state << np.uint64(5)) & np.uint64(0xFFFFFFFF)
    else:
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
    return state


@unit
def top_bits(state: np.uint64, width: int, bits: int) -> int:
    """Return the top ``bits`` bits of a word of ``width`` bits; 0 when ``bits`` is 0.

    Args:
        state: The word.
        width: Bits of the word: 16, 32 or 64.
        bits: Bits to return, ``0 .. min(width, 32)``.
    """
    if bits == 0:
        return 0
    return int(np.int64(state >> np.uint64(width - bits)))


@unit
def low_bits(state: np.uint64, bits: int) -> int:
    """Return the lowest ``bits`` bits of a word, ``bits`` in ``0 .. 32``."""
    return int(np.int64(state & np.uint64((1 << bits) - 1)))


def seeded_states(seed: int, sources: int, width: int) -> npt.NDArray[np.uint64]:
    """Return the states at which the sources of a seed start, by SplitMix64.

    Args:
        seed: ``0 .. 2**63 - 1``.
        sources: Number of sources.
        width: Bits of each: 16, 32 or 64.

    Returns:
        uint64 array of shape (sources,); no entry is 0.
    """
    states = np.empty(sources, np.uint64)
    for i in range(sources):
        x = (seed + (i + 1) * 0x9E3779B97F4A7C15) & _MASK64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK64
        x ^= x >> 31
        states[i] = x >> (64 - width) or 1
    return states
