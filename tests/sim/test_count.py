"""``nomul count``: what it prints and writes, and that it is the sum of the samples."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import pytest

import sim.commands.count
from golden import Parameters
from golden.checkpoint import Checkpoint
from golden.network import Network
from golden.operations import CountingOracle
from golden.state import State
from sim.cli import cli
from sim.data import load_digits
from sim.published import PAPER_LAYERS, PAPER_MULTIPLICATIONS

SMALL = Parameters.named("digits").replace(layers=(64, 8, 10), lanes=4)


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "small.toml").write_text(SMALL.to_toml())


def count(*arguments: str) -> dict[str, object]:
    cli.main(["count", "--config", "small.toml", *arguments], standalone_mode=False)
    return json.loads(Path("nomul-out/count-small/operations.json").read_text())


def test_count(capsys: pytest.CaptureFixture[str]) -> None:
    report = count("--samples", "4")
    digits = load_digits(SMALL.activation_bits)

    oracle = CountingOracle(SMALL, State.initial(SMALL))
    with Path("nomul-out/count-small/operations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected, trained = [], 0
    for sample in range(4):
        tallies = oracle.restart()
        oracle.sample(digits.train_pixels[sample].tolist(), int(digits.train_labels[sample]))
        trained += tallies["update"].additions > 0
        expected += [
            {"first_sample": sample, "phase": phase, **asdict(tally)}
            for phase, tally in tallies.items()
        ]
    assert rows == [{name: str(value) for name, value in row.items()} for row in expected]
    assert report["batches_trained"] == trained > 0
    for phase, totals in report["totals"].items():
        for name, total in totals.items():
            assert total == sum(row[name] for row in expected if row["phase"] == phase)
        assert totals["multiplications"] == 0

    network = Network(SMALL)
    network.train(digits.train_pixels[:4], digits.train_labels[:4])
    assert report["state_sha256"] == network.state.digest()
    assert Parameters.load("nomul-out/count-small/config.toml") == SMALL

    paper = [each for each in report["published"] if each["layers"] == list(PAPER_LAYERS)]
    assert len(report["published"]) == 2 * len(paper) == 2 * len(PAPER_MULTIPLICATIONS)
    for each in paper:
        total = sum(totals["multiplications"] for totals in each["totals"].values())
        assert total == each["published_multiplications"]
    output = capsys.readouterr().out
    additions = sum(row["additions"] for row in expected) / 4
    assert "one training sample, mean of 4" in output
    assert f"{additions:,.0f}" in output
    for figure in PAPER_MULTIPLICATIONS.values():
        assert output.count(f" {figure:,} ") == 2


def test_count_from_a_state() -> None:
    network, digits = Network(SMALL), load_digits(SMALL.activation_bits)
    network.train(digits.train_pixels[:500], digits.train_labels[:500])
    Checkpoint(network.parameters, network.state).save(Path("state.npz"))
    report = count("--samples", "2", "--state", "state.npz")
    network.train(digits.train_pixels[:2], digits.train_labels[:2])
    assert report["state_sha256"] == network.state.digest()


def test_multiplications_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A multiplication in one sample of eight, which the mean must not hide."""

    class Faulty(CountingOracle):
        def _output_delta(self, z: list[int], label: int) -> list[int]:
            first = z[0] * 1 if self.samples == 0 else z[0]
            self.samples += 1
            return super()._output_delta([first, *z[1:]], label)

        samples = 0

    monkeypatch.setattr(sim.commands.count, "CountingOracle", Faulty)
    monkeypatch.setattr(sim.commands.count, "_count_published", lambda networks: {})
    report = count("--samples", "8")
    assert report["totals"]["loss"]["multiplications"] == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "multiplications  " in line]
    assert lines[0].count("0.125") == 2


def test_other_execution_than_the_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(CountingOracle):
        def _scaled(self, d: int, x: int, e: int | None) -> int:
            return super()._scaled(d, x, e) + 64

    monkeypatch.setattr(sim.commands.count, "CountingOracle", Faulty)
    with pytest.raises(RuntimeError, match="the counted execution and the functional model differ"):
        count("--samples", "3")
    assert list(Path("nomul-out").iterdir()) == []


def test_too_many_samples() -> None:
    with pytest.raises(ValueError, match=r"^--samples must be at most the 1437 of the training "):
        count("--samples", "1438")
    assert not Path("nomul-out").exists()


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["count", "--help"], standalone_mode=False)
    assert "Examples:\n    nomul count" in capsys.readouterr().out
