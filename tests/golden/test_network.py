"""The functional model against the oracle, word for word after every sample."""

import numpy as np
import pytest

from golden import Parameters
from golden.layout import Layout
from golden.network import CHUNK, Network
from golden.oracle import Oracle
from golden.parameters import named_configurations
from golden.plan import Plan, fits_16_bits
from golden.state import State
from tests.configurations import gateware_parameters, random_parameters, random_samples
from tests.uncompiled import run_uncompiled

SEEDS = range(60)
SAMPLES = 8


class LossOracle(Oracle):
    """An oracle that tells the squared hinge loss of the last training sample."""

    loss = 0

    def _output_delta(self, z: list[int], label: int) -> list[int]:
        delta = super()._output_delta(z, label)
        self.loss = sum(d**2 for d in delta)
        return delta


def compare_with_oracle(parameters: Parameters, seed: int) -> tuple[int, int]:
    """Compare on random samples; return the number of samples trained on, and of those skipped."""
    pixels, labels = random_samples(parameters, seed, SAMPLES)
    shifts = np.random.default_rng(seed).integers(0, parameters.max_rate_shift + 1, SAMPLES)
    network, oracle = Network(parameters), LossOracle(parameters)
    assert network.state.digest() == oracle.digest()
    trained = 0
    for n in range(SAMPLES):
        image, label, shift = pixels[n].tolist(), int(labels[n]), int(shifts[n])
        one = pixels[n : n + 1]

        assert network.infer(one, "sampled")[0] == oracle.sample(image, label, False, shift)
        assert network.infer(one)[0] == oracle.infer(image, "exact")
        assert network.state.digest() == oracle.digest()

        before = list(oracle.update)
        result = network.train(one, labels[n : n + 1], shift)
        assert result.predictions[0] == oracle.sample(image, label, True, shift)
        assert network.state.digest() == oracle.digest()
        assert result.losses.tolist() == [oracle.loss]
        assert result.trained.tolist() == [oracle.loss > 0]
        if result.trained[0]:
            trained += 1
        else:
            assert oracle.update == before
    return trained, SAMPLES - trained


def hit_counts(parameters: Parameters) -> list[str]:
    """Return the features of the contract that a configuration exercises."""
    p = parameters
    facts = {
        "blank first layer": True,
        f"{p.depth} layers": True,
        f"{p.connect} {p.draw}": True,
        f"{p.quantizer} quantizer": True,
        f"{p.draw_steps} draw steps": True,
        f"{p.random_width} bit sources": True,
        "one source": p.random_sources == 1 < p.lanes,
        "a source a lane": p.random_sources == p.lanes > 1,
        "sources between": 1 < p.random_sources < p.lanes,
        "padding": any(size % p.lanes for size in p.layers[1:]),
        "several blocks": max(Layout.of(p).blocks) > 1,
        "one-unit layer": 1 in p.layers[1:],
        "one lane": p.lanes == 1,
        "32 lanes": p.lanes == 32,
        "4-bit weights": p.weight_bits == 4,
        "16-bit weights": p.weight_bits == 16,
        "fewer draw bits": p.draw == "stochastic" and p.draw_bits < p.draw_shift,
        "input dropout": p.input_dropout_bits > 0,
        "a lowest exponent": p.quantizer != "none" and p.min_exponent > 0,
        "a highest exponent": p.quantizer != "none" and p.max_exponent < p.activation_bits,
        f"{16 if fits_16_bits(p) else 64}-bit lanes, "
        f"{'one source' if p.random_sources == 1 else 'sources'}": True,
    }
    return [name for name, holds in facts.items() if holds]


