"""``python -m benchmarks.clocks``: where the gateware's clocks go, counted by the clocked model."""

import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from golden.clocked import PHASES, Clocked, transfers
from golden.network import Network
from golden.parameters import Parameters
from golden.probes import probe_columns, probe_table
from golden.state import State
from sim.commands.cosim import dense_equivalent
from sim.data import DataError, Dataset, load
from sim.output import output_folder

#: Clocks that are counted at a time, and samples that are fed at a time.
_CHUNK, _FEED = 1 << 13, 1000


def count_clocks(
    parameters: Parameters,
    state: State,
    dataset: Dataset,
    rate_shift: int,
    progress: Callable[[int], None],
) -> dict[str, float]:
    """Train on every training image once and return what the clocks of a sample went to.

    Each clock is counted once: ``entries`` (a column of a block enters the pipeline), ``ends`` (a
    block is closed), ``waits`` (for a list that grows, or for the drain), ``loss`` (from the last
    sum to the deltas), ``settle`` (the last writes of a layer land), ``done``. The sample stream is
    never held back.

    Args:
        parameters: The network.
        state: Where it starts.
        dataset: Gives the training images.
        rate_shift: Learning-rate shift of the epoch.
        progress: Called with the samples done.

    Returns:
        Means over the samples, and ``clocks``, their sum.
    """
    column: dict[str, int] = {}
    for place, (probe, _, _) in enumerate(probe_columns(probe_table(parameters))):
        column.setdefault(probe.name, place)
    model, samples = Clocked(parameters, state), len(dataset.train_labels)
    buffer, always = model.buffer(_CHUNK), np.ones(_CHUNK, np.uint8)
    phases = np.zeros(len(PHASES), np.int64)
    entries = ends = done = 0
    # Behind the last image comes the first again: the stream never runs dry.
    parts, in_hand = itertools.cycle(range(0, samples, _FEED)), 0
    while done < samples:
        while in_hand < _CHUNK:
            part = slice(first := next(parts), first + _FEED)
            pixels, labels = dataset.train_pixels[part], dataset.train_labels[part]
            stream = transfers(parameters, pixels, labels, 1, rate_shift)
            model.feed(stream)
            in_hand += len(stream)
        rows = model.run(always, always, buffer)
        in_hand -= int(rows[:, column["in_ready"]].sum())
        done = int(rows[-1, column["samples"]])
        rows = rows[rows[:, column["samples"]] < samples]
        phases += np.bincount(rows[:, column["state"]], minlength=len(PHASES))
        entries += int(rows[:, column["entry_valid"]].sum())
        ends += int(rows[:, column["entry_end"]].sum())
        progress(done)
    clocks = dict(zip(PHASES, phases.tolist(), strict=True))
    walking = clocks["FORWARD"] + clocks["BACKWARD"]
    counts = {
        "clocks": int(phases.sum()),
        "entries": entries,
        "ends": ends,
        "waits": walking - entries - ends,
        "loss": clocks["LOSS"],
        "settle": clocks["SETTLE"],
        "done": clocks["DONE"],
    }
    return {name: count / samples for name, count in counts.items()}


@click.command()
@click.option("--config", default="mnist-small", show_default=True, metavar="NAME")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder with the four MNIST files; not needed for 64 inputs, which take the UCI digits.",
)
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
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("nomul-out/clocks"),
    show_default=True,
    metavar="DIR",
    help="Folder to write; an earlier output of this command there is replaced.",
)
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
    lines = [[heading for heading, _ in _COLUMNS.values()], ["--:"] * len(_COLUMNS)]
    lines += [
        [form.format(result[name]) for name, (_, form) in _COLUMNS.items()] for result in results
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    clocks()
