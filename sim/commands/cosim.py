"""What ``nomul cosim`` does: the gateware in a simulator, in lockstep with the golden model."""

import itertools
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import TaskID
from rich.table import Table

from golden.checkpoint import Checkpoint
from golden.inference import RULES, Rule
from golden.layout import Layout
from golden.network import Network
from golden.parameters import Parameters
from golden.probes import probe_columns, probe_table
from hdl.verilog import generate
from sim.batch import batch, free_running
from sim.commands.common import (
    Interrupted,
    Setup,
    console,
    sample_bars,
    say_output,
    show_samples,
    versions,
    write_json,
)
from sim.commands.train import train_with_bar
from sim.cosim_folder import COMMAND, CosimRun, require_complete
from sim.data import Dataset, load
from sim.divergence import DivergenceError
from sim.harness import library
from sim.lockstep import LockstepResult, Progress
from sim.lockstep import cosim as run_cosim
from sim.output import MARKER, output_folder
from sim.run_folder import RunError, locked
from sim.training import default_epochs, exact_error

#: From so many samples on, batches are the default on Verilator.
BATCH_SAMPLES = 5_000

# Samples whose speed without lockstep is measured: some hundred thousand clocks.
_FREE_SAMPLES = 200

_STAGES = {
    "generate": "generate Verilog",
    "synthesise": "synthesise",
    "compile": "compile the gateware",
    "lockstep": "lockstep",
}


def dense_equivalent(parameters: Parameters, samples: int, clocks: int) -> float:
    """Return the accumulates per lane per clock of a dense trainer that would be as fast.

    It does one accumulate for each weight forward, backward and in the update, but for the first
    layer, which needs no backward pass.
    """
    sizes = parameters.layers
    weights = sum(inputs * units for inputs, units in itertools.pairwise(sizes))
    accumulates = 3 * weights - sizes[0] * sizes[1]
    return accumulates * samples / (parameters.lanes * clocks)


@contextmanager
def _stages() -> Iterator[Progress]:
    """Yield a callback that shows the stages of a lockstep run, one below the other."""
    tasks: dict[str, TaskID] = {}
    before = 0
    with sample_bars() as bars:

        def show(stage: str, done: int, total: int) -> None:
            nonlocal before
            if stage not in tasks:
                before = done
                for task in tasks.values():
                    bars.update(task, total=1, completed=1)
                # How long the first two take is not known: their bars pulse.
                work = total if stage == "lockstep" else None
                tasks[stage] = bars.add_task(_STAGES[stage], total=work, rate="")
            if stage == "lockstep":
                show_samples(bars, tasks[stage], done, before)

        yield show


def cosim(
    setup: Setup,
    *,
    simulator: str,
    netlist: str | None,
    samples: int | None,
    first_sample: int,
    engine: str | None,
    evaluate: int,
    rule: Rule,
    draws: int,
    epochs: int | None,
    stalls: float,
    seed: int,
    waves: bool,
    resume: bool,
) -> None:
    """Train in lockstep, evaluate test samples, then go on with the functional model.

    The rule ``exact`` builds it into the gateware, whatever the configuration says.

    Raises:
        DivergenceError: If gateware and golden model differ; the output is written all the same.
        Interrupted: If the user stops a batch run; its folder stays, and it can go on.
        RunError: If the folder holds a run that is not complete, or none to resume.
        ValueError: If there are not so many test samples.
    """
    if resume:
        if samples is not None or epochs is not None or waves or engine == "cocotb":
            raise RunError("--resume goes on with the run as it was begun; leave other options out")
        if setup.config is not None or setup.state is not None:
            raise RunError("--resume takes configuration and state from the run; leave them out")
        _go_on(setup)
        return
    p = setup.parameters
    if rule == "exact":
        p = p.replace(inference="exact")
    dataset = load(p, setup.data)
    if evaluate > len(dataset.test_labels):
        raise ValueError(f"--evaluate {evaluate}: the test set has {len(dataset.test_labels)}")
    count = len(dataset.train_labels) if samples is None else samples
    epochs = default_epochs(p) if epochs is None else epochs
    job = _Job(setup, p, dataset, count, first_sample, epochs, stalls, seed)
    each_clock = waves or evaluate > 0 or simulator != "verilator" or netlist is not None
    if engine is None:
        engine = "batch" if count >= BATCH_SAMPLES and not each_clock else "cocotb"
    if engine == "batch":
        if each_clock:
            raise RunError(
                "--engine batch has Verilator alone, no --waves, no --evaluate, no --netlist; "
                "leave them out"
            )
        _begin(job)
    else:
        _every_clock(job, simulator, netlist, waves, _Evaluation(evaluate, rule, draws))