def test_random_configurations_cover_the_contract() -> None:
    found = {name for seed in SEEDS for name in hit_counts(random_parameters(seed))}
    wanted = {f"{depth} layers" for depth in (1, 2, 3, 4)} | {
        "ternary stochastic", "ternary deterministic", "binary stochastic", "binary deterministic",
        "nearest quantizer", "stochastic quantizer", "1 draw steps", "2 draw steps",
        "16 bit sources", "32 bit sources", "64 bit sources", "one source", "a source a lane",
        "sources between", "padding", "several blocks", "one-unit layer", "one lane", "32 lanes",
        "4-bit weights", "16-bit weights", "fewer draw bits", "input dropout",
        "none stochastic", "none deterministic", "none quantizer",
        "a lowest exponent", "a highest exponent",
        "16-bit lanes, one source", "16-bit lanes, sources",
        "64-bit lanes, one source", "64-bit lanes, sources",
    }  # fmt: skip
    assert wanted <= found
    blank = [
        not image.any() for s in SEEDS for image in random_samples(random_parameters(s), s, 8)[0]
    ]
    assert any(blank)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_the_oracle(seed: int) -> None:
    trained, skipped = compare_with_oracle(random_parameters(seed), seed)
    assert trained + skipped == SAMPLES


@pytest.mark.parametrize("seed", range(106, 112))
def test_equals_the_oracle_once_margins_hold(seed: int) -> None:
    """One sample again and again: sooner or later its margins hold and it is skipped."""
    p = gateware_parameters(seed).replace(
        layers=(9, 7, 3),
        activation_bits=8,
        output_delta_bits=10,
        hidden_delta_bits=12,
        activation_shifts=(2, 2),
        delta_shifts=(2,),
        update_shifts=(9, 9),
        bias_shift=0,
        margin_bits=5,
        weight_bits=8,
        connect="ternary",
        draw_bits=6,
        bias_bits=24,
        quantizer="nearest",
        update_bits=8,
        input_dropout_bits=0,
    )
    rng = np.random.default_rng(seed)
    pixels, labels = rng.integers(0, 256, (1, 9)), rng.integers(0, 3, 1)
    network, oracle = Network(p), Oracle(p)
    skipped = 0
    for _ in range(60):
        result = network.train(pixels, labels)
        assert result.predictions[0] == oracle.sample(pixels[0].tolist(), int(labels[0]))
        assert network.state.digest() == oracle.digest()
        skipped += not result.trained[0]
    assert 0 < skipped < 60


#: Operands at which the last bit of 16 is needed: one bit more, and 64 are taken.
EDGES = {
    "ternary draw": ({"weight_bits": 15, "draw_bits": 14}, {"weight_bits": 16}),
    "binary draw": ({"connect": "binary", "weight_bits": 14}, {"weight_bits": 15}),
    "ternary sum": ({"activation_bits": 13}, {"activation_bits": 14}),
    "half-step sum": ({"activation_bits": 12, "draw_steps": 2, "draw_bits": 6},
                      {"activation_bits": 13}),
    "binary sum": ({"activation_bits": 12, "connect": "binary"}, {"activation_bits": 13}),
    "rounding": ({"hidden_delta_bits": 14, "output_delta_bits": 14}, {"hidden_delta_bits": 15}),
    "output rounding": ({"output_delta_bits": 14}, {"output_delta_bits": 15}),
    "increment": ({"update_shifts": (5, 4), "weight_bits": 15, "draw_bits": 14,
                   "hidden_delta_bits": 12, "output_delta_bits": 11, "bias_shift": 2},
                  {"hidden_delta_bits": 13}),
    "longest step": ({"update_shifts": (31, 31), "schedule": tuple(range(15)),
                      "quantizer": "stochastic"}, {"quantizer": "none"}),
}  # fmt: skip


def edge_parameters(edge: str, sources: int) -> tuple[Parameters, Parameters]:
    """Return parameters at the edge of 16-bit lanes, and beyond it."""
    p = Parameters(
        layers=(11, 9, 6),
        lanes=4,
        activation_shifts=(3, 2),
        delta_shifts=(0,),
        update_shifts=(14, 14),
        margin_bits=15,
        random_sources=sources,
        update_bits=16,
    )
    fields, more = EDGES[edge]
    return p.replace(**fields), p.replace(**fields | more)


