"""What registers and sums really hold while a network trains, beside what they can hold.

The clocked golden model records every probed register on every clock. Sums before a shift or a clip
are computed here once more from the registers of the step that they belong to, and each is held to
the register that it ends in, so that what is observed is what the model does. A sum over several
steps goes on from what was computed here, not from its register: so an error that stays in the
register differs in every step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from golden.clocked import BACKWARD, FORWARD, Constants, Row, Tables, constants, row_places, tables
from golden.gradient import half
from golden.jit import jit, part
from golden.parameters import Parameters
from golden.probes import Probe, probe_columns, probe_table, tree_depth
from golden.random_source import top_bits
from golden.ranges import SUMS, Range, bits_needed, register_ranges, sum_ranges
from golden.rounding import rounding
from golden.state import State
from golden.update import clip
from sim.clocks import recorded
from sim.data import Dataset

Ints = npt.NDArray[np.int64]

(
    _DRAW, _FORWARD, _RELU, _MARGIN, _PRODUCT, _TREE, _PARTIAL, _GRADIENT, _WEIGHT, _DELTA, _BIAS
) = range(len(SUMS))  # fmt: skip

# Extremes of nothing.
_FARTHEST_LOW, _FARTHEST_HIGH = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class _Samples(NamedTuple):
    """What is trained on, int64: ``label`` by image, ``rate_shift`` by epoch."""

    label: Ints
    rate_shift: Ints


class _Seen(NamedTuple):
    """What was observed.

    Shape (len(SUMS), L): ``low`` and ``high`` of the sums; ``saturated`` says how often what they
    end in did, of ``ended`` times. ``biases`` follows the memory, shape (``block_rows`` * P,).
    ``forward`` has the sums of the block in hand, shape (P,); ``backward`` those of the layer in
    hand, by position in its list, shape (largest hidden size,). ``drain`` is the layer that drains;
    ``wrong`` counts the sums that do not end in the register that they should. ``rounding`` has the
    random numbers of the step in hand, by source.
    """

    low: Ints
    high: Ints
    saturated: Ints
    ended: Ints
    biases: Ints
    forward: Ints
    backward: Ints
    drain: Ints
    wrong: Ints
    rounding: Ints


@jit
def _extremes(rows: Ints, flip: Ints, low: Ints, high: Ints) -> None:
    """Widen the extremes of each column, of words with the bits of ``flip`` flipped."""
    for row in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            value = rows[row, column] ^ flip[column]
            low[column] = min(low[column], value)
            high[column] = max(high[column], value)


@part
def _note(seen: _Seen, name: int, layer: int, low: int, high: int) -> None:
    """Widen the extremes of a sum by those of some."""
    seen.low[name, layer] = min(seen.low[name, layer], low)
    seen.high[name, layer] = max(seen.high[name, layer], high)


@part
def _saturate(seen: _Seen, name: int, layer: int, value: int, maximum: int, register: int) -> None:
    """Count what a sum ends in, and hold it to the register where it does."""
    seen.ended[name, layer] += 1
    seen.saturated[name, layer] += abs(value) > maximum
    seen.wrong[0] += clip(value, maximum) != register


@part
def _roundings(words: Ints, bits: int, shift: int, c: Constants, seen: _Seen) -> None:
    """Fill ``rounding`` with what the words of the random sources become."""
    for source in range(c.sources):
        random = top_bits(np.uint64(words[source]), c.random_width, bits)
        seen.rounding[source] = rounding(random, bits, shift)


@part
def _forward(
    rows: Ints, clock: int, layer: int, at: Row, c: Constants, t: Tables, seen: _Seen
) -> None:
    """Note what a step of the forward pass draws and sums up."""
    if rows[clock, at.first] != 0:
        unit = (t.block_base[layer] + rows[clock, at.block]) * c.lanes
        for lane in range(c.lanes):
            bias = seen.biases[unit + lane] << c.draw_fraction_bits >> c.bias_fraction_bits
            seen.forward[lane] = bias << c.sum_alignment
    draw = rows[clock + 6, at.draw : at.draw + c.lanes]
    accumulator = rows[clock + 7, at.accumulator : at.accumulator + c.lanes]
    # 0 for an end step. Training has no planes: exact inference is for evaluation.
    value = rows[clock + 2, at.entry_value] << c.sum_alignment
    low, high, wrong = _FARTHEST_HIGH, _FARTHEST_LOW, 0
    for lane in range(c.lanes):
        total = seen.forward[lane] + draw[lane] * value
        low = min(low, total)
        high = max(high, total)
        wrong += total != accumulator[lane]
        seen.forward[lane] = total
    _note(seen, _FORWARD, layer, low, high)
    seen.wrong[0] += wrong
    if rows[clock + 2, at.entry_valid] == 0:
        return
    _roundings(rows[clock + 4, at.draw_state :], c.draw_bits, c.draw_shift, c, seen)
    weight = rows[clock + 6, at.weight : at.weight + c.lanes]
    # Of binary connect (contract, section 5).
    one = c.connect_binary << c.weight_fraction_bits
    low, high, wrong = _FARTHEST_HIGH, _FARTHEST_LOW, 0
    for lane in range(c.lanes):
        total = weight[lane] + one + seen.rounding[t.source[lane]]
        low = min(low, total)
        high = max(high, total)
        drawn = total >> c.draw_shift
        if c.connect_binary != 0:
            drawn = 2 * (drawn >= 1) - 1
        wrong += drawn != draw[lane]
    _note(seen, _DRAW, layer, low, high)
    seen.wrong[0] += wrong


@part
def _backward(
    rows: Ints,
    clock: int,
    layer: int,
    at: Row,
    c: Constants,
    t: Tables,
    samples: _Samples,
    seen: _Seen,
) -> None:
    """Note what an entry of the backward pass updates, and what it hands down."""
    rate = samples.rate_shift[rows[clock, at.samples] // len(samples.label)]
    k = t.update_shift[layer] + rate
    exponent = rows[clock + 5, at.exponent]
    live = min(c.lanes, t.units[layer] - rows[clock, at.block] * c.lanes)
    _roundings(rows[clock + 4, at.update_state :], c.update_bits, k, c, seen)
    weight = rows[clock + 6, at.weight : at.weight + live]
    delta = rows[clock + 6, at.delta : at.delta + live]
    increment = rows[clock + 8, at.increment : at.increment + live]
    new_weight = rows[clock + 9, at.new_weight : at.new_weight + live]
    wrong = saturated = 0
    low, high = _FARTHEST_HIGH, _FARTHEST_LOW
    for lane in range(live):
        total = (delta[lane] << exponent) + seen.rounding[t.source[lane]]
        low = min(low, total)
        high = max(high, total)
        wrong += total >> k != increment[lane]
    _note(seen, _GRADIENT, layer, low, high)
    low, high = _FARTHEST_HIGH, _FARTHEST_LOW
    for lane in range(live):
        total = weight[lane] + increment[lane]
        low = min(low, total)
        high = max(high, total)
        saturated += abs(total) > c.weight_max
        wrong += clip(total, c.weight_max) != new_weight[lane]
    _note(seen, _WEIGHT, layer, low, high)
    seen.saturated[_WEIGHT, layer] += saturated
    seen.ended[_WEIGHT, layer] += live
    seen.wrong[0] += wrong
    if layer == 0:
        return
    draw = rows[clock + 6, at.draw : at.draw + live]
    low, high = _FARTHEST_HIGH, _FARTHEST_LOW
    tree = 0
    for lane in range(live):
        product = draw[lane] * delta[lane]
        low = min(low, product)
        high = max(high, product)
        tree += product
    _note(seen, _PRODUCT, layer, low, high)
    _note(seen, _TREE, layer, tree, tree)
    position = rows[clock, at.position]
    if rows[clock, at.block] == 0:
        seen.backward[position] = 0
    seen.backward[position] += tree
    partial = rows[clock + 8 + c.tree, at.partial]
    seen.wrong[0] += seen.backward[position] != partial
    if rows[clock, at.block] == t.blocks[layer] - 1:
        shift = t.delta_shift[layer]
        total = partial + half(shift)
        _note(seen, _PARTIAL, layer, total, total)
        delta = rows[clock + 9 + c.tree, at.hidden_delta]
        _saturate(seen, _PARTIAL, layer, total >> shift, c.hidden_delta_max, delta)
        unit = t.block_base[layer - 1] * c.lanes + rows[clock + 2, at.entry_index]
        _bias(rows, clock + 9 + c.tree, layer - 1, unit, delta, rate, at, c, seen)


@part
def _bias(
    rows: Ints,
    clock: int,
    layer: int,
    unit: int,
    delta: int,
    rate: int,
    at: Row,
    c: Constants,
    seen: _Seen,
) -> None:
    """Note the update of a bias, whose delta is written in ``clock`` (architecture.md, 8)."""
    shift = c.bias_shift + rate
    total = delta + half(shift)
    _note(seen, _DELTA, layer, total, total)
    total = seen.biases[unit] + (total >> shift)
    _note(seen, _BIAS, layer, total, total)
    new_bias = rows[clock + 3, at.new_bias]
    _saturate(seen, _BIAS, layer, total, c.bias_max, new_bias)
    seen.biases[unit] = new_bias


@part
def _drained(
    rows: Ints, clock: int, at: Row, c: Constants, t: Tables, samples: _Samples, seen: _Seen
) -> None:
    """Note what becomes of a sum whose result is there in ``clock`` (architecture.md, 7)."""
    layer = seen.drain[0]
    shift = t.activation_shift[layer]
    total = rows[clock - 2, at.drain_sum]
    if layer < c.depth - 1:
        total += (1 << shift) - 1
        _note(seen, _RELU, layer, total, total)
        activation = rows[clock, at.activation]
        _saturate(seen, _RELU, layer, total >> shift, c.activation_max, activation)
        return
    epoch, image = divmod(rows[clock, at.samples], len(samples.label))
    index = rows[clock, at.drain_index]
    logit = total >> shift
    is_label = index == samples.label[image]
    total = c.margin - logit if is_label else c.margin + logit
    _note(seen, _MARGIN, layer, total, total)
    delta = rows[clock, at.output_delta]
    unclipped = max(0, total) if is_label else -max(0, total)
    _saturate(seen, _MARGIN, layer, unclipped, c.output_delta_max, delta)
    unit = t.block_base[layer] * c.lanes + index
    _bias(rows, clock, layer, unit, delta, samples.rate_shift[epoch], at, c, seen)


@part
def _is_place(rows: Ints, clock: int, entry: bool, at: Row, c: Constants, t: Tables) -> bool:
    """Return whether the network has the place of a step: sums are kept by it."""
    layer = rows[clock, at.layer]
    if layer >= c.depth or rows[clock, at.block] >= t.blocks[layer]:
        return False
    # An end step stands behind its list.
    return bool(rows[clock, at.position] + entry <= t.inputs[layer])


@jit
def _sums(
    rows: Ints, clocks: int, at: Row, c: Constants, t: Tables, samples: _Samples, seen: _Seen
) -> None:
    """Note the sums of the steps that are issued in the first ``clocks`` rows."""
    for clock in range(clocks):
        layer = rows[clock, at.layer]
        entry = rows[clock + 2, at.entry_valid] != 0
        end = rows[clock + 2, at.entry_end] != 0
        forward = rows[clock, at.state] == FORWARD and (entry or end)
        backward = rows[clock, at.state] == BACKWARD and entry
        if (forward or backward) and not _is_place(rows, clock, entry, at, c, t):
            seen.wrong[0] += 1
        elif forward:
            _forward(rows, clock, layer, at, c, t, seen)
            if end:
                # The block before has drained by then.
                seen.drain[0] = layer
        elif backward:
            _backward(rows, clock, layer, at, c, t, samples, seen)
        # In the clock in which the registers of an end step that is issued now begin to drain.
        if rows[clock + 8, at.e4_valid] != 0:
            _drained(rows, clock + 8, at, c, t, samples, seen)


@dataclass(frozen=True)
class Observation:
    """A register, or a sum in one layer: what was observed beside what is proved.

    Attributes:
        name: A register of the probe table, or one of :data:`golden.ranges.SUMS`.
        layer: Layer ``1..L`` of a sum, ``None`` of a register.
        bits: Width of a register; what the proved range of a sum needs.
        signed: Whether that is two's complement.
        proved: What it can be.
        low: Smallest value that was observed.
        high: Largest one; below ``low`` when the sum did not occur.
        saturated: How often what a sum ends in saturated.
        ended: Of how many; 0 where nothing saturates.
    """

    name: str
    layer: int | None
    bits: int
    signed: bool
    proved: Range
    low: int
    high: int
    saturated: int = 0
    ended: int = 0

    @property
    def occurred(self) -> bool:
        """Whether there is an observed value."""
        return self.low <= self.high

    @property
    def unused_bits(self) -> int:
        """Bits of the width that no observed value needed."""
        if not self.occurred:
            return self.bits
        return self.bits - bits_needed(self.low, self.high, self.signed)

    def fault(self) -> str | None:
        """Return what is wrong, in one line."""
        where = self.name if self.layer is None else f"{self.name}, layer {self.layer}"
        proved = self.proved
        if not proved.fits(self.bits, self.signed):
            return f"{where}: proved {proved.low} .. {proved.high} does not fit {self.bits} bits"
        if self.occurred and not proved.holds(self.low, self.high):
            observed = f"{self.low} .. {self.high}"
            return f"{where}: observed {observed}, outside of proved {proved.low} .. {proved.high}"
        return None


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        samples: Training samples.
        clocks: Clocks of these.
        registers: In the order of the probe table.
        sums: In the order of the algorithm, layer by layer.
        wrong: Sums that did not end in the register that they should.
    """

    samples: int
    clocks: int
    registers: list[Observation]
    sums: list[Observation]
    wrong: int

    def faults(self) -> list[str]:
        """Return what is wrong, a line each."""
        found = [each.fault() for each in (*self.registers, *self.sums)]
        lines = [fault for fault in found if fault]
        if self.wrong:
            lines.append(f"{self.wrong} sums do not end in the register that they should")
        return lines


