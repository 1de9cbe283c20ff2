"""The cocotb testbench of the board: the host's own code over a UART on the pins.

The host's code runs in a thread; its transport is :class:`Line`. A run is told by ``job.json``.
"""

import functools
import itertools
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
import pytest
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.simtime import get_sim_time
from cocotb.task import bridge, resume
from cocotb.triggers import (
    ClockCycles,
    FallingEdge,
    RisingEdge,
    SimTimeoutError,
    Timer,
    with_timeout,
)

from golden.inference import RULES
from golden.network import Network
from golden.parameters import Parameters
from golden.state import State
from hdl.board.protocol import Opcode, Status
from sim.board.host import Host, load_driver
from sim.board.link import BYTE_BITS, Link, LinkError, decode, encode
from sim.divergence import DivergenceError
from sim.testbench import send_frame
from tests.configurations import random_samples

#: Of the clock, ns.
PERIOD = 2

#: Clocks of a recording.
CHUNK = 1000


class Line:
    """A UART on the board's pins, bit by bit: the transport of the host's code.

    Attributes:
        spoil: What becomes of the bytes that are sent: bytes, each with its stop bit.
        distort: What becomes of the bytes that are received.
    """

    def __init__(self, dut: Any, divisor: int) -> None:
        self._dut, self._bit = dut, divisor * PERIOD * 1000
        self._came: Queue[int] = Queue()
        self.honest()
        dut.rx.value = 1
        cocotb.start_soon(self._receive())

    def honest(self) -> None:
        """Spoil nothing."""
        self.spoil: Callable[[bytes], list[tuple[int, int]]] = lambda sent: [
            (octet, 1) for octet in sent
        ]
        self.distort: Callable[[int], int] = lambda octet: octet

    async def send(self, octets: list[tuple[int, int]]) -> None:
        """Send bytes, each with a stop bit."""
        # Between two edges of the clock.
        await Timer(300, "ps")
        for octet, stop in octets:
            for bit in (0, *(octet >> place & 1 for place in range(8)), stop):
                self._dut.rx.value = bit
                await Timer(self._bit, "ps")
            self._dut.rx.value = 1
            if not stop:
                await Timer(self._bit, "ps")

    async def _receive(self) -> None:
        while True:
            await FallingEdge(self._dut.tx)
            await Timer(self._bit * 3 // 2 + 100, "ps")
            octet = 0
            for place in range(8):
                octet |= int(self._dut.tx.value) << place
                await Timer(self._bit, "ps")
            assert self._dut.tx.value == 1, "no stop bit"
            self._came.put_nowait(self.distort(octet))

    def write(self, content: bytes) -> None:
        """Send bytes as the transport does."""
        resume(self.send)(self.spoil(content))

    def deadline(self, size: int) -> float:
        """Return the end of a wait, as the transport does; the board has the time of 200 bytes."""
        return get_sim_time("ps") + BYTE_BITS * (200 + size) * self._bit

    def read(self, deadline: float) -> bytes:
        """Return bytes as the transport does."""
        return resume(self._wait)(deadline)

    async def _wait(self, deadline: float) -> bytes:
        left = int(deadline - get_sim_time("ps"))
        try:
            if left <= 0:
                return b""
            octets = [await with_timeout(self._came.get(), left, "ps")]
        except SimTimeoutError:
            return b""
        while not self._came.empty():
            octets.append(self._came.get_nowait())
        return bytes(octets)


class Bench:
    """The board after power-up, and the host's code for it."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.job: dict[str, Any] = json.loads(Path("job.json").read_text(encoding="utf-8"))
        self.parameters = Parameters.from_toml(self.job["parameters"])
        self.driver = load_driver(Path(self.job["driver"]))
        dut.locked.value = 0
        dut.button_n.value = 1
        Clock(dut.clk, PERIOD, "ns").start()
        self.line = Line(dut, self.job["divisor"])

    async def power_up(self) -> None:
        """Lock the clock; the board stays in reset for some clocks."""
        await ClockCycles(self.dut.clk, 10)
        assert self.dut.core.aresetn.value == 0
        self.dut.locked.value = 1
        await ClockCycles(self.dut.clk, 30)
        assert self.dut.core.aresetn.value == 1

    def open(self) -> Host:
        """Open the link as a new host does."""
        link = Link(self.line, self.parameters)
        link.open()
        return Host(self.driver, link, self.parameters)

    def samples(self, count: int) -> tuple[Any, Any]:
        """Return pixels and labels, the data set's or random ones."""
        if self.job.get("digits"):
            from sim.data import load_digits  # noqa: PLC0415 - takes a second

            digits = load_digits(self.parameters.activation_bits)
            return digits.train_pixels[:count], digits.train_labels[:count]
        return random_samples(self.parameters, self.job["seed"], count)


class Recorder:
    """Sends what the lockstep compares through a pipe, from the first clock that it is told."""

    def __init__(self, dut: Any, pipe: int) -> None:
        self._dut, self._pipe = dut, pipe
        self.active = False
        self.clocks = 0

    async def run(self) -> None:
        """Record while active, whole recordings."""
        edge, probes = RisingEdge(self._dut.clk), self._dut.probes
        trainer = self._dut.core.trainer
        valid, ready = trainer.samples__valid, trainer.predictions__ready
        while self.active:
            rows, valids, readies = [], bytearray(), bytearray()
            for _ in range(CHUNK):
                await edge
                rows.append(str(probes.value))
                valids.append(int(valid.value))
                readies.append(int(ready.value))
            send_frame(self._pipe, b"R", bytes(valids) + bytes(readies) + "".join(rows).encode())
            self.clocks += CHUNK

    def end(self, parameters: Parameters, state: State, predictions: list[int]) -> None:
        """Send the memories that were dumped, and the predictions."""
        p = parameters
        for rows, bits in ((state.weights, p.weight_bits), (state.biases, p.bias_bits)):
            mask = (1 << bits) - 1
            words = (f"{int(word) & mask:0{bits}b}" for row in rows for word in row[::-1])
            send_frame(self._pipe, b"M", "".join(words).encode())
        end = {"clocks": self.clocks, "predictions": predictions}
        send_frame(self._pipe, b"E", json.dumps(end).encode())


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def trains(dut: Any) -> None:
    """Load another state, train, evaluate, dump; the lockstep judges all but the link."""
    bench = Bench(dut)
    job, p = bench.job, bench.parameters
    recorder = Recorder(dut, job["pipe"])
    await bench.power_up()
    trained, evaluated = job["trained"], job["evaluated"]
    pixels, labels = bench.samples(trained + evaluated)
    rng = np.random.default_rng(job["seed"])
    state = State.initial(p)
    state.weights[:] = state.weights[rng.permutation(len(state.weights))]
    state.check(p)

    @resume
    async def record() -> None:
        recorder.active = True
        cocotb.start_soon(recorder.run())

    @bridge
    def use() -> None:
        host = bench.open()
        host.begin(state)
        record()
        first = host.run(pixels[:trained], labels[:trained], train=True, rate_shift=1)
        rule = RULES[job["rule"]]
        second = host.run(
            pixels[trained:], labels[trained:], train=False, rule=rule, draws=job["draws"]
        )
        counts = host.core.counters()
        recorder.active = False
        final = host.dump()
        network = Network(p, state.copy())
        wanted = network.train(pixels[:trained], labels[:trained], 1)
        assert final == network.state
        assert first.tolist() == wanted.predictions.tolist()
        predictions = np.concatenate([first, second])
        assert counts["samples"] == len(labels)
        assert counts["errors"] == int((predictions != labels).sum())
        assert counts["trained"] == int(wanted.trained.sum())
        bits = max(1, (p.layers[-1] - 1).bit_length())
        train = np.arange(len(labels)) < trained
        payloads = predictions | labels << bits | train.astype(np.int64) << 2 * bits
        recorder.end(p, final, payloads.tolist())

    await use()
    # Open, a request in hand a moment ago, bytes both ways.
    assert int(dut.leds.value) >> 1 & 1
    assert not int(dut.leds.value) >> 7


Spoil = Callable[[bytes], list[tuple[int, int]]]


def flipped(at: int, bit: int) -> Spoil:
    """Flip a bit of a byte of what is sent."""
    return lambda sent: [
        (octet ^ (1 << bit if place == at else 0), 1) for place, octet in enumerate(sent)
    ]


def lost(at: int) -> Spoil:
    """Lose a byte of what is sent."""
    return lambda sent: [(octet, 1) for place, octet in enumerate(sent) if place != at]


def unstopped(at: int) -> Spoil:
    """Leave a byte of what is sent without its stop bit."""
    return lambda sent: [(octet, int(place != at)) for place, octet in enumerate(sent)]


def spoils(kind: str, rng: random.Random) -> Spoil:
    """Return one of the ways to spoil a frame, of which the shortest has 12 bytes."""
    at = rng.randint(1, 10)
    kinds: dict[str, Spoil] = {
        "flipped": flipped(at, rng.randrange(8)),
        "lost": lost(at),
        "unstopped": unstopped(at),
        "missing": lambda sent: [],
    }
    return kinds[kind]


def fails(message: str, action: Callable[[], object]) -> None:
    """Check that the host says that, in one line."""
    with pytest.raises(LinkError, match=re.escape(message)) as told:
        action()
    assert "\n" not in str(told.value)


def ask(line: Line, content: bytes) -> bytes:
    """Open the link by hand as number 4, make request 5, and return its answer."""
    came = b""

    def answer() -> bytes:
        nonlocal came
        while True:
            *whole, came = came.split(b"\x7e")
            for place, body in enumerate(whole):
                if body:
                    came = b"\x7e".join([*whole[place + 1 :], came])
                    found = decode(body)
                    assert found is not None
                    return found
            got = line.read(line.deadline(0))
            assert got, "no answer"
            came += got

    line.write(encode(bytes([4, Opcode.HELLO]) + b"\x7d\x7enonce"))
    while answer()[3:-1] != b"\x7d\x7enonce":
        pass
    line.write(encode(bytes([5]) + content))
    return answer()


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def damage(dut: Any) -> None:
    """A request is damaged: told, nothing from it on is done, a new start goes on from there."""
    bench = Bench(dut)
    p, line = bench.parameters, bench.line
    await bench.power_up()
    pixels, labels = bench.samples(64)
    rng = random.Random(bench.job["seed"])
    network = Network(p)

    @bridge
    def use() -> None:
        # The memories start at that state.
        host = bench.open()
        packets = [bench.driver.packet(*each) for each in zip(labels, pixels.tolist(), strict=True)]
        for sample, kind in enumerate(bench.job["kinds"]):
            # The first of four samples arrives, the second does not, the others must not count.
            host.core.start(train=True)
            for each in range(4):
                line.spoil = spoils(kind, rng) if each == 1 else line.spoil
                host.link.send(packets[sample + each])
                line.honest()
            record = bench.driver.record(host.link.receive())
            assert record.label == labels[sample]
            what = "lost" if kind == "missing" else "damaged"
            fails(f"a request was {what} on its way to the board", host.link.receive)
            network.train(pixels[sample : sample + 1], labels[sample : sample + 1])
            host = bench.open()
            host.core.stop()
        assert host.dump() == network.state
        assert host.core.counters()["samples"] == len(bench.job["kinds"])

    await use()


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def restarts(dut: Any) -> None:
    """A host that dies in the middle of a frame, silence, noise, answers that are damaged."""
    bench = Bench(dut)
    p, line = bench.parameters, bench.line
    await bench.power_up()
    pixels, labels = bench.samples(4)
    rng = random.Random(bench.job["seed"])
    network = Network(p)

    @bridge
    def use() -> None:
        # Before a HELLO the board says nothing.
        line.write(encode(bytes([0, Opcode.READ, 0, 0, 1])))
        assert line.read(line.deadline(0)) == b""
        host = bench.open()
        host.begin(network.state)
        # Within a sample, at each of its first bytes; nobody reads the answers to what is whole.
        packet = bench.driver.packet(labels[0], pixels[0])
        host.core.start(train=True)
        for length in range(1, 8):
            line.write(encode(bytes([77, Opcode.SAMPLE]) + packet)[:length])
            host = bench.open()
        host.link.send(packet)
        host = bench.open()
        host.core.stop()
        network.train(pixels[:1], labels[:1])

        # A line that is held at 0, then noise.
        line.spoil = lambda sent: [(0, 0)] * 5 + [(octet, 1) for octet in sent]
        fails("was damaged", lambda: host.core.read("ID"))
        line.honest()
        line.write(bytes(rng.randrange(256) for _ in range(30)))
        host = bench.open()

        # The last flag of a request is lost: silence.
        line.spoil = lambda sent: [(octet, 1) for octet in sent[:-1]]
        fails("the board does not answer", lambda: host.core.read("ID"))
        line.honest()

        # A bit of an answer, and all of it.
        host = bench.open()
        count = itertools.count()
        line.distort = lambda octet: octet ^ 4 if next(count) == 3 else octet
        fails("an answer of the board was damaged", lambda: host.core.read("ID"))
        line.honest()
        host = bench.open()
        line.distort = lambda octet: 0x7E
        fails("the board does not answer", lambda: host.core.read("ID"))
        fails("no board answers", bench.open)
        line.honest()
        assert bench.open().dump() == network.state

    await use()
    # The button closes the link; memories stay.
    assert int(dut.leds.value) >> 1 & 1
    dut.button_n.value = 0
    await ClockCycles(dut.clk, 10)
    dut.button_n.value = 1
    await ClockCycles(dut.clk, 30)
    assert not int(dut.leds.value) >> 1 & 1

    @bridge
    def after() -> None:
        assert bench.open().dump() == network.state

    await after()


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def refusals(dut: Any) -> None:
    """What the board understands but does not do, and what it does not understand."""
    bench = Bench(dut)
    line = bench.line
    await bench.power_up()

    @bridge
    def use() -> None:
        for message, action in (
            ("the core refused a write of 0x000", lambda host: host.core.write("ID", 1)),
            ("the core refused a read of 0x080", lambda host: host.core.read("COMMAND")),
            ("it is stopped", lambda host: (host.link.send(b"1234"), host.link.receive())),
            ("does not fit the board", lambda host: host.link.send(bytes(5000))),
            ("no sample whose record", lambda host: host.link.receive()),
        ):
            host = bench.open()
            fails(message, functools.partial(action, host))
        rate = 0x8C
        for content, status in (
            (bytes([9, 1, 2]), Status.MALFORMED),
            (bytes([Opcode.SAMPLE]), Status.MALFORMED),
            (bytes([Opcode.READ, 0]), Status.MALFORMED),
            (bytes([Opcode.READ, 0, 0]), Status.MALFORMED),
            (bytes([Opcode.READ, 0, 0x10, 1]), Status.MALFORMED),
            (bytes([Opcode.READ, 0, 0, 1, 1]), Status.MALFORMED),
            (bytes([Opcode.WRITE, rate, 0]), Status.MALFORMED),
            (bytes([Opcode.WRITE, rate, 0, 1, 0, 0]), Status.MALFORMED),
            # Behind a word that is refused nothing is written.
            (bytes([Opcode.WRITE, rate, 0, 255, 0, 0, 0, 1, 0, 0, 0]), Status.REFUSED),
            (bytes([Opcode.SAMPLE, 0, 0, 0, 0]), Status.STOPPED),
        ):
            assert ask(line, content) == bytes([5, status]), content
        words = bench.open().link.read_many(0, 3)
        assert words == [0x4E4D554C] * 3
        assert ask(line, bytes([Opcode.READ, rate, 0, 1])) == bytes([5, 0, 0, 0, 0, Status.OKAY])
        # Refused in the middle: the words are there, and the status tells.
        assert ask(line, bytes([Opcode.READ, 0x80, 0, 2])) == bytes([5, *[0] * 8, Status.REFUSED])
        # It would overflow, had it an end.
        assert ask(line, bytes([Opcode.SAMPLE]) + bytes(bench.job["overflow"])) == bytes(
            [5, Status.OVERFLOW]
        )
        assert bench.open().core.read("STATUS", "STOPPED")

    await use()


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def command(dut: Any) -> None:
    """``nomul board`` itself; then a bit of one weight is another, and a counter one more."""
    bench = Bench(dut)
    await bench.power_up()

    @resume
    async def flip() -> None:
        row = dut.core.trainer.weights[3]
        row.value = int(row.value) ^ 1

    class Flipped(Host):
        def begin(self, state: State, moved: Callable[[int], None]) -> None:
            super().begin(state, moved)
            flip()

    class Miscounted(Host):
        def begin(self, state: State, moved: Callable[[int], None]) -> None:
            super().begin(state, moved)
            counters = self.core.counters

            def more(clear: bool) -> dict[str, int]:
                counts = counters(clear)
                return {**counts, "trained": counts["trained"] + 1}

            self.core.counters = more

    @bridge
    def use() -> None:
        from sim.commands import board  # noqa: PLC0415 - takes a second

        build = Path(bench.job["driver"]).parent
        board.train_on_board(bench.line, build, Path("out"), samples=6, evaluate=3, draws=2)
        board.Host = Flipped
        with pytest.raises(DivergenceError, match="the board's weights, layer 1"):
            board.train_on_board(bench.line, build, Path("flipped"), samples=1)
        board.Host = Miscounted
        with pytest.raises(
            DivergenceError, match=r"counters of training: .* 1 trained, got 1, ., 2$"
        ):
            board.train_on_board(bench.line, build, Path("flipped"), samples=1)
        assert not Path("flipped").exists()

    await use()
