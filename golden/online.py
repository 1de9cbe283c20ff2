"""Online training: the kernels of the functional model that learn from one sample at a time.

What they compute is the contract's, bit for bit (``docs/arithmetic.md``, sections 6 to 11); when
each value appears in the gateware is the clocked model's matter. Arrays keep the gateware's memory
order, so lanes are innermost and contiguous, and the compiler turns every loop over lanes into
vector instructions. For that, hot loops stand in the body of their kernel and index whole arrays:
a row view, or an array handed to a unit, costs more than the work on the row.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from golden.accumulate import accumulate
from golden.connect import binary, ternary
from golden.gradient import bias_increment, hidden_delta, weight_increment
from golden.jit import jit, unit
from golden.layout import Layout
from golden.loss import argmax, logit, output_delta
from golden.parameters import Parameters
from golden.plan import Int64Array, Plan
from golden.quantize import nearest, stochastic
from golden.random_source import low_bits, next_state, top_bits
from golden.relu import relu
from golden.rounding import rounding
from golden.update import clip


class Scratch(NamedTuple):
    """What the kernels compute of one sample.

    Attributes:
        list_index: The lists' inputs ``j``, int64, at ``list_base[layer] ..``.
        list_value: Their activations ``h``, int64, likewise.
        list_count: Length of each layer's list, int64.
        sums: ``z`` of the layer in hand, int64, shape (most blocks of a layer, P).
        drawn: ``T``, int8, in the order of the weights; stale in rows that are not in a list.
        delta: ``d``, int64, in the order of the biases; 0 in padding lanes.
        partial: ``p`` for each entry of the list in hand, int64.
        random: Rounding number ``r`` of each lane, int64, shape (P,).
        by_source: Rounding number ``r`` of each source, int64, shape (S,).
    """

    list_index: Int64Array
    list_value: Int64Array
    list_count: Int64Array
    sums: Int64Array
    drawn: npt.NDArray[np.int8]
    delta: Int64Array
    partial: Int64Array
    random: Int64Array
    by_source: Int64Array

    @classmethod
    def of(cls, parameters: Parameters) -> "Scratch":
        """Make room for one sample."""
        p = parameters
        layout = Layout.of(p)
        inputs = sum(p.layers[:-1])
        return cls(
            list_index=np.zeros(inputs, np.int64),
            list_value=np.zeros(inputs, np.int64),
            list_count=np.zeros(p.depth, np.int64),
            sums=np.zeros((max(layout.blocks), p.lanes), np.int64),
            drawn=np.zeros((layout.rows, p.lanes), np.int8),
            delta=np.zeros((layout.block_rows, p.lanes), np.int64),
            partial=np.zeros(max(p.layers[:-1]), np.int64),
            random=np.zeros(p.lanes, np.int64),
            by_source=np.zeros(p.random_sources, np.int64),
        )


@unit
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
    for j in range(len(pixels)):
        value = np.int64(pixels[j])
        if n != 0 and train:
            word = dropout[0]
            dropout[0] = next_state(word, plan.random_width)
            if top_bits(word, plan.random_width, n) == 0:
                value = np.int64(0)
        elif n != 0:
            value -= value >> n
        if value != 0:
            scratch.list_index[count] = j
            scratch.list_value[count] = value
            count += 1
    scratch.list_count[0] = count


@unit
def list_units(plan: Plan, layer: int, shift: int, scratch: Scratch) -> None:
    """List the live units of a hidden layer: the inputs of the next one (section 6)."""
    base = plan.list_base[layer + 1]
    sums = scratch.sums.reshape(-1)
    count = 0
    for i in range(plan.sizes[layer + 1]):
        value = relu(sums[i], shift, plan.activation_max)
        if value != 0:
            scratch.list_index[base + count] = i
            scratch.list_value[base + count] = value
            count += 1
    scratch.list_count[layer + 1] = count


@unit
def predict(plan: Plan, scratch: Scratch) -> int:
    """Return the prediction from the sums of the last layer (section 7)."""
    return argmax(scratch.sums.reshape(-1)[: plan.sizes[-1]])


@unit
def forward(
    plan: Plan,
    weights: npt.NDArray[np.int32],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    scratch: Scratch,
) -> None:
    """Draw and add up all layers (sections 5 and 6); leave the last layer's sums in ``scratch``."""
    lanes, width, bits, shift = plan.lanes, plan.random_width, plan.draw_bits, plan.draw_shift
    sums, drawn, random, by_source = scratch.sums, scratch.drawn, scratch.random, scratch.by_source
    bias_shift = plan.bias_fraction_bits - plan.draw_fraction_bits
    for lane in range(lanes):
        random[lane] = rounding(0, 0, shift)
    for layer in range(len(plan.blocks)):
        base = plan.list_base[layer]
        for block in range(plan.blocks[layer]):
            block_row = plan.block_base[layer] + block
            first_row = plan.row_base[layer] + block * plan.sizes[layer]
            for lane in range(lanes):
                sums[block, lane] = biases[block_row, lane] >> bias_shift
            for entry in range(base, base + scratch.list_count[layer]):
                row = first_row + scratch.list_index[entry]
                value = scratch.list_value[entry]
                if bits != 0:
                    r = 0
                    for source in range(len(draw)):
                        word = draw[source]
                        draw[source] = next_state(word, width)
                        r = rounding(top_bits(word, width, bits), bits, shift)
                        by_source[source] = r
                    if len(draw) == 1:
                        for lane in range(lanes):
                            random[lane] = r
                    else:
                        for lane in range(lanes):
                            random[lane] = by_source[plan.lane_source[lane]]
                if plan.binary_connect:
                    for lane in range(lanes):
                        t = binary(weights[row, lane], random[lane], plan.fraction_bits)
                        drawn[row, lane] = t
                else:
                    for lane in range(lanes):
                        drawn[row, lane] = ternary(weights[row, lane], random[lane], shift)
                for lane in range(lanes):
                    sums[block, lane] = accumulate(sums[block, lane], drawn[row, lane], value)
        if layer + 1 < len(plan.blocks):
            list_units(plan, layer, plan.forward_shifts[layer], scratch)


