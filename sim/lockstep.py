"""Lockstep: the gateware in a simulator against the clocked golden model, every word, every clock.

The simulator runs in a process of its own and sends what it records through a pipe
(:mod:`sim.testbench`). Here one thread runs the golden models and compares, while the main thread
builds the simulator, starts it and watches it; on a cold start Numba compiles the models while the
C++ compiler works on the gateware.

At the end everything that the trainer remembers is compared with both golden models: all weights
and biases, the random sources, the predictions and the number of clocks.
"""

import fcntl
import itertools
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from golden.clocked import EXACT, SAMPLED, Clocked, Transfers, transfers, transfers_per_sample
from golden.formats import EXTRA_DRAWS_BITS, unsigned_bits
from golden.inference import RULES
from golden.jit import jit
from golden.layout import Layout
from golden.network import Network
from golden.parameters import Parameters
from golden.probes import first_columns, probe_columns, probe_table
from golden.state import State
from hdl.host import STEADY_CLOCKS
from hdl.verilog import Generated, generate
from sim.data import Dataset
from sim.divergence import (
    AFTER,
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
from sim.simulators import SimulationFailed, compile_design, run_testbench
from sim.synthesis.netlist import netlist
from sim.testbench import FRAME, PAYLOADS_FILE, Job, MemoryJob

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

#: Called with ``"generate"``, ``"synthesise"``, ``"compile"`` or ``"lockstep"``, samples done, and
#: of how many.
Progress = Callable[[str, int, int], None]

# The pipe's capacity. A recording fits, so the simulator fills one while another is compared.
_PIPE_BYTES = 1 << 20

# Seconds that the simulator may be silent.
_PATIENCE = 300.0

# Clocks before a divergence that are kept: more than the pipeline is deep, and the window's.
_HISTORY = 32


@dataclass(frozen=True, eq=False)
class Stimulus:
    """The samples of a run, in order.

    Attributes:
        pixels: Integers in ``0 .. 2**A - 1``, shape (samples, n_0).
        labels: int64, shape (samples,).
        train: bool, shape (samples,): train on the sample, or evaluate it.
        rate_shift: int64, shape (samples,): learning-rate shift ``sh``.
        epoch: int64, shape (samples,), from 0; for reports.
        rule: int64, shape (samples,), or one for all: number of the rule of inference
            (:mod:`golden.clocked`); counts for evaluation.
        draws: int64, shape (samples,), or one for all: ``K``, of the rule SAMPLED.
        sparse: Which samples come pixel by pixel, without zeros: bool, shape (samples,), or one
            flag for all.
    """

    pixels: npt.NDArray[np.integer[Any]]
    labels: Ints
    train: npt.NDArray[np.bool_]
    rate_shift: Ints
    epoch: Ints
    rule: Ints | int = SAMPLED
    draws: Ints | int = 1
    sparse: npt.NDArray[np.bool_] | bool = False

    @classmethod
    def training(
        cls, parameters: Parameters, dataset: Dataset, samples: int, first: int = 0
    ) -> "Stimulus":
        """Return ``samples`` of training in file order, epoch after epoch, from ``first`` on."""
        number = np.arange(first, first + samples)
        index, epoch = number % len(dataset.train_labels), number // len(dataset.train_labels)
        shifts = [parameters.rate_shift(each) for each in epoch.tolist()]
        return cls(
            pixels=dataset.train_pixels[index],
            labels=dataset.train_labels[index],
            train=np.ones(samples, np.bool_),
            rate_shift=np.array(shifts, np.int64),
            epoch=epoch,
        )

    def part(self, first: int, end: int) -> "Stimulus":
        """Return the samples ``first`` to ``end``, without the latter."""
        each = slice(first, end)
        return Stimulus(
            pixels=self.pixels[each],
            labels=self.labels[each],
            train=self.train[each],
            rate_shift=self.rate_shift[each],
            epoch=self.epoch[each],
            rule=np.broadcast_to(self.rule, self.labels.shape)[each],
            draws=np.broadcast_to(self.draws, self.labels.shape)[each],
            sparse=np.broadcast_to(self.sparse, self.labels.shape)[each],
        )

    def then_evaluated(
        self, dataset: Dataset, samples: int, rule: int = SAMPLED, draws: int = 1
    ) -> "Stimulus":
        """Return these training samples, and the first test samples of a data set to evaluate.

        Args:
            dataset: The data set.
            samples: Test samples.
            rule: Number of the rule of inference, for all of them.
            draws: ``K``, of the rule SAMPLED.
        """
        zeros = np.zeros(samples, np.int64)
        return Stimulus(
            pixels=np.concatenate([self.pixels, dataset.test_pixels[:samples]]),
            labels=np.concatenate([self.labels, dataset.test_labels[:samples]]),
            train=np.concatenate([self.train, zeros != 0]),
            rate_shift=np.concatenate([self.rate_shift, zeros]),
            epoch=np.concatenate([self.epoch, zeros + self.epoch.max(initial=0)]),
            rule=rule,
            draws=draws,
        )

    def stream(self, parameters: Parameters) -> Transfers:
        """Return the samples as transfers of the stream ``samples``.

        Raises:
            ValueError: If there are none, or a shape or a value is out of range.
        """
        if len(self.labels) == 0:
            raise ValueError("samples must be at least 1, not 0")
        return transfers(
            parameters,
            self.pixels,
            self.labels,
            self.train,
            self.rate_shift,
            self.rule,
            self.draws,
            self.sparse,
        )

    def settings(self) -> Ints:
        """Return what counts of train, rate shift, rule and draws: int64, shape (samples, 4)."""
        train = self.train.astype(np.int64)
        rule = np.where(self.train, SAMPLED, self.rule)
        draws = np.where(self.train | (rule != SAMPLED), 1, self.draws)
        return np.stack([train, self.rate_shift, rule, draws], axis=1)


@dataclass(frozen=True, eq=False)
class LockstepResult:
    """A run in which gateware and golden models agreed in everything.

    Attributes:
        samples: Samples of the run.
        clocks: Clocks from the reset until the trainer was idle, as observed.
        predicted_clocks: The same, as predicted; equal.
        comparisons: Words that were compared.
        predictions: int64, shape (samples,): predicted classes.
        state: Weights, biases and random sources of the gateware after the run.
        build_seconds: Wall time to generate and compile the gateware, or to find it compiled.
        run_seconds: Wall time from the simulator's start to the last comparison.
    """

    samples: int
    clocks: int
    predicted_clocks: int
    comparisons: int
    predictions: Ints
    state: State
    build_seconds: float
    run_seconds: float


@jit
def _unpack(characters: Bytes, low: Ints, bits: Ints, signed: Ints, words: Ints) -> int:
    """Read words of binary characters, the highest bit first.

    Args:
        characters: uint8, shape (rows, width).
        low: Lowest bit of each word.
        bits: Bits of each word, up to 64.
        signed: 1 for two's complement.
        words: int64, shape (rows, words): the result; 64-bit words are bit patterns.

    Returns:
        ``row * words + word`` of the first one with a bit that is not 0 or 1; -1 if none.
    """
    rows, width = characters.shape
    unknown = -1
    for row in range(rows):
        for word in range(len(low)):
            first = width - low[word] - bits[word]
            value = -(np.int64(characters[row, first]) & 1) if signed[word] != 0 else np.int64(0)
            spoiled = np.int64(0)
            for at in range(first, first + bits[word]):
                character = np.int64(characters[row, at])
                spoiled |= character ^ 48
                value = (value << 1) | (character & 1)
            words[row, word] = value
            if spoiled > 1 and unknown < 0:
                unknown = row * len(low) + word
    return unknown


@jit
def _first_difference(expected: Ints, got: Ints) -> int:
    """Return ``row * columns + column`` of the first difference; -1 if there is none."""
    rows, columns = got.shape
    for row in range(rows):
        for column in range(columns):
            if expected[row, column] != got[row, column]:
                return int(row * columns + column)
    return -1


class _Words:
    """The words of a packed vector: lowest bit, bits, and whether signed, of each."""

    def __init__(self, fields: list[tuple[int, int, bool]]) -> None:
        columns = np.array(fields, np.int64).T
        self._low, self._bits, self._signed = (np.ascontiguousarray(each) for each in columns)

    def unpack(self, characters: Bytes) -> tuple[Ints, int]:
        """Return int64 words, shape (rows, words), and what :func:`_unpack` returns."""
        words = np.empty((len(characters), len(self._low)), np.int64)
        unknown = int(_unpack(characters, self._low, self._bits, self._signed, words))
        return words, unknown


def payloads_of(parameters: Parameters, stream: Transfers) -> Bytes:
    """Return the payloads of ``samples`` as rows of bytes, little-endian."""
    p = parameters
    fields = [(stream.pixels[:, each], p.activation_bits) for each in range(p.pixels_per_beat)]
    fields += [(stream.first, unsigned_bits(p.layers[0] - 1)), (stream.last, 1)]
    fields += [(stream.label, unsigned_bits(p.layers[-1] - 1)), (stream.train, 1)]
    fields += [(stream.shift, unsigned_bits(p.max_rate_shift)), (stream.rule, 2)]
    fields += [(stream.extra_draws, EXTRA_DRAWS_BITS)]
    bits = [value >> bit & 1 for value, count in fields for bit in range(count)]
    return np.packbits(np.array(bits, np.uint8).T, axis=1, bitorder="little")


def functional_run(network: Network, stimulus: Stimulus) -> Ints:
    """Run the samples through the functional model; return its predictions."""
    settings = stimulus.settings()
    changes = np.flatnonzero(np.any(settings[1:] != settings[:-1], axis=1)) + 1
    starts = [0, *changes.tolist(), len(stimulus.labels)]
    predictions = []
    for first, end in itertools.pairwise(starts):
        pixels, labels = stimulus.pixels[first:end], stimulus.labels[first:end]
        train, shift, rule, draws = settings[first].tolist()
        if train:
            predictions.append(network.train(pixels, labels, shift).predictions)
        else:
            predictions.append(network.infer(pixels, RULES[rule], draws))
    return np.concatenate(predictions)


class _IdleWatch:
    """Finds the first clock in which every transfer is taken and the trainer is at rest."""

    def __init__(self, columns: dict[str, int], transfers_left: int) -> None:
        self._columns = columns
        self._left = transfers_left
        self._clock = 0
        self.idle_clock: int | None = None

    def feed(self, words: Ints, valid: Bytes) -> None:
        """Look at the next clocks: the probed words, and ``valid`` of ``samples``."""
        column = self._columns
        taken = np.cumsum(valid * words[:, column["in_ready"]])
        if taken[-1] >= self._left and self.idle_clock is None:
            lists = column["list_open"]
            resting = (words[:, column["state"]] == 0) & (words[:, column["out_valid"]] == 0)
            resting &= np.all(words[:, lists : lists + 2] == 0, axis=1)
            # What is taken in a clock shows in the registers from the next one on.
            before = np.concatenate([[0], taken[:-1]])
            idle = np.flatnonzero(resting & (before >= self._left))
            if len(idle):
                self.idle_clock = self._clock + int(idle[0])
        self._left -= int(taken[-1])
        self._clock += len(words)


class Checker(threading.Thread):
    """The golden models, and the comparison of what comes through the pipe.

    Args:
        parameters: The configuration.
        state: Where gateware and models start.
        stimulus: The samples.
        stream: The same as transfers of the stream ``samples``.
        pipe: File descriptor to read frames from (:mod:`sim.testbench`); closed at the end.
        stalls: Probability of stalls; other than 0, the models learn of transfers as they happen.
        replay: As in :func:`lockstep`.
        folder: Receives the waveform file of a divergence.

    Attributes:
        failure: What went wrong, for the main thread to raise.
        comparisons: Words compared so far.
        samples: Samples compared so far.
        waiting_since: Time since when it waits for the simulator; ``None`` while it works.
    """

    def __init__(
        self,
        parameters: Parameters,
        state: State,
        stimulus: Stimulus,
        stream: Transfers,
        pipe: int,
        *,
        stalls: float,
        replay: str,
        folder: Path,
    ) -> None:
        # A daemon, so that an interrupt ends the program even while Numba compiles.
        super().__init__(daemon=True)
        self._p = parameters
        self._initial = state
        self._stimulus = stimulus
        self._stream = stream
        self._pipe = pipe
        self._stalls = stalls
        self._replay = replay
        self._folder = folder
        table = probe_columns(probe_table(parameters))
        self._column = first_columns(parameters)
        self._width = probe_width(parameters)
        self._probes = _Words([(low, probe.bits, probe.signed) for probe, _, low in table])
        self.failure: Exception | None = None
        self._result: tuple[int, int, Ints, State] | None = None
        self.comparisons = 0
        self.samples = 0
        self.waiting_since: float | None = None

    def run(self) -> None:
        """Compare until the simulation ends; what goes wrong is left in ``failure``."""
        try:
            with os.fdopen(self._pipe, "rb") as pipe:
                self._result = self._check(pipe)
        except Exception as error:
            self.failure = error

    def result(self) -> tuple[int, int, Ints, State]:
        """Wait for the end; return observed and predicted clocks, predictions and final state."""
        self.join()
        if self.failure is not None:
            raise self.failure
        if self._result is None or self.comparisons == 0:
            raise SimulationFailed("nothing was compared")
        return self._result

    def _frame(self, pipe: BinaryIO) -> tuple[bytes, bytes]:
        """Return kind and content of the next frame."""
        self.waiting_since = time.monotonic()
        header = pipe.read(FRAME.size)
        if len(header) < FRAME.size:
            raise SimulationFailed("the simulation ended before it was done")
        kind, length = FRAME.unpack(header)
        content = pipe.read(length)
        self.waiting_since = None
        return kind, content

    def _check(self, pipe: BinaryIO) -> tuple[int, int, Ints, State]:
        p, stream = self._p, self._stream
        network = Network(p, self._initial.copy())
        predictions = functional_run(network, self._stimulus)
        predicted: int | None = None
        if self._stalls == 0:
            ahead = Clocked(p, self._initial)
            ahead.feed(stream)
            predicted = ahead.clocks_until_idle()

        model = Clocked(p, self._initial)
        model.feed(stream)
        # A gateware that takes transfers too late lets the model ask for more than there are, in
        # the recording in which they diverge and the one behind it.
        spare = 2 * _recording_clocks(p) // transfers_per_sample(p) + 1
        zeros = np.zeros((spare, p.layers[0]), np.int64)
        model.feed(transfers(p, zeros, np.zeros(spare, np.int64), 0, 0))

        expected_idle = _IdleWatch(self._column, len(stream))
        observed_idle = _IdleWatch(self._column, len(stream))
        kind, content = self._frame(pipe)
        clock = 0
        buffer = model.buffer(len(content) // (self._width + 2))
        nothing = np.empty((0, self._width), np.uint8)
        before = Window(0, np.empty((0, model.probed), np.int64), nothing)
        while kind == b"R":
            valid, got, window = self._compare_clocks(pipe, model, buffer, content, clock, before)
            expected_idle.feed(window.expected, valid)
            observed_idle.feed(got, valid)
            sources = self._sources(got[-1])
            self.samples = int(got[-1, self._column["samples"]])
            clock += len(got)
            before = window.last(_HISTORY)
            kind, content = self._frame(pipe)

        # Stalls depend on what the gateware does, so the model was fed with them as observed.
        predicted = expected_idle.idle_clock if predicted is None else predicted
        observed = observed_idle.idle_clock
        if observed is None or predicted is None or observed != predicted:
            report = end_report("clocks until idle", predicted, observed, self._replay)
            raise DivergenceError(report)
        weights = self._memory(content, p.weight_bits, Layout.of(p).rows)
        _, content = self._frame(pipe)
        state = State(
            weights=weights.astype(np.int16),
            biases=self._memory(content, p.bias_bits, Layout.of(p).block_rows),
            **sources,
        )
        _, content = self._frame(pipe)
        self._compare_predictions(predictions, json.loads(content)["predictions"])
        self._compare_states(model.state, state, "the clocked model")
        self._compare_states(network.state, state, "the functional model")
        return observed, predicted, predictions, state

    def _compare_clocks(
        self,
        pipe: BinaryIO,
        model: Clocked,
        buffer: Ints,
        content: bytes,
        clock: int,
        before: Window,
    ) -> tuple[Bytes, Ints, Window]:
        """Compare a recording; return ``valid`` of ``samples``, the words, and the clocks."""

        def expect(content: bytes, clock: int) -> tuple[Bytes, Window]:
            clocks = len(content) // (self._width + 2)
            data = np.frombuffer(content, np.uint8)
            valid, ready = data[:clocks], data[clocks : 2 * clocks]
            recorded = data[2 * clocks :].reshape(clocks, self._width)
            return valid, Window(clock, model.run(valid, ready, buffer), recorded)

        valid, window = expect(content, clock)
        got, unknown = self._probes.unpack(window.recorded)
        first = _first_difference(window.expected, got)
        if unknown >= 0 and (first < 0 or unknown < first):
            first = unknown
        if first >= 0:
            row, column = divmod(first, got.shape[1])
            # Copied, because what follows is expected in the same buffer.
            window = before + window
            if clock + row + AFTER > window.first_clock + len(window.expected):
                kind, content = self._frame(pipe)
                if kind == b"R":
                    window += expect(content, clock + len(got))[1]
            self._diverge(window, clock + row, column)
        self.comparisons += got.size
        return valid, got, window

    def _diverge(self, window: Window, clock: int, column: int) -> None:
        divergence = find(self._p, window, clock, column, self._stimulus.epoch)
        write_window(self._p, window, clock, self._folder / WINDOW_FILE)
        samples = min(divergence.place.sample + 1, np.count_nonzero(self._stimulus.train))
        replay = f"{self._replay} --samples {samples} --waves"
        raise DivergenceError(divergence.report(replay))

    def _sources(self, words: Ints) -> dict[str, npt.NDArray[np.uint64]]:
        """Return the states of all random sources in a clock, as the fields of a state."""
        sources = {"draw": self._p.random_sources, "update": self._p.random_sources, "dropout": 1}
        states = {"dropout": self._initial.dropout.copy()}
        for name, count in sources.items():
            if f"{name}_state" in self._column:
                first = self._column[f"{name}_state"]
                states[name] = words[first : first + count].view(np.uint64).copy()
        return states

    def _memory(self, characters: bytes, bits: int, rows: int) -> Ints:
        """Return a dumped memory, int64, shape (rows, P)."""
        lanes = self._p.lanes
        text = np.frombuffer(characters, np.uint8).reshape(rows, lanes * bits)
        words, unknown = _Words([(lane * bits, bits, True) for lane in range(lanes)]).unpack(text)
        if unknown >= 0:
            row, lane = divmod(unknown, lanes)
            name = "weights" if bits == self._p.weight_bits else "biases"
            place = word_place(self._p, name, row, lane)
            raise DivergenceError(end_report(place, "known bits", "unknown bits", self._replay))
        return words

    def _compare_end(self, place: str, expected: object, got: object) -> None:
        self.comparisons += 1
        if expected != got:
            raise DivergenceError(end_report(place, expected, got, self._replay))

    def _compare_predictions(self, expected: Ints, got: list[int]) -> None:
        """Compare the payloads of ``predictions`` with class, label and mode of each sample."""
        labels, train = self._stimulus.labels, self._stimulus.train
        bits = unsigned_bits(self._p.layers[-1] - 1)
        self._compare_end("number of predictions", len(expected), len(got))
        for sample, payload in enumerate(got):
            mask = (1 << bits) - 1
            words = (payload & mask, payload >> bits & mask, payload >> 2 * bits)
            wanted = (int(expected[sample]), int(labels[sample]), int(train[sample]))
            for name, want, word in zip(
                ("prediction", "label", "train"), wanted, words, strict=True
            ):
                self._compare_end(f"sample {sample}, {name} of its record", want, word)

    def _compare_states(self, expected: State, got: State, model: str) -> None:
        self.comparisons += sum(getattr(got, name).size for name in gateware_state(self._p))
        difference = state_difference(self._p, expected, got)
        if difference is not None:
            place, want, have = difference
            raise DivergenceError(end_report(f"{place}, against {model}", want, have, self._replay))


def probe_width(parameters: Parameters) -> int:
    """Return the bits of the probe port."""
    return sum(probe.bits * probe.words for probe in probe_table(parameters))


def most_clocks(parameters: Parameters, stalls: float) -> int:
    """Return far more clocks than a sample can need: behind them the trainer is taken to hang."""
    layout = Layout.of(parameters)
    # Some hundred clocks for each block and layer.
    blocks = layout.block_rows * (2 * parameters.lanes + 100)
    return int(4 * (2 * parameters.layers[0] + 2 * layout.rows + blocks + 200) / (1 - stalls))


def _recording_clocks(parameters: Parameters) -> int:
    """Return the clocks of a recording: so few that it fits into the pipe."""
    return max(16, min(1024, _PIPE_BYTES // (probe_width(parameters) + 2)))


def _job(
    parameters: Parameters,
    generated: Generated,
    stimulus: Stimulus,
    payload_bytes: int,
    pipe: int,
    stalls: float,
    seed: int,
) -> Job:
    p, layout = parameters, Layout.of(parameters)
    width = probe_width(p)
    low = {probe.name: low for probe, _, low in probe_columns(probe_table(p))}
    # Every pass of an evaluation sample takes no more than a training sample.
    _, _, rule, draws = stimulus.settings().T
    passes = int(np.where(rule == EXACT, p.planes, draws).sum()) + 2
    return Job(
        pipe=pipe,
        payload_bytes=payload_bytes,
        in_ready=width - 1 - low["in_ready"],
        out_valid=width - 1 - low["out_valid"],
        chunk=_recording_clocks(p),
        limit=passes * most_clocks(p, stalls),
        stalls=stalls,
        seed=seed,
        memories=tuple(
            MemoryJob(generated.memories.get(name, ""), number, words, p.lanes, bits)
            for number, (name, words, bits) in enumerate(
                (
                    ("weights", layout.rows, p.weight_bits),
                    ("biases", layout.block_rows, p.bias_bits),
                )
            )
        ),
        steady=STEADY_CLOCKS,
    )


def lockstep(
    parameters: Parameters,
    stimulus: Stimulus,
    *,
    folder: Path,
    simulator: str = "verilator",
    state: State | None = None,
    generated: Generated | None = None,
    family: str | None = None,
    stalls: float = 0.0,
    seed: int = 1,
    waves: bool = False,
    replay: str = "nomul cosim",
    progress: Progress | None = None,
) -> LockstepResult:
    """Run samples through gateware and golden models, and compare everything.

    Args:
        parameters: The configuration.
        stimulus: The samples.
        folder: Receives the waveform file of a divergence. The simulation runs in its subfolder
            ``simulation``, where a simulator's log and waves are.
        simulator: ``"verilator"`` or ``"icarus"``.
        state: Where both start; default the initial state.
        generated: The probed gateware with that state; default is to generate it.
        family: Run the netlist that Yosys makes of the gateware for this family, a key of
            :data:`sim.synthesis.netlist.SIMULATED`, instead of the gateware.
        stalls: Probability, in each clock, of holding back a transfer that could start and of not
            being ready for a prediction, ``0 <= stalls < 1``.
        seed: Seed of the stalls.
        waves: Whether the simulator records all signals of the whole run.
        replay: Command that would run this again, without ``--samples`` and ``--waves``.
        progress: Called several times a second.

    Raises:
        DivergenceError: If anything differs.
        ParameterError: If the parameters ask for what the gateware does not do.
        SimulatorError: If a tool is missing or refuses the gateware.
        SimulationFailed: If the simulation crashed or hung.
        SynthesisError: If Yosys is not installed, or fails.
        ValueError: If there is no sample, or a sample or the probability of stalls is out of range.
    """
    if not 0 <= stalls < 1:
        raise ValueError(f"the probability of stalls must be in 0 <= p < 1, not {stalls}")
    stream = stimulus.stream(parameters)
    sent = payloads_of(parameters, stream)
    state = State.initial(parameters) if state is None else state
    simulation = folder / "simulation"
    simulation.mkdir(parents=True, exist_ok=True)
    samples = len(stimulus.labels)
    began = time.perf_counter()
    if generated is None:
        if progress is not None:
            progress("generate", 0, samples)
        generated = generate(parameters, state, probed=True)
    if family is not None:
        if progress is not None:
            progress("synthesise", 0, samples)
        generated = netlist(generated, family)

    # Only now, because Amaranth and Numba's compiler would wait for each other.
    reading, writing = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    checker = Checker(
        parameters, state, stimulus, stream, reading, stalls=stalls, replay=replay, folder=folder
    )
    checker.start()

    def report(stage: str) -> None:
        if progress is not None:
            progress(stage, checker.samples, samples)

    def watch() -> None:
        if checker.failure is not None:
            raise checker.failure
        since = checker.waiting_since
        if since is not None and time.monotonic() - since > _PATIENCE:
            raise SimulationFailed(f"no word from the simulator for {_PATIENCE:g} s")
        report("lockstep")

    try:
        report("compile")
        build = compile_design(
            simulator,
            generated.verilog,
            generated.top,
            public_memories=tuple(generated.memories.values()),
            waves=waves,
        )
        built = time.perf_counter()
        (simulation / PAYLOADS_FILE).write_bytes(sent.tobytes())
        size = sent.shape[1]
        _job(parameters, generated, stimulus, size, writing, stalls, seed).save(simulation)
        run_testbench(
            simulator,
            build,
            generated.top,
            "sim.testbench",
            folder=simulation,
            waves=waves,
            timeout=None,
            pass_fds=(writing,),
            watch=watch,
        )
    except SimulationFailed:
        # Why it failed may be on its way still; a divergence says more than what came of it.
        os.close(writing)
        writing = -1
        checker.join()
        if isinstance(checker.failure, DivergenceError):
            raise checker.failure from None
        raise
    finally:
        if writing >= 0:
            os.close(writing)
    clocks, predicted, predictions, final = checker.result()
    report("lockstep")
    return LockstepResult(
        samples=samples,
        clocks=clocks,
        predicted_clocks=predicted,
        comparisons=checker.comparisons,
        predictions=predictions,
        state=final,
        build_seconds=built - began,
        run_seconds=time.perf_counter() - built,
    )


def cosim(
    parameters: Parameters,
    dataset: Dataset,
    *,
    folder: Path,
    samples: int | None = None,
    first_sample: int = 0,
    evaluate: int = 0,
    rule: int = SAMPLED,
    draws: int = 1,
    simulator: str = "verilator",
    state: State | None = None,
    family: str | None = None,
    stalls: float = 0.0,
    seed: int = 1,
    waves: bool = False,
    replay: str = "nomul cosim",
    progress: Progress | None = None,
) -> LockstepResult:
    """Train on samples of a data set in lockstep; default is the first epoch.

    Then evaluate its first ``evaluate`` test samples, as :meth:`Stimulus.then_evaluated` says.
    Other arguments and errors are those of :func:`lockstep`.
    """
    count = len(dataset.train_labels) if samples is None else samples
    return lockstep(
        parameters,
        Stimulus.training(parameters, dataset, count, first_sample).then_evaluated(
            dataset, evaluate, rule, draws
        ),
        folder=folder,
        simulator=simulator,
        state=state,
        family=family,
        stalls=stalls,
        seed=seed,
        waves=waves,
        replay=replay,
        progress=progress,
    )
