"""The clocks of training, recorded by the clocked golden model, and what they are spent on."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from golden.clocked import PHASES, Clocked, transfers
from golden.parameters import Parameters
from golden.probes import first_columns
from golden.state import State
from sim.data import Dataset

#: Clocks that are recorded at a time, and samples that are fed at a time.
_CHUNK, _FEED = 1 << 8, 1000


def recorded(
    parameters: Parameters, state: State, dataset: Dataset, rate_shift: Callable[[int], int]
) -> Iterator[npt.NDArray[np.int64]]:
    """Train for ever on all training images in order; yield the probed registers of every clock.

    The sample stream is never held back.

    Args:
        parameters: The network.
        state: Where it starts.
        dataset: Gives the training images.
        rate_shift: Learning-rate shift of an epoch, counted from 0.

    Yields:
        int64, shape (clocks, columns of ``probe_columns``), clocks after those of the one before;
        the next one overwrites it.
    """
    in_ready = first_columns(parameters)["in_ready"]
    model, images = Clocked(parameters, state), len(dataset.train_labels)
    buffer, always = model.buffer(_CHUNK), np.ones(_CHUNK, np.uint8)
    first = epoch = in_hand = 0
    while True:
        while in_hand < _CHUNK:
            part = slice(first, first + _FEED)
            pixels, labels = dataset.train_pixels[part], dataset.train_labels[part]
            stream = transfers(parameters, pixels, labels, 1, rate_shift(epoch))
            model.feed(stream)
            in_hand += len(stream)
            first += _FEED
            if first >= images:
                first, epoch = 0, epoch + 1
        rows = model.run(always, always, buffer)
        in_hand -= int(rows[:, in_ready].sum())
        yield rows


def count_clocks(
    parameters: Parameters,
    state: State,
    dataset: Dataset,
    rate_shift: int,
    progress: Callable[[int], None],
) -> dict[str, float]:
    """Train on every training image once and return what the clocks of a sample went to.

    Each clock is counted once: ``entries`` (a column of a block enters the pipeline), ``ends`` (a
    block is closed), ``waits`` (for a list that grows, or for the drain), ``loss`` (from the last
    sum to the deltas), ``settle`` (the last writes of a layer land), ``done``. The sample stream is
    never held back.

    Args:
        parameters: The network.
        state: Where it starts.
        dataset: Gives the training images.
        rate_shift: Learning-rate shift of the epoch.
        progress: Called with the samples done.

    Returns:
        Means over the samples, and ``clocks``, their sum.
    """
    column = first_columns(parameters)
    samples = len(dataset.train_labels)
    phases = np.zeros(len(PHASES), np.int64)
    entries = ends = 0
    for clocks in recorded(parameters, state, dataset, lambda epoch: rate_shift):
        done = int(clocks[-1, column["samples"]])
        rows = clocks[clocks[:, column["samples"]] < samples]
        phases += np.bincount(rows[:, column["state"]], minlength=len(PHASES))
        entries += int(rows[:, column["entry_valid"]].sum())
        ends += int(rows[:, column["entry_end"]].sum())
        progress(done)
        if done >= samples:
            break
    spent = dict(zip(PHASES, phases.tolist(), strict=True))
    walking = spent["FORWARD"] + spent["BACKWARD"]
    counts = {
        "clocks": int(phases.sum()),
        "entries": entries,
        "ends": ends,
        "waits": walking - entries - ends,
        "loss": spent["LOSS"],
        "settle": spent["SETTLE"],
        "done": spent["DONE"],
    }
    return {name: count / samples for name, count in counts.items()}
