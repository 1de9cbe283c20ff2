"""Where the gateware's clocks go, counted by the clocked golden model."""

import itertools
from collections.abc import Callable

import numpy as np

from golden.clocked import PHASES, Clocked, transfers
from golden.parameters import Parameters
from golden.probes import probe_columns, probe_table
from golden.state import State
from sim.data import Dataset

#: Clocks that are counted at a time, and samples that are fed at a time.
_CHUNK, _FEED = 1 << 13, 1000


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
    column: dict[str, int] = {}
    for place, (probe, _, _) in enumerate(probe_columns(probe_table(parameters))):
        column.setdefault(probe.name, place)
    model, samples = Clocked(parameters, state), len(dataset.train_labels)
    buffer, always = model.buffer(_CHUNK), np.ones(_CHUNK, np.uint8)
    phases = np.zeros(len(PHASES), np.int64)
    entries = ends = done = 0
    # Behind the last image comes the first again: the stream never runs dry.
    parts, in_hand = itertools.cycle(range(0, samples, _FEED)), 0
    while done < samples:
        while in_hand < _CHUNK:
            part = slice(first := next(parts), first + _FEED)
            pixels, labels = dataset.train_pixels[part], dataset.train_labels[part]
            stream = transfers(parameters, pixels, labels, 1, rate_shift)
            model.feed(stream)
            in_hand += len(stream)
        rows = model.run(always, always, buffer)
        in_hand -= int(rows[:, column["in_ready"]].sum())
        done = int(rows[-1, column["samples"]])
        rows = rows[rows[:, column["samples"]] < samples]
        phases += np.bincount(rows[:, column["state"]], minlength=len(PHASES))
        entries += int(rows[:, column["entry_valid"]].sum())
        ends += int(rows[:, column["entry_end"]].sum())
        progress(done)
    clocks = dict(zip(PHASES, phases.tolist(), strict=True))
    walking = clocks["FORWARD"] + clocks["BACKWARD"]
    counts = {
        "clocks": int(phases.sum()),
        "entries": entries,
        "ends": ends,
        "waits": walking - entries - ends,
        "loss": clocks["LOSS"],
        "settle": clocks["SETTLE"],
        "done": clocks["DONE"],
    }
    return {name: count / samples for name, count in counts.items()}
