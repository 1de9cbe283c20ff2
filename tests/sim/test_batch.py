"""Lockstep in batches: equal to the lockstep of every clock; it stops, goes on, and can fail."""

import dataclasses
import itertools
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

import numpy as np
import pytest
from amaranth.hdl import *

import golden.checkpoint
import hdl.lane
import sim.batch
import sim.cosim_folder
import sim.lockstep
from golden import Parameters
from golden.checkpoint import Checkpoint, CheckpointError
from golden.clocked import Clocked
from golden.layout import Layout
from golden.network import Network
from golden.probes import probe_columns, probe_table
from golden.state import State
from hdl.update import UpdateWeight
from hdl.verilog import Generated, generate
from sim.batch import BEFORE_FILE, REPLAY_FOLDER, Segment, batch, free_running
from sim.cli import cli
from sim.commands.common import Interrupted
from sim.cosim_folder import LOCKSTEP, REPORT, SEGMENTS, START, CosimRun
from sim.data import Dataset, load_digits
from sim.divergence import WINDOW_FILE, DivergenceError
from sim.harness import Recording, Trainer, library
from sim.lockstep import Stimulus, lockstep
from sim.run_folder import RunError
from sim.simulators import SimulationFailed, SimulatorError, compile_library
from tests.configurations import gateware_parameters, random_samples

ROOT = Path(__file__).parents[2]

#: Everything that a state can hold; several sources, so that their words are packed.
SMALL = Parameters.named("digits").replace(
    layers=(64, 8, 10), lanes=4, schedule=(1,), input_dropout_bits=3, random_sources=3
)

#: Random configurations: sixteen lanes and one, sources of 16 and 32 bits, without stalls and with.
SEEDS = (6, 9)


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.batch, "SEGMENT", 20)
    monkeypatch.setattr(sim.cosim_folder, "SEGMENT", 20)


def digits() -> Dataset:
    return load_digits(SMALL.activation_bits)


def small_library() -> Path:
    return library(SMALL, generate(SMALL, State.initial(SMALL), probed=True))


def run(
    folder: Path, samples: int, done_to: list[Segment] | None = None, **options: object
) -> list[Segment]:
    """Return the segments of a run; those before an error are in ``done_to``."""
    settings = {"library": small_library(), "folder": folder, "state": State.initial(SMALL)}
    segments = [] if done_to is None else done_to
    segments.extend(batch(SMALL, digits(), samples, **settings | options))
    return segments


def test_same_as_every_clock(tmp_path: Path) -> None:
    """Clocks, predictions and state are those of cocotb on another simulator."""
    (segment,) = run(tmp_path, 20)
    stimulus = Stimulus.training(SMALL, digits(), 20)
    result = lockstep(SMALL, stimulus, folder=tmp_path, simulator="icarus")
    assert segment.clocks == result.clocks == result.predicted_clocks
    assert segment.state == result.state
    assert segment.predictions.tolist() == result.predictions.tolist()
    # All registers on every clock, and the memories after every sample.
    registers = len(probe_columns(probe_table(SMALL)))
    words = (Layout.of(SMALL).rows + Layout.of(SMALL).block_rows) * SMALL.lanes
    assert segment.comparisons > registers * segment.clocks + words * 20


@pytest.mark.parametrize("seed", SEEDS)
def test_random_configuration(seed: int, tmp_path: Path) -> None:
    p = gateware_parameters(seed)
    pixels, labels = random_samples(p, seed, 30)
    data = Dataset(pixels, labels, pixels, labels)
    path = library(p, generate(p, State.initial(p), probed=True))
    segments = list(
        batch(
            p,
            data,
            50,
            library=path,
            folder=tmp_path,
            state=State.initial(p),
            stalls=0.4 if seed % 2 else 0.0,
            seed=seed,
        )
    )
    network = Network(p)
    network.train(pixels, labels, p.rate_shift(0))
    network.train(pixels[:20], labels[:20], p.rate_shift(1))
    assert [segment.samples for segment in segments] == [20, 20, 10]
    assert segments[-1].state == network.state
    # Loaded from the state between two segments, it takes the same clocks.
    again = list(
        batch(
            p,
            data,
            50,
            library=path,
            folder=tmp_path,
            state=segments[1].state,
            done=40,
            stalls=0.4 if seed % 2 else 0.0,
            seed=seed,
        )
    )
    assert [each.clocks for each in again] == [segments[2].clocks]
    assert again[-1].state == network.state


