"""Binary and ternary connect against section 5 of the contract, with exact means."""

from fractions import Fraction
from math import floor

import pytest

from golden.connect import binary, ternary
from golden.rounding import rounding

F = 7  # 8-bit weights
WEIGHTS = range(-(2**F - 1), 2**F)


def ternary_sum(weight: int, shift: int, bits: int) -> int:
    """Return the sum of T over all values of the random bits."""
    return sum(ternary(weight, rounding(R, bits, shift), shift) for R in range(1 << bits))


def binary_sum(weight: int, bits: int) -> int:
    return sum(binary(weight, rounding(R, bits, F + 1), F) for R in range(1 << bits))


@pytest.mark.parametrize("g", [0, 1])
def test_ternary_values_and_exact_mean(g: int) -> None:
    q = F - g
    for weight in WEIGHTS:
        draws = [ternary(weight, r, q) for r in range(1 << q)]
        # floor and ceiling of the weight, in units of 2**-g
        assert set(draws) <= {floor(Fraction(weight, 1 << q)), -floor(Fraction(-weight, 1 << q))}
        assert all(abs(t) <= 1 << g for t in draws)
        assert Fraction(sum(draws), len(draws)) == Fraction(weight, 1 << q)
        assert ternary_sum(weight, q, q) == sum(draws)


def test_binary_values_and_exact_mean() -> None:
    for weight in WEIGHTS:
        draws = [binary(weight, r, F) for r in range(2 << F)]
        assert set(draws) <= {-1, 1}
        assert Fraction(sum(draws), len(draws)) == Fraction(weight, 1 << F)
        assert binary_sum(weight, F + 1) == sum(draws)


def test_zero_always_draws_zero() -> None:
    for q in range(2, 16):
        assert ternary(0, 0, q) == 0
        assert ternary(0, (1 << q) - 1, q) == 0


@pytest.mark.parametrize(("g", "bits"), [(g, bits) for g in (0, 1) for bits in range(1, F - g)])
def test_fewer_random_bits_round_the_weight(g: int, bits: int) -> None:
    """With rb bits a weight acts as if rounded to a multiple of ``2**(q - rb)``, half way up."""
    q = F - g
    step = 1 << (q - bits)
    for weight in WEIGHTS:
        total = ternary_sum(weight, q, bits)
        assert total == floor(Fraction(weight, step) + Fraction(1, 2))
        mean = Fraction(total, 1 << bits)
        assert abs(mean - Fraction(weight, 1 << q)) <= Fraction(1, 2 << bits)


@pytest.mark.parametrize("bits", range(1, F + 1))
def test_fewer_random_bits_round_the_weight_binary(bits: int) -> None:
    step = 1 << (F + 1 - bits)
    for weight in WEIGHTS:
        total = binary_sum(weight, bits)
        ones = floor(Fraction(weight + (1 << F), step) + Fraction(1, 2))
        assert total == 2 * ones - (1 << bits)
        mean = Fraction(total, 1 << bits)
        assert abs(mean - Fraction(weight, 1 << F)) <= Fraction(1, 1 << bits)


def test_no_random_bits_round_to_nearest() -> None:
    for weight in WEIGHTS:
        for g in (0, 1):
            exact = Fraction(weight, 1 << (F - g)) + Fraction(1, 2)
            assert ternary(weight, rounding(0, 0, F - g), F - g) == floor(exact)
        assert ternary_sum(weight, F, 0) == (weight >= 64) - (weight < -64)
        assert binary(weight, rounding(0, 0, F + 1), F) == (1 if weight >= 0 else -1)


@pytest.mark.parametrize("weight_bits", range(4, 17))
def test_extreme_weights_of_every_width(weight_bits: int) -> None:
    fraction = weight_bits - 1
    top = (1 << fraction) - 1
    for g in (0, 1):
        q = fraction - g
        for r in (0, 1, (1 << q) - 1):
            assert ternary(top, r, q) == (top + r) // (1 << q)
            assert ternary(-top, r, q) == (-top + r) // (1 << q)
            assert abs(ternary(top, r, q)) <= 1 << g
    assert [binary(top, r, fraction) for r in (0, 1)] == [-1, 1]
    assert [binary(-top, r, fraction) for r in ((2 << fraction) - 2, (2 << fraction) - 1)] == [
        -1,
        1,
    ]
