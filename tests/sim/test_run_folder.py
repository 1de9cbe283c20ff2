"""Runs of nomul train: stopped at any moment, they go on to the same bits; none is lost."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import golden.checkpoint
import sim.run_folder
from golden import Parameters
from golden.checkpoint import Checkpoint
from golden.network import Network
from sim.cli import cli
from sim.commands.common import Interrupted
from sim.data import load_digits
from sim.run_folder import Run, RunError, training_in
from sim.training import Epoch, train

ROOT = Path(__file__).parents[2]
NOMUL = [sys.executable, "-c", "from sim.cli import main; main()"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}

PARAMETERS = Parameters.named("digits").replace(layers=(64, 8, 10), lanes=4, schedule=(1, 3))
EPOCHS = 5
FILES = [
    ".nomul",
    "checkpoint.npz",
    "config.toml",
    "curves.png",
    "curves.svg",
    "metrics.csv",
    "report.json",
]


def run_train(*options: str) -> None:
    cli.main(["train", *options], standalone_mode=False)


def results(path: Path) -> tuple[Checkpoint, list[Epoch]]:
    """Return where a run stands and its metrics, without the times."""
    epochs = [replace(epoch, seconds=0) for epoch in Run.read(path).epochs]
    return Checkpoint.load(path / "checkpoint.npz"), epochs


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder with the configuration ``net.toml``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.toml").write_text(PARAMETERS.to_toml())
    return tmp_path


@pytest.fixture(scope="module")
def expected() -> tuple[Checkpoint, list[Epoch]]:
    """What a run that is never stopped comes to."""
    network = Network(PARAMETERS)
    epochs = list(train(network, load_digits(8), EPOCHS))
    after = Checkpoint(PARAMETERS, network.state, EPOCHS * 1437)
    return after, [replace(epoch, seconds=0) for epoch in epochs]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the curves, which take longer than all the rest."""
    monkeypatch.setattr(Run, "draw", lambda run: None)


def test_complete_run(folder: Path, expected: tuple[Checkpoint, list[Epoch]]) -> None:
    run_train("--config", "net.toml", "--epochs", str(EPOCHS), "--output", "run")
    assert sorted(os.listdir("run")) == FILES
    assert sorted(os.listdir()) == ["net.toml", "run"]
    assert results(Path("run")) == expected
    report = json.loads(Path("run/report.json").read_text())
    checkpoint, epochs = expected
    assert report["complete"] is True
    assert report["parameters"] == PARAMETERS.to_dict()
    assert report["final"]["test_error_percent"] == epochs[-1].test_error
    assert report["final"]["state_sha256"] == checkpoint.state.digest()
    # The command in the report makes the same run again.
    assert report["command"][:2] == ["nomul", "train"]
    run_train(*report["command"][2:], "--output", "again")
    assert results(Path("again")) == expected


def test_two_epochs_and_three(undrawn: None, expected: tuple[Checkpoint, list[Epoch]]) -> None:
    run_train("--config", "net.toml", "--epochs", "2", "--output", "run")
    assert results(Path("run"))[0].samples == 2 * 1437
    run_train("--resume", "--output", "run", "--epochs", str(EPOCHS))
    assert results(Path("run")) == expected
    assert json.loads(Path("run/report.json").read_text())["complete"] is True
    # Nothing is left to do.
    run_train("--resume", "--output", "run")
    assert results(Path("run")) == expected
    with pytest.raises(RunError, match="has 5 epochs already; ask for more with --epochs"):
        run_train("--resume", "--output", "run", "--epochs", "4")
    assert results(Path("run")) == expected


def test_jitter_goes_on(undrawn: None) -> None:
    run_train("--config", "net.toml", "--epochs", "3", "--output", "whole", "--jitter")
    run_train("--config", "net.toml", "--epochs", "2", "--output", "parts", "--jitter")
    run_train("--resume", "--output", "parts", "--epochs", "3")
    run_train("--config", "net.toml", "--epochs", "3", "--output", "still")
    assert results(Path("parts")) == results(Path("whole")) != results(Path("still"))
    with pytest.raises(RunError, match="parts was begun with --jitter; leave"):
        run_train("--resume", "--output", "parts", "--no-jitter")


def test_jitter_wants_square_images(folder: Path) -> None:
    wide = PARAMETERS.replace(layers=(72, 8, 10))
    (folder / "wide.toml").write_text(wide.to_toml())
    with pytest.raises((RunError, ValueError)):
        run_train("--config", "wide.toml", "--jitter", "--output", "run")
    assert not (folder / "run").exists()


class KilledError(BaseException):
    """Stands for SIGKILL: no code of the product catches it."""


