"""Random sources against section 4 of the contract: steps, bits, seeds, full periods."""

import random

import numpy as np
import numpy.typing as npt
import pytest

from golden.jit import jit
from golden.parameters import RANDOM_WIDTHS
from golden.random_source import low_bits, next_state, seeded_states, top_bits

#: The matrix of a step over GF(2): column i is what becomes of bit i alone.
Matrix = list[int]


def step_matrix(width: int) -> Matrix:
    return [int(next_state(np.uint64(1 << i), width)) for i in range(width)]


def apply(matrix: Matrix, vector: int) -> int:
    result = 0
    for i, column in enumerate(matrix):
        if vector >> i & 1:
            result ^= column
    return result


def power(matrix: Matrix, exponent: int) -> Matrix:
    result = [1 << i for i in range(len(matrix))]
    while exponent:
        if exponent & 1:
            result = [apply(matrix, column) for column in result]
        matrix = [apply(matrix, column) for column in matrix]
        exponent >>= 1
    return result


def rank(rows: list[int]) -> int:
    rows, found = list(rows), 0
    while rows:
        pivot = rows.pop()
        if pivot:
            found += 1
            lowest = pivot & -pivot
            rows = [row ^ pivot if row & lowest else row for row in rows]
    return found


def prime_factors(n: int) -> set[int]:
    factors, candidate = set(), 2
    while candidate * candidate <= n:
        while n % candidate == 0:
            factors.add(candidate)
            n //= candidate
        candidate += 1
    return factors | ({n} if n > 1 else set())


def has_full_period(matrix: Matrix) -> bool:
    """Whether the order of the matrix is ``2**width - 1``, so that one orbit has every state."""
    order, identity = 2 ** len(matrix) - 1, power(matrix, 0)
    return power(matrix, order) == identity and all(
        power(matrix, order // prime) != identity for prime in prime_factors(order)
    )


@pytest.mark.parametrize("width", RANDOM_WIDTHS)
def test_step_is_the_contracts(width: int) -> None:
    a, b, c = {16: (7, 9, 8), 32: (13, 17, 5), 64: (13, 7, 17)}[width]
    rng = random.Random(width)
    for state in [1, 2**width - 1, *(rng.randrange(1, 2**width) for _ in range(1000))]:
        v = state
        v ^= v << a & 2**width - 1
        v ^= v >> b
        v ^= v << c & 2**width - 1
        assert int(next_state(np.uint64(state), width)) == v


@pytest.mark.parametrize("width", RANDOM_WIDTHS)
def test_period_is_full(width: int) -> None:
    matrix = step_matrix(width)
    rng = random.Random(width)
    for _ in range(100):
        state = rng.randrange(2**width)
        assert apply(matrix, state) == int(next_state(np.uint64(state), width))
    assert has_full_period(matrix)


def test_full_period_check_can_fail() -> None:
    # xorshift (1, 1, 1) of 16 bits is invertible, but its orbits are short.
    def step(v: int) -> int:
        v ^= v << 1 & 0xFFFF
        v ^= v >> 1
        return v ^ (v << 1 & 0xFFFF)

    assert not has_full_period([step(1 << i) for i in range(16)])


def test_16_bit_source_visits_every_state() -> None:
    @jit
    def orbit_length(seen: npt.NDArray[np.bool_]) -> int:
        state = np.uint64(1)
        length = 0
        while not seen[state]:
            seen[state] = True
            state = next_state(state, 16)
            length += 1
        return length

    seen = np.zeros(2**16, np.bool_)
    assert orbit_length(seen) == 2**16 - 1
    assert not seen[0]


@pytest.mark.parametrize("width", RANDOM_WIDTHS)
@pytest.mark.parametrize("bits", range(1, 9))
def test_successive_bits_are_linearly_independent(width: int, bits: int) -> None:
    """Every pair (bits of a word, bits of the next) occurs equally often over the period.

    The one exception is 8 bits of the 16-bit source: one parity of the 16 bits is constant, as half
    of the pairs never occur.
    """
    words = [np.uint64(1 << i) for i in range(width)]
    nexts = [np.uint64(next_state(word, width)) for word in words]
    pairs = [
        top_bits(word, width, bits) << bits | top_bits(following, width, bits)
        for word, following in zip(words, nexts, strict=True)
    ]
    assert rank(pairs) == (15 if (width, bits) == (16, 8) else 2 * bits)


@pytest.mark.parametrize("width", RANDOM_WIDTHS)
def test_bits_of_a_word(width: int) -> None:
    rng = random.Random(width)
    for _ in range(200):
        word = rng.randrange(1, 2**width)
        for bits in range(17):
            assert top_bits(np.uint64(word), width, bits) == word >> (width - bits)
            assert low_bits(np.uint64(word), bits) == word % 2**bits


@pytest.mark.parametrize("width", RANDOM_WIDTHS)
@pytest.mark.parametrize("seed", [0, 1, 2, 1234567, 2**63 - 1])
def test_seeds_are_splitmix64(seed: int, width: int) -> None:
    states = seeded_states(seed, 5, width)
    assert states.dtype == np.uint64
    assert states.shape == (5,)
    for i, state in enumerate(states.tolist()):
        x = (seed + (i + 1) * 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        x ^= x >> 31
        assert state == max(x >> (64 - width), 1)


def test_seeds_match_the_published_splitmix64() -> None:
    # Output of Vigna's splitmix64.c for the seed 1234567.
    assert seeded_states(1234567, 3, 64).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_a_source_never_starts_at_zero() -> None:
    # SplitMix64 gives 16 zero bits at the top for one seed in 65536.
    zero = [s for s in range(100_000) if int(seeded_states(s, 1, 64)[0]) >> 48 == 0]
    assert zero, "the test needs a seed with 16 zero bits"
    assert [int(seeded_states(s, 1, 16)[0]) for s in zero] == [1] * len(zero)
