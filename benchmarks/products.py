"""The three matrix products of a minibatch, beside the peak of the instruction they are made of."""

from collections.abc import Callable, Mapping
from typing import Any

import numba
import numpy as np

from golden.aligned import aligned_zeros
from golden.vector import (
    LANES,
    PEAK_PRODUCTS,
    ROWS,
    backward_product,
    columns,
    forward_product,
    gradient_product,
    peak,
)

#: Inputs, and units, of the layer.
SIZE = 1024

_LANES = 128
_BLOCKS = SIZE // _LANES

#: Rows of gradients that ``golden.packed`` works out at a time.
_GRADIENT_ROWS = 2 * ROWS

#: Turns of a round: long enough for the clock, short enough for the neighbours.
_TURNS = 8


@numba.njit(nogil=True)
def _forward(drawn: Any, start: Any, inputs: Any, sums: Any) -> None:
    for _ in range(_BLOCKS):
        forward_product(drawn, start, inputs, sums, SIZE // 2)


@numba.njit(nogil=True)
def _backward(drawn: Any, start: Any, deltas: Any, partial: Any) -> None:
    backward_product(drawn, 0, start, deltas, partial, SIZE, SIZE // 2)


@numba.njit(nogil=True)
def _gradient(factors: Any, start: Any, deltas: Any, gradient: Any, batch: int) -> None:
    tiles = _LANES // deltas.shape[2]
    for block in range(_BLOCKS):
        for first in range(0, SIZE, _GRADIENT_ROWS):
            gradient_product(
                factors, first, start, deltas, block * tiles, gradient, _GRADIENT_ROWS, batch // 2
            )


def product_tasks(batch: int) -> tuple[Mapping[str, Callable[[], object]], int]:
    """Return one task a product, and one called ``peak``; and the products each adds up.

    The operands have the shapes that a layer of 1024 inputs and units has in training: blocks of
    128 lanes, groups of samples as wide as a tile.

    Args:
        batch: Samples, a multiple of 32.
    """
    rng = np.random.default_rng(1)

    def random(*shape: int, dtype: type[np.signedinteger[Any]] = np.int32) -> Any:
        array = aligned_zeros(shape, dtype)
        array[:] = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape)
        return array

    width, tile = columns(batch), columns(_LANES)
    groups, pairs = batch // width, SIZE // 2
    start = random(SIZE)
    forward = (
        random(pairs, _LANES + ROWS),
        start,
        random(groups, pairs, width),
        aligned_zeros((groups, _LANES, width), np.int32),
    )
    backward = (
        random(SIZE, _BLOCKS, _LANES, dtype=np.int16),
        start,
        random(groups, pairs, width),
        aligned_zeros((groups, SIZE, width), np.int32),
    )
    gradient = (
        random(SIZE, batch, dtype=np.int16),
        start,
        random(SIZE // tile, batch // 2, tile),
        aligned_zeros((_GRADIENT_ROWS, _LANES), np.int32),
        batch,
    )
    products = _TURNS * SIZE * SIZE * batch

    def turns(kernel: Callable[..., None], operands: tuple[Any, ...]) -> Callable[[], None]:
        def work() -> None:
            for _ in range(_TURNS):
                kernel(*operands)

        return work

    return {
        "forward": turns(_forward, forward),
        "backward": turns(_backward, backward),
        "gradient": turns(_gradient, gradient),
        "peak": lambda: peak(products // PEAK_PRODUCTS),
    }, products


def instruction() -> str:
    """Return the name of what is measured: 32-bit words of a vector, 16-bit pairs in each."""
    return f"dot products of 16-bit pairs, {LANES} words a vector"