def compare_extremes_with_oracle(parameters: Parameters, seed: int) -> None:
    """Compare from weights and pixels that are at the ends of their ranges."""
    p = parameters
    rng = np.random.default_rng(seed)
    network, oracle = Network(p), Oracle(p)
    weights = network.state.weights
    weights[:] = np.where(weights == 0, 0, rng.choice([-p.weight_max, p.weight_max], weights.shape))
    oracle.weights = weights.tolist()
    shifts = sorted(rng.integers(0, p.max_rate_shift + 1, 6))
    pixels = rng.choice([0, p.activation_max], (6, p.layers[0]), p=[0.2, 0.8])
    labels = rng.integers(0, p.layers[-1], 6)
    for n, shift in enumerate(shifts):
        result = network.train(pixels[n : n + 1], labels[n : n + 1], int(shift))
        expected = oracle.sample(pixels[n].tolist(), int(labels[n]), True, int(shift))
        assert result.predictions.tolist() == [expected]
        assert network.state.digest() == oracle.digest()


@pytest.mark.parametrize("sources", [1, 4])
@pytest.mark.parametrize("edge", EDGES)
def test_equals_the_oracle_at_the_edge_of_16_bits(edge: str, sources: int) -> None:
    inside, beyond = edge_parameters(edge, sources)
    assert (fits_16_bits(inside), fits_16_bits(beyond)) == (True, False)
    for seed, parameters in enumerate((inside, beyond)):
        compare_extremes_with_oracle(parameters, seed)


@pytest.mark.parametrize("name", named_configurations())
def test_shipped_configurations_run_in_16_bits(name: str) -> None:
    assert fits_16_bits(Parameters.named(name))


@pytest.mark.parametrize("seed", SEEDS)
def test_16_bit_lanes_equal_64_bit_lanes(seed: int) -> None:
    p = random_parameters(seed)
    if not fits_16_bits(p):
        p = p.replace(
            activation_bits=8, weight_bits=8, hidden_delta_bits=12, output_delta_bits=10,
            update_shifts=(9,) * p.depth, bias_shift=2, connect="ternary", draw_bits=3,
            quantizer="nearest", update_bits=6, min_exponent=0, max_exponent=16,
        )  # fmt: skip
    pixels, labels = random_samples(p, seed, 200)
    narrow, wide = Network(p), Network(p)
    assert narrow._plan.narrow
    wide._plan = Plan.of(p)._replace(narrow=False)
    first, second = (network.train(pixels, labels) for network in (narrow, wide))
    assert first.predictions.tolist() == second.predictions.tolist()
    assert first.losses.tolist() == second.losses.tolist()
    assert narrow.state == wide.state


def test_kernels_for_a_number_of_lanes_equal_those_for_any() -> None:
    p = Parameters.named("mnist-small").replace(layers=(30, 100, 70, 5))
    pixels, labels = random_samples(p, 1, 200)
    fixed, general = Network(p), Network(p)
    assert len(fixed._plan.fixed_lanes) == p.lanes == 64
    general._plan = general._plan._replace(fixed_lanes=())
    first, second = (network.train(pixels, labels) for network in (fixed, general))
    assert first.losses.tolist() == second.losses.tolist()
    assert fixed.state == general.state
    assert fixed.state != State.initial(p)


def test_equals_the_oracle_without_compiler() -> None:
    """An overflow of a 16-bit lane would be an error here."""
    program = (
        "from tests.golden.test_network import *\n"
        "for seed in SEEDS: compare_with_oracle(random_parameters(seed), seed)\n"
        "for edge in EDGES: compare_extremes_with_oracle(edge_parameters(edge, 1)[0], 1)\n"
        "print('compared', len(SEEDS))\n"
    )
    assert run_uncompiled(program) == f"compared {len(SEEDS)}\n"


@pytest.mark.parametrize("seed", range(8))
def test_many_samples_at_once_equal_one_by_one(seed: int) -> None:
    p = random_parameters(seed)
    pixels, labels = random_samples(p, seed, CHUNK + 30)
    together, alone = Network(p), Network(p)
    done: list[int] = []
    result = together.train(pixels, labels, 0, done.append)
    assert done == [CHUNK, CHUNK + 30]
    singles = [alone.train(pixels[n : n + 1], labels[n : n + 1]) for n in range(len(pixels))]
    assert result.predictions.tolist() == [single.predictions[0] for single in singles]
    assert result.trained.tolist() == [single.trained[0] for single in singles]
    assert result.losses.tolist() == [single.losses[0] for single in singles]
    assert together.state == alone.state


