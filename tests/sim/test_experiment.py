"""Experiments: what the studies vary, runs that are kept and taken up again, the reports."""

import csv
import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from golden.network import Network
from golden.parameters import Parameters
from golden.state import State
from sim.cli import main
from sim.data import load_digits
from sim.experiment import runs
from sim.experiment.activations import dense_weights, exact_layers, exponent_counts
from sim.experiment.columns import COLUMNS
from sim.experiment.paper_mnist import DIGITS, paper_mnist
from sim.experiment.report import Spread
from sim.experiment.runner import open_folder, run_all
from sim.experiment.runs import FloatRun, Images, IntegerRun, load_split
from sim.experiment.split import Split
from sim.experiment.studies import QUICK, STUDIES, with_epochs, with_seed, with_weight_bits
from sim.training import default_epochs

TINY = QUICK.replace(layers=(64, 12, 10))

STUDIED = ("columns", "update-bits")


def quick(output: Path, *studies: str, epochs: int = 1, seeds: int = 1) -> None:
    paper_mnist(
        "mnist-small",
        None,
        output,
        studies=studies,
        epochs=epochs,
        seeds=seeds,
        jobs=2,
        quick=True,
        float_epochs=0,
    )


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int | str | None:
    """Return the exit code of the command line."""
    command = ["nomul", "experiment", "paper-mnist", *map(str, arguments)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as exit_info:
        main()
    return exit_info.value.code


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- what is varied


def test_split_keeps_the_last_training_images() -> None:
    digits = load_digits(8)
    split = Split.of(digits, 287)
    assert len(split.train_labels) == 1150
    assert np.array_equal(
        np.concatenate([split.train_pixels, split.validation_pixels]), digits.train_pixels
    )
    assert np.array_equal(
        np.concatenate([split.train_labels, split.validation_labels]), digits.train_labels
    )
    assert np.array_equal(split.test_pixels, digits.test_pixels)
    for images in (0, 1437):
        with pytest.raises(ValueError, match="validation images must be"):
            Split.of(digits, images)


@pytest.mark.parametrize("config", ["quick", "digits", "mnist-small", "mnist-paper"])
@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_distinct_points_on_every_configuration(name: str, config: str) -> None:
    base = QUICK if config == "quick" else Parameters.named(config)
    study = STUDIES[name](base)
    assert study.name == name
    places = [(point.series, point.label) for point in study.points]
    assert len(set(places)) == len(places) >= 2
    # The unbounded ends of the two series of exponents are both the configuration itself.
    shared = 1 if name == "exponents" else 0
    assert len({point.parameters for point in study.points}) == len(places) - shared


def test_what_the_studies_vary() -> None:
    base = Parameters.named("mnist-small")
    by_name = {name: make(base).points for name, make in STUDIES.items()}
    full, binary, binary_qbp, ternary_qbp = (point.parameters for point in by_name["columns"])
    assert [p.connect for p in (full, binary, binary_qbp, ternary_qbp)] == [
        column.connect for column in COLUMNS.values()
    ]
    assert (full.weight_bits, full.update_shifts) == (16, (3, 3, 3))
    assert [p.quantizer == "none" for p in (full, binary)] == [True, True]
    assert binary.activation_shifts == (5, 5, 4)
    assert ternary_qbp == base.replace(draw_steps=1)
    assert by_name["draw-steps"][1].parameters == base
    exponents = [point.parameters for point in by_name["exponents"]]
    assert [p.max_exponent for p in exponents[:9]] == [0, 1, 2, 3, 4, 5, 6, 7, 16]
    assert [p.min_exponent for p in exponents[9:]] == list(range(9))
    weights = [point.parameters for point in by_name["weight-bits"]]
    assert [p.weight_bits for p in weights] == list(range(4, 17))
    # A step is 2**-k of an LSB, an LSB 2**-F: their sum is the step's part of the range.
    assert {p.update_shifts[0] + p.weight_fraction_bits for p in weights} == {18}
    assert [p.draw_bits for p in weights] == [2, 3, 4, 5, 6, 7, *[8] * 7]
    assert [p.parameters.draw_bits for p in by_name["draw-bits"]] == list(range(1, 7))
    assert [p.parameters.update_bits for p in by_name["update-bits"]] == [1, 2, 3, 6, 8]
    assert [
        (p.parameters.random_sources, p.parameters.random_width) for p in by_name["random-source"]
    ] == list(itertools.product((1, 64), (16, 32, 64)))
    # The narrowest weights leave two bits to draw away.
    assert with_weight_bits(base, 4).draw_shift == 2


def test_epochs_stretch_the_schedule() -> None:
    base = Parameters.named("mnist-small")
    assert default_epochs(base) == 60
    assert with_epochs(base, 60) == base
    assert with_epochs(base, 30).schedule == (15, 19, 22, 25, 27, 28)
    assert with_epochs(base, 8).schedule == (4, 5, 6, 7)
    assert with_epochs(base, 1).schedule == (0,)


def test_seeds_share_no_source() -> None:
    assert with_seed(TINY, 1) == TINY
    used = [
        getattr(with_seed(TINY, seed), f"{name}_seed")
        for seed in (1, 2, 3)
        for name in ("draw", "update", "weight", "dropout")
    ]
    assert sorted(used) == list(range(1, 13))


def test_results_are_kept_by_everything_they_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    run = IntegerRun(TINY, 3, DIGITS)
    assert run.file == IntegerRun(TINY.replace(), 3, Images("digits", 287)).file
    others = [
        IntegerRun(TINY.replace(update_bits=7), 3, DIGITS),
        IntegerRun(TINY, 4, DIGITS),
        IntegerRun(TINY, 3, Images("digits", 288)),
        IntegerRun(TINY, 3, Images("mnist", 287)),
    ]
    files = {each.file for each in [run, *others]}
    assert len(files) == 5
    monkeypatch.setattr(runs, "CONTRACT_VERSION", runs.CONTRACT_VERSION + 1)
    assert run.file not in files


# --- what flows through a network


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("dropout", [0, 2])
def test_exact_layers_are_those_of_the_golden_model(seed: int, dropout: int) -> None:
    # 13 and 10 units on 4 lanes leave padding; three layers have a hidden one behind another.
    p = with_seed(
        TINY.replace(
            layers=(64, 13, 9, 10),
            lanes=4,
            activation_shifts=(4, 3, 2),
            delta_shifts=(2, 2),
            update_shifts=(11, 11, 10),
            input_dropout_bits=dropout,
        ),
        seed,
    )
    state = State.initial(p)
    random = np.random.default_rng(seed)
    state.biases[:] = random.integers(-4000, 4001, state.biases.shape)
    digits = load_digits(8)
    *inputs, sums = exact_layers(p, state, digits.test_pixels)
    assert [values.shape for values in inputs] == [(360, 64), (360, 13), (360, 9)]
    assert all(len(np.unique(values)) > 10 for values in inputs)
    predictions = sums.argmax(1)
    assert np.array_equal(predictions, Network(p, state).infer(digits.test_pixels))
    assert len(np.unique(predictions)) > 1


def test_dense_weights_follow_the_memory_order() -> None:
    p = TINY.replace(layers=(64, 13, 10), lanes=4)
    state = State.initial(p)
    first, second = dense_weights(p, state)
    assert first.shape == (13, 64)
    assert second.shape == (10, 13)
    # Contract, section 3: unit i is lane i mod P of block i div P.
    assert first[6, 5] == state.weights[64 + 5, 2]
    assert first[12, 63] == state.weights[3 * 64 + 63, 0]
    assert second[9, 1] == state.weights[4 * 64 + 2 * 13 + 1, 1]


def test_exponent_counts() -> None:
    values = np.arange(256).reshape(2, 128)
    assert exponent_counts(values, 8) == [1, 1, 2, 4, 8, 16, 32, 64, 128]
    assert exponent_counts(np.array([[0, 0, 3]]), 4) == [2, 0, 1, 0, 0]


# --- runs and reports


@pytest.fixture(scope="module")
def finished_experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("once") / "experiment"
    quick(output, *STUDIED, epochs=2, seeds=2)
    return output


@pytest.fixture
def measured(finished_experiment: Path, tmp_path: Path) -> Path:
    """Return a copy of a finished experiment."""
    return Path(shutil.copytree(finished_experiment, tmp_path / "experiment"))


def test_an_experiment_measures_what_the_golden_model_does(measured: Path) -> None:
    with (measured / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["study"], row["point"], row["seed"]) for row in rows] == [
        (study, str(point), str(seed))
        for study, points in (
            ("columns", [column.title for column in COLUMNS.values()]),
            ("update-bits", (1, 2, 3, 6, 8)),
        )
        for point in points
        for seed in (1, 2)
    ]
    # Ternary connect + QBP with 8 update bits is in both studies, and run once.
    assert len(list((measured / "runs").iterdir())) == 2 * (4 + 5 - 1)

    p = with_seed(with_epochs(QUICK, 2).replace(update_bits=3), 2)
    split = load_split(DIGITS, None, 8)
    network = Network(p)
    for epoch in range(2):
        network.train(split.train_pixels, split.train_labels, p.rate_shift(epoch))
    wrong = int(np.count_nonzero(network.infer(split.validation_pixels) != split.validation_labels))
    (row,) = (r for r in rows if (r["study"], r["point"], r["seed"]) == ("update-bits", "3", "2"))
    assert row["validation_error"] == f"{100 * wrong / 287:.4f}"
    result = json.loads((measured / IntegerRun(p, 2, DIGITS).file).read_text())
    assert result["state_sha256"] == network.state.digest()
    assert result["history"][-1]["validation_error"] == 100 * wrong / 287
    assert [sum(counts) for counts in result["exponent_counts"]] == [287 * 64, 287 * 64]


