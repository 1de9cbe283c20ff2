"""Saturating rectifier of the hidden layers (contract, section 6)."""

from golden.jit import unit


@unit
def relu(total: int, shift: int, maximum: int) -> int:
    """Return the activation of a sum, scaled by ``2**-shift``.

    Rounding is up, so the activation is 0 exactly when the sum is not positive.

    Args:
        total: Sum ``z``.
        shift: ``s_l + g``; for exact inference ``s_l + F``.
        maximum: Largest activation, ``2**A - 1``; larger ones saturate.

    Returns:
        ``h`` in ``0 .. maximum``, no fraction bits.
    """
    return min((max(total, 0) + (1 << shift) - 1) >> shift, maximum)
