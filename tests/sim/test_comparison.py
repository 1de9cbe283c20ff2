"""Runs side by side: the settings that differ, what was reached, and all curves."""

import csv
from pathlib import Path

import pytest

from golden import Parameters
from golden.checkpoint import Checkpoint
from golden.state import State
from sim.cli import cli
from sim.run_folder import Run
from sim.training import Epoch
from tests.sim.test_curves import lines_of, random_epochs

PARAMETERS = Parameters.named("digits").replace(layers=(64, 8, 10), lanes=4, schedule=())


def write_run(
    path: Path, parameters: Parameters, epochs: list[Epoch], *, held_back: int = 0, in_all: int
) -> Run:
    """Write the folder of a run, complete if it has all epochs."""
    state = State.initial(parameters)
    report = {
        "epochs": in_all,
        "train_samples": 100,
        "validation_samples": held_back,
        "jitter": False,
        "samples_before": 0,
        "data": None,
    }
    run = Run.create(path, Checkpoint(parameters, state), report)
    run.draw = lambda: None  # type: ignore[method-assign] - the figures are another test's
    for epoch in epochs:
        run.add(epoch, state)
    if len(epochs) == in_all:
        run.finish(state, 3.25)
    return run


def compare(*runs: Path, output: Path) -> list[dict[str, str]]:
    arguments = ["experiment", "compare", *map(str, runs), "--output", str(output)]
    cli.main(arguments, standalone_mode=False)
    with (output / "comparison.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.commands.common.console.width", 80)
    narrow, wide, short = (tmp_path / name for name in ("narrow", "wide", "short"))
    epochs = random_epochs(1, 6, validation=True)
    best = min(epochs, key=lambda epoch: epoch.held_back_error)
    assert best is not epochs[-1]
    write_run(narrow, PARAMETERS, epochs, held_back=30, in_all=6)
    other = PARAMETERS.replace(layers=(64, 16, 10), margin_bits=7, schedule=(2, 9))
    write_run(wide, other, random_epochs(2, 4), in_all=4)
    write_run(short, PARAMETERS, random_epochs(3, 2), in_all=4)
    rows = compare(narrow, wide, short, output=tmp_path / "out")
    assert list(rows[0]) == [
        "run",
        "layers",
        "margin_bits",
        "schedule",
        "held_back",
        "epochs",
        "epochs_in_all",
        "best_validation_error",
        "best_validation_epoch",
        "last_validation_error",
        "test_error",
        "samples_per_second",
    ]
    assert list(rows[0].values()) == [
        "narrow",
        "[64, 8, 10]",
        str(PARAMETERS.margin_bits),
        "[]",
        "30",
        "6",
        "6",
        str(best.validation_error),
        str(best.epoch + 1),
        str(epochs[-1].validation_error),
        "3.25",
        "200.0",
    ]
    assert (rows[1]["margin_bits"], rows[1]["best_validation_error"]) == ("7", "")
    assert (rows[1]["test_error"], rows[1]["held_back"]) == ("3.25", "0")
    last = random_epochs(3, 2)[-1]
    assert (rows[2]["epochs"], rows[2]["epochs_in_all"]) == ("2", "4")
    assert rows[2]["test_error"] == str(last.test_error)
    table = capsys.readouterr().out
    for words in (
        "64,16,10",
        "margin_bits",
        "narrow",
        f"{best.held_back_error:.2f} % @{best.epoch + 1}",
        "2/4",
        f"{last.test_error:.2f} %",
    ):
        assert words in table
    assert "lanes" not in table
    lines = {
        name: len(points) for name, points in lines_of(tmp_path / "out/comparison.svg").items()
    }
    assert lines == {
        "narrow: validation": 6,
        "narrow: train": 6,
        "wide: test": 4,
        "wide: train": 4,
        "short: test": 2,
        "short: train": 2,
    }
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 10_000


def test_equal_names_and_no_epochs(tmp_path: Path) -> None:
    """Folders of one name are told apart by their paths; a run may have nothing yet."""
    paths = [tmp_path / place / "run" for place in ("a", "b")]
    for path in paths:
        write_run(path, PARAMETERS, [], in_all=4)
    rows = compare(*paths, output=tmp_path / "out")
    assert [row["run"] for row in rows] == [str(path) for path in paths]
    assert rows[0] | {"run": ""} == {
        "run": "",
        "epochs": "0",
        "epochs_in_all": "4",
        "best_validation_error": "",
        "best_validation_epoch": "",
        "last_validation_error": "",
        "test_error": "",
        "samples_per_second": "",
    }


def test_other_folders_stay(tmp_path: Path) -> None:
    write_run(tmp_path / "run", PARAMETERS, random_epochs(1, 2), in_all=2)
    with pytest.raises(FileExistsError, match="is not an output of nomul experiment compare"):
        compare(tmp_path / "run", output=tmp_path / "run")
    compare(tmp_path / "run", output=tmp_path / "out")
    compare(tmp_path / "run", output=tmp_path / "out")
    with pytest.raises(ValueError, match="out holds no run; give a folder that nomul train wrote"):
        compare(tmp_path / "out", output=tmp_path / "new")
    assert not (tmp_path / "new").exists()
