"""The curves have every series with every point, where the values are."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from golden import Parameters
from sim.curves import save_figure, training_curves
from sim.training import Epoch

PARAMETERS = Parameters.named("digits").replace(schedule=(3, 5, 90))
SVG = "{http://www.w3.org/2000/svg}"


def random_epochs(seed: int, count: int, validation: bool = False, first: int = 0) -> list[Epoch]:
    """Return epochs whose errors fall to 0 now and then."""
    rng = np.random.default_rng(seed)
    held_back = [float(value) for value in rng.uniform(1, 9, count)]
    return [
        Epoch(
            epoch=first + number,
            rate_shift=0,
            samples=100,
            train_error=float(rng.choice([0.0, 0.5, 3.0])) if number else 20.0,
            loss=float(rng.uniform(0.01, 2)),
            trained_fraction=float(rng.uniform(5, 95)),
            validation_error=held_back[number] if validation else None,
            test_error=None if validation else held_back[number],
            seconds=0.5,
        )
        for number in range(count)
    ]


def lines_of(svg: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each named line of a figure, in points of the page."""
    lines = {}
    # The file is the product's own.
    for group in ElementTree.parse(svg).getroot().iter(f"{SVG}g"):  # noqa: S314
        path = group.find(f"{SVG}path")
        if path is None or re.match(r"\w+_\d+$", group.get("id", "_0")):
            continue  # Matplotlib's own
        numbers = re.findall(r"[ML] (\S+) (\S+)", path.get("d", ""))
        lines[group.get("id", "")] = [(float(x), float(y)) for x, y in numbers]
    return lines


@pytest.mark.parametrize("validation", [False, True])
@pytest.mark.parametrize(("seed", "count"), [(1, 1), (2, 7), (3, 300)])
def test_every_epoch_is_a_point(seed: int, count: int, validation: bool, tmp_path: Path) -> None:
    epochs = random_epochs(seed, count, validation, first=2)
    save_figure(training_curves(PARAMETERS, epochs, "run", 4.0), tmp_path, "curves")
    lines = lines_of(tmp_path / "curves.svg")
    held_back = "validation error" if validation else "test error"
    assert set(lines) == {"train error", held_back, "loss", "trained fraction"}
    values = {
        "train error": [epoch.train_error for epoch in epochs],
        held_back: [epoch.held_back_error for epoch in epochs],
        "loss": [epoch.loss for epoch in epochs],
        "trained fraction": [epoch.trained_fraction for epoch in epochs],
    }
    for name, points in lines.items():
        x, y = np.array(points).T
        assert len(points) == count
        assert np.all(np.diff(x) > 0)
        # The page's vertical axis points down: points and values have opposite order.
        assert np.array_equal(np.unique(-y, return_inverse=True)[1], ranks(values[name]))
    # Both error lines are on one axis.
    together = [-y for name in ("train error", held_back) for _, y in lines[name]]
    both = [*values["train error"], *values[held_back]]
    assert np.array_equal(np.unique(together, return_inverse=True)[1], ranks(both))


def ranks(values: list[float]) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1]


@pytest.mark.parametrize(("first", "count", "steps"), [(0, 10, 2), (0, 4, 1), (3, 3, 1), (0, 2, 0)])
def test_steps_of_the_learning_rate_are_marked(first: int, count: int, steps: int) -> None:
    """Dotted lines where an epoch after the first one begins with a smaller step: 3, 5."""
    figure = training_curves(PARAMETERS, random_epochs(1, count, first=first), "run")
    for axes in figure.axes:
        (curve,) = {tuple(line.get_xdata()) for line in axes.lines if line.get_linestyle() == "-"}
        assert curve == tuple(range(first + 1, first + count + 1))
        dotted = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
        assert dotted == [each for each in (3, 5) if first < each < first + count]
        assert len(dotted) == steps


def test_test_error_once() -> None:
    """A mark where images are held back; a line says it already where they are not."""
    for validation in (True, False):
        figure = training_curves(PARAMETERS, random_epochs(1, 5, validation), "run", 4.25)
        labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert ("test, once: 4.25 %" in labels) == validation
        assert ("validation" in labels) == validation
        assert ("test" in labels) != validation


def test_picture(tmp_path: Path) -> None:
    """Equal curves are equal files, in colours, and nothing else is left there."""
    for name in ("one", "two"):
        save_figure(training_curves(PARAMETERS, random_epochs(1, 20), "run"), tmp_path, name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["one.png", "one.svg", "two.png", "two.svg"]
    pixels = np.asarray(Image.open(tmp_path / "one.png").convert("RGB"))
    assert pixels.shape == (1080, 960, 3)
    for colour in ((0x00, 0x72, 0xB2), (0x00, 0x9E, 0x73)):
        assert np.sum(np.all(pixels == colour, axis=2)) > 500
