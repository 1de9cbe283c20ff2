"""Saturation: symmetric everywhere (contract, section 1)."""

from golden.jit import unit


@unit
def clip(value: int, maximum: int) -> int:
    """Return ``value`` saturated to ``-maximum .. maximum``."""
    return min(max(value, -maximum), maximum)
