"""The parameter object, and what is derived from it: widths, memory map, probe table."""

import dataclasses
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden import ParameterError, Parameters
from golden.accumulate import accumulate
from golden.connect import binary, ternary
from golden.formats import EXTRA_DRAWS_BITS, Formats, fixed, signed_bits, unsigned_bits
from golden.gradient import bias_increment, weight_increment
from golden.layout import Layout
from golden.loss import logit
from golden.network import Network
from golden.parameters import named_configurations
from golden.probes import probe_columns, probe_table, tree_depth
from golden.quantize import nearest
from golden.rounding import rounding
from tests.configurations import (
    gateware_parameters,
    minibatch_parameters,
    random_parameters,
    random_samples,
)

SEEDS = range(30)

SMALL: dict[str, Any] = {
    "layers": (6, 5, 4),
    "activation_shifts": (3, 3),
    "delta_shifts": (2,),
    "update_shifts": (9, 9),
}


@pytest.mark.parametrize("seed", SEEDS)
def test_round_trips(seed: int) -> None:
    p = random_parameters(seed)
    assert Parameters.from_toml(p.to_toml()) == p
    assert Parameters.from_dict(p.to_dict()) == p
    assert eval(repr(p), {"Parameters": Parameters}) == p  # noqa: S307  (our own text)
    assert p.replace() == p
    assert hash(p.replace()) == hash(p)


def test_lists_are_taken_as_tuples() -> None:
    assert Parameters(**{k: list(v) for k, v in SMALL.items()}) == Parameters(**SMALL)


#: Field, values just outside of its range, and the message.
FAULTS = [
    ("layers", ((4,), (4,) * 10), r"layers needs 2\.\.9 sizes"),
    ("layers", ((0, 5, 4), (65536, 5, 4)), r"layers\[0\] must be in 1\.\.65535, not "),
    ("layers", ((6, 5.0, 4), (6, True, 4)), r"layers\[1\] must be an integer, not "),
    ("layers", (7, "7"), r"layers must be a list of integers, not "),
    ("lanes", (0, 257), r"lanes must be in 1\.\.256, not "),
    ("lanes", ("8", 8.0, None, True), r"lanes must be an integer, not "),
    ("pixels_per_beat", (0, 65), r"pixels_per_beat must be in 1\.\.64, not "),
    ("weight_bits", (3, 17), r"weight_bits must be in 4\.\.16, not "),
    ("activation_bits", (1, 17), r"activation_bits must be in 2\.\.16, not "),
    ("output_delta_bits", (3, 17), r"output_delta_bits must be in 4\.\.16, not "),
    ("hidden_delta_bits", (3, 17), r"hidden_delta_bits must be in 4\.\.16, not "),
    ("bias_bits", (7, 33), r"bias_bits must be in 8\.\.32, not "),
    ("bias_fraction_bits", (-1, 17), r"bias_fraction_bits must be in 0\.\.16, not "),
    ("activation_shifts", ((-1, 3), (25, 3)), r"activation_shifts\[0\] must be in 0\.\.24, not "),
    ("activation_shifts", ((3,), (3, 3, 3)), r"activation_shifts needs 2 entries, not "),
    ("delta_shifts", ((-1,), (25,)), r"delta_shifts\[0\] must be in 0\.\.24, not "),
    ("delta_shifts", ((), (2, 2)), r"delta_shifts needs 1 entries, not "),
    ("update_shifts", ((9, -1), (9, 32)), r"update_shifts\[1\] must be in 0\.\.31, not "),
    ("update_shifts", ((9,), (9, 9, 9)), r"update_shifts needs 2 entries, not "),
    ("bias_shift", (-1, 10), r"bias_shift must be in 0\.\.9, not "),
    ("margin_bits", (-1, 16), r"margin_bits must be in 0\.\.15, not "),
    ("connect", ("Ternary", "", None), r'connect must be "ternary" or "binary" or "none", not '),
    ("draw", ("random", 1), r'draw must be "stochastic" or "deterministic", not '),
    ("draw_bits", (0, 8), r"draw_bits must be in 1\.\.7, not "),
    ("draw_steps", (0, 3), r"draw_steps must be in 1\.\.2, not "),
    ("inference", ("sampled", True), r'inference must be "drawn" or "exact", not '),
    ("quantizer", ("floor",), r'quantizer must be "nearest" or "stochastic" or "none", not '),
    ("update_bits", (0, 17), r"update_bits must be in 1\.\.16, not "),
    ("random_sources", (0, 9), r"random_sources must be in 1\.\.8, not "),
    ("random_width", (0, 8, 31, 128), r"random_width must be one of \(16, 32, 64\), not "),
    ("schedule", ((3, 3), (4, 3), tuple(range(16))), r"schedule must be at most 15 ascending ep"),
    ("schedule", ((-1,),), r"schedule\[0\] must be in 0\.\.1000000, not -1"),
    ("input_dropout_bits", (-1, 9), r"input_dropout_bits must be in 0\.\.8, not "),
    ("min_exponent", (-1, 17), r"min_exponent must be in 0\.\.16, not "),
    ("max_exponent", (-1, 17), r"max_exponent must be in 0\.\.16, not "),
    ("batch_bits", (-1, 11), r"batch_bits must be in 0\.\.10, not "),
    ("draw_seed", (-1, 2**63), r"draw_seed must be in 0\.\."),
    ("update_seed", (-1, 2**63), r"update_seed must be in 0\.\."),
    ("update_seed", (1,), r"update_seed must differ from draw_seed, both are 1"),
    ("weight_seed", (-1, 2**63), r"weight_seed must be in 0\.\."),
    ("dropout_seed", (-1, 2**63), r"dropout_seed must be in 0\.\."),
]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [(field, value, message) for field, values, message in FAULTS for value in values],
)
def test_out_of_range_field_is_named(field: str, value: object, message: str) -> None:
    with pytest.raises(ParameterError, match=f"^{message}") as caught:
        Parameters(**SMALL | {field: value})
    assert "\n" not in str(caught.value)


