"""Online training: the kernels of the functional model that learn from one sample at a time.

What they compute is the contract's, bit for bit (``docs/arithmetic.md``, sections 6 to 11); when
each value appears in the gateware is the clocked model's matter. Arrays keep the gateware's memory
order, so lanes are innermost and contiguous, and the compiler turns every loop over lanes into
vector instructions. For that, hot loops stand in the body of their kernel and index whole arrays:
a row view, or an array handed to a unit, costs more than the work on the row.

Lanes work in 16 bits where the widths prove that these are enough (:func:`golden.plan.
fits_16_bits`), else in 64: one text, compiled for both types of :class:`Work`. NumPy's functions
stand where an operator would do, because Numba's operators widen what they are given to 64 bits.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from golden.aligned import aligned_zeros
from golden.connect import ternary
from golden.gradient import bias_increment, folded, hidden_delta
from golden.jit import jit, part
from golden.layout import Layout
from golden.loss import argmax, logit, output_delta
from golden.parameters import Parameters
from golden.plan import LIST_PADDING, Int64Array, Plan
from golden.quantize import nearest, stochastic
from golden.random_source import low_bits, next_state, top_bits
from golden.relu import relu
from golden.rounding import rounding
from golden.update import clip


class Work(NamedTuple):
    """What the kernels compute on the lanes of one block, int16 or int64 but for ``partial``.

    Attributes:
        totals: Sums of ``T * h``, shape (P,).
        delta: ``d``, shape (P,).
        random: Rounding number of each lane, shape (P,).
        partial: ``p`` for each entry of the list in hand, int32 or int64.
    """

    totals: npt.NDArray[Any]
    delta: npt.NDArray[Any]
    random: npt.NDArray[Any]
    partial: npt.NDArray[Any]

    @classmethod
    def of(cls, parameters: Parameters, lane: type[Any], partial: type[Any]) -> "Work":
        """Make room for one block, in these types."""
        p = parameters
        return cls(
            totals=aligned_zeros((p.lanes,), lane),
            delta=aligned_zeros((p.lanes,), lane),
            random=aligned_zeros((p.lanes,), lane),
            partial=np.zeros(max(p.layers[:-1]), partial),
        )


class Scratch(NamedTuple):
    """What the kernels compute of one sample.

    Attributes:
        list_index: The lists' inputs ``j``, int64, at ``list_base[layer] ..``.
        list_value: Their activations ``h``, int64, likewise. Behind a list stand
            ``LIST_PADDING`` entries of value 0.
        list_count: Length of each layer's list, int64.
        sums: ``z`` of the layer in hand, int64, shape (most blocks of a layer, P).
        delta: ``d``, int64, in the order of the biases; 0 in padding lanes.
        draw_start: States of DRAW before the draws of each layer, uint64, shape (L, S).
        by_source: Rounding number of each source, int64, shape (S,).
        factor: What each entry of the list in hand multiplies a delta by, int64.
        cut: How much of the update's shift to the right that takes up, int64.
        touched: Entries of the list in hand that change a weight of a block, int64.
        touched_random: Their rounding numbers, int64.
        narrow: For lanes of 16 bits.
        wide: For lanes of 64 bits.
    """

    list_index: Int64Array
    list_value: Int64Array
    list_count: Int64Array
    sums: Int64Array
    delta: Int64Array
    draw_start: npt.NDArray[np.uint64]
    by_source: Int64Array
    factor: Int64Array
    cut: Int64Array
    touched: Int64Array
    touched_random: Int64Array
    narrow: Work
    wide: Work

    @classmethod
    def of(cls, parameters: Parameters) -> "Scratch":
        """Make room for one sample."""
        p = parameters
        layout = Layout.of(p)
        entries = sum(size + LIST_PADDING for size in p.layers[:-1])
        most = max(p.layers[:-1])
        return cls(
            list_index=np.zeros(entries, np.int64),
            list_value=np.zeros(entries, np.int64),
            list_count=np.zeros(p.depth, np.int64),
            sums=np.zeros((max(layout.blocks), p.lanes), np.int64),
            delta=np.zeros((layout.block_rows, p.lanes), np.int64),
            draw_start=np.zeros((p.depth, p.random_sources), np.uint64),
            by_source=np.zeros(p.random_sources, np.int64),
            factor=np.zeros(most, np.int64),
            cut=np.zeros(most, np.int64),
            touched=np.zeros(most, np.int64),
            touched_random=np.zeros(most, np.int64),
            narrow=Work.of(p, np.int16, np.int32),
            wide=Work.of(p, np.int64, np.int64),
        )


@part
def _lanes(plan: Plan) -> int:
    """Return the number of lanes, which the compiler may know."""
    if len(plan.fixed_lanes) > 0:
        return len(plan.fixed_lanes)
    return plan.lanes


@part
def _close_list(layer: int, base: int, count: int, scratch: Scratch) -> None:
    """Note the length of a layer's list and pad it."""
    scratch.list_count[layer] = count
    for entry in range(base + count, base + count + LIST_PADDING):
        scratch.list_index[entry] = 0
        scratch.list_value[entry] = 0