def test_seeds_cover_the_promise() -> None:
    drawn = [gateware_parameters(seed) for seed in SEEDS]
    assert 1 in {p.lanes for p in drawn}
    assert {seed % 2 for seed in SEEDS} == {0, 1}


def test_interrupted_between_samples(tmp_path: Path) -> None:
    """What was done in the segment in hand is lost, and nothing else."""
    whole = run(tmp_path, 60)

    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 33:
            raise KeyboardInterrupt

    segments: list[Segment] = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 60, progress=interrupt, done_to=segments)
    assert len(segments) == 1
    segments += run(tmp_path, 60, state=segments[0].state, done=20)
    assert [each.clocks for each in segments] == [each.clocks for each in whole]
    assert [each.state.digest() for each in segments] == [each.state.digest() for each in whole]


def spoil(name: str, flip: Callable[[Recording], None]) -> Callable[..., Recording]:
    """Return ``Trainer.record`` with a slip in the recording of the 25th call."""
    record, calls = Trainer.record, []

    def spoiled(trainer: Trainer, recording: Recording, *arguments: object) -> Recording:
        record(trainer, recording, *arguments)
        calls.append(name)
        if len(calls) == 25:
            flip(recording)
        return recording

    return spoiled


def flip_probe(recording: Recording) -> None:
    recording.probes[recording.clocks // 2, 1] ^= 4


def flip_weight(recording: Recording) -> None:
    recording.weights[70, 3] ^= 128


def flip_bias(recording: Recording) -> None:
    recording.biases[2, 0] ^= 1


def flip_prediction(recording: Recording) -> None:
    recording.predictions[0, 0] ^= 16


def lose_prediction(recording: Recording) -> None:
    recording.predicted -= 1


@pytest.mark.parametrize(
    ("flip", "words"),
    [
        (flip_probe, r"epoch 0, sample 2\d, .*\n  unit +(loader|walker)\n"),
        (flip_weight, r"weights, layer 1, block 1, column 6"),
        (flip_bias, r"biases, layer 2, block 0, lane 0"),
        (flip_prediction, "payload of the prediction"),
        (lose_prediction, "number of predictions"),
    ],
)
def test_every_comparison_can_fail(
    flip: Callable[[Recording], None],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slip in what was recorded is told; there is nothing to replay, and that is said."""
    monkeypatch.setattr(Trainer, "record", spoil(flip.__name__, flip))
    monkeypatch.setattr(sim.batch, "lockstep", lambda *arguments, **options: None)
    with pytest.raises(DivergenceError, match=words) as caught:
        run(tmp_path, 60, again="nomul cosim --again")
    assert "replay    nomul cosim --again (it does not show from a reset" in str(caught.value)


def test_port_idle_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "idle", False)
    monkeypatch.setattr(sim.batch, "lockstep", lambda *arguments, **options: None)
    with pytest.raises(DivergenceError, match="port idle, 20 samples done"):
        run(tmp_path, 20)


def test_wrong_prediction_of_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clocked, "clocks_until_idle", lambda model: 1)
    monkeypatch.setattr(sim.batch, "lockstep", lambda *arguments, **options: None)
    with pytest.raises(DivergenceError, match=r"clocks until idle, .*\n  expected  1\n"):
        run(tmp_path, 20)


@pytest.mark.parametrize("field", ["weights", "biases", "draw", "update", "dropout"])
def test_functional_model_counts_too(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    functional_run = sim.batch.functional_run

    def slip(network: Network, stimulus: Stimulus) -> object:
        predictions = functional_run(network, stimulus)
        getattr(network.state, field)[-1:] += np.array(1, getattr(network.state, field).dtype)
        return predictions

    monkeypatch.setattr(sim.batch, "functional_run", slip)
    monkeypatch.setattr(sim.batch, "lockstep", lambda *arguments, **options: None)
    with pytest.raises(DivergenceError, match="against the functional model"):
        run(tmp_path, 20)


def test_both_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.batch, "most_clocks", lambda p, stalls: -1)
    monkeypatch.setattr(sim.batch, "_CLOCKS", 10)
    with pytest.raises(SimulationFailed, match="sample 0 is not done after"):
        run(tmp_path, 20)


class RareSlip(UpdateWeight):
    """One sum of weight and increment is wrong: of those of sample 46 for the first time."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If((self.weight == 751) & (self.increment == -40)):
            m.d.comb += self.new_weight.eq(710)
        return m


def test_fault_is_told_and_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late in the run, at the right unit; the replay command finds it, with all waves."""
    monkeypatch.setattr(hdl.lane, "UpdateWeight", RareSlip)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL.to_toml())
    arguments = ["cosim", "--config", "small.toml", "--engine", "batch", "--samples", "300"]
    with pytest.raises(DivergenceError) as caught:
        cli.main(arguments, standalone_mode=False)
    out = tmp_path / "nomul-out" / "cosim-small"
    report = str(caught.value)
    assert json.loads((out / REPORT).read_text())["divergence"] == report.splitlines()
    assert re.search(r"epoch 0, sample 46, .*new_weight\n  unit +update\n", report)
    for file in (WINDOW_FILE, f"{REPLAY_FOLDER}/simulation/waves.vcd"):
        assert (out / file).stat().st_size > 0
    assert Checkpoint.load(out / BEFORE_FILE).samples == 46

    replay = re.search(r"replay +nomul (.*)", report)
    assert replay is not None
    assert "--first-sample 46" in replay[1]
    with pytest.raises(DivergenceError, match=r"epoch 0, sample 0, .*new_weight\n") as again:
        cli.main([*shlex.split(replay[1]), "--output", "again"], standalone_mode=False)
    values = re.compile(r"  expected .*\n  got .*\n")
    assert values.findall(str(again.value)) == values.findall(report)


def test_lost_write_is_found_after_its_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that is never written back shows in the memory long before it is read again."""

    def faulty(*arguments: object, **options: object) -> Generated:
        generated = generate(*arguments, **options)
        lost = r"if (weight_enable && weight_row9 != 130)"
        text, count = re.subn(r"if \(weight_enable\)", lost, generated.verilog)
        assert count == 1
        return dataclasses.replace(generated, verilog=text)

    monkeypatch.setattr(sim.lockstep, "generate", faulty)
    path = library(SMALL, faulty(SMALL, State.initial(SMALL), probed=True))
    with pytest.raises(DivergenceError, match="weights, layer 2, block 0, column 2") as caught:
        run(tmp_path, 60, library=path)
    assert f"--state {tmp_path / BEFORE_FILE}" in str(caught.value)


def test_speeds_alone(tmp_path: Path) -> None:
    free, clocked = free_running(SMALL, digits(), small_library(), 20)
    assert free > 0
    assert clocked > 0


def test_design_without_the_memory(tmp_path: Path) -> None:
    source = tmp_path / "source.cpp"
    source.write_text("")
    verilog = "module top(clk, q);\n input clk; output reg q;\n"
    verilog += " always @(posedge clk) q <= !q;\nendmodule\n"
    with pytest.raises(SimulatorError, match="the design has no memory lost"):
        compile_library(verilog, "top", source, {"M": "lost"})


# The run folder, without a simulator.


def made_run(folder: Path, segments: int) -> CosimRun:
    """Return a run of 50 samples of which so many segments are done."""
    report = {
        "samples": 50,
        "first_sample": 0,
        "train_epochs": 0,
        "stalls": 0.0,
        "seed": 1,
        "data": None,
        "command": ["nomul", "cosim"],
    }
    state = State.initial(SMALL)
    made = CosimRun.create(folder, Checkpoint(SMALL, state), report)
    for number in range(segments):
        state = state.copy()
        state.weights[number] += 1
        samples = min(20, 50 - 20 * number)
        made.add(Segment(samples, 100 + number, 1000, 0.5, np.zeros(0, np.int64), state))
    return made


@pytest.mark.parametrize("segments", range(4))
def test_run_goes_on_where_it_was(segments: int, tmp_path: Path) -> None:
    made = made_run(tmp_path / "run", segments)
    resumed = CosimRun.resume(tmp_path / "run")
    assert resumed.done == made.done == min(50, 20 * segments)
    assert resumed.lines == made.lines
    assert resumed.reached == made.reached
    assert resumed.start == made.start


def test_killed_between_line_and_checkpoint(tmp_path: Path) -> None:
    """A line without its checkpoint is dropped."""
    made_run(tmp_path / "run", 1)
    checkpoint = (tmp_path / "run" / LOCKSTEP).read_bytes()
    made_run_again = CosimRun.resume(tmp_path / "run")
    state = made_run_again.reached.state.copy()
    made_run_again.add(Segment(20, 7, 7, 7.0, np.zeros(0, np.int64), state))
    (tmp_path / "run" / LOCKSTEP).write_bytes(checkpoint)
    resumed = CosimRun.resume(tmp_path / "run")
    assert resumed.done == 20
    assert len(resumed.lines) == 1


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def change(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])


@pytest.mark.parametrize(
    ("file", "damage"),
    [(SEGMENTS, cut), (REPORT, cut), *itertools.product((LOCKSTEP, START), (cut, change))],
)
def test_torn_file_is_refused(file: str, damage: Callable[[Path], None], tmp_path: Path) -> None:
    made_run(tmp_path / "run", 2)
    damage(tmp_path / "run" / file)
    with pytest.raises((RunError, CheckpointError)) as caught:
        CosimRun.resume(tmp_path / "run")
    assert str(caught.value).count("\n") == 0


def test_unfinished_run_is_not_replaced(tmp_path: Path) -> None:
    made = made_run(tmp_path / "run", 1)
    with pytest.raises(RunError, match="not complete; go on with --resume"):
        made_run(tmp_path / "run", 0)
    made.finish({})
    with pytest.raises(RunError, match="holds a run that is complete"):
        CosimRun.resume(tmp_path / "run")
    assert made_run(tmp_path / "run", 0).done == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "batch", "--simulator", "icarus"], "Verilator alone"),
        (["--engine", "batch", "--waves"], "no --waves"),
        (["--engine", "batch", "--netlist", "ecp5"], "no --netlist"),
        (["--resume"], "holds no batch run"),
        (["--resume", "--samples", "3"], "leave other options out"),
        (["--resume", "--config", "digits"], "leave them out"),
    ],
)
def test_wrong_options(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=words):
        cli.main(["cosim", *options], standalone_mode=False)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_just_behind_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message counts the segment that the folder has, though the run did not come to know."""
    real = golden.checkpoint.replace_file

    def replace_file(path: Path, content: bytes) -> None:
        real(path, content)
        if path.name == LOCKSTEP and (path.parent / SEGMENTS).read_text().count("\n") == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(golden.checkpoint, "replace_file", replace_file)
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(SMALL.to_toml())
    options = ["--engine", "batch", "--samples", "40", "--epochs", "0", "--output", "run"]
    with pytest.raises(Interrupted, match="interrupted, 20 of 40 samples"):
        cli.main(["cosim", "--config", "small.toml", *options], standalone_mode=False)
    assert CosimRun.resume(Path("run")).done == 20


def test_interrupted_command_goes_on(tmp_path: Path) -> None:
    """Stopped by Ctrl-C and resumed, it ends as one that never stopped: same clocks, same state."""
    (tmp_path / "small.toml").write_text(SMALL.to_toml())
    command = [sys.executable, "-c", "from sim.cli import main; main()", "cosim", "--output"]
    # From 5,000 samples on, batches are the default.
    options = ["--config", "small.toml", "--samples", "5200", "--epochs", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    process = start("stopped", *options)
    lines = tmp_path / "stopped" / SEGMENTS
    deadline = time.monotonic() + 120
    while not (lines.is_file() and lines.read_text().count("\n") > 2):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"nomul: interrupted, \d000 of 5200 samples are in lockstep; go on", errors)

    reports = []
    for folder, arguments in (("stopped", ["--resume"]), ("whole", options)):
        process = start(folder, *arguments)
        output, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        reports.append(json.loads((tmp_path / folder / REPORT).read_text()))
        assert f"{reports[-1]['clocks']:,} == {reports[-1]['clocks']:,}" in output
    for name in ("clocks", "comparisons", "state_sha256", "test_error_percent"):
        assert reports[0][name] == reports[1][name]
    assert reports[0]["samples"] == 5200
    network = Network(SMALL)
    data = digits()
    for epoch in range(4):
        end = min(1437, 5200 - 1437 * epoch)
        shift = SMALL.rate_shift(epoch)
        network.train(data.train_pixels[:end], data.train_labels[:end], shift)
    assert reports[0]["state_sha256"] == network.state.digest()
