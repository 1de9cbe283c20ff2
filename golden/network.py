"""The functional model: the trainer sample by sample, at the speed of the processor.

What it computes is the contract's, bit for bit (``docs/arithmetic.md``, sections 6 to 11); when
each value appears in the gateware is the clocked model's matter. Arrays keep the gateware's memory
order, so lanes are innermost and contiguous, and the compiler turns every loop over lanes into
vector instructions. For that, hot loops stand in the body of their kernel and index whole arrays:
a row view, or an array handed to a unit, costs more than the work on the row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate as running_sums
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
from golden.quantize import nearest, stochastic
from golden.random_source import low_bits, next_state, top_bits
from golden.relu import relu
from golden.rounding import rounding
from golden.state import State
from golden.update import clip

Int64Array = npt.NDArray[np.int64]

#: Samples between two calls of a progress callback.
CHUNK = 512


class _Plan(NamedTuple):
    """Parameters and memory map as the kernels read them.

    Arrays are int64 and have one entry a layer, but ``sizes`` (one more) and ``lane_source`` (the
    source of each lane). The inputs of a layer stand at ``list_base[layer] ..`` in the arrays over
    all inputs of all layers. ``backward_shifts[0]`` is not used. ``draw_bits`` is 0 when the draw
    is deterministic.
    """

    sizes: Int64Array
    blocks: Int64Array
    row_base: Int64Array
    block_base: Int64Array
    list_base: Int64Array
    forward_shifts: Int64Array
    exact_shifts: Int64Array
    backward_shifts: Int64Array
    update_shifts: Int64Array
    lane_source: Int64Array
    lanes: int
    fraction_bits: int
    bias_fraction_bits: int
    draw_fraction_bits: int
    draw_shift: int
    draw_bits: int
    binary_connect: bool
    stochastic_quantizer: bool
    activation_bits: int
    activation_max: int
    weight_max: int
    bias_max: int
    output_delta_max: int
    hidden_delta_max: int
    margin: int
    bias_shift: int
    update_bits: int
    random_width: int
    input_dropout_bits: int

    @classmethod
    def of(cls, parameters: Parameters) -> "_Plan":
        p = parameters
        layout = Layout.of(p)
        g = p.draw_fraction_bits

        def array(values: object) -> Int64Array:
            return np.array(values, np.int64)

        return cls(
            sizes=array(p.layers),
            blocks=array(layout.blocks),
            row_base=array(layout.row_base),
            block_base=array(layout.block_base),
            list_base=array([0, *running_sums(p.layers[:-2])]),
            forward_shifts=array([shift + g for shift in p.activation_shifts]),
            exact_shifts=array([shift + p.weight_fraction_bits for shift in p.activation_shifts]),
            backward_shifts=array([0, *(shift + g for shift in p.delta_shifts)]),
            update_shifts=array(p.update_shifts),
            lane_source=array([lane % p.random_sources for lane in range(p.lanes)]),
            lanes=p.lanes,
            fraction_bits=p.weight_fraction_bits,
            bias_fraction_bits=p.bias_fraction_bits,
            draw_fraction_bits=g,
            draw_shift=p.draw_shift,
            draw_bits=p.draw_bits if p.draw == "stochastic" else 0,
            binary_connect=p.connect == "binary",
            stochastic_quantizer=p.quantizer == "stochastic",
            activation_bits=p.activation_bits,
            activation_max=p.activation_max,
            weight_max=p.weight_max,
            bias_max=p.bias_max,
            output_delta_max=p.output_delta_max,
            hidden_delta_max=p.hidden_delta_max,
            margin=p.margin,
            bias_shift=p.bias_shift,
            update_bits=p.update_bits,
            random_width=p.random_width,
            input_dropout_bits=p.input_dropout_bits,
        )


class _Scratch(NamedTuple):
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
    def of(cls, parameters: Parameters) -> "_Scratch":
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
def _list_pixels(
    plan: _Plan,
    pixels: npt.NDArray[np.uint16],
    train: bool,
    dropout: npt.NDArray[np.uint64],
    scratch: _Scratch,
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
def _list_units(plan: _Plan, layer: int, shift: int, scratch: _Scratch) -> None:
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
def _predict(plan: _Plan, scratch: _Scratch) -> int:
    """Return the prediction from the sums of the last layer (section 7)."""
    return argmax(scratch.sums.reshape(-1)[: plan.sizes[-1]])


@unit
def _forward(
    plan: _Plan,
    weights: npt.NDArray[np.int32],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    scratch: _Scratch,
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
            _list_units(plan, layer, plan.forward_shifts[layer], scratch)


@unit
def _forward_exact(
    plan: _Plan, weights: npt.NDArray[np.int32], biases: Int64Array, scratch: _Scratch
) -> None:
    """Add up all layers with the weights themselves (section 11)."""
    lanes, sums = plan.lanes, scratch.sums
    for layer in range(len(plan.blocks)):
        base = plan.list_base[layer]
        for block in range(plan.blocks[layer]):
            block_row = plan.block_base[layer] + block
            first_row = plan.row_base[layer] + block * plan.sizes[layer]
            for lane in range(lanes):
                bias = biases[block_row, lane] << plan.fraction_bits
                sums[block, lane] = bias >> plan.bias_fraction_bits
            for entry in range(base, base + scratch.list_count[layer]):
                row = first_row + scratch.list_index[entry]
                value = scratch.list_value[entry]
                for lane in range(lanes):
                    sums[block, lane] = accumulate(sums[block, lane], weights[row, lane], value)
        if layer + 1 < len(plan.blocks):
            _list_units(plan, layer, plan.exact_shifts[layer], scratch)


@unit
def _loss(plan: _Plan, label: int, scratch: _Scratch) -> bool:
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
def _learn(
    plan: _Plan,
    weights: npt.NDArray[np.int32],
    biases: Int64Array,
    update: npt.NDArray[np.uint64],
    rate_shift: int,
    scratch: _Scratch,
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
def _train(
    plan: _Plan,
    weights: npt.NDArray[np.int32],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    update: npt.NDArray[np.uint64],
    dropout: npt.NDArray[np.uint64],
    scratch: _Scratch,
    pixels: npt.NDArray[np.uint16],
    labels: Int64Array,
    rate_shift: int,
    predictions: Int64Array,
    trained: npt.NDArray[np.bool_],
) -> None:
    for sample in range(len(labels)):
        _list_pixels(plan, pixels[sample], True, dropout, scratch)
        _forward(plan, weights, biases, draw, scratch)
        predictions[sample] = _predict(plan, scratch)
        trained[sample] = _loss(plan, labels[sample], scratch)
        if trained[sample]:
            _learn(plan, weights, biases, update, rate_shift, scratch)


@jit
def _evaluate(
    plan: _Plan,
    weights: npt.NDArray[np.int32],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    scratch: _Scratch,
    pixels: npt.NDArray[np.uint16],
    predictions: Int64Array,
) -> None:
    for sample in range(len(pixels)):
        # DRAW is restored after every evaluation sample (section 10).
        draw_copy = draw.copy()
        _list_pixels(plan, pixels[sample], False, draw_copy, scratch)
        _forward(plan, weights, biases, draw_copy, scratch)
        predictions[sample] = _predict(plan, scratch)


@jit
def _infer_exact(
    plan: _Plan,
    weights: npt.NDArray[np.int32],
    biases: Int64Array,
    no_source: npt.NDArray[np.uint64],
    scratch: _Scratch,
    pixels: npt.NDArray[np.uint16],
    predictions: Int64Array,
) -> None:
    for sample in range(len(pixels)):
        _list_pixels(plan, pixels[sample], False, no_source, scratch)
        _forward_exact(plan, weights, biases, scratch)
        predictions[sample] = _predict(plan, scratch)


@dataclass(frozen=True)
class TrainResult:
    """What training on some samples gave, sample by sample.

    Attributes:
        predictions: Predicted classes, before learning from the sample, int64, shape (n,).
        trained: Whether any output delta was not 0, so that the sample changed the weights, bool,
            shape (n,).
    """

    predictions: Int64Array
    trained: npt.NDArray[np.bool_]


class Network:
    """A network that learns from one sample at a time, in the order given.

    Attributes:
        parameters: The network's parameters.
        state: Everything that the trainer remembers; training changes it in place.
    """

    def __init__(self, parameters: Parameters, state: State | None = None) -> None:
        """Start at ``state``, which is not copied, or at the initial state.

        Raises:
            ValueError: If the state is not one of such a network.
        """
        self.parameters = parameters
        self.state = State.initial(parameters) if state is None else state
        self.state.check(parameters)
        self._plan = _Plan.of(parameters)
        self._scratch = _Scratch.of(parameters)

    def train(
        self,
        pixels: npt.NDArray[np.integer],
        labels: npt.NDArray[np.integer],
        rate_shift: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> TrainResult:
        """Learn from samples, online and in order (contract, sections 6 to 10).

        Args:
            pixels: Integers in ``0 .. 2**A - 1``, shape (n, n_0).
            labels: Classes, integers in ``0 .. n_L - 1``, shape (n,).
            rate_shift: Learning-rate shift ``sh``, ``0 .. Parameters.max_rate_shift``.
            progress: Called with the number of samples done, from time to time.

        Raises:
            ValueError: If a shape or a value is out of range; the network is then unchanged.
        """
        pixels = self._checked_pixels(pixels)
        labels = self._checked_labels(labels, len(pixels))
        highest = self.parameters.max_rate_shift
        if not 0 <= rate_shift <= highest:
            raise ValueError(
                f"rate_shift must be in 0..{highest} (the schedule has {highest} entries), "
                f"not {rate_shift}"
            )
        state = self.state
        predictions = np.empty(len(pixels), np.int64)
        trained = np.empty(len(pixels), np.bool_)
        for part in _chunks(len(pixels), progress):
            _train(
                self._plan,
                state.weights,
                state.biases,
                state.draw,
                state.update,
                state.dropout,
                self._scratch,
                pixels[part],
                labels[part],
                rate_shift,
                predictions[part],
                trained[part],
            )
        return TrainResult(predictions, trained)

    def evaluate(
        self, pixels: npt.NDArray[np.integer], progress: Callable[[int], None] | None = None
    ) -> Int64Array:
        """Return the predictions of evaluation samples: one draw each, and no trace stays.

        Args:
            pixels: Integers in ``0 .. 2**A - 1``, shape (n, n_0).
            progress: Called with the number of samples done, from time to time.

        Returns:
            Classes, int64, shape (n,).

        Raises:
            ValueError: If a shape or a value is out of range.
        """
        pixels = self._checked_pixels(pixels)
        predictions = np.empty(len(pixels), np.int64)
        state = self.state
        for part in _chunks(len(pixels), progress):
            _evaluate(
                self._plan,
                state.weights,
                state.biases,
                state.draw,
                self._scratch,
                pixels[part],
                predictions[part],
            )
        return predictions

    def infer_exact(
        self, pixels: npt.NDArray[np.integer], progress: Callable[[int], None] | None = None
    ) -> Int64Array:
        """Return the predictions of the weights themselves, without draws (contract, section 11).

        Args:
            pixels: Integers in ``0 .. 2**A - 1``, shape (n, n_0).
            progress: Called with the number of samples done, from time to time.

        Returns:
            Classes, int64, shape (n,).

        Raises:
            ValueError: If a shape or a value is out of range.
        """
        pixels = self._checked_pixels(pixels)
        predictions = np.empty(len(pixels), np.int64)
        state = self.state
        for part in _chunks(len(pixels), progress):
            _infer_exact(
                self._plan,
                state.weights,
                state.biases,
                state.dropout,
                self._scratch,
                pixels[part],
                predictions[part],
            )
        return predictions

    def _checked_pixels(self, pixels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint16]:
        size, maximum = self.parameters.layers[0], self.parameters.activation_max
        if pixels.ndim != 2 or pixels.shape[1] != size:
            raise ValueError(f"pixels must have the shape (n, {size}), not {pixels.shape}")
        _check_range("pixels", pixels, maximum)
        # Read-only arrays would be compiled for once more.
        return np.require(pixels, np.uint16, ["C", "W"])

    def _checked_labels(self, labels: npt.NDArray[np.integer], samples: int) -> Int64Array:
        if labels.shape != (samples,):
            raise ValueError(
                f"labels must have the shape ({samples},), one a row of pixels, not {labels.shape}"
            )
        _check_range("labels", labels, self.parameters.layers[-1] - 1)
        return np.require(labels, np.int64, ["C", "W"])


def _check_range(name: str, values: npt.NDArray[np.integer], maximum: int) -> None:
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} must be integers, not {values.dtype}")
    if values.size and not (values.min() >= 0 and values.max() <= maximum):
        raise ValueError(f"{name} must be in 0..{maximum}, not {values.min()}..{values.max()}")


def _chunks(samples: int, progress: Callable[[int], None] | None) -> Iterator[slice]:
    """Yield the slices of the chunks of ``samples`` samples; report each when it is done."""
    for start in range(0, samples, CHUNK):
        stop = min(start + CHUNK, samples)
        yield slice(start, stop)
        if progress is not None:
            progress(stop)
