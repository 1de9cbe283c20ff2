"""What ``nomul audit`` does: proved and observed ranges of registers and sums, side by side."""

import time
from typing import Any

from rich.table import Table

from sim.audit import Audit, Observation, audit
from sim.commands.common import (
    Setup,
    console,
    first_of,
    sample_bars,
    say_output,
    show_samples,
    versions,
    write_json,
)
from sim.data import load
from sim.output import output_folder

_HEADINGS = ("", "bits", "proved", "observed", "unused bits", "saturated")

_INTRODUCTION = """\
# Overflow audit

`nomul audit` trains with the clocked golden model and looks at every probed register
([architecture.md](architecture.md), section 9) on every clock, and at sums before they are shifted
or clipped. For each it writes what it *can* be beside what it *was*, in units of its lowest bit. An
observed value outside of the proved range, or a proved range that does not fit a register's width,
ends the command with exit code 1. Registers that are not probed are not looked at: among them the
bias words, the products that enter the adder tree (`term`), its own registers, and the copies of a
weight on the way to its update.

- **bits**: the width of a register; of a sum, what its proved range needs.
- **proved**: the exact interval that the operands allow, for any samples and random bits
  (`golden/ranges.py`), and where it follows from. The proofs named show for all inputs that the
  gateware keeps to it, or to its width ([formal.md](formal.md)).
- **observed**: the smallest and the largest value.
- **unused bits**: of the width, how many no observed value needed.
- **saturated**: how often what a sum ends in was clipped, of how many times: weights and biases,
  hidden and output deltas, and activations at their maximum.

Sums are computed once more from the registers of their step, and each must end in the register that
it should, or the command fails too: a forward sum in `accumulator` after every step, the tree sums
of a column in `partial` after every block. `r` is the random number of a rounding, `half` that of
rounding to nearest; a forward sum begins with the bias, and every step of it counts.
"""


class AuditError(RuntimeError):
    """Something was outside of its range; the message is one line."""


def audit_ranges(setup: Setup, *, samples: int | None, epochs: int | None) -> None:
    """Observe training, and write the report, whatever it says.

    Raises:
        AuditError: If something is outside of its range.
        ParameterError: If the gateware cannot train such a network.
        ValueError: If both numbers are given.
    """
    if samples is not None and epochs is not None:
        raise ValueError("--samples and --epochs are two ways to say how long: leave one out")
    p = setup.parameters
    p.check_gateware()
    dataset = load(p, setup.data)
    if samples is None:
        samples = (epochs or 1) * len(dataset.train_labels)
    command = ["nomul", "audit", *setup.arguments(), "--samples", str(samples)]
    with output_folder(setup.output, "audit") as folder:
        with sample_bars() as bars:
            task = bars.add_task("audit", total=samples, rate="")
            started = time.monotonic()
            found = audit(
                p,
                setup.initial_state(),
                dataset,
                samples,
                lambda done: show_samples(bars, task, done),
            )
            seconds = time.monotonic() - started
        report: dict[str, Any] = {
            "command": command,
            "versions": versions(),
            "parameters": p.to_dict(),
            "samples": samples,
            "clocks": found.clocks,
            "seconds": round(seconds, 1),
            "registers": [_entry(each) for each in found.registers],
            "sums": [_entry(each) for each in found.sums],
            "faults": found.faults(),
        }
        write_json(report, folder / "audit.json")
        text = _markdown(found, command, p.layers, p.lanes, seconds)
        (folder / "audit.md").write_text(text, encoding="utf-8")
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
    console.print(_table(found))
    say_output(setup.output)
    if faults := found.faults():
        raise AuditError(f"{first_of(faults)}; see {setup.output / 'audit.md'}")


def _entry(each: Observation) -> dict[str, Any]:
    """Return an observation for JSON; ``observed`` is null for a sum that did not occur."""
    entry: dict[str, Any] = {"name": each.name}
    if each.layer is not None:
        entry["layer"] = each.layer
    entry |= {
        "bits": each.bits,
        "signed": each.signed,
        "proved": [each.proved.low, each.proved.high],
        "source": each.proved.source,
        "proofs": list(each.proved.proofs),
        "observed": [each.low, each.high] if each.occurred else None,
        "unused_bits": each.unused_bits,
    }
    if each.ended:
        entry |= {"saturated": each.saturated, "of": each.ended}
    return entry


def _cells(each: Observation) -> tuple[str, ...]:
    """Return the cells of an observation, behind its name."""
    return (
        f"{each.bits}",
        f"{each.proved.low:,} .. {each.proved.high:,}",
        f"{each.low:,} .. {each.high:,}" if each.occurred else "",
        f"{each.unused_bits}",
        f"{each.saturated:,} of {each.ended:,}" if each.ended else "",
    )


def _table(found: Audit) -> Table:
    """Return the table for the terminal: the sums, and registers of more than one bit."""
    table = Table(title=f"{found.samples:,} samples, {found.clocks:,} clocks", title_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=not heading)
    for each in found.registers:
        if each.bits > 1:
            table.add_row(each.name, *_cells(each))
    table.add_section()
    for each in found.sums:
        table.add_row(f"{each.name}, layer {each.layer}", *_cells(each))
    return table


def _markdown(
    found: Audit, command: list[str], layers: tuple[int, ...], lanes: int, seconds: float
) -> str:
    """Return the report as a document."""
    network = "-".join(map(str, layers))
    faults = found.faults()
    lines = [
        _INTRODUCTION,
        "This page is what the command writes (`audit.md` in its output folder):\n",
        f"    {' '.join(command)}\n",
        f"{network} on {lanes} lanes, {found.samples:,} samples, {found.clocks:,} clocks, "
        f"{seconds:.0f} seconds. "
        + ("**Everything is within its range.**" if not faults else "**Not within its range:**"),
        *(f"\n- {fault}" for fault in faults),
        "",
        f"| {' | '.join(('quantity', *_HEADINGS[1:], 'follows from', 'proofs'))} |",
        "|---|--:|--:|--:|--:|--:|---|---|",
    ]
    for each in (*found.registers, *found.sums):
        name = f"`{each.name}`" if each.layer is None else f"{each.name}, layer {each.layer}"
        proofs = ", ".join(f"`{proof}`" for proof in each.proved.proofs)
        lines.append(f"| {' | '.join((name, *_cells(each), each.proved.source, proofs))} |")
    return "\n".join(lines) + "\n"
