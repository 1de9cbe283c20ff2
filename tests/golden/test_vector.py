"""The matrix products of 16-bit pairs, against NumPy's 64-bit integers."""

import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import pytest

from golden.aligned import aligned_zeros
from golden.vector import (
    LANES,
    PEAK_PRODUCTS,
    ROWS,
    backward_product,
    columns,
    forward_product,
    gradient_product,
    padded,
    peak,
    right_shift,
)

Int64Array = npt.NDArray[np.int64]

#: The products, as functions that Python can call.
run_forward_product = numba.njit(forward_product.py_func)
run_backward_product = numba.njit(backward_product.py_func)
run_gradient_product = numba.njit(gradient_product.py_func)

#: Groups, columns of a group, rows of the result, pairs: each width of a tile.
SHAPES = [
    (1, LANES, ROWS, 1),
    (1, LANES, 2 * ROWS, 17),
    (3, LANES, ROWS, 5),
    (1, 2 * LANES, ROWS, 0),
    (1, 2 * LANES, ROWS, 8),
    (4, 2 * LANES, 3 * ROWS, 33),
]


def halves(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.int16]:
    """Return random 16-bit integers in aligned memory, half of them extremes."""
    values = rng.integers(-(2**15), 2**15, shape)
    extremes = rng.choice([-(2**15), 2**15 - 1, -1, 0], shape)
    memory = aligned_zeros(shape, np.int16)
    memory[...] = np.where(rng.random(shape) < 0.5, values, extremes)
    return memory


def paired(first_second: npt.NDArray[np.int16]) -> npt.NDArray[np.int32]:
    """Return pairs of rows, shape (..., rows / 2, columns), as words."""
    memory = aligned_zeros((*first_second.shape[:-2], first_second.shape[-2] // 2,
                      first_second.shape[-1]), np.int32)  # fmt: skip
    first, second = first_second[..., 0::2, :], first_second[..., 1::2, :]
    memory[...] = (first.astype(np.int32) & 0xFFFF) | (second.astype(np.int32) << 16)
    return memory


def wrapped(values: Int64Array) -> npt.NDArray[np.int32]:
    """Return integers modulo ``2**32``."""
    return values.astype(np.uint64).astype(np.uint32).view(np.int32)


def starts(rng: np.random.Generator, rows: int) -> npt.NDArray[np.int32]:
    memory = aligned_zeros((rows,), np.int32)
    memory[:] = rng.integers(-(2**31), 2**31, rows)
    return memory


@pytest.mark.parametrize(("hidden", "lanes"), [("avx512", 8), ("avx", 4)])
def test_products_for_lesser_processors(hidden: str, lanes: int) -> None:
    """Narrower vectors, by hiding from the compiler what this processor has."""
    program = (
        "import llvmlite.binding as binding\n"
        "features = binding.get_host_cpu_features()\n"
        f"features.update((name, False) for name in features if name.startswith({hidden!r}))\n"
        "binding.get_host_cpu_features = lambda: features\n"
        "from tests.golden import test_vector as t\n"
        "for shape in t.SHAPES:\n"
        "    t.test_forward_product(*shape, 1)\n"
        "    t.test_backward_product(*shape, 1)\n"
        "    t.test_gradient_product(*shape, 1)\n"
        "print(len(t.SHAPES), t.LANES)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    count, found = map(int, done.stdout.split())
    assert count == len(SHAPES)
    assert found == min(lanes, LANES)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("groups", "width", "rows", "pairs"), SHAPES)
def test_forward_product(groups: int, width: int, rows: int, pairs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = halves(rng, 2 * pairs + 4, rows + 3)
    inputs = halves(rng, groups, 2 * pairs + 2, width)
    start, sums = starts(rng, rows + 1), aligned_zeros((groups, rows, width), np.int32)
    run_forward_product(paired(drawn), start, paired(inputs), sums, pairs)
    left, right = (a.astype(np.int64) for a in (drawn[: 2 * pairs, :rows], inputs[:, : 2 * pairs]))
    expected = start[:rows, None] + left.T @ right
    assert np.array_equal(sums, wrapped(expected))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("groups", "width", "rows", "pairs"), SHAPES)
def test_backward_product(groups: int, width: int, rows: int, pairs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, blocks, lanes = 3, 3, 2 * pairs + 2
    drawn = halves(rng, first + rows, blocks, lanes)
    deltas = halves(rng, groups, 4 * pairs + 2, width)
    start, partial = starts(rng, rows), aligned_zeros((groups, rows + ROWS, width), np.int32)
    inputs = rows - 1
    run_backward_product(drawn, first, start, paired(deltas), partial, inputs, 2 * pairs)
    left = drawn.reshape(first + rows, -1)[first:, : 4 * pairs].astype(np.int64)
    expected = start[:, None] + left @ deltas[:, : 4 * pairs].astype(np.int64)
    assert np.array_equal(partial[:, :inputs], wrapped(expected[:, :inputs]))
    assert not partial[:, rows:].any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("tiles", "width", "rows", "pairs"), SHAPES)
def test_gradient_product(tiles: int, width: int, rows: int, pairs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, first_tile = 5, 1
    factors = halves(rng, first + rows, 2 * pairs + 6)
    deltas = halves(rng, first_tile + tiles, 2 * pairs + 2, width)
    start, gradient = starts(rng, rows), aligned_zeros((rows + ROWS, tiles * width), np.int32)
    run_gradient_product(
        factors, first, start, paired(deltas), first_tile, gradient, rows - 1, pairs
    )
    left = factors[first:, : 2 * pairs].astype(np.int64)
    right = deltas[first_tile:, : 2 * pairs].astype(np.int64)
    expected = start[:, None] + np.concatenate(list(left @ right), axis=1)
    assert np.array_equal(gradient[: rows - 1], wrapped(expected)[: rows - 1])
    assert not gradient[rows:].any()


def test_right_shift_is_that_of_32_bits() -> None:
    @numba.njit
    def shifted(value: int, count: int) -> int:
        return right_shift(value, count)

    for value in (-(2**31), 2**31 - 1, -1, 0, 12345):
        for count in range(32):
            assert shifted(value, count) == value >> count


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_peak_does_all_its_products(steps: int) -> None:
    """What the loop adds up, once more in Python, counting the products."""
    count = PEAK_PRODUCTS // LANES // 2

    def dot(x: int, y: int) -> int:
        x_first, x_second, y_first, y_second = (
            int(half) for half in np.array([x, y], np.uint32).view(np.int16)
        )
        return x_first * y_first + x_second * y_second

    sums = [n + 1 for n in range(count)]
    for _ in range(steps):
        for n in range(count):
            sums[n] = (sums[n] + dot(sums[(n + 1) % count], steps)) % 2**32
    digest = 0
    for total in sums:
        digest ^= total
    assert peak(steps) == np.array(digest, np.uint32).view(np.int32)


def test_shapes() -> None:
    assert columns(1) == columns(LANES) == LANES
    assert columns(LANES + 1) == columns(1024) == 2 * LANES
    assert [padded(size, 8) for size in (1, 8, 9)] == [8, 8, 16]


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 7)])
@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_aligned_memory(shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    memory = aligned_zeros(shape, dtype)
    assert memory.shape == shape
    assert memory.dtype == dtype
    assert memory.ctypes.data % 64 == 0
    assert memory.flags.carray
    assert not memory.any()
