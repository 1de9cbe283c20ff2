"""The count of operations: by hand on a tiny network, and with planted multiplications."""

from dataclasses import asdict

import pytest

from golden import Parameters
from golden.operations import PHASES, Counted, CountingOracle, Tally
from golden.oracle import Oracle
from golden.state import State
from tests.configurations import random_parameters, random_samples

#: One lane, so that every step of a walk is one weight.
TINY = Parameters(
    layers=(3, 2, 2),
    lanes=1,
    activation_shifts=(2, 2),
    delta_shifts=(2,),
    update_shifts=(9, 9),
)
PIXELS, LABEL = [5, 0, 12], 0


def tiny_oracle(
    parameters: Parameters, weight: int, bias: int, kind: type[CountingOracle] = CountingOracle
) -> CountingOracle:
    """Start with all weights alike, and hidden unit 0 alive, 1 dead."""
    state = State.initial(parameters)
    state.weights[:] = weight
    state.biases[:, 0] = [bias, -bias, bias, bias]
    return kind(parameters, state)


def counted(oracle: CountingOracle) -> dict[str, Tally]:
    tallies = oracle.restart()
    oracle.sample(PIXELS, LABEL)
    return tallies


# Two live pixels and one live hidden unit: a walk over the network is 2 * 2 + 1 * 2 = 6 steps.
BY_HAND = {
    # 6 draws (W + r) >> q; 6 accumulates; 2 activations. r is << 1, | 1, << q, >> 8.
    "forward": Tally(
        additions=6 + 6 + 2,
        zero_additions=6 + 6 + 1,  # no weight, no T; the dead unit's activation
        fixed_shifts=6 * 4 + 4 * 2 + 2,  # draws, biases, activations
        selects=6 + 6 * 2 + 2 * 2 + 3 + 2,  # bit logic of r, T * h, relu, which inputs are live
        random_bits=6 * 7,
        weight_bits_read=6 * 8,
        bias_bits_read=4 * 24,
        source_bits_read=6 * 32,
        source_bits_written=6 * 32,
    ),
    # M - o, -(M + o); the larger z, two hinges, two clips, the first delta that is not 0.
    "loss": Tally(additions=3, fixed_shifts=2, selects=1 + 2 + 2 * 2 + 1),
    # One hidden unit: 2 products T * d, rounding, clip.
    "backward": Tally(additions=2 + 1, zero_additions=3, fixed_shifts=1, selects=2 * 2 + 2),
    # A step: e, with 1 addition, 1 fixed and 1 free shift, 4 selects; r; (d << e) + r; W + .; clip.
    "update": Tally(
        additions=6 * 3 + 4 * 2,
        zero_additions=4 + 4 + 6 + 4,  # e of 5 and of 10; no hidden delta; no weight; its biases
        shifts=6 * 2,
        fixed_shifts=6 * (1 + 3 + 1) + 4,
        selects=6 * (4 + 1 + 2) + 4 * 2,
        random_bits=6 * 8,
        weight_bits_read=6 * 8,
        weight_bits_written=6 * 8,
        bias_bits_read=4 * 24,
        bias_bits_written=4 * 24,
        source_bits_read=6 * 32,
        source_bits_written=6 * 32,
    ),
}


def test_counted_by_hand() -> None:
    assert counted(tiny_oracle(TINY, weight=0, bias=40 << 8)) == BY_HAND


def test_deterministic_draw_counted_by_hand() -> None:
    """No random bits, and T = 1 everywhere; h = 15, d = 51, -77 and -6."""
    p = TINY.replace(draw="deterministic")
    expected = {phase: Tally(**asdict(tally)) for phase, tally in BY_HAND.items()}
    forward = expected["forward"]
    forward.random_bits = forward.source_bits_read = forward.source_bits_written = 0
    forward.fixed_shifts -= 6 * 3
    forward.selects -= 6
    forward.zero_additions = 1
    expected["backward"].zero_additions = 1
    # e of 5; the dead unit's two weights, two additions each; the live one's, whose step rounds
    # to 0 with these random bits; the dead one's bias.
    expected["update"].zero_additions = 2 + 2 * 2 + 2 + 2
    assert counted(tiny_oracle(p, weight=127, bias=40 << 8)) == expected


def test_saturated_values_are_counted_all_the_same() -> None:
    """Activation and deltas at their limits, which are constants: nothing slips by."""
    tallies = counted(tiny_oracle(TINY.replace(margin_bits=15), weight=0, bias=(1 << 23) - 1))
    for phase, tally in tallies.items():
        assert tally == Tally(**asdict(BY_HAND[phase]) | {"zero_additions": tally.zero_additions})