@dataclass(frozen=True, eq=False)
class _Job:
    """What is to be done; ``count`` samples from number ``first_sample`` on."""

    setup: Setup
    parameters: Parameters
    dataset: Dataset
    count: int
    first_sample: int
    epochs: int
    stalls: float
    seed: int

    def options(self) -> list[str]:
        """Return the options that say how it is run, but for its samples."""
        return ["--stalls", str(self.stalls), "--seed", str(self.seed)] if self.stalls else []

    def first(self) -> list[str]:
        """Return the option of the first sample."""
        return ["--first-sample", str(self.first_sample)] if self.first_sample else []


@dataclass(frozen=True)
class _Evaluation:
    """Test samples that the gateware is to predict, and how."""

    samples: int
    rule: Rule
    draws: int

    def options(self) -> list[str]:
        """Return the options that ask for it."""
        if not self.samples:
            return []
        options = {"evaluate": self.samples, "rule": self.rule, "draws": self.draws}
        return [word for name, value in options.items() for word in (f"--{name}", str(value))]

    def report(self, result: LockstepResult, dataset: Dataset) -> dict[str, Any]:
        """Return its part of the report."""
        predictions = result.predictions[result.samples - self.samples :]
        wrong = predictions != dataset.test_labels[: self.samples]
        return {**asdict(self), "errors": int(np.count_nonzero(wrong))}


def _every_clock(
    job: _Job, simulator: str, netlist: str | None, waves: bool, evaluation: _Evaluation
) -> None:
    """Run the lockstep of cocotb."""
    setup, p, count = job.setup, job.parameters, job.count
    require_complete(setup.output)
    replay = ["nomul", "cosim", *setup.arguments(), "--simulator", simulator]
    replay += [*job.first(), *job.options()]
    replay += evaluation.options()
    if netlist is not None:
        replay += ["--netlist", netlist]
    # What is large enough for the other engine says that it is not meant.
    if count >= BATCH_SAMPLES and simulator == "verilator":
        replay += ["--engine", "cocotb"]
    diverged: DivergenceError | None = None
    with output_folder(setup.output, "cosim") as folder:
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
        report: dict[str, Any] = {
            "command": [*replay, "--samples", str(count)],
            "versions": versions(),
            "parameters": p.to_dict(),
            "simulator": simulator,
            "netlist": netlist,
            "samples": count,
        }
        try:
            with _stages() as progress:
                result = run_cosim(
                    p,
                    job.dataset,
                    folder=folder,
                    samples=count,
                    first_sample=job.first_sample,
                    evaluate=evaluation.samples,
                    rule=RULES.index(evaluation.rule),
                    draws=evaluation.draws,
                    simulator=simulator,
                    state=setup.initial_state(),
                    family=netlist,
                    stalls=job.stalls,
                    seed=job.seed,
                    waves=waves,
                    replay=shlex.join(replay),
                    progress=progress,
                )
        except DivergenceError as error:
            diverged = error
            report["divergence"] = str(error).splitlines()
        else:
            rows = {
                "simulated": "the gateware" if netlist is None else f"its netlist, {netlist}",
                "simulator": f"{simulator}, {result.clocks / result.run_seconds:,.0f} clocks/s",
                "samples trained in lockstep": f"{count:,}",
            }
            density = None
            if evaluation.samples:
                report["evaluation"] = told = evaluation.report(result, job.dataset)
                name = f"test samples, {evaluation.rule}"
                if evaluation.rule == "sampled":
                    name += f", {evaluation.draws} draws"
                rows[name] = f"{evaluation.samples:,}, {told['errors']:,} errors"
            else:
                density = dense_equivalent(p, count, result.clocks)
            console.print(_lockstep_table(p, rows, result, density))
            report |= _report_of(result, density)
            end = Checkpoint(p, result.state, job.first_sample + count)
            end.save(folder / "lockstep.npz")
            report |= _train_on(end, job.dataset, job.epochs, folder)
        write_json(report, folder / "report.json")
    say_output(setup.output)
    if diverged is not None:
        raise diverged