def test_every_field_has_a_fault_above() -> None:
    assert {field for field, _, _ in FAULTS} == {f.name for f in dataclasses.fields(Parameters)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"draw_steps": 2, "draw_bits": 7}, r"draw_bits must be in 1\.\.6, not 7"),
        (
            {"draw_steps": 2, "draw_bits": 6, "bias_fraction_bits": 0},
            r"bias_fraction_bits must be ",
        ),
        ({"connect": "binary", "draw_bits": 9}, r"draw_bits must be in 1\.\.8, not 9"),
        ({"min_exponent": 5, "max_exponent": 4}, r"max_exponent must be in 5\.\.16, not 4"),
        ({"connect": "none", "draw_steps": 2}, r"draw_steps must be in 1\.\.1, not 2"),
        ({"connect": "binary", "draw_steps": 2}, r"draw_steps must be in 1\.\.1, not 2"),
        (
            {"quantizer": "stochastic", "random_width": 16, "update_bits": 10},
            r"random_width must hold update_bits \+ activation_bits - 1 = 17 bits",
        ),
    ],
)
def test_fields_that_do_not_fit_together(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=f"^{message}"):
        Parameters(**SMALL | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"lanes": 1, "pixels_per_beat": 64},
        {"lanes": 256, "random_sources": 256, "pixels_per_beat": 1},
        {"weight_bits": 4, "draw_bits": 3, "activation_bits": 2, "output_delta_bits": 4},
        {"weight_bits": 16, "draw_bits": 16, "connect": "binary", "random_width": 16},
        {"activation_bits": 16, "quantizer": "stochastic", "random_width": 32, "update_bits": 16},
        {"bias_bits": 32, "bias_fraction_bits": 16, "margin_bits": 15, "update_shifts": (31, 31)},
        {"layers": (1,) * 9, "activation_shifts": (24,) * 8, "delta_shifts": (24,) * 7,
         "update_shifts": (0,) * 8, "bias_shift": 0, "schedule": tuple(range(15))},
        {"draw_seed": 2**63 - 1, "update_seed": 0, "input_dropout_bits": 8},
    ],
)  # fmt: skip
def test_extremes_are_allowed_and_run(fields: dict[str, Any]) -> None:
    p = Parameters(**SMALL | fields)
    assert Parameters.from_toml(p.to_toml()) == p
    pixels, labels = random_samples(p, 1, 5)
    network = Network(p)
    network.train(pixels, labels, p.max_rate_shift)
    assert np.abs(network.state.weights).max() <= p.weight_max
    assert len(probe_table(p)) > 40


