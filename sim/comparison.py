"""Runs of ``nomul train`` side by side: a table, a CSV file, and their error curves in one figure.

A choice between epochs or runs belongs on validation errors. Without them, no epoch is called the
best one: the test set is not for choosing.
"""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from rich.box import SIMPLE
from rich.table import Table

from sim.curves import COLOURS, STYLES, draw_line, drawing, finish, set_scale
from sim.run_folder import Run

#: What is known of a run, in order; the table has a shorter form of it.
Row = dict[str, Any]


def names(runs: Sequence[Run]) -> list[str]:
    """Return the folders' names, or their paths where names are not different."""
    counts = Counter(run.path.name for run in runs)
    return [run.path.name if counts[run.path.name] == 1 else str(run.path) for run in runs]


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the settings in which the runs differ, with the value of each run.

    They are the parameters, and how many images were held back.
    """
    settings = [
        {
            **run.parameters.to_dict(),
            "held_back": run.report["validation_samples"],
        }
        for run in runs
    ]
    columns = {name: [each[name] for each in settings] for name in settings[0]}
    return {
        name: values
        for name, values in columns.items()
        if any(value != values[0] for value in values)
    }


def summary(run: Run) -> Row:
    """Return what a run reached: errors in percent; what is not known is ``None``.

    Epochs count from 1 here, as in the curves.
    """
    last = run.epochs[-1] if run.epochs else None
    final = run.report["final"]
    measured = [(each.validation_error, each.epoch + 1) for each in run.epochs]
    best = min(
        ((error, epoch) for error, epoch in measured if error is not None), default=(None, None)
    )
    seconds = sum(each.seconds for each in run.epochs)
    return {
        "epochs": run.epochs_done,
        "epochs_in_all": run.report["epochs"],
        "best_validation_error": best[0],
        "best_validation_epoch": best[1],
        "last_validation_error": None if last is None else last.validation_error,
        "test_error": final["test_error_percent"]
        if final is not None
        else (None if last is None else last.test_error),
        "samples_per_second": sum(each.samples for each in run.epochs) / seconds
        if seconds
        else None,
    }


def comparison(runs: Sequence[Run]) -> list[Row]:
    """Return a row for each run: its name, the settings that differ, and its summary."""
    different = differences(runs)
    return [
        {
            "run": name,
            **{setting: values[place] for setting, values in different.items()},
            **summary(run),
        }
        for place, (name, run) in enumerate(zip(names(runs), runs, strict=True))
    ]


def to_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV, below a line of names."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def results_table(rows: Sequence[Row]) -> Table:
    """Return what the runs reached; ``@`` names the epoch of the best validation error."""
    table = Table("run", box=SIMPLE)
    for heading in ("epochs", "best val.", "last val.", "test", "samples/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        epochs, in_all = row["epochs"], row["epochs_in_all"]
        best = _percent(row["best_validation_error"])
        if row["best_validation_epoch"] is not None:
            best += f" @{row['best_validation_epoch']}"
        rate = row["samples_per_second"]
        table.add_row(
            row["run"],
            str(epochs) if epochs == in_all else f"{epochs}/{in_all}",
            best,
            _percent(row["last_validation_error"]),
            _percent(row["test_error"]),
            "-" if rate is None else f"{rate:,.0f}",
        )
    return table


def settings_table(rows: Sequence[Row]) -> Table:
    """Return the settings that differ, one below the other, a column for each run."""
    table = Table("setting", *(row["run"] for row in rows), box=SIMPLE)
    for name in list(rows[0])[1 : list(rows[0]).index("epochs")]:
        table.add_row(name, *(_setting(row[name]) for row in rows))
    return table


def _setting(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"


@drawing()
def figure(runs: Sequence[Run]) -> Figure:
    """Draw the error curves of all runs: held-back images above, training images below."""
    picture = Figure(figsize=(8, 8), layout="constrained")
    above, below = picture.subplots(2, sharex=True)
    for place, (name, run) in enumerate(zip(names(runs), runs, strict=True)):
        look = COLOURS[place % len(COLOURS)], STYLES[place // len(COLOURS) % len(STYLES)]
        kind = "validation" if run.report["validation_samples"] else "test"
        held_back = [epoch.held_back_error for epoch in run.epochs]
        draw_line(above, f"{name}: {kind}", run.epochs, held_back, *look)
        training = [epoch.train_error for epoch in run.epochs]
        draw_line(below, f"{name}: train", run.epochs, training, *look)
    for axes, label in ((above, "held-back images"), (below, "training images")):
        set_scale(axes)
        finish(axes, f"error of the {label} in %")
        if axes.lines:
            axes.legend()
    below.set_xlabel("epoch")
    return picture
