"""Options that the benchmarks share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

#: The data set, of a configuration.
data_option: Decorator = click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder with the four MNIST files; not needed for 64 inputs, which take the UCI digits.",
)


def output_option(name: str) -> Decorator:
    """Return the option of the output folder, below ``nomul-out`` unless given."""
    return click.option(
        "--output",
        type=click.Path(path_type=Path),
        default=Path("nomul-out") / name,
        show_default=True,
        metavar="DIR",
        help="Folder to write; an earlier output of this command there is replaced.",
    )