@part
def list_pixels(
    plan: Plan,
    pixels: npt.NDArray[np.uint16],
    train: bool,
    dropout: npt.NDArray[np.uint64],
    scratch: Scratch,
) -> None:
    """List the first layer's live inputs, after input dropout (section 11)."""
    n = plan.input_dropout_bits
    count = 0
    word = dropout[0]
    for j in range(len(pixels)):
        value = np.int64(pixels[j])
        if n != 0 and train:
            if value != 0:
                if top_bits(word, plan.random_width, n) == 0:
                    value = np.int64(0)
                word = next_state(word, plan.random_width)
        elif n != 0:
            value -= value >> n
        # No branch, which the processor would guess wrong: a dead input's entry is overwritten.
        scratch.list_index[count] = j
        scratch.list_value[count] = value
        count += value != 0
    dropout[0] = word
    _close_list(0, 0, count, scratch)


@part
def list_units(plan: Plan, layer: int, shift: int, scratch: Scratch) -> None:
    """List the live units of a hidden layer: the inputs of the next one (section 6)."""
    base = plan.list_base[layer + 1]
    sums = scratch.sums.reshape(-1)
    count = 0
    for i in range(plan.sizes[layer + 1]):
        value = relu(sums[i], shift, plan.activation_max)
        scratch.list_index[base + count] = i
        scratch.list_value[base + count] = value
        count += value != 0
    _close_list(layer + 1, base, count, scratch)


@part
def predict(plan: Plan, scratch: Scratch) -> int:
    """Return the prediction from the sums of the last layer (section 7)."""
    return argmax(scratch.sums.reshape(-1)[: plan.sizes[-1]])


@part
def _draw_number(plan: Plan, word: np.uint64) -> int:
    """Return what is added to a weight to draw from it (section 5).

    All rules draw ``T = scale * ((W + offset + r) >> q) - (scale - 1)``: ``scale`` is 2 and
    ``offset`` is ``2**F`` for binary connect, 1 and 0 for the others.
    """
    bits = plan.draw_bits
    r = rounding(top_bits(word, plan.random_width, bits), bits, plan.draw_shift)
    return r + plan.draw_offset


@part
def _draw_numbers(
    plan: Plan, draw: npt.NDArray[np.uint64], by_source: Int64Array, random: npt.NDArray[Any]
) -> None:
    """Take a word of every source; leave the lanes' numbers in ``random``."""
    for source in range(len(draw)):
        by_source[source] = _draw_number(plan, draw[source])
        draw[source] = next_state(draw[source], plan.random_width)
    for lane in range(plan.lanes):
        random[lane] = by_source[plan.lane_source[lane]]


