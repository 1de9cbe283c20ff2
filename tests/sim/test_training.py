"""Training in epochs: the schedule, the start in the middle, the metrics."""

import numpy as np
import pytest

from golden import Parameters
from golden.layout import Layout
from golden.network import Network
from sim.data import Dataset, load_digits
from sim.training import (
    exact_error,
    metrics_from_csv,
    metrics_to_csv,
    train,
)

PARAMETERS = Parameters.named("digits").replace(layers=(64, 12, 10), lanes=4, schedule=(1, 2))


def dataset(samples: int = 40) -> Dataset:
    digits = load_digits(8)
    return Dataset(
        digits.train_pixels[:samples],
        digits.train_labels[:samples],
        digits.test_pixels,
        digits.test_labels,
    )


def test_epochs_follow_the_schedule() -> None:
    images = dataset()
    network, reference = Network(PARAMETERS), Network(PARAMETERS)
    seen: list[int] = []
    epochs = list(train(network, images, 4, progress=seen.append))
    assert [epoch.rate_shift for epoch in epochs] == [0, 1, 2, 2]
    for epoch in epochs:
        result = reference.train(images.train_pixels, images.train_labels, epoch.rate_shift)
        wrong = int(np.sum(result.predictions != images.train_labels))
        assert epoch.train_error == 100 * wrong / 40
        assert epoch.trained_fraction == 100 * int(result.trained.sum()) / 40
        assert epoch.loss == int(result.losses.sum()) / 40 / 32**2
        assert epoch.validation_error is None
        wrong = int(np.sum(reference.infer(images.test_pixels) != images.test_labels))
        assert epoch.test_error == 100 * (wrong / 360)
    assert network.state == reference.state
    assert epochs[-1].test_error == exact_error(network, images)
    assert seen[-1] == 160


def test_start_in_the_middle() -> None:
    images = dataset()
    whole, parts = Network(PARAMETERS), Network(PARAMETERS)
    list(train(whole, images, 3))
    parts.train(images.train_pixels, images.train_labels, 0)
    parts.train(images.train_pixels[:15], images.train_labels[:15], 1)
    rest = list(train(parts, images, 3, first_sample=55))
    assert [(epoch.epoch, epoch.samples) for epoch in rest] == [(1, 25), (2, 40)]
    assert parts.state == whole.state


def test_validation_holds_images_back() -> None:
    """The last images are not trained on, and the test images not looked at."""
    images = dataset()
    blind = Dataset(
        images.train_pixels, images.train_labels, images.test_pixels[:0], images.test_labels[:0]
    )
    network, reference = Network(PARAMETERS), Network(PARAMETERS)
    for epoch in train(network, blind, 3, validation=15):
        reference.train(images.train_pixels[:25], images.train_labels[:25], epoch.rate_shift)
        wrong = reference.infer(images.train_pixels[25:]) != images.train_labels[25:]
        assert epoch.samples == 25
        assert epoch.validation_error == epoch.held_back_error == 100 * (int(wrong.sum()) / 15)
        assert epoch.test_error is None
    assert network.state == reference.state


@pytest.mark.parametrize("validation", [40, 41])
def test_nothing_left_to_train_on(validation: int) -> None:
    with pytest.raises(ValueError, match="validation must be below the 40 training images, not 4"):
        next(train(Network(PARAMETERS), dataset(), 1, validation=validation))


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_squares_of_output_deltas(seed: int) -> None:
    """The update of the biases shows the deltas: without a shift, and none is clipped."""
    rng = np.random.default_rng(seed)
    parameters = Parameters(
        layers=(9, 6, 5),
        lanes=4,
        activation_shifts=(3, 3),
        delta_shifts=(0,),
        update_shifts=(9, 9),
        bias_shift=0,
        draw_seed=seed + 10,
    )
    network = Network(parameters)
    for _ in range(30):
        before = network.state.biases.copy()
        pixels = rng.integers(0, 256, (1, 9))
        result = network.train(pixels, rng.integers(0, 5, 1))
        deltas = (network.state.biases - before)[Layout.of(parameters).block_base[1] :]
        assert result.losses.tolist() == [int((deltas * deltas).sum())]
        assert result.trained.tolist() == [bool(deltas.any())]


@pytest.mark.parametrize("validation", [0, 10])
def test_metrics_file(validation: int) -> None:
    epochs = list(train(Network(PARAMETERS), dataset(), 2, validation=validation))
    text = metrics_to_csv(epochs)
    assert metrics_from_csv(text) == epochs
    lines = text.splitlines()
    assert len(lines) == 3
    for damaged in (
        "",
        text.replace("loss", "lost"),
        text[: text.rindex(",")],
        text.replace("\n0,", "\nnone,"),
        "\n".join([lines[0], lines[1] + ",1"]),
        lines[0] + "\n0,0,40,1.5,0.1,50.0,2.0,2.0,1.0",
    ):
        with pytest.raises(ValueError, match=r"\w"):
            metrics_from_csv(damaged)
