"""The results of an experiment as tables: CSV for machines, Markdown for people."""

import csv
import io
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sim.experiment.columns import COLUMNS
from sim.experiment.studies import Point, Study
from sim.markdown import table

_ERRORS = ("validation_error", "test_error")


@dataclass(frozen=True)
class Spread:
    """Mean of a quantity over the seeds, and its lowest and highest value."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Summarize at least one value."""
        numbers = list(values)
        # Not a sum by a count: rounding would take the mean of equal numbers below the lowest.
        return cls(statistics.mean(numbers), min(numbers), max(numbers))

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.mean:.2f}"
        return f"{self.mean:.2f} ({self.low:.2f} .. {self.high:.2f})"


@dataclass(frozen=True)
class Measured:
    """A point and what its runs gave, one result a seed."""

    point: Point
    results: tuple[dict[str, Any], ...]

    def spread(self, key: str) -> Spread:
        """Summarize ``"validation_error"`` or ``"test_error"``, in percent, over the seeds."""
        return Spread.of(result[key] for result in self.results)

    def by_epoch(self) -> list[Spread]:
        """Summarize the validation error after each epoch, in percent, over the seeds."""
        histories = [result["history"] for result in self.results]
        return [
            Spread.of(epoch["validation_error"] for epoch in epochs)
            for epochs in zip(*histories, strict=True)
        ]


@dataclass(frozen=True)
class MeasuredStudy:
    """A study and its measured points."""

    study: Study
    points: tuple[Measured, ...]


@dataclass(frozen=True)
class Experiment:
    """Everything that an experiment measured.

    Attributes:
        network: Name of the configuration and its layer sizes.
        data: Name of the data set.
        validation_images: Last training images that were kept for validation.
        epochs: Epochs of every integer run.
        seeds: Seeds of every point.
        studies: The integer studies.
        floats: Results of the float reference, whatever their epochs.
    """

    network: str
    data: str
    validation_images: int
    epochs: int
    seeds: int
    studies: tuple[MeasuredStudy, ...]
    floats: tuple[dict[str, Any], ...]

    def caption(self) -> str:
        """Return what every table and figure has to say."""
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds, mean and range"
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"{self.network}, {self.data}; {epochs}, {seeds}"


def float_label(result: dict[str, Any]) -> str:
    """Return what a result of the float reference is, in a few words."""
    title = COLUMNS[result["column"]].title
    sizes = "-".join(map(str, result["layers"]))
    return f"{title}, float {sizes}, {result['epochs']} epochs, seed {result['seed']}"


def to_csv(experiment: Experiment) -> str:
    """Return one line a run: integer runs, then the float reference; errors in percent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["study", "series", "point", "seed", "epochs", *_ERRORS, "seconds"],
    )
    for measured in experiment.studies:
        for each in measured.points:
            for seed, result in enumerate(each.results, start=1):
                writer.writerow(
                    [
                        measured.study.name,
                        each.point.series,
                        each.point.label,
                        seed,
                        experiment.epochs,
                        *_errors_and_seconds(result, *_ERRORS),
                    ]
                )
    for result in experiment.floats:
        for moment in ("best", "last"):
            writer.writerow(
                [
                    "float",
                    "-".join(map(str, result["layers"])),
                    f"{result['column']}, {moment} epoch",
                    result["seed"],
                    result["epochs"],
                    *_errors_and_seconds(result, *(f"{moment}_{key}" for key in _ERRORS)),
                ]
            )
    return text.getvalue()


def _errors_and_seconds(result: dict[str, Any], *keys: str) -> list[str]:
    seconds = sum(epoch["seconds"] for epoch in result["history"])
    return [*(f"{result[key]:.4f}" for key in keys), f"{seconds:.1f}"]


def to_markdown(experiment: Experiment) -> str:
    """Return a table for each study; errors in percent."""
    parts = [
        "# Results\n",
        f"{experiment.caption()}. Errors in percent, after the last epoch, by exact inference. "
        f"The last {experiment.validation_images:,} training images are for validation. "
        "Settings are to be chosen by the validation error; the test error only reports.\n",
    ]
    for measured in experiment.studies:
        parts.append(f"## {measured.study.title}\n")
        lined = any(each.point.series for each in measured.points)
        rows = [
            [
                *([each.point.series] if lined else []),
                each.point.label,
                str(each.spread("validation_error")),
                str(each.spread("test_error")),
            ]
            for each in measured.points
        ]
        head = [*(["series"] if lined else []), measured.study.axis, "validation", "test"]
        if measured.study.name == "columns":
            head.append("paper, test, 1000 epochs")
            for row, column in zip(rows, COLUMNS.values(), strict=True):
                row.append(f"{column.paper_error:.2f}")
        parts.append(f"{table(head, rows)}\n")
    if experiment.floats:
        parts.append("## The published method in floating point\n")
        parts.append(
            "Batch norm, minibatches of 200, weights unrounded at test time. The best epoch is the "
            "one with the lowest validation error.\n"
        )
        head = ["run", "best epoch", "validation", "test", "last epoch", "validation", "test"]
        rows = [_float_row(result) for result in experiment.floats]
        parts.append(f"{table(head, rows)}\n")
    return "\n".join(parts)


def _float_row(result: dict[str, Any]) -> list[str]:
    return [
        float_label(result),
        str(result["best_epoch"] + 1),
        f"{result['best_validation_error']:.2f}",
        f"{result['best_test_error']:.2f}",
        str(result["epochs"]),
        f"{result['last_validation_error']:.2f}",
        f"{result['last_test_error']:.2f}",
    ]
