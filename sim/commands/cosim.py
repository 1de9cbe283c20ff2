"""What ``nomul cosim`` does: the gateware in a simulator, in lockstep with the golden model."""

import itertools
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.progress import TaskID
from rich.table import Table

from golden.checkpoint import Checkpoint
from golden.layout import Layout
from golden.network import Network
from golden.parameters import Parameters
from golden.probes import probe_columns, probe_table
from sim.commands.common import (
    Setup,
    console,
    sample_bars,
    say_output,
    show_samples,
    versions,
    write_json,
)
from sim.commands.train import train_with_bar
from sim.data import load
from sim.divergence import DivergenceError
from sim.lockstep import LockstepResult, Progress
from sim.lockstep import cosim as run_cosim
from sim.output import output_folder
from sim.training import default_epochs, exact_error

_STAGES = {
    "generate": "generate Verilog",
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
    with sample_bars() as bars:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for task in tasks.values():
                    bars.update(task, total=1, completed=1)
                # How long the first two take is not known: their bars pulse.
                work = total if stage == "lockstep" else None
                tasks[stage] = bars.add_task(_STAGES[stage], total=work, rate="")
            if stage == "lockstep":
                show_samples(bars, tasks[stage], done)

        yield show


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
            "versions": versions(),
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
            trained = train_with_bar(network, dataset, epochs, count)
            error_percent = exact_error(network, dataset)
            console.print(f"test error: {error_percent:.2f} %")
            report["epochs"] = [asdict(epoch) for epoch in trained]
            report["test_error_percent"] = error_percent
            Checkpoint(p, result.state, count).save(folder / "lockstep.npz")
            after = max(count, epochs * len(dataset.train_labels))
            Checkpoint(p, network.state, after).save(folder / "checkpoint.npz")
        write_json(report, folder / "report.json")
    say_output(setup.output)
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
