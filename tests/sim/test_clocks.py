"""The count of clocks by what they are spent on."""

import numpy as np

from golden.clocked import Clocked, transfers
from golden.network import Network
from golden.parameters import Parameters
from golden.state import State
from sim.clocks import count_clocks
from sim.data import Dataset

PARAMETERS = Parameters(
    layers=(20, 9, 7, 4),
    lanes=4,
    pixels_per_beat=4,
    activation_shifts=(3, 2, 2),
    delta_shifts=(2, 2),
    update_shifts=(8, 8, 8),
)


def images(samples: int) -> Dataset:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (samples, 20)) * (rng.random((samples, 20)) < 0.4)
    labels = rng.integers(0, 4, samples)
    return Dataset(pixels.astype(np.uint16), labels, pixels[:0].astype(np.uint16), labels[:0])


def test_each_clock_is_counted_once() -> None:
    """More samples than a chunk of clocks holds."""
    p, dataset = PARAMETERS, images(300)
    reported: list[int] = []
    counts = count_clocks(p, State.initial(p), dataset, 0, reported.append)
    model = Clocked(p, State.initial(p))
    model.feed(transfers(p, dataset.train_pixels, dataset.train_labels, 1, 0))
    assert round(counts["clocks"] * 300) == model.clocks_until_idle()
    spent = sum(count for name, count in counts.items() if name != "clocks")
    assert round(spent * 300) == round(counts["clocks"] * 300)
    assert reported == sorted(reported)
    assert len(reported) > 1

    # One end for each block, of every layer forward, and backward where there was a delta.
    trained = Network(p).train(dataset.train_pixels, dataset.train_labels).trained.sum()
    assert round(counts["ends"] * 300) == (3 + 2 + 1) * (300 + trained)
    assert counts["done"] == 1
    assert counts["waits"] > 0
    # Five columns a block, or thereabouts, and the lists behind them.
    live = np.count_nonzero(dataset.train_pixels) / 300
    assert counts["entries"] > 3 * live
