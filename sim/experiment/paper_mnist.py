"""``nomul experiment paper-mnist``: the paper on MNIST, in integers and in floating point."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from golden.files import replace_file
from golden.parameters import Parameters
from sim.data import load
from sim.experiment.columns import COLUMNS
from sim.experiment.report import Experiment, Measured, MeasuredStudy, to_csv, to_markdown
from sim.experiment.runner import open_folder, read_json, run_all
from sim.experiment.runs import AnyRun, FloatRun, Images, IntegerRun, check_torch
from sim.experiment.studies import QUICK, STUDIES, with_epochs, with_seed
from sim.training import default_epochs

COMMAND = "experiment paper-mnist"

#: The last 10,000 training images of MNIST select settings, as in the paper.
MNIST = Images("mnist", 10_000)

#: Stands in for MNIST in a quick look.
DIGITS = Images("digits", 287)

console = Console(highlight=False)


def paper_mnist(
    config: str,
    data: Path | None,
    output: Path,
    *,
    studies: Sequence[str],
    epochs: int | None,
    seeds: int,
    jobs: int,
    quick: bool,
    float_epochs: int,
) -> None:
    """Run the studies; write results.csv, results.md and the figures.

    Args:
        config: Name or path of the configuration that the studies vary.
        data: Folder of the MNIST files; a quick look does without.
        output: Folder of the experiment; what it holds of an earlier call is not run again.
        studies: Keys of ``STUDIES``.
        epochs: Epochs of every integer run; ``None`` for as many as the schedule is made for.
        seeds: Seeds of every point.
        jobs: Processes.
        quick: Study a tiny network on the UCI digits.
        float_epochs: Epochs of the float reference; 0 leaves it out.

    Raises:
        ValueError: If something asked for cannot be run.
        OSError: If the folder cannot be written.
    """
    base, images = (QUICK, DIGITS) if quick else (Parameters.load(config), MNIST)
    for name, normal in (("connect", "ternary"), ("quantizer", "nearest")):
        if getattr(base, name) != normal:
            raise ValueError(f'{name} of the configuration must be "{normal}": the studies vary it')
    if float_epochs:
        check_torch()
    load(base, None if quick else data)
    epochs = default_epochs(base) if epochs is None else epochs
    planned = [STUDIES[name](with_epochs(base, epochs)) for name in studies]
    open_folder(output, COMMAND)

    by_point = {
        (study.name, point): [
            IntegerRun(with_seed(point.parameters, seed), epochs, images)
            for seed in range(1, seeds + 1)
        ]
        for study in planned
        for point in study.points
    }
    # Points of several studies can be the same run.
    runs: list[AnyRun] = list(dict.fromkeys(run for group in by_point.values() for run in group))
    if float_epochs:
        hidden = base.layers[1:-1]
        runs += [FloatRun(column, hidden, float_epochs, 1, images) for column in COLUMNS]
    results = _run(runs, data, output, jobs)

    experiment = Experiment(
        network=f"{'quick' if quick else Path(config).stem}, {'-'.join(map(str, base.layers))}",
        data="UCI digits" if quick else "MNIST",
        validation_images=images.validation,
        epochs=epochs,
        seeds=seeds,
        studies=tuple(
            MeasuredStudy(
                study,
                tuple(
                    Measured(point, tuple(results[run.file] for run in by_point[study.name, point]))
                    for point in study.points
                ),
            )
            for study in planned
        ),
        floats=tuple(read_json(path) for path in sorted((output / "float").glob("*.json"))),
    )
    replace_file(output / "results.csv", to_csv(experiment).encode())
    markdown = to_markdown(experiment)
    replace_file(output / "results.md", markdown.encode())
    with console.status("draw the figures"):
        # Matplotlib takes a second to load, which the worker processes do not need.
        from sim.experiment.figures import draw_all  # noqa: PLC0415

        for name, content in draw_all(experiment):
            replace_file(output / name, content)
    console.print(markdown, soft_wrap=True, markup=False)
    console.print(f"output: {output.absolute()}", soft_wrap=True)


def _run(
    runs: Sequence[AnyRun], data: Path | None, output: Path, jobs: int
) -> dict[Path, dict[str, Any]]:
    """Run with a bar; return the results by their file."""
    total = sum(run.epochs for run in runs)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total} epochs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        # Runs differ in speed.
        speed_estimate_period=600,
    ) as bars:

        def show(epochs: Sequence[float]) -> None:
            finished = sum(done >= run.epochs for done, run in zip(epochs, runs, strict=True))
            description, completed = f"{finished}/{len(runs)} runs", sum(epochs)
            if bars.tasks:
                bars.update(bars.task_ids[0], description=description, completed=completed)
            else:
                # Epochs of runs that were there before are whole, and say nothing about the speed.
                bars.add_task(description, total=total, completed=int(completed))

        results = run_all(runs, data, output, jobs, show)
    return {run.file: result for run, result in zip(runs, results, strict=True)}