@pytest.mark.parametrize("stop", [KilledError, KeyboardInterrupt], ids=["killed", "interrupted"])
@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
def test_stopped_at_every_write(
    written: bool,
    stop: type[BaseException],
    undrawn: None,
    monkeypatch: pytest.MonkeyPatch,
    expected: tuple[Checkpoint, list[Epoch]],
) -> None:
    """Just before, or just after, any file of the folder is replaced."""
    real = sim.run_folder.replace_file
    writes = 0
    stop_at = 0

    def replace_file(path: Path, content: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes == stop_at and not written:
            raise stop
        real(path, content)
        if writes == stop_at:
            raise stop

    monkeypatch.setattr(sim.run_folder, "replace_file", replace_file)
    monkeypatch.setattr(golden.checkpoint, "replace_file", replace_file)
    # The first four make the folder, which is not there before; then two an epoch, and the report.
    total = 4 + 2 * EPOCHS + 1
    for stop_at in range(5, total + 1):
        writes = 0
        output = f"run-{stop_at}"
        with pytest.raises((KilledError, Interrupted)) as stopped:
            run_train("--config", "net.toml", "--epochs", str(EPOCHS), "--output", output)
        assert writes == stop_at
        checkpoint, epochs = results(Path(output))
        if stop is KeyboardInterrupt:
            message = f"interrupted, {checkpoint.samples // 1437} of {EPOCHS} epochs are done"
            assert message in str(stopped.value)
        assert checkpoint.samples // 1437 <= len(epochs) <= checkpoint.samples // 1437 + 1
        assert epochs == expected[1][: len(epochs)]
        writes = total
        run_train("--resume", "--output", output)
        assert results(Path(output)) == expected
        assert json.loads(Path(output, "report.json").read_text())["complete"] is True


def start(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*NOMUL, "train", *options],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epochs(path: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while not path.is_file() or path.read_text().count("\n") <= count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("seed", range(3))
def test_killed_process(seed: int) -> None:
    """SIGKILL at a random moment of a run that is too long to end before."""
    rng = np.random.default_rng(seed)
    process = start("--config", "net.toml", "--epochs", "100000", "--output", "run")
    wait_for_epochs(Path("run/metrics.csv"), int(rng.integers(0, 5)))
    time.sleep(float(rng.uniform(0, 0.1)))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = len(results(Path("run"))[1])
    assert 0 <= done < 1000
    # A run of so many epochs would take too long: this one is to end soon.
    report = json.loads(Path("run/report.json").read_text())
    assert report["complete"] is False
    Path("run/report.json").write_text(json.dumps({**report, "epochs": done + 2}))
    run_train("--resume", "--output", "run")
    network = Network(PARAMETERS)
    epochs = list(train(network, load_digits(8), done + 2))
    after = Checkpoint(PARAMETERS, network.state, (done + 2) * 1437)
    assert results(Path("run")) == (after, [replace(epoch, seconds=0) for epoch in epochs])
    assert sorted(os.listdir("run")) == FILES


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_process(number: signal.Signals) -> None:
    process = start("--config", "net.toml", "--epochs", "100000", "--output", "my run")
    wait_for_epochs(Path("my run/metrics.csv"), 2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    pattern = r"nomul: interrupted, (\d+) of 100000 epochs are done; go on with: nomul (.*)\n"
    match = re.fullmatch(pattern, errors)
    assert match is not None, errors
    checkpoint, epochs = results(Path("my run"))
    assert checkpoint.samples == int(match[1]) * 1437
    assert sorted(os.listdir("my run")) == FILES
    more = str(len(epochs) + 1)
    cli.main([*shlex.split(match[2]), "--epochs", more], standalone_mode=False)
    assert results(Path("my run"))[0].samples == int(more) * 1437


def test_interrupted_before_the_first_epoch(
    undrawn: None, monkeypatch: pytest.MonkeyPatch, expected: tuple[Checkpoint, list[Epoch]]
) -> None:
    def interrupt(parameters: Parameters) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sim.commands.train.compile_kernels", interrupt)
        with pytest.raises(Interrupted, match="interrupted, 0 of 5 epochs are done"):
            run_train("--config", "net.toml", "--epochs", str(EPOCHS), "--output", "run")
    run_train("--resume", "--output", "run")
    assert results(Path("run")) == expected


@pytest.fixture
def unfinished(undrawn: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a run that was killed after two epochs of five."""
    add = Run.add

    def add_two(run: Run, *arguments: object) -> None:
        add(run, *arguments)
        if len(run.epochs) == 2:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Run, "add", add_two)
        with pytest.raises(KilledError):
            run_train("--config", "net.toml", "--epochs", str(EPOCHS), "--output", "run")
    return Path("run")


def contents(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.iterdir()}


def test_an_unfinished_run_is_not_replaced(unfinished: Path) -> None:
    before = contents(unfinished)
    match = "run holds a run that is not complete; go on with --resume, or .* with --output"
    with pytest.raises(RunError, match=match):
        run_train("--config", "net.toml", "--epochs", "1", "--output", "run")
    with pytest.raises(RunError, match=match):
        run_train("--resume", "--state", "run/checkpoint.npz", "--output", "run")
    assert contents(unfinished) == before
    run_train("--resume", "--output", "run")
    run_train("--config", "net.toml", "--epochs", "1", "--output", "run")
    assert len(results(unfinished)[1]) == 1


def test_a_resumed_run_stays_the_same_run(
    unfinished: Path, expected: tuple[Checkpoint, list[Epoch]]
) -> None:
    before = contents(unfinished)
    with pytest.raises(RunError, match="run was not trained with --config digits; leave"):
        run_train("--resume", "--output", "run", "--config", "digits")
    with pytest.raises(RunError, match="run holds back 0 images, not 100; leave"):
        run_train("--resume", "--output", "run", "--validation", "100")
    with pytest.raises(RunError, match="run was begun without --jitter; leave"):
        run_train("--resume", "--output", "run", "--jitter")
    assert contents(unfinished) == before
    edited = PARAMETERS.replace(schedule=(2,))
    (unfinished / "config.toml").write_text(edited.to_toml())
    with pytest.raises(RunError, match=r"was edited after the run began \(schedule\); start a new"):
        run_train("--resume", "--output", "run")
    (unfinished / "config.toml").write_bytes(before["config.toml"])
    run_train("--resume", "--output", "run", "--config", "net.toml", "--validation", "0")
    assert results(unfinished) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("report.json", "{", "report.json is damaged: .*; remove"),
        ("report.json", "[]", "report.json is not a report of nomul train; choose"),
        ("report.json", '{"complete": false}', "report.json is not a report of nomul train"),
        ("metrics.csv", "epoch\n0\n", "metrics.csv is damaged: .*; start anew with --state"),
        ("metrics.csv", None, "run holds no run; give a folder that nomul train wrote"),
        ("checkpoint.npz", "text", "checkpoint.npz is not a checkpoint"),
        ("config.toml", "layers = 3", "config.toml: parameter 'activation_shifts' is missing"),
    ],
)
def test_damaged_folder(name: str, content: str | None, message: str, unfinished: Path) -> None:
    if content is None:
        (unfinished / name).unlink()
    else:
        (unfinished / name).write_text(content)
    before = contents(unfinished)
    with pytest.raises(ValueError, match=message):
        run_train("--resume", "--output", "run")
    assert contents(unfinished) == before


def test_killed_while_extended(undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A complete run that is to have more epochs is not complete before it has them."""
    run_train("--config", "net.toml", "--epochs", "1", "--output", "run")

    def kill(*arguments: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Run, "add", kill)
        with pytest.raises(KilledError):
            run_train("--resume", "--output", "run", "--epochs", "3")
    report = Run.read(Path("run")).report
    assert (report["complete"], report["final"], report["epochs"]) == (False, None, 3)


def test_lost_metrics(unfinished: Path) -> None:
    lines = (unfinished / "metrics.csv").read_text().splitlines(keepends=True)
    (unfinished / "metrics.csv").write_text("".join(lines[:2]))
    with pytest.raises(RunError, match="has not the epochs of the checkpoint; start a new run"):
        run_train("--resume", "--output", "run")


def test_one_process_at_a_time(unfinished: Path) -> None:
    with (
        training_in(unfinished),
        pytest.raises(RunError, match="another nomul train is at work in run; wait for it"),
    ):
        run_train("--resume", "--output", "run")
    run_train("--resume", "--output", "run")


def test_validation(undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test error is measured once, at the end; a resumed run holds back the same images."""
    digits = load_digits(8)
    measured = []
    exact_error = sim.commands.train.exact_error

    def measure(*arguments: object) -> float:
        measured.append(arguments)
        return exact_error(*arguments)

    monkeypatch.setattr("sim.commands.train.exact_error", measure)
    monkeypatch.setattr("sim.training.exact_error", measure)
    options = ["--config", "net.toml", "--validation", "400"]
    run_train(*options, "--epochs", "2", "--output", "run")
    assert len(measured) == 1
    run_train("--resume", "--output", "run", "--epochs", "4")
    assert len(measured) == 2
    run_train(*options, "--epochs", "4", "--output", "whole")
    checkpoint, epochs = results(Path("run"))
    assert (checkpoint, epochs) == results(Path("whole"))
    assert checkpoint.samples == 4 * 1037
    wrong = Network(PARAMETERS, checkpoint.state).infer(digits.train_pixels[1037:])
    error = 100 * (int(np.sum(wrong != digits.train_labels[1037:])) / 400)
    assert [epoch.test_error for epoch in epochs] == [None] * 4
    final = json.loads(Path("run/report.json").read_text())["final"]
    assert epochs[-1].validation_error == final["validation_error_percent"] == error
    wrong = Network(PARAMETERS, checkpoint.state).infer(digits.test_pixels)
    assert final["test_error_percent"] == 100 * (int(np.sum(wrong != digits.test_labels)) / 360)
