"""The power-of-two quantizer against section 9 of the contract: every input, every random value."""

from fractions import Fraction

import pytest

from golden.quantize import nearest, stochastic


@pytest.mark.parametrize("bits", [2, 8, 16])
def test_nearest_takes_the_nearest_power_and_the_tie_up(bits: int) -> None:
    powers = [1 << e for e in range(bits + 1)]
    for value in range(1, 1 << bits):
        # The larger power wins a tie.
        best = min(powers, key=lambda power: (abs(value - power), -power))
        assert 1 << nearest(value) == best


def test_nearest_at_the_ties() -> None:
    assert [nearest(x) for x in (1, 2, 3, 4, 5, 6, 7, 8)] == [0, 1, 2, 2, 2, 3, 3, 3]
    assert [nearest(3 << a) for a in range(15)] == [a + 2 for a in range(15)]
    assert [nearest((3 << a) - 1) for a in range(1, 15)] == [a + 1 for a in range(1, 15)]


def test_stochastic_has_the_exact_mean() -> None:
    for value in range(1, 256):
        exponents = [stochastic(value, random) for random in range(128)]
        a = value.bit_length() - 1
        assert set(exponents) <= {a, a + 1}
        assert Fraction(sum(1 << e for e in exponents), 128) == value


def test_stochastic_heeds_only_the_bits_below_the_leading_one() -> None:
    for value in range(1, 256):
        a = value.bit_length() - 1
        for random in range(128):
            assert stochastic(value, random) == stochastic(value, random % (1 << a))


@pytest.mark.parametrize("a", range(16))
def test_stochastic_never_moves_a_power_of_two(a: int) -> None:
    assert {stochastic(1 << a, random) for random in (0, 1, 77, 2**15 - 1)} == {a}


@pytest.mark.parametrize("a", range(16))
def test_stochastic_with_all_bits_set(a: int) -> None:
    value = (2 << a) - 1
    assert stochastic(value, 0) == a
    assert stochastic(value, 2**15 - 1) == (a + 1 if a > 0 else 0)
