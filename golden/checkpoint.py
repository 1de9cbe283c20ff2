"""Checkpoints: files from which training goes on bit for bit.

A checkpoint is an ``.npz`` file (a ZIP archive of NumPy arrays, no pickle), so that ``numpy.load``
reads it too. Its first array, ``nomul_checkpoint``, is the version of this format. The archive's
comment, the last 64 bytes of the file, is the SHA-256 of every byte before it, in hexadecimal: a
file that was cut off or changed anywhere is known before anything in it is used. Equal checkpoints
are equal files.
"""

import dataclasses
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from golden.files import replace_file
from golden.parameters import Parameters
from golden.state import State

#: Version of the file format. The name of the first array and the hash stay in all of them.
FORMAT = 1

#: First array of the archive; its content is the version.
_MAGIC = "nomul_checkpoint"

#: The archive's first bytes: the header of its first entry, of 30 bytes, and the entry's name.
_HEADER, _NAME = b"PK\x03\x04", f"{_MAGIC}.npy".encode()

#: Bytes of the hash at the end.
_HASH_BYTES = 64

_FIELDS = tuple(field.name for field in dataclasses.fields(State))

#: Parameters that say what the words of a state mean: they cannot change halfway.
STATE_PARAMETERS = (
    "layers",
    "lanes",
    "weight_bits",
    "bias_bits",
    "bias_fraction_bits",
    "random_sources",
    "random_width",
)


class CheckpointError(ValueError):
    """A file is no checkpoint, or not one for these parameters; one line, fault and mend."""


@dataclass(frozen=True)
class Checkpoint:
    """Where training stands.

    Attributes:
        parameters: What the network was trained with.
        state: Everything that the trainer remembers; not copied.
        samples: Training samples since the start, whose number tells the place in the schedule.

    Raises:
        ValueError: If the state is not one of such a network, or ``samples`` is negative.
    """

    parameters: Parameters
    state: State
    samples: int = 0

    def __post_init__(self) -> None:
        self.state.check(self.parameters)
        if not 0 <= self.samples < 2**63:
            raise ValueError(f"samples must be in 0..2**63-1, not {self.samples}")

    def save(self, path: Path) -> None:
        """Write the checkpoint to a file, whose old content stays until the new one is complete.

        Raises:
            OSError: If the file cannot be written; the old content stays.
        """
        buffer = io.BytesIO()
        arrays: dict[str, npt.NDArray[np.generic]] = {
            _MAGIC: np.array(FORMAT),
            "parameters": np.frombuffer(self.parameters.to_toml().encode(), np.uint8),
            "samples": np.array(self.samples),
            **{name: getattr(self.state, name) for name in _FIELDS},
        }
        np.savez(buffer, allow_pickle=False, **arrays)
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.comment = bytes(_HASH_BYTES)
        content = buffer.getvalue()[:-_HASH_BYTES]
        replace_file(path, content + hashlib.sha256(content).hexdigest().encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            CheckpointError: If the file is something else, damaged, or of another format.
            OSError: If it cannot be read.
        """
        content = path.read_bytes()
        if not (content.startswith(_HEADER) and content[30:].startswith(_NAME)):
            raise CheckpointError(
                f"{path} is not a checkpoint; give one that nomul train or nomul cosim wrote"
            )
        rest, digest = content[:-_HASH_BYTES], content[-_HASH_BYTES:]
        if hashlib.sha256(rest).hexdigest().encode() != digest:
            raise CheckpointError(
                f"{path} is damaged: its SHA-256 is not the one that it ends with; "
                "take another copy, or train it again"
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            version = int(arrays[_MAGIC])
            if version != FORMAT:
                age = "a newer" if version > FORMAT else "an older"
                raise CheckpointError(
                    f"{path} has checkpoint format {version}, this nomul reads {FORMAT}; "
                    f"install {age} nomul"
                )
            try:
                return cls(
                    parameters=Parameters.from_toml(arrays["parameters"].tobytes().decode()),
                    # A copy has its weights where training is fastest.
                    state=State(**{name: arrays[name] for name in _FIELDS}).copy(),
                    samples=int(arrays["samples"]),
                )
            except ValueError as error:
                raise CheckpointError(
                    f"{path} does not fit this version of nomul: {error}; "
                    "load it with the version that wrote it"
                ) from error

    def changes(self, parameters: Parameters) -> list[str]:
        """Return the names of the fields that differ from the checkpoint's parameters.

        Raises:
            CheckpointError: If the state means something else under such parameters.
        """
        mine, theirs = self.parameters.to_dict(), parameters.to_dict()
        changed = [name for name in mine if mine[name] != theirs[name]]
        fixed = [name for name in changed if name in STATE_PARAMETERS]
        if fixed:
            raise CheckpointError(
                "the checkpoint has "
                + ", ".join(f"{name} = {mine[name]}, not {theirs[name]}" for name in fixed)
                + "; give the configuration it was trained with, or none"
            )
        return changed
