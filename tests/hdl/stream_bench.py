"""A bench around the streams: trainers behind packets, on both simulators.

Networks for a bus of 32, 64 and 128 bits are side by side in one design, so that each simulator
compiles once. What packets mean is told here once more, from ``docs/packets.md``.
"""

import functools
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

import hdl.prediction_stream
import hdl.sample_stream
from golden.formats import unsigned_bits
from golden.layout import Layout
from golden.oracle import Oracle
from golden.parameters import Parameters
from golden.state import State
from hdl.trainer import Trainer
from hdl.verilog import convert
from sim.packets import dense_packets, read_records, sparse_packets
from sim.simulators import compile_design, run_testbench

TOP = "stream_bench"

#: Networks by the name of their ports; each has another remainder of pixels in the last beat.
NETWORKS = {
    "n32": Parameters(
        layers=(18, 9, 5),
        lanes=4,
        pixels_per_beat=4,
        draw_steps=2,
        draw_bits=6,
        activation_shifts=(4, 3),
        delta_shifts=(2,),
        update_shifts=(9, 9),
        schedule=(1, 2),
    ),
    "n64": Parameters(
        layers=(24, 8),
        lanes=3,
        pixels_per_beat=8,
        activation_bits=5,
        activation_shifts=(3,),
        delta_shifts=(),
        update_shifts=(9,),
        input_dropout_bits=2,
    ),
    "n128": Parameters(
        layers=(37, 2, 3),
        lanes=8,
        pixels_per_beat=16,
        activation_shifts=(3, 1),
        delta_shifts=(2,),
        update_shifts=(9, 9),
        schedule=(3,),
    ),
}


@dataclass
class Packet:
    """A packet and its settings.

    Attributes:
        content: Bytes, TLAST with the last one.
        keep: TKEEP of each byte; empty for all.
        train: Setting when the header comes.
        shift: Likewise.
    """

    content: bytes
    keep: list[int] = field(default_factory=list)
    train: int = 1
    shift: int = 0


@dataclass(frozen=True)
class Received:
    """What a packet must mean to the core.

    Attributes:
        image: Every pixel.
        label: As far as the record has bits for it.
        train: Whether it is learnt from.
        malformed: Whether it has a fault.
    """

    image: list[int]
    label: int
    train: int
    malformed: bool


