"""Minibatch training, plain and packed, against the oracle, word for word after every batch."""

from typing import Any

import numpy as np
import pytest

from golden import Parameters
from golden.formats import Formats
from golden.layout import Layout
from golden.minibatch import BatchScratch, train_batches
from golden.network import CHUNK, Network
from golden.oracle import Oracle
from golden.packed import PackedScratch, fits
from tests.configurations import minibatch_parameters, random_samples
from tests.uncompiled import run_uncompiled

SEEDS = range(60)

#: Of these, some with large weights or activations need the plain kernel.
PLAIN_ONLY = [seed for seed in SEEDS if not fits(minibatch_parameters(seed))]


class RecordingOracle(Oracle):
    """An oracle that remembers the loss of every sample."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self.losses: list[int] = []

    def _output_delta(self, z: list[int], label: int) -> list[int]:
        delta = super()._output_delta(z, label)
        self.losses.append(sum(d * d for d in delta))
        return delta


def networks(parameters: Parameters) -> list[Network]:
    """Return a network for each kernel that can serve."""
    plain = Network(parameters)
    plain._kernel, plain._kernel_scratch = train_batches, BatchScratch.of(parameters)
    packed = Network(parameters)
    assert isinstance(packed._kernel_scratch, PackedScratch) == fits(parameters)
    return [plain, packed] if fits(parameters) else [plain]


def compare_with_oracle(parameters: Parameters, seed: int) -> None:
    """Compare on two calls, each of a batch and a smaller one."""
    batch = 1 << parameters.batch_bits
    n = batch + batch // 2
    oracle, trained = RecordingOracle(parameters), networks(parameters)
    for call in range(2):
        pixels, labels = random_samples(parameters, 2 * seed + call, n)
        shift = call * parameters.max_rate_shift
        oracle.losses.clear()
        predictions = []
        for part in (slice(0, batch), slice(batch, n)):
            predictions += oracle.batch(pixels[part].tolist(), labels[part].tolist(), shift)
        for network in trained:
            result = network.train(pixels, labels, shift)
            assert result.predictions.tolist() == predictions
            assert result.losses.tolist() == oracle.losses
            assert result.trained.tolist() == [loss != 0 for loss in oracle.losses]
            assert network.state.digest() == oracle.digest()


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_the_oracle(seed: int) -> None:
    compare_with_oracle(minibatch_parameters(seed), seed)


def features(parameters: Parameters) -> list[str]:
    """Return what of the contract a configuration exercises."""
    p = parameters
    facts = {
        f"{p.depth} layers": True,
        f"batch bits {p.batch_bits}": True,
        f"{p.connect} {p.draw}": True,
        f"{p.quantizer} quantizer": True,
        f"{p.draw_steps} draw steps": True,
        f"{p.random_width} bit sources": True,
        "one source": p.random_sources == 1 < p.lanes,
        "a source a lane": p.random_sources == p.lanes > 1,
        "padding": any(size % p.lanes for size in p.layers[1:]),
        "several blocks": max(Layout.of(p).blocks) > 1,
        "odd inputs": any(size % 2 for size in p.layers[:-1]),
        "lanes beyond a tile": p.lanes > 16,
        "input dropout": p.input_dropout_bits > 0,
        "lowest exponent": p.min_exponent > 0 and p.quantizer != "none",
        "highest exponent": p.max_exponent < p.activation_bits and p.quantizer != "none",
    }
    return [name for name, holds in facts.items() if holds]


def test_random_configurations_cover_the_contract() -> None:
    """Both kernels meet every feature, but for widths that only one of them can have."""
    wanted = {f"{depth} layers" for depth in (1, 2, 3, 4)} | {
        "ternary stochastic", "ternary deterministic", "binary stochastic", "binary deterministic",
        "none stochastic", "none deterministic", "nearest quantizer", "stochastic quantizer",
        "none quantizer", "1 draw steps", "2 draw steps", "16 bit sources", "32 bit sources",
        "64 bit sources", "one source", "a source a lane", "padding", "several blocks",
        "odd inputs", "lanes beyond a tile", "input dropout", "lowest exponent",
        "highest exponent", "batch bits 1", "batch bits 5", "batch bits 7",
    }  # fmt: skip
    packed = {name for seed in SEEDS if seed not in PLAIN_ONLY
              for name in features(minibatch_parameters(seed))}  # fmt: skip
    assert wanted <= packed
    assert len(PLAIN_ONLY) > 5


#: A network that learns to hold its margins on a handful of samples.
LEARNING: dict[str, Any] = {
    "layers": (9, 21, 3),
    "lanes": 5,
    "activation_shifts": (2, 2),
    "delta_shifts": (2,),
    "update_shifts": (9, 9),
    "bias_shift": 0,
    "margin_bits": 5,
    "draw_bits": 6,
}


@pytest.mark.parametrize("quantizer", ["nearest", "stochastic", "none"])
@pytest.mark.parametrize(("batch_bits", "distinct"), [(3, 4), (6, 2), (5, 1)])
@pytest.mark.parametrize("seed", [1, 2])
def test_equals_the_oracle_once_margins_hold(
    seed: int, batch_bits: int, distinct: int, quantizer: Any
) -> None:
    """A batch of few distinct samples again and again: now and then only some learn, or none."""
    p = Parameters(**LEARNING, batch_bits=batch_bits, quantizer=quantizer, weight_seed=seed)
    rng = np.random.default_rng(seed)
    batch = 1 << batch_bits
    which = rng.integers(0, distinct, batch)
    pixels = (rng.integers(0, 256, (4, 9)) * (rng.random((4, 9)) < 0.6))[which]
    labels = which % 3
    oracle, trained = RecordingOracle(p), networks(p)
    assert len(trained) == 2
    learners = set()
    for _ in range(60):
        oracle.losses.clear()
        update = list(oracle.update)
        predictions = oracle.batch(pixels.tolist(), labels.tolist())
        learners.add(sum(loss != 0 for loss in oracle.losses))
        assert (oracle.update == update) == (not any(oracle.losses))
        for network in trained:
            result = network.train(pixels, labels)
            assert result.predictions.tolist() == predictions
            assert result.losses.tolist() == oracle.losses
            assert network.state.digest() == oracle.digest()
    assert batch in learners
    assert any(0 < count <= batch // 2 for count in learners) or learners == {0, batch}


#: Configurations at the very edge of what 16 and 32 bits hold, and a change that goes beyond.
EDGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    # 256 inputs * 255 * 32767, and the bias: 32 bits of sum.
    ({"layers": (256, 40, 3), "connect": "none", "weight_bits": 16, "bias_fraction_bits": 16},
     {"layers": (258, 40, 3)}),
    # 15-bit activations; the power of two of the largest would be 2**15.
    ({"activation_bits": 15, "quantizer": "none", "update_shifts": (29, 29)},
     {"activation_bits": 16}),
    ({"activation_bits": 15, "max_exponent": 14, "update_shifts": (29, 29)},
     {"max_exponent": 15}),
    # 2**6 samples of 32767 * 2**8, plus 2**29 and a weight: 32 bits of gradient.
    ({"output_delta_bits": 16, "hidden_delta_bits": 16, "margin_bits": 15, "batch_bits": 6,
      "update_shifts": (29, 29)},
     {"batch_bits": 7, "update_shifts": (30, 30)}),
    # 16-bit deltas and weights: 32 bits of backward sum.
    ({"layers": (20, 30, 2), "connect": "none", "weight_bits": 16, "output_delta_bits": 16,
      "bias_fraction_bits": 16, "margin_bits": 15, "update_shifts": (25, 25)},
     {"layers": (20, 30, 3)}),
]  # fmt: skip


def edge(*changes: dict[str, Any]) -> Parameters:
    fields: dict[str, Any] = LEARNING | {"lanes": 16, "batch_bits": 4, "bias_bits": 8}
    for change in changes:
        fields = fields | change
    return Parameters(**fields)


@pytest.mark.parametrize(("within", "beyond"), EDGES)
def test_extremes_at_the_edge_of_the_widths(within: dict[str, Any], beyond: dict[str, Any]) -> None:
    """All weights, activations and deltas as large as can be: the packed sums still fit."""
    p = edge(within)
    assert fits(p)
    assert not fits(edge(within, beyond))
    plain, packed = networks(p)
    n = 1 << p.batch_bits
    pixels = np.full((n, p.layers[0]), p.activation_max)
    labels = np.arange(n) % p.layers[-1]
    for sign in (1, -1):
        for network in (plain, packed):
            live = network.state.weights != 0
            network.state.weights[live] = sign * p.weight_max
            network.state.biases[...] = sign * p.bias_max
            result = network.train(pixels, labels * (sign > 0))
            assert result.trained.any()
        assert packed.state == plain.state


def test_fits_follows_the_formats() -> None:
    """What fits has sums of at most 32 bits; of what does not, something is wider."""
    for seed in SEEDS:
        p = minibatch_parameters(seed)
        formats = Formats.of(p)
        if fits(p):
            assert max(formats.sum_bits, formats.partial_bits, formats.gradient_bits) <= 32
            assert p.activation_bits < 16


@pytest.mark.parametrize("batch_bits", [4, 10])
def test_chunks_do_not_split_batches(batch_bits: int) -> None:
    p = Parameters(**LEARNING, batch_bits=batch_bits)
    pixels, labels = random_samples(p, 1, 2 * CHUNK + 5)
    at_once, by_batch, reports = Network(p), Network(p), []
    result = at_once.train(pixels, labels, progress=reports.append)
    batch = 1 << batch_bits
    predictions: list[int] = []
    for first in range(0, len(labels), batch):
        part = slice(first, first + batch)
        predictions += by_batch.train(pixels[part], labels[part]).predictions.tolist()
    assert result.predictions.tolist() == predictions
    assert at_once.state == by_batch.state
    assert reports == [*range(max(CHUNK, batch), len(labels), max(CHUNK, batch)), len(labels)]


@pytest.mark.parametrize("batch_bits", [1, 7])
def test_no_samples_change_nothing(batch_bits: int) -> None:
    p = Parameters(**LEARNING, batch_bits=batch_bits)
    network = Network(p)
    result = network.train(np.empty((0, 9), np.int64), np.empty(0, np.int64))
    assert len(result.predictions) == len(result.losses) == 0
    assert network.state.digest() == Network(p).state.digest()


def test_equals_the_oracle_without_compiler() -> None:
    program = (
        "from tests.golden.test_minibatch import compare_with_oracle\n"
        "from tests.configurations import minibatch_parameters\n"
        "seeds = [s for s in range(40) if minibatch_parameters(s).batch_bits <= 2]\n"
        "for seed in seeds: compare_with_oracle(minibatch_parameters(seed), seed)\n"
        "print('compared', len(seeds) > 5)\n"
    )
    assert run_uncompiled(program) == "compared True\n"
