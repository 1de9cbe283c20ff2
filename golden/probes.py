"""The probe table: the registers that the lockstep compares on every clock.

One table names each register, its width and the unit that it belongs to. The gateware packs its
registers into one port in this order, first probe in the lowest bits; the clocked golden model
fills one integer column for each word. ``docs/architecture.md`` says what each register holds in
which clock.
"""

from dataclasses import dataclass

from golden.formats import EXTRA_DRAWS_BITS, Formats, unsigned_bits
from golden.layout import Layout
from golden.parameters import Parameters


@dataclass(frozen=True)
class Probe:
    """One probed register, or one register for each lane.

    Attributes:
        name: Register name of ``docs/architecture.md``.
        unit: The unit at fault when this is the first register to differ.
        bits: Width of one word.
        words: Number of words: 1, ``P`` for a register of the lanes, or as the name says.
        signed: Whether a word is two's complement.
        fraction_bits: Fraction bits of a word, for printing.
        stage: Clocks after the issue of the step that the word belongs to; ``None`` for a register
            that belongs to no step of the pipeline.
    """

    name: str
    unit: str
    bits: int
    words: int = 1
    signed: bool = False
    fraction_bits: int = 0
    stage: int | None = None


def tree_depth(lanes: int) -> int:
    """Return the adder tree's depth in clocks, ``T = ceil(log2 P)``."""
    return (lanes - 1).bit_length()


def probe_table(parameters: Parameters) -> list[Probe]:
    """Return the probes of a trainer, in packing order."""
    p = parameters
    formats = Formats.of(p)
    layout = Layout.of(p)
    lanes, depth, tree = p.lanes, p.depth, tree_depth(p.lanes)
    g, f = p.draw_fraction_bits, p.accumulator_fraction_bits
    widest = max(p.layers[:-1])
    index = unsigned_bits(widest - 1)
    count = unsigned_bits(widest)
    row = unsigned_bits(layout.rows)
    inputs = p.layers[0]
    dropout = [Probe("dropout_state", "loader", p.random_width)] if p.input_dropout_bits else []
    exact = p.inference == "exact"
    plane = [Probe("plane", "walker", unsigned_bits(p.planes - 1))] if exact else []

    table = [
        Probe("load_valid", "loader", 1),
        Probe("load_begun", "loader", 1),
        Probe("load_mask", "loader", 1, words=p.pixels_per_beat),
        Probe("load_buffer", "loader", 1),
        Probe("list_open", "loader", 1, words=2),
        Probe("list_closed", "loader", 1, words=2),
        Probe("list_count", "loader", unsigned_bits(inputs), words=2),
        *dropout,
        Probe("in_ready", "loader", 1),
        Probe("state", "walker", 3),
        Probe("pass_index", "walker", EXTRA_DRAWS_BITS),
        Probe("layer", "walker", unsigned_bits(depth - 1)),
        Probe("block", "walker", unsigned_bits(max(layout.blocks) - 1)),
        *plane,
        Probe("position", "walker", count),
        Probe("first", "walker", 1),
        Probe("pending", "walker", 1),
        Probe("gap", "walker", 2),
        Probe("settle", "walker", unsigned_bits(4 + tree)),
        Probe("buffer", "walker", 1),
        Probe("samples", "walker", 32),
        Probe("entry_valid", "list", 1, stage=2),
        Probe("entry_end", "list", 1, stage=2),
        Probe("entry_index", "list", index, stage=2),
        Probe("entry_value", "list", p.activation_bits, stage=2),
        Probe("weight_row", "walker", row, stage=3),
        Probe("draw_state", "random_source", p.random_width, words=p.random_sources, stage=4),
        Probe("update_state", "random_source", p.random_width, words=p.random_sources, stage=4),
        Probe("exponent", "quantize", formats.exponent_bits, stage=5),
        Probe(
            "weight",
            "weights",
            p.weight_bits,
            words=lanes,
            signed=True,
            fraction_bits=p.weight_fraction_bits,
            stage=6,
        ),
        Probe("draw", "connect", 2 + g, words=lanes, signed=True, fraction_bits=g, stage=6),
        Probe("delta", "deltas", formats.delta_bits, words=lanes, signed=True, stage=6),
        Probe(
            "accumulator",
            "accumulate",
            formats.accumulator_bits,
            words=lanes,
            signed=True,
            fraction_bits=f,
            stage=7,
        ),
        Probe(
            "increment",
            "gradient",
            formats.increment_bits,
            words=lanes,
            signed=True,
            stage=8,
        ),
        Probe(
            "new_weight",
            "update",
            p.weight_bits,
            words=lanes,
            signed=True,
            fraction_bits=p.weight_fraction_bits,
            stage=9,
        ),
        Probe("new_bias", "biases", p.bias_bits, signed=True, fraction_bits=p.bias_fraction_bits),
        Probe("drain_busy", "drain", 1),
        Probe("drain_mask", "drain", 1, words=lanes),
        Probe("drain_sum", "drain", formats.accumulator_bits, signed=True, fraction_bits=f),
        Probe("drain_lane", "drain", unsigned_bits(lanes - 1)),
        Probe("e4_valid", "drain", 1),
        Probe("e4_fin", "drain", 1),
        Probe("drain_index", "drain", unsigned_bits(max(p.layers[1:]) - 1)),
    ]
    if depth > 1:
        table += [
            Probe("activation", "relu", p.activation_bits),
            Probe("hidden_count", "drain", unsigned_bits(max(p.layers[1:-1])), words=depth - 1),
            Probe("hidden_closed", "drain", 1, words=depth - 1),
        ]
    table += [
        Probe("output_delta", "loss", p.output_delta_bits, signed=True),
        Probe("logit_sum", "loss", formats.logit_sum_bits, signed=True, fraction_bits=f),
        Probe("best_sum", "loss", formats.logit_sum_bits, signed=True, fraction_bits=f),
        Probe("best_index", "loss", unsigned_bits(p.layers[-1] - 1)),
        Probe("loss_any", "loss", 1),
        Probe("loss_done", "loss", 1),
    ]
    if depth > 1:
        table += [
            Probe(
                "partial",
                "backward",
                formats.partial_bits,
                signed=True,
                fraction_bits=g,
                stage=8 + tree,
            ),
            Probe("hidden_delta", "backward", p.hidden_delta_bits, signed=True, stage=9 + tree),
        ]
    table += [
        Probe("out_valid", "output", 1),
        Probe("out_prediction", "output", unsigned_bits(p.layers[-1] - 1)),
    ]
    return table


def probe_columns(table: list[Probe]) -> list[tuple[Probe, int, int]]:
    """Return ``(probe, word, lowest bit)`` for each word of the packed port, in packing order."""
    columns, low = [], 0
    for probe in table:
        for word in range(probe.words):
            columns.append((probe, word, low))
            low += probe.bits
    return columns


def first_columns(parameters: Parameters) -> dict[str, int]:
    """Return the place in :func:`probe_columns` of each register's first word, by its name."""
    columns: dict[str, int] = {}
    for place, (probe, _, _) in enumerate(probe_columns(probe_table(parameters))):
        columns.setdefault(probe.name, place)
    return columns
