"""Rounding numbers against sections 5 and 9 of the contract."""

from fractions import Fraction
from math import floor

import pytest

from golden.rounding import rounding


@pytest.mark.parametrize("shift", range(12))
@pytest.mark.parametrize("bits", range(10))
def test_is_the_centre_of_its_step(bits: int, shift: int) -> None:
    for random in range(1 << bits):
        exact = (random + Fraction(1, 2)) / (1 << bits) * (1 << shift)
        assert rounding(random, bits, shift) == floor(exact)


@pytest.mark.parametrize("bits", range(1, 12))
def test_is_the_random_number_when_no_bit_is_missing(bits: int) -> None:
    assert [rounding(random, bits, bits) for random in range(1 << bits)] == list(range(1 << bits))


@pytest.mark.parametrize("shift", range(47))
def test_no_random_bits_round_to_nearest(shift: int) -> None:
    assert rounding(0, 0, shift) == (1 << shift) // 2


def test_largest_operands_do_not_overflow() -> None:
    assert rounding(2**16 - 1, 16, 46) == (2**17 - 1) << 29
