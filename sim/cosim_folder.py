"""The folder of a batch run of ``nomul cosim``: valid at every moment, and the run goes on from it.

====================  ==============================================================================
``config.toml``       the parameters
``report.json``       command, versions, what is to be done; the result once it is ``complete``
``start.npz``         where the run starts
``segments.csv``      a line for each segment in lockstep: samples, clocks, comparisons, seconds,
                      and the SHA-256 of the state behind it
``lockstep.npz``      where the lockstep stands: behind the last segment
====================  ==============================================================================

Each file is replaced whole. Behind a segment its line comes first, then the checkpoint: whenever
the run is killed, there is a line for every segment of the checkpoint, and at most one line more.
"""

import csv
import io
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from golden.checkpoint import Checkpoint
from golden.files import replace_file
from sim.batch import SEGMENT, Segment
from sim.output import MARKER, output_folder
from sim.run_folder import RunError

COMMAND = "cosim"

CONFIG, REPORT, SEGMENTS = "config.toml", "report.json", "segments.csv"
START, LOCKSTEP = "start.npz", "lockstep.npz"

#: What a report has from the start, with types.
_SETTINGS: dict[str, type | tuple[type, ...]] = {
    "complete": bool,
    "samples": int,
    "first_sample": int,
    "train_epochs": int,
    "stalls": (int, float),
    "seed": int,
    "data": (str, type(None)),
    "command": list,
}


@dataclass(frozen=True)
class Line:
    """A line of ``segments.csv``; the numbers are those of the segment alone."""

    samples: int
    clocks: int
    comparisons: int
    seconds: float
    state_sha256: str


@dataclass
class CosimRun:
    """A batch run and its folder.

    Attributes:
        path: The folder.
        report: Content of ``report.json``.
        start: Where the run starts.
        reached: Where the lockstep stands.
        lines: The segments done, in order.
    """

    path: Path
    report: dict[str, Any]
    start: Checkpoint
    reached: Checkpoint
    lines: list[Line] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Samples done in lockstep."""
        return sum(line.samples for line in self.lines)

    @classmethod
    def create(cls, path: Path, start: Checkpoint, report: dict[str, Any]) -> Self:
        """Make the folder of a new run; replace a complete one.

        Raises:
            RunError: If there is a run at ``path`` that is not complete.
            FileExistsError: If there is something else.
            OSError: If the folder cannot be written.
        """
        require_complete(path)
        run = cls(path, {**report, "complete": False}, start, start)
        with output_folder(path, COMMAND) as folder:
            replace_file(folder / CONFIG, start.parameters.to_toml().encode())
            start.save(folder / START)
            _write_lines([], folder)
            start.save(folder / LOCKSTEP)
            _write_report(run.report, folder)
        return run

    @classmethod
    def resume(cls, path: Path) -> Self:
        """Return a run where it was left.

        Raises:
            RunError: If ``path`` is no folder of an unfinished run, or its files do not belong
                together.
            CheckpointError: If a checkpoint is damaged.
        """
        if not all((path / name).is_file() for name in (MARKER, REPORT, SEGMENTS, START, LOCKSTEP)):
            raise RunError(f"{path} holds no batch run of nomul cosim to go on with")
        report = _read_report(path)
        if report["complete"]:
            raise RunError(f"{path} holds a run that is complete; start another without --resume")
        start, reached = Checkpoint.load(path / START), Checkpoint.load(path / LOCKSTEP)
        mend = f"start a new run with --state {path / LOCKSTEP}"
        if reached.parameters != start.parameters:
            raise RunError(f"{path / START} and {LOCKSTEP} are not of one run; {mend}")
        lines = _read_lines(path)
        done = reached.samples - start.samples
        lines = lines[: -(-done // SEGMENT)]
        run = cls(path, report, start, reached, lines)
        if run.done != done or (lines and lines[-1].state_sha256 != reached.state.digest()):
            raise RunError(f"{path / SEGMENTS} has not the segments of {LOCKSTEP}; {mend}")
        return run

    def add(self, segment: Segment) -> None:
        """Write a segment that is done, and the checkpoint behind it.

        Raises:
            OSError: If a file cannot be written.
        """
        line = Line(
            segment.samples,
            segment.clocks,
            segment.comparisons,
            round(segment.seconds, 3),
            segment.state.digest(),
        )
        lines = [*self.lines, line]
        _write_lines(lines, self.path)
        samples = self.start.samples + self.done + segment.samples
        reached = Checkpoint(self.start.parameters, segment.state, samples)
        reached.save(self.path / LOCKSTEP)
        self.lines, self.reached = lines, reached

    def finish(self, result: dict[str, Any]) -> None:
        """Write the report of the run, which then is complete.

        Raises:
            OSError: If the file cannot be written.
        """
        self.report |= {**result, "complete": True}
        _write_report(self.report, self.path)


def require_complete(path: Path) -> None:
    """Refuse a folder whose run can go on.

    Raises:
        RunError: If it is one.
    """
    if (path / SEGMENTS).is_file() and not _read_report(path)["complete"]:
        raise RunError(
            f"{path} holds a run that is not complete; go on with --resume, "
            "or choose another folder with --output"
        )


def _write_lines(lines: list[Line], folder: Path) -> None:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, [each.name for each in fields(Line)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(line) for line in lines)
    replace_file(folder / SEGMENTS, file.getvalue().encode())


def _read_lines(folder: Path) -> list[Line]:
    text = (folder / SEGMENTS).read_text(encoding="utf-8")
    names, *rows = csv.reader(io.StringIO(text, newline="")) if text else [[]]
    try:
        if names != [each.name for each in fields(Line)]:
            raise ValueError("its first line is not that of nomul cosim")
        return [
            Line(int(samples), int(clocks), int(comparisons), float(seconds), digest)
            for samples, clocks, comparisons, seconds, digest in rows
        ]
    except ValueError as error:
        raise RunError(
            f"{folder / SEGMENTS} is damaged: {error}; "
            f"start a new run with --state {folder / LOCKSTEP}"
        ) from error


def _write_report(report: dict[str, Any], folder: Path) -> None:
    replace_file(folder / REPORT, (json.dumps(report, indent=2) + "\n").encode())


def _read_report(folder: Path) -> dict[str, Any]:
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{folder / REPORT} is damaged: {error}; remove the folder, or choose another"
        ) from error
    fits = isinstance(report, dict) and all(
        isinstance(report.get(name, ...), kind) for name, kind in _SETTINGS.items()
    )
    if not fits:
        raise RunError(f"{folder / REPORT} is not of a batch run; choose another folder")
    content: dict[str, Any] = report
    return content