def _is_wide(probe: Probe) -> bool:
    """Return whether a word is the bit pattern of an unsigned one of 64 bits."""
    return probe.bits == 64 and not probe.signed


def audit(
    parameters: Parameters,
    state: State,
    dataset: Dataset,
    samples: int,
    progress: Callable[[int], None],
) -> Audit:
    """Train on samples in order, epoch after epoch, and observe registers and sums.

    Args:
        parameters: The network.
        state: Where it starts.
        dataset: Gives the training images.
        samples: Training samples.
        progress: Called with the samples done.

    Raises:
        ParameterError: If the gateware cannot train such a network.
    """
    table, columns = probe_table(parameters), probe_columns(probe_table(parameters))
    flip = np.array([_FARTHEST_LOW * _is_wide(probe) for probe, _, _ in columns], np.int64)
    low = np.full(len(columns), _FARTHEST_HIGH, np.int64)
    high = np.full(len(columns), _FARTHEST_LOW, np.int64)
    # Registers that are not probed, and those that only deeper networks have, are not looked at.
    at, _ = row_places(parameters)
    c, t = constants(parameters), tables(parameters)
    epochs = range((samples - 1) // len(dataset.train_labels) + 1)
    trained = _Samples(
        label=np.array(dataset.train_labels, np.int64),
        rate_shift=np.array([parameters.rate_shift(epoch) for epoch in epochs], np.int64),
    )
    shape = len(SUMS), parameters.depth
    seen = _Seen(
        low=np.full(shape, _FARTHEST_HIGH, np.int64),
        high=np.full(shape, _FARTHEST_LOW, np.int64),
        saturated=np.zeros(shape, np.int64),
        ended=np.zeros(shape, np.int64),
        biases=state.biases.astype(np.int64).ravel(),
        forward=np.zeros(parameters.lanes, np.int64),
        backward=np.zeros(max(parameters.layers[1:-1], default=0), np.int64),
        drain=np.zeros(1, np.int64),
        wrong=np.zeros(1, np.int64),
        rounding=np.zeros(parameters.random_sources, np.int64),
    )
    # A step ends so many clocks after its issue, in the new bias of its hidden delta.
    behind = 9 + tree_depth(parameters.lanes) + 3 + 1
    window, clocks, done = np.empty((0, len(columns)), np.int64), 0, 0
    for rows in recorded(parameters, state, dataset, parameters.rate_shift):
        window = np.concatenate([window, rows])
        counted = int(np.searchsorted(window[: len(window) - behind, at.samples], samples))
        _sums(window, counted, at, c, t, trained, seen)
        _extremes(window[:counted], flip, low, high)
        clocks += counted
        done = int(window[max(0, counted - 1), at.samples])
        if counted < len(window) - behind:
            break
        window = window[counted:]
        progress(done)
    progress(samples)
    proved = register_ranges(parameters)
    registers = []
    for probe in table:
        first = getattr(at, probe.name)
        words = slice(first, first + probe.words)
        offset = (1 << 63) * _is_wide(probe)
        registers.append(
            Observation(
                probe.name,
                None,
                probe.bits,
                probe.signed,
                proved[probe.name],
                int(low[words].min()) + offset,
                int(high[words].max()) + offset,
            )
        )
    sums = []
    for (name, layer), each in sum_ranges(parameters).items():
        at_sum = SUMS.index(name), layer - 1
        found = (int(array[at_sum]) for array in (seen.low, seen.high, seen.saturated, seen.ended))
        signed = each.low < 0
        bits = bits_needed(each.low, each.high, signed)
        sums.append(Observation(name, layer, bits, signed, each, *found))
    return Audit(samples, clocks, registers, sums, int(seen.wrong[0]))