def _begin(job: _Job) -> None:
    """Make the folder of a batch run, and run it."""
    setup, p = job.setup, job.parameters
    command = ["nomul", "cosim", *setup.arguments(), *job.first(), *job.options()]
    command += ["--engine", "batch", "--samples", str(job.count), "--epochs", str(job.epochs)]
    report = {
        "command": command,
        "versions": versions(),
        "parameters": p.to_dict(),
        "simulator": "verilator",
        "samples": job.count,
        "first_sample": job.first_sample,
        "train_epochs": job.epochs,
        "stalls": job.stalls,
        "seed": job.seed,
        "config": setup.config,
        "data": None if setup.data is None else str(setup.data.absolute()),
    }
    start = Checkpoint(p, setup.initial_state(), job.first_sample)
    run = CosimRun.create(setup.output, start, report)
    with locked(setup.output, COMMAND):
        _run_batches(run, job.dataset)
    say_output(setup.output)


def _go_on(setup: Setup) -> None:
    """Go on with the batch run of the output folder."""
    if not (setup.output / MARKER).is_file():
        raise RunError(f"{setup.output} holds no batch run of nomul cosim to go on with")
    with locked(setup.output, COMMAND):
        run = CosimRun.resume(setup.output)
        folder = run.report["data"]
        data = setup.data or (None if folder is None else Path(folder))
        _run_batches(run, load(run.start.parameters, data))
    say_output(setup.output)


def _run_batches(run: CosimRun, dataset: Dataset) -> None:
    """Run what is left of a batch run."""
    report, p, folder = run.report, run.start.parameters, run.path.absolute()
    config = [] if report["config"] is None else ["--config", report["config"]]
    data = [] if report["data"] is None else ["--data", report["data"]]
    replay = ["nomul", "cosim", *config, *data, "--epochs", "0"]
    try:
        with _stages() as progress:
            progress("generate", run.done, report["samples"])
            began = time.perf_counter()
            generated = generate(p, run.start.state, probed=True)
            progress("compile", run.done, report["samples"])
            path = library(p, generated)
            build_seconds = time.perf_counter() - began
            progress("lockstep", run.done, report["samples"])
            for segment in batch(
                p,
                dataset,
                report["samples"],
                library=path,
                folder=folder,
                state=run.reached.state,
                first_sample=report["first_sample"],
                done=run.done,
                stalls=report["stalls"],
                seed=report["seed"],
                again=shlex.join(report["command"]),
                replay=shlex.join(replay),
                progress=progress,
            ):
                run.add(segment)
        free, clocked = free_running(p, dataset, path, min(_FREE_SAMPLES, report["samples"]))
        clocks = sum(line.clocks for line in run.lines)
        result = LockstepResult(
            samples=run.done,
            clocks=clocks,
            # Each segment's were compared.
            predicted_clocks=clocks,
            comparisons=sum(line.comparisons for line in run.lines),
            predictions=np.zeros(0, np.int64),
            state=run.reached.state,
            build_seconds=build_seconds,
            run_seconds=sum(line.seconds for line in run.lines),
        )
        density = dense_equivalent(p, result.samples, clocks)
        rows = {
            "simulator": "verilator, in batches",
            "lockstep": f"{clocks / result.run_seconds:,.0f} clocks/s",
            "free-running": f"{free:,.0f} clocks/s, the same gateware with nothing recorded",
            "clocked golden model alone": f"{clocked:,.0f} clocks/s, {clocked / free:.1f} times",
            "samples trained in lockstep": f"{result.samples:,}",
        }
        console.print(_lockstep_table(p, rows, result, density))
        final = _report_of(result, density)
        final |= {
            "lockstep_clocks_per_second": round(clocks / result.run_seconds),
            "free_running_clocks_per_second": round(free),
            "clocked_model_clocks_per_second": round(clocked),
        }
        final |= _train_on(run.reached, dataset, report["train_epochs"], run.path)
    except DivergenceError as error:
        run.finish({"divergence": str(error).splitlines()})
        say_output(run.path)
        raise
    except KeyboardInterrupt as error:
        # It may have come after a write, before `run` knew of it: the folder says what is done.
        done = CosimRun.resume(run.path).done
        again = shlex.join(["nomul", "cosim", "--resume", "--output", str(run.path)])
        raise Interrupted(
            f"interrupted, {done} of {report['samples']} samples are in lockstep; "
            f"go on with: {again}"
        ) from error
    run.finish(final)


