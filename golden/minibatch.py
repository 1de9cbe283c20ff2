"""Minibatch training: one draw of every weight serves a batch of samples (contract, section 12).

The kernel here takes any parameters: plain loops over 64-bit integers. Where the widths allow it,
:mod:`golden.packed` computes the same bits many times faster.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from golden.accumulate import accumulate
from golden.connect import binary, ternary
from golden.gradient import bias_increment, hidden_delta
from golden.jit import jit, part, unit
from golden.layout import Layout
from golden.loss import argmax, logit, output_delta
from golden.parameters import Parameters
from golden.plan import Int64Array, Plan
from golden.quantize import nearest, stochastic
from golden.random_source import low_bits, next_state, top_bits
from golden.relu import relu
from golden.rounding import rounding
from golden.update import clip


class BatchScratch(NamedTuple):
    """What the kernel computes of one batch of at most ``B = 2**batch_bits`` samples.

    Attributes:
        inputs: ``h`` of every layer's inputs, int64, shape (layers, B, most inputs of a layer).
        drawn: ``T``, int16, in the order of the weights.
        sums: ``z`` of the layer in hand, int64, shape (B, most blocks of a layer, P).
        delta: ``d``, int64, shape (B, block rows, P); 0 in padding lanes.
        factors: ``2**e`` (or what stands for it) of the layer in hand, int64, shape (B, most
            inputs of a layer); 0 where there is no update.
        random: Rounding number ``r`` of each lane, int64, shape (P,).
        gradient: ``G`` of a row, int64, shape (P,).
    """

    inputs: Int64Array
    drawn: npt.NDArray[np.int16]
    sums: Int64Array
    delta: Int64Array
    factors: Int64Array
    random: Int64Array
    gradient: Int64Array

    @classmethod
    def of(cls, parameters: Parameters) -> "BatchScratch":
        """Make room for one batch."""
        p = parameters
        layout = Layout.of(p)
        batch = 1 << p.batch_bits
        return cls(
            inputs=np.zeros((p.depth, batch, max(p.layers[:-1])), np.int64),
            drawn=np.zeros((layout.rows, p.lanes), np.int16),
            sums=np.zeros((batch, max(layout.blocks), p.lanes), np.int64),
            delta=np.zeros((batch, layout.block_rows, p.lanes), np.int64),
            factors=np.zeros((batch, max(p.layers[:-1])), np.int64),
            random=np.zeros(p.lanes, np.int64),
            gradient=np.zeros(p.lanes, np.int64),
        )


@part
def dropped(plan: Plan, value: int, dropout: npt.NDArray[np.uint64]) -> int:
    """Return a training pixel after input dropout; a live one takes a word (section 11)."""
    n = plan.input_dropout_bits
    if n == 0 or value == 0:
        return value
    word = dropout[0]
    dropout[0] = next_state(word, plan.random_width)
    return 0 if top_bits(word, plan.random_width, n) == 0 else value


@unit
def factor(plan: Plan, value: int, random: int) -> int:
    """Return what stands for an input ``x >= 1`` in the update: a power of two, ``x`` or 0.

    Args:
        plan: The rule of the quantizer and the bounds of its exponent.
        value: ``x``.
        random: ``Q``, for the stochastic quantizer.
    """
    if not plan.quantizes:
        return value
    e = stochastic(value, random) if plan.stochastic_quantizer else nearest(value)
    return 0 if e < plan.min_exponent else 1 << min(e, plan.max_exponent)


@part
def take(
    plan: Plan, sources: npt.NDArray[np.uint64], bits: int, shift: int, random: Int64Array
) -> None:
    """Take one word of every source; leave the rounding number ``r`` of each lane in ``random``."""
    width = plan.random_width
    for lane in range(plan.lanes):
        word = sources[plan.lane_source[lane]]
        random[lane] = rounding(top_bits(word, width, bits), bits, shift)
    for source in range(len(sources)):
        sources[source] = next_state(sources[source], width)


@part
def _forward(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    scratch: BatchScratch,
    layer: int,
    samples: int,
) -> None:
    """Draw the weights of a layer and leave its sums in ``scratch`` (sections 5, 6 and 12)."""
    lanes, bits, shift = plan.lanes, plan.draw_bits, plan.draw_shift
    inputs, drawn, sums, random = scratch.inputs, scratch.drawn, scratch.sums, scratch.random
    for lane in range(lanes):
        random[lane] = rounding(0, 0, shift)
    for block in range(plan.blocks[layer]):
        block_row = plan.block_base[layer] + block
        for b in range(samples):
            for lane in range(lanes):
                bias = biases[block_row, lane] << plan.draw_fraction_bits
                sums[b, block, lane] = bias >> plan.bias_fraction_bits
        for j in range(plan.sizes[layer]):
            row = plan.row_base[layer] + block * plan.sizes[layer] + j
            if bits != 0:
                take(plan, draw, bits, shift, random)
            for lane in range(lanes):
                if plan.binary_connect:
                    t = binary(weights[row, lane], random[lane], plan.fraction_bits)
                else:
                    t = ternary(weights[row, lane], random[lane], shift)
                drawn[row, lane] = t
            for b in range(samples):
                value = inputs[layer, b, j]
                for lane in range(lanes):
                    sums[b, block, lane] = accumulate(sums[b, block, lane], drawn[row, lane], value)


@part
def _backward(plan: Plan, scratch: BatchScratch, layer: int, samples: int) -> None:
    """Leave the deltas of a layer's inputs in ``scratch`` (section 8)."""
    lanes, inputs, drawn, delta = plan.lanes, scratch.inputs, scratch.drawn, scratch.delta
    for b in range(samples):
        for j in range(plan.sizes[layer]):
            partial = 0
            for block in range(plan.blocks[layer]):
                row = plan.row_base[layer] + block * plan.sizes[layer] + j
                block_row = plan.block_base[layer] + block
                for lane in range(lanes):
                    partial += drawn[row, lane] * delta[b, block_row, lane]
            d = hidden_delta(partial, plan.backward_shifts[layer], plan.hidden_delta_max)
            if inputs[layer, b, j] == 0:
                d = 0
            delta[b, plan.block_base[layer - 1] + j // lanes, j % lanes] = d


@part
def _update(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    update: npt.NDArray[np.uint64],
    rate_shift: int,
    scratch: BatchScratch,
    layer: int,
    samples: int,
) -> None:
    """Add the gradients of a batch to the weights and biases of a layer (section 12)."""
    lanes, k = plan.lanes, plan.update_shifts[layer] + rate_shift
    factors, delta, random = scratch.factors, scratch.delta, scratch.random
    gradient = scratch.gradient
    for b in range(samples):
        for j in range(plan.sizes[layer]):
            value = scratch.inputs[layer, b, j]
            factors[b, j] = 0
            if value != 0:
                q = 0
                if plan.stochastic_quantizer:
                    q = low_bits(update[0], plan.activation_bits - 1)
                    for source in range(len(update)):
                        update[source] = next_state(update[source], plan.random_width)
                factors[b, j] = factor(plan, value, q)
    for block in range(plan.blocks[layer]):
        block_row = plan.block_base[layer] + block
        for j in range(plan.sizes[layer]):
            row = plan.row_base[layer] + block * plan.sizes[layer] + j
            take(plan, update, plan.update_bits, k, random)
            for lane in range(lanes):
                gradient[lane] = 0
            for b in range(samples):
                for lane in range(lanes):
                    gradient[lane] += delta[b, block_row, lane] * factors[b, j]
            for lane in range(lanes):
                increment = (gradient[lane] + random[lane]) >> k
                weights[row, lane] = clip(weights[row, lane] + increment, plan.weight_max)
        for lane in range(lanes):
            total = 0
            for b in range(samples):
                total += delta[b, block_row, lane]
            increment = bias_increment(total, plan.bias_shift + rate_shift)
            biases[block_row, lane] = clip(biases[block_row, lane] + increment, plan.bias_max)


@jit
def train_batches(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    update: npt.NDArray[np.uint64],
    dropout: npt.NDArray[np.uint64],
    scratch: BatchScratch,
    pixels: npt.NDArray[np.uint16],
    labels: Int64Array,
    rate_shift: int,
    predictions: Int64Array,
    losses: Int64Array,
) -> None:
    """Learn from samples in batches, in order; the last batch takes what is left."""
    lanes, last = plan.lanes, len(plan.blocks) - 1
    inputs, sums, delta = scratch.inputs, scratch.sums, scratch.delta
    batch = inputs.shape[1]
    for first in range(0, len(labels), batch):
        samples = min(batch, len(labels) - first)
        for b in range(samples):
            for j in range(plan.sizes[0]):
                inputs[0, b, j] = dropped(plan, int(np.int64(pixels[first + b, j])), dropout)
        for layer in range(last + 1):
            _forward(plan, weights, biases, draw, scratch, layer, samples)
            if layer < last:
                shift = plan.forward_shifts[layer]
                for b in range(samples):
                    for i in range(plan.sizes[layer + 1]):
                        z = sums[b, i // lanes, i % lanes]
                        inputs[layer + 1, b, i] = relu(z, shift, plan.activation_max)
        some = False
        for b in range(samples):
            z = sums[b].reshape(-1)
            predictions[first + b] = argmax(z[: plan.sizes[-1]])
            loss = 0
            for i in range(plan.sizes[-1]):
                o = logit(z[i], plan.forward_shifts[last])
                is_label = i == labels[first + b]
                d = output_delta(o, is_label, plan.margin, plan.output_delta_max)
                delta[b, plan.block_base[last] + i // lanes, i % lanes] = d
                loss += d * d
            losses[first + b] = loss
            some |= loss != 0
        if some:
            for layer in range(last, 0, -1):
                _backward(plan, scratch, layer, samples)
            for layer in range(last, -1, -1):
                _update(plan, weights, biases, update, rate_shift, scratch, layer, samples)
