"""The saturating rectifier against section 6 of the contract."""

from fractions import Fraction
from math import ceil

import pytest

from golden.relu import relu


@pytest.mark.parametrize("shift", range(8))
@pytest.mark.parametrize("maximum", [3, 255])
def test_rounds_up_and_saturates(maximum: int, shift: int) -> None:
    for total in range(-600, 3000):
        exact = ceil(Fraction(max(total, 0), 1 << shift))
        assert relu(total, shift, maximum) == min(exact, maximum)


@pytest.mark.parametrize("shift", range(40))
def test_is_zero_exactly_when_the_sum_is_not_positive(shift: int) -> None:
    for total in (-(2**45), -1, 0, 1, 2**45):
        assert (relu(total, shift, 255) != 0) == (total > 0)
