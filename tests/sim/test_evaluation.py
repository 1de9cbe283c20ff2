"""The evaluation of the inference rules: its figures, its files, its errors."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from golden import Parameters
from golden.checkpoint import Checkpoint
from golden.inference import Rule
from golden.network import MAX_DRAWS, Network
from sim.cli import cli
from sim.data import Dataset, load_digits
from sim.evaluation import evaluate, sample_passes

ROOT = Path(__file__).parents[2]

#: Few bits and a few epochs leave every rule with an error of its own.
PARAMETERS = Parameters.named("digits").replace(
    layers=(64, 24, 10),
    lanes=4,
    schedule=(),
    weight_bits=6,
    draw_bits=3,
    draw_steps=1,
    update_shifts=(12, 10),
)

EXPECTED: list[tuple[Rule, int, int]] = [
    ("sampled", 1, 1),
    ("sampled", 3, 3),
    ("thresholded", 1, 1),
    ("exact", 1, PARAMETERS.weight_fraction_bits),
    ("pow2", 1, 1),
]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_digits(PARAMETERS.activation_bits)


@pytest.fixture(scope="module")
def trained(digits: Dataset) -> Network:
    network = Network(PARAMETERS)
    for _ in range(4):
        network.train(digits.train_pixels, digits.train_labels)
    return network


@pytest.fixture
def folder(tmp_path: Path, trained: Network) -> Path:
    """Return a folder with a configuration and a trained state."""
    (tmp_path / "small.toml").write_text(PARAMETERS.to_toml())
    Checkpoint(PARAMETERS, trained.state).save(tmp_path / "state.npz")
    return tmp_path


def errors(network: Network, digits: Dataset, samples: int) -> list[int]:
    wrong = []
    for rule, draws, _ in EXPECTED:
        predictions = network.infer(digits.test_pixels[:samples], rule, draws)
        wrong.append(int(np.sum(predictions != digits.test_labels[:samples])))
    return wrong


def test_results_are_those_of_the_network(trained: Network, digits: Dataset) -> None:
    before = trained.state.copy()
    done: list[int] = []
    results = list(
        evaluate(trained, digits.test_pixels, digits.test_labels, [1, 3], progress=done.append)
    )
    assert [(each.rule, each.draws, each.passes) for each in results] == EXPECTED
    wrong = [each.errors for each in results]
    assert wrong == errors(trained, digits, 360)
    assert len(set(wrong)) == len(wrong)
    assert max(wrong) < 180
    assert [each.error_percent for each in results] == [100 * each / 360 for each in wrong]
    assert all(each.samples == 360 and each.microseconds_per_sample > 0 for each in results)
    assert done == sorted(done)
    assert done[-1] == sample_passes([1, 3], 360) == 360 * 7
    assert trained.state == before


@pytest.mark.parametrize("samples", [None, 50])
def test_command(
    folder: Path,
    trained: Network,
    digits: Dataset,
    samples: int | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    arguments = ["evaluate", "--config", "small.toml", "--state", "state.npz", "--draws", "1, 3"]
    arguments += [] if samples is None else ["--samples", str(samples)]
    cli.main(arguments, standalone_mode=False)
    count = samples or 360
    wrong = errors(trained, digits, count)
    out = folder / "nomul-out" / "evaluate-small"

    report = json.loads((out / "evaluation.json").read_text())
    assert report["state_sha256"] == trained.state.digest()
    assert report["samples"] == count
    assert Parameters.from_dict(report["parameters"]) == PARAMETERS
    assert [each["errors"] for each in report["results"]] == wrong
    with (out / "evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["rule"], int(row["draws"]), int(row["passes"])) for row in rows] == EXPECTED
    assert [int(row["errors"]) for row in rows] == wrong
    assert [float(row["error_percent"]) for row in rows] == [100 * each / count for each in wrong]

    shown = capsys.readouterr().out
    assert f"output: {out}" in shown
    for (rule, _, passes), mistakes in zip(EXPECTED, wrong, strict=True):
        [line] = [
            each
            for each in shown.splitlines()
            if each.strip("│ ").startswith(rule) and f" {passes} " in each
        ]
        assert f" {mistakes} " in line
        assert f" {100 * mistakes / count:.2f} % " in line


def test_missing_state_is_one_line(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from sim.cli import main; main()", "evaluate", "--state", "none"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "nomul: error: none: No such file or directory\n")
    assert not (folder / "nomul-out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--state", "small.toml"], "small.toml is not a"),
        (["--state", "other.npz"], "other.npz"),
        (["--state", "state.npz", "--samples", "361"], "--samples 361: the test set has 360"),
        (["--state", "state.npz", "--draws", "1,0"], f"draws must be in 1..{MAX_DRAWS}, not 0"),
        (["--state", "state.npz", "--data", "."], "no train-images-idx3-ubyte"),
    ],
)
def test_failures_are_told(
    folder: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = PARAMETERS.replace(layers=(64, 15, 10))
    Checkpoint(other, Network(other).state).save(folder / "other.npz")
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        cli.main(["evaluate", "--config", "small.toml", *arguments], standalone_mode=False)
    assert "\n" not in str(caught.value)
    assert not list(folder.glob("nomul-out/*"))
    assert not list(folder.glob("nomul-out/.*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing parameter: state"),
        (["--state", "state.npz", "--draws", "1,,2"], "'1,,2' is not a list of numbers"),
        (["--state", "state.npz", "--draws", "-1"], "'-1' is not a list of numbers"),
        (["--state", "state.npz", "--samples", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage(
    folder: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(click.UsageError, match=words) as caught:
        cli.main(["evaluate", *arguments], standalone_mode=False)
    assert caught.value.exit_code == 2
    assert not (folder / "nomul-out").exists()
