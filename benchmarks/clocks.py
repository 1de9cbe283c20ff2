"""``python -m benchmarks.clocks``: where the gateware's clocks go, counted by the clocked model."""

import json
from functools import partial
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.options import data_option, output_option
from golden.network import Network
from golden.parameters import Parameters
from sim.clocks import count_clocks
from sim.commands.cosim import dense_equivalent
from sim.data import DataError, Dataset, load
from sim.markdown import RIGHT, table
from sim.output import output_folder


@click.command()
@click.option("--config", default="mnist-small", show_default=True, metavar="NAME")
@data_option
@click.option(
    "--lanes", default="16,64,128,256", show_default=True, metavar="A,B,..", help="Lanes to try."
)
@click.option(
    "--after",
    default=0,
    show_default=True,
    metavar="N",
    help="Count in the epoch that follows N epochs of training with the golden model.",
)
@output_option("clocks")
def clocks(config: str, data: Path | None, lanes: str, after: int, output: Path) -> None:
    """Count the clocks of an epoch, and say where they go.

    Writes the table (clocks.md) and all of it as JSON (clocks.json).
    """
    console = Console(highlight=False)
    try:
        base = Parameters.named(config)
        chosen = [base.replace(lanes=int(each)) for each in lanes.split(",")]
        dataset = load(base, data)
        with output_folder(output, "benchmarks.clocks") as folder:
            results = [_count(p, dataset, after, console) for p in chosen]
            text = json.dumps({"config": config, "after": after, "results": results}, indent=2)
            (folder / "clocks.json").write_text(f"{text}\n", encoding="utf-8")
            (folder / "clocks.md").write_text(_table(results), encoding="utf-8")
    except (DataError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    console.print(_table(results), end="")
    console.print(f"output: {output}")


def _count(
    parameters: Parameters, dataset: Dataset, after: int, console: Console
) -> dict[str, float]:
    """Return the counts of one number of lanes, with the ratios that follow from them."""
    p, samples = parameters, len(dataset.train_labels)
    network = Network(p)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bars:
        task = bars.add_task(f"{p.lanes} lanes", total=samples * (after + 1))

        def show(done: int, before: int) -> None:
            bars.update(task, completed=before * samples + done)

        for epoch in range(after):
            report = partial(show, before=epoch)
            network.train(
                dataset.train_pixels, dataset.train_labels, p.rate_shift(epoch), progress=report
            )
        counts = count_clocks(
            p, network.state.copy(), dataset, p.rate_shift(after), partial(show, before=after)
        )
    trained = network.train(dataset.train_pixels, dataset.train_labels, p.rate_shift(after)).trained
    total = round(counts["clocks"] * samples)
    return {
        "lanes": p.lanes,
        "trained_percent": 100 * float(np.mean(trained)),
        **counts,
        "clocks_per_entry": counts["clocks"] / counts["entries"],
        "dense_equivalent": dense_equivalent(p, samples, total),
    }


#: Heading and format of each column of the table.
_COLUMNS = {
    "lanes": ("lanes", "{:.0f}"),
    "trained_percent": ("learnt from", "{:.1f} %"),
    "clocks": ("clocks a sample", "{:.1f}"),
    "entries": ("entries", "{:.1f}"),
    "ends": ("ends", "{:.1f}"),
    "waits": ("waits", "{:.1f}"),
    "loss": ("loss", "{:.1f}"),
    "settle": ("settle", "{:.1f}"),
    "done": ("done", "{:.1f}"),
    "clocks_per_entry": ("clocks / entries", "{:.3f}"),
    "dense_equivalent": ("dense-equivalent accumulates", "{:.2f}"),
}


def _table(results: list[dict[str, float]]) -> str:
    """Return the results as a Markdown table."""
    headings = [heading for heading, _ in _COLUMNS.values()]
    rows = [
        [form.format(result[name]) for name, (_, form) in _COLUMNS.items()] for result in results
    ]
    return f"{table(headings, rows, first=RIGHT, others=RIGHT)}\n"


if __name__ == "__main__":
    clocks()
