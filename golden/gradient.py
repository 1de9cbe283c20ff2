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
