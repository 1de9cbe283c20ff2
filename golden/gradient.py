"""Gradients: what one sample adds to weights and biases, and hands to the layer below.

Contract, sections 8 and 9. Deltas point down the loss, so increments are added.
"""

from golden.jit import unit
from golden.update import clip


@unit
def half(shift: int) -> int:
    """Return what to add so that a right shift by ``shift`` rounds to nearest, half up."""
    return (1 << shift) >> 1


@unit
def weight_increment(delta: int, exponent: int, r: int, k: int) -> int:
    """Return ``((d << e) + r) >> K``: delta times the quantized input, times ``2**-K``.

    Args:
        delta: ``d`` of the output unit.
        exponent: ``e`` of the input, 0..16.
        r: Random number of :func:`golden.rounding.rounding`, ``0 .. 2**K - 1``.
        k: Step ``K = k_l + sh``, 0..46.

    Returns:
        Increment of the weight, ``F`` fraction bits.
    """
    return ((delta << exponent) + r) >> k


@unit
def folded(r: int, cut: int, shift: int, reach: int) -> int:
    """Return the random number that rounds as ``r`` does, but for a shift of few bits.

    For every ``d`` with ``|d| < 2**(reach - 1)``, and with ``m = min(shift, reach)``,

        ((d << cut) + r) >> (cut + shift)  ==  (d + folded(r, cut, shift, reach)) >> m

    The lowest ``cut`` bits of ``r`` meet zeros. Of a shift that is longer than any ``d`` only the
    ends of the range of ``r`` can carry or borrow: all that lies between stands for one number.

    Args:
        r: Random number, ``0 .. 2**(cut + shift) - 1``.
        cut: Bits that ``d`` is shifted to the left.
        shift: Bits that are left to shift to the right.
        reach: Longest shift to the right wanted, at least 1.

    Returns:
        A number in ``0 .. 2**m - 1``.
    """
    r >>= cut
    if shift <= reach:
        return r
    middle = 1 << (reach - 1)
    return r if r < middle else max(middle, r - (1 << shift) + 2 * middle)


@unit
def bias_increment(delta: int, shift: int) -> int:
    """Return delta times ``2**-shift``, to nearest, half up.

    Args:
        delta: ``d`` of the output unit.
        shift: ``kb + sh``.

    Returns:
        Increment of the bias, ``fb`` fraction bits.
    """
    return (delta + half(shift)) >> shift


@unit
def hidden_delta(partial: int, shift: int, maximum: int) -> int:
    """Return a hidden unit's delta: the backward sum times ``2**-shift``, to nearest, half up.

    Args:
        partial: Backward sum ``p`` over all units of the layer above, ``g`` fraction bits.
        shift: ``sb_l + g``.
        maximum: Largest magnitude of a hidden delta; larger ones saturate.

    Returns:
        ``d`` in ``-maximum .. maximum``, no fraction bits.
    """
    return clip((partial + half(shift)) >> shift, maximum)