@part
def _forward(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    scratch: Scratch,
    work: Work,
) -> None:
    lanes, width, scale = _lanes(plan), plan.random_width, plan.draw_scale
    index, value, sums = scratch.list_index, scratch.list_value, scratch.sums
    totals, random = work.totals, work.random
    kind = totals.dtype.type
    shift = kind(plan.draw_shift)
    for layer in range(len(plan.blocks)):
        base, end = plan.list_base[layer], plan.list_base[layer] + scratch.list_count[layer]
        for source in range(len(draw)):
            scratch.draw_start[layer, source] = draw[source]
        less = 0
        for entry in range(base, end):
            less += (scale - 1) * value[entry]
        word = draw[0]
        for block in range(plan.blocks[layer]):
            block_row = plan.block_base[layer] + block
            first_row = plan.row_base[layer] + block * plan.sizes[layer]
            for lane in range(lanes):
                bias = biases[block_row, lane] << plan.draw_fraction_bits
                sums[block, lane] = (bias >> plan.bias_fraction_bits) - less
            for start in range(base, end, plan.run):
                stop = min(start + plan.run, end)
                for lane in range(lanes):
                    totals[lane] = 0
                if plan.one_draw:
                    # Four at a time: adding to the totals in memory takes longer than the rest.
                    for entry in range(start, stop, 4):
                        word1 = next_state(word, width)
                        word2 = next_state(word1, width)
                        word3 = next_state(word2, width)
                        row0 = first_row + index[entry]
                        row1 = first_row + index[entry + 1]
                        row2 = first_row + index[entry + 2]
                        row3 = first_row + index[entry + 3]
                        r0, x0 = kind(_draw_number(plan, word)), kind(scale * value[entry])
                        r1, x1 = kind(_draw_number(plan, word1)), kind(scale * value[entry + 1])
                        r2, x2 = kind(_draw_number(plan, word2)), kind(scale * value[entry + 2])
                        r3, x3 = kind(_draw_number(plan, word3)), kind(scale * value[entry + 3])
                        for lane in range(lanes):
                            a0 = np.multiply(ternary(weights[row0, lane], r0, shift), x0)
                            a1 = np.multiply(ternary(weights[row1, lane], r1, shift), x1)
                            a2 = np.multiply(ternary(weights[row2, lane], r2, shift), x2)
                            a3 = np.multiply(ternary(weights[row3, lane], r3, shift), x3)
                            total = np.add(np.add(a0, a1), np.add(a2, a3))
                            totals[lane] = np.add(totals[lane], total)
                        word = next_state(word3, width)
                        # The padding takes no words.
                        left = stop - entry
                        if left < 4:
                            word = word1 if left == 1 else word2 if left == 2 else word3
                else:
                    for entry in range(start, stop):
                        row, x = first_row + index[entry], kind(scale * value[entry])
                        _draw_numbers(plan, draw, scratch.by_source, random)
                        for lane in range(lanes):
                            a = np.multiply(ternary(weights[row, lane], random[lane], shift), x)
                            totals[lane] = np.add(totals[lane], a)
                for lane in range(lanes):
                    sums[block, lane] += totals[lane]
        if plan.one_draw and plan.draw_bits != 0:
            draw[0] = word
        if layer + 1 < len(plan.blocks):
            list_units(plan, layer, plan.forward_shifts[layer], scratch)


@part
def forward(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    scratch: Scratch,
) -> None:
    """Draw and add up all layers (sections 5 and 6); leave the last layer's sums in ``scratch``."""
    if plan.narrow:
        _forward(plan, weights, biases, draw, scratch, scratch.narrow)
    else:
        _forward(plan, weights, biases, draw, scratch, scratch.wide)


@part
def loss(plan: Plan, label: int, scratch: Scratch) -> int:
    """Leave the output deltas in ``scratch`` and return the sum of their squares (section 7)."""
    last = len(plan.blocks) - 1
    sums, delta = scratch.sums.reshape(-1), scratch.delta.reshape(-1)
    base = plan.block_base[last] * plan.lanes
    total = 0
    for i in range(plan.sizes[last + 1]):
        o = logit(sums[i], plan.forward_shifts[last])
        d = output_delta(o, i == label, plan.margin, plan.output_delta_max)
        delta[base + i] = d
        total += d * d
    return total


