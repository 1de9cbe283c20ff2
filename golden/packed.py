"""Minibatch training at the speed of the vector unit: the bits of :mod:`golden.minibatch`.

Weights, activations and deltas are 16-bit integers, sums are of 32 bits, and the three matrix
products of a batch run in :mod:`golden.vector`. :func:`fits` tells from the derived widths whether
nothing can overflow. Samples stand innermost, in *groups* of one tile's columns. Units stand in
blocks of ``lanes``: the lanes of the contract, padded to whole tiles.

Three things are left out because they change nothing: pairs of inputs that are 0 in every sample of
the batch are neither drawn nor added up, rows of weights whose inputs are all 0 are not updated
(``(0 + r) >> K = 0``), and samples without a delta are not learnt from. Random words are taken all
the same.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from golden.aligned import aligned_zeros
from golden.formats import Formats
from golden.gradient import bias_increment, hidden_delta
from golden.jit import jit, part, unit
from golden.layout import Layout
from golden.loss import argmax, logit, output_delta
from golden.parameters import Parameters
from golden.plan import Int64Array, Plan
from golden.random_source import low_bits, next_state, top_bits
from golden.relu import relu
from golden.rounding import rounding
from golden.update import clip
from golden.vector import (
    ROWS,
    Int16Array,
    Int32Array,
    backward_product,
    columns,
    forward_product,
    gradient_product,
    padded,
    right_shift,
)

#: Inputs and lanes are padded to a multiple of this, whole tiles of whatever shape.
_ALIGNMENT = 2 * ROWS

#: Rows of weights whose gradients are worked out at a time: they stay in the first-level cache.
_GRADIENT_ROWS = 2 * ROWS


def fits(parameters: Parameters) -> bool:
    """Return whether 16-bit operands and 32-bit sums hold everything, whatever the samples.

    The operands are weights and deltas, which are of 16 bits at most, activations and what stands
    for them in the update; the sums are ``z``, ``p``, and ``G + r``, whose part ``>> K`` is added
    to a weight.
    """
    p = parameters
    formats = Formats.of(p)
    k = max(p.update_shifts) + p.max_rate_shift
    largest = p.activation_max
    if p.quantizer != "none":
        largest = max(largest, 1 << min(p.activation_bits, p.max_exponent))
    update = (1 << (formats.gradient_bits - 1)) + (1 << k) + p.weight_max
    return (
        largest < 1 << 15
        and formats.sum_bits <= 32
        and formats.partial_bits <= 32
        and update < 1 << 31
        # There are no vectors without the compiler.
        and not vars(numba.config)["DISABLE_JIT"]
    )


class PackedScratch(NamedTuple):
    """What the kernel computes of one batch of at most ``B = 2**batch_bits`` samples.

    ``G`` groups of ``C`` samples hold the batch; places beyond it hold anything, but their deltas
    are 0. ``N`` is the most inputs of a layer, even; ``U`` the most units, padded block by block.

    Attributes:
        batch: ``B``, in an int64 array of one entry.
        inputs: ``h``, int16, shape (layers, G, N, C).
        input_pairs: Live pairs of inputs of the layer in hand, int32, shape (G, N / 2, C).
        live: Whether an input of the pair, or of the row, is not 0 in some sample, bool, (N,).
        drawn_pairs: ``T`` of a block, int32, shape (N / 2, lanes and one tile): a row for each live
            pair of inputs.
        drawn: ``T`` of all layers but the first, int16, shape (inputs, most blocks, lanes).
        start: What sums start with, int32.
        zero: Zeros, int32.
        sums: ``z`` of a block, int32, shape (G, lanes, C).
        logits: ``z`` of the last layer, int64, shape (G * C, classes).
        partial: ``p`` of a layer's inputs, int32, shape (G, N and more, C).
        delta: ``d``, int16, shape (layers, G, U, C).
        delta_pairs: Pairs of units' deltas, int32, shape (G, U / 2, C).
        delta_samples: Pairs of samples' deltas, int32, shape (tiles of lanes, G * C / 2, lanes of
            a tile).
        factors: ``2**e`` (or what stands for it), int16, shape (N and more, G * C).
        gradient: ``G`` of some rows, or with one source ``G + r``, int32, shape (rows, lanes).
        random: Rounding numbers ``r`` of some rows, int32, shape (rows, lanes).
        by_source: Rounding number ``r`` of each source, int32, shape (S,).
    """

    batch: Int64Array
    inputs: Int16Array
    input_pairs: Int32Array
    live: npt.NDArray[np.bool_]
    drawn_pairs: Int32Array
    drawn: Int16Array
    start: Int32Array
    zero: Int32Array
    sums: Int32Array
    logits: Int64Array
    partial: Int32Array
    delta: Int16Array
    delta_pairs: Int32Array
    delta_samples: Int32Array
    factors: Int16Array
    gradient: Int32Array
    random: Int32Array
    by_source: Int32Array

    @classmethod
    def of(cls, parameters: Parameters) -> "PackedScratch":
        """Make room for one batch."""
        p = parameters
        blocks = max(Layout.of(p).blocks)
        batch = 1 << p.batch_bits
        width = columns(batch)
        groups = -(-batch // width)
        inputs = padded(max(p.layers[:-1]), 2)
        # A block of few lanes is a tile of one vector.
        lanes = padded(p.lanes, ROWS if p.lanes <= ROWS else _ALIGNMENT)
        tile = columns(lanes)
        most = padded(max(inputs, lanes), _ALIGNMENT)
        return cls(
            batch=np.array([batch], np.int64),
            inputs=aligned_zeros((p.depth, groups, inputs, width), np.int16),
            input_pairs=aligned_zeros((groups, inputs // 2, width), np.int32),
            live=np.zeros(inputs, np.bool_),
            drawn_pairs=aligned_zeros((inputs // 2, lanes + ROWS), np.int32),
            drawn=aligned_zeros(
                (sum(padded(size, _ALIGNMENT) for size in p.layers[1:-1]), blocks, lanes), np.int16
            ),
            start=aligned_zeros((most,), np.int32),
            zero=aligned_zeros((most,), np.int32),
            sums=aligned_zeros((groups, lanes, width), np.int32),
            logits=np.zeros((groups * width, p.layers[-1]), np.int64),
            partial=aligned_zeros((groups, most, width), np.int32),
            delta=aligned_zeros((p.depth, groups, blocks * lanes, width), np.int16),
            delta_pairs=aligned_zeros((groups, blocks * lanes // 2, width), np.int32),
            delta_samples=aligned_zeros(
                (blocks * lanes // tile, groups * width // 2, tile), np.int32
            ),
            factors=aligned_zeros((most, groups * width), np.int16),
            gradient=aligned_zeros((_GRADIENT_ROWS, lanes), np.int32),
            random=aligned_zeros((_GRADIENT_ROWS, lanes), np.int32),
            by_source=np.zeros(p.random_sources, np.int32),
        )


@unit
def pair(first: int, second: int) -> int:
    """Return two 16-bit integers in one 32-bit word."""
    return (first & 0xFFFF) | (second << 16)


@part
def _show(
    plan: Plan,
    pixels: npt.NDArray[np.uint16],
    dropout: npt.NDArray[np.uint64],
    scratch: PackedScratch,
) -> None:
    """Take the pixels of a batch, after input dropout (section 11)."""
    inputs, n, random_width = scratch.inputs, plan.input_dropout_bits, plan.random_width
    width = inputs.shape[3]
    for sample in range(len(pixels)):
        g, b = sample // width, sample % width
        for j in range(plan.sizes[0]):
            inputs[0, g, j, b] = pixels[sample, j]
        if n != 0:
            for j in range(plan.sizes[0]):
                if inputs[0, g, j, b] != 0:
                    word = dropout[0]
                    dropout[0] = next_state(word, random_width)
                    if top_bits(word, random_width, n) == 0:
                        inputs[0, g, j, b] = 0


@part
def _pack_inputs(scratch: PackedScratch, layer: int, size: int) -> int:
    """Pair the inputs of a layer, list the live pairs and return their number."""
    inputs, pairs, live = scratch.inputs, scratch.input_pairs, scratch.live
    groups, _, width = pairs.shape
    if size % 2 != 0:
        for g in range(groups):
            for b in range(width):
                inputs[layer, g, size, b] = 0
    count = 0
    for k in range((size + 1) // 2):
        some = 0
        for g in range(groups):
            for b in range(width):
                first, second = inputs[layer, g, 2 * k, b], inputs[layer, g, 2 * k + 1, b]
                some |= first | second
                pairs[g, count, b] = pair(first, second)
        live[k] = some != 0
        count += some != 0
    return count


@part
def _forward(
    plan: Plan,
    weights: Int16Array,
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    scratch: PackedScratch,
    layer: int,
    first_drawn: int,
) -> None:
    """Draw the weights of a layer, add up, and leave activations or logits in ``scratch``."""
    lanes, bits, shift, size = plan.lanes, plan.draw_bits, plan.draw_shift, plan.sizes[layer]
    drawn, drawn_pairs, random = scratch.drawn, scratch.drawn_pairs, scratch.random
    by_source, start, sums, live = scratch.by_source, scratch.start, scratch.sums, scratch.live
    groups, _, columns = sums.shape
    width = plan.random_width
    several = len(draw) > 1 and bits != 0
    offset = 1 << plan.fraction_bits if plan.binary_connect else 0
    count = _pack_inputs(scratch, layer, size)
    for block in range(plan.blocks[layer]):
        first_row = plan.row_base[layer] + block * size
        packed = 0
        for k in range((size + 1) // 2):
            row = first_row + 2 * k
            r_first = r_second = rounding(0, 0, shift)
            if bits != 0:
                for source in range(len(draw)):
                    word = draw[source]
                    draw[source] = next_state(word, width)
                    r_first = rounding(top_bits(word, width, bits), bits, shift)
                    by_source[source] = r_first
                if several and live[k]:
                    for lane in range(lanes):
                        random[0, lane] = by_source[plan.lane_source[lane]]
                if 2 * k + 1 < size:
                    for source in range(len(draw)):
                        word = draw[source]
                        draw[source] = next_state(word, width)
                        r_second = rounding(top_bits(word, width, bits), bits, shift)
                        by_source[source] = r_second
                    if several and live[k]:
                        for lane in range(lanes):
                            random[1, lane] = by_source[plan.lane_source[lane]]
            if not live[k]:
                continue
            # A last input without a partner is paired with itself; its own pair of inputs has a 0.
            other = row + 1 if 2 * k + 1 < size else row
            if several:
                for lane in range(lanes):
                    first = weights[row, lane] + (random[0, lane] + offset)
                    second = weights[other, lane] + (random[1, lane] + offset)
                    drawn_pairs[packed, lane] = pair(
                        right_shift(first, shift), right_shift(second, shift)
                    )
            else:
                r_first += offset
                r_second += offset
                for lane in range(lanes):
                    drawn_pairs[packed, lane] = pair(
                        right_shift(weights[row, lane] + r_first, shift),
                        right_shift(weights[other, lane] + r_second, shift),
                    )
            if plan.binary_connect:
                for lane in range(lanes):
                    word = drawn_pairs[packed, lane]
                    drawn_pairs[packed, lane] = pair(2 * (word & 1) - 1, 2 * (word >> 16) - 1)
            if layer > 0:
                place = first_drawn + 2 * k
                for lane in range(lanes):
                    drawn[place, block, lane] = drawn_pairs[packed, lane]
                for lane in range(lanes):
                    drawn[place + 1, block, lane] = drawn_pairs[packed, lane] >> 16
            packed += 1
        for lane in range(lanes):
            bias = biases[plan.block_base[layer] + block, lane] << plan.draw_fraction_bits
            start[lane] = bias >> plan.bias_fraction_bits
        forward_product(drawn_pairs, start, scratch.input_pairs, sums, count)
        units = min(lanes, plan.sizes[layer + 1] - block * lanes)
        if layer + 1 == len(plan.blocks):
            for g in range(groups):
                for lane in range(units):
                    for b in range(columns):
                        scratch.logits[g * columns + b, block * lanes + lane] = sums[g, lane, b]
        else:
            scale = plan.forward_shifts[layer]
            for g in range(groups):
                z = sums[g].reshape(-1)
                h = scratch.inputs[layer + 1, g].reshape(-1)[block * lanes * columns :]
                for place in range(units * columns):
                    h[place] = relu(z[place], scale, plan.activation_max)


@part
def _pack_deltas(plan: Plan, scratch: PackedScratch, layer: int, groups: int) -> None:
    """Pair the deltas of a layer, both by units and by samples."""
    delta, pairs, samples = scratch.delta, scratch.delta_pairs, scratch.delta_samples
    width, tile = pairs.shape[2], samples.shape[2]
    units = plan.blocks[layer] * scratch.sums.shape[1]
    for g in range(groups):
        if layer > 0:
            for u in range(units // 2):
                for b in range(width):
                    first, second = delta[layer, g, 2 * u, b], delta[layer, g, 2 * u + 1, b]
                    pairs[g, u, b] = pair(first, second)
        for t in range(units // tile):
            for b in range(width // 2):
                for lane in range(tile):
                    first = delta[layer, g, t * tile + lane, 2 * b]
                    second = delta[layer, g, t * tile + lane, 2 * b + 1]
                    samples[t, g * width // 2 + b, lane] = pair(first, second)


@part
def _backward(
    plan: Plan, scratch: PackedScratch, layer: int, first_drawn: int, groups: int
) -> None:
    """Leave the deltas of a layer's inputs in ``scratch``."""
    lanes, size, partial = plan.lanes, plan.sizes[layer], scratch.partial[:groups]
    _, padded_lanes, width = scratch.sums.shape
    pairs = plan.blocks[layer] * padded_lanes // 2
    backward_product(
        scratch.drawn, first_drawn, scratch.zero, scratch.delta_pairs, partial, size, pairs
    )
    scale = plan.backward_shifts[layer]
    for g in range(groups):
        for block in range(plan.blocks[layer - 1]):
            p = partial[g].reshape(-1)[block * lanes * width :]
            h = scratch.inputs[layer, g].reshape(-1)[block * lanes * width :]
            d = scratch.delta[layer - 1, g].reshape(-1)[block * padded_lanes * width :]
            for place in range(min(lanes, size - block * lanes) * width):
                total = p[place] if h[place] != 0 else 0
                d[place] = hidden_delta(total, scale, plan.hidden_delta_max)


