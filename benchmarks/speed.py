"""``python -m benchmarks.speed``: the golden model against its peers, in turns, in one thread."""

import importlib.util
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.options import output_option
from benchmarks.report import Machine, Report
from benchmarks.samples import load_samples
from benchmarks.sections import SECTIONS, WITH_TORCH, Run
from sim.data import DataError
from sim.output import output_folder


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder with the four MNIST files. Without it images are made up, with as many live "
    "pixels.",
)
@output_option("speed")
@click.option(
    "--rounds",
    type=click.IntRange(min=3),
    default=25,
    show_default=True,
    help="Interleaved rounds of each comparison.",
)
@click.option(
    "--section",
    "sections",
    type=click.Choice(list(SECTIONS)),
    multiple=True,
    help="What to measure; may be given more than once. Default: all.",
)
def speed(data: Path | None, output: Path, rounds: int, sections: tuple[str, ...]) -> None:
    """Measure how fast the golden model is, beside torch and the processor's peak.

    Everything runs in one thread, in turns with its peer; figures are medians. Writes a table
    (speed.md), all of it as JSON (speed.json) and a figure (speed.svg, speed.png).
    """
    chosen = [name for name in SECTIONS if name in sections or not sections]
    packages = ["numba", "llvmlite", "numpy"]
    if any(name in WITH_TORCH for name in chosen):
        if importlib.util.find_spec("torch") is None:
            raise click.ClickException(
                "the peer is missing: pip install 'nomul[bench]', or measure only "
                "--section products --section skips"
            )
        packages.append("torch")
    console = Console(highlight=False)
    try:
        samples = load_samples(data)
        with (
            output_folder(output, "benchmarks.speed") as folder,
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
                # What it takes is timed with the rest.
                refresh_per_second=2,
                transient=True,
            ) as progress,
        ):
            run = Run(samples, rounds, progress)
            for name in chosen:
                SECTIONS[name](run)
            report = Report(
                machine=Machine.here(packages),
                data=f"{samples.name}, {100 * samples.live:.0f} % of the pixels live",
                rounds=rounds,
                share=run.processor / run.wall if run.wall else None,
                notes=tuple(run.notes),
                comparisons=tuple(run.comparisons),
            )
            for name, content in report.files().items():
                (folder / name).write_bytes(content)
    except (DataError, OSError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    for table in report.tables():
        console.print(table)
    for line in report.caption():
        console.print(line)
    console.print(f"written: {output}")


if __name__ == "__main__":
    speed()
