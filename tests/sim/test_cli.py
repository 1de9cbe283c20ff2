"""The command line: what it writes; and that it fails with one line and nothing half-written."""

import csv
import dataclasses
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import sim.lockstep
from golden import Parameters
from golden.checkpoint import Checkpoint, CheckpointError
from golden.network import Network
from golden.probes import probe_table
from golden.state import State
from hdl.block_rams import block_rams
from hdl.verilog import Generated, generate
from sim.cli import cli
from sim.commands.cosim import dense_equivalent
from sim.data import load_digits
from sim.divergence import WINDOW_FILE, DivergenceError
from sim.training import default_epochs, exact_error

ROOT = Path(__file__).parents[2]
NOMUL = [sys.executable, "-c", "from sim.cli import main; main()"]

#: Small, so that it compiles and runs quickly in Icarus.
SMALL = Parameters.named("digits").replace(layers=(64, 8, 10), lanes=4, schedule=(1,))


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **changes}


def nomul(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NOMUL, *arguments],
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def small_config(folder: Path) -> str:
    (folder / "small.toml").write_text(SMALL.to_toml())
    return "small.toml"


def check_error(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Check exit code 1 and one line that has the words."""
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("nomul: error: ")
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    "command", [[], ["cosim"], ["train"], ["evaluate"], ["generate"], ["experiment", "compare"]]
)
def test_help_teaches(command: list[str], tmp_path: Path) -> None:
    done = nomul(tmp_path, *command, "--help")
    assert done.returncode == 0
    assert re.search(r"Examples:\n +nomul ", done.stdout)


def test_version(tmp_path: Path) -> None:
    assert re.fullmatch(r"nomul \d+\.\d+\.\d+\n", nomul(tmp_path, "--version").stdout)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lames = 4", ["unknown parameter 'lames'", "bad.toml"]),
        ("layers = [64, 0, 10]", ["layers[1] must be in 1..65535, not 0"]),
        ("weight_bits = 17", ["weight_bits must be in 4..16, not 17"]),
        ("weight_bits = ", ["not a TOML document"]),
    ],
)
@pytest.mark.parametrize("command", ["cosim", "train", "generate"])
def test_bad_configuration(command: str, line: str, words: list[str], tmp_path: Path) -> None:
    field = line.partition(" ")[0]
    values = SMALL.to_dict().items()
    lines = [f"{name} = {json.dumps(value)}" for name, value in values if name != field]
    (tmp_path / "bad.toml").write_text("\n".join([*lines, line]))
    check_error(nomul(tmp_path, command, "--config", "bad.toml"), *words)
    assert not (tmp_path / "nomul-out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["cosim", "--simulator", "questa"],
        ["cosim", "--samples", "0"],
        ["cosim", "--evaluate", "9", "--rule", "exact", "--draws", "2"],
        ["cosim", "--evaluate", "9", "--draws", "257"],
        ["board", "--port", "x", "--rule", "exact", "--draws", "2"],
        ["cosim", "--stalls", "1"],
        ["train", "--epochs", "-1"],
        ["train", "--validation", "-1"],
        ["experiment", "compare"],
        ["fly"],
    ],
)
def test_wrong_usage(arguments: list[str], tmp_path: Path) -> None:
    done = nomul(tmp_path, *arguments)
    assert done.returncode == 2
    assert "Usage: nomul" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--config", "nets"], ["no configuration 'nets'", "or give a .toml file"]),
        (["train", "--config", "nets.toml"], ["cannot read nets.toml"]),
        (["train", "--config", "mnist-small"], ["784 inputs", "--data FOLDER"]),
        (["train", "--config", "mnist-small", "--data", "."], ["no train-images-idx3-ubyte"]),
        (["train", "--state", "none.npz"], ["none.npz: No such file"]),
        (["train", "--validation", "1437"], ["must be below the 1,437 training images"]),
        (["train", "--resume"], ["nomul-out/train-digits holds no run"]),
        (["experiment", "compare", "."], [". holds no run; give a folder that nomul train wrote"]),
        (["cosim", "--config", "mnist-paper", "--data", "."], ["no train-images"]),
        (["cosim", "--evaluate", "361"], ["--evaluate 361: the test set has 360"]),
    ],
)
def test_one_line(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    check_error(nomul(tmp_path, *arguments), *words)
    assert list(tmp_path.glob("nomul-out/*")) == []


def test_what_only_the_golden_model_has(tmp_path: Path) -> None:
    (tmp_path / "batches.toml").write_text(SMALL.replace(batch_bits=2).to_toml())
    done = nomul(tmp_path, "generate", "--config", "batches.toml")
    check_error(done, "batch_bits must be 0 for the gateware")
    assert list(tmp_path.glob("nomul-out/*")) == []


def test_missing_simulator(tmp_path: Path) -> None:
    arguments = ["cosim", "--config", small_config(tmp_path), "--simulator", "icarus"]
    done = nomul(tmp_path, *arguments, "--samples", "1", PATH="")
    check_error(done, "no 'iverilog' on PATH", "apt install iverilog")
    assert list(tmp_path.glob("nomul-out/*")) == []
    assert list(tmp_path.glob("nomul-out/.*")) == []


@pytest.mark.parametrize("command", ["train", "generate"])
def test_unwritable_folder(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = nomul(tmp_path, command, "--output", "file/out")
    check_error(done, "cannot write to", "Not a directory; choose a folder with --output")


def test_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").touch()
    check_error(nomul(tmp_path, "train", "--output", "thesis"), "is not an output of nomul train")
    assert (tmp_path / "thesis" / "chapter").exists()


def processes_in(folder: Path) -> list[int]:
    """Return the processes that work in a folder or below."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = (process / "cwd").readlink()
        except OSError:
            continue  # it has ended, or is another user's
        if place.is_relative_to(folder):
            found.append(int(process.name))
    return found


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_simulation(number: signal.Signals, tmp_path: Path) -> None:
    arguments = ["cosim", "--config", small_config(tmp_path), "--simulator", "icarus"]
    process = subprocess.Popen(
        [*NOMUL, *arguments], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    output = tmp_path / "nomul-out"
    logs = ".cosim-small.*/simulation/simulation.log"
    wait_for(lambda: any("running" in log.read_text() for log in output.glob(logs)))
    assert processes_in(output)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "\nnomul: interrupted\n")
    assert list(output.iterdir()) == []
    wait_for(lambda: not processes_in(output))


def test_interrupted_compilation(tmp_path: Path) -> None:
    """Nothing is compiled yet: the C++ compiler and Numba both are at work."""
    cache = tmp_path / "cache"
    process = subprocess.Popen(
        [*NOMUL, "cosim", "--config", small_config(tmp_path)],
        cwd=tmp_path,
        env=environment(XDG_CACHE_HOME=str(cache)),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: list(cache.glob("nomul/.building-*/generated")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "\nnomul: interrupted\n")
    assert list((tmp_path / "nomul-out").iterdir()) == []
    assert list(cache.glob("nomul/.building-*")) == []
    wait_for(lambda: not processes_in(cache))


def test_cosim(tmp_path: Path) -> None:
    arguments = ["cosim", "--config", small_config(tmp_path), "--simulator", "icarus"]
    done = nomul(tmp_path, *arguments, "--samples", "12", "--stalls", "0.3", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "nomul-out" / "cosim-small"
    assert f"output: {out}" in done.stdout
    report = json.loads((out / "report.json").read_text())
    assert report["golden_equals_rtl"] is True
    assert report["clocks"] == report["predicted_clocks"] > 0
    assert report["comparisons"] > report["clocks"] * len(probe_table(SMALL))
    for words in ("golden == RTL", "predicted == observed clocks", f"{report['comparisons']:,}"):
        assert words in done.stdout
    assert Parameters.load(str(out / "config.toml")) == SMALL

    dataset = load_digits(8)
    network = Network(SMALL)
    network.train(dataset.train_pixels[:12], dataset.train_labels[:12], 0)
    assert Checkpoint.load(out / "lockstep.npz") == Checkpoint(SMALL, network.state, 12)
    assert report["state_sha256"] == network.state.digest()
    network.train(dataset.train_pixels[12:], dataset.train_labels[12:], 0)
    network.train(dataset.train_pixels, dataset.train_labels, 1)
    after = Checkpoint(SMALL, network.state, 2 * len(dataset.train_labels))
    assert Checkpoint.load(out / "checkpoint.npz") == after
    assert report["test_error_percent"] == exact_error(network, dataset)
    assert f"test error: {exact_error(network, dataset):.2f} %" in done.stdout


def test_cosim_evaluates(tmp_path: Path) -> None:
    """The gateware infers by a rule that the configuration does not build in."""
    arguments = ["cosim", "--config", small_config(tmp_path), "--simulator", "icarus"]
    arguments += ["--samples", "2", "--epochs", "0", "--evaluate", "9", "--rule", "exact"]
    done = nomul(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "nomul-out" / "cosim-small"
    assert Parameters.load(str(out / "config.toml")) == SMALL.replace(inference="exact")
    dataset = load_digits(8)
    network = Network(SMALL)
    network.train(dataset.train_pixels[:2], dataset.train_labels[:2], 0)
    wrong = network.infer(dataset.test_pixels[:9], "exact") != dataset.test_labels[:9]
    report = json.loads((out / "report.json").read_text())
    expected = {"samples": 9, "rule": "exact", "draws": 1, "errors": int(wrong.sum())}
    assert report["evaluation"] == expected
    assert report["samples"] == 2
    assert "test samples, exact" in done.stdout
    assert f"9, {int(wrong.sum())} errors" in done.stdout


def test_divergence_is_told_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report and the waveform file of faulty gateware are there; the replay tells the same."""

    def faulty(*arguments: object, **options: object) -> Generated:
        generated = generate(*arguments, **options)
        text, count = re.subn(r"(weights\[30\]) = \d+'\w+;", r"\1 = 0;", generated.verilog)
        assert count == 1
        return dataclasses.replace(generated, verilog=text)

    monkeypatch.setattr(sim.lockstep, "generate", faulty)
    monkeypatch.chdir(tmp_path)
    arguments = ["cosim", "--config", small_config(tmp_path), "--simulator", "icarus"]
    arguments += ["--samples", "30", "--stalls", "0.2", "--seed", "5"]
    out = tmp_path / "nomul-out" / "cosim-small"
    reports = []
    for _ in range(2):
        with pytest.raises(DivergenceError) as caught:
            cli.main(arguments, standalone_mode=False)
        reports.append(str(caught.value))
        assert f"output: {out}" in capsys.readouterr().out
        assert (out / WINDOW_FILE).stat().st_size > 0
        assert json.loads((out / "report.json").read_text())["divergence"] == (
            reports[-1].splitlines()
        )
        replay = re.search(r"replay +nomul (.*)", reports[-1])
        assert replay is not None
        arguments = shlex.split(replay[1])
    assert "column 30" in reports[0]
    assert reports[0] == reports[1]
    assert {"--stalls", "--seed", "--waves"} <= set(arguments)
    assert (out / "simulation" / "waves.fst").stat().st_size > 0


def test_train(tmp_path: Path) -> None:
    arguments = ["train", "--config", small_config(tmp_path), "--epochs", "2", "--output", "run"]
    done = nomul(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["rate_shift"]) for row in rows] == [("0", "0"), ("1", "1")]
    assert f"test error: {float(rows[-1]['test_error']):.2f} %" in done.stdout
    first = Checkpoint.load(tmp_path / "run" / "checkpoint.npz")
    assert nomul(tmp_path, *arguments).returncode == 0
    assert Checkpoint.load(tmp_path / "run" / "checkpoint.npz") == first


@pytest.mark.parametrize("command", ["cosim", "train", "generate"])
def test_bad_checkpoint(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npz").write_text("text")
    Checkpoint(SMALL, State.initial(SMALL)).save(tmp_path / "small.npz")
    content = (tmp_path / "small.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(content[: len(content) // 2])
    for options, message in (
        (["text.npz"], r"^text\.npz is not a checkpoint; give"),
        (["half.npz"], r"^half\.npz is damaged: .*; take"),
        (
            ["small.npz", "--config", "digits"],
            r"^small\.npz is not of configuration digits: .* layers = \[64, 8, 10\], not \[64,",
        ),
    ):
        with pytest.raises(CheckpointError, match=message):
            cli.main([command, "--state", *options], standalone_mode=False)
    assert list(tmp_path.glob("nomul-out/*")) == []


def test_start_from_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its parameters serve, or the configuration's, if the state means the same; epochs anew."""
    monkeypatch.chdir(tmp_path)
    digits = load_digits(8)
    network = Network(SMALL)
    network.train(digits.train_pixels[:700], digits.train_labels[:700])
    Checkpoint(SMALL, network.state.copy(), 700).save(tmp_path / "start.npz")
    start = ["train", "--state", "start.npz", "--epochs", "2"]
    cli.main(start, standalone_mode=False)
    assert "other values" not in capsys.readouterr().out
    other = SMALL.replace(schedule=(), quantizer="stochastic", activation_shifts=(4, 3))
    (tmp_path / "other.toml").write_text(other.to_toml())
    cli.main([*start, "--config", "other.toml"], standalone_mode=False)
    fields = "activation_shifts, quantizer, schedule"
    assert f"start.npz was trained with other values of: {fields}\n" in capsys.readouterr().out
    for name, parameters in (("start", SMALL), ("other", other)):
        reference = Network(parameters, network.state.copy())
        for epoch in range(2):
            shift = parameters.rate_shift(epoch)
            reference.train(digits.train_pixels, digits.train_labels, shift)
        trained = Checkpoint.load(tmp_path / "nomul-out" / f"train-{name}" / "checkpoint.npz")
        assert trained == Checkpoint(parameters, reference.state, 2 * 1437)


def test_training_goes_on_after_the_lockstep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part of an epoch in the gateware, the rest in the golden model, at its place."""
    monkeypatch.chdir(tmp_path)
    config = ["--config", small_config(tmp_path)]
    for arguments in (
        ["cosim", *config, "--simulator", "icarus", "--samples", "10", "--epochs", "0"],
        ["train", "--state", "nomul-out/cosim-small/lockstep.npz", "--resume", "--epochs", "3"],
        ["train", *config, "--epochs", "3"],
    ):
        cli.main(arguments, standalone_mode=False)
    parts, whole = (tmp_path / "nomul-out" / f"train-{name}" for name in ("lockstep", "small"))
    after = [Checkpoint.load(path / "checkpoint.npz") for path in (parts, whole)]
    assert after[0] == after[1]
    with (parts / "metrics.csv").open(newline="") as file:
        assert [row["samples"] for row in csv.DictReader(file)] == ["1427", "1437", "1437"]


@pytest.mark.parametrize(("top", "probes"), [("core", False), ("trainer", True)])
def test_generate(top: str, probes: bool, tmp_path: Path) -> None:
    arguments = ["generate", "--config", small_config(tmp_path), "--top", top]
    arguments += ["--probes"] if probes else []
    done = nomul(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "nomul-out" / "generate-small"
    manifest = json.loads((out / "manifest.json").read_text())
    text = (out / manifest["verilog"]).read_text()
    module = text[text.index(f"module {manifest['top']}(") :]
    header = module[: module.index(");")].split("(")[1]
    assert {port["name"] for port in manifest["ports"]} == {
        name.strip() for name in header.split(",")
    }
    for port in manifest["ports"]:
        width = "" if port["bits"] == 1 else f"[{port['bits'] - 1}:0] "
        assert f"\n  {port['direction']} {width}{port['name']};" in module
    for memory in manifest["memories"].values():
        bits, words = memory["bits"], memory["words"]
        name = memory["path"].rpartition(".")[2]
        assert f"reg [{bits - 1}:0] {name} [0:{words - 1}];" in text
        assert len((out / memory["initial"].split(";")[0]).read_text().splitlines()) == words
    written = {each["name"]: each["sha256"] for each in manifest["files"]}
    others = {"config.toml", "checkpoint.npz", "manifest.json", ".nomul"}
    assert set(written) == {path.name for path in out.iterdir()} - others
    for name, digest in written.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert ("registers" in manifest) == (top == "core")
    blocks = block_rams(Parameters.from_dict(manifest["parameters"]))
    assert manifest["ecp5_block_rams"] == blocks
    assert f"\nblock RAMs of a Lattice ECP5: {sum(blocks.values())}\n" in done.stdout
    assert ("probes" in manifest) == probes
    if probes:
        low = 0
        for word in manifest["probes"]:
            assert word["lowest_bit"] == low
            low += word["bits"]
        assert {"name": "probes", "direction": "output", "bits": low} in manifest["ports"]


def test_doctor(tmp_path: Path) -> None:
    done = nomul(tmp_path, "doctor")
    assert done.returncode == 0
    assert "nomul cosim can run." in done.stdout
    missing = nomul(tmp_path, "doctor", PATH="")
    assert missing.returncode == 1
    assert "nomul cosim cannot run without C++ compiler." in missing.stdout


def test_dense_equivalent() -> None:
    # 64 x 8 + 8 x 10 = 592 weights: 3 x 592 - 512 = 1264 accumulates a sample, on 4 lanes.
    assert dense_equivalent(SMALL, samples=10, clocks=1580) == 2.0


def test_default_epochs() -> None:
    assert default_epochs(SMALL.replace(schedule=())) == 20
    assert default_epochs(SMALL.replace(schedule=(10, 40))) == 43
