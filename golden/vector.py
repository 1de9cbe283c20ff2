"""Matrix products of 16-bit integers with 32-bit sums, at the speed of the vector unit.

Every product of minibatch training has one shape: sums over *pairs*. A pair is two 16-bit integers
that are multiplied by another pair and added up, in one 32-bit word, the first in its lower half:
what a processor does to many words in one instruction (``vpdpwssd``, or ``vpmaddwd`` and an
addition). The inner loop is written once, as LLVM vector code that names no processor; LLVM selects
the instructions, so it runs wherever Numba does. Sums wrap modulo ``2**32``, so they are exact
whenever the whole sum fits into 32 bits, whatever the order.

One tile of the result stays in registers while the loop walks over the pairs: some rows, by one or
two vectors of columns. Each word of the left operand meets a whole row of vectors of the right one.

The products are parts of a kernel; Python can call ``numba.njit(forward_product.py_func)``.
"""

from collections.abc import Callable
from typing import Any, cast

import llvmlite.binding
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from golden.jit import jit, part

Int16Array = npt.NDArray[np.int16]
Int32Array = npt.NDArray[np.int32]

_features = llvmlite.binding.get_host_cpu_features()

#: 32-bit words of a vector register.
LANES = 16 if _features.get("avx512bw") else 8 if _features.get("avx2") else 4

#: Accumulators of a tile: half of the vector registers.
_ACCUMULATORS = 16 if _features.get("avx512bw") or _features.get("neon") else 8

#: Rows of a tile of one vector of columns; a tile of two vectors has half of them.
ROWS = _ACCUMULATORS

_i16, _i32, _i64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_words, _halves = ir.VectorType(_i32, LANES), ir.VectorType(_i16, 2 * LANES)


def columns(wanted: int) -> int:
    """Return the columns of the tile for a result of ``wanted`` columns: one or two vectors."""
    return LANES if wanted <= LANES else 2 * LANES


