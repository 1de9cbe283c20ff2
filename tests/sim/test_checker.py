"""The parts of the lockstep that decide: reading bits, packing payloads, finding the end."""

import dataclasses
import random
import re
from pathlib import Path

import numpy as np
import pytest

from golden import Parameters
from golden.clocked import Clocked
from golden.network import Network
from golden.state import State
from hdl.shapes import sample_shape
from hdl.verilog import generate
from sim import lockstep as lockstep_module
from sim.divergence import DivergenceError
from sim.lockstep import LockstepResult, Stimulus, _IdleWatch, _Words, lockstep, payloads_of
from sim.simulators import SimulationFailed
from tests.configurations import random_samples

PARAMETERS = Parameters(
    layers=(7, 3),
    lanes=2,
    pixels_per_beat=3,
    activation_bits=5,
    activation_shifts=(2,),
    delta_shifts=(),
    update_shifts=(7,),
    schedule=(1, 2, 3),
)
SAMPLES = 6


def samples() -> Stimulus:
    pixels, labels = random_samples(PARAMETERS, 1, SAMPLES)
    return Stimulus(
        pixels=pixels,
        labels=labels,
        train=np.array([1, 1, 0, 1, 0, 1], np.bool_),
        rate_shift=np.array([0, 3, 1, 0, 0, 2]),
        epoch=np.zeros(SAMPLES, np.int64),
        rule=np.array([0, 1, 0, 1, 1, 0]),
        draws=np.array([1, 256, 3, 1, 1, 2]),
        sparse=np.array([0, 0, 1, 1, 0, 1], np.bool_),
    )


def run(
    folder: Path, pattern: str = "", replacement: str = "", stalls: float = 0
) -> LockstepResult:
    """Run the samples on gateware whose text is edited in one place."""
    generated = generate(PARAMETERS, State.initial(PARAMETERS), probed=True)
    if pattern:
        text, count = re.subn(pattern, replacement, generated.verilog)
        assert count == 1
        generated = dataclasses.replace(generated, verilog=text)
    return lockstep(
        PARAMETERS,
        samples(),
        folder=folder,
        simulator="icarus",
        generated=generated,
        stalls=stalls,
    )


@pytest.mark.parametrize("seed", range(20))
def test_words_are_read(seed: int) -> None:
    rng = random.Random(seed)
    fields, rows, low = [], [0, 0, 0], 0
    words: list[list[int]] = [[], [], []]
    for _ in range(rng.randint(1, 12)):
        bits, signed = rng.randint(1, 64), rng.random() < 0.5
        fields.append((low, bits, signed))
        for row in range(3):
            word = rng.choice((0, 1, (1 << bits) - 1, 1 << (bits - 1), rng.getrandbits(bits)))
            rows[row] |= word << low
            # A 64-bit word is a bit pattern, signed or not.
            negative = word >> (bits - 1) and (signed or bits == 64)
            words[row].append(word - (1 << bits) if negative else word)
        low += bits
    text = "".join(f"{row:0{low}b}" for row in rows).encode()
    characters = np.frombuffer(text, np.uint8).reshape(3, low)
    got, unknown = _Words(fields).unpack(characters)
    assert got.tolist() == words
    assert unknown == -1


@pytest.mark.parametrize("character", "xXzZuUwW-lLhH23 ")
def test_unknown_bits_are_found(character: str) -> None:
    """Whatever is not 0 or 1 is found, at each place; the first one counts."""
    fields = [(0, 3, False), (3, 1, False), (4, 4, True)]
    for row in range(2):
        for place in range(8):
            text = bytearray(b"00000000" * 2)
            text[8 * row + place] = ord(character)
            text[15] = ord(character)
            characters = np.frombuffer(bytes(text), np.uint8).reshape(2, 8)
            word = 2 if place < 4 else 1 if place == 4 else 0
            assert _Words(fields).unpack(characters)[1] == min(3 * row + word, 3)


def test_payloads_are_the_streams() -> None:
    """Payloads have the layout that the gateware declares."""
    stream = samples().stream(PARAMETERS)
    rows = payloads_of(PARAMETERS, stream)
    shape = sample_shape(PARAMETERS)
    for each in range(len(stream)):
        fields = {
            "pixels": stream.pixels[each].tolist(),
            "index": int(stream.first[each]),
            "last": int(stream.last[each]),
            "label": int(stream.label[each]),
            "train": int(stream.train[each]),
            "shift": int(stream.shift[each]),
            "rule": int(stream.rule[each]),
            "extra_draws": int(stream.extra_draws[each]),
        }
        assert int.from_bytes(rows[each].tobytes(), "little") == shape.const(fields).as_bits()


