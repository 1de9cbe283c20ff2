"""Random numbers for stochastic rounding, from few random bits (contract, sections 5 and 9)."""

from golden.jit import unit


@unit
def rounding(random: int, bits: int, shift: int) -> int:
    """Return ``r``, what to add before a right shift by ``shift`` so that the shift rounds.

    ``r = ((2R + 1) << shift) >> (bits + 1)``. With ``bits == shift`` it is ``R`` itself, uniform on
    ``[0, 2**shift)``; with fewer bits it is ``R + 1/2`` of the coarser step, so that the mean stays
    in the middle; with more, ``R`` without its lowest bits. ``bits == 0`` rounds to nearest, half
    up.

    Args:
        random: Random bits ``R``, ``0 .. 2**bits - 1``.
        bits: Their number, 0..16.
        shift: Bits that the shift drops, 0..46.

    Returns:
        ``r`` in ``0 .. 2**shift - 1``.
    """
    return ((2 * random + 1) << shift) >> (bits + 1)
