"""Increments and hidden deltas against sections 8 and 9 of the contract."""

from fractions import Fraction
from math import floor

import pytest

from golden.gradient import bias_increment, folded, half, hidden_delta, weight_increment
from golden.rounding import rounding

DELTAS = [*range(-40, 41), -511, 511, -32767, 32767]


@pytest.mark.parametrize("k", [0, 1, 3, 6])
@pytest.mark.parametrize("exponent", [0, 1, 4, 8])
def test_weight_increment_has_the_exact_mean(exponent: int, k: int) -> None:
    for delta in DELTAS:
        exact = Fraction(delta << exponent, 1 << k)
        increments = [weight_increment(delta, exponent, r, k) for r in range(1 << k)]
        assert set(increments) <= {floor(exact), -floor(-exact)}
        assert Fraction(sum(increments), len(increments)) == exact


@pytest.mark.parametrize("bits", [1, 8, 16])
@pytest.mark.parametrize("k", [0, 11, 20, 46])
def test_no_delta_no_increment(k: int, bits: int) -> None:
    for random in (0, (1 << bits) - 1):
        assert weight_increment(0, 16, rounding(random, bits, k), k) == 0


def test_largest_operands_do_not_overflow() -> None:
    r = rounding(2**16 - 1, 16, 46)
    assert weight_increment(32767, 16, r, 46) == ((32767 << 16) + r) >> 46 == 1
    assert weight_increment(-32767, 16, 0, 46) == -1
    assert weight_increment(-32767, 16, 0, 0) == -32767 << 16


@pytest.mark.parametrize("reach", range(1, 6))
@pytest.mark.parametrize("cut", range(4))
def test_folded_rounds_as_the_whole_number_does(cut: int, reach: int) -> None:
    bound = (1 << (reach - 1)) - 1
    for shift in range(9):
        m = min(shift, reach)
        for r in range(1 << (cut + shift)):
            short = folded(r, cut, shift, reach)
            assert 0 <= short < 1 << m
            for delta in range(-bound, bound + 1):
                assert (delta + short) >> m == weight_increment(delta, cut, r, cut + shift)


@pytest.mark.parametrize("k", [14, 31, 46])
def test_folded_at_full_width(k: int) -> None:
    top = 1 << k
    for r in (0, 1, 8190, 8191, 8192, top // 2, top - 8192, top - 8191, top - 8190, top - 1):
        for delta in (-8191, -1, 0, 1, 8191):
            short = folded(r, 0, k, 14)
            assert (delta + short) >> 14 == weight_increment(delta, 0, r, k)
            assert delta + short < 1 << 15


@pytest.mark.parametrize("shift", range(12))
def test_rounding_to_nearest_half_up(shift: int) -> None:
    assert half(shift) == floor(Fraction(1 << shift, 2))
    for delta in DELTAS:
        nearest = floor(Fraction(delta, 1 << shift) + (Fraction(1, 2) if shift else 0))
        assert bias_increment(delta, shift) == nearest
        assert hidden_delta(delta, shift, 1 << 20) == nearest
        assert hidden_delta(delta, shift, 7) == max(-7, min(7, nearest))
