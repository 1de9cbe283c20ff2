"""Connect: drawing a weight of few values from a weight of many (contract, section 5).

Stochastic binary and ternary connect of Lin et al., arXiv 1510.03009, section 3, as stochastic
rounding: one addition and one shift. The random number ``r`` is that of
:func:`golden.rounding.rounding`.
"""

import numpy as np

from golden.jit import unit


@unit
def ternary(weight: int, r: int, shift: int) -> int:
    """Round a weight to a multiple of ``2**shift`` and return the quotient.

    In compiled code it is computed, and returned, in the widest type of the arguments, which must
    hold ``weight + r``.

    Args:
        weight: ``W``, ``-(2**F - 1) .. 2**F - 1``, ``F`` fraction bits.
        r: Random number, ``0 .. 2**shift - 1``.
        shift: ``q = F - g``, the bits that are rounded away.

    Returns:
        ``T`` in ``-2**g .. 2**g``, ``g`` fraction bits; 0 for a weight of 0, whatever ``r``.
    """
    # Numba's operators would widen 16-bit arguments to 64 bits.
    drawn: int = np.right_shift(np.add(weight, r), shift)
    return drawn


@unit
def binary(weight: int, r: int, fraction_bits: int) -> int:
    """Round a weight to -1 or +1.

    Args:
        weight: ``W``, ``-(2**F - 1) .. 2**F - 1``, ``F`` fraction bits.
        r: Random number, ``0 .. 2**(F + 1) - 1``.
        fraction_bits: ``F``.

    Returns:
        ``T``, -1 or +1, no fraction bits.
    """
    one = 1 << fraction_bits
    return 1 if (weight + one + r) >> (fraction_bits + 1) >= 1 else -1
