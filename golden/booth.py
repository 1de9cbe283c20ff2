"""Booth recoding: a weight as a few digits that a lane can multiply by (contract, section 13)."""

from golden.jit import unit


@unit
def booth_digit(weight: int, plane: int, bits: int) -> int:
    """Return a digit ``D_i`` of a weight, so that ``W = sum of D_i * 2**(bits * i)``.

    Args:
        weight: ``W``, ``F`` fraction bits.
        plane: Number of the digit, ``i``, from 0.
        bits: Bits of a digit, ``draw_steps``: 1 or 2.

    Returns:
        The digit in ``-2**(bits - 1) .. 2**(bits - 1)``, like a drawn weight.
    """
    window = (weight << 1) >> (bits * plane)
    digit = (window >> 1) & ((1 << bits) - 1)
    # The highest bit counts negative, and the one below the digit makes up for it there.
    return digit - ((digit >> (bits - 1)) << bits) + (window & 1)
