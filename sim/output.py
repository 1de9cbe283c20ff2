"""Output folders: complete or not there at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