def test_a_second_call_runs_nothing_and_writes_the_same(
    measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(measured)
    times = {path: path.stat().st_mtime_ns for path in (measured / "runs").iterdir()}
    quick(measured, *STUDIED, epochs=2, seeds=2)
    assert contents(measured) == before
    assert {path: path.stat().st_mtime_ns for path in (measured / "runs").iterdir()} == times
    for name in ("columns", "error-against-epoch", "activations"):
        svg = before[f"{name}.svg"].decode()
        assert "2 epochs, 2 seeds" in svg
        assert before[f"{name}.png"].startswith(b"\x89PNG")
    assert "16/16 runs" in capsys.readouterr().out


def test_an_interrupt_keeps_finished_runs(tmp_path: Path) -> None:
    output = tmp_path / "experiment"
    options = ["--quick", "--studies", "draw-bits", "--seeds", "2", "--epochs", "15", "--jobs", "2"]
    command = [sys.executable, "-c", "from sim.cli import main; main()", "experiment"]
    process = subprocess.Popen(
        [*command, "paper-mnist", *options, "--output", str(output)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
    )
    end = time.monotonic() + 120
    while not list(output.glob("runs/*.json")) and time.monotonic() < end:
        time.sleep(0.01)
    # As a terminal does: to all processes of the group.
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (130, "nomul: interrupted")
    finished = {path: path.stat().st_mtime_ns for path in (output / "runs").iterdir()}
    assert 0 < len(finished) < 14
    assert {path.suffix for path in finished} == {".json"}
    assert not (output / "results.csv").exists()

    quick(output, "draw-bits", epochs=15, seeds=2)
    assert len(list((output / "runs").iterdir())) == 14
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def test_float_results_stand_beside(measured: Path) -> None:
    run = FloatRun("ternary-connect-qbp", (64,), 2, 1, DIGITS)
    result = {
        "run": run.identity(),
        "column": run.column,
        "layers": [64, 64, 10],
        "epochs": 2,
        "seed": 1,
        "best_epoch": 0,
        "best_validation_error": 7.5,
        "best_test_error": 8.25,
        "last_validation_error": 7.75,
        "last_test_error": 8.5,
        "history": [
            {"validation_error": 7.5, "seconds": 1.5},
            {"validation_error": 7.75, "seconds": 1.25},
        ],
    }
    (measured / run.file).write_text(json.dumps(result))
    quick(measured, *STUDIED, epochs=2, seeds=2)
    label = "ternary connect + QBP, float 64-64-10, 2 epochs, seed 1"
    assert (
        f"| {label} | 1 | 7.50 | 8.25 | 2 | 7.75 | 8.50 |" in (measured / "results.md").read_text()
    )
    assert label in (measured / "error-against-epoch.svg").read_text()
    with (measured / "results.csv").open(newline="") as file:
        *_, best, last = csv.reader(file)
    assert best == [
        *("float", "64-64-10", "ternary-connect-qbp, best epoch", "1", "2"),
        *("7.5000", "8.2500", "2.8"),
    ]
    assert last[5:] == ["7.7500", "8.5000", "2.8"]


# --- what goes wrong


def test_a_damaged_result_is_named(measured: Path) -> None:
    run = IntegerRun(with_epochs(QUICK, 2), 2, DIGITS)
    path = measured / run.file
    content = path.read_text()
    path.write_text(content[:-20])
    with pytest.raises(ValueError, match="is damaged: remove it to run it again"):
        quick(measured, "columns", epochs=2)
    other = dataclasses.replace(run, epochs=3)
    path.write_text(json.dumps({**json.loads(content), "run": other.identity()}))
    with pytest.raises(ValueError, match="is the result of another run: remove it"):
        quick(measured, "columns", epochs=2)
    path.write_text(content)
    (measured / "float" / "mine.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"mine.json is not a result: remove it"):
        quick(measured, "columns", epochs=2)


def test_missing_data_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "net.toml"
    config.write_text(QUICK.to_toml())
    options = ["--config", config, "--studies", "quantizer", "--output", tmp_path / "out"]
    assert call(monkeypatch, "--data", tmp_path, *options) == 1
    assert "train-images-idx3-ubyte" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "give --data FOLDER with the MNIST files, or --quick"),
        (["--quick", "--studies", "colums"], 2, "no study 'colums'; there are columns, quantizer"),
        (["--quick", "--epochs", "0"], 2, "0 is not in the range"),
        (["--quick", "--jobs", "0"], 2, "0 is not in the range"),
        (["--data", "mnist", "--config", "nonesuch"], 1, "no configuration 'nonesuch'"),
        (["--quick", "--float-epochs", "1"], 1, "needs torch: pip install 'nomul[paper]'"),
    ],
)
def test_bad_options_say_the_mend(
    options: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    # Torch may be installed.
    monkeypatch.setattr(runs.importlib.util, "find_spec", lambda name: None)
    assert call(monkeypatch, *options) == code
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_studies_vary_connect_and_quantizer_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "net.toml"
    config.write_text(QUICK.replace(connect="binary").to_toml())
    assert call(monkeypatch, "--data", tmp_path, "--config", config) == 1
    assert 'connect of the configuration must be "ternary"' in capsys.readouterr().err


def test_a_foreign_folder_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("keep me")
    assert call(monkeypatch, "--quick", "--output", tmp_path) == 1
    assert "is not an output of nomul experiment paper-mnist" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_failed_run_ends_the_experiment(tmp_path: Path) -> None:
    output = tmp_path / "experiment"
    open_folder(output, "experiment paper-mnist")
    # MNIST without a folder; the other would run for hours.
    failing = IntegerRun(TINY, 1, Images("mnist", 287))
    endless = IntegerRun(TINY, 10**6, DIGITS)
    with pytest.raises(ValueError, match="MNIST wants the folder of its files"):
        run_all([endless, failing], None, output, 2, lambda epochs: None)
    assert list((output / "runs").iterdir()) == []


def test_help_and_documents_name_every_study(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
    assert re.findall(r"^\| `([\w-]+)` \|", document.split("## What is measured")[0], re.M) == list(
        STUDIES
    )
    assert call(monkeypatch, "--help") == 0
    words = " ".join(capsys.readouterr().out.split())
    assert f"{', '.join(STUDIES)}." in words


def test_the_mean_of_equal_errors_is_that_error() -> None:
    """Else error bars would have a negative length."""
    for errors in range(1, 10_000, 7):
        spread = Spread.of([errors / 100] * 3)
        assert spread.mean == spread.low == spread.high
