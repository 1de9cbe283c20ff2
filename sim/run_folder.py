"""The folder of a run of ``nomul train``: valid at every moment, and the run goes on from it.

========================  ==========================================================================
``config.toml``           the parameters
``report.json``           command, versions, epochs to do; ``final`` errors once it is ``complete``
``metrics.csv``           a line for each epoch
``checkpoint.npz``        where training stands: after the last epoch
``curves.svg``, ``.png``  the metrics as curves; while it runs, they are up to half a minute late
========================  ==========================================================================

Each file is replaced whole. After an epoch the metrics come first, then the checkpoint: whenever
the run is killed, there is a line for every epoch of the checkpoint, and at most one line more,
which the resumed run writes again.
"""

import fcntl
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from golden.checkpoint import Checkpoint
from golden.files import replace_file
from golden.parameters import Parameters
from golden.state import State
from sim.output import MARKER, output_folder
from sim.training import Epoch, metrics_from_csv, metrics_to_csv

COMMAND = "train"

CONFIG, METRICS = "config.toml", "metrics.csv"
CHECKPOINT, REPORT = "checkpoint.npz", "report.json"

#: Seconds between two drawings of the curves: a drawing takes longer than an epoch of the digits.
DRAWING_PAUSE = 30.0

#: What a report has from the start, with types.
_SETTINGS: dict[str, type | tuple[type, ...]] = {
    "complete": bool,
    "epochs": int,
    "train_samples": int,
    "validation_samples": int,
    "jitter": bool,
    "samples_before": int,
    "data": (str, type(None)),
    "final": (dict, type(None)),
}


class RunError(ValueError):
    """A folder holds no run, or another than the command needs; one line, fault and mend."""


