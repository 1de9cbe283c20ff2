"""Statistics of the draws that the random sources give: means, and independence of draws.

Seeds are fixed, so a verdict never changes. Two bad sources show that the checks can fail.
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from golden.connect import binary, ternary
from golden.jit import jit
from golden.parameters import RANDOM_WIDTHS
from golden.random_source import next_state, seeded_states
from golden.rounding import rounding

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

F = 7  # 8-bit weights
DRAWS = 20_000
LOWEST_P = 1e-4
WEIGHTS = (-115, -64, -17, 9, 30, 64, 101)
CONNECTS = {
    "ternary": (F, lambda weight, r: ternary(weight, r, F)),
    "ternary, 2 steps": (F - 1, lambda weight, r: ternary(weight, r, F - 1)),
    "binary": (F + 1, lambda weight, r: binary(weight, r, F)),
}


@jit
def fill_words(words: Words, state: np.uint64, width: int) -> None:
    for n in range(len(words)):
        words[n] = state
        state = next_state(state, width)


def source_words(seed: int, width: int, source: int = 0) -> Words:
    words = np.empty(DRAWS, np.uint64)
    fill_words(words, seeded_states(seed, source + 1, width)[source], width)
    return words


def stuck_bit(words: Words, width: int) -> Words:
    """The third highest bit is always 1."""
    return words | np.uint64(1 << (width - 3))


def short_period(words: Words, width: int) -> Words:
    """The words come again after 255."""
    return np.resize(words[:255], DRAWS)


class Draws:
    """What one weight draws from the top bits of words, and what it should draw."""

    def __init__(self, weight: int, connect: str, bits: int) -> None:
        shift, rule = CONNECTS[connect]
        self.bits, self.weight, self.shift = bits, weight, shift
        self.table = np.array([rule(weight, rounding(R, bits, shift)) for R in range(1 << bits)])
        self.values, counts = np.unique(self.table, return_counts=True)
        self.probabilities = counts / (1 << bits)
        # What section 5 promises: the weight rounded half up to the steps of the random bits.
        step = 1 << (shift - bits)
        centre = weight + (1 << F) if connect == "binary" else weight
        rounded = Fraction((centre + step // 2) // step, 1 << bits)
        self.mean = float(2 * rounded - 1 if connect == "binary" else rounded)

    def of(self, words: Words, width: int) -> Ints:
        return self.table[(words >> np.uint64(width - self.bits)).astype(np.int64)]


def check_mean(draws: Draws, words: Words, width: int) -> None:
    drawn = draws.of(words, width)
    deviation = draws.table.std() / DRAWS**0.5
    assert abs(drawn.mean() - draws.mean) <= 5 * deviation


def check_independent(draws: Draws, first: Ints, second: Ints) -> None:
    """Chi-square test of pairs of draws against the product of the exact probabilities."""
    cells = len(draws.values)
    if cells == 1:
        return  # a constant, such as a weight of 1/2 drawn in halves: the mean says it all
    index = np.searchsorted(draws.values, first) * cells + np.searchsorted(draws.values, second)
    observed = np.bincount(index, minlength=cells * cells)
    expected = np.outer(draws.probabilities, draws.probabilities).ravel() * len(first)
    assert stats.chisquare(observed, expected).pvalue >= LOWEST_P


def check_successive(draws: Draws, words: Words, width: int) -> None:
    drawn = draws.of(words, width)
    for lag in (1, 2, 5):
        # Disjoint pairs, so that the counts are multinomial.
        starts = np.flatnonzero(np.arange(DRAWS - lag) // lag % 2 == 0)
        check_independent(draws, drawn[starts], drawn[starts + lag])


@pytest.mark.parametrize("bits", [3, 4, 6])
@pytest.mark.parametrize("connect", CONNECTS)
@pytest.mark.parametrize("width", RANDOM_WIDTHS)
def test_good_sources(width: int, connect: str, bits: int) -> None:
    for seed in (1, 2, 3):
        words, others = source_words(seed, width), source_words(seed, width, 1)
        for weight in WEIGHTS:
            draws = Draws(weight, connect, bits)
            check_mean(draws, words, width)
            check_successive(draws, words, width)
            check_independent(draws, draws.of(words, width), draws.of(others, width))


def fails(check: Callable[[Draws, Words, int], None], words: Words, width: int) -> bool:
    """Whether a check fails for at least one weight."""
    for weight in WEIGHTS:
        try:
            check(Draws(weight, "ternary", 6), words, width)
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize("width", RANDOM_WIDTHS)
def test_checks_tell_bad_sources(width: int) -> None:
    words = source_words(1, width)
    for check in (check_mean, check_successive):
        assert not fails(check, words, width)
        assert fails(check, stuck_bit(words, width), width)
    assert fails(check_successive, short_period(words, width), width)


def test_check_of_two_sources_can_fail() -> None:
    """One source for both draws: equal draws are anything but independent."""
    draws = Draws(30, "ternary", 6)
    drawn = draws.of(source_words(1, 32), 32)
    with pytest.raises(AssertionError):
        check_independent(draws, drawn, drawn)