@unit
def loss(plan: Plan, label: int, scratch: Scratch) -> bool:
    """Leave the output deltas in ``scratch`` and return whether any is not 0 (section 7)."""
    last = len(plan.blocks) - 1
    shift = plan.forward_shifts[last]
    some = False
    for i in range(plan.sizes[last + 1]):
        block, lane = i // plan.lanes, i % plan.lanes
        o = logit(scratch.sums[block, lane], shift)
        d = output_delta(o, i == label, plan.margin, plan.output_delta_max)
        scratch.delta[plan.block_base[last] + block, lane] = d
        some |= d != 0
    return some


@unit
def squared_deltas(plan: Plan, scratch: Scratch) -> int:
    """Return the sum of squares of the output deltas; padding lanes hold 0."""
    total = 0
    for block_row in range(plan.block_base[-1], plan.block_base[-1] + plan.blocks[-1]):
        for lane in range(plan.lanes):
            total += scratch.delta[block_row, lane] * scratch.delta[block_row, lane]
    return total


@unit
def learn(
    plan: Plan,
    weights: npt.NDArray[np.int32],
    biases: Int64Array,
    update: npt.NDArray[np.uint64],
    rate_shift: int,
    scratch: Scratch,
) -> None:
    """Walk back through the layers: hidden deltas and update (sections 8 and 9)."""
    lanes, width, bits = plan.lanes, plan.random_width, plan.update_bits
    drawn, delta, partial = scratch.drawn, scratch.delta, scratch.partial
    random, by_source = scratch.random, scratch.by_source
    for layer in range(len(plan.blocks) - 1, -1, -1):
        base, count = plan.list_base[layer], scratch.list_count[layer]
        k = plan.update_shifts[layer] + rate_shift
        for entry in range(count):
            partial[entry] = 0
        for block in range(plan.blocks[layer]):
            block_row = plan.block_base[layer] + block
            first_row = plan.row_base[layer] + block * plan.sizes[layer]
            for entry in range(count):
                row = first_row + scratch.list_index[base + entry]
                if layer > 0:
                    total = 0
                    for lane in range(lanes):
                        total += drawn[row, lane] * delta[block_row, lane]
                    partial[entry] += total
                value = scratch.list_value[base + entry]
                if plan.stochastic_quantizer:
                    exponent = stochastic(value, low_bits(update[0], plan.activation_bits - 1))
                else:
                    exponent = nearest(value)
                r = 0
                for source in range(len(update)):
                    word = update[source]
                    update[source] = next_state(word, width)
                    r = rounding(top_bits(word, width, bits), bits, k)
                    by_source[source] = r
                if len(update) == 1:
                    for lane in range(lanes):
                        random[lane] = r
                else:
                    for lane in range(lanes):
                        random[lane] = by_source[plan.lane_source[lane]]
                for lane in range(lanes):
                    increment = weight_increment(delta[block_row, lane], exponent, random[lane], k)
                    weights[row, lane] = clip(weights[row, lane] + increment, plan.weight_max)
            for lane in range(lanes):
                increment = bias_increment(delta[block_row, lane], plan.bias_shift + rate_shift)
                biases[block_row, lane] = clip(biases[block_row, lane] + increment, plan.bias_max)
        if layer > 0:
            below = plan.block_base[layer - 1]
            for block_row in range(below, plan.block_base[layer]):
                for lane in range(lanes):
                    delta[block_row, lane] = 0
            for entry in range(count):
                i = scratch.list_index[base + entry]
                delta[below + i // lanes, i % lanes] = hidden_delta(
                    partial[entry], plan.backward_shifts[layer], plan.hidden_delta_max
                )


@jit
def train(
    plan: Plan,
    weights: npt.NDArray[np.int32],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    update: npt.NDArray[np.uint64],
    dropout: npt.NDArray[np.uint64],
    scratch: Scratch,
    pixels: npt.NDArray[np.uint16],
    labels: Int64Array,
    rate_shift: int,
    predictions: Int64Array,
    trained: npt.NDArray[np.bool_],
    losses: Int64Array,
) -> None:
    """Learn from samples, one by one and in order."""
    for sample in range(len(labels)):
        list_pixels(plan, pixels[sample], True, dropout, scratch)
        forward(plan, weights, biases, draw, scratch)
        predictions[sample] = predict(plan, scratch)
        trained[sample] = loss(plan, labels[sample], scratch)
        losses[sample] = squared_deltas(plan, scratch)
        if trained[sample]:
            learn(plan, weights, biases, update, rate_shift, scratch)