def test_continues_from_a_given_state() -> None:
    p = random_parameters(0)
    pixels, labels = random_samples(p, 0, 20)
    whole = Network(p)
    whole.train(pixels, labels)
    first = Network(p)
    first.train(pixels[:11], labels[:11])
    state = first.state.copy()
    second = Network(p, state)
    second.train(pixels[11:], labels[11:])
    assert second.state is state
    assert state == whole.state != first.state


def test_padding_stays_zero() -> None:
    p = gateware_parameters(0).replace(layers=(12, 7, 5), activation_shifts=(2, 4),
                                     delta_shifts=(1,), update_shifts=(8, 8), bias_shift=2,
                                     lanes=4, random_sources=1)  # fmt: skip
    network = Network(p)
    pixels, labels = random_samples(p, 0, 100)
    assert network.train(pixels, labels).trained.any()
    layout = Layout.of(p)
    weights, biases = network.state.weights, network.state.biases
    assert not weights[layout.row_base[0] + 12 : layout.row_base[1], 3:].any()
    assert not weights[layout.row_base[1] + 7 :, 1:].any()
    assert not biases[[1, 3], [3, 1]].any()
    assert weights[layout.row_base[0] + 12 : layout.row_base[1], :3].any()


def test_learns() -> None:
    """Four patterns under noise: every label is right after a few hundred samples."""
    p = Parameters(
        layers=(16, 12, 4), lanes=4, activation_shifts=(3, 3), delta_shifts=(2,),
        update_shifts=(11, 11),
    )  # fmt: skip
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 800)
    pixels = rng.integers(0, 64, (800, 16)) + 160 * (np.arange(16) // 4 == labels[:, None])
    network = Network(p)
    network.train(pixels[:700], labels[:700])
    assert network.infer(pixels[700:]).tolist() == labels[700:].tolist()


@pytest.mark.parametrize(
    ("pixels", "labels", "rate_shift", "message"),
    [
        (np.zeros((2, 3), int), [0, 0], 0, r"pixels must have the shape \(n, 4\), not \(2, 3\)"),
        (np.zeros(4, int), [0], 0, r"pixels must have the shape \(n, 4\), not \(4,\)"),
        (np.zeros((1, 4)), [0], 0, "pixels must be integers, not float64"),
        (np.full((1, 4), 256), [0], 0, r"pixels must be in 0\.\.255, not 256\.\.256"),
        (np.full((1, 4), -1), [0], 0, r"pixels must be in 0\.\.255, not -1\.\.-1"),
        (np.zeros((1, 4), int), [0, 0], 0, r"labels must have the shape \(1,\), one a row of pix"),
        (np.zeros((1, 4), int), [3], 0, r"labels must be in 0\.\.2, not 3\.\.3"),
        (np.zeros((1, 4), int), [0], 2, r"rate_shift must be in 0\.\.1 \(the schedule has 1 ent"),
        (np.zeros((1, 4), int), [0], -1, r"rate_shift must be in 0\.\.1 "),
    ],
)
def test_bad_input_is_named(
    pixels: np.ndarray, labels: list[int], rate_shift: int, message: str
) -> None:
    p = Parameters(
        layers=(4, 3), activation_shifts=(3,), delta_shifts=(), update_shifts=(8,), schedule=(5,)
    )
    network = Network(p)
    with pytest.raises(ValueError, match=f"^{message}"):
        network.train(pixels, np.array(labels), rate_shift)
    assert network.state == State.initial(p)


def test_state_of_another_network_is_refused() -> None:
    p = random_parameters(0)
    with pytest.raises(ValueError, match=r"^state\.weights must be "):
        Network(p, State.initial(p.replace(layers=(p.layers[0] + 1, *p.layers[1:]))))
