"""Curves of training, as SVG and PNG: errors, loss and samples trained on, against the epoch.

Every line has its name as the ``id`` of its group in the SVG and keeps all its points.
"""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    StrMethodFormatter,
)

from golden.files import replace_file
from golden.parameters import Parameters
from sim.training import Epoch

#: Colours that are told apart with any colour vision (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

#: Lines beyond the last colour begin with the first one again, in the next style.
STYLES = ("-", "--", ":")

#: Points are marked up to so many epochs, so that a short run shows at all.
_MARKED_EPOCHS = 40


@contextmanager
def drawing() -> Iterator[None]:
    """Draw and save with all points, and to equal files what is equal."""
    with mpl.rc_context({"path.simplify": False, "svg.hashsalt": "nomul"}):
        yield


def draw_line(
    axes: Axes,
    name: str,
    epochs: Sequence[Epoch],
    values: Sequence[float | None],
    colour: str,
    style: str = "-",
    label: str | None = None,
) -> None:
    """Draw a value against the epochs done by then, if it is known of any epoch.

    Args:
        axes: Where to.
        name: ``id`` of the line in the SVG, and its label if no other is given.
        epochs: Epochs, in order.
        values: One value an epoch.
        colour: Colour of the line.
        style: Style of the line.
        label: Name of the line in the legend.
    """
    points = [
        (epoch.epoch + 1, value)
        for epoch, value in zip(epochs, values, strict=True)
        if value is not None
    ]
    if points:
        axes.plot(
            *zip(*points, strict=True),
            gid=name,
            label=label or name,
            color=colour,
            linestyle=style,
            linewidth=1.4,
            marker="." if len(points) <= _MARKED_EPOCHS else None,
        )


def set_scale(axes: Axes) -> None:
    """Fit the vertical axis to all lines: logarithmic; with a 0, linear below the next value."""
    values = [float(value) for line in axes.lines for value in np.asarray(line.get_ydata())]
    positive = [value for value in values if value > 0]
    if not positive:
        return
    lowest, highest = min(positive), max(positive)
    decades = math.log10(highest / lowest)
    steps = (1, 2, 3, 4, 5, 6, 8) if decades < 1 else (1, 2, 5) if decades < 2.5 else (1,)
    ticks = list(LogLocator(base=10, subs=steps).tick_values(lowest, highest))
    if len(positive) == len(values):
        axes.set_yscale("log")
        axes.set_ylim(0.8 * lowest, 1.25 * highest)
    else:
        axes.set_yscale("symlog", linthresh=lowest, linscale=0.3)
        axes.set_ylim(-0.2 * lowest, 1.25 * highest)
        ticks = [0, *(tick for tick in ticks if tick >= lowest)]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def finish(axes: Axes, label: str) -> None:
    """Label the vertical axis; grid; whole epochs."""
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


@drawing()
def training_curves(
    parameters: Parameters, epochs: Sequence[Epoch], title: str, test_error: float | None = None
) -> Figure:
    """Draw the curves of one run.

    Args:
        parameters: What it was trained with; the steps of its schedule are marked.
        epochs: Its epochs, at least one.
        title: Says what run it is.
        test_error: The error of the test images, in percent, where it was measured once, at the
            end.
    """
    figure = Figure(figsize=(8, 9), layout="constrained")
    figure.suptitle(title)
    error, loss, trained = figure.subplots(3, sharex=True, height_ratios=(2, 1, 1))
    blue, orange, green = COLOURS[:3]
    training = [each.train_error for each in epochs]
    draw_line(error, "train error", epochs, training, blue, label="train")
    held_back = [each.validation_error for each in epochs]
    draw_line(error, "validation error", epochs, held_back, orange, label="validation")
    tested = [each.test_error for each in epochs]
    draw_line(error, "test error", epochs, tested, green, label="test")
    if test_error is not None and None in tested:
        label = f"test, once: {test_error:.2f} %"
        error.plot(epochs[-1].epoch + 1, test_error, "D", color=green, label=label)
    draw_line(loss, "loss", epochs, [each.loss for each in epochs], blue)
    fractions = [each.trained_fraction for each in epochs]
    draw_line(trained, "trained fraction", epochs, fractions, blue)
    set_scale(error)
    set_scale(loss)
    steps = [step for step in parameters.schedule if epochs[0].epoch < step <= epochs[-1].epoch]
    for axes in (error, loss, trained):
        for step in steps:
            label = "rate halved" if axes is error and step == steps[0] else "_"
            axes.axvline(step, color="0.6", linestyle=":", linewidth=1, zorder=0, label=label)
    trained.set_ylim(0, 100)
    finish(error, "error in %")
    error.legend()
    finish(loss, "mean loss in squared margins")
    finish(trained, "samples trained on in %")
    trained.set_xlabel("epoch")
    return figure


@drawing()
def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name.svg`` and ``name.png``, each whole or not at all.

    Raises:
        OSError: If a file cannot be written.
    """
    for kind, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 120})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, **options)
        replace_file(folder / f"{name}.{kind}", buffer.getvalue())