def test_constants_among_the_values_are_counted_all_the_same() -> None:
    """T of binary connect is a constant, and so is an exponent at its bound."""
    p = TINY.replace(connect="binary", max_exponent=1)
    tallies = counted(tiny_oracle(p, weight=0, bias=40 << 8))
    for phase, tally in tallies.items():
        changes = {"zero_additions": tally.zero_additions}
        if phase == "forward":  # a draw: W + 2^F + r, and whether that is 1
            changes |= {"additions": 14 + 6, "selects": BY_HAND[phase].selects + 6}
        assert tally == Tally(**asdict(BY_HAND[phase]) | changes)


def test_half_steps_and_shared_sources() -> None:
    """|T| = 2 takes one more shift and two more comparisons; sources count once for all lanes."""
    p = Parameters(
        layers=(2, 8), lanes=4, random_sources=3, draw="deterministic", draw_steps=2, draw_bits=6,
        activation_shifts=(2,), delta_shifts=(), update_shifts=(9,),
    )  # fmt: skip
    state = State.initial(p)
    state.weights[:] = 127
    state.weights[:, 3] = 0  # two of the eight units
    oracle = CountingOracle(p, state)
    tallies = oracle.restart()
    oracle.sample([7, 0], 0)
    # One live input: 8 draws, of which 6 are 2; 8 biases << g >> fb.
    assert tallies["forward"].fixed_shifts == 8 + 6 + 8 * 2
    assert tallies["forward"].selects == 8 * 2 + 6 * 2 + 2
    assert tallies["forward"].random_bits == 0
    # Two blocks, three sources.
    assert tallies["update"].random_bits == 2 * 3 * p.update_bits
    assert tallies["update"].source_bits_read == 2 * 3 * p.random_width
    assert tallies["backward"] == Tally()


def test_sample_without_deltas_has_no_update() -> None:
    oracle = tiny_oracle(TINY, weight=0, bias=0)
    oracle.biases[2][0], oracle.biases[3][0] = 1 << 20, -(1 << 20)
    tallies = counted(oracle)
    assert tallies["loss"].selects > 0
    assert tallies["backward"] == tallies["update"] == Tally()


class _ProductOfDraw(CountingOracle):
    def _plus(self, total: int, t: int, x: int) -> int:
        return total + t * x


class _ProductOfPower(CountingOracle):
    def _scaled(self, d: int, x: int, e: int | None) -> int:
        return d * (1 << e)


class _ProductOfRate(CountingOracle):
    def _update_biases(self, layer: int, delta: list[int], rate_shift: int) -> None:
        super()._update_biases(layer, [2 * d for d in delta], rate_shift)


class _Quotient(CountingOracle):
    def _activation(self, z: int, shift: int) -> int:
        return super()._activation(z // 1, shift)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (CountingOracle, {"forward": 0, "loss": 0, "backward": 0, "update": 0}),
        (_ProductOfDraw, {"forward": 6, "loss": 0, "backward": 2, "update": 0}),
        (_ProductOfPower, {"forward": 0, "loss": 0, "backward": 0, "update": 6}),
        (_ProductOfRate, {"forward": 0, "loss": 0, "backward": 0, "update": 4}),
        (_Quotient, {"forward": 2, "loss": 0, "backward": 0, "update": 0}),
    ],
)
def test_planted_multiplication_is_counted(
    kind: type[CountingOracle], expected: dict[str, int]
) -> None:
    tallies = counted(tiny_oracle(TINY, weight=127, bias=40 << 8, kind=kind))
    assert {phase: tally.multiplications for phase, tally in tallies.items()} == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"connect": "none"}, {"forward": 6, "loss": 0, "backward": 2, "update": 0}),
        ({"quantizer": "none"}, {"forward": 0, "loss": 0, "backward": 0, "update": 6}),
        ({"quantizer": "stochastic"}, {"forward": 0, "loss": 0, "backward": 0, "update": 0}),
        ({"connect": "binary"}, {"forward": 0, "loss": 0, "backward": 0, "update": 0}),
        ({"min_exponent": 3}, {"forward": 0, "loss": 0, "backward": 0, "update": 0}),
    ],
)
def test_real_products_are_counted(changes: dict[str, object], expected: dict[str, int]) -> None:
    tallies = counted(tiny_oracle(TINY.replace(**changes), weight=100, bias=40 << 8))
    assert {phase: tally.multiplications for phase, tally in tallies.items()} == expected
    if changes == {"connect": "none"}:
        assert tallies["forward"].random_bits == 0
        assert tallies["forward"].additions == 6 + 2


@pytest.mark.parametrize("seed", range(12))
def test_counting_changes_nothing(seed: int) -> None:
    p = random_parameters(seed)
    pixels, labels = random_samples(p, seed, 4)
    plain, counting = Oracle(p), CountingOracle(p, State.initial(p))
    for image, label in zip(pixels.tolist(), labels.tolist(), strict=True):
        assert counting.sample(image, label) == plain.sample(image, label)
        assert counting.digest() == plain.digest()
    if "none" not in {p.connect, p.quantizer}:
        assert all(tally.multiplications == 0 for tally in counting.tallies.values())
    assert counting.tallies["forward"].additions > 0