def test_first_idle_clock() -> None:
    """Idle is the first clock after the last transfer in which nothing is left to do."""
    columns = {"in_ready": 0, "state": 1, "list_open": 2, "out_valid": 4}
    clocks = [
        # valid, in_ready, state, list_open[0], list_open[1], out_valid
        (0, 1, 0, 0, 0, 0),  # nothing has come yet
        (1, 1, 0, 0, 0, 0),
        (1, 0, 0, 1, 0, 0),
        (1, 1, 0, 0, 0, 0),  # the last one is taken in this clock
        (0, 1, 0, 0, 1, 0),
        (0, 1, 2, 0, 0, 0),
        (0, 1, 0, 0, 0, 1),
        (0, 1, 0, 0, 0, 0),
        (0, 1, 0, 0, 0, 0),
    ]
    table = np.array(clocks, np.int64)
    for cut in range(1, len(clocks)):
        watch = _IdleWatch(columns, 2)
        for part in (table[:cut], table[cut:]):
            watch.feed(part[:, 1:], part[:, 0].astype(np.uint8))
        assert watch.idle_clock == 7


def test_stalls_cost_clocks_and_nothing_else(tmp_path: Path) -> None:
    without, with_stalls = run(tmp_path / "0"), run(tmp_path / "1", stalls=0.95)
    assert with_stalls.clocks > without.clocks + 100
    assert with_stalls.state == without.state
    assert with_stalls.predictions.tolist() == without.predictions.tolist()


@pytest.mark.parametrize(("bit", "name"), [(2, "label"), (4, "train")])
def test_fault_in_a_record(bit: int, name: str, tmp_path: Path) -> None:
    """Label and mode of a prediction are no probes: only the stream shows them."""
    pattern = r"( predictions__payload) <= (\w+);"
    with pytest.raises(DivergenceError, match=rf"sample 0, {name} of its record"):
        run(tmp_path, pattern, rf"\1 <= \2 ^ {1 << bit};")


def test_wrong_prediction_of_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = run(tmp_path).clocks
    monkeypatch.setattr(Clocked, "clocks_until_idle", lambda model: right + 1)
    expected = rf"clocks until idle\n  expected  {right + 1}\n  got       {right}\n"
    with pytest.raises(DivergenceError, match=expected):
        run(tmp_path)


@pytest.mark.parametrize("field", ["weights", "biases", "draw", "update"])
def test_functional_model_counts_too(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gateware and clocked model agree, but the functional model ends elsewhere."""

    def slip(network: Network, stimulus: Stimulus) -> object:
        predictions = functional_run(network, stimulus)
        getattr(network.state, field)[-1:] += np.array(1, getattr(network.state, field).dtype)
        return predictions

    functional_run = lockstep_module.functional_run
    monkeypatch.setattr(lockstep_module, "functional_run", slip)
    with pytest.raises(DivergenceError, match="against the functional model"):
        run(tmp_path)


def test_nothing_compared_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(checker: object, pipe: object) -> tuple[object, ...]:
        return (0, 0, None, None)

    monkeypatch.setattr(lockstep_module.Checker, "_check", check)
    monkeypatch.setattr(lockstep_module, "run_testbench", lambda *arguments, **options: 1)
    with pytest.raises(SimulationFailed, match="nothing was compared"):
        run(tmp_path)


def test_simulation_that_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockstep_module, "run_testbench", lambda *arguments, **options: 1)
    with pytest.raises(SimulationFailed, match="ended before it was done"):
        run(tmp_path)


def test_bad_stimulus(tmp_path: Path) -> None:
    nothing = dataclasses.replace(
        samples(), **{name: getattr(samples(), name)[:0] for name in ("pixels", "labels", "train")}
    )
    with pytest.raises(ValueError, match="samples must be at least 1"):
        lockstep(PARAMETERS, nothing, folder=tmp_path)
    bright = dataclasses.replace(samples(), pixels=samples().pixels + 32)
    with pytest.raises(ValueError, match=r"pixels must be in 0\.\.31"):
        lockstep(PARAMETERS, bright, folder=tmp_path)
    with pytest.raises(ValueError, match="probability of stalls"):
        lockstep(PARAMETERS, samples(), folder=tmp_path, stalls=1.0)
