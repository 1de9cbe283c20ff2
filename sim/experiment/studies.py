"""What an experiment varies: one study for each question, one point for each setting."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from golden.parameters import Parameters
from sim.experiment.columns import COLUMNS
from sim.training import default_epochs


@dataclass(frozen=True)
class Point:
    """A setting.

    Attributes:
        series: Line of the figure that the point belongs to; ``""`` if there is only one.
        label: Its place on the other axis.
        parameters: The network, for the first seed.
    """

    series: str
    label: str
    parameters: Parameters


@dataclass(frozen=True)
class Study:
    """A question and its points.

    Attributes:
        name: As on the command line.
        title: The question.
        axis: What the labels mean.
        points: In order.
    """

    name: str
    title: str
    axis: str
    points: tuple[Point, ...]


def with_epochs(parameters: Parameters, epochs: int) -> Parameters:
    """Stretch the schedule of the learning rate to another number of epochs.

    Halvings that fall on one epoch become one.
    """
    natural = default_epochs(parameters)
    return parameters.replace(
        schedule=tuple(sorted({epoch * epochs // natural for epoch in parameters.schedule}))
    )


def with_seed(parameters: Parameters, seed: int) -> Parameters:
    """Give all four random sources seeds of their own; seed 1 is the default ones.

    Args:
        parameters: The network.
        seed: From 1.
    """
    first = 4 * (seed - 1) + 1
    return parameters.replace(
        draw_seed=first, update_seed=first + 1, weight_seed=first + 2, dropout_seed=first + 3
    )


def with_weight_bits(parameters: Parameters, bits: int) -> Parameters:
    """Change the width of the weights, not the step: it stays the same part of their range."""
    finer = bits - parameters.weight_bits
    return parameters.replace(
        weight_bits=bits,
        update_shifts=tuple(shift - finer for shift in parameters.update_shifts),
        draw_bits=min(8, parameters.draw_shift + finer),
    )


def widest_weights(parameters: Parameters) -> int:
    """Return the most bits of a weight, at most 16, that the step allows."""
    return min(16, parameters.weight_bits + min(parameters.update_shifts) - parameters.bias_shift)


def columns(base: Parameters) -> Study:
    """The four columns of the paper's table, in integers.

    Weights are drawn in whole steps, as in the paper. Full precision has the widest weights. Binary
    weights have twice the mean square of ternary ones, so hidden sums are shifted by one more;
    weights that are not drawn have two thirds of it, which needs nothing.
    """
    *hidden, last = base.activation_shifts
    points = []
    for column in COLUMNS.values():
        changes: dict[str, Any] = {
            "connect": column.connect,
            "quantizer": base.quantizer if column.quantized else "none",
            "draw_steps": 1,
        }
        start = base
        if column.connect == "none":
            start = with_weight_bits(base, widest_weights(base))
        if column.connect == "binary":
            changes["activation_shifts"] = (*(shift + 1 for shift in hidden), last)
        points.append(Point("", column.title, start.replace(**changes)))
    return Study("columns", "The paper's four columns, in integers", "method", tuple(points))


def quantizer(base: Parameters) -> Study:
    """How the inputs of a layer are rounded to powers of two in the update."""
    words = ("none", "nearest", "stochastic")
    return Study(
        "quantizer",
        "Rounding of the inputs to powers of two",
        "quantizer",
        tuple(Point("", word, base.replace(quantizer=word)) for word in words),
    )


def draw_steps(base: Parameters) -> Study:
    """Values that a weight is drawn from: three, or five."""
    points = []
    for steps, label in ((1, "-1, 0, 1"), (2, "-1, -1/2, 0, 1/2, 1")):
        most = base.weight_fraction_bits + 1 - steps
        drawn = base.replace(draw_steps=steps, draw_bits=min(base.draw_bits, most))
        points.append(Point("", label, drawn))
    return Study(
        "draw-steps",
        "Values that a weight is drawn from",
        "values of a drawn weight",
        tuple(points),
    )


def exponents(base: Parameters) -> Study:
    """The paper's bit clipping: which powers of two the update may use."""
    largest = base.activation_bits
    points = [
        Point(
            f"0 .. e (at most 2^e; {largest} bounds nothing)",
            str(bound),
            # The default, so that the run is shared with other studies.
            base.replace(max_exponent=bound if bound < largest else 16),
        )
        for bound in range(largest + 1)
    ]
    points += [
        Point(
            f"e .. {largest} (none below 2^e; 0 bounds nothing)",
            str(bound),
            base.replace(min_exponent=bound),
        )
        for bound in range(largest + 1)
    ]
    return Study(
        "exponents", "Allowed shifts of the weight update", "bound e of the exponent", tuple(points)
    )


def weight_bits(base: Parameters) -> Study:
    """Bits of a weight."""
    return Study(
        "weight-bits",
        "Bits of a weight",
        "bits of a weight",
        tuple(
            Point("", str(bits), with_weight_bits(base, bits))
            for bits in range(4, widest_weights(base) + 1)
        ),
    )


def draw_bits(base: Parameters) -> Study:
    """Random bits of one draw."""
    most = min(8, base.draw_shift)
    return Study(
        "draw-bits",
        "Random bits of a draw",
        "random bits of a draw",
        tuple(Point("", str(bits), base.replace(draw_bits=bits)) for bits in range(1, most + 1)),
    )


def random_source(base: Parameters) -> Study:
    """Quality of the random source: bits of its state, and how many lanes share one."""
    return Study(
        "random-source",
        "Quality of the random source",
        "bits of a source's state",
        tuple(
            Point(
                "one for all lanes" if sources == 1 else f"one for each of {sources} lanes",
                str(width),
                base.replace(random_width=width, random_sources=sources),
            )
            for sources, width in itertools.product(sorted({1, base.lanes}), (16, 32, 64))
        ),
    )


def update_bits(base: Parameters) -> Study:
    """Random bits in the rounding of a weight update."""
    return Study(
        "update-bits",
        "Random bits in the rounding of an update",
        "random bits of an update",
        tuple(Point("", str(bits), base.replace(update_bits=bits)) for bits in (1, 2, 3, 6, 8)),
    )


#: All studies by name.
STUDIES: dict[str, Callable[[Parameters], Study]] = {
    "columns": columns,
    "quantizer": quantizer,
    "exponents": exponents,
    "weight-bits": weight_bits,
    "draw-steps": draw_steps,
    "draw-bits": draw_bits,
    "random-source": random_source,
    "update-bits": update_bits,
}

#: A look in a minute: a tiny network for the UCI digits.
QUICK = Parameters(
    layers=(64, 64, 10),
    lanes=16,
    pixels_per_beat=8,
    activation_shifts=(4, 2),
    delta_shifts=(2,),
    update_shifts=(11, 10),
    bias_shift=0,
    schedule=(4, 6, 7),
)
