"""The trainer with multipliers learns what the golden model without connect and quantizer does."""

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *
from click.testing import CliRunner

from benchmarks.baseline import __main__ as command
from benchmarks.baseline import trainer as baseline
from golden import Parameters
from golden.clocked import transfers
from golden.layout import Layout
from golden.oracle import Oracle
from golden.packing import Packing
from golden.state import State
from sim.clocks import count_clocks
from sim.data import Dataset, load
from sim.harness import Recording, Trainer, library
from sim.lockstep import payloads_of
from sim.synthesis.families import Resources
from sim.synthesis.mapping import Synthesis
from sim.synthesis.placement import Target
from sim.synthesis.report import UNMEASURED
from sim.synthesis.tools import SynthesisError

PARAMETERS = baseline.with_multipliers(
    Parameters.named("digits").replace(layers=(64, 21, 10), lanes=8)
)
SAMPLES = 60


def images() -> tuple[np.ndarray, np.ndarray]:
    """Return pixels and labels; a blank image leaves a list without an entry."""
    dataset = load(PARAMETERS, None)
    pixels = dataset.train_pixels[:SAMPLES].copy()
    pixels[[0, 7]] = 0
    return pixels, dataset.train_labels[:SAMPLES]


def train(cache: Path) -> Recording:
    """Train the gateware, and return its memories."""
    p = PARAMETERS
    generated = baseline.generate_baseline(p, State.initial(p), probed=True)
    trainer = Trainer(p, library(p, generated, cache))
    try:
        trainer.offer(payloads_of(p, transfers(p, *images(), 1, 0)), SAMPLES)
        assert trainer.run_free(1_000_000) < 1_000_000
        return trainer.record(trainer.recording(100), np.zeros(0, np.uint8), 3)
    finally:
        trainer.close()


def differences(recording: Recording) -> int:
    """Return how many rows of weights and biases are not the golden model's."""
    p, layout = PARAMETERS, Layout.of(PARAMETERS)
    oracle = Oracle(p)
    for pixels, label in zip(*images(), strict=True):
        oracle.sample(pixels.tolist(), int(label), train=True)
    count = 0
    for words, bits, rows, got in (
        (oracle.weights, p.weight_bits, layout.rows, recording.weights),
        (oracle.biases, p.bias_bits, layout.block_rows, recording.biases),
    ):
        want = Packing([bits] * p.lanes).pack(np.array(words, np.int64))
        count += int((want != got[:rows]).any(axis=1).sum())
    return count


def test_it_learns_what_the_golden_model_learns(tmp_path: Path) -> None:
    assert differences(train(tmp_path)) == 0


class NoBias(baseline.MultiplierLane):
    """An empty list forgets the bias."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.accumulate6 & self.first6):
            m.d.sync += self.accumulator.eq(0)
        return m


def test_a_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline.MultiplierTrainer, "lane_type", NoBias)
    assert differences(train(tmp_path)) > 0


def test_clocks_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the clocked golden model, and a clock for each part that the samples come in."""
    p = Parameters.named("digits").replace(layers=(64, 21, 10), lanes=8)
    dataset = load(p, None)
    pixels, labels = dataset.train_pixels[:SAMPLES], dataset.train_labels[:SAMPLES]
    few = Dataset(pixels, labels, pixels, labels)
    wanted = count_clocks(p, State.initial(p), few, 0, lambda done: None)["clocks"]
    monkeypatch.setattr(command, "_PART", SAMPLES - 1)
    clocks = command._clocks(command.Build("shifts", p), dataset, SAMPLES)
    assert round(SAMPLES * clocks) == round(SAMPLES * wanted) + 2


def test_a_seed_that_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Nothing else is lost: there is no clock, and a line says why."""
    p = Parameters.named("digits").replace(layers=(64, 21, 10), lanes=8)

    def fails(*arguments: object) -> None:
        raise SynthesisError("no route")

    netlist = Synthesis(Path(), {"LUT4": 1000}, Resources(1000, 1, 1, 0))
    monkeypatch.setattr(command, "_clocks", lambda *arguments: 50.0)
    monkeypatch.setattr(command, "synthesize", lambda *arguments, **options: netlist)
    monkeypatch.setattr(command, "place", fails)
    build = command.Build("shifts", p)
    target = Target("85F", 6, 150.0, "heap")
    result = command._measure(build, load(p, None), SAMPLES, target, 1, lambda step: None)
    assert result["luts"] == 1000
    assert result["seeds"] == [{"seed": 1, "fmax_mhz": None, "fault": "no route"}]
    assert capsys.readouterr().err == "nomul: seed 1 has no figures: no route\n"
    assert command._table([result]).count(UNMEASURED) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--samples", "1438"], 1, "--samples 1438: the data set has 1437; use --samples 1437"),
        (["--samples", "0"], 2, "0 is not in the range x>=1"),
        (["--output", "."], 1, "exists and is not an output of nomul benchmarks.baseline; remove"),
    ],
)
def test_bad_options(
    arguments: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told in one line, before any work."""

    def works(*arguments: object) -> None:
        raise AssertionError("it works")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_measure", works)
    samples = ["--config", "digits", "--samples", "100"]
    done = CliRunner().invoke(command.baseline, [*samples, *arguments])
    assert done.exit_code == code
    (line,) = [each for each in done.output.splitlines() if each.startswith("Error: ")]
    assert message in line
    assert not list(tmp_path.iterdir())