@dataclass
class Run:
    """A run and its folder.

    Attributes:
        path: The folder.
        parameters: What the network is trained with.
        report: Content of ``report.json``; ``epochs`` in all, ``train_samples`` of an epoch,
            ``validation_samples`` held back, ``jitter``, ``samples_before`` the run began, the
            folder ``data``.
        epochs: The epochs done, in order.
    """

    path: Path
    parameters: Parameters
    report: dict[str, Any]
    epochs: list[Epoch] = field(default_factory=list)
    _drawn: float = field(default=-math.inf, init=False)

    @property
    def epochs_done(self) -> int:
        """Epochs done, those before the run included."""
        if self.epochs:
            return self.epochs[-1].epoch + 1
        done: int = self.report["samples_before"] // self.report["train_samples"]
        return done

    @classmethod
    def create(cls, path: Path, checkpoint: Checkpoint, report: dict[str, Any]) -> Self:
        """Make the folder of a new run that begins at a checkpoint; replace a complete one.

        Raises:
            RunError: If there is a run at ``path`` that is not complete.
            FileExistsError: If there is something else.
            OSError: If the folder cannot be written.
        """
        if (path / REPORT).is_file() and not _read_report(path)["complete"]:
            raise RunError(
                f"{path} holds a run that is not complete; go on with --resume, "
                "or choose another folder with --output"
            )
        run = cls(path, checkpoint.parameters, {**report, "complete": False, "final": None})
        with output_folder(path, COMMAND) as folder:
            replace_file(folder / CONFIG, run.parameters.to_toml().encode())
            replace_file(folder / METRICS, metrics_to_csv([]).encode())
            checkpoint.save(folder / CHECKPOINT)
            _write_report(run.report, folder)
        return run

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what is known of a run, complete or not.

        Raises:
            RunError: If ``path`` is no folder of a run, or a file in it is damaged.
        """
        _require_run(path)
        report = _read_report(path)
        try:
            epochs = metrics_from_csv((path / METRICS).read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(
                f"{path / METRICS} is damaged: {error}; start anew with --state {path / CHECKPOINT}"
            ) from error
        return cls(path, Parameters.load(str(path / CONFIG)), report, epochs)

    @classmethod
    def resume(cls, path: Path) -> tuple[Self, Checkpoint]:
        """Return a run as it is to go on, and where: its epochs are those of the checkpoint.

        Raises:
            RunError: As for :meth:`read`, or if the files do not belong together.
            CheckpointError: If the checkpoint is damaged.
        """
        run = cls.read(path)
        checkpoint = Checkpoint.load(path / CHECKPOINT)
        mend = f"start a new run with --state {path / CHECKPOINT}"
        if run.parameters != checkpoint.parameters:
            changed = ", ".join(checkpoint.changes(run.parameters))
            raise RunError(f"{path / CONFIG} was edited after the run began ({changed}); {mend}")
        size = run.report["train_samples"]
        first, last = run.report["samples_before"] // size, checkpoint.samples // size
        run.epochs = run.epochs[: last - first]
        if [each.epoch for each in run.epochs] != list(range(first, last)):
            raise RunError(f"{path / METRICS} has not the epochs of the checkpoint; {mend}")
        return run, checkpoint

    def extend(self, epochs: int) -> None:
        """Set how many epochs the run is to have in all.

        Raises:
            RunError: If it has more already.
            OSError: If the report cannot be written.
        """
        if epochs < self.epochs_done:
            raise RunError(
                f"{self.path} has {self.epochs_done} epochs already; ask for more with --epochs"
            )
        self.report |= {"epochs": epochs, "complete": False, "final": None}
        _write_report(self.report, self.path)

    def add(self, epoch: Epoch, state: State) -> None:
        """Write the metrics and the checkpoint of an epoch that is done.

        Raises:
            OSError: If a file cannot be written.
        """
        epochs = [*self.epochs, epoch]
        samples = (epoch.epoch + 1) * self.report["train_samples"]
        replace_file(self.path / METRICS, metrics_to_csv(epochs).encode())
        Checkpoint(self.parameters, state, samples).save(self.path / CHECKPOINT)
        self.epochs = epochs
        if time.monotonic() > self._drawn + DRAWING_PAUSE:
            self.draw()

    def draw(self) -> None:
        """Draw the curves of the epochs done.

        Raises:
            OSError: If a file cannot be written.
        """
        if not self.epochs:
            return
        # Matplotlib takes half a second to load, which short runs should not wait for at the start.
        from sim.curves import save_figure, training_curves  # noqa: PLC0415

        final = self.report["final"]
        test_error = None if final is None else final["test_error_percent"]
        figure = training_curves(self.parameters, self.epochs, self.path.name, test_error)
        save_figure(figure, self.path, "curves")
        self._drawn = time.monotonic()

    def finish(self, state: State, test_error: float) -> None:
        """Write the report of the complete run, with the error of the test images in percent.

        Raises:
            OSError: If a file cannot be written.
        """
        last = self.epochs[-1] if self.epochs else None
        self.report["final"] = {
            "test_error_percent": test_error,
            "validation_error_percent": None if last is None else last.validation_error,
            "train_error_percent": None if last is None else last.train_error,
            "loss_in_squared_margins": None if last is None else last.loss,
            "train_seconds": round(sum(epoch.seconds for epoch in self.epochs), 3),
            "state_sha256": state.digest(),
        }
        self.draw()
        self.report["complete"] = True
        _write_report(self.report, self.path)


@contextmanager
def training_in(path: Path) -> Iterator[None]:
    """Keep other processes from training in the folder of a run.

    Raises:
        RunError: If one does already, or ``path`` is no folder of a run.
    """
    _require_run(path)
    with locked(path, COMMAND):
        yield


@contextmanager
def locked(path: Path, command: str) -> Iterator[None]:
    """Keep other processes from working in an output folder.

    Raises:
        RunError: If one does already.
    """
    with (path / MARKER).open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"another nomul {command} is at work in {path}; "
                "wait for it, or choose another folder with --output"
            ) from error
        yield


def _require_run(path: Path) -> None:
    if not all((path / name).is_file() for name in (MARKER, CONFIG, METRICS, REPORT)):
        raise RunError(f"{path} holds no run; give a folder that nomul train wrote")


def _write_report(report: dict[str, Any], folder: Path) -> None:
    replace_file(folder / REPORT, (json.dumps(report, indent=2) + "\n").encode())


def _read_report(folder: Path) -> dict[str, Any]:
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(
            f"{folder / REPORT} is damaged: {error}; remove the folder, or choose another"
        ) from error
    fits = isinstance(report, dict) and all(
        isinstance(report.get(name, ...), kind) for name, kind in _SETTINGS.items()
    )
    if not (fits and report["train_samples"] > 0):
        raise RunError(f"{folder / REPORT} is not a report of nomul train; choose another folder")
    content: dict[str, Any] = report
    return content
