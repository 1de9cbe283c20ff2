"""A divergence is found where it is and told as it is; test_faults.py plants one in each unit."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from vcd.reader import TokenKind, tokenize

import sim.lockstep
from golden import Parameters
from golden.layout import Layout
from golden.state import State
from hdl.verilog import generate
from sim.divergence import AFTER, BEFORE, WINDOW_FILE, DivergenceError, word_place
from sim.lockstep import LockstepResult, Stimulus, lockstep
from tests.configurations import random_samples

PARAMETERS = Parameters(
    layers=(9, 6, 4),
    lanes=4,
    pixels_per_beat=4,
    activation_shifts=(2, 2),
    delta_shifts=(2,),
    update_shifts=(8, 8),
)
SAMPLES = 12
WORD = PARAMETERS.lanes * PARAMETERS.weight_bits


def run(folder: Path, edit: Callable[[str], str], state: State | None = None) -> LockstepResult:
    """Run edited gateware; pixel 0 is always zero, so row 0 of the weights is never read."""
    pixels, labels = random_samples(PARAMETERS, 3, SAMPLES)
    pixels[0] |= 1
    pixels[:, 0] = 0
    zeros = np.zeros(SAMPLES, np.int64)
    generated = generate(PARAMETERS, State.initial(PARAMETERS), probed=True)
    text = edit(generated.verilog)
    return lockstep(
        PARAMETERS,
        Stimulus(pixels, labels, np.ones(SAMPLES, np.bool_), zeros, zeros + 5),
        folder=folder,
        simulator="icarus",
        state=state,
        generated=dataclasses.replace(generated, verilog=text),
        replay="nomul cosim --config c.toml",
    )


def report(folder: Path, edit: Callable[[str], str], state: State | None = None) -> str:
    with pytest.raises(DivergenceError) as caught:
        run(folder, edit, state)
    return str(caught.value)


def initial_word(row: int, digits: str) -> Callable[[str], str]:
    """Return an edit that lets a row of the weights start at other digits."""

    def edit(text: str) -> str:
        pattern = rf"(weights\[{row}\]) = {WORD}'\w+;"
        edited, count = re.subn(pattern, rf"\1 = {WORD}'h{digits};", text)
        assert count == 1
        return edited

    return edit


def test_no_divergence(tmp_path: Path) -> None:
    result = run(tmp_path, lambda text: text)
    assert result.samples == SAMPLES
    assert not (tmp_path / WINDOW_FILE).exists()


def test_report(tmp_path: Path) -> None:
    """Row 1, column 1 of layer 1, starts at 85 in all lanes, but the seeded weights do not."""
    weights = State.initial(PARAMETERS).weights[1]
    lane = int(np.flatnonzero(weights != 85)[0])
    text = report(tmp_path, initial_word(1, "55555555"))
    step = r"epoch 5, sample \d+, FORWARD, layer 1, block 0, entry at position \d+, column 1"
    assert re.search(rf"^  where     {step}, lane {lane}: weight$", text, re.MULTILINE)
    assert "  unit      weights\n" in text
    expected = int(weights[lane])
    assert f"  expected  {expected} ({expected / 128:g})\n  got       85 (0.664062)\n" in text
    sample = int(re.search(r"sample (\d+)", text)[1])
    replay = f"nomul cosim --config c.toml --samples {sample + 1} --waves"
    assert text.endswith(f"  replay    {replay}")


def test_unknown_bits_are_a_divergence(tmp_path: Path) -> None:
    text = report(tmp_path, initial_word(1, "xxxxxxxx"))
    assert "lane 0: weight\n" in text
    assert "  got       0bXXXXXXXX\n" in text


def test_unknown_bits_are_no_zeros(tmp_path: Path) -> None:
    """Lanes 2 and 3 of block 1 are padding: zeros are expected there, and unknown bits are none."""
    lanes = "".join(
        f"{int(word) & 255:02x}" for word in State.initial(PARAMETERS).weights[10, 1::-1]
    )
    text = report(tmp_path, initial_word(10, f"xxxx{lanes}"))
    assert "layer 1, block 1, " in text
    assert "column 1, lane 2: weight\n" in text
    assert "  expected  0 (0)\n  got       0bXXXXXXXX\n" in text


def test_same_in_short_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a recording ends makes no difference: steps begin and windows reach beyond it."""
    whole = report(tmp_path / "whole", initial_word(1, "55555555"))
    monkeypatch.setattr(sim.lockstep, "_PIPE_BYTES", 0)
    short = report(tmp_path / "short", initial_word(1, "55555555"))
    job = json.loads((tmp_path / "short" / "simulation" / "job.json").read_text())
    assert job["chunk"] == 16
    assert short == whole
    windows = [(tmp_path / each / WINDOW_FILE).read_text() for each in ("whole", "short")]
    assert windows[0] == windows[1]


