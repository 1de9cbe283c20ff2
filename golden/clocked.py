"""The clocked golden model: every probed register of the trainer, on every clock.

It predicts each word of the probe table (:mod:`golden.probes`) and the exact number of clocks,
from ``docs/architecture.md`` (when) and ``docs/arithmetic.md`` (what). Valid and ready of streams
are inputs: fed with the observed ones, the model stays exact under any stall.

A clock is computed from one row of registers into the next: rules read the row ``now``, write the
row ``new``, and what no rule writes is held. So no rule can see a value of the clock that it
computes. A step in flight has one slot of a ring, given at its issue: during clock ``c`` the step
at stage ``s`` is in slot ``(c - s) % RING``. In each clock all memories are read before any write.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from golden.accumulate import accumulate
from golden.booth import booth_digit
from golden.connect import binary, ternary
from golden.formats import EXTRA_DRAWS_BITS
from golden.gradient import bias_increment, hidden_delta, weight_increment
from golden.inference import RULES
from golden.jit import jit, part
from golden.layout import Layout
from golden.loss import logit, output_delta
from golden.parameters import Parameters
from golden.probes import Probe, probe_columns, probe_table, tree_depth
from golden.quantize import nearest, stochastic
from golden.random_source import low_bits, next_state, top_bits
from golden.relu import relu
from golden.rounding import rounding
from golden.state import State
from golden.update import clip

Ints = npt.NDArray[np.int64]

#: Names of the values of the register ``state``, in order.
PHASES = ("FORWARD", "LOSS", "BACKWARD", "SETTLE", "DONE")
FORWARD, LOSS, BACKWARD, SETTLE, DONE = range(5)
BUBBLE, ENTRY, END = range(3)

#: Numbers of the rules of inference that the gateware can have: places in :data:`RULES`.
SAMPLED, THRESHOLDED, EXACT = (RULES.index(rule) for rule in ("sampled", "thresholded", "exact"))

#: Most draws of sampled inference.
MAX_DRAWS = 1 << EXTRA_DRAWS_BITS

#: Slots for steps in flight: a power of two, more than the 9 + T <= 17 stages.
RING = 32

#: Clocks that are run at a time when no columns are kept.
_CHUNK = 1 << 16

#: The last weights are written up to two clocks after the trainer is idle (few lanes: T = 0 or 1).
_LANDING = 3

#: Registers with one word a lane.
_LANE_PROBES = frozenset(
    ["weight", "draw", "delta", "accumulator", "increment", "new_weight", "drain_mask"]
)


class Row(NamedTuple):
    """Column of each register's first word; from ``load_index`` on those that are not probed."""

    load_valid: int
    load_begun: int
    load_mask: int
    load_buffer: int
    list_open: int
    list_closed: int
    list_count: int
    dropout_state: int
    in_ready: int
    state: int
    pass_index: int
    layer: int
    block: int
    plane: int
    position: int
    first: int
    pending: int
    gap: int
    settle: int
    buffer: int
    samples: int
    entry_valid: int
    entry_end: int
    entry_index: int
    entry_value: int
    weight_row: int
    draw_state: int
    update_state: int
    exponent: int
    weight: int
    draw: int
    delta: int
    accumulator: int
    increment: int
    new_weight: int
    new_bias: int
    drain_busy: int
    drain_mask: int
    drain_sum: int
    drain_lane: int
    e4_valid: int
    e4_fin: int
    drain_index: int
    activation: int
    hidden_count: int
    hidden_closed: int
    output_delta: int
    logit_sum: int
    best_sum: int
    best_index: int
    loss_any: int
    loss_done: int
    partial: int
    hidden_delta: int
    out_valid: int
    out_prediction: int
    load_index: int
    load_last: int
    load_pixels: int
    label: int
    train: int
    shift: int
    rule: int
    extra_draws: int
    row_base: int
    block_row: int
    layer_first: int
    trained: int
    drain_layer: int
    drain_block: int
    drain_row: int
    e1_valid: int
    e1_fin: int
    e1_lane: int
    e2_valid: int
    e2_fin: int
    e3_valid: int
    e3_fin: int
    e3_sum: int
    e3_lane: int
    best_valid: int
    b1_valid: int
    b1_unit: int
    b1_delta: int
    b1_bias: int
    b2_valid: int
    b2_unit: int
    b2_bias: int
    b2_increment: int
    b3_valid: int
    b3_unit: int


class Constants(NamedTuple):
    """Numbers of the configuration, int; what can be built in is 0 or 1.

    Widths in bits; shifts and maxima as the contract has them. ``tree`` is the depth of the adder
    tree, ``gap`` and ``settle`` are waits in clocks (section 5).
    """

    lanes: int
    depth: int
    tree: int
    pixels_per_beat: int
    inputs: int
    dropout_bits: int
    sources: int
    random_width: int
    connect_binary: int
    draw_bits: int
    draw_shift: int
    weight_fraction_bits: int
    weight_max: int
    exact: int
    planes: int
    plane_bits: int
    draw_fraction_bits: int
    sum_alignment: int
    bias_max: int
    bias_fraction_bits: int
    bias_shift: int
    activation_bits: int
    activation_max: int
    stochastic_quantizer: int
    update_bits: int
    output_delta_max: int
    hidden_delta_max: int
    margin: int
    gap: int
    settle: int


class Tables(NamedTuple):
    """int64 arrays with one entry a layer; ``source`` has one a lane.

    Shifts include the fraction bits of what is shifted.
    """

    inputs: Ints
    units: Ints
    blocks: Ints
    row_base: Ints
    block_base: Ints
    hidden_base: Ints
    activation_shift: Ints
    delta_shift: Ints
    update_shift: Ints
    source: Ints


class _Memories(NamedTuple):
    """The memories of architecture.md, section 2, the saved states of DRAW, and ``drain_sums``."""

    input_index: Ints
    input_value: Ints
    hidden_index: Ints
    hidden_value: Ints
    weights: npt.NDArray[np.int16]
    biases: Ints
    deltas: Ints
    scratch: Ints
    logits: Ints
    draw_slots: Ints
    drain_sums: Ints


class _Steps(NamedTuple):
    """Steps in flight: int64, one slot of RING each; the last five have a word a lane or source."""

    kind: Ints
    backward: Ints
    layer: Ints
    block: Ints
    rule: Ints
    plane: Ints
    position: Ints
    row_base: Ints
    block_row: Ints
    first: Ints
    layer_first: Ints
    last_block: Ints
    rate_shift: Ints
    entry_index: Ints
    entry_value: Ints
    exponent: Ints
    tree_sum: Ints
    scratch: Ints
    weight: Ints
    delta: Ints
    bias: Ints
    draw_rounding: Ints
    update_rounding: Ints