@part
def _backward(
    plan: Plan, weights: npt.NDArray[np.int16], layer: int, scratch: Scratch, work: Work
) -> None:
    """Leave the deltas of the layer below in ``scratch`` (section 8)."""
    lanes, scale, index = _lanes(plan), plan.draw_scale, scratch.list_index
    delta, random, partial = work.delta, work.random, work.partial
    kind, wide = delta.dtype.type, partial.dtype.type
    shift = kind(plan.draw_shift)
    base, count = plan.list_base[layer], scratch.list_count[layer]
    for entry in range(count):
        partial[entry] = 0
    # The draws of the forward pass once more.
    draw = scratch.draw_start[layer]
    word = draw[0]
    for block in range(plan.blocks[layer]):
        block_row = plan.block_base[layer] + block
        first_row = plan.row_base[layer] + block * plan.sizes[layer]
        less = 0
        for lane in range(lanes):
            d = scratch.delta[block_row, lane]
            delta[lane] = d
            less += (scale - 1) * d
        for entry in range(count):
            row = first_row + index[base + entry]
            total = wide(0)
            if plan.one_draw:
                r = kind(_draw_number(plan, word))
                word = next_state(word, plan.random_width)
                for lane in range(lanes):
                    t = wide(ternary(weights[row, lane], r, shift))
                    total = np.add(total, np.multiply(t, wide(delta[lane])))
            else:
                _draw_numbers(plan, draw, scratch.by_source, random)
                for lane in range(lanes):
                    t = wide(ternary(weights[row, lane], random[lane], shift))
                    total = np.add(total, np.multiply(t, wide(delta[lane])))
            partial[entry] += scale * total - less
    below = scratch.delta.reshape(-1)
    first, end = plan.block_base[layer - 1] * lanes, plan.block_base[layer] * lanes
    for i in range(first, end):
        below[i] = 0
    for entry in range(count):
        below[first + index[base + entry]] = hidden_delta(
            partial[entry], plan.backward_shifts[layer], plan.hidden_delta_max
        )


@part
def _scale(plan: Plan, exponent: int, k: int) -> tuple[int, int]:
    """Return factor and cut of a power of two (sections 9 and 11): ``2**e`` is ``f * 2**cut``."""
    if exponent < plan.min_exponent:
        return 0, 0
    exponent = min(exponent, plan.max_exponent)
    cut = min(exponent, k)
    return 1 << (exponent - cut), cut


@part
def _update(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    update: npt.NDArray[np.uint64],
    rate_shift: int,
    layer: int,
    scratch: Scratch,
    work: Work,
) -> None:
    """Learn in one layer (section 9)."""
    lanes, width, bits, reach = _lanes(plan), plan.random_width, plan.update_bits, plan.reach
    index, value = scratch.list_index, scratch.list_value
    factor, cut, by_source = scratch.factor, scratch.cut, scratch.by_source
    delta, random = work.delta, work.random
    kind = delta.dtype.type
    highest, lowest = kind(plan.weight_max), kind(-plan.weight_max)
    base, count = plan.list_base[layer], scratch.list_count[layer]
    k = plan.update_shifts[layer] + rate_shift
    for entry in range(count):
        x = value[base + entry]
        if plan.quantizes:
            factor[entry], cut[entry] = _scale(plan, nearest(x), k)
        else:
            factor[entry], cut[entry] = x, 0
    word = update[0]
    for block in range(plan.blocks[layer]):
        block_row = plan.block_base[layer] + block
        first_row = plan.row_base[layer] + block * plan.sizes[layer]
        low, high = 0, 0
        for lane in range(lanes):
            d = scratch.delta[block_row, lane]
            delta[lane] = d
            low = min(low, d)
            high = max(high, d)
        touched = 0
        for entry in range(count):
            if plan.stochastic_quantizer:
                first = word if len(update) == 1 else update[0]
                exponent = stochastic(
                    value[base + entry], low_bits(first, plan.activation_bits - 1)
                )
                factor[entry], cut[entry] = _scale(plan, exponent, k)
            f, c = factor[entry], cut[entry]
            if len(update) == 1:
                r = rounding(top_bits(word, width, bits), bits, k)
                r = folded(r, c, k - c, reach)
                word = next_state(word, width)
                scratch.touched[touched] = entry
                scratch.touched_random[touched] = r
                # Where neither the lowest nor the highest delta changes a weight, none does.
                touched += low * f + r < 0 or high * f + r >= 1 << min(k - c, reach)
            else:
                row = first_row + index[base + entry]
                for source in range(len(update)):
                    r = rounding(top_bits(update[source], width, bits), bits, k)
                    by_source[source] = folded(r, c, k - c, reach)
                    update[source] = next_state(update[source], width)
                for lane in range(lanes):
                    random[lane] = by_source[plan.lane_source[lane]]
                lane_factor, shift = kind(f), kind(min(k - c, reach))
                for lane in range(lanes):
                    product = np.multiply(delta[lane], lane_factor)
                    increment = np.right_shift(np.add(product, random[lane]), shift)
                    weight = np.add(weights[row, lane], increment)
                    weights[row, lane] = min(max(weight, lowest), highest)
        for i in range(touched):
            entry = scratch.touched[i]
            row, lane_random = first_row + index[base + entry], kind(scratch.touched_random[i])
            lane_factor, shift = kind(factor[entry]), kind(min(k - cut[entry], reach))
            for lane in range(lanes):
                product = np.multiply(delta[lane], lane_factor)
                increment = np.right_shift(np.add(product, lane_random), shift)
                weight = np.add(weights[row, lane], increment)
                weights[row, lane] = min(max(weight, lowest), highest)
        for lane in range(lanes):
            increment = bias_increment(scratch.delta[block_row, lane], plan.bias_shift + rate_shift)
            biases[block_row, lane] = clip(biases[block_row, lane] + increment, plan.bias_max)
    if len(update) == 1:
        update[0] = word