def received(p: Parameters, packet: Packet) -> Received:
    """Read a packet, from ``docs/packets.md``."""
    size, width, inputs = p.bus_bits // 8, p.pixels_per_beat, p.layers[0]
    header = int.from_bytes(packet.content[:4], "little")
    label, sparse = header & 0xFFFF, header >> 16 & 1
    # Bytes behind the header, None for one that is not kept.
    keep = packet.keep or [1] * len(packet.content)
    pairs = zip(packet.content, keep, strict=True)
    body = [byte if kept else None for byte, kept in pairs][size:]
    body += [None] * (-len(body) % size)
    image, malformed = [0] * inputs, label >= p.layers[-1]
    if sparse:
        following = 0
        for at in range(0, len(body), 4):
            entry = body[at : at + 4]
            if all(byte is None for byte in entry):
                continue
            if None in entry:
                malformed = True
                continue
            index = entry[0] + 256 * entry[1]
            if index < following or index >= inputs:
                malformed = True
                continue
            image[index] = entry[2] & p.activation_max
            following = index + 1
    else:
        malformed |= len(body) != -(-inputs // width) * size
        for number, byte in enumerate(body[:inputs]):
            malformed |= byte is None
            image[number] = (byte or 0) & p.activation_max
        malformed |= len(body) < inputs
    bits = unsigned_bits(p.layers[-1] - 1)
    train = packet.train if label < p.layers[-1] else 0
    return Received(image, label & ((1 << bits) - 1), train, malformed)


class _Counted(Oracle):
    """An oracle that keeps the sums of the output layer."""

    logits: list[int]

    def _sums(self, layer: int, *rest: Any) -> list[int]:
        self.logits = super()._sums(layer, *rest)
        return self.logits


@dataclass(frozen=True)
class Outcome:
    """What comes of packets: records, state, and which packets were malformed.

    Attributes:
        records: Prediction, label, correct, train, number of each.
        logits: Sums of the output layer, by record.
        malformed: Numbers of packets.
        weights: Rows of words.
        biases: Likewise.
    """

    records: list[tuple[int, int, bool, bool, int]]
    logits: list[list[int]]
    malformed: list[int]
    weights: list[list[int]]
    biases: list[list[int]]


def expected(p: Parameters, packets: list[Packet]) -> Outcome:
    """Return what must come of packets, by the oracle."""
    oracle = _Counted(p)
    records, logits, malformed = [], [], []
    for number, packet in enumerate(packets):
        sample = received(p, packet)
        prediction = oracle.sample(sample.image, sample.label, bool(sample.train), packet.shift)
        correct = prediction == sample.label
        records.append((prediction, sample.label, correct, bool(sample.train), number))
        logits.append(oracle.logits)
        if sample.malformed:
            malformed.append(number)
    return Outcome(records, logits, malformed, oracle.weights, oracle.biases)


def random_packets(p: Parameters, seed: int, n: int, *, malformed: bool) -> list[Packet]:
    """Return packets of both formats; if asked for, more than half of them with random faults."""
    rng = random.Random(seed)
    packets = []
    for _ in range(n):
        live = rng.choice((0.0, 0.1, 0.5, 1.0))
        image = [
            rng.randint(1, p.activation_max) if rng.random() < live else 0
            for _ in range(p.layers[0])
        ]
        label = [rng.randrange(p.layers[-1])]
        sparse = rng.random() < 0.5
        words = (sparse_packets if sparse else dense_packets)([image], label, p.bus_bits)[0]
        content = bytearray(words.tobytes())
        packet = Packet(b"", [], int(rng.random() < 0.8), rng.randint(0, p.max_rate_shift))
        if malformed:
            _spoil(rng, p, content, packet, sparse=sparse)
        packet.content = bytes(content)
        packets.append(packet)
    return packets


def _spoil(
    rng: random.Random, p: Parameters, content: bytearray, packet: Packet, *, sparse: bool
) -> None:
    """Plant one fault of a random kind, or none."""
    size = p.bus_bits // 8
    kind = rng.choice(("", "cut", "long", "keep", "entry", "zero", "label", "order"))
    entries = range(size, len(content) - 3, 4)
    if kind == "cut":
        beats = -(-len(content) // size)
        del content[size * rng.randint(1, beats) :]
    elif kind == "long":
        content.extend(bytes(-len(content) % size))
        content.extend(rng.randbytes(size * rng.randint(1, 3)))
    elif kind == "keep":
        packet.keep = [int(at < size or rng.random() < 0.9) for at in range(len(content))]
        if sparse:  # Whole entries now and then.
            packet.keep = [packet.keep[at - at % rng.choice((1, 4))] for at in range(len(content))]
    elif kind == "label":
        content[:2] = rng.randint(p.layers[-1], 0xFFFF).to_bytes(2, "little")
    elif kind == "zero" and sparse and entries:
        content[rng.choice(entries) + 2] = 0
    elif kind == "entry" and sparse and entries:
        at = rng.choice(entries)
        index = rng.choice((p.layers[0], 0xFFFF, 0, rng.randrange(p.layers[0])))
        content[at : at + 2] = index.to_bytes(2, "little")
    elif kind == "order" and sparse and len(entries) > 1:
        first, second = sorted(rng.sample(entries, 2))
        earlier, later = content[first : first + 4], content[second : second + 4]
        content[first : first + 4], content[second : second + 4] = later, earlier


class StreamBench(wiring.Component):
    """Networks side by side, each behind its packets.

    Args:
        networks: By the name that begins their ports.
    """

    def __init__(self, networks: Mapping[str, Parameters]) -> None:
        self._networks = networks
        members = {}
        for name, p in networks.items():
            members |= {
                f"{name}_{port}": direction(bits)
                for port, direction, bits in (
                    ("s_axis_tdata", In, p.bus_bits),
                    ("s_axis_tkeep", In, p.bus_bits // 8),
                    ("s_axis_tlast", In, 1),
                    ("s_axis_tvalid", In, 1),
                    ("s_axis_tready", Out, 1),
                    ("m_axis_tdata", Out, p.bus_bits),
                    ("m_axis_tkeep", Out, p.bus_bits // 8),
                    ("m_axis_tlast", Out, 1),
                    ("m_axis_tvalid", Out, 1),
                    ("m_axis_tready", In, 1),
                    ("train", In, 1),
                    ("shift", In, unsigned_bits(p.max_rate_shift)),
                    ("logits", In, 1),
                    # Bits: a transfer, the last one of a sample, malformed, done, idle.
                    ("watch", Out, 5),
                )
            }
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, p in self._networks.items():

            def port(suffix: str, name: str = name) -> Signal:
                return getattr(self, f"{name}_{suffix}")

            samples = hdl.sample_stream.SampleStream(p)
            trainer = Trainer(p, State.initial(p))
            records = hdl.prediction_stream.PredictionStream(p)
            m.submodules[f"{name}_samples"] = samples
            m.submodules[f"{name}_trainer"] = trainer
            m.submodules[f"{name}_records"] = records
            wiring.connect(m, samples.samples, trainer.samples)
            wiring.connect(m, trainer.predictions, records.predictions)
            taken = samples.samples.valid & samples.samples.ready
            m.d.comb += [
                samples.train.eq(port("train")),
                samples.shift.eq(port("shift")),
                records.logits.eq(port("logits")),
                records.logit_valid.eq(trainer.logit_valid),
                records.logit_index.eq(trainer.logit_index),
                records.logit.eq(trainer.logit),
                records.sample_count.eq(trainer.sample_count),
                *(
                    getattr(samples, each).eq(port(f"s_axis_{each}"))
                    for each in ("tdata", "tkeep", "tlast", "tvalid")
                ),
                port("s_axis_tready").eq(samples.tready),
                *(
                    port(f"m_axis_{each}").eq(getattr(records, each))
                    for each in ("tdata", "tkeep", "tlast", "tvalid")
                ),
                records.tready.eq(port("m_axis_tready")),
            ]
            count = Signal(32, name=f"{name}_count")
            m.d.sync += count.eq(trainer.sample_count)
            m.d.comb += port("watch").eq(
                Cat(
                    taken,
                    taken & samples.samples.payload.last,
                    samples.malformed,
                    count != trainer.sample_count,
                    samples.idle & trainer.idle,
                )
            )
        return m


@functools.cache
def _verilog(networks: tuple[str, ...], units: tuple[type, ...]) -> str:
    """Return the bench as Verilog; ``units`` are what :class:`StreamBench` takes for its streams.

    A test that plants a fault puts another unit there.
    """
    return convert(StreamBench({name: NETWORKS[name] for name in networks}), TOP)


def run(
    simulator: str,
    packets: Mapping[str, list[Packet]],
    folder: Path,
    *,
    pauses: float = 0.0,
    seed: int = 0,
    timeout: float = 300.0,
) -> dict[str, Any]:
    """Send packets to networks and return what the testbench saw, by network.

    Args:
        simulator: One of ``sim.simulators.SIMULATORS``.
        packets: By network.
        folder: Where the simulation runs.
        pauses: Probability of a pause, in each clock and on each channel.
        seed: Seed of the pauses, and of when logits are asked for.
        timeout: Seconds.

    Raises:
        SimulationFailed: If not all records come.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job: dict[str, Any] = {"pauses": pauses, "seed": seed, "networks": {}}
    for name, each in packets.items():
        layout = Layout.of(NETWORKS[name])
        job["networks"][name] = {
            "packets": [(p.content.hex(), p.keep, p.train, p.shift) for p in each],
            "memories": {
                "weights": ("weights", layout.rows),
                "biases": ("biases.by_row", layout.block_rows),
            },
        }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    units = (hdl.sample_stream.SampleStream, hdl.prediction_stream.PredictionStream)
    verilog = _verilog(tuple(packets), units)
    build = compile_design(simulator, verilog, TOP, public_memories=("weights", "by_row"))
    run_testbench(
        simulator,
        build,
        TOP,
        "tb_streams",
        folder=folder,
        environment={
            "COCOTB_LOG_LEVEL": "WARNING",
            # cocotbext-axi still calls some things by the names that they had in cocotb 1.
            "PYTHONWARNINGS": "ignore::DeprecationWarning",
        },
        search=(Path(__file__).parent,),
        timeout=timeout,
    )
    return json.loads((folder / "seen.json").read_text(encoding="utf-8"))


def outcome(p: Parameters, seen: Mapping[str, Any]) -> tuple[Outcome, list[bool]]:
    """Return what the testbench saw of a network, and which records were to have logits.

    The logits of the others are empty lists.
    """
    records, logits = [], []
    for content, wanted in zip(seen["records"], seen["logits"], strict=True):
        classes = p.layers[-1] if wanted else 0
        assert len(content) == 2 * (2 + classes) * (p.bus_bits // 8)
        each = read_records(bytes.fromhex(content), p.bus_bits, classes)
        columns = (each.prediction, each.label, each.correct, each.train, each.number)
        records.append(tuple(column[0].item() for column in columns))
        logits.append(each.logits[0].tolist())
    memories = {}
    for name, bits in (("weights", p.weight_bits), ("biases", p.bias_bits)):
        memories[name] = [_lanes(row, p.lanes, bits) for row in seen[name]]
    return Outcome(records, logits, seen["malformed"], **memories), seen["logits"]


def _lanes(row: str, lanes: int, bits: int) -> list[int]:
    """Return the words of a row of memory, given as the simulator's bits."""
    words = [int(row[len(row) - bits * (lane + 1) :][:bits], 2) for lane in range(lanes)]
    return [int(np.int64(word) - ((word >> (bits - 1)) << bits)) for word in words]


def check(p: Parameters, packets: list[Packet], seen: Mapping[str, Any]) -> Outcome:
    """Compare what came of packets with the oracle; return it."""
    want, (got, asked) = expected(p, packets), outcome(p, seen)
    assert got.records == want.records
    assert got.logits == [
        each if wanted else [] for each, wanted in zip(want.logits, asked, strict=True)
    ]
    assert got.malformed == want.malformed
    assert got.weights == want.weights
    assert got.biases == want.biases
    return got