def padded(size: int, multiple: int) -> int:
    """Return the smallest multiple of ``multiple`` that is at least ``size``."""
    return -(-size // multiple) * multiple


def _dot(builder: ir.IRBuilder, total: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
    """Add the products of two vectors of pairs to a vector of words."""
    wide = ir.VectorType(_i32, 2 * LANES)
    product = builder.mul(
        builder.sext(builder.bitcast(x, _halves), wide),
        builder.sext(builder.bitcast(y, _halves), wide),
    )
    first, second = (
        builder.shuffle_vector(product, product, ir.Constant(_words, list(range(i, 2 * LANES, 2))))
        for i in (0, 1)
    )
    return builder.add(total, builder.add(first, second))


def _broadcast(builder: ir.IRBuilder, word: ir.Value) -> ir.Value:
    """Return a vector of equal words."""
    undefined = ir.Constant(_words, ir.Undefined)
    one = builder.insert_element(undefined, word, _i32(0))
    return builder.shuffle_vector(one, undefined, ir.Constant(_words, None))


def _make_tile(vectors: int, by_column: bool) -> Callable[..., None]:
    """Return the function ``tile`` for tiles of ``vectors`` vectors.

    ``tile(left, l, stride, right, r, start, s, result, c, result_stride, pairs)`` computes the
    tile of the result that begins at word ``c`` as ``start`` (one word a row, from word ``s``)
    plus the sum over ``pairs`` words. The letters are places, counted in words from the start of
    an array. Word ``k`` of the left operand's row ``i`` is at ``l + i * stride + k``, or with
    ``by_column`` at ``l + k * stride + i``. Row ``k`` of the right operand is one row of the tile
    wide, and follows row ``k - 1`` directly.
    """
    rows = ROWS // vectors

    def declare(
        _context: object,
        left: types.Array,
        l_word: types.Integer,
        stride: types.Integer,
        right: types.Array,
        r_word: types.Integer,
        start: types.Array,
        s_word: types.Integer,
        result: types.Array,
        c_word: types.Integer,
        result_stride: types.Integer,
        pairs: types.Integer,
    ) -> tuple[Any, Callable[..., ir.Value]]:
        word = types.int64
        signature = types.void(left, word, word, right, word, start, word, result, word, word, word)

        def generate(
            context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[ir.Value]
        ) -> ir.Value:
            def pointer(argument: int) -> ir.Value:
                array = context.make_array(signature.args[argument])
                data = array(context, builder, value=arguments[argument]).data
                words = builder.bitcast(data, _i32.as_pointer())
                return builder.gep(words, [arguments[argument + 1]])

            def vector(place: ir.Value) -> ir.Value:
                return builder.bitcast(place, _words.as_pointer())

            left, right, start, result = pointer(0), pointer(3), pointer(5), pointer(7)
            stride, result_stride, pairs = arguments[2], arguments[9], arguments[10]
            tile = [(row, column) for row in range(rows) for column in range(vectors)]
            starts = [
                _broadcast(builder, builder.load(builder.gep(start, [_i64(row)]), align=4))
                for row in range(rows)
            ]
            before = builder.block
            loop, done = builder.append_basic_block(), builder.append_basic_block()
            builder.cbranch(builder.icmp_signed("<", _i64(0), pairs), loop, done)

            builder.position_at_end(loop)
            k = builder.phi(_i64)
            k.add_incoming(_i64(0), before)
            sums = [builder.phi(_words) for _ in tile]
            right_row = builder.gep(right, [builder.mul(k, _i64(vectors * LANES))])
            right_words = [
                builder.load(vector(builder.gep(right_row, [_i64(column * LANES)])), align=4)
                for column in range(vectors)
            ]
            left_words = []
            for row in range(rows):
                if by_column:
                    place = builder.add(builder.mul(k, stride), _i64(row))
                else:
                    place = builder.add(k, builder.mul(_i64(row), stride))
                word = builder.load(builder.gep(left, [place]), align=4)
                left_words.append(_broadcast(builder, word))
            k_next = builder.add(k, _i64(1))
            k.add_incoming(k_next, loop)
            totals, results = [], []
            for (row, column), total in zip(tile, sums, strict=True):
                totals.append(_dot(builder, total, left_words[row], right_words[column]))
                total.add_incoming(starts[row], before)
                total.add_incoming(totals[-1], loop)
            builder.cbranch(builder.icmp_signed("<", k_next, pairs), loop, done)

            builder.position_at_end(done)
            for row, column in tile:
                total = builder.phi(_words)
                total.add_incoming(starts[row], before)
                total.add_incoming(totals[row * vectors + column], loop)
                results.append(total)
            for (row, column), total in zip(tile, results, strict=True):
                place = builder.add(builder.mul(_i64(row), result_stride), _i64(column * LANES))
                builder.store(total, vector(builder.gep(result, [place])), align=4)
            return context.get_dummy_value()

        return signature, generate

    return cast(Callable[..., None], intrinsic(declare))


_tile_by_column_1, _tile_by_column_2 = _make_tile(1, True), _make_tile(2, True)
_tile_by_row_1, _tile_by_row_2 = _make_tile(1, False), _make_tile(2, False)


@part
def forward_product(
    drawn: Int32Array, start: Int32Array, inputs: Int32Array, sums: Int32Array, pairs: int
) -> None:
    """Add up a block of units: ``sums = start + drawn . inputs``.

    Args:
        drawn: Pairs of weights ``(T[i][j], T[i][j + 1])``, int32, shape (at least ``pairs``, at
            least the units).
        start: What each unit's sum starts with, int32, shape (at least the units,).
        inputs: Pairs of inputs ``(h[j], h[j + 1])``, int32, shape (groups, at least ``pairs``,
            samples of a group), the last a width of :func:`columns`.
        sums: Result, int32, shape (groups, units, samples of a group), the units a multiple of
            ``ROWS``.
        pairs: Number of pairs to add up.
    """
    groups, units, width = sums.shape
    stride, plane = drawn.shape[1], inputs.shape[1] * width
    if width == LANES:
        for i in range(0, units, ROWS):
            for group in range(groups):
                c = (group * units + i) * width
                _tile_by_column_1(
                    drawn, i, stride, inputs, group * plane, start, i, sums, c, width, pairs
                )
    else:
        for i in range(0, units, ROWS // 2):
            for group in range(groups):
                c = (group * units + i) * width
                _tile_by_column_2(
                    drawn, i, stride, inputs, group * plane, start, i, sums, c, width, pairs
                )


@part
def backward_product(
    drawn: Int16Array,
    first: int,
    start: Int32Array,
    deltas: Int32Array,
    partial: Int32Array,
    inputs: int,
    pairs: int,
) -> None:
    """Add up a layer's backward sums: ``partial = start + drawn . deltas``.

    Args:
        drawn: ``T[i][j]``, int16, shape (rows, blocks, lanes of a block): row ``first + j``, and
            units ``i`` in order; every row has twice ``pairs`` units at least.
        first: Row of input 0.
        start: What each input's sum starts with, int32, shape (at least the inputs,).
        deltas: Pairs of deltas ``(d[i], d[i + 1])``, int32, shape (groups, at least ``pairs``,
            samples of a group), the last a width of :func:`columns`.
        partial: Result, int32, shape (groups, at least the inputs, samples of a group).
        inputs: Number of inputs, up to a multiple of ``ROWS``.
        pairs: Number of pairs to add up.
    """
    groups, rows, width = partial.shape
    stride, plane = drawn.shape[1] * drawn.shape[2] // 2, deltas.shape[1] * width
    if width == LANES:
        for j in range(0, inputs, ROWS):
            a = (first + j) * stride
            for group in range(groups):
                c = (group * rows + j) * width
                _tile_by_row_1(
                    drawn, a, stride, deltas, group * plane, start, j, partial, c, width, pairs
                )
    else:
        for j in range(0, inputs, ROWS // 2):
            a = (first + j) * stride
            for group in range(groups):
                c = (group * rows + j) * width
                _tile_by_row_2(
                    drawn, a, stride, deltas, group * plane, start, j, partial, c, width, pairs
                )


@part
def gradient_product(
    factors: Int16Array,
    first: int,
    start: Int32Array,
    deltas: Int32Array,
    first_tile: int,
    gradient: Int32Array,
    rows: int,
    pairs: int,
) -> None:
    """Add up the gradients of some rows of weights: ``gradient = start + factors . deltas``.

    Args:
        factors: ``2**e`` of input and sample, int16, shape (inputs, samples).
        first: First input.
        start: What each row's sums start with, int32, shape (at least ``rows``,).
        deltas: Pairs of deltas ``(d of sample b, d of sample b + 1)``, int32, shape (tiles of
            lanes, at least ``pairs``, lanes of a tile), the last a width of :func:`columns`.
        first_tile: First tile of lanes.
        gradient: Result, int32, shape (at least ``rows``, lanes), the lanes whole tiles.
        rows: Number of inputs, up to a multiple of ``ROWS``.
        pairs: Number of pairs to add up.
    """
    stride, lanes = factors.shape[1] // 2, gradient.shape[1]
    width, plane = deltas.shape[2], deltas.shape[1] * deltas.shape[2]
    if width == LANES:
        for row in range(0, rows, ROWS):
            a = (first + row) * stride
            for tile in range(lanes // width):
                b, c = (first_tile + tile) * plane, row * lanes + tile * width
                _tile_by_row_1(factors, a, stride, deltas, b, start, row, gradient, c, lanes, pairs)
    else:
        for row in range(0, rows, ROWS // 2):
            a = (first + row) * stride
            for tile in range(lanes // width):
                b, c = (first_tile + tile) * plane, row * lanes + tile * width
                _tile_by_row_2(factors, a, stride, deltas, b, start, row, gradient, c, lanes, pairs)


def _declare_shift(
    _context: object, value: types.Integer, count: types.Integer
) -> tuple[Any, Callable[..., ir.Value]]:
    def generate(
        _context: object, builder: ir.IRBuilder, _signature: object, arguments: list[ir.Value]
    ) -> ir.Value:
        value, count = (builder.trunc(argument, _i32) for argument in arguments)
        return builder.ashr(value, count)

    return types.int32(types.int64, types.int64), generate


#: ``right_shift(value, count)`` is ``value >> count`` in 32 bits, for a count of 0..31. Numba's own
#: operator works on 64, on half as many lanes.
right_shift = cast(Callable[[int, int], int], intrinsic(_declare_shift))


def _declare_dot_loop(
    _context: object, steps: types.Integer
) -> tuple[Any, Callable[..., ir.Value]]:

    def generate(
        _context: object, builder: ir.IRBuilder, _signature: object, arguments: list[ir.Value]
    ) -> ir.Value:
        before = builder.block
        loop, done = builder.append_basic_block(), builder.append_basic_block()
        operand = _broadcast(builder, builder.trunc(arguments[0], _i32))
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(_i64)
        k.add_incoming(_i64(0), before)
        sums = [builder.phi(_words) for _ in range(_ACCUMULATORS)]
        for lane, total in enumerate(sums):
            total.add_incoming(ir.Constant(_words, [lane + 1] * LANES), before)
        totals = list(sums)
        for lane in range(_ACCUMULATORS):
            # Each sum is the next one's factor, so that nothing can be moved out of the loop.
            factor = totals[(lane + 1) % _ACCUMULATORS]
            totals[lane] = _dot(builder, totals[lane], factor, operand)
            sums[lane].add_incoming(totals[lane], loop)
        k_next = builder.add(k, _i64(1))
        k.add_incoming(k_next, loop)
        builder.cbranch(builder.icmp_signed("<", k_next, arguments[0]), loop, done)
        builder.position_at_end(done)
        total = totals[0]
        for other in totals[1:]:
            total = builder.xor(total, other)
        # All words of a vector are equal.
        result = builder.extract_element(total, _i32(0))
        return builder.sext(result, _i64)

    return types.int64(types.int64), generate


_dot_loop = cast(Callable[[int], int], intrinsic(_declare_dot_loop))


@jit
def peak(steps: int) -> int:
    """Run the dot-product instruction in registers only: what no product can surpass.

    Does ``steps * PEAK_PRODUCTS`` multiplications with addition, and returns a digest of them so
    that none can be left out.
    """
    return _dot_loop(steps)


#: Products that :func:`peak` adds up in one step.
PEAK_PRODUCTS = _ACCUMULATORS * LANES * 2
