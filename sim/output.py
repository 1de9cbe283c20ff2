"""Output folders: complete or not there at all."""

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from golden.parameters import Parameters
from golden.state import State

#: File that says which command wrote a folder; only such a folder is ever replaced.
MARKER = ".nomul"


@contextmanager
def output_folder(path: Path, command: str) -> Iterator[Path]:
    """Yield a new folder that is renamed to ``path`` when the block ends well.

    Until then it is a sibling of ``path``; whatever ends the block early removes it. An output of
    the same command that ``path`` held before is replaced.

    Raises:
        FileExistsError: If there is something else at ``path``.
        OSError: If the folder cannot be written.
    """
    path = path.absolute()
    marker = path / MARKER
    if path.exists() and not (marker.is_file() and marker.read_text().strip() == command):
        raise FileExistsError(
            f"{path} exists and is not an output of nomul {command}; "
            "remove it or choose another folder with --output"
        )
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
    except OSError as error:
        raise OSError(
            f"cannot write to {path.parent}: {error.strerror}; choose a folder with --output"
        ) from error
    try:
        (unfinished / MARKER).write_text(f"{command}\n", encoding="utf-8")
        yield unfinished
        replaced = path.with_name(f".{path.name}.{os.getpid()}.replaced")
        if path.exists():
            path.rename(replaced)
        unfinished.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def save_state(state: State, path: Path) -> None:
    """Write a state as an ``.npz`` file of plain arrays."""
    np.savez(
        path,
        weights=state.weights,
        biases=state.biases,
        draw=state.draw,
        update=state.update,
        dropout=state.dropout,
    )


def load_state(parameters: Parameters, path: Path) -> State:
    """Read a state that :func:`save_state` wrote.

    Raises:
        ValueError: If the file is not one, or not of such a network.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path} is not a state: save one with nomul train or nomul cosim")
    with np.load(path, allow_pickle=False) as arrays:
        names = ("weights", "biases", "draw", "update", "dropout")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise ValueError(f"{path} is not a state: it lacks {', '.join(missing)}")
        state = State(**{name: arrays[name] for name in names})
    try:
        state.check(parameters)
    except ValueError as error:
        raise ValueError(f"{path} is not a state of this configuration: {error}") from error
    return state