@unit
def _leading_one(value: int) -> int:
    """Return the largest power of two that is not above ``value``, 0 for 0; below ``2**16``."""
    value |= value >> 1
    value |= value >> 2
    value |= value >> 4
    value |= value >> 8
    return value ^ (value >> 1)


@unit
def _bounded(plan: Plan, power: int) -> int:
    """Return what a power of two is in the update, after the bounds of its exponent."""
    return 0 if power < 1 << plan.min_exponent else min(power, 1 << plan.max_exponent)


@part
def _quantize(
    plan: Plan,
    update: npt.NDArray[np.uint64],
    scratch: PackedScratch,
    layer: int,
    samples: int,
) -> None:
    """Quantize the inputs of a layer, and say which are not 0 throughout (sections 9, 11, 12)."""
    inputs, factors, live, size = scratch.inputs, scratch.factors, scratch.live, plan.sizes[layer]
    width = scratch.sums.shape[2]
    groups = (samples + width - 1) // width
    if plan.stochastic_quantizer:
        for sample in range(samples):
            g, b = sample // width, sample % width
            for j in range(size):
                x = int(inputs[layer, g, j, b])
                power = 0
                if x != 0:
                    one = _leading_one(x)
                    random = low_bits(update[0], plan.activation_bits - 1)
                    power = _leading_one(x + (random & (one - 1)))
                    for source in range(len(update)):
                        update[source] = next_state(update[source], plan.random_width)
                factors[j, sample] = _bounded(plan, power)
    else:
        for j in range(size):
            for g in range(groups):
                row = factors[j, g * width :]
                for b in range(width):
                    x = int(inputs[layer, g, j, b])
                    if plan.quantizes:
                        one = _leading_one(x)
                        x = _bounded(plan, one + (2 * x & one))
                    row[b] = x
    for j in range(size):
        some = 0
        for sample in range(samples):
            some |= factors[j, sample]
        live[j] = some != 0