@part
def _train(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    update: npt.NDArray[np.uint64],
    dropout: npt.NDArray[np.uint64],
    scratch: Scratch,
    work: Work,
    pixels: npt.NDArray[np.uint16],
    labels: Int64Array,
    rate_shift: int,
    predictions: Int64Array,
    losses: Int64Array,
) -> None:
    for sample in range(len(labels)):
        list_pixels(plan, pixels[sample], True, dropout, scratch)
        _forward(plan, weights, biases, draw, scratch, work)
        predictions[sample] = predict(plan, scratch)
        losses[sample] = loss(plan, labels[sample], scratch)
        if losses[sample] != 0:
            for layer in range(len(plan.blocks) - 1, -1, -1):
                if layer > 0:
                    _backward(plan, weights, layer, scratch, work)
                _update(plan, weights, biases, update, rate_shift, layer, scratch, work)


@jit
def _train_16(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    update: npt.NDArray[np.uint64],
    dropout: npt.NDArray[np.uint64],
    scratch: Scratch,
    pixels: npt.NDArray[np.uint16],
    labels: Int64Array,
    rate_shift: int,
    predictions: Int64Array,
    losses: Int64Array,
) -> None:
    _train(
        plan, weights, biases, draw, update, dropout, scratch, scratch.narrow,
        pixels, labels, rate_shift, predictions, losses,
    )  # fmt: skip


@jit
def _train_64(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    update: npt.NDArray[np.uint64],
    dropout: npt.NDArray[np.uint64],
    scratch: Scratch,
    pixels: npt.NDArray[np.uint16],
    labels: Int64Array,
    rate_shift: int,
    predictions: Int64Array,
    losses: Int64Array,
) -> None:
    _train(
        plan, weights, biases, draw, update, dropout, scratch, scratch.wide,
        pixels, labels, rate_shift, predictions, losses,
    )  # fmt: skip


def train(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    update: npt.NDArray[np.uint64],
    dropout: npt.NDArray[np.uint64],
    scratch: Scratch,
    pixels: npt.NDArray[np.uint16],
    labels: Int64Array,
    rate_shift: int,
    predictions: Int64Array,
    losses: Int64Array,
) -> None:
    """Learn from samples, one by one and in order."""
    # Two kernels: most users never need the second, and compiling takes its time.
    kernel = _train_16 if plan.narrow else _train_64
    kernel(
        plan, weights, biases, draw, update, dropout, scratch,
        pixels, labels, rate_shift, predictions, losses,
    )  # fmt: skip
