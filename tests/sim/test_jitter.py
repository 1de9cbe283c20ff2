"""Images that are moved by a pixel."""

import numpy as np
import pytest

from golden.network import Network
from golden.parameters import Parameters
from sim.data import load_digits
from sim.jitter import jittered
from sim.training import train

PARAMETERS = Parameters.named("digits").replace(layers=(64, 8, 10), lanes=4, schedule=())


def test_where_the_images_go() -> None:
    """One image stands for all: it goes each way in an eighth of the cases."""
    image = np.arange(1, 26, dtype=np.uint16)
    square = image.reshape(5, 5)
    blank_row, blank_column = np.zeros((1, 5), np.uint16), np.zeros((5, 1), np.uint16)
    places = {
        "stays": square,
        "up": np.vstack([square[1:], blank_row]),
        "down": np.vstack([blank_row, square[:-1]]),
        "left": np.hstack([square[:, 1:], blank_column]),
        "right": np.hstack([blank_column, square[:, :-1]]),
    }
    before = np.tile(image, (8000, 1))
    after = jittered(before, 3, 0)
    assert after.dtype == np.uint16
    assert (before == image).all()
    counts = {
        name: int((after == place.reshape(-1)).all(axis=1).sum()) for name, place in places.items()
    }
    assert sum(counts.values()) == 8000
    # Six standard deviations.
    assert abs(counts.pop("stays") - 4000) < 270
    assert all(abs(count - 1000) < 180 for count in counts.values())


def test_each_epoch_and_seed_moves_others() -> None:
    images = load_digits(8).train_pixels
    assert np.array_equal(jittered(images, 1, 0), jittered(images, 1, 0))
    for seed, epoch in ((1, 1), (2, 0)):
        assert not np.array_equal(jittered(images, 1, 0), jittered(images, seed, epoch))


def test_training_on_moved_images() -> None:
    """As if they were given, and from the middle of an epoch likewise."""
    digits = load_digits(8)
    whole, parts, reference = Network(PARAMETERS), Network(PARAMETERS), Network(PARAMETERS)
    list(train(whole, digits, 2, validation=437, jitter=True))
    for epoch in (0, 1):
        moved = jittered(digits.train_pixels[:1000], PARAMETERS.dropout_seed, epoch)
        reference.train(moved, digits.train_labels[:1000])
        if epoch == 0:
            parts.train(moved[:600], digits.train_labels[:600])
    assert whole.state == reference.state
    list(train(parts, digits, 2, validation=437, jitter=True, first_sample=600))
    assert parts.state == whole.state


def test_no_square() -> None:
    with pytest.raises(ValueError, match="--jitter moves square images, and 63 inputs are no sq"):
        jittered(np.zeros((2, 63), np.uint16), 1, 0)
