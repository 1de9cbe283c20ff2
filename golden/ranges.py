"""Proved ranges: the interval of every register and every sum, from what its operands can be.

Where :mod:`golden.formats` says how many bits a sum needs, this file says exactly which numbers can
be in it. Every interval follows from those of the operands by the sections of the contract that it
names, for any samples, labels, random bits and learning-rate shifts of the schedule, in training
and in evaluation; the ends of a register's interval may also be its value after a reset.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from golden.formats import EXTRA_DRAWS_BITS
from golden.gradient import bias_increment, half, hidden_delta, weight_increment
from golden.layout import Layout
from golden.loss import logit, output_delta
from golden.parameters import Parameters
from golden.probes import probe_table, tree_depth
from golden.relu import relu
from golden.rounding import rounding

#: Sums that are no registers, in the order of the algorithm: what stands before a shift or a clip.
SUMS = (
    "weight + r",
    "forward sum",
    "sum + 2^s - 1",
    "margin -+ logit",
    "T * delta",
    "tree sum",
    "partial + half",
    "(delta << e) + r",
    "weight + increment",
    "delta + half",
    "bias + increment",
)


@dataclass(frozen=True)
class Range:
    """Numbers that a quantity can be.

    Attributes:
        low: Smallest.
        high: Largest.
        source: Section that the interval follows from.
        proofs: Formal proofs (``docs/formal.md``) by which the gateware keeps to it, or to its
            width.
    """

    low: int
    high: int
    source: str
    proofs: tuple[str, ...] = ()

    def fits(self, bits: int, signed: bool) -> bool:
        """Return whether a format holds all of them."""
        if signed:
            return -(1 << (bits - 1)) <= self.low and self.high < 1 << (bits - 1)
        return self.low >= 0 and self.high < 1 << bits

    def holds(self, low: int, high: int) -> bool:
        """Return whether all from ``low`` to ``high`` are in it."""
        return self.low <= low and high <= self.high


def bits_needed(low: int, high: int, signed: bool) -> int:
    """Return the bits of the smallest format of that kind that holds ``low .. high``.

    Unlike :func:`golden.formats.signed_bits` it lets ``-2**n`` be: 0 bits hold 0.
    """
    return max(high.bit_length(), (~low).bit_length() if low < 0 else 0) + signed


def _union(ranges: Iterable[Range], *, zero: bool = True) -> Range:
    """Return the smallest interval around all, and around 0 unless told."""
    each = list(ranges)
    ends = [end for one in each for end in (one.low, one.high)] + [0] * zero
    return Range(min(ends), max(ends), each[0].source, each[0].proofs)


def sum_ranges(parameters: Parameters) -> dict[tuple[str, int], Range]:
    """Return the range of each of :data:`SUMS` in each layer ``1..L`` that has it.

    A forward sum has ``f`` fraction bits and counts from its bias on, so that the sums on the way
    to ``z`` are in the interval too; with exact inference its planes as well. That the gateware's
    sums are in it is proved formally with drawn weights; those of planes are by section 13 of the
    contract, where ``forward-sum`` proves only that a sum in the interval is right.
    """
    p = parameters
    g, f, depth = p.draw_fraction_bits, p.accumulator_fraction_bits, p.depth
    bits = p.draw_bits if p.draw == "stochastic" else 0
    one = 1 << p.weight_fraction_bits if p.connect == "binary" else 0
    first, last = rounding(0, bits, p.draw_shift), rounding((1 << bits) - 1, bits, p.draw_shift)
    table: dict[tuple[str, int], Range] = {}

    def put(name: str, layer: int, low: int, high: int, source: str, *proofs: str) -> Range:
        table[name, layer] = Range(low, high, f"arithmetic.md, {source}", proofs)
        return table[name, layer]

    for layer in range(1, depth + 1):
        weight = p.weight_max
        put("weight + r", layer, one - weight + first, one + weight + last, "5", "connect")
        # A drawn weight is at most one, which is 2**f of the accumulator's units.
        inputs = p.layers[layer - 1] * p.activation_max << f
        low, high = (
            end << g >> p.bias_fraction_bits << (f - g) for end in (-p.bias_max, p.bias_max)
        )
        if f != g:
            # In the rule exact a bias keeps f fraction bits.
            low = min(low, -p.bias_max << f >> p.bias_fraction_bits)
            high = max(high, p.bias_max << f >> p.bias_fraction_bits)
        z = put("forward sum", layer, low - inputs, high + inputs, "2, 6", "forward-sum")
        shift = p.activation_shifts[layer - 1] + f
        if layer < depth:
            # Only positive sums are drained.
            up = (1 << shift) - 1
            put("sum + 2^s - 1", layer, 1 + up, z.high + up, "6", "relu")
        else:
            ends = [logit(z.low, shift), logit(z.high, shift)]
            both = [p.margin + sign * end for sign in (-1, 1) for end in ends]
            put("margin -+ logit", layer, min(both), max(both), "7", "loss")

    for layer in range(depth, 0, -1):
        delta = _delta_range(p, layer, table)
        largest = max(-delta.low, delta.high)
        if layer > 1:
            product = largest << g
            lanes, units = min(p.lanes, p.layers[layer]), p.layers[layer]
            put("T * delta", layer, -product, product, "8", "select")
            put("tree sum", layer, -lanes * product, lanes * product, "2, 8", "backward-sum")
            rounded = half(p.delta_shifts[layer - 2] + g)
            reach = units * product
            put("partial + half", layer, rounded - reach, rounded + reach, "8", "hidden-delta")
        steps, biases = [], []
        for rate in range(p.max_rate_shift + 1):
            k, shift = p.update_shifts[layer - 1] + rate, p.bias_shift + rate
            ends = [rounding(0, p.update_bits, k)]
            ends += [rounding((1 << p.update_bits) - 1, p.update_bits, k)]
            # The largest activation rounds up to 2**A.
            for d, r in zip((delta.low, delta.high), ends, strict=True):
                total = (d << p.activation_bits) + r
                steps.append((total, weight_increment(d, p.activation_bits, r, k)))
                biases.append((d + half(shift), bias_increment(d, shift)))
        sums, increments = zip(*steps, strict=True)
        put("(delta << e) + r", layer, min(sums), max(sums), "9", "gradient")
        put(
            "weight + increment",
            layer,
            min(increments) - p.weight_max,
            max(increments) + p.weight_max,
            "9",
            "gradient",
            "update-weight",
        )
        sums, increments = zip(*biases, strict=True)
        put("delta + half", layer, min(sums), max(sums), "9", "bias-increment")
        put(
            "bias + increment",
            layer,
            min(increments) - p.bias_max,
            max(increments) + p.bias_max,
            "9",
            "bias-increment",
            "update-bias",
        )
    return {
        (name, layer): table[name, layer]
        for name in SUMS
        for layer in range(1, depth + 1)
        if (name, layer) in table
    }


def _delta_range(p: Parameters, layer: int, sums: dict[tuple[str, int], Range]) -> Range:
    """Return the range of a layer's deltas, of the sums that they are made of."""
    if layer == p.depth:
        z = sums["forward sum", layer]
        shift, m = p.activation_shifts[-1] + p.accumulator_fraction_bits, p.margin
        high = output_delta(logit(z.low, shift), True, m, p.output_delta_max)
        low = output_delta(logit(z.high, shift), False, m, p.output_delta_max)
        return Range(low if p.layers[-1] > 1 else 0, high, "arithmetic.md, 7", ("loss",))
    partial = sums["partial + half", layer + 1]
    shift = p.delta_shifts[layer - 1] + p.draw_fraction_bits
    rounded = half(shift)
    low, high = (
        hidden_delta(end - rounded, shift, p.hidden_delta_max)
        for end in (partial.low, partial.high)
    )
    return Range(low, high, "arithmetic.md, 8", ("hidden-delta",))


