"""Saturation is symmetric (section 1 of the contract)."""

import pytest

from golden.update import clip


@pytest.mark.parametrize("maximum", [1, 7, 127])
def test_clip(maximum: int) -> None:
    for value in range(-300, 301):
        clipped = sorted([-maximum, value, maximum])[1]
        assert clip(value, maximum) == clipped
        assert clip(-value, maximum) == -clipped