@part
def _update(
    plan: Plan,
    weights: Int16Array,
    biases: Int64Array,
    update: npt.NDArray[np.uint64],
    rate_shift: int,
    scratch: PackedScratch,
    layer: int,
    samples: int,
) -> None:
    """Add the gradients of a batch to the weights and biases of a layer."""
    lanes, bits, width = plan.lanes, plan.update_bits, plan.random_width
    size, k = plan.sizes[layer], plan.update_shifts[layer] + rate_shift
    lowest, highest = np.int32(-plan.weight_max), np.int32(plan.weight_max)
    gradient, random, start = scratch.gradient, scratch.random, scratch.start
    by_source, live = scratch.by_source, scratch.live
    _, padded_lanes, columns = scratch.sums.shape
    groups = (samples + columns - 1) // columns
    several = len(update) > 1
    tiles = padded_lanes // scratch.delta_samples.shape[2]
    for block in range(plan.blocks[layer]):
        block_row = plan.block_base[layer] + block
        for first in range(0, size, len(gradient)):
            first_row = plan.row_base[layer] + block * size + first
            rows = min(len(gradient), size - first)
            some = False
            for row in range(rows):
                for source in range(len(update)):
                    word = update[source]
                    update[source] = next_state(word, width)
                    r = rounding(top_bits(word, width, bits), bits, k)
                    by_source[source] = r
                if several:
                    start[row] = 0
                    for lane in range(lanes):
                        random[row, lane] = by_source[plan.lane_source[lane]]
                else:
                    start[row] = r
                some |= live[first + row]
            if not some:
                continue
            gradient_product(
                scratch.factors,
                first,
                start,
                scratch.delta_samples,
                block * tiles,
                gradient,
                rows,
                (samples + 1) // 2,
            )
            for row in range(rows):
                if live[first + row]:
                    if several:
                        for lane in range(lanes):
                            gradient[row, lane] += random[row, lane]
                    for lane in range(lanes):
                        increment = right_shift(gradient[row, lane], k)
                        weight = np.int32(weights[first_row + row, lane] + increment)
                        weights[first_row + row, lane] = min(max(weight, lowest), highest)
        for lane in range(lanes):
            total = 0
            for g in range(groups):
                for b in range(columns):
                    total += scratch.delta[layer, g, block * padded_lanes + lane, b]
            increment = bias_increment(total, plan.bias_shift + rate_shift)
            biases[block_row, lane] = clip(biases[block_row, lane] + increment, plan.bias_max)


