"""Accumulate: one drawn weight times one activation, added up (contract, section 6)."""

from golden.jit import unit


@unit
def accumulate(total: int, draw: int, value: int) -> int:
    """Return ``total + draw * value``; never saturates.

    The gateware selects among ``-2h, -h, 0, +h, +2h``. A processor's multiplier is free and gives
    the same bits.

    Args:
        total: Sum so far, ``g`` fraction bits.
        draw: ``T`` in ``-2**g .. 2**g``, ``g`` fraction bits.
        value: Activation ``h`` in ``0 .. 2**A - 1``, no fraction bits.
    """
    return total + draw * value