class _Stream(NamedTuple):
    """The fields of :class:`Transfers`, as the compiled code takes them."""

    pixels: Ints
    first: Ints
    last: Ints
    label: Ints
    train: Ints
    shift: Ints
    rule: Ints
    extra_draws: Ints


@part
def _copy(target: Ints | npt.NDArray[np.int16], source: Ints | npt.NDArray[np.int16]) -> None:
    """Copy the words of one row into another."""
    for i in range(len(target)):
        target[i] = source[i]


@part
def _in_ready(now: Ints, at: Row, c: Constants) -> bool:
    """Return ``in_ready``: a function of the registers of the same clock (section 4)."""
    ready = True
    if now[at.load_valid] != 0:
        left = 0
        for i in range(c.pixels_per_beat):
            left += now[at.load_mask + i]
        ready = left <= 1 and now[at.load_last] == 0
    buffer = now[at.load_buffer]
    return ready and (now[at.load_begun] != 0 or now[at.list_open + buffer] == 0)


@part
def _loader(
    now: Ints, new: Ints, at: Row, c: Constants, memory: _Memories, stream: _Stream, taken: int
) -> None:
    """Load pixels (section 4); ``taken`` is the number of this clock's transfer, or -1."""
    buffer = now[at.load_buffer]
    if now[at.load_valid] != 0:
        lowest = -1
        left = 0
        for i in range(c.pixels_per_beat):
            if now[at.load_mask + i] != 0:
                left += 1
                if lowest < 0:
                    lowest = i
        if left > 0:
            pixel = now[at.load_pixels + lowest]
            listed = True
            if c.dropout_bits > 0 and now[at.train + buffer] != 0:
                word = np.uint64(now[at.dropout_state])
                listed = top_bits(word, c.random_width, c.dropout_bits) != 0
                new[at.dropout_state] = np.int64(next_state(word, c.random_width))
            if listed:
                address = buffer * c.inputs + now[at.list_count + buffer]
                memory.input_index[address] = now[at.load_index] + lowest
                memory.input_value[address] = pixel
                new[at.list_count + buffer] = now[at.list_count + buffer] + 1
            new[at.load_mask + lowest] = 0
        if left <= 1:
            new[at.load_valid] = 0
            if now[at.load_last] != 0:
                new[at.list_closed + buffer] = 1
                new[at.load_buffer] = 1 - buffer
    if taken >= 0:
        index = stream.first[taken]
        new[at.load_valid] = 1
        for i in range(c.pixels_per_beat):
            pixel = stream.pixels[taken, i]
            new[at.load_mask + i] = pixel != 0 and index + i < c.inputs
            if c.dropout_bits > 0 and stream.train[taken] == 0:
                pixel -= pixel >> c.dropout_bits
            new[at.load_pixels + i] = pixel
        new[at.load_index] = index
        new[at.load_last] = stream.last[taken]
        new[at.load_begun] = 1 - stream.last[taken]
        new[at.list_open + buffer] = 1
        new[at.label + buffer] = stream.label[taken]
        new[at.train + buffer] = stream.train[taken]
        new[at.shift + buffer] = stream.shift[taken]
        new[at.rule + buffer] = stream.rule[taken]
        new[at.extra_draws + buffer] = stream.extra_draws[taken]


@part
def _rule(now: Ints, at: Row, c: Constants) -> int:
    """Return the rule of the sample in hand (section 3)."""
    buffer = now[at.buffer]
    rule = now[at.rule + buffer]
    known = rule == THRESHOLDED or (rule == EXACT and c.exact != 0)
    return int(rule) if known and now[at.train + buffer] == 0 else SAMPLED


@part
def _clear_lists_and_loss(new: Ints, at: Row, c: Constants) -> None:
    """Forget what a forward pass left."""
    for hidden in range(c.depth - 1):
        new[at.hidden_count + hidden] = 0
        new[at.hidden_closed + hidden] = 0
    new[at.best_valid] = 0
    new[at.loss_any] = 0
    new[at.loss_done] = 0