def _report_of(result: LockstepResult, density: float | None) -> dict[str, Any]:
    return {
        "golden_equals_rtl": True,
        "clocks": result.clocks,
        "predicted_clocks": result.predicted_clocks,
        "comparisons": result.comparisons,
        "clocks_per_sample": result.clocks / result.samples,
        "dense_equivalent_accumulates_per_lane_per_clock": density,
        "build_seconds": round(result.build_seconds, 3),
        "run_seconds": round(result.run_seconds, 3),
        "state_sha256": result.state.digest(),
    }


def _train_on(reached: Checkpoint, dataset: Dataset, epochs: int, folder: Path) -> dict[str, Any]:
    """Go on with the functional model; write its checkpoint, and return its part of the report."""
    network = Network(reached.parameters, reached.state.copy())
    trained = train_with_bar(network, dataset, epochs, reached.samples)
    error_percent = exact_error(network, dataset)
    console.print(f"test error: {error_percent:.2f} %")
    after = max(reached.samples, epochs * len(dataset.train_labels))
    Checkpoint(reached.parameters, network.state, after).save(folder / "checkpoint.npz")
    return {"epochs": [asdict(epoch) for epoch in trained], "test_error_percent": error_percent}


def _lockstep_table(
    parameters: Parameters,
    rows_above: dict[str, str],
    result: LockstepResult,
    density: float | None,
) -> Table:
    layout = Layout.of(parameters)
    words = (layout.rows + layout.block_rows) * parameters.lanes
    registers = len(probe_columns(probe_table(parameters)))
    table = Table(title="golden == RTL", show_header=False, title_justify="left")
    rows = {
        **rows_above,
        "clocks": f"{result.clocks:,}",
        "predicted == observed clocks": f"{result.predicted_clocks:,} == {result.clocks:,}",
        "registers compared on every clock": f"{registers:,}",
        "comparisons made": f"{result.comparisons:,}",
        "differences": "0",
        "golden == RTL over all state": f"{words:,} words of weights and biases, random sources",
        "clocks a sample": f"{result.clocks / result.samples:,.1f}",
    }
    if density is not None:
        rows["dense-equivalent accumulates"] = f"{density:.2f} a lane and clock"
    rows["build, run"] = f"{result.build_seconds:.1f} s, {result.run_seconds:.1f} s"
    for name, value in rows.items():
        table.add_row(name, value)
    return table
