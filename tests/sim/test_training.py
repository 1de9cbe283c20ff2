"""Training in epochs: the schedule, the start in the middle, the metrics."""

import csv
from pathlib import Path

import numpy as np

from golden import Parameters
from golden.network import Network
from sim.data import Dataset, load_digits
from sim.training import exact_error, save_metrics, train

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


def test_metrics_file(tmp_path: Path) -> None:
    epochs = list(train(Network(PARAMETERS), dataset(), 2))
    save_metrics(epochs, tmp_path / "metrics.csv")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1]
    assert [float(row["test_error"]) for row in rows] == [epoch.test_error for epoch in epochs]
