"""What was measured, as a table, JSON and a figure: ratios first."""

import io
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import llvmlite.binding
import matplotlib as mpl
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.interleave import Spread

HEADINGS = ("ratio", "quartiles", "target", "what", "nomul", "peer", "peer is", "unit")


def _plain(value: float) -> str:
    """Return three digits, or all of a larger number's, without an exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


@dataclass(frozen=True)
class Comparison:
    """One figure beside its peer.

    Attributes:
        section: Of the benchmark.
        what: Is measured.
        peer: What it is compared with.
        unit: Of both values.
        ours: Value of the golden model.
        theirs: Value of the peer.
        ratio: How many times better ours is, over the rounds.
        target: Ratio to reach, if there is one.
        limit: Value of ours not to exceed, if there is one.
    """

    section: str
    what: str
    peer: str
    unit: str
    ours: Spread
    theirs: Spread
    ratio: Spread
    target: float | None = None
    limit: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the target, or the limit, is reached; ``None`` if there is none."""
        if self.target is not None:
            return self.ratio.middle >= self.target
        return None if self.limit is None else self.ours.middle <= self.limit

    @property
    def close(self) -> bool:
        """Whether the target, or the limit, lies between the quartiles: another run may differ."""
        if self.target is not None:
            return self.ratio.low < self.target < self.ratio.high
        return self.limit is not None and self.ours.low < self.limit < self.ours.high

    def cells(self) -> list[str]:
        """Return the row of a table under :data:`HEADINGS`."""
        target = ""
        if self.reached is not None:
            goal = f">= {self.target:g}" if self.target else f"<= {self.limit:g} {self.unit}"
            target = f"{goal}: {'reached' if self.reached else 'missed'}"
            if self.close:
                target += ", but close"
        return [
            f"{self.ratio.middle:.3g}",
            f"{self.ratio.low:.3g} .. {self.ratio.high:.3g}",
            target,
            self.what,
            _plain(self.ours.middle),
            _plain(self.theirs.middle),
            self.peer,
            self.unit,
        ]


@dataclass(frozen=True)
class Machine:
    """Where it was measured, and with what."""

    processor: str
    python: str
    versions: dict[str, str]

    @classmethod
    def here(cls, packages: Sequence[str]) -> Self:
        """Return this machine, with the versions of some packages."""
        name = platform.processor() or platform.machine()
        cpuinfo = Path("/proc/cpuinfo")
        if cpuinfo.is_file():
            lines = cpuinfo.read_text(encoding="utf-8").splitlines()
            models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
            name = (models or [name])[0]
        core = llvmlite.binding.get_host_cpu_name()
        return cls(
            processor=f"{name} ({core}), {os.cpu_count()} processors",
            python=platform.python_version(),
            versions={package: version(package) for package in packages},
        )

    def __str__(self) -> str:
        """Return one line."""
        packages = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.processor}; Python {self.python}, {packages}"


@dataclass(frozen=True)
class Report:
    """A run of the benchmark.

    Attributes:
        machine: Where.
        data: What the networks were shown.
        rounds: Rounds of every comparison but epochs.
        share: Part of the wall time in which the process had the processor; less than 1 when
            other processes had it, ``None`` when nothing was timed so.
        notes: Figures that are no comparison, one sentence each.
        comparisons: In order.
    """

    machine: Machine
    data: str
    rounds: int
    share: float | None
    notes: tuple[str, ...]
    comparisons: tuple[Comparison, ...]

    def caption(self) -> list[str]:
        """Return what every table has to say, in lines."""
        share = ""
        if self.share is not None:
            share = f"; it was {100 * self.share:.0f} % of the wall time"
        return [
            f"{self.machine}.",
            f"{self.data}. Medians of {self.rounds} interleaved rounds, of epochs the whole; "
            f"processor time of one thread, which is checked{share}.",
            *self.notes,
        ]

    def tables(self) -> list[Table]:
        """Return one table a section, for the terminal."""
        tables = []
        for section, rows in self._sections():
            table = Table(title=section, title_justify="left", pad_edge=False)
            for heading in HEADINGS:
                numeric = heading in ("ratio", "nomul", "peer")
                table.add_column(heading, justify="right" if numeric else "left", no_wrap=numeric)
            for row in rows:
                style = "yellow" if row.reached is False else None
                table.add_row(*row.cells(), style=style)
            tables.append(table)
        return tables

    def markdown(self) -> str:
        """Return all tables as Markdown."""
        lines = ["# Speed", "", *self.caption()]
        for section, rows in self._sections():
            lines += ["", f"## {section}", ""]
            lines.append("| " + " | ".join(HEADINGS) + " |")
            lines.append("|--:|---|---|---|--:|--:|---|---|")
            lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        """Return everything as a JSON document."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def figure(self) -> Figure:
        """Draw all ratios as bars with quartiles, targets as ticks."""
        rows = list(reversed(self.comparisons))
        sections = list(dict.fromkeys(row.section for row in self.comparisons))
        figure = Figure(figsize=(9, 1.2 + 0.34 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(rows):
            middle = row.ratio.middle
            axes.barh(
                place,
                middle,
                xerr=[
                    [middle - min(middle, row.ratio.low)],
                    [max(middle, row.ratio.high) - middle],
                ],
                color=f"C{sections.index(row.section)}",
                height=0.7,
                capsize=2,
                log=True,
            )
            if row.target is not None:
                axes.plot([row.target] * 2, [place - 0.45, place + 0.45], color="black", lw=2)
            axes.annotate(f" {middle:.3g}", (max(middle, row.ratio.high), place), va="center")
        axes.set_yticks(range(len(rows)), [f"{row.what} / {row.peer}" for row in rows])
        axes.axvline(1, color="0.5", lw=1)
        axes.set_xlim(right=2 * max(row.ratio.high for row in rows))
        axes.set_xlabel("times as fast as the peer (black: target, whiskers: quartiles)")
        axes.set_title(f"{self.machine}\n{self.data}", fontsize=8)
        return figure

    def files(self) -> dict[str, bytes]:
        """Return names and contents of all files of the report."""
        files = {
            "speed.json": self.json().encode(),
            "speed.md": self.markdown().encode(),
        }
        metadata: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {}}
        with mpl.rc_context({"svg.hashsalt": "nomul", "font.size": 8}):
            figure = self.figure()
            for kind, entries in metadata.items():
                content = io.BytesIO()
                figure.savefig(content, format=kind, metadata=entries, dpi=120)
                files[f"speed.{kind}"] = content.getvalue()
        return files

    def _sections(self) -> list[tuple[str, list[Comparison]]]:
        sections = list(dict.fromkeys(row.section for row in self.comparisons))
        return [
            (section, [row for row in self.comparisons if row.section == section])
            for section in sections
        ]