@part
def _walker(
    now: Ints,
    new: Ints,
    at: Row,
    c: Constants,
    table: Tables,
    memory: _Memories,
    step: _Steps,
    slot: int,
    out_ready: bool,
) -> None:
    """Issue this clock's step into ``slot`` and walk on (section 5)."""
    state = now[at.state]
    layer = now[at.layer]
    block = now[at.block]
    position = now[at.position]
    first = now[at.first]
    buffer = now[at.buffer]
    rule = _rule(now, at, c)
    if layer == 0:
        count = now[at.list_count + buffer]
        closed = now[at.list_closed + buffer]
    else:
        count = now[at.hidden_count + layer - 1]
        closed = now[at.hidden_closed + layer - 1]
    kind = BUBBLE
    if state == FORWARD:
        if position < count:
            kind = ENTRY
        elif closed != 0 and rule == EXACT and now[at.plane] != c.planes - 1:
            new[at.position] = 0
            new[at.plane] = now[at.plane] + 1
        elif closed != 0 and now[at.pending] == 0:
            kind = END
    elif state == BACKWARD and (first == 0 or now[at.gap] == 0):
        kind = ENTRY if position < count else END
    last_block = block == table.blocks[layer] - 1

    step.kind[slot] = kind
    step.backward[slot] = state == BACKWARD
    step.layer[slot] = layer
    step.block[slot] = block
    step.rule[slot] = rule
    step.plane[slot] = now[at.plane]
    step.position[slot] = position
    step.row_base[slot] = now[at.row_base]
    step.block_row[slot] = now[at.block_row]
    step.first[slot] = first
    step.layer_first[slot] = now[at.layer_first]
    step.last_block[slot] = last_block
    step.rate_shift[slot] = now[at.shift + buffer]
    step.entry_index[slot] = 0
    step.entry_value[slot] = 0
    if kind == ENTRY:
        if layer == 0:
            step.entry_index[slot] = memory.input_index[buffer * c.inputs + position]
            step.entry_value[slot] = memory.input_value[buffer * c.inputs + position]
        else:
            step.entry_index[slot] = memory.hidden_index[table.hidden_base[layer - 1] + position]
            step.entry_value[slot] = memory.hidden_value[table.hidden_base[layer - 1] + position]

    if kind != BUBBLE and state == BACKWARD and first != 0:
        new[at.gap] = c.gap
    elif now[at.gap] != 0:
        new[at.gap] = now[at.gap] - 1
    if kind != BUBBLE:
        new[at.first] = 0
        new[at.layer_first] = 0
    if kind == ENTRY:
        new[at.position] = position + 1
    elif kind == END:
        new[at.position] = 0
        new[at.plane] = 0
        new[at.first] = 1
        new[at.row_base] = now[at.row_base] + table.inputs[layer]
        new[at.block_row] = now[at.block_row] + 1
        new[at.block] = block + 1
        if state == FORWARD:
            new[at.pending] = 1
        if last_block:
            new[at.block] = 0
            new[at.layer_first] = 1
            if state == BACKWARD:
                new[at.state] = SETTLE
                new[at.settle] = c.settle
            elif layer == c.depth - 1:
                new[at.state] = LOSS
            else:
                new[at.layer] = layer + 1

    if now[at.out_valid] != 0 and out_ready:
        new[at.out_valid] = 0
    if state == LOSS:
        again = (
            now[at.train + buffer] == 0
            and rule == SAMPLED
            and now[at.pass_index] != now[at.extra_draws + buffer]
        )
        if now[at.loss_done] != 0 and again:
            new[at.pass_index] = now[at.pass_index] + 1
            new[at.state] = FORWARD
            new[at.layer] = 0
            new[at.row_base] = 0
            new[at.block_row] = 0
            new[at.layer_first] = 0
            _clear_lists_and_loss(new, at, c)
        elif now[at.loss_done] != 0 and (now[at.out_valid] == 0 or out_ready):
            new[at.out_valid] = 1
            new[at.out_prediction] = now[at.best_index]
            if now[at.train + buffer] != 0 and now[at.loss_any] != 0:
                new[at.state] = BACKWARD
                new[at.layer] = c.depth - 1
                new[at.row_base] = table.row_base[c.depth - 1]
                new[at.block_row] = table.block_base[c.depth - 1]
                for s in range(c.sources):
                    memory.draw_slots[c.depth, s] = now[at.draw_state + s]
                new[at.trained] = 1
            else:
                new[at.state] = DONE
    elif state == SETTLE:
        if now[at.settle] != 0:
            new[at.settle] = now[at.settle] - 1
        elif layer == 0:
            new[at.state] = DONE
        else:
            new[at.state] = BACKWARD
            new[at.layer] = layer - 1
            new[at.row_base] = table.row_base[layer - 1]
            new[at.block_row] = table.block_base[layer - 1]
    elif state == DONE:
        new[at.list_open + buffer] = 0
        new[at.list_closed + buffer] = 0
        new[at.list_count + buffer] = 0
        new[at.buffer] = 1 - buffer
        _clear_lists_and_loss(new, at, c)
        new[at.trained] = 0
        new[at.pass_index] = 0
        new[at.layer] = 0
        new[at.row_base] = 0
        new[at.block_row] = 0
        new[at.samples] = now[at.samples] + 1
        new[at.state] = FORWARD
        for s in range(c.sources):
            if now[at.train + buffer] == 0:
                new[at.draw_state + s] = memory.draw_slots[0, s]
            elif now[at.trained] != 0:
                new[at.draw_state + s] = memory.draw_slots[c.depth, s]


@part
def _read_memories(
    clock: int, now: Ints, at: Row, c: Constants, memory: _Memories, step: _Steps
) -> None:
    """Read weights and deltas at s3, biases at s4, scratch at s(5+T) (section 2)."""
    slot = (clock - 3) % RING
    if step.kind[slot] == ENTRY:
        _copy(step.weight[slot], memory.weights[now[at.weight_row]])
        if step.backward[slot] != 0:
            _copy(step.delta[slot], memory.deltas[step.block_row[slot]])
    slot = (clock - 4) % RING
    if step.kind[slot] != BUBBLE and step.backward[slot] == 0:
        _copy(step.bias[slot], memory.biases[step.block_row[slot]])
    slot = (clock - 5 - c.tree) % RING
    if step.kind[slot] == ENTRY and step.backward[slot] != 0 and step.layer[slot] != 0:
        step.scratch[slot] = memory.scratch[step.position[slot]]


@part
def _front(clock: int, now: Ints, new: Ints, at: Row, step: _Steps) -> None:
    """Fill the registers of s2 and s3."""
    slot = (clock - 1) % RING
    new[at.entry_valid] = step.kind[slot] == ENTRY
    new[at.entry_end] = step.kind[slot] == END
    new[at.entry_index] = step.entry_index[slot]
    new[at.entry_value] = step.entry_value[slot]
    slot = (clock - 2) % RING
    new[at.weight_row] = step.row_base[slot] + now[at.entry_index]


@part
def _random_sources(
    clock: int,
    now: Ints,
    new: Ints,
    at: Row,
    c: Constants,
    table: Tables,
    memory: _Memories,
    step: _Steps,
) -> None:
    """Save, restore and step the random sources, and quantize, for the step at s4 (section 6)."""
    slot = (clock - 4) % RING
    if step.kind[slot] == BUBBLE:
        return
    entry = step.kind[slot] == ENTRY
    backward = step.backward[slot] != 0
    layer = step.layer[slot]
    for s in range(c.sources):
        word = now[at.draw_state + s]
        if step.layer_first[slot] != 0:
            if backward:
                word = memory.draw_slots[layer, s]
            else:
                memory.draw_slots[layer, s] = word
        if entry:
            bits = c.draw_bits if step.rule[slot] == SAMPLED else 0
            random = top_bits(np.uint64(word), c.random_width, bits)
            step.draw_rounding[slot, s] = rounding(random, bits, c.draw_shift)
            if bits > 0:
                word = np.int64(next_state(np.uint64(word), c.random_width))
        new[at.draw_state + s] = word
    if not (entry and backward):
        return
    shift = table.update_shift[layer] + step.rate_shift[slot]
    for s in range(c.sources):
        source = np.uint64(now[at.update_state + s])
        random = top_bits(source, c.random_width, c.update_bits)
        step.update_rounding[slot, s] = rounding(random, c.update_bits, shift)
        new[at.update_state + s] = np.int64(next_state(source, c.random_width))
    if c.stochastic_quantizer != 0:
        random = low_bits(np.uint64(now[at.update_state]), c.activation_bits - 1)
        new[at.exponent] = stochastic(step.entry_value[slot], random)
    else:
        new[at.exponent] = nearest(step.entry_value[slot])
    step.exponent[slot] = new[at.exponent]


