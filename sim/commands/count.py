"""What ``nomul count`` does: the operations of training, by sample and phase."""

import csv
from collections.abc import Collection
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.table import Table

from golden.network import Network
from golden.operations import PHASES, CountingOracle, Tally
from golden.oracle import Phase
from golden.parameters import Parameters
from golden.state import State
from sim.commands.common import (
    Setup,
    console,
    sample_bars,
    say_output,
    show_samples,
    versions,
    write_json,
)
from sim.data import Dataset, load
from sim.output import output_folder
from sim.published import PAPER_BATCH, PAPER_LAYERS, PAPER_MULTIPLICATIONS, count_published

#: Rows of the table: heading, attribute of a tally.
_ROWS = (
    ("multiplications", "multiplications"),
    ("additions", "additions"),
    ("  of them of 0", "zero_additions"),
    ("shifts", "shifts"),
    ("fixed shifts (wires)", "fixed_shifts"),
    ("comparisons, selects", "selects"),
    ("random bits", "random_bits"),
    ("memory bits read", "bits_read"),
    ("memory bits written", "bits_written"),
)

_METHODS = {False: "full precision", True: "ternary + QBP"}

Tallies = dict[Phase, Tally]


def count_operations(setup: Setup, *, samples: int) -> None:
    """Count the operations of the first training samples, and those of the published method.

    Raises:
        ValueError: If the data set has fewer samples.
        RuntimeError: If the counted execution and the functional model end in different states.
    """
    p = setup.parameters
    dataset = load(p, setup.data)
    if samples > len(dataset.train_labels):
        raise ValueError(
            f"--samples must be at most the {len(dataset.train_labels)} of the training set, "
            f"not {samples}"
        )
    state = setup.initial_state()
    with output_folder(setup.output, "count") as folder:
        counts, digest = _count_samples(p, state, dataset, samples)
        published = _count_published(dict.fromkeys((p.layers, PAPER_LAYERS)))
        totals = {phase: sum((each[phase] for _, each in counts), Tally()) for phase in PHASES}
        console.print(_operations_table(totals, samples))
        console.print(_multiplications_table(p.layers, published, totals, samples))
        report: dict[str, Any] = {
            "command": ["nomul", "count", *setup.arguments(), "--samples", str(samples)],
            "versions": versions(),
            "parameters": p.to_dict(),
            "samples": samples,
            # A sample without output deltas has no update, and writes no weight.
            "batches_trained": sum(each["update"].bits_written > 0 for _, each in counts),
            "state_sha256": digest,
            "totals": {phase: asdict(tally) for phase, tally in totals.items()},
            "published": [
                {
                    "layers": list(layers),
                    "few_multiplications": few,
                    "batch_norm": norm,
                    "batch": PAPER_BATCH,
                    "published_multiplications": _published_figure(layers, few, norm),
                    "totals": {phase: asdict(tally) for phase, tally in tallies.items()},
                }
                for (layers, few, norm), tallies in published.items()
            ],
        }
        write_json(report, folder / "operations.json")
        _save_csv(counts, folder / "operations.csv")
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
    say_output(setup.output)


def _count_samples(
    parameters: Parameters, state: State, dataset: Dataset, samples: int
) -> tuple[list[tuple[int, Tallies]], str]:
    """Count sample by sample, or batch by batch.

    Returns:
        For each sample or batch the number of its first sample and its tallies, and the digest of
        the state at the end.
    """
    pixels, labels = dataset.train_pixels[:samples], dataset.train_labels[:samples]
    size = 1 << parameters.batch_bits
    counts = []
    with sample_bars() as bars:
        task = bars.add_task("count", total=samples, rate="")
        oracle = CountingOracle(parameters, state)
        for first in range(0, samples, size):
            tallies = oracle.restart()
            images, classes = pixels[first : first + size].tolist(), labels[first : first + size]
            if parameters.batch_bits:
                oracle.batch(images, classes.tolist())
            else:
                oracle.sample(images[0], int(classes[0]))
            counts.append((first, tallies))
            show_samples(bars, task, first + len(images))
    with console.status("the same with the fast model"):
        network = Network(parameters, state.copy())
        network.train(pixels, labels)
    digest = oracle.digest()
    if network.state.digest() != digest:
        raise RuntimeError("the counted execution and the functional model differ: a defect")
    return counts, digest


def _count_published(
    networks: Collection[tuple[int, ...]],
) -> dict[tuple[tuple[int, ...], bool, bool], Tallies]:
    """Count each network, with and without batch normalization, by both methods."""
    counts = {}
    with sample_bars() as bars:
        task = bars.add_task("published method", total=4 * len(networks), rate="")
        for layers in networks:
            for few, norm in PAPER_MULTIPLICATIONS:
                counts[layers, few, norm] = count_published(
                    layers, few_multiplications=few, batch_norm=norm
                )
                bars.advance(task)
    return counts


def _published_figure(layers: tuple[int, ...], few: bool, norm: bool) -> int | None:
    return PAPER_MULTIPLICATIONS[few, norm] if layers == PAPER_LAYERS else None


def _multiplications(tallies: Tallies) -> int:
    return sum(tally.multiplications for tally in tallies.values())


def _mean(total: int, samples: int) -> str:
    """Print a mean; however small it is, it does not become 0."""
    mean = total / samples
    return f"{mean:,.0f}" if mean >= 100 or total % samples == 0 else f"{mean:.3g}"


def _operations_table(totals: Tallies, samples: int) -> Table:
    table = Table(title=f"one training sample, mean of {samples}", title_justify="left")
    table.add_column("")
    for phase in (*totals, "all"):
        table.add_column(phase, justify="right")
    columns = [*totals.values(), sum(totals.values(), Tally())]
    for heading, attribute in _ROWS:
        cells = (_mean(getattr(tally, attribute), samples) for tally in columns)
        table.add_row(heading, *cells)
    return table


def _multiplications_table(
    layers: tuple[int, ...],
    published: dict[tuple[tuple[int, ...], bool, bool], Tallies],
    totals: Tallies,
    samples: int,
) -> Table:
    table = Table(title=f"multiplications, minibatch of {PAPER_BATCH}", title_justify="left")
    for heading in ("network", "method", "batch norm"):
        table.add_column(heading)
    for heading in ("counted", "published", "a sample"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (sizes, few, norm), tallies in published.items():
        total, figure = _multiplications(tallies), _published_figure(sizes, few, norm)
        table.add_row(
            "-".join(map(str, sizes)),
            _METHODS[few],
            "yes" if norm else "no",
            f"{total:,}",
            "" if figure is None else f"{figure:,}",
            _mean(total, PAPER_BATCH),
        )
    table.add_section()
    total = _multiplications(totals)
    own = (_mean(total * PAPER_BATCH, samples), "", _mean(total, samples))
    table.add_row("-".join(map(str, layers)), "nomul", "none", *own)
    return table


def _save_csv(counts: list[tuple[int, Tallies]], path: Path) -> None:
    """Write one line for each sample, or batch, and phase."""
    names = [field.name for field in fields(Tally)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["first_sample", "phase", *names])
        writer.writeheader()
        for first, tallies in counts:
            for phase, tally in tallies.items():
                writer.writerow({"first_sample": first, "phase": phase, **asdict(tally)})