def test_unknown_and_missing_keys_are_named() -> None:
    table = Parameters(**SMALL).to_dict()
    with pytest.raises(ParameterError, match=r"^unknown parameter 'lane'; known are layers, "):
        Parameters.from_dict(table | {"lane": 3})
    del table["layers"]
    with pytest.raises(ParameterError, match=r"^parameter 'layers' is missing$"):
        Parameters.from_dict(table)


def test_load(tmp_path: Path) -> None:
    p = random_parameters(0)
    file = tmp_path / "net.toml"
    file.write_text(p.to_toml())
    assert Parameters.load(str(file)) == p
    assert Parameters.load("digits") == Parameters.named("digits")
    file.write_text("layers = [")
    with pytest.raises(ParameterError, match=rf"^{re.escape(str(file))}: not a TOML document: "):
        Parameters.load(str(file))
    file.write_text(p.to_toml().replace(f"lanes = {p.lanes}\n", "lanes = 0\n"))
    with pytest.raises(ParameterError, match=rf"^{re.escape(str(file))}: lanes must be in 1\.\."):
        Parameters.load(str(file))
    file.write_bytes(b"\xff")
    with pytest.raises(ParameterError, match=r"^cannot read "):
        Parameters.load(str(file))
    with pytest.raises(ParameterError, match=r"^cannot read "):
        Parameters.load(str(tmp_path / "none.toml"))
    with pytest.raises(
        ParameterError, match=r"^no configuration 'mnist'; there are digits, ecp5-25f"
    ):
        Parameters.load("mnist")


def test_shipped_configurations_are_valid() -> None:
    assert named_configurations() == [
        "digits",
        "ecp5-25f",
        "ecp5-45f",
        "ecp5-85f",
        "mnist-paper",
        "mnist-small",
    ]
    for name in named_configurations():
        assert Parameters.named(name).depth >= 1


def test_schedule_halves_the_learning_rate() -> None:
    p = Parameters(**SMALL, schedule=(2, 5, 6))
    assert [p.rate_shift(epoch) for epoch in range(8)] == [0, 0, 1, 1, 1, 2, 3, 3]
    assert p.max_rate_shift == 3


def test_fixed_point_printing() -> None:
    assert fixed(-96, 7) == "-96 (-0.75)"
    assert fixed(3, 0) == "3"


