"""Accumulate is a select among multiples of the activation (section 6 of the contract)."""

import pytest

from golden.accumulate import accumulate


@pytest.mark.parametrize("value", [0, 1, 2, 127, 255, 65535])
@pytest.mark.parametrize("total", [0, 1, -1, 2**40, -(2**40)])
def test_is_a_select(total: int, value: int) -> None:
    select = {-2: -(value << 1), -1: -value, 0: 0, 1: value, 2: value << 1}
    for draw, addend in select.items():
        assert accumulate(total, draw, value) == total + addend