@part
def _draw_weights(
    clock: int, new: Ints, at: Row, c: Constants, table: Tables, step: _Steps
) -> None:
    """Fill ``weight``, ``draw`` and ``delta`` of s6."""
    slot = (clock - 5) % RING
    lanes = c.lanes
    if step.kind[slot] == ENTRY:
        weight = step.weight[slot]
        random = step.draw_rounding[slot]
        draw = new[at.draw : at.draw + lanes]
        _copy(new[at.weight : at.weight + lanes], weight)
        if step.rule[slot] == EXACT:
            for lane in range(lanes):
                draw[lane] = booth_digit(weight[lane], step.plane[slot], c.plane_bits)
        elif c.connect_binary != 0:
            fraction_bits = c.weight_fraction_bits
            for lane in range(lanes):
                draw[lane] = binary(weight[lane], random[table.source[lane]], fraction_bits)
        else:
            for lane in range(lanes):
                draw[lane] = ternary(weight[lane], random[table.source[lane]], c.draw_shift)
        if step.backward[slot] != 0:
            _copy(new[at.delta : at.delta + lanes], step.delta[slot])


@part
def _accumulate(clock: int, now: Ints, new: Ints, at: Row, c: Constants, step: _Steps) -> None:
    """Fill ``accumulator`` of s7, or sum up the products that enter the adder tree at s7."""
    slot = (clock - 6) % RING
    if step.kind[slot] == BUBBLE:
        return
    lanes = c.lanes
    draw = now[at.draw : at.draw + lanes]
    if step.backward[slot] == 0:
        first = step.first[slot] != 0
        bias = step.bias[slot]
        if step.rule[slot] == EXACT:
            fraction_bits, alignment = c.weight_fraction_bits, 0
            value_shift = c.plane_bits * step.plane[slot]
        else:
            fraction_bits, alignment = c.draw_fraction_bits, c.sum_alignment
            value_shift = c.sum_alignment
        # 0 for an end step.
        value = step.entry_value[slot] << value_shift
        before = now[at.accumulator : at.accumulator + lanes]
        after = new[at.accumulator : at.accumulator + lanes]
        for lane in range(lanes):
            total = before[lane]
            if first:
                total = (bias[lane] << fraction_bits >> c.bias_fraction_bits) << alignment
            after[lane] = accumulate(total, draw[lane], value)
    elif step.kind[slot] == ENTRY:
        delta = now[at.delta : at.delta + lanes]
        total = 0
        for lane in range(lanes):
            total = accumulate(total, draw[lane], delta[lane])
        step.tree_sum[slot] = total


@part
def _update(
    clock: int, now: Ints, new: Ints, at: Row, c: Constants, table: Tables, step: _Steps
) -> None:
    """Fill ``increment`` of s8 and ``new_weight`` of s9."""
    lanes = c.lanes
    slot = (clock - 7) % RING
    if step.kind[slot] == ENTRY and step.backward[slot] != 0:
        delta = step.delta[slot]
        increment = new[at.increment : at.increment + lanes]
        shift = table.update_shift[step.layer[slot]] + step.rate_shift[slot]
        random = step.update_rounding[slot]
        exponent = step.exponent[slot]
        for lane in range(lanes):
            r = random[table.source[lane]]
            increment[lane] = weight_increment(delta[lane], exponent, r, shift)

    slot = (clock - 8) % RING
    if step.kind[slot] == ENTRY and step.backward[slot] != 0:
        increment = now[at.increment : at.increment + lanes]
        weight = step.weight[slot]
        new_weight = new[at.new_weight : at.new_weight + lanes]
        for lane in range(lanes):
            new_weight[lane] = clip(weight[lane] + increment[lane], c.weight_max)