def register_ranges(parameters: Parameters) -> dict[str, Range]:
    """Return the range of a word of each register of the probe table.

    A register that this file says nothing of, such as a flag, has the range of its width.
    """
    p = parameters
    depth, layout, sums = p.depth, Layout.of(p), sum_ranges(p)
    widest, draws = max(p.layers[:-1]), 1 << EXTRA_DRAWS_BITS
    states = Range(1, (1 << p.random_width) - 1, "arithmetic.md, 4", ("random-source",))
    weight = Range(-p.weight_max, p.weight_max, "arithmetic.md, 9", ("write-back",))
    bias = Range(-p.bias_max, p.bias_max, "arithmetic.md, 9", ("update-bias",))
    one = 1 << p.draw_fraction_bits
    z = [sums["forward sum", layer] for layer in range(1, depth + 1)]
    logits = Range(z[-1].low * draws, z[-1].high * draws, "arithmetic.md, 7 and 13", ("loss",))
    deltas = [_delta_range(p, layer, sums) for layer in range(1, depth + 1)]
    drawn = Range(-one, one, "arithmetic.md, 5", ("connect",))

    def count(high: int, source: str, *proofs: str) -> Range:
        return Range(0, high, source, proofs)

    known = {
        "list_count": count(p.layers[0], "architecture.md, 4", "loader"),
        "dropout_state": states,
        "state": count(4, "architecture.md, 5"),
        "pass_index": count(draws - 1, "architecture.md, 5"),
        "layer": count(depth - 1, "architecture.md, 5", "walker"),
        "block": count(max(layout.blocks) - 1, "architecture.md, 5", "walker"),
        "plane": count(p.planes - 1, "architecture.md, 5", "walker"),
        "position": count(widest, "architecture.md, 5", "walker"),
        "gap": count(3, "architecture.md, 5", "walker"),
        "settle": count(4 + tree_depth(p.lanes), "architecture.md, 5"),
        "entry_index": count(widest - 1, "architecture.md, 4, 7", "loader", "drain"),
        "entry_value": count(p.activation_max, "arithmetic.md, 2", "relu"),
        "weight_row": count(layout.rows, "architecture.md, 6", "walker"),
        "draw_state": states,
        "update_state": states,
        "exponent": count(p.activation_bits, "arithmetic.md, 9", "quantize"),
        "weight": weight,
        "draw": drawn,
        "delta": _union(deltas),
        "accumulator": _union(z),
        "increment": Range(
            min(sums["weight + increment", each].low for each in range(1, depth + 1))
            + p.weight_max,
            max(sums["weight + increment", each].high for each in range(1, depth + 1))
            - p.weight_max,
            "arithmetic.md, 9",
            ("gradient",),
        ),
        "new_weight": weight,
        "new_bias": bias,
        # Of hidden layers only positive sums are drained.
        "drain_sum": Range(
            min(0, z[-1].low), max(each.high for each in z), z[0].source, z[0].proofs
        ),
        "drain_lane": count(p.lanes - 1, "architecture.md, 7", "drain"),
        "drain_index": count(max(p.layers[1:]) - 1, "architecture.md, 7", "drain"),
        "output_delta": _union([deltas[-1]]),
        "logit_sum": logits,
        "best_sum": logits,
        "best_index": count(p.layers[-1] - 1, "arithmetic.md, 7", "loss"),
        "out_prediction": count(p.layers[-1] - 1, "arithmetic.md, 7", "loss"),
    }
    if depth > 1:
        shifts = [p.activation_shifts[each] + p.accumulator_fraction_bits for each in range(depth)]
        activations = [
            relu(z[each].high, shifts[each], p.activation_max) for each in range(depth - 1)
        ]
        reach = max(
            -table.low + half(p.delta_shifts[layer - 2] + p.draw_fraction_bits)
            for (name, layer), table in sums.items()
            if name == "partial + half"
        )
        known |= {
            "activation": count(max(activations), "arithmetic.md, 6", "relu"),
            "hidden_count": count(max(p.layers[1:-1]), "architecture.md, 7", "drain"),
            "partial": Range(-reach, reach, "arithmetic.md, 2, 8", ("backward-sum",)),
            "hidden_delta": _union(deltas[:-1]),
        }
    return {
        probe.name: known.get(probe.name, Range(0, (1 << probe.bits) - 1, "its width"))
        for probe in probe_table(p)
    }
