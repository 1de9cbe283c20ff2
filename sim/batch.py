"""Lockstep for whole epochs: many clocks a call, in the Verilated trainer (:mod:`sim.harness`).

What is checked is what :mod:`sim.lockstep` checks, and the memories after every sample. Three
threads work side by side: the Verilated trainer records a sample; the clocked golden model runs the
one before, and is compared; the functional model and the clocked model alone are a segment ahead.

A *segment* is a thousand samples. At its end the trainer comes to rest before it goes on, so that a
run can go on from there after an interrupt, clock for clock: a trainer at rest differs from one
after its reset in nothing that later clocks could show, but for its memories and random sources,
and in which of its two loader buffers comes next.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from golden.checkpoint import Checkpoint
from golden.clocked import Clocked, Transfers, transfers, transfers_per_sample
from golden.formats import unsigned_bits
from golden.network import Network
from golden.packing import Bytes, Packing
from golden.parameters import Parameters
from golden.probes import first_columns
from golden.state import State
from sim.background import background
from sim.data import Dataset
from sim.divergence import (
    WINDOW_FILE,
    DivergenceError,
    Window,
    end_report,
    find,
    gateware_state,
    state_difference,
    word_place,
    write_window,
)
from sim.harness import Recording, Trainer
from sim.lockstep import (
    Progress,
    Stimulus,
    functional_run,
    lockstep,
    most_clocks,
    payloads_of,
)
from sim.simulators import SimulationFailed

Ints = npt.NDArray[np.int64]

#: Samples of a segment.
SEGMENT = 1000

#: File of the checkpoint before a divergence, and folder of its replay, in the output folder.
BEFORE_FILE, REPLAY_FOLDER = "before.npz", "replay"

# Clocks of a recording: a sample of most networks.
_CLOCKS = 4096

# Clocks that the clocked model runs at a time: their rows stay in the processor's cache.
_PART = 512

# Clocks recorded when nothing is left to do: the last writes land some clocks later.
_LANDING = 8

# Clocks before a divergence that are kept: more than the pipeline is deep, and the window's.
_HISTORY = 32

_NO_STALLS = np.zeros(0, np.uint8)


@dataclass(frozen=True, eq=False)
class Segment:
    """Samples in which gateware and golden models agreed in everything.

    Attributes:
        samples: How many.
        clocks: Clocks until the trainer was idle.
        comparisons: Words that were compared.
        seconds: Wall time.
        predictions: int64, shape (samples,): predicted classes.
        state: Weights, biases and random sources afterwards.
    """

    samples: int
    clocks: int
    comparisons: int
    seconds: float
    predictions: Ints
    state: State


@dataclass(frozen=True, eq=False)
class _Expected:
    """A segment ahead of its lockstep; ``clocks`` is ``None`` where stalls decide."""

    stimulus: Stimulus
    stream: Transfers
    payloads: Bytes
    before: State
    after: State
    predictions: Ints
    clocks: int | None


class _Ahead:
    """The functional model, and the clocked model alone."""

    def __init__(self, parameters: Parameters, state: State, *, stalled: bool) -> None:
        self._p = parameters
        self._network = Network(parameters, state.copy())
        self._model = None if stalled else Clocked(parameters, state)

    def run(self, stimulus: Stimulus) -> _Expected:
        """Run a segment."""
        stream = stimulus.stream(self._p)
        before = self._network.state.copy()
        predictions = functional_run(self._network, stimulus)
        clocks = None
        if self._model is not None:
            self._model.feed(stream)
            clocks = self._model.clocks_until_idle()
        payloads = payloads_of(self._p, stream)
        after = self._network.state.copy()
        return _Expected(stimulus, stream, payloads, before, after, predictions, clocks)


class _DifferenceError(Exception):
    """Something differs: the report for a replay command, and the sample of the segment."""

    def __init__(self, report: Callable[[str], str], sample: int) -> None:
        super().__init__()
        self.report = report
        self.sample = sample


class _Lockstep:
    """A Verilated trainer and the clocked golden model, from their reset on.

    Args:
        parameters: The configuration.
        trainer: The trainer.
        state: Where both start.
        epochs: Epoch of each sample since the reset.
        first_sample: Number of the first of them, for reports.
        folder: Receives the waveform file of a divergence.
        stalls: Probability of stalls.
        seed: Seed of the stalls.
    """

    def __init__(
        self,
        parameters: Parameters,
        trainer: Trainer,
        state: State,
        *,
        epochs: Ints,
        first_sample: int,
        folder: Path,
        stalls: float,
        seed: int,
    ) -> None:
        self._p = parameters
        self._trainer = trainer
        self._model = Clocked(parameters, state)
        self._epochs, self._first_sample, self._folder = epochs, first_sample, folder
        self._stalls, self._seed = stalls, seed
        self._probes = Packing.of_probes(parameters)
        self._columns = first_columns(parameters)
        self._recordings = [trainer.recording(_CLOCKS + _LANDING) for _ in range(2)]
        self._buffer = self._model.buffer(_PART)
        # The last clocks that were compared: expected and recorded.
        self._history = (
            np.empty((0, self._model.probed), np.int64),
            np.empty((0, self._probes.row_bytes), np.uint8),
        )
        self._work: Future[Recording] | None = None
        self._done = 0
        self._samples = 0
        self._comparisons = 0

    def close(self) -> None:
        """Wait for the trainer to pause, and free it."""
        if self._work is not None:
            wait([self._work])
        self._trainer.close()

    def segment(self, expected: _Expected, report: Callable[[int], None]) -> Segment:
        """Run a segment.

        Args:
            expected: What is expected of it.
            report: Called with the samples done of it.

        Raises:
            _DifferenceError: If anything differs.
            SimulationFailed: If both hang.
        """
        p, trainer, model = self._p, self._trainer, self._model
        samples = len(expected.stimulus.labels)
        trainer.offer(expected.payloads, samples)
        model.feed(expected.stream, drop=True)
        # A gateware that takes transfers too late lets the model ask for more than there are, in
        # the part in which they diverge.
        spare = _PART // transfers_per_sample(p) + 1
        model.feed(transfers(p, np.zeros((spare, p.layers[0])), np.zeros(spare), 0, 0))
        # Of the segment's own number, so that a resumed run has the same stalls.
        rng = np.random.default_rng([self._seed, self._first_sample + self._done])
        began, first_clock, comparisons = time.perf_counter(), model.clock, self._comparisons
        last_done = first_clock
        predictions = []
        rest: int | None = None
        self._samples = 0
        self._work = background(self._record, self._recordings[0], rng)
        while True:
            recording = self._work.result()
            if recording.idle is None:
                self._recordings.reverse()
                self._work = background(self._record, self._recordings[0], rng)
            before = self._samples
            rest = self._compare(recording, samples)
            self._compare_memories(recording)
            predictions.append(recording.predictions[: recording.predicted].copy())
            if self._samples > before:
                last_done = model.clock
                report(self._samples)
            if recording.idle is not None:
                break
            if model.clock > last_done + most_clocks(p, self._stalls):
                raise SimulationFailed(
                    f"sample {self._first_sample + self._done + self._samples} is not done after "
                    f"{model.clock - last_done:,} clocks"
                )
        observed = model.clock - recording.clocks + recording.idle - first_clock
        clocks = None if rest is None else rest - first_clock
        self._compare_end("clocks until idle, of the clocked model in lockstep", clocks, observed)
        if expected.clocks is not None:
            self._compare_end("clocks until idle", expected.clocks, observed)
        self._compare_end("port idle", True, trainer.idle)
        self._compare_predictions(expected, np.concatenate(predictions))
        self._compare_state(expected.after)
        self._done += samples
        return Segment(
            samples=samples,
            clocks=observed,
            comparisons=self._comparisons - comparisons,
            seconds=time.perf_counter() - began,
            predictions=expected.predictions,
            state=model.state,
        )

    def _record(self, recording: Recording, rng: np.random.Generator) -> Recording:
        stalls = _NO_STALLS
        if self._stalls:
            hits = rng.random((2, len(recording.valid))) < self._stalls
            stalls = hits[0] + 2 * hits[1].astype(np.uint8)
        return self._trainer.record(recording, stalls, _LANDING)

    def _compare(self, recording: Recording, samples: int) -> int | None:
        """Compare all clocks; return the first in which the model rests with all samples done."""
        model, column = self._model, self._columns
        rest: int | None = None
        for first in range(0, recording.clocks, _PART):
            part = slice(first, min(first + _PART, recording.clocks))
            clock = model.clock
            rows = model.run(recording.valid[part], recording.ready[part], self._buffer)
            packed = recording.probes[part]
            row = self._probes.first_difference(rows, packed)
            if row >= 0:
                self._differ(rows, packed, row, clock)
            self._comparisons += rows.size
            self._samples = int(rows[-1, column["samples"]]) - self._done
            lists = column["list_open"]
            busy = rows[:, column["samples"]] != self._done + samples
            busy |= (rows[:, column["state"]] != 0) | (rows[:, column["out_valid"]] != 0)
            busy |= np.any(rows[:, lists : lists + 2] != 0, axis=1)
            if rest is None and not busy.all():
                rest = clock + int(np.argmin(busy))
            older = self._history
            self._history = (
                np.concatenate([older[0], rows[-_HISTORY:]])[-_HISTORY:],
                np.concatenate([older[1], packed[-_HISTORY:]])[-_HISTORY:],
            )
        return rest

    def _differ(self, rows: Ints, packed: Bytes, row: int, clock: int) -> None:
        older, characters = self._history, self._probes.characters
        window = Window(clock - len(older[0]), older[0], characters(older[1]))
        window += Window(clock, rows, characters(packed))
        column, _ = self._probes.first_word(rows[row], packed[row])
        divergence = find(self._p, window, clock + row, column, self._epochs, self._first_sample)
        write_window(self._p, window, clock + row, self._folder / WINDOW_FILE)
        # Everything agreed in the samples before the one that the walker is at.
        sample = int(rows[row, self._columns["samples"]]) - self._done
        raise _DifferenceError(divergence.report, sample)

    def _compare_end(self, place: str, expected: object, got: object) -> None:
        self._comparisons += 1
        if expected != got:
            self._differ_at(place, expected, got)

    def _differ_at(self, place: str, expected: object, got: object) -> None:
        number = self._first_sample + self._done + self._samples

        def report(replay: str) -> str:
            return end_report(f"{place}, {number} samples done", expected, got, replay)

        # What came of it shows late: from one sample before.
        raise _DifferenceError(report, max(0, self._samples - 1))

    def _compare_memories(self, recording: Recording) -> None:
        state = self._model.state
        for name, packing, packed in (
            ("weights", self._trainer.weights, recording.weights),
            ("biases", self._trainer.biases, recording.biases),
        ):
            words = getattr(state, name).astype(np.int64)
            row = packing.first_difference(words, packed[: len(words)])
            self._comparisons += words.size
            if row >= 0:
                lane, got = packing.first_word(words[row], packed[row])
                bits = self._p.weight_bits if name == "weights" else self._p.bias_bits
                signed = got - (got >> (bits - 1) << bits)
                place = word_place(self._p, name, row, lane)
                self._differ_at(place, int(words[row, lane]), signed)

    def _compare_predictions(self, expected: _Expected, got: Bytes) -> None:
        stimulus, bits = expected.stimulus, unsigned_bits(self._p.layers[-1] - 1)
        wanted = expected.predictions | stimulus.labels << bits
        wanted |= stimulus.train.astype(np.int64) << 2 * bits
        payloads = got.view(f"<u{got.shape[1]}")[:, 0].astype(np.int64)
        self._compare_end("number of predictions", len(wanted), len(payloads))
        self._comparisons += 3 * len(payloads)
        for sample in np.flatnonzero(wanted != payloads)[:1].tolist():
            self._samples = sample + 1
            place = "payload of the prediction"
            self._differ_at(place, int(wanted[sample]), int(payloads[sample]))

    def _compare_state(self, functional: State) -> None:
        state = self._model.state
        self._comparisons += sum(getattr(state, name).size for name in gateware_state(self._p))
        difference = state_difference(self._p, functional, state)
        if difference is not None:
            place, want, have = difference
            self._differ_at(f"{place}, against the functional model", want, have)


def batch(
    parameters: Parameters,
    dataset: Dataset,
    samples: int,
    *,
    library: Path,
    folder: Path,
    state: State,
    first_sample: int = 0,
    done: int = 0,
    stalls: float = 0.0,
    seed: int = 1,
    again: str = "nomul cosim",
    replay: str = "nomul cosim",
    progress: Progress | None = None,
) -> Iterator[Segment]:
    """Train on samples of a data set in lockstep; yield each segment when it is done.

    Args:
        parameters: The configuration.
        dataset: The samples, in file order, epoch after epoch.
        samples: Samples in all.
        library: From :func:`sim.harness.library`.
        folder: Receives the waveform file, the checkpoint and the replay of a divergence.
        state: Where the segment behind sample ``done`` starts.
        first_sample: Number of the first sample of the run.
        done: Samples of the run done before, whole segments; 0 starts at the state that the
            gateware was generated with, otherwise the state is loaded.
        stalls: As for :func:`sim.lockstep.lockstep`.
        seed: Seed of the stalls.
        again: Command that would run this again.
        replay: Command that would run this in the lockstep of every clock, but without ``--state``,
            ``--first-sample`` and ``--samples``.
        progress: Called after every sample.

    Raises:
        DivergenceError: If anything differs.
        SimulationFailed: If gateware and golden model both hang.
    """
    ahead = _Ahead(parameters, state, stalled=stalls > 0)

    def expect(done: int) -> Future[_Expected]:
        count = min(SEGMENT, samples - done)
        return background(
            lambda: ahead.run(Stimulus.training(parameters, dataset, count, first_sample + done))
        )

    if done >= samples:
        return
    number = np.arange(first_sample + done, first_sample + samples)
    trainer = Trainer(parameters, library, state if done else None)
    both = _Lockstep(
        parameters,
        trainer,
        state,
        epochs=number // len(dataset.train_labels),
        first_sample=first_sample + done,
        folder=folder,
        stalls=stalls,
        seed=seed,
    )
    try:
        coming = expect(done)
        while done < samples:
            expected = coming.result()
            if done + SEGMENT < samples:
                coming = expect(done + SEGMENT)

            def report(count: int, before: int = done) -> None:
                if progress is not None:
                    progress("lockstep", before + count, samples)

            try:
                segment = both.segment(expected, report)
            except _DifferenceError as difference:
                report_of = _replayed(
                    parameters, expected, difference, folder, first_sample + done, again, replay
                )
                raise DivergenceError(report_of) from None
            done += segment.samples
            yield segment
    finally:
        both.close()


def _replayed(
    parameters: Parameters,
    expected: _Expected,
    difference: _DifferenceError,
    folder: Path,
    first_sample: int,
    again: str,
    replay: str,
) -> str:
    """Replay a difference with all waves, from the last sample that agreed; return the report.

    What does not show from there is replayed from the segment's start.
    """
    last = min(difference.sample, len(expected.stimulus.labels) - 1)
    for first in sorted({last, 0}, reverse=True):
        network = Network(parameters, expected.before.copy())
        if first:
            functional_run(network, expected.stimulus.part(0, first))
        # The loader is a sample ahead.
        stimulus = expected.stimulus.part(first, last + 2)
        path = folder / BEFORE_FILE
        Checkpoint(parameters, network.state, first_sample + first).save(path)
        try:
            lockstep(
                parameters,
                stimulus,
                folder=folder / REPLAY_FOLDER,
                state=network.state,
                waves=True,
            )
        except DivergenceError:
            return difference.report(
                f"{replay} --state {path} --first-sample {first_sample + first} "
                f"--samples {len(stimulus.labels)} --waves"
            )
    return difference.report(f"{again} (it does not show from a reset {last + 1} samples before)")


def free_running(
    parameters: Parameters, dataset: Dataset, library: Path, samples: int
) -> tuple[float, float]:
    """Return the clocks per second of the Verilated trainer alone, and of the clocked model alone.

    Both train on the first samples of the data set; nothing is recorded.
    """
    stream = Stimulus.training(parameters, dataset, samples).stream(parameters)
    trainer = Trainer(parameters, library)
    trainer.offer(payloads_of(parameters, stream), samples)
    began = time.perf_counter()
    clocks = trainer.run_free(samples * most_clocks(parameters, 0))
    trained = time.perf_counter()
    trainer.close()
    model = Clocked(parameters, State.initial(parameters))
    model.feed(stream)
    predicted = time.perf_counter()
    model.clocks_until_idle()
    return clocks / (trained - began), clocks / (time.perf_counter() - predicted)