@pytest.mark.parametrize("seed", range(4))
def test_batch_is_counted_too(seed: int) -> None:
    p = random_parameters(seed).replace(batch_bits=2)
    pixels, labels = random_samples(p, seed, 4)
    plain, counting = Oracle(p), CountingOracle(p, State.initial(p))
    tallies = counting.restart()
    predictions = plain.batch(pixels.tolist(), labels.tolist())
    assert counting.batch(pixels.tolist(), labels.tolist()) == predictions
    assert counting.digest() == plain.digest()
    if "none" not in {p.connect, p.quantizer}:
        assert all(tally.multiplications == 0 for tally in tallies.values())
    # Every weight is read once for the whole batch, and if some delta is not 0 once more.
    weights = sum(a * b for a, b in zip(p.layers, p.layers[1:], strict=False))
    assert tallies["forward"].weight_bits_read == weights * p.weight_bits
    assert tallies["update"].weight_bits_written in {0, weights * p.weight_bits}


def test_digest_is_not_counted() -> None:
    oracle = tiny_oracle(TINY, weight=0, bias=40 << 8)
    tallies = counted(oracle)
    oracle.digest()
    assert tallies == BY_HAND


def test_continues_from_a_state() -> None:
    p = random_parameters(3)
    pixels, labels = random_samples(p, 3, 6)
    plain = Oracle(p)
    for image, label in zip(pixels[:3].tolist(), labels[:3].tolist(), strict=True):
        plain.sample(image, label)
    state = State.initial(p)
    state.weights[:], state.biases[:] = plain.weights, plain.biases
    for name in ("draw", "update", "dropout"):
        getattr(state, name)[:] = getattr(plain, name)
    before = state.copy()
    counting = CountingOracle(p, state)
    for image, label in zip(pixels[3:].tolist(), labels[3:].tolist(), strict=True):
        assert counting.sample(image, label) == plain.sample(image, label)
    assert counting.digest() == plain.digest()
    assert state == before


def test_foreign_state_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^state\.weights must be "):
        CountingOracle(TINY, State.initial(TINY.replace(layers=(4, 2, 2))))


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (lambda x: x * 3, "multiplications"),
        (lambda x: 3 * x, "multiplications"),
        (lambda x: x // 3, "multiplications"),
        (lambda x: 30 % x, "multiplications"),
        (lambda x: x**2, "multiplications"),
        (lambda x: x + 3, "additions"),
        (lambda x: 3 - x, "additions"),
        (lambda x: -x, "additions"),
        (abs, "additions"),
        (lambda x: 1 << x, "shifts"),
        (lambda x: x >> Counted(1), "shifts"),
        (lambda x: x >> 1, "fixed_shifts"),
        (lambda x: x & 1, "selects"),
        (lambda x: ~x, "selects"),
        (lambda x: 1 | x, "selects"),
        (lambda x: 1 < x, "selects"),  # noqa: SIM300 (the reflected operator is the test)
        (lambda x: x == 3, "selects"),
        (lambda x: not x, "selects"),
        (lambda x: max(x, 3), "selects"),
    ],
)
def test_every_operator_counts_once(operation: object, name: str) -> None:
    Counted.tally = Tally()
    operation(Counted(7))
    assert Counted.tally == Tally(**{name: 1})


@pytest.mark.parametrize("operation", [lambda x: x / 2, lambda x: divmod(x, 2)])
def test_what_gives_no_integer_is_refused(operation: object) -> None:
    with pytest.raises(TypeError, match="integers only"):
        operation(Counted(7))


def test_no_operator_is_forgotten() -> None:
    """What an integer can do is counted, or is no arithmetic."""
    no_arithmetic = {
        *vars(object), "__float__", "__int__", "__index__", "__getnewargs__",
        "__pos__", "__round__", "__trunc__", "__floor__", "__ceil__",
    }  # fmt: skip
    special = {name for name in dir(int) if name.startswith("__")}
    assert special - set(vars(Counted)) - no_arithmetic == set()


def test_tallies_add_up() -> None:
    names = list(asdict(Tally()))
    one = Tally(**{name: index for index, name in enumerate(names)})
    assert asdict(one + one) == {name: 2 * index for index, name in enumerate(names)}
    assert one.bits_read == sum(value for name, value in asdict(one).items() if "read" in name)
    assert one.bits_written == sum(v for name, v in asdict(one).items() if "written" in name)
    assert PHASES == ("forward", "loss", "backward", "update")
