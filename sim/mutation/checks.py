"""What a mutant must survive: the core in lockstep, and everything that a processor sees of it.

Each check is made once, with all that the golden models expect of it, and run on many mutants. It
goes from a reset on and stops at the first difference.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.clocked import Clocked, Transfers, transfers
from golden.inference import RULES
from golden.oracle import Oracle, Phase
from golden.packing import Bytes, Packing
from golden.parameters import Parameters
from golden.probes import probe_columns, probe_table
from golden.state import State
from hdl.register_map import ADDRESS_BITS, Access, Memory, RegisterMap
from sim.mutation.core import Answer, VerilatedCore, Violation
from sim.mutation.netlist import FIRST_COUNT
from sim.mutation.stimulus import (
    FAULTS,
    Packet,
    Settings,
    blank_packet,
    largest_state,
    packet,
    random_packet,
    random_states,
)

START, STOP, ACCEPT, RESET = 1, 2, 3, 4

#: Bits of STATUS.
RUNNING, STOPPED, IN_PACKET, DIRTY = 1, 2, 4, 8

#: Responses of the bus.
OKAY, SLVERR = 0, 2

#: Clocks from an access to its answer, and those that one of the window takes more.
ACCESS_CLOCKS, WINDOW_CLOCKS = 3, 11

# Clocks to the answers of two accesses that are offered in one clock.
_BOTH = (ACCESS_CLOCKS, 2 * ACCESS_CLOCKS + 1)

# Limits of samples that are reached, so that of what is left many a bit changes beside another.
_MANY = (1030, 300, 300, 150, 150, 150, 150, 150)

# States from which `loaded` and `clipped` start.
_LOADED, _CLIPPED = 64, 128

# Clocks that the clocked model runs at a time.
_PART = 512


@dataclass(frozen=True)
class Waits:
    """Numbers of clocks for which checks wait.

    Attributes:
        patience: More than anything takes for which a check waits, but 256 draws.
        forward: More than a forward pass takes.
        held: Until records that wait hold the core back.
        whole: Until three samples that train are done.
        reset: At most from a START to a reset.
        abandoned: At most from a START to the command RESET.
    """

    patience: int
    forward: int
    held: int
    whole: int
    reset: int
    abandoned: int

    @classmethod
    def of(cls, parameters: Parameters) -> "Waits":
        """Return those of a network, from the clocks that the clocked golden model takes.

        All small networks have the same, those of the default one, so that their scores compare.
        """
        p = parameters
        # By the rule sampled, and by the others.
        forward, *others = (_most_clocks(p, Settings(train=0, rule=rule)) for rule in _rules(p))
        train = _most_clocks(p, Settings())
        slowest = max(train, forward, *others)
        return cls(
            patience=max(6000, 12 * slowest),
            forward=max(400, 3 * forward),
            held=max(1000, 2 * slowest),
            whole=max(1500, 4 * train),
            reset=max(500, 2 * train),
            abandoned=max(400, 2 * train),
        )


def _most_clocks(p: Parameters, settings: Settings) -> int:
    """Return the clocks of a sample whose pixels are all live.

    They are those from the largest state, whose lists are the longest, or from the initial one: an
    answer that is right already needs no backward pass.
    """
    sample = packet(p, [p.activation_max] * p.layers[0], 0, sparse=False)
    most = 0
    for state in (State.initial(p), largest_state(p)):
        model = Clocked(p, state)
        model.feed(sample.transfers(settings))
        most = max(most, model.clocks_until_idle())
    return most


def _rules(p: Parameters) -> list[int]:
    """Return the numbers of the rules of inference that the core has."""
    return [0, 1, *([2] if p.inference == "exact" else [])]


class Killed(Exception):  # noqa: N818 - the gateware differs, not this program
    """Something is not as the golden models say; the message is one line."""


def _limit(samples: int) -> int:
    """Return the SAMPLE_LIMIT that lets so many samples in: it counts down to where counters start.

    0 for 0, no limit.
    """
    return samples and (FIRST_COUNT + samples) % (1 << 32)


def _same(what: str, expected: object, got: object) -> None:
    if expected != got:
        raise Killed(f"{what}: expected {expected}, got {got}")


class Model(Oracle):
    """The naive golden model behind the core: what a record and the counters say of samples."""

    def __init__(self, parameters: Parameters, state: State) -> None:
        super().__init__(parameters)
        self.logits = [0] * parameters.layers[-1]
        self.backward = False
        self.load(state)

    def load(self, state: State) -> None:
        """Go on from a state."""
        self.weights, self.biases = state.weights.tolist(), state.biases.tolist()
        self.draw, self.update = state.draw.tolist(), state.update.tolist()
        self.dropout = state.dropout.tolist()

    @property
    def state(self) -> State:
        """What it remembers."""
        state = State.initial(self.parameters)
        for name in ("weights", "biases", "draw", "update", "dropout"):
            getattr(state, name)[...] = getattr(self, name)
        return state

    def _enter(self, phase: Phase) -> None:
        if phase == "backward":
            self.backward = True

    def _sums(self, layer: int, *rest: object) -> list[int]:
        z: list[int] = super()._sums(layer, *rest)  # type: ignore[arg-type]  # handed on as it is
        if layer == len(self.parameters.layers) - 2:
            self.logits = [total + more for total, more in zip(self.logits, z, strict=True)]
        return z

    def record(self, sample: Packet, settings: Settings, number: int) -> list[int]:
        """Show a sample; return the words of its record."""
        p = self.parameters
        image = sample.image(p)
        self.logits, self.backward = [0] * p.layers[-1], False
        train = settings.train and sample.known
        rule = RULES[settings.rule] if not settings.train else "sampled"
        fraction = p.draw_fraction_bits
        if train:
            prediction = self.sample(image, sample.label, True, settings.shift)
        else:
            prediction = self.infer(image, rule, settings.draws)
            fraction = p.weight_bits - 1 if rule == "exact" else fraction
        words = [prediction | sample.label << 16]
        number = (FIRST_COUNT + number) & 0xFFFF
        words.append((prediction == sample.label) | train << 1 | number << 16)
        if settings.logits:
            low, high = -(1 << 31), (1 << 31) - 1
            logits = [z << (p.accumulator_fraction_bits - fraction) for z in self.logits]
            words += [min(max(z, low), high) & 0xFFFFFFFF for z in logits]
        return words


@dataclass(frozen=True)
class Part:
    """Samples with the same settings, from START to STOP.

    Attributes:
        settings: Of all of them.
        packets: The samples.
        records: Words of their records.
        limited: Stop by SAMPLE_LIMIT.
        full: An interval of samples ends in it.
        counts: Samples, errors and backward passes from the first part to the end of this one.
    """

    settings: Settings
    packets: Sequence[Packet]
    records: Sequence[Sequence[int]]
    limited: bool
    full: bool
    counts: tuple[int, int, int]

    @property
    def beats(self) -> Bytes:
        """Beats of all packets."""
        return np.concatenate([sample.beats for sample in self.packets])


class Host:
    """A processor beside a core.

    Attributes:
        core: The core.
        parameters: Of the core.
        waits: How long it waits.
        map: Its registers.
    """

    def __init__(self, core: VerilatedCore, parameters: Parameters, waits: Waits) -> None:
        self.core = core
        self.parameters = parameters
        self.waits = waits
        self.map = RegisterMap.of(parameters)
        self._probes = Packing.of_probes(parameters)
        self._columns = probe_columns(probe_table(parameters))
        self._model: Clocked | None = None

    def write_at(self, offset: int, value: int, strobes: int = 0b1111) -> Answer:
        """Write at an address; the answer is in time."""
        answer = self.core.write(offset, value & 0xFFFFFFFF, strobes)
        self._check_clocks(offset, answer)
        return answer

    def read_at(self, offset: int) -> Answer:
        """Read at an address; the answer is in time."""
        answer = self.core.read(offset)
        self._check_clocks(offset, answer)
        return answer

    def _check_clocks(self, offset: int, answer: Answer) -> None:
        clocks = ACCESS_CLOCKS
        if offset == self.map["WINDOW_DATA"].offset:
            # What the window itself refuses takes it a clock to decide.
            clocks += WINDOW_CLOCKS if answer.response == OKAY else answer.clocks > ACCESS_CLOCKS
        _same(f"clocks of an access to {offset:#x}", clocks, answer.clocks)

    def write(self, name: str, value: int) -> None:
        """Write a register."""
        answer = self.write_at(self.map[name].offset, value)
        _same(f"response to a write of {value:#x} to {name}", OKAY, answer.response)

    def read(self, name: str) -> int:
        """Read a register."""
        answer = self.read_at(self.map[name].offset)
        _same(f"response to a read of {name}", OKAY, answer.response)
        return answer.data

    def expect(self, **registers: int) -> None:
        """Read registers."""
        for name, value in registers.items():
            _same(name, hex(value), hex(self.read(name)))

    def refused(self, answer: Answer, *reasons: str) -> None:
        """Check that an access was refused for these reasons, and clear them."""
        _same(
            f"response to what is refused for {reasons}",
            (SLVERR, 0),
            (answer.response, answer.data),
        )
        flags = sum(self.map["REFUSED"].field(reason).mask for reason in reasons)
        self.expect(REFUSED=flags)
        self.write("REFUSED", flags)
        self.expect(REFUSED=0)

    def refused_by_window(self, answer: Answer, reason: str) -> None:
        """Check that the window itself refused an access, and clear it; it takes a clock more."""
        _same("clocks of what the window refuses", ACCESS_CLOCKS + 1, answer.clocks)
        self.refused(answer, reason)

    def mode(self, settings: Settings) -> None:
        """Write MODE and RATE."""
        fields = {
            "TRAIN": settings.train,
            "LOGITS": settings.logits,
            "RULE": settings.rule,
            "DRAWS": settings.draws - 1,
        }
        mode = sum(value << self.map["MODE"].field(name).low for name, value in fields.items())
        self.write("MODE", mode)
        self.write("RATE", settings.shift)

    def give(self, beats: Bytes) -> None:
        """Send beats of packets, and wait until all are taken, in time for 256 draws."""
        self.core.send(beats)
        for _ in range(256 * self.waits.forward // 20):
            if not self.core.waiting:
                break
            self.core.run(20)

    def records(self, expected: Sequence[Sequence[int]], clocks: int | None = None) -> None:
        """Check the next records, beat by beat; by default wait as long as anything takes."""
        size = self.parameters.bus_bits // 8
        rows = np.zeros((sum(map(len, expected)), size + 3), np.uint8)
        row = 0
        for words in expected:
            for word in words:
                rows[row, :4] = list(word.to_bytes(4, "little"))
                rows[row, size : size + 2] = list(((1 << size) - 1).to_bytes(2, "little"))
                row += 1
            rows[row - 1, size + 2] = 1
        got = self.core.records(len(rows), self.waits.patience if clocks is None else clocks)
        self.compare()
        _same("records", rows.tolist(), got.tolist())

    def stopped(self, irq: bool) -> None:
        """Wait until the core has stopped; ``irq`` says whether that raises the interrupt."""
        if irq:
            self.core.wait_for_irq(True, self.waits.patience)
            _same("interrupt of STOPPED", True, self.core.irq)
        else:
            for _ in range(self.waits.patience // 10):
                if self.read("STATUS") & STOPPED:
                    return
            raise Killed("the core does not stop")

    def begin_lockstep(
        self, state: State, stream: Iterable[Transfers], *, command: bool = False
    ) -> None:
        """Reset, and compare every clock from then on with the clocked golden model.

        With ``command`` it is the command that resets, all that works on samples.
        """
        if command:
            self.write("COMMAND", RESET)
        else:
            self.core.reset(2)
        self._model = Clocked(self.parameters, state, FIRST_COUNT)
        for part in stream:
            self._model.feed(part)
        self.core.record(True)

    def compare(self) -> None:
        """Compare what was recorded, if in lockstep."""
        self.core.check()
        if self._model is None:
            return
        p, model = self.parameters, self._model
        probes, valid, ready = self.core.recorded()
        # A core that takes too much lets the model ask for more than there is.
        count = len(valid)
        blank = count - model.waiting
        if blank > 0:
            model.feed(transfers(p, np.zeros((blank, p.layers[0])), np.zeros(blank), 0, 0))
        buffer = model.buffer(_PART)
        for first in range(0, count, _PART):
            part = slice(first, min(first + _PART, count))
            rows = model.run(valid[part], ready[part], buffer)
            row = self._probes.first_difference(rows, probes[part])
            if row >= 0:
                column, got = self._probes.first_word(rows[row], probes[part][row])
                probe, word, _ = self._columns[column]
                mask = (1 << probe.bits) - 1
                expected = int(rows[row, column]) & mask
                raise Killed(f"lockstep, {probe.name}[{word}]: expected {expected}, got {got}")

    def end_lockstep(self) -> None:
        """Compare, and go on without: the window moves registers of the trainer."""
        self.compare()
        self.core.record(False)
        self._model = None

    def load(self, state: State) -> None:
        """Write all state through the window."""
        for memory in self.map.memories:
            self.point(memory)
            for number, word in enumerate(_words(memory, state)):
                # What is kept of a row stands for even and for odd numbers of clocks.
                self.core.run(number % 3 == 1)
                self.write("WINDOW_DATA", word)

    def dumped(self, state: State) -> None:
        """Read all state through the window, and compare."""
        for memory in self.map.memories:
            self.point(memory)
            for number, word in enumerate(_words(memory, state)):
                _same(f"{memory.name}, word {number}", word, self.read("WINDOW_DATA"))
            self.expect(WINDOW_ROW=memory.rows, WINDOW_LANE=0, WINDOW_MEMORY=memory.number)

    def point(self, memory: Memory, row: int = 0, lane: int = 0) -> None:
        """Let the window stand at a word."""
        self.write("WINDOW_MEMORY", memory.number)
        self.write("WINDOW_ROW", row)
        self.write("WINDOW_LANE", lane)


def _words(memory: Memory, state: State) -> list[int]:
    """Return the words of a memory as the window has them."""
    array = getattr(state, memory.name.lower())
    if memory.signed:
        return [word & 0xFFFFFFFF for row in array.tolist() for word in row]
    # A random state has its lowest 32 bits in the first word.
    return [
        word >> 32 * lane & 0xFFFFFFFF for word in array.tolist() for lane in range(memory.lanes)
    ]


@dataclass(frozen=True)
class Check:
    """A check.

    Attributes:
        name: In reports.
        run: Runs it on a core after power on; raises ``Killed`` or ``Violation``.
    """

    name: str
    run: Callable[[Host], None]


class Checks:
    """All checks of a core.

    Args:
        parameters: The configuration.
        seed: Of samples, states and pauses.
    """

    def __init__(self, parameters: Parameters, seed: int) -> None:
        self._p = parameters
        self._rng = random.Random(seed)  # noqa: S311 - samples, no secrets
        self._seed = seed
        self._waits = Waits.of(parameters)
        self._map = RegisterMap.of(parameters)
        self._states = random_states(parameters, self._rng)
        self.all = (
            Check("training", self._training()),
            Check("packets", self._packets()),
            Check("settings", self._settings()),
            Check("alone", self._alone()),
            Check("bus", _bus),
            Check("window", self._window()),
            Check("resets", self._resets()),
            Check("abandoned", self._abandoned()),
            Check("many draws", self._many_draws()),
            Check("limits", self._limits()),
            Check("flags", self._flags()),
            Check("loaded", self._loaded()),
            Check("clipped", self._clipped()),
        )

    def first_failure(self, library: Path, mutant: int) -> tuple[str, str] | None:
        """Run the checks on a mutant; return name and complaint of the first that fails."""
        for check in self.all:
            core = VerilatedCore(library, mutant, self._seed)
            try:
                host = Host(core, self._p, self._waits)
                check.run(host)
                core.check()
            except (Killed, Violation) as error:
                return check.name, str(error)
            finally:
                core.close()
        return None

    def _samples(self, count: int, faults: Sequence[str] = ("",)) -> list[Packet]:
        return [
            random_packet(self._p, self._rng, faults[each % len(faults)]) for each in range(count)
        ]

    def _training(self) -> Callable[[Host], None]:
        """Train, evaluate by every rule, train again; dense and sparse, with pauses and without."""
        p = self._p
        settings = [Settings(shift=p.max_rate_shift), Settings(train=0, logits=1, draws=3)]
        settings += [Settings(), Settings(logits=1, shift=p.max_rate_shift // 2)]
        settings += [Settings(train=0, logits=1, rule=rule) for rule in _rules(p)]
        settings += [Settings(), Settings(train=0)]
        parts = [(each, self._samples(8)) for each in settings]
        return self._run_parts(State.initial(p), parts, pauses=0.25)

    def _alone(self) -> Callable[[Host], None]:
        """One sample at a time: the core stops behind each, also behind a packet of one beat."""
        settings = [Settings(train=0), Settings(), Settings(train=0, draws=2), Settings(logits=1)]
        parts = [
            (each, [blank_packet(self._p, self._rng)] if blank else self._samples(1))
            for blank in (True, False)
            for each in settings * 2
        ]
        return self._run_parts(next(self._states), parts, pauses=0.0, load=True)

    def _loaded(self) -> Callable[[Host], None]:
        """Evaluate and train from loaded states, at full speed.

        First what leaves them as they are, then what changes them least.
        """
        p = self._p
        settings = [Settings(train=0, logits=1, rule=rule, draws=2) for rule in _rules(p)]
        settings += [Settings(shift=shift) for shift in reversed(range(p.max_rate_shift + 1))]
        runs = [
            self._run_parts(
                state, [(each, self._samples(12)) for each in settings], pauses=0.0, load=True
            )
            for state in itertools.islice(self._states, _LOADED)
        ]

        def run(host: Host) -> None:
            for each in runs:
                each(host)

        return run

    def _clipped(self) -> Callable[[Host], None]:
        """A sample that takes biases to the lowest sum, which is clipped, or a bit beside it."""
        p, rng = self._p, self._rng
        lowest = -p.bias_max - 1
        runs = []
        for number in range(_CLIPPED):
            state = next(self._states)
            settings = Settings(shift=number // 4 % (p.max_rate_shift + 1))
            sample = self._full("", sparse=False)
            model = Model(p, state)
            model.record(sample, settings, 0)
            for place, step in np.ndenumerate(model.state.biases - state.biases):
                # Most of these steps stay the same when the bias is another.
                bias = lowest - int(step) + rng.choice((0, 0, 1 << rng.randrange(p.bias_bits)))
                if abs(bias) <= p.bias_max and step:
                    state.biases[place] = bias
            runs.append(self._run_parts(state, [(settings, [sample])], pauses=0.0, load=True))

        def run(host: Host) -> None:
            for each in runs:
                each(host)

        return run

    def _run_parts(
        self,
        state: State,
        samples: Sequence[tuple[Settings, Sequence[Packet]]],
        *,
        pauses: float,
        load: bool = False,
    ) -> Callable[[Host], None]:
        """Run parts of samples, with settings each, in lockstep, and dump.

        Every other part is ended by SAMPLE_LIMIT, with the packets of the next one behind it.
        """
        p, interval = self._p, 5
        model = Model(p, state)
        parts: list[Part] = []
        done = wrong = trained = 0
        for position, (each, packets) in enumerate(samples):
            records = []
            before = done
            for sample in packets:
                records.append(model.record(sample, each, done))
                done += 1
                wrong += 1 - (records[-1][1] & 1)
                trained += model.backward
            # The first interval starts where all counters do.
            full = max(0, done + FIRST_COUNT) // interval > max(0, before + FIRST_COUNT) // interval
            limited = position % 2 == 1
            parts.append(Part(each, packets, records, limited, full, (done, wrong, trained)))
        stream = [sample.transfers(part.settings) for part in parts for sample in part.packets]
        end = model.state

        def run(host: Host) -> None:
            core = host.core
            core.pause(pauses)
            if load:
                core.reset(3)
                host.load(state)
            host.begin_lockstep(state, stream, command=load)
            host.write("INTERRUPT_MASK", 0b001)
            host.write("SAMPLE_INTERVAL", interval)
            clocks = 0
            _check_counters(host, (0, 0, 0), clocks)
            # They stand, an odd number of clocks later, too.
            core.run(1)
            _check_counters(host, (0, 0, 0), clocks, latch=False)
            core.send(parts[0].beats)
            for part, following in zip(parts, [*parts[1:], None], strict=True):
                clocks += self._run_part(host, part, following)
                _check_interrupts(host, full=part.full)
                _check_counters(host, part.counts, None if pauses else clocks)
            host.end_lockstep()
            host.dumped(end)
            host.write("COUNTERS", 0b10)
            # They were not latched, and show what they were.
            _check_counters(host, (done, wrong, trained), None if pauses else clocks, latch=False)
            host.write("COUNTERS", 0b01)
            host.expect(COUNT_SAMPLES=0, COUNT_ERRORS=0, COUNT_TRAINED=0, COUNT_CLOCKS_LOW=0)

        return run

    def _run_part(self, host: Host, part: Part, following: Part | None) -> int:
        """Run a part, whose packets wait; return clocks in which the core was not stopped.

        They are right without pauses. The interrupt STOPPED is on.
        """
        core = host.core
        host.mode(part.settings)
        host.write("SAMPLE_LIMIT", _limit(len(part.packets) if part.limited else 0))
        if part.limited and following is not None:
            core.send(following.beats)
        host.write("COMMAND", START)
        started = core.clock
        half = len(part.records) // 2
        host.records(part.records[:half])
        _same("STATUS.STOPPED at work", 0, host.read("STATUS") & STOPPED)
        _same("interrupt at work", False, core.irq)
        # What is refused does not begin the limit anew.
        host.refused(host.write_at(host.map["COMMAND"].offset, START), "BUSY")
        host.records(part.records[half:])
        if not part.limited:
            _same("interrupt before the stop", False, core.irq)
            host.expect(STATUS=RUNNING)
            host.write("COMMAND", STOP)
        host.stopped(irq=True)
        stopped = core.clock
        host.expect(STATUS=STOPPED)
        if not part.limited and following is not None:
            core.send(following.beats)
        core.run(40)
        host.records([])
        # STOPPED goes a clock behind the command, and the interrupt a clock behind STOPPED.
        return stopped - started - 2

    def _packets(self) -> Callable[[Host], None]:
        """Malformed packets, which are learnt as well as can be, and told."""
        p = self._p
        model = Model(p, State.initial(p))
        settings = Settings(shift=0)
        samples = []
        for fault in FAULTS:
            for sparse in (False, True):
                samples.append(self._full(fault, sparse=sparse))
                samples += self._samples(1)
        samples += self._samples(80, FAULTS)
        for sparse in (False, True):
            size = (len(self._full("", sparse=sparse).beats) - 1) * p.bus_bits // 8
            samples += [self._full("", sparse=sparse, dropped=each) for each in range(size)]
        records = [
            [*model.record(sample, settings, number)] for number, sample in enumerate(samples)
        ]
        # One whose fault every transfer could tell.
        halved = self._full("label", sparse=False)
        last = model.record(halved, settings, len(samples))
        stream = [sample.transfers(settings) for sample in [*samples, halved]]
        end = model.state

        def run(host: Host) -> None:
            core = host.core
            core.pause(0.3)
            host.begin_lockstep(State.initial(p), stream)
            host.write("INTERRUPT_MASK", 0b100)
            host.mode(settings)
            host.write("COMMAND", START)
            for sample, record in zip(samples, records, strict=True):
                core.send(sample.beats)
                host.records([record])
                # What is behind the last pixel is still on its way.
                core.run(8 * len(sample.beats))
                _same("interrupt of a packet", sample.malformed, core.irq)
                host.expect(INTERRUPT_STATUS=4 * sample.malformed)
                host.write("INTERRUPT_STATUS", 0b100)
            core.send(halved.beats[:2])
            core.run(100)
            host.expect(INTERRUPT_STATUS=0b100)
            host.write("INTERRUPT_STATUS", 0b100)
            core.send(halved.beats[2:])
            host.records([last])
            # Once a packet.
            host.expect(INTERRUPT_STATUS=0)
            host.write("COMMAND", STOP)
            host.stopped(irq=False)
            host.end_lockstep()
            host.dumped(end)

        return run

    def _settings(self) -> Callable[[Host], None]:
        """Settings change with every sample while others are at work, and records must wait."""
        p, rng = self._p, self._rng
        state = next(self._states)
        model = Model(p, state)
        settings = [
            Settings(
                train=rng.choice((0, 0, 1)),
                logits=1,
                rule=rng.choice(_rules(p)),
                draws=rng.choice((1, 2, 5)),
                shift=rng.randint(0, p.max_rate_shift),
            )
            for _ in range(48)
        ]
        samples = self._samples(len(settings))
        # A training sample has one draw, whatever MODE says.
        records = [
            model.record(sample, each, number)
            for number, (sample, each) in enumerate(zip(samples, settings, strict=True))
        ]
        stream = [sample.transfers(each) for sample, each in zip(samples, settings, strict=True)]
        end = model.state
        last_word = len(records[0]) - 1

        def run(host: Host) -> None:
            core = host.core
            core.reset(2)
            host.load(state)
            host.begin_lockstep(state, stream)
            host.mode(settings[0])
            host.write("COMMAND", START)
            taken = 0
            for number, (sample, each) in enumerate(zip(samples, settings, strict=True)):
                core.hold((None, 0, last_word)[number % 3])
                host.mode(each)
                core.send(sample.beats)
                for _ in range(self._waits.patience // 50):
                    if not core.waiting:
                        break
                    core.run(1 if number % 3 else 50)
                if core.waiting:
                    # Both lists are full: the records that wait hold the core back.
                    core.run(self._waits.held)
                    core.hold(None)
                    host.records(records[taken : number - 1])
                    taken = max(taken, number - 1)
            core.hold(None)
            host.records(records[taken:])
            host.write("COMMAND", STOP)
            host.stopped(irq=False)
            host.end_lockstep()
            host.dumped(end)

        return run

    def _full(self, fault: str, *, sparse: bool, dropped: int | None = None) -> Packet:
        p, rng = self._p, self._rng
        image = [rng.randint(1, p.activation_max) for _ in range(p.layers[0])]
        label = rng.randrange(p.layers[-1])
        return packet(p, image, label, sparse=sparse, fault=fault, dropped=dropped)

    def _limits(self) -> Callable[[Host], None]:
        """Limits and intervals of samples that are far away, bit by bit; a limit of many."""
        blank = blank_packet(self._p, self._rng).beats
        two, six = (np.tile(blank, (count, 1)) for count in (2, 6))

        def stop(host: Host) -> None:
            host.expect(STATUS=RUNNING)
            host.write("COMMAND", STOP)
            host.stopped(irq=False)
            _same("interrupt SAMPLES", False, host.core.irq)

        def run(host: Host) -> None:
            core = host.core
            core.reset(2)
            host.write("INTERRUPT_MASK", 0b010)
            # An interval ends with the first sample, but for the bit.
            ends = (FIRST_COUNT + 1) % (1 << 32)
            for bit in range(1, 32):
                host.write("SAMPLE_LIMIT", _limit(1) ^ 1 << bit)
                host.write("SAMPLE_INTERVAL", ends ^ 1 << bit)
                host.write("COMMAND", START)
                host.give(two)
                stop(host)
            # Likewise with the fifth, behind the wrap of its count.
            host.write("SAMPLE_LIMIT", 0)
            for bit in range(2, 32):
                host.write("SAMPLE_INTERVAL", (FIRST_COUNT + 5) | 1 << bit)
                host.write("COMMAND", START)
                host.give(six)
                stop(host)
            # With pauses, a bit that is inverted in each clock is sometimes so once too often.
            core.pause(0.1)
            for limit in _MANY:
                core.reset(2)
                host.write("INTERRUPT_MASK", 0b001)
                host.write("SAMPLE_LIMIT", _limit(limit))
                host.write("COMMAND", START)
                core.send(np.tile(blank, (limit + 3, 1)))
                core.wait_for_irq(True, limit * self._waits.forward)
                _same("packets behind the limit", 3, core.waiting)

        return run

    def _many_draws(self) -> Callable[[Host], None]:
        """As many draws as there can be, of the largest weights too: their sums saturate.

        Then samples one behind the other whose numbers of draws differ in every bit.
        """
        p, rng = self._p, self._rng
        # Sums of every size, up to those that the record has no bits for.
        trials = [
            (state, [(self._full("", sparse=False), 256 >> bit) for bit in range(bits)])
            for state, bits in ((next(self._states), 1), (largest_state(p), 9))
        ]
        draws = [1 + (rng.getrandbits(8) & rng.getrandbits(8)) for _ in range(32)]
        trials.append((next(self._states), list(zip(self._samples(32), draws, strict=True))))
        runs = []
        for state, samples in trials:
            model = Model(p, state)
            shown = [
                (sample, Settings(train=0, logits=1, draws=count)) for sample, count in samples
            ]
            records = [model.record(*each, number) for number, each in enumerate(shown)]
            runs.append((state, shown, records))

        def run(host: Host) -> None:
            for state, shown, records in runs:
                host.core.reset(2)
                host.load(state)
                host.begin_lockstep(state, [sample.transfers(each) for sample, each in shown])
                host.mode(shown[0][1])
                host.write("COMMAND", START)
                for sample, settings in shown:
                    host.mode(settings)
                    host.give(sample.beats)
                host.records(records, 256 * self._waits.forward)
                host.end_lockstep()

        return run

    def _window(self) -> Callable[[Host], None]:
        """The window loads and dumps everything, and refuses the rest without an effect."""
        states = [next(self._states) for _ in range(2)]

        def run(host: Host) -> None:
            host.core.pause(0.1)
            host.core.reset(2)
            for state in states:
                host.load(state)
                host.dumped(state)
            for memory in host.map.memories:
                _check_window(host, memory, state)
            host.dumped(state)
            # A row that something came between is not written: the lanes kept may be lost.
            memory = host.map.memories[0]
            for between in ((RESET,), (START, STOP), ()):
                host.point(memory)
                for _ in range(memory.lanes - 1):
                    host.write("WINDOW_DATA", 1)
                for command in between:
                    host.write("COMMAND", command)
                if not between:
                    host.core.reset(2)
                    host.point(memory, 0, memory.lanes - 1)
                elif memory.lanes > 1:
                    host.expect(WINDOW_LANE=memory.lanes - 1)
                if memory.lanes > 1:
                    host.refused_by_window(host.write_at(_window_data(host), 1), "WINDOW")
            host.dumped(state)
            _check_busy(host)
            host.dumped(state)

        return run

    def _flags(self) -> Callable[[Host], None]:
        """Causes of interrupts and reasons of refusals stay until they are cleared, one by one."""
        p = self._p
        cut = self._full("", sparse=False).beats[:2]
        malformed = self._full("label", sparse=False)
        model = Model(p, State.initial(p))
        record = model.record(malformed, Settings(train=0), 0)

        def run(host: Host) -> None:
            core = host.core
            core.reset(2)
            flags = {name: host.map[name].mask for name in ("INTERRUPT_STATUS", "REFUSED")}
            _refuse_all(host, cut)
            host.load(State.initial(p))
            host.mode(Settings(train=0))
            host.write("SAMPLE_INTERVAL", (FIRST_COUNT + 1) % (1 << 32))
            host.write("COMMAND", START)
            host.give(malformed.beats)
            host.records([record])
            host.write("COMMAND", STOP)
            host.stopped(irq=False)
            host.expect(**flags)
            for register in host.map:
                if register.name in flags:
                    # What is refused clears nothing.
                    host.write_at(register.offset, register.mask, 0b0111)
                    host.write_at(register.offset, register.mask | 1 << 31)
                elif register.writable and not register.name.startswith("WINDOW"):
                    for value in (0, register.mask):
                        host.write_at(register.offset, value)
                        host.expect(**flags)
            host.expect(**flags)
            for mask in range(flags["INTERRUPT_STATUS"], -1, -1):
                host.write("INTERRUPT_MASK", mask)
                core.run(1)
                _same("interrupt", mask != 0, core.irq)
            for name in flags:
                for field in host.map[name].fields:
                    host.write("INTERRUPT_MASK", host.map["INTERRUPT_MASK"].mask)
                    host.write(name, field.mask)
                    flags[name] ^= field.mask
                    host.expect(**flags)
                    core.run(1)
                    _same("interrupt", flags["INTERRUPT_STATUS"] != 0, core.irq)

        return run

    def _resets(self) -> Callable[[Host], None]:
        """A reset at any clock leaves whole samples, or a state that must be accepted."""
        p, rng, waits = self._p, self._rng, self._waits
        initial = State.initial(p)
        trials = []
        for trial in range(24):
            model = Model(p, initial)
            settings = Settings()
            samples = [self._full("", sparse=trial % 2 == 1) for _ in range(3)]
            states = [model.state]
            for sample in samples:
                model.record(sample, settings, 0)
                states.append(model.state)
            clocks = rng.randint(1, waits.reset) if trial % 3 else waits.whole
            trials.append((samples, states, clocks))

        def run(host: Host) -> None:
            core = host.core
            core.reset(2)
            for number, (samples, states, clocks) in enumerate(trials):
                host.load(initial)
                host.mode(Settings())
                host.write("SAMPLE_LIMIT", 0)
                host.write("COMMAND", START)
                for sample in samples:
                    core.send(sample.beats)
                core.run(clocks)
                _check_reset(host, states, command=number % 2 == 1, whole=clocks == waits.whole)

        return run

    def _abandoned(self) -> Callable[[Host], None]:
        """Behind samples that the command abandons at any clock, others go as behind a reset."""
        p, rng = self._p, self._rng
        trials = []
        for _ in range(16):
            cut = np.concatenate([sample.beats for sample in self._samples(3)])
            state = next(self._states)
            model = Model(p, state)
            settings = Settings(train=rng.choice((0, 1, 1)), shift=p.max_rate_shift)
            samples = self._samples(4)
            records = [model.record(each, settings, number) for number, each in enumerate(samples)]
            clocks = rng.randint(1, self._waits.abandoned)
            trials.append((cut, clocks, state, settings, samples, records, model.state))

        def run(host: Host) -> None:
            core = host.core
            core.reset(2)
            for cut, clocks, state, settings, samples, records, end in trials:
                host.mode(Settings(shift=min(1, p.max_rate_shift)))
                host.write("COMMAND", START)
                core.send(cut)
                core.run(clocks)
                core.forgive()
                host.write("COMMAND", RESET)
                # Without a clock it is only what waits for the core that goes.
                core.reset(0)
                host.write("COMMAND", ACCEPT)
                host.load(state)
                stream = [sample.transfers(settings) for sample in samples]
                host.begin_lockstep(state, stream, command=True)
                host.mode(settings)
                host.write("COMMAND", START)
                core.send(np.concatenate([sample.beats for sample in samples]))
                host.records(records)
                host.write("COMMAND", STOP)
                host.stopped(irq=False)
                host.end_lockstep()
                host.dumped(end)

        return run


def _window_data(host: Host) -> int:
    return host.map["WINDOW_DATA"].offset


def _check_counters(
    host: Host, counts: tuple[int, int, int], clocks: int | None, *, latch: bool = True
) -> None:
    """Check the counters: samples, errors, backward passes, and clocks if they are known."""
    if latch:
        host.write("COUNTERS", 0b01)
    for name, count in zip(("SAMPLES", "ERRORS", "TRAINED"), counts, strict=True):
        host.expect(**{f"COUNT_{name}": (FIRST_COUNT + count) % (1 << 32)})
    if clocks is not None:
        low, high = (FIRST_COUNT + clocks) % (1 << 32), (FIRST_COUNT + clocks >> 32) % (1 << 32)
        host.expect(COUNT_CLOCKS_LOW=low, COUNT_CLOCKS_HIGH=high)


def _check_interrupts(host: Host, *, full: bool) -> None:
    """Check the interrupts behind a part, and clear them; STOPPED alone is not masked."""
    core = host.core
    host.expect(INTERRUPT_STATUS=0b001 | full << 1)
    host.write("INTERRUPT_STATUS", 0b001)
    core.run(1)
    _same("interrupt when cleared", False, core.irq)
    host.write("INTERRUPT_MASK", 0b010)
    core.run(1)
    _same("interrupt SAMPLES", full, core.irq)
    host.write("INTERRUPT_STATUS", 0b010)
    host.write("INTERRUPT_MASK", 0b001)
    host.expect(INTERRUPT_STATUS=0)


def _check_window(host: Host, memory: Memory, state: State) -> None:
    """Point the window at what is not there, and write what does not fit."""
    data = _window_data(host)
    # Where a dump ends there is nothing more.
    host.point(memory, memory.rows, 0)
    host.refused_by_window(host.read_at(data), "WINDOW")
    host.refused_by_window(host.write_at(data, 1), "WINDOW")
    most = max(each.lanes for each in host.map.memories)
    if memory.lanes < most:
        host.point(memory, 0, memory.lanes)
        host.refused_by_window(host.read_at(data), "WINDOW")
    if memory.lanes > 1:
        host.point(memory, 0, 1)
        host.refused_by_window(host.write_at(data, 1), "WINDOW")
    top = 1 << (memory.bits - 1)
    misfits = [1 << bit for bit in range(memory.bits, 32)]
    if memory.signed:
        # One too large, one too small; sign bits that are not all alike.
        misfits += [top, -top, -top - 1, top << 1]
        misfits += [-1 ^ 1 << bit for bit in range(memory.bits, 32)]
    for word in misfits:
        host.point(memory)
        host.refused_by_window(host.write_at(data, word), "VALUE")
    if not memory.signed:
        # It is the whole state that must not be 0, not what stands beside the first word.
        for _ in range(2):
            host.point(memory)
            for _ in range(memory.lanes - 1):
                host.write("WINDOW_DATA", 0)
        host.refused_by_window(host.write_at(data, 0), "VALUE")
    # A row that is not written to its end stays, but for biases, which change one by one.
    host.point(memory)
    for lane in range(memory.lanes - 1):
        host.write("WINDOW_DATA", 1)
        host.expect(WINDOW_LANE=lane + 1, WINDOW_ROW=0)
    if memory.name == "BIASES":
        row = _words(memory, state)[: memory.lanes]
        host.point(memory)
        for word in [1] * (memory.lanes - 1) + row[-1:]:
            host.expect(WINDOW_DATA=word)
        host.point(memory)
        for word in row:
            host.write("WINDOW_DATA", word)


def _check_busy(host: Host) -> None:
    """A core that is not stopped refuses, and does nothing of it."""
    data, command = _window_data(host), host.map["COMMAND"].offset
    host.write("COMMAND", START)
    host.expect(STATUS=RUNNING)
    host.refused(host.read_at(data), "BUSY")
    for register in host.map:
        if register.stopped:
            host.refused(host.write_at(register.offset, 1), "BUSY")
    for each in (START, ACCEPT):
        host.refused(host.write_at(command, each), "BUSY")
    host.write("COMMAND", STOP)
    host.stopped(irq=False)


def _refuse_all(host: Host, cut: Bytes) -> None:
    """Have accesses refused for every reason; ``cut`` begins a packet whose sample is cut short."""
    offset = {register.name: register.offset for register in host.map}
    host.write("COMMAND", START)
    host.give(cut)
    host.write_at(offset["WINDOW_ROW"], 0)
    host.core.run(host.waits.forward)
    host.core.forgive()
    host.write("COMMAND", RESET)
    host.core.reset(0)
    host.write_at(offset["COMMAND"], START)
    host.write("COMMAND", ACCEPT)
    host.point(host.map.memories[0], host.map.memories[0].rows)
    host.read_at(offset["WINDOW_DATA"])
    host.write_at(offset["RATE"], 1 << 31)
    host.write_at(offset["RATE"], 0, 0b0111)
    host.write_at(offset["STATUS"], 0)
    host.read_at(max(offset.values()) + 4)


def _check_reset(host: Host, states: Sequence[State], *, command: bool, whole: bool) -> None:
    """Reset a core, or let it abandon its samples, and check what it says of its state."""
    core = host.core
    if command:
        core.forgive()
        host.write("COMMAND", RESET)
        core.forgive()
    core.reset(2)
    status = host.read("STATUS")
    _same("STATUS after a reset", STOPPED, status & ~DIRTY)
    if whole:
        _same("DIRTY between samples", 0, status & DIRTY)
        host.dumped(states[-1])
    elif status & DIRTY:
        start = host.map["COMMAND"].offset
        host.refused(host.write_at(start, START), "DIRTY")
        core.reset(2)
        host.expect(STATUS=STOPPED | DIRTY)
        host.write("COMMAND", ACCEPT)
        host.expect(STATUS=STOPPED)
    else:
        for state in states:
            try:
                host.dumped(state)
            except Killed:
                continue
            return
        raise Killed("a reset that cut nothing short: no state after whole samples")


def _bus(host: Host) -> None:
    """Every register reads and writes as the map says; everything else is refused."""
    registers, core = host.map, host.core
    core.reset(3)
    core.pause(0.3)
    visible = [each for each in registers if each.readable and each.name != "WINDOW_DATA"]
    start = {each.name: each.reset for each in visible}
    host.expect(**start)
    for register in registers:
        if not register.readable:
            host.refused(host.read_at(register.offset), "ACCESS")
        if not register.writable:
            host.refused(host.write_at(register.offset, 0), "ACCESS")
            continue
        for strobes in range(0b1111):
            host.refused(host.write_at(register.offset, 0, strobes), "STROBES")
        for bit in range(32):
            if register.unused >> bit & 1:
                host.refused(host.write_at(register.offset, 1 << bit), "VALUE")
        for each in register.fields:
            for value in range(each.largest + 1, min(1 << each.bits, each.largest + 9)):
                host.refused(host.write_at(register.offset, value << each.low), "VALUE")
    host.expect(**start)
    core.pause(0)
    for register in registers:
        if register.access is not Access.READ_WRITE or register.name == "WINDOW_DATA":
            continue
        values = [each.largest << each.low for each in register.fields]
        values += [
            1 << each.low + bit
            for each in register.fields
            for bit in range(each.bits)
            if 1 << bit <= each.largest
        ]
        for value in [*values, 0]:
            host.write(register.name, value)
            host.expect(**{**start, register.name: value})
            # It stands, an odd number of clocks later, too.
            core.run(1)
            host.expect(**{register.name: value})
            # A read beside a write: who was served last waits.
            for first in ("write", "read"):
                written, read = core.write_and_read(register.offset, value)
                _same(
                    "responses to both",
                    (OKAY, OKAY, value),
                    (written.response, read.response, read.data),
                )
                order = (written.clocks, read.clocks)
                _same("clocks of both", _BOTH if first == "write" else _BOTH[::-1], order)
                if first == "write":
                    host.write(register.name, value)
    known = {each.offset for each in registers}
    for offset in range(1 << ADDRESS_BITS):
        if offset not in known:
            _same(f"read at {offset:#x}", SLVERR, host.read_at(offset).response)
            if offset % 4 == 0 or offset < 0x200:
                _same(f"write at {offset:#x}", SLVERR, host.write_at(offset, 0).response)
    host.write("REFUSED", host.map["REFUSED"].field("ADDRESS").mask)
    host.expect(**start)
    # What differs from a register in one bit of the address is refused for nothing else, even
    # where the register is, or was without all of its bytes.
    nearby = {offset ^ 1 << bit for offset in known for bit in range(ADDRESS_BITS)} - known
    host.write("COMMAND", START)
    for offset in sorted(nearby):
        host.refused(host.read_at(offset), "ADDRESS")
        host.refused(host.write_at(offset, START), "ADDRESS")
    host.write("COMMAND", STOP)
    host.stopped(irq=False)