def test_window_file(tmp_path: Path) -> None:
    text = report(tmp_path, initial_word(1, "55555555"))
    clock = int(re.search(r"clock     (\d+)", text)[1])
    names: dict[str, tuple[str, ...]] = {}
    values: dict[str, object] = {}
    at_divergence: dict[tuple[str, ...], object] = {}
    times = []
    scope: list[str] = []
    with (tmp_path / WINDOW_FILE).open("rb") as file:
        for token in tokenize(file):
            if token.kind is TokenKind.SCOPE:
                scope.append(token.scope.ident)
            elif token.kind is TokenKind.UPSCOPE:
                scope.pop()
            elif token.kind is TokenKind.VAR:
                names[token.var.id_code] = (*scope, token.var.reference)
            elif token.kind is TokenKind.CHANGE_TIME:
                times.append(token.time_change)
            elif token.kind is TokenKind.CHANGE_VECTOR:
                values[token.vector_change.id_code] = token.vector_change.value
            elif token.kind is TokenKind.CHANGE_SCALAR:
                values[token.scalar_change.id_code] = token.scalar_change.value
            if not times or times[-1] <= clock:
                at_divergence = {names[code]: value for code, value in values.items()}
    assert times[0] >= max(0, clock - BEFORE)
    assert times[-1] == clock + AFTER
    weights = State.initial(PARAMETERS).weights[1]
    for lane in range(4):
        got = at_divergence["weights", f"weight_{lane}_got"]
        expected = at_divergence["weights", f"weight_{lane}_expected"]
        assert (got, expected) == (85, int(weights[lane]) & 255)
    differing = {
        name[1].removesuffix("_got")
        for name, value in at_divergence.items()
        if name[1].endswith("_got")
        and value != at_divergence[name[0], name[1].replace("_got", "_expected")]
    }
    assert differing <= {f"weight_{lane}" for lane in range(4)} | {
        f"draw_{lane}" for lane in range(4)
    }


@pytest.mark.parametrize("digits", ["00000001", "0000000x"])
def test_end_check(digits: str, tmp_path: Path) -> None:
    """A word that no step ever reads is wrong: only the comparison at the end can see it."""
    text = report(tmp_path, initial_word(0, digits))
    assert text.startswith("golden != RTL: after the last sample\n")
    assert "weights, layer 1, block 0, column 0, lane " in text
    if "x" not in digits:
        assert "against the clocked model\n" in text


def test_other_state(tmp_path: Path) -> None:
    """The gateware starts at one state, the models at another that differs in one bias."""
    state = State.initial(PARAMETERS)
    state.biases[1, 1] = 1 << PARAMETERS.bias_fraction_bits
    text = report(tmp_path, lambda text: text, state)
    assert re.search(r"layer 1, block 1, .* lane 1: accumulator$", text, re.MULTILINE)
    assert "  unit      accumulate\n" in text


def test_hanging_gateware(tmp_path: Path) -> None:
    """A gateware that stops is told at the register that stands still."""

    def edit(text: str) -> str:
        edited, count = re.subn(
            r"assign samples__ready = .*;", "assign samples__ready = 1'h0;", text
        )
        assert count >= 1
        return edited

    assert "loader" in report(tmp_path, edit)


def test_word_places() -> None:
    layout = Layout.of(PARAMETERS)
    assert layout.row_base == (0, 18)
    places = {
        ("weights", 17, 3): "weights, layer 1, block 1, column 8, lane 3 (unit 7)",
        ("weights", 18, 0): "weights, layer 2, block 0, column 0, lane 0 (unit 0)",
        ("weights", 23, 1): "weights, layer 2, block 0, column 5, lane 1 (unit 1)",
        ("biases", 1, 1): "biases, layer 1, block 1, lane 1 (unit 5)",
        ("biases", 2, 1): "biases, layer 2, block 0, lane 1 (unit 1)",
        ("draw", 0, 0): "source 0 of DRAW",
    }
    for word, place in places.items():
        assert word_place(PARAMETERS, *word) == place