def test_bits_of_a_bound() -> None:
    for bound in range(1, 2000):
        bits = signed_bits(bound)
        assert bound <= 2 ** (bits - 1) - 1 < 2 * bound
        assert 2 ** (unsigned_bits(bound) - 1) <= bound < 2 ** unsigned_bits(bound)
    assert (signed_bits(0), unsigned_bits(0)) == (1, 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_operands_at_their_extremes_stay_in_format(seed: int) -> None:
    """The largest sums, products and increments that operands in range can give fit their width."""
    p = gateware_parameters(seed)
    formats, g, f = Formats.of(p), p.draw_fraction_bits, p.accumulator_fraction_bits

    def fits(value: int, bits: int) -> bool:
        return -(1 << (bits - 1)) <= value < 1 << (bits - 1)

    if p.connect == "binary":
        draws = [binary(w, r, p.weight_fraction_bits)
                 for w, r in ((p.weight_max, 2**p.draw_shift - 1), (-p.weight_max, 0))]  # fmt: skip
    else:
        draws = [ternary(w, r, p.draw_shift)
                 for w, r in ((p.weight_max, 2**p.draw_shift - 1), (-p.weight_max, 0))]  # fmt: skip
    assert draws == [1 << g, -(1 << g)]
    for draw, bias in zip(draws, (p.bias_max, -p.bias_max), strict=True):
        for layer, inputs in enumerate(p.layers[:-1]):
            z = accumulate(bias >> (p.bias_fraction_bits - g), draw, inputs * p.activation_max)
            assert fits(z, formats.sum_bits)
            largest = draw * (inputs * p.activation_max << f - g)
            total = accumulate(bias << f >> p.bias_fraction_bits, 1, largest)
            assert fits(total, formats.accumulator_bits)
            if layer == p.depth - 1:
                assert fits(total << EXTRA_DRAWS_BITS, formats.logit_sum_bits)
                assert fits(logit(z, p.activation_shifts[-1] + g), formats.logit_bits)
        for layer in range(p.depth):
            last = layer == p.depth - 1
            maximum = p.output_delta_max if last else p.hidden_delta_max
            assert fits(maximum, formats.delta_bits)
            assert fits(draw * maximum, formats.product_bits)
            if layer > 0:
                assert fits(draw * maximum * p.layers[layer + 1], formats.partial_bits)
            for delta in (maximum, -maximum):
                k = p.update_shifts[layer]
                for random_bits in (0, 2**p.update_bits - 1):
                    r = rounding(random_bits, p.update_bits, k)
                    step = weight_increment(delta, nearest(p.activation_max), r, k)
                    assert fits(step, formats.increment_bits)
                assert fits(bias_increment(delta, p.bias_shift), formats.bias_increment_bits)
    assert nearest(p.activation_max) < 1 << formats.exponent_bits


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_of_a_batch_at_their_extremes_stay_in_format(seed: int) -> None:
    """The bound is the largest delta times the largest quantized input, for every sample."""
    p = minibatch_parameters(seed).replace(min_exponent=0)
    delta = max(p.output_delta_max, p.hidden_delta_max if p.depth > 1 else 0)
    if p.quantizer == "none":
        factor = p.activation_max
    else:
        factor = 2 ** min(nearest(p.activation_max), p.max_exponent)
    largest = sum(delta * factor for _ in range(2**p.batch_bits))
    bits = Formats.of(p).gradient_bits
    assert 2 ** (bits - 2) <= largest < 2 ** (bits - 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_formats_are_no_wider_than_needed(seed: int) -> None:
    """The bound of the sum is reached but for the two LSBs that section 2 allows for the bias."""
    p = gateware_parameters(seed)
    g = p.draw_fraction_bits
    bias = p.bias_max >> (p.bias_fraction_bits - g)
    largest = max(p.layers[:-1]) * p.activation_max * (1 << g) + bias
    assert signed_bits(largest) <= Formats.of(p).sum_bits <= signed_bits(largest + 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_layout_is_the_contracts(seed: int) -> None:
    p = random_parameters(seed)
    layout = Layout.of(p)
    rows, block_rows, entries = 0, 0, 0
    for layer, (inputs, units) in enumerate(zip(p.layers, p.layers[1:], strict=False)):
        blocks = layout.blocks[layer]
        assert (blocks - 1) * p.lanes < units <= blocks * p.lanes
        assert (layout.row_base[layer], layout.block_base[layer]) == (rows, block_rows)
        rows += blocks * inputs
        block_rows += blocks
        if layer < p.depth - 1:
            assert layout.hidden_base[layer] == entries
            entries += units
    assert (layout.rows, layout.block_rows, layout.hidden_entries) == (rows, block_rows, entries)


@pytest.mark.parametrize("seed", SEEDS)
def test_probe_columns_pack_without_gaps(seed: int) -> None:
    p = gateware_parameters(seed)
    table = probe_table(p)
    names = [probe.name for probe in table]
    assert len(set(names)) == len(names)
    low = 0
    for probe, word, start in probe_columns(table):
        assert start == low
        assert 0 <= word < probe.words
        assert probe.bits >= 1
        low += probe.bits
    assert low == sum(probe.bits * probe.words for probe in table)
    assert {"activation", "hidden_delta"} <= set(names) or p.depth == 1


def test_tree_depth() -> None:
    assert [tree_depth(lanes) for lanes in (1, 2, 3, 4, 5, 8, 9, 256)] == [0, 1, 2, 2, 3, 3, 4, 8]


def test_random_configurations_repeat() -> None:
    state = random.getstate()
    assert random_parameters(7) == random_parameters(7) != random_parameters(8)
    assert random.getstate() == state
    first, again = (random_samples(random_parameters(7), 7, 4) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
