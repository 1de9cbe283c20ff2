"""Logits, deltas and predictions against section 7 of the contract."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from golden.loss import argmax, logit, output_delta

MARGIN = 64


@pytest.mark.parametrize("shift", [0, 1, 5, 25])
def test_logit_rounds_down(shift: int) -> None:
    for total in (-1000, -33, -32, -1, 0, 1, 31, 32, 1000, 2**40, -(2**40)):
        assert logit(total, shift) == floor(Fraction(total, 1 << shift))


@pytest.mark.parametrize("maximum", [7, 127, 511])
def test_deltas_point_down_the_squared_hinge_loss(maximum: int) -> None:
    """``d`` is half of minus the derivative of ``max(0, M - t * o) ** 2``, clipped; t is +-1."""
    for o in range(-700, 701):
        for is_label, target in ((True, 1), (False, -1)):
            exact = target * max(0, MARGIN - target * o)
            clipped = max(-maximum, min(maximum, exact))
            assert output_delta(o, is_label, MARGIN, maximum) == clipped


def test_deltas_vanish_once_the_margin_holds() -> None:
    assert output_delta(MARGIN, True, MARGIN, 511) == 0
    assert output_delta(MARGIN - 1, True, MARGIN, 511) == 1
    assert output_delta(-MARGIN, False, MARGIN, 511) == 0
    assert output_delta(1 - MARGIN, False, MARGIN, 511) == -1


def test_argmax_takes_the_lowest_index_on_ties() -> None:
    for sums in ([5], [1, 1], [0, 3, 3], [-5, -9, -5], [-3, -2, -1], [2**40, -(2**40), 2**40]):
        assert argmax(np.array(sums, np.int64)) == sums.index(max(sums))