@part
def _loss(
    plan: Plan,
    labels: Int64Array,
    scratch: PackedScratch,
    predictions: Int64Array,
    losses: Int64Array,
) -> None:
    """Leave predictions and losses, and put the output deltas in the place of the logits."""
    shift = plan.forward_shifts[len(plan.blocks) - 1]
    for sample in range(len(labels)):
        z, total = scratch.logits[sample], 0
        predictions[sample] = argmax(z)
        for i in range(plan.sizes[-1]):
            is_label = i == labels[sample]
            z[i] = output_delta(logit(z[i], shift), is_label, plan.margin, plan.output_delta_max)
            total += z[i] * z[i]
        losses[sample] = total


@part
def _learners(plan: Plan, scratch: PackedScratch, losses: Int64Array) -> int:
    """Say which samples to learn from, bring their inputs and output deltas into place.

    Samples without a delta add nothing to a gradient. Where leaving them out halves the work, the
    others move up to the front. (Not with the stochastic quantizer: it takes their words.)

    Returns:
        The number of samples to learn from, 0 if all deltas are 0.
    """
    last, width, inputs = len(plan.blocks) - 1, scratch.sums.shape[2], scratch.inputs
    count = 0
    for sample in range(len(losses)):
        count += losses[sample] != 0
    everyone = plan.stochastic_quantizer or 2 * count > len(scratch.logits)
    if count == 0:
        return 0
    count = 0
    for sample in range(len(losses)):
        if losses[sample] == 0 and not everyone:
            continue
        g, b, from_g, from_b = count // width, count % width, sample // width, sample % width
        for i in range(plan.sizes[-1]):
            u = i // plan.lanes * scratch.sums.shape[1] + i % plan.lanes
            scratch.delta[last, g, u, b] = scratch.logits[sample, i]
        if count != sample:
            for layer in range(last + 1):
                for j in range(plan.sizes[layer]):
                    inputs[layer, g, j, b] = inputs[layer, from_g, j, from_b]
        count += 1
    for place in range(count, (count + width - 1) // width * width):
        scratch.delta[last, place // width, :, place % width] = 0
    return count


@jit
def train_packed(
    plan: Plan,
    weights: Int16Array,
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    update: npt.NDArray[np.uint64],
    dropout: npt.NDArray[np.uint64],
    scratch: PackedScratch,
    pixels: npt.NDArray[np.uint16],
    labels: Int64Array,
    rate_shift: int,
    predictions: Int64Array,
    losses: Int64Array,
) -> None:
    """Learn from samples in batches, in order; the last batch takes what is left."""
    batch, last = scratch.batch[0], len(plan.blocks) - 1
    for first in range(0, len(labels), batch):
        samples = min(batch, len(labels) - first)
        _show(plan, pixels[first : first + samples], dropout, scratch)
        first_drawn = 0
        for layer in range(last + 1):
            _forward(plan, weights, biases, draw, scratch, layer, first_drawn)
            if layer > 0:
                first_drawn += -(-plan.sizes[layer] // _ALIGNMENT) * _ALIGNMENT
        part = slice(first, first + samples)
        _loss(plan, labels[part], scratch, predictions[part], losses[part])
        learners = _learners(plan, scratch, losses[part])
        if learners > 0:
            groups = (learners + scratch.sums.shape[2] - 1) // scratch.sums.shape[2]
            for layer in range(last, -1, -1):
                _pack_deltas(plan, scratch, layer, groups)
                if layer > 0:
                    first_drawn -= -(-plan.sizes[layer] // _ALIGNMENT) * _ALIGNMENT
                    _backward(plan, scratch, layer, first_drawn, groups)
                _quantize(plan, update, scratch, layer, learners)
                _update(plan, weights, biases, update, rate_shift, scratch, layer, learners)
