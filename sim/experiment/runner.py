"""Runs the runs of an experiment in parallel, keeps each result as soon as it is there."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from ctypes import c_double
from pathlib import Path
from typing import Any

from golden.files import replace_file
from sim.experiment.runs import AnyRun
from sim.output import MARKER

#: A result: what its run is, and what it gave.
Result = dict[str, Any]

#: Called from time to time with the epochs done of each run.
Progress = Callable[[Sequence[float]], None]

#: Seconds between two calls of a progress callback.
_TICK = 0.2


class _StoppedError(Exception):
    """The experiment was interrupted."""


def open_folder(path: Path, command: str) -> None:
    """Make the folder of an experiment, or take up an earlier one.

    Raises:
        FileExistsError: If there is something else at ``path``.
        OSError: If the folder cannot be written.
    """
    marker = path / MARKER
    if path.exists() and not (marker.is_file() and marker.read_text().strip() == command):
        raise FileExistsError(
            f"{path} exists and is not an output of nomul {command}; "
            "remove it or choose another folder with --output"
        )
    for name in ("runs", "float"):
        (path / name).mkdir(parents=True, exist_ok=True)
    marker.write_text(f"{command}\n", encoding="utf-8")


def read_json(path: Path) -> Result:
    """Return the content of a result's file.

    Raises:
        ValueError: If it is damaged.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: remove it to run it again") from error
    if not isinstance(result, dict):
        raise ValueError(f"{path} is not a result: remove it to run it again")
    return result


def read_result(run: AnyRun, folder: Path) -> Result | None:
    """Return the result of a run that was finished before, if there is one.

    Raises:
        ValueError: If its file is damaged or of another run.
    """
    path = folder / run.file
    if not path.exists():
        return None
    result = read_json(path)
    if result.get("run") != run.identity():
        raise ValueError(f"{path} is the result of another run: remove it to run this one")
    return result


def run_all(
    runs: Sequence[AnyRun], data: Path | None, folder: Path, jobs: int, progress: Progress
) -> list[Result]:
    """Run what has no result yet, each run in one thread of one process; return all results.

    A run's file is written when it is finished. An interrupt, or the first failure, stops the
    others at once and leaves the finished ones in place.

    Args:
        runs: All different.
        data: Folder of the MNIST files.
        folder: Folder of the experiment, as :func:`open_folder` left it.
        jobs: Processes.
        progress: Called from time to time.

    Returns:
        One result a run, in order.

    Raises:
        ValueError: If a file is damaged, or a run cannot be run.
    """
    results = {number: read_result(run, folder) for number, run in enumerate(runs)}
    missing = [number for number, result in results.items() if result is None]
    # A fork would inherit threads and locks of whatever the parent has loaded.
    context = multiprocessing.get_context("spawn")
    epochs = context.RawArray(c_double, len(runs))
    for number, run in enumerate(runs):
        epochs[number] = 0.0 if number in missing else float(run.epochs)
    stop = context.Event()
    progress(list(epochs))
    if missing:
        with ProcessPoolExecutor(
            min(jobs, len(missing)), context, _initialize, (stop, epochs, data, folder)
        ) as executor:
            pending = {
                executor.submit(_execute, number, runs[number]): number for number in missing
            }
            try:
                _collect(pending, results, lambda: progress(list(epochs)))
            finally:
                stop.set()
                executor.shutdown(cancel_futures=True)
    return [result for result in results.values() if result is not None]


def _collect(
    pending: dict[Future[Result], int],
    results: dict[int, Result | None],
    tick: Callable[[], None],
) -> None:
    """Wait for all, fill in their results; the first failure is raised."""
    waiting = set(pending)
    while waiting:
        done, waiting = wait(waiting, timeout=_TICK, return_when=FIRST_COMPLETED)
        for future in done:
            results[pending[future]] = future.result()
        tick()


# What a worker process is given when it starts: shared memory cannot be sent later.
_worker: dict[str, Any] = {}


def _initialize(stop: Any, epochs: Any, data: Path | None, folder: Path) -> None:
    # The terminal sends an interrupt to the workers too; the parent tells them what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker.update(stop=stop, epochs=epochs, data=data, folder=folder, parent=os.getppid())


def _execute(number: int, run: AnyRun) -> Result:
    """Run in a worker; keep the result."""

    def report(done: float) -> None:
        # A parent that was killed cannot say so.
        if _worker["stop"].is_set() or os.getppid() != _worker["parent"]:
            raise _StoppedError
        _worker["epochs"][number] = done

    folder: Path = _worker["folder"]
    result = {"run": run.identity(), **run.execute(_worker["data"], folder, report)}
    replace_file(folder / run.file, (json.dumps(result, indent=1) + "\n").encode())
    report(run.epochs)
    return result