@part
def _update_bias(
    clock: int,
    now: Ints,
    new: Ints,
    at: Row,
    c: Constants,
    table: Tables,
    memory: _Memories,
    step: _Steps,
) -> None:
    """Update the bias of the unit whose delta is written in this clock (section 8)."""
    slot = (clock - 9 - c.tree) % RING
    new[at.b1_valid] = 0
    if _hidden_delta_of(step, slot):
        new[at.b1_valid] = 1
        block_row = table.block_base[step.layer[slot] - 1]
        new[at.b1_unit] = block_row * c.lanes + step.entry_index[slot]
        new[at.b1_delta] = now[at.hidden_delta]
    elif (
        now[at.e4_valid] != 0
        and now[at.drain_layer] == c.depth - 1
        and now[at.train + now[at.buffer]] != 0
    ):
        new[at.b1_valid] = 1
        block_row = table.block_base[c.depth - 1]
        new[at.b1_unit] = block_row * c.lanes + now[at.drain_index]
        new[at.b1_delta] = now[at.output_delta]
    if new[at.b1_valid] != 0:
        unit = new[at.b1_unit]
        new[at.b1_bias] = memory.biases[unit // c.lanes, unit % c.lanes]

    new[at.b2_valid] = now[at.b1_valid]
    if now[at.b1_valid] != 0:
        shift = c.bias_shift + now[at.shift + now[at.buffer]]
        new[at.b2_unit] = now[at.b1_unit]
        new[at.b2_bias] = now[at.b1_bias]
        new[at.b2_increment] = bias_increment(now[at.b1_delta], shift)

    new[at.b3_valid] = now[at.b2_valid]
    if now[at.b2_valid] != 0:
        new[at.b3_unit] = now[at.b2_unit]
        new[at.new_bias] = clip(now[at.b2_bias] + now[at.b2_increment], c.bias_max)


@part
def _backward_sum(
    clock: int, now: Ints, new: Ints, at: Row, c: Constants, table: Tables, step: _Steps
) -> None:
    """Fill ``partial`` and ``hidden_delta``, behind the adder tree."""
    slot = (clock - 7 - c.tree) % RING
    if step.kind[slot] == ENTRY and step.backward[slot] != 0 and step.layer[slot] != 0:
        carried = step.scratch[slot] if step.block[slot] != 0 else 0
        new[at.partial] = step.tree_sum[slot] + carried
    slot = (clock - 8 - c.tree) % RING
    if _hidden_delta_of(step, slot):
        shift = table.delta_shift[step.layer[slot]]
        new[at.hidden_delta] = hidden_delta(now[at.partial], shift, c.hidden_delta_max)


@part
def _hidden_delta_of(step: _Steps, slot: int) -> bool:
    """Return whether the step in ``slot`` ends in a hidden delta."""
    inner = step.backward[slot] != 0 and step.layer[slot] != 0 and step.last_block[slot] != 0
    return bool(step.kind[slot] == ENTRY and inner)


@part
def _drain(
    clock: int,
    now: Ints,
    new: Ints,
    at: Row,
    c: Constants,
    table: Tables,
    memory: _Memories,
    step: _Steps,
) -> None:
    """Name the results of a block (section 7)."""
    layer = now[at.drain_layer]
    output = layer == c.depth - 1
    unit_base = now[at.drain_block] * c.lanes

    new[at.e1_valid] = 0
    new[at.e1_fin] = 0
    if now[at.drain_busy] != 0:
        lowest = -1
        left = 0
        for lane in range(c.lanes):
            if now[at.drain_mask + lane] != 0:
                left += 1
                if lowest < 0:
                    lowest = lane
        if left > 0:
            new[at.e1_valid] = 1
            new[at.e1_lane] = lowest
            new[at.drain_mask + lowest] = 0
        if left <= 1:
            new[at.e1_fin] = 1
            new[at.drain_busy] = 0
            new[at.pending] = 0

    new[at.e2_valid] = now[at.e1_valid]
    new[at.e2_fin] = now[at.e1_fin]
    if now[at.e1_valid] != 0:
        new[at.drain_sum] = memory.drain_sums[now[at.e1_lane]]
        new[at.drain_lane] = now[at.e1_lane]

    new[at.e3_valid] = now[at.e2_valid]
    new[at.e3_fin] = now[at.e2_fin]
    new[at.e3_sum] = now[at.drain_sum]
    new[at.e3_lane] = now[at.drain_lane]

    new[at.e4_valid] = now[at.e3_valid]
    new[at.e4_fin] = now[at.e3_fin]
    if now[at.e3_valid] != 0:
        index = unit_base + now[at.e3_lane]
        total = now[at.e3_sum]
        shift = table.activation_shift[layer]
        new[at.drain_index] = index
        if output:
            is_label = index == now[at.label + now[at.buffer]]
            new[at.output_delta] = output_delta(
                logit(total, shift), is_label, c.margin, c.output_delta_max
            )
            new[at.logit_sum] = total
            if now[at.pass_index] != 0:
                new[at.logit_sum] = memory.logits[index] + total
        else:
            new[at.activation] = relu(total, shift, c.activation_max)

    if now[at.e4_valid] != 0:
        if not output:
            new[at.hidden_count + layer] = now[at.hidden_count + layer] + 1
        else:
            if now[at.output_delta] != 0:
                new[at.loss_any] = 1
            if now[at.best_valid] == 0 or now[at.logit_sum] > now[at.best_sum]:
                new[at.best_sum] = now[at.logit_sum]
                new[at.best_index] = now[at.drain_index]
                new[at.best_valid] = 1
    if now[at.e4_fin] != 0 and now[at.drain_block] == table.blocks[layer] - 1:
        if output:
            new[at.loss_done] = 1
        else:
            new[at.hidden_closed + layer] = 1

    slot = (clock - 7) % RING
    if step.kind[slot] == END and step.backward[slot] == 0:
        layer = step.layer[slot]
        live = table.units[layer] - step.block[slot] * c.lanes
        accumulator = now[at.accumulator : at.accumulator + c.lanes]
        mask = new[at.drain_mask : at.drain_mask + c.lanes]
        for lane in range(c.lanes):
            mask[lane] = lane < live and (layer == c.depth - 1 or accumulator[lane] > 0)
        new[at.drain_busy] = 1
        new[at.drain_layer] = layer
        new[at.drain_block] = step.block[slot]
        new[at.drain_row] = step.block_row[slot]


@part
def _write_memories(
    clock: int, now: Ints, at: Row, c: Constants, table: Tables, memory: _Memories, step: _Steps
) -> None:
    """Write what stands in this clock's registers; the next clock's reads see it (section 2)."""
    slot = (clock - 7) % RING
    if step.kind[slot] == END and step.backward[slot] == 0:
        _copy(memory.drain_sums, now[at.accumulator : at.accumulator + c.lanes])
        row = memory.deltas[step.block_row[slot]]
        for lane in range(c.lanes):
            row[lane] = 0
    slot = (clock - 9) % RING
    if step.kind[slot] == ENTRY and step.backward[slot] != 0:
        row = step.row_base[slot] + step.entry_index[slot]
        _copy(memory.weights[row], now[at.new_weight : at.new_weight + c.lanes])
    if now[at.b3_valid] != 0:
        unit = now[at.b3_unit]
        memory.biases[unit // c.lanes, unit % c.lanes] = now[at.new_bias]
    slot = (clock - 8 - c.tree) % RING
    if step.kind[slot] == ENTRY and step.backward[slot] != 0 and step.layer[slot] != 0:
        memory.scratch[step.position[slot]] = now[at.partial]
    slot = (clock - 9 - c.tree) % RING
    if _hidden_delta_of(step, slot):
        index = step.entry_index[slot]
        row = table.block_base[step.layer[slot] - 1] + index // c.lanes
        memory.deltas[row, index % c.lanes] = now[at.hidden_delta]
    if now[at.e4_valid] != 0:
        layer = now[at.drain_layer]
        index = now[at.drain_index]
        if layer == c.depth - 1:
            memory.deltas[now[at.drain_row], index % c.lanes] = now[at.output_delta]
            memory.logits[index] = now[at.logit_sum]
        else:
            address = table.hidden_base[layer] + now[at.hidden_count + layer]
            memory.hidden_index[address] = index
            memory.hidden_value[address] = now[at.activation]


@jit
def _run(
    rows: Ints,
    row_mask: int,
    clock: int,
    in_valid: npt.NDArray[np.uint8],
    out_ready: npt.NDArray[np.uint8],
    until_idle: bool,
    stream: _Stream,
    taken: int,
    at: Row,
    c: Constants,
    table: Tables,
    memory: _Memories,
    step: _Steps,
) -> tuple[int, int]:
    """Step up to ``len(in_valid)`` clocks; return the clocks stepped and the transfers taken.

    Clock ``t`` is row ``t & row_mask``; the row behind the last one is where the next call starts.
    It stops early at a handshake for which the stream has no transfer. With ``until_idle`` it stops
    in the first clock in which the trainer is idle, and valid is 1 while there are transfers,
    whatever ``in_valid`` says.
    """
    transfers = len(stream.label)
    for t in range(len(in_valid)):
        now = rows[t & row_mask]
        new = rows[(t + 1) & row_mask]
        ready = _in_ready(now, at, c)
        now[at.in_ready] = ready
        valid = in_valid[t] != 0
        if until_idle:
            valid = taken < transfers
            open_lists = now[at.list_open] + now[at.list_open + 1]
            if not valid and now[at.state] == FORWARD and open_lists + now[at.out_valid] == 0:
                return t, taken
        handshake = valid and ready
        if handshake and taken == transfers:
            return t, taken

        _copy(new, now)
        _read_memories(clock + t, now, at, c, memory, step)
        slot = (clock + t) % RING
        _walker(now, new, at, c, table, memory, step, slot, out_ready[t] != 0)
        _front(clock + t, now, new, at, step)
        _random_sources(clock + t, now, new, at, c, table, memory, step)
        _draw_weights(clock + t, new, at, c, table, step)
        _accumulate(clock + t, now, new, at, c, step)
        _update(clock + t, now, new, at, c, table, step)
        _backward_sum(clock + t, now, new, at, c, table, step)
        _update_bias(clock + t, now, new, at, c, table, memory, step)
        _drain(clock + t, now, new, at, c, table, memory, step)
        _write_memories(clock + t, now, at, c, table, memory, step)
        _loader(now, new, at, c, memory, stream, taken if handshake else -1)
        if handshake:
            taken += 1
    return len(in_valid), taken


@dataclass(frozen=True, eq=False)
class Transfers:
    """A part of the input stream ``samples``, in order (section 3).

    Attributes:
        pixels: int64, shape (m, N): the pixels of each transfer, ``0 .. 2**A - 1``.
        first: int64, shape (m,): the number of the first of them, ``0 .. n_0 - 1``.
        last: int64, shape (m,): 1 ends the sample.
        label: int64, shape (m,).
        train: int64, shape (m,): 1 trains on the sample, 0 evaluates it.
        shift: int64, shape (m,): learning-rate shift ``sh``.
        rule: int64, shape (m,): SAMPLED, THRESHOLDED or EXACT; of evaluation samples.
        extra_draws: int64, shape (m,): draws beyond the first, ``K - 1``; of the rule SAMPLED.
    """

    pixels: Ints
    first: Ints
    last: Ints
    label: Ints
    train: Ints
    shift: Ints
    rule: Ints
    extra_draws: Ints

    def __len__(self) -> int:
        return len(self.label)


def transfers_per_sample(parameters: Parameters) -> int:
    """Return the transfers that carry one dense sample, ``ceil(n_0 / N)``."""
    return -(-parameters.layers[0] // parameters.pixels_per_beat)


def transfers(
    parameters: Parameters,
    pixels: npt.ArrayLike,
    labels: npt.ArrayLike,
    train: npt.ArrayLike,
    rate_shift: npt.ArrayLike,
    rule: npt.ArrayLike = SAMPLED,
    draws: npt.ArrayLike = 1,
    sparse: npt.ArrayLike = 0,
) -> Transfers:
    """Cut samples into transfers.

    Dense: all pixels, in words of N; those that the last one of a sample lacks are 0. Sparse: a
    transfer for each pixel that is not 0, as the first of its word, or one of zeros if there is
    none.

    Args:
        parameters: The configuration.
        pixels: Shape (n, n_0), ``0 .. 2**A - 1``.
        labels: Shape (n,), ``0 .. n_L - 1``.
        train: Shape (n,), or one flag for all.
        rate_shift: Learning-rate shift ``sh``, shape (n,), or one for all; ``0 .. max_rate_shift``.
        rule: SAMPLED, THRESHOLDED or EXACT, shape (n,), or one for all; counts for evaluation.
        draws: ``K``, shape (n,), or one for all; ``1 .. MAX_DRAWS``; counts for the rule SAMPLED.
        sparse: Whether a sample is sparse, shape (n,), or one flag for all.

    Raises:
        ValueError: If a shape or a value is out of range.
    """
    p = parameters
    values = np.asarray(pixels, np.int64)
    if values.ndim != 2 or values.shape[1] != p.layers[0]:
        raise ValueError(f"pixels must have the shape (n, {p.layers[0]}), not {values.shape}")
    samples = len(values)
    columns = {}
    for name, given, low, high in (
        ("labels", labels, 0, p.layers[-1] - 1),
        ("train", train, 0, 1),
        ("rate_shift", rate_shift, 0, p.max_rate_shift),
        ("rule", rule, 0, EXACT if p.inference == "exact" else THRESHOLDED),
        ("draws", draws, 1, MAX_DRAWS),
        ("sparse", sparse, 0, 1),
    ):
        column = np.asarray(given, np.int64)
        if column.ndim == 0 and name != "labels":
            column = np.broadcast_to(column, (samples,))
        if column.shape != (samples,):
            raise ValueError(f"{name} must have one entry a sample, {samples}, not {column.shape}")
        _require_range(name, column, low, high)
        columns[name] = column
    _require_range("pixels", values, 0, p.activation_max)
    width, beats = p.pixels_per_beat, transfers_per_sample(p)
    dense, listed = np.flatnonzero(columns["sparse"] == 0), np.flatnonzero(columns["sparse"])
    padded = np.zeros((len(dense), beats * width), np.int64)
    padded[:, : p.layers[0]] = values[dense]
    live = values[listed] != 0
    live[:, 0] |= ~live.any(axis=1)
    row, entry = np.nonzero(live)
    entries = np.zeros((len(row), width), np.int64)
    entries[:, 0] = values[listed[row], entry]
    number = np.concatenate([np.repeat(dense, beats), listed[row]])
    # Stable, so that the words of a sample stay in order.
    order = np.argsort(number, kind="stable")
    number = number[order]
    return Transfers(
        pixels=np.concatenate([padded.reshape(-1, width), entries])[order],
        first=np.concatenate([np.tile(np.arange(beats) * width, len(dense)), entry])[order],
        last=np.append(number[1:] != number[:-1], np.ones(min(1, samples))).astype(np.int64),
        label=columns["labels"][number],
        train=columns["train"][number],
        shift=columns["rate_shift"][number],
        rule=columns["rule"][number],
        extra_draws=columns["draws"][number] - 1,
    )


def _require_range(name: str, values: Ints, low: int, high: int) -> None:
    if values.size and not (values.min() >= low and values.max() <= high):
        raise ValueError(f"{name} must be in {low}..{high}, not {values.min()}..{values.max()}")


def constants(p: Parameters) -> Constants:
    """Return the numbers of a configuration that gateware can train."""
    tree = tree_depth(p.lanes)
    return Constants(
        lanes=p.lanes,
        depth=p.depth,
        tree=tree,
        pixels_per_beat=p.pixels_per_beat,
        inputs=p.layers[0],
        dropout_bits=p.input_dropout_bits,
        sources=p.random_sources,
        random_width=p.random_width,
        connect_binary=int(p.connect == "binary"),
        draw_bits=p.draw_bits if p.draw == "stochastic" else 0,
        draw_shift=p.draw_shift,
        weight_fraction_bits=p.weight_fraction_bits,
        weight_max=p.weight_max,
        exact=int(p.inference == "exact"),
        planes=p.planes,
        plane_bits=p.draw_steps,
        draw_fraction_bits=p.draw_fraction_bits,
        sum_alignment=p.accumulator_fraction_bits - p.draw_fraction_bits,
        bias_max=p.bias_max,
        bias_fraction_bits=p.bias_fraction_bits,
        bias_shift=p.bias_shift,
        activation_bits=p.activation_bits,
        activation_max=p.activation_max,
        stochastic_quantizer=int(p.quantizer == "stochastic"),
        update_bits=p.update_bits,
        output_delta_max=p.output_delta_max,
        hidden_delta_max=p.hidden_delta_max,
        margin=p.margin,
        gap=3,
        settle=4 + tree,
    )


def tables(p: Parameters) -> Tables:
    """Return the tables of a configuration that gateware can train."""
    layout = Layout.of(p)
    g, f = p.draw_fraction_bits, p.accumulator_fraction_bits
    columns = {
        "inputs": p.layers[:-1],
        "units": p.layers[1:],
        "blocks": layout.blocks,
        "row_base": layout.row_base,
        "block_base": layout.block_base,
        "hidden_base": layout.hidden_base,
        "activation_shift": [shift + f for shift in p.activation_shifts],
        # The first layer hands no deltas on.
        "delta_shift": [0, *(shift + g for shift in p.delta_shifts)],
        "update_shift": p.update_shifts,
        "source": [lane % p.random_sources for lane in range(p.lanes)],
    }
    return Tables(**{name: np.array(column, np.int64) for name, column in columns.items()})


def row_places(p: Parameters) -> tuple[Row, int]:
    """Return the place of each register in a row, probed ones first, and the length of a row."""
    words = {"load_pixels": p.pixels_per_beat, "label": 2, "train": 2, "shift": 2}
    words |= {"rule": 2, "extra_draws": 2}
    at: dict[str, int] = {}
    width = 0
    for probe in probe_table(p):
        at[probe.name] = width
        width += probe.words
    for name in Row._fields:
        if name not in at:
            at[name] = width
            width += words.get(name, 1)
    return Row(**at), width


class Clocked:
    """A trainer, clock by clock, from its reset on.

    Feed it the input stream, then run it with the observed handshake signals, both in pieces of any
    length.

    Args:
        parameters: The configuration.
        state: Weights, biases and random sources at reset; copied.
        samples: Where the count of samples starts.

    Attributes:
        parameters: The configuration.
        clock: Clocks stepped since the reset: the number of the next one.
        probed: Columns of a row that are probes.

    Raises:
        ParameterError: If the gateware cannot train such a network.
        ValueError: If the state is not one of such a network.
    """

    def __init__(self, parameters: Parameters, state: State, samples: int = 0) -> None:
        parameters.check_gateware()
        state.check(parameters)
        p = parameters
        layout = Layout.of(p)
        self.parameters = p
        self.clock = 0
        self.probed = len(probe_columns(probe_table(p)))
        self._constants = constants(p)
        self._tables = tables(p)
        self._at, width = row_places(p)
        self._now = np.zeros(width, np.int64)
        self._now[self._at.samples] = samples
        self._now[self._at.first] = 1
        self._now[self._at.layer_first] = 1
        self._source("draw_state")[:] = state.draw
        self._source("update_state")[:] = state.update
        self._source("dropout_state")[:] = state.dropout
        self._memories = _Memories(
            input_index=np.zeros(2 * p.layers[0], np.int64),
            input_value=np.zeros(2 * p.layers[0], np.int64),
            hidden_index=np.zeros(layout.hidden_entries, np.int64),
            hidden_value=np.zeros(layout.hidden_entries, np.int64),
            weights=state.weights.copy(),
            biases=state.biases.copy(),
            deltas=np.zeros((layout.block_rows, p.lanes), np.int64),
            scratch=np.zeros(max(p.layers[1:-1], default=0), np.int64),
            logits=np.zeros(p.layers[-1], np.int64),
            draw_slots=np.zeros((p.depth + 1, p.random_sources), np.int64),
            drain_sums=np.zeros(p.lanes, np.int64),
        )
        words = {"weight": p.lanes, "delta": p.lanes, "bias": p.lanes}
        words |= {"draw_rounding": p.random_sources, "update_rounding": p.random_sources}
        self._steps = _Steps(
            **{
                name: np.zeros((RING, words[name]) if name in words else RING, np.int64)
                for name in _Steps._fields
            }
        )
        self._stream = transfers(p, np.zeros((0, p.layers[0])), [], 0, 0)
        self._taken = 0

    def _source(self, register: str) -> npt.NDArray[np.uint64]:
        """Return a view of the states of a random source."""
        first = getattr(self._at, register)
        sources = 1 if register == "dropout_state" else self.parameters.random_sources
        return self._now[first : first + sources].view(np.uint64)

    @property
    def state(self) -> State:
        """Return a copy of weights, biases and random sources as they stand in the next clock."""
        return State(
            weights=self._memories.weights.copy(),
            biases=self._memories.biases.copy(),
            draw=self._source("draw_state").copy(),
            update=self._source("update_state").copy(),
            dropout=self._source("dropout_state").copy(),
        )

    @property
    def waiting(self) -> int:
        """Transfers that were fed and are not taken yet."""
        return len(self._stream) - self._taken

    def feed(self, part: Transfers, *, drop: bool = False) -> None:
        """Append transfers to the input stream; each handshake of :meth:`run` takes the next one.

        With ``drop``, those that are not taken yet are thrown away.

        Raises:
            ValueError: If they have another number of pixels than the stream.
        """
        beat = self.parameters.pixels_per_beat
        if part.pixels.shape[1:] != (beat,):
            raise ValueError(f"transfers need {beat} pixels each, not {part.pixels.shape[1:]}")
        rest = self._stream
        taken = len(rest) if drop else self._taken
        self._stream = Transfers(
            **{
                name: np.concatenate([getattr(rest, name)[taken:], getattr(part, name)])
                for name in _Stream._fields
            }
        )
        self._taken = 0

    def buffer(self, clocks: int) -> Ints:
        """Return a buffer in which :meth:`run` can work for up to ``clocks`` clocks."""
        return np.empty((clocks + 1, len(self._now)), np.int64)

    def run(
        self,
        in_valid: npt.NDArray[np.uint8],
        out_ready: npt.NDArray[np.uint8],
        buffer: Ints | None = None,
    ) -> Ints:
        """Step ``len(in_valid)`` clocks and return the probed registers during each of them.

        Args:
            in_valid: uint8, ``valid`` of the stream ``samples`` in each clock, as observed.
            out_ready: uint8, ``ready`` of the stream ``predictions`` in each clock, as observed.
            buffer: From :meth:`buffer`, to save the allocation; the result is a view of it.

        Returns:
            int64, shape (clocks, columns of ``probe_columns``). A 64-bit random state is its bit
            pattern.

        Raises:
            ValueError: If the two lengths differ, the buffer is too short, or a handshake finds the
                stream empty.
        """
        clocks = len(in_valid)
        if len(out_ready) != clocks:
            raise ValueError(f"in_valid has {clocks} clocks, but out_ready has {len(out_ready)}")
        rows = self.buffer(clocks) if buffer is None else buffer
        if len(rows) <= clocks:
            raise ValueError(f"the buffer holds {len(rows) - 1} clocks, but {clocks} are to be run")
        first = self.clock
        if self._step(rows, -1, in_valid, out_ready, until_idle=False) < clocks:
            raise ValueError(
                f"in_valid and in_ready are 1 in clock {self.clock}, "
                f"but all transfers are taken: feed more before clock {first} is run"
            )
        return rows[:clocks, : self.probed]

    def clocks_until_idle(self) -> int:
        """Run until nothing is left to do, and return the clocks that it took.

        ``in_valid`` is 1 while transfers remain and ``out_ready`` is always 1. The trainer is idle
        in the first clock in which the stream is empty, ``state`` is FORWARD, no list is open and
        ``out_valid`` is 0; that clock is not counted. Three more clocks are stepped, not counted
        either, so that the last writes are in :attr:`state`.

        Raises:
            ValueError: If the stream ends inside a sample, which could never come to rest.
        """
        left = self._stream.last[self._taken :]
        ended = left[-1] if len(left) else not self._now[self._at.load_begun]
        if not ended:
            raise ValueError("the stream ends inside a sample: feed the rest")
        ones, zeros = np.ones(_CHUNK, np.uint8), np.zeros(_CHUNK, np.uint8)
        rows = self.buffer(1)
        first = self.clock
        while self._step(rows, 1, ones, ones, until_idle=True) == _CHUNK:
            pass
        clocks = self.clock - first
        self._step(rows, 1, zeros[:_LANDING], ones[:_LANDING], until_idle=False)
        return clocks

    def _step(
        self,
        rows: Ints,
        row_mask: int,
        in_valid: npt.NDArray[np.uint8],
        out_ready: npt.NDArray[np.uint8],
        *,
        until_idle: bool,
    ) -> int:
        stream = self._stream
        rows[0] = self._now
        clocks, self._taken = _run(
            rows,
            row_mask,
            self.clock,
            np.ascontiguousarray(in_valid, np.uint8),
            np.ascontiguousarray(out_ready, np.uint8),
            until_idle,
            _Stream(*(getattr(stream, name) for name in _Stream._fields)),
            self._taken,
            self._at,
            self._constants,
            self._tables,
            self._memories,
            self._steps,
        )
        self._now[:] = rows[clocks & row_mask]
        self.clock += clocks
        return clocks


@dataclass(frozen=True)
class Place:
    """Where in the algorithm a probed word of one clock belongs.

    For a register of the step pipeline it is the place of the step at the register's stage; for any
    other register it is where the walker stands.

    Attributes:
        probe: The register.
        word: Number of the word in the register.
        sample: Number of the sample, from 0.
        phase: One of PHASES.
        pass_index: Forward passes of the sample that are complete.
        layer: Layer ``l``, 1..L.
        block: Block of the layer, from 0.
        plane: Booth digit of the weights, from 0.
        step: ``"entry"``, ``"end"`` or ``"bubble"``; empty for a register outside of the pipeline.
        position: Position in the layer's list, from 0.
        column: Input ``j`` of the layer that the step is about, or ``None`` if it is not an entry.
        lane: Lane, or ``None`` for a register that has none.
    """

    probe: Probe
    word: int
    sample: int
    phase: str
    pass_index: int
    layer: int
    block: int
    plane: int
    step: str
    position: int
    column: int | None
    lane: int | None

    def __str__(self) -> str:
        parts = [f"sample {self.sample}", self.phase, f"layer {self.layer}", f"block {self.block}"]
        if self.pass_index:
            parts.insert(1, f"pass {self.pass_index}")
        if self.plane:
            parts.append(f"plane {self.plane}")
        if self.step:
            parts.append(f"{self.step} at position {self.position}")
        if self.column is not None:
            parts.append(f"column {self.column}")
        if self.lane is not None:
            parts.append(f"lane {self.lane}")
        name = self.probe.name
        if self.lane is None and self.probe.words > 1:
            name += f"[{self.word}]"
        return f"{', '.join(parts)}: {name}"


def describe(parameters: Parameters, columns: Ints, clock: int, column: int) -> Place:
    """Return the place of a probed word.

    Args:
        parameters: The configuration.
        columns: Rows of consecutive clocks, of :meth:`Clocked.run` or as observed. The clocks
            before ``clock`` are needed too, as many as the probe's ``stage``, or back to the reset.
        clock: Row of ``columns``.
        column: Column of ``columns``.
    """
    probe, word, _ = probe_columns(probe_table(parameters))[column]
    at, _ = row_places(parameters)
    # A clock before the reset has no step; the walker stood where it stands in the first clock.
    issue = columns[clock if probe.stage is None else max(0, clock - probe.stage)]
    step, entry_column = "", None
    if probe.stage is not None:
        listed = columns[max(0, clock - probe.stage + 2)]
        step = "entry" if listed[at.entry_valid] else "end" if listed[at.entry_end] else "bubble"
        if step == "entry":
            entry_column = int(listed[at.entry_index])
    sample = int(issue[at.samples])
    if probe.unit == "loader" and issue[at.load_buffer] != issue[at.buffer]:
        sample += 1
    return Place(
        probe=probe,
        word=word,
        sample=sample,
        phase=PHASES[issue[at.state]],
        pass_index=int(issue[at.pass_index]),
        layer=int(issue[at.layer]) + 1,
        block=int(issue[at.block]),
        plane=int(issue[at.plane]) if parameters.inference == "exact" else 0,
        step=step,
        position=int(issue[at.position]),
        column=entry_column,
        lane=word if probe.name in _LANE_PROBES else None,
    )
