"""The figures of an experiment, as SVG and PNG."""

import io
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from sim.experiment.columns import COLUMNS
from sim.experiment.report import Experiment, MeasuredStudy, Spread, float_label

_SIZE = (7.0, 4.4)


def draw_all(experiment: Experiment) -> Iterator[tuple[str, bytes]]:
    """Yield file names and contents of all figures that the experiment has results for.

    The same results give the same SVG, byte for byte.
    """
    with mpl.rc_context({"svg.hashsalt": "nomul", "font.size": 9, "figure.dpi": 150}):
        for measured in experiment.studies:
            yield from _files(measured.study.name, _study(experiment, measured))
            if measured.study.name == "columns":
                yield from _files("error-against-epoch", _epochs(experiment, measured))
                yield from _files("activations", _histogram(experiment, measured))


def _files(name: str, figure: Figure) -> Iterator[tuple[str, bytes]]:
    for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        content = io.BytesIO()
        figure.savefig(content, format=kind, metadata=metadata)
        yield f"{name}.{kind}", content.getvalue()


def _new(experiment: Experiment, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"{title}\n{experiment.caption()}", fontsize=8)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _percent_axis(axes: Axes) -> None:
    """Make the errors' axis logarithmic, with plain numbers."""
    axes.set_yscale("log")
    for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        plain = ScalarFormatter()
        plain.set_scientific(b=False)
        formatter(plain)


def _bars(spreads: list[Spread]) -> dict[str, Any]:
    """Return means, with error bars from the lowest to the highest seed."""
    return {
        "y": [each.mean for each in spreads],
        "yerr": [
            [each.mean - each.low for each in spreads],
            [each.high - each.mean for each in spreads],
        ],
        "capsize": 3,
    }


def _study(experiment: Experiment, measured: MeasuredStudy) -> Figure:
    """Draw validation and test error of every point, one pair of lines a series."""
    figure, axes = _new(experiment, measured.study.title)
    labels = list(dict.fromkeys(each.point.label for each in measured.points))
    series = list(dict.fromkeys(each.point.series for each in measured.points))
    # Lines join what has an order; the labels of the others are words.
    line = "-" if all(label.isdigit() for label in labels) else ""
    for number, name in enumerate(series):
        points = [each for each in measured.points if each.point.series == name]
        places = [labels.index(each.point.label) for each in points]
        for key, marker, dash in (
            ("validation_error", "o", line),
            ("test_error", "x", line and ":"),
        ):
            kind = key.removesuffix("_error")
            axes.errorbar(
                places,
                **_bars([each.spread(key) for each in points]),
                marker=marker,
                linestyle=dash,
                color=f"C{number}" if line else f"C{marker == 'x':d}",
                label=f"{name}, {kind}" if name else kind,
            )
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel(measured.study.axis)
    axes.set_ylabel("error, %")
    _percent_axis(axes)
    axes.legend(fontsize=7)
    return figure


def _epochs(experiment: Experiment, measured: MeasuredStudy) -> Figure:
    """Draw the validation error after each epoch, the float reference's beside it."""
    figure, axes = _new(experiment, "Validation error against epoch")
    for number, each in enumerate(measured.points):
        spreads = each.by_epoch()
        epochs = range(1, len(spreads) + 1)
        axes.plot(epochs, [s.mean for s in spreads], color=f"C{number}", label=each.point.label)
        low, high = [s.low for s in spreads], [s.high for s in spreads]
        axes.fill_between(epochs, low, high, color=f"C{number}", alpha=0.2, linewidth=0)
    for result in experiment.floats:
        errors = [epoch["validation_error"] for epoch in result["history"]]
        color = f"C{list(COLUMNS).index(result['column'])}"
        axes.plot(range(1, len(errors) + 1), errors, "--", color=color, label=float_label(result))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation error, %")
    _percent_axis(axes)
    axes.legend(fontsize=7)
    return figure


def _histogram(experiment: Experiment, measured: MeasuredStudy) -> Figure:
    """Draw how large the inputs of each layer are, for ternary connect + QBP, seed 1."""
    *_, ternary = measured.points
    figure, axes = _new(
        experiment, f"Magnitudes of the layers' inputs: {ternary.point.label}, seed 1"
    )
    counts = ternary.results[0]["exponent_counts"]
    width = 0.8 / len(counts)
    for layer, by_exponent in enumerate(counts):
        total, (zeros, *rest) = sum(by_exponent), by_exponent
        name = "pixels" if layer == 0 else f"hidden layer {layer}"
        axes.bar(
            [exponent + (layer + 0.5) * width - 0.4 for exponent in range(len(rest))],
            [100 * count / total for count in rest],
            width,
            label=f"{name} ({100 * zeros / total:.0f} % are 0)",
        )
    axes.set_xticks(range(len(counts[0]) - 1))
    axes.set_xlabel("floor(log2 x)")
    axes.set_ylabel("inputs, %")
    axes.legend(fontsize=7)
    return figure
