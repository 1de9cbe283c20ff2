"""Files that are replaced whole or not at all."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that at every moment its old or its new content is there, and complete.

    The content goes to a sibling of a fixed name, to the disk, and then takes the file's place;
    what a killed process leaves of the sibling is overwritten the next time. Two processes must not
    write the same file at the same moment.

    Raises:
        OSError: If the file cannot be written; the old content stays.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    # The new name is an entry of the folder, which is written to the disk apart from the file.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
