"""Booth digits against their definition: what they add up to, wherever one stops (section 13)."""

import pytest

from golden.booth import booth_digit


def signed(bits: int, value: int) -> int:
    """Return the lowest bits of a value read as a signed number."""
    low = value % (1 << bits)
    return low - (1 << bits) if low >> (bits - 1) else low


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("weight_bits", [4, 5, 8, 11])
def test_digits_add_up(weight_bits: int, bits: int) -> None:
    """All of them to the weight, the lower ones to its lowest bits read as a signed number."""
    planes = -(-weight_bits // bits)
    largest = 2 ** (weight_bits - 1) - 1
    for weight in range(-largest, largest + 1):
        total = 0
        for plane in range(planes):
            digit = booth_digit(weight, plane, bits)
            assert -(2 ** (bits - 1)) <= digit <= 2 ** (bits - 1)
            total += digit * 2 ** (bits * plane)
            assert total == signed(min(weight_bits, bits * (plane + 1)), weight)
        assert total == weight
