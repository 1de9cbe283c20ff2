"""Quantized back propagation: a layer's inputs rounded to powers of two (contract, section 9).

Lin et al., arXiv 1510.03009, section 4: with the input a power of two, the product in the weight
gradient is a shift.
"""

from golden.jit import unit


@unit
def _leading_one(value: int) -> int:
    """Return the position of the leading one of ``value``, for ``1 <= value < 2**32``."""
    position = 0
    for step in (16, 8, 4, 2, 1):
        if value >> step != 0:
            value >>= step
            position += step
    return position


@unit
def nearest(value: int) -> int:
    """Return the exponent of the power of two nearest to ``value``; the tie ``1.5 * 2**a`` goes up.

    Args:
        value: ``x`` in ``1 .. 2**A - 1``.

    Returns:
        ``e`` in ``0 .. A``.
    """
    a = _leading_one(value)
    return a + ((2 * value >> a) & 1)


@unit
def stochastic(value: int, random: int) -> int:
    """Return the exponent of a power of two next to ``value``, drawn so that ``E[2**e] = x``.

    Args:
        value: ``x`` in ``1 .. 2**A - 1``.
        random: ``Q``, at least as many uniform bits as the position ``a`` of the leading one of
            ``x``; only the lowest ``a`` count.

    Returns:
        ``e`` in ``0 .. A``.
    """
    a = _leading_one(value)
    return _leading_one(value + (random & ((1 << a) - 1)))
