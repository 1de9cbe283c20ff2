"""The inference rules against the oracle; and the exact one without a multiplier."""

import numpy as np
import numpy.typing as npt
import pytest

from golden import Parameters
from golden.inference import RULES, FixedPass, draws_at_random
from golden.layout import Layout
from golden.network import CHUNK, MAX_DRAWS, Network
from golden.oracle import Oracle
from golden.state import State
from tests.configurations import random_parameters, random_samples
from tests.uncompiled import run_uncompiled

SEEDS = range(48)
SAMPLES = 3

#: Every rule; the number of draws of each.
QUESTIONS = [("sampled", 1), ("sampled", 2), ("sampled", 5)] + [(rule, 1) for rule in RULES[1:]]


def inference_parameters(seed: int) -> Parameters:
    """Return a random network; one in four has no connect.

    Most have many classes, of which the prediction tells more than of two, and small biases, which
    do not drown the rest.
    """
    p = random_parameters(seed)
    if seed % 3:
        p = p.replace(layers=(*p.layers[:-1], 29))
    if seed % 4 == 3:
        p = p.replace(
            connect="none", draw_steps=1, draw=("stochastic", "deterministic")[seed % 8 // 4]
        )
    return p


def random_state(parameters: Parameters, seed: int) -> State:
    """Return a state with weights over their whole range, largest ones included, and biases."""
    p, layout = parameters, Layout.of(parameters)
    rng = np.random.default_rng(seed)
    state = State.initial(p)
    maximum = p.weight_max
    weights = rng.integers(-maximum, maximum, state.weights.shape, np.int32, endpoint=True)
    weights[rng.random(weights.shape) < 0.1] = maximum
    weights[rng.random(weights.shape) < 0.1] = -maximum
    span = min(p.bias_max, p.activation_max << p.bias_fraction_bits)
    biases = rng.integers(-span, span, state.biases.shape, endpoint=True)
    # Padding holds zeros.
    for layer, units in enumerate(p.layers[1:]):
        first, last = layout.block_base[layer], layout.block_base[layer] + layout.blocks[layer] - 1
        live = units - (last - first) * p.lanes
        biases[last, live:] = 0
        row = layout.row_base[layer] + (last - first) * p.layers[layer]
        weights[row : row + p.layers[layer], live:] = 0
    state.weights[:], state.biases[:] = weights, biases
    state.draw[:] = rng.integers(1, 1 << min(p.random_width, 62), state.draw.shape)
    return state


def oracle_at(parameters: Parameters, state: State) -> Oracle:
    oracle = Oracle(parameters)
    oracle.weights, oracle.biases = state.weights.tolist(), state.biases.tolist()
    oracle.draw = state.draw.tolist()
    return oracle


def compare_with_oracle(seed: int) -> None:
    p = inference_parameters(seed)
    state = random_state(p, seed)
    pixels, _ = random_samples(p, seed, SAMPLES)
    oracle, network = oracle_at(p, state), Network(p, state.copy())
    for rule, draws in QUESTIONS:
        expected = [oracle.infer(image, rule, draws) for image in pixels.tolist()]
        assert network.infer(pixels, rule, draws).tolist() == expected, (rule, draws)
    assert network.state == state
    assert oracle.draw == state.draw.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_the_oracle(seed: int) -> None:
    compare_with_oracle(seed)


def test_equals_the_oracle_without_compiler() -> None:
    program = (
        "from tests.golden.test_inference import compare_with_oracle\n"
        "for seed in range(12): compare_with_oracle(seed)\n"
        "print('compared')\n"
    )
    assert run_uncompiled(program) == "compared\n"


def test_random_configurations_cover_the_rules() -> None:
    """Both types of sum, 16-bit activations and weights; and rules that disagree."""
    configurations = {seed: inference_parameters(seed) for seed in SEEDS}
    found, differing = set(), set()
    for seed, p in configurations.items():
        network = Network(p, random_state(p, seed))
        fixed = FixedPass.of(p, network.state, "pow2", network._scratch)
        found |= {
            f"{p.connect} {p.draw}",
            f"{fixed.biases.dtype} sums",
            f"{p.activation_bits}-bit activations",
            f"{p.weight_bits}-bit weights",
            f"{p.draw_steps} draw steps",
            "input dropout" if p.input_dropout_bits else "",
        }
        pixels, _ = random_samples(p, seed, 20)
        answers = [network.infer(pixels, *question).tolist() for question in QUESTIONS]
        differing |= {
            (one, two)
            for one in range(len(QUESTIONS))
            for two in range(one)
            if answers[one] != answers[two]
        }
    assert {
        "ternary stochastic", "ternary deterministic", "binary stochastic", "binary deterministic",
        "none stochastic", "none deterministic", "int32 sums", "int64 sums", "16-bit activations",
        "2-bit activations", "16-bit weights", "4-bit weights", "1 draw steps", "2 draw steps",
        "input dropout",
    } <= found  # fmt: skip
    assert len(differing) == len(QUESTIONS) * (len(QUESTIONS) - 1) // 2


@pytest.mark.parametrize("seed", range(4))
def test_many_samples_at_once_equal_one_by_one(seed: int) -> None:
    p = inference_parameters(seed)
    network = Network(p, random_state(p, seed))
    pixels, _ = random_samples(p, seed, CHUNK + 30)
    for rule, draws in QUESTIONS:
        done: list[int] = []
        together = network.infer(pixels, rule, draws, done.append)
        assert done[-1] == CHUNK + 30
        assert done == sorted(set(done))
        alone = [network.infer(pixels[n : n + 1], rule, draws)[0] for n in range(len(pixels))]
        assert together.tolist() == alone


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_draw_is_an_evaluation_sample(seed: int) -> None:
    p = inference_parameters(seed)
    state = random_state(p, seed)
    pixels, _ = random_samples(p, seed, 10)
    oracle = oracle_at(p, state)
    expected = [oracle.sample(image, 0, train=False) for image in pixels.tolist()]
    assert Network(p, state).infer(pixels, "sampled").tolist() == expected


@pytest.mark.parametrize("weight_bits", range(4, 17))
def test_sums_at_their_bound_stay_exact(weight_bits: int) -> None:
    """Weights, inputs and biases at their maximum: 14-bit weights exceed int32 by the bias only."""
    p = Parameters(
        layers=(60, 3), activation_bits=12, weight_bits=weight_bits, lanes=4, draw_bits=1,
        activation_shifts=(0,), delta_shifts=(), update_shifts=(8,),
    )  # fmt: skip
    state = State.initial(p)
    state.weights[:, :3] = np.array([-1, 1, 1]) * p.weight_max
    state.biases[:, :3] = p.bias_max
    # Unit 2 gets one LSB less than unit 1: a sum that is not exact would not tell them apart.
    state.weights[7, 2] -= 1
    network, pixels = Network(p, state), np.full((1, 60), p.activation_max)
    assert network.infer(pixels, "exact").tolist() == [1]
    assert network.infer(pixels, "pow2").tolist() == [1]
    state.weights[:] *= -1
    assert network.infer(pixels, "exact").tolist() == [0]


def bit_serial_predictions(
    parameters: Parameters, state: State, image: list[int], by_weight: bool
) -> int:
    """Predict by the rule ``exact`` with adds, shifts and selects; Python integers.

    One pass for each bit of the weights' magnitudes, or one for each bit of the inputs.
    """
    p, layout = parameters, Layout.of(parameters)
    n, fraction = p.input_dropout_bits, p.weight_fraction_bits
    h = [x - (x >> n) for x in image] if n else image
    for layer, units in enumerate(p.layers[1:]):
        z = []
        for i in range(units):
            block, lane = divmod(i, p.lanes)
            first = layout.row_base[layer] + block * len(h)
            weights = state.weights[first : first + len(h), lane].tolist()
            bias = int(state.biases[layout.block_base[layer] + block, lane])
            total = bias << fraction >> p.bias_fraction_bits
            for bit in range(fraction if by_weight else p.activation_bits):
                plane = 0
                for weight, x in zip(weights, h, strict=True):
                    if by_weight and abs(weight) >> bit & 1:
                        plane += -x if weight < 0 else x
                    elif not by_weight and x >> bit & 1:
                        plane += weight
                total += plane << bit
            z.append(total)
        shift = p.activation_shifts[layer] + fraction
        h = [min(max(total, 0) + (1 << shift) - 1 >> shift, p.activation_max) for total in z]
    return z.index(max(z))


@pytest.mark.parametrize("by_weight", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_exact_needs_no_multiplier(seed: int, by_weight: bool) -> None:
    """F passes over the weights' bits, or A over the inputs' bits, are the rule ``exact``."""
    p = inference_parameters(seed)
    state = random_state(p, seed)
    pixels, _ = random_samples(p, seed, 6)
    expected = [bit_serial_predictions(p, state, image, by_weight) for image in pixels.tolist()]
    assert Network(p, state).infer(pixels).tolist() == expected


@pytest.mark.parametrize(
    ("pixels", "rule", "draws", "message"),
    [
        (np.zeros((2, 3), int), "exact", 1, r"pixels must have the shape \(n, 4\), not \(2, 3\)"),
        (np.zeros((1, 4)), "pow2", 1, "pixels must be integers, not float64"),
        (np.full((1, 4), 256), "sampled", 1, r"pixels must be in 0\.\.255, not 256\.\.256"),
        (np.zeros((1, 4), int), "mean", 1, "rule must be one of sampled, thresholded, exact, pow2"),
        (np.zeros((1, 4), int), "sampled", 0, f"draws must be in 1..{MAX_DRAWS} for the rule sam"),
        (np.zeros((1, 4), int), "exact", 2, r"draws must be in 1\.\.1 for the rule exact, not 2"),
    ],
)
def test_bad_input_is_named(
    pixels: npt.NDArray[np.generic], rule: str, draws: int, message: str
) -> None:
    p = Parameters(layers=(4, 3), activation_shifts=(3,), delta_shifts=(), update_shifts=(8,))
    assert draws_at_random(p)
    with pytest.raises(ValueError, match=f"^{message}"):
        Network(p).infer(pixels, rule, draws)
