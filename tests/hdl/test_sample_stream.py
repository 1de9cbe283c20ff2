"""Packets into the trainer: both formats, every fault, every clock, on both simulators."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *

import hdl.sample_stream
from golden.clocked import Clocked, transfers
from golden.parameters import ParameterError
from golden.probes import probe_columns, probe_table
from golden.state import State
from hdl.sample_stream import SampleStream
from sim.packets import dense_packets, sparse_packets
from sim.simulators import SIMULATORS, SimulationFailed
from tests.configurations import random_samples
from tests.hdl.stream_bench import NETWORKS, Packet, check, random_packets, received, run


@pytest.mark.parametrize(
    ("simulator", "seed", "pauses"),
    [("icarus", 1, 0.5), ("verilator", 2, 0)],
)
def test_random_packets(simulator: str, seed: int, pauses: float, tmp_path: Path) -> None:
    """Well-formed and malformed ones in turns: what each is learnt as, and which are reported."""
    packets = {name: random_packets(p, seed, 40, malformed=True) for name, p in NETWORKS.items()}
    seen = run(simulator, packets, tmp_path, pauses=pauses, seed=seed)
    for name, p in NETWORKS.items():
        got = check(p, packets[name], seen[name])
        assert 5 < len(got.malformed) < 35


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_both_formats_are_the_bare_trainer(simulator: str, tmp_path: Path) -> None:
    """The same samples in both formats: the same bits, and the clocks of the clocked model.

    So a header costs no clock, nor does a beat of several entries.
    """
    samples = {name: random_samples(p, 4, 12) for name, p in NETWORKS.items()}
    for sparse, kind in enumerate((dense_packets, sparse_packets)):
        packets = {
            name: [Packet(each.tobytes()) for each in kind(*samples[name], p.bus_bits)]
            for name, p in NETWORKS.items()
        }
        seen = run(simulator, packets, tmp_path / str(sparse))
        for name, p in NETWORKS.items():
            # Against the oracle, which knows of no format.
            assert check(p, packets[name], seen[name]).malformed == []
            model = Clocked(p, State.initial(p))
            stream = transfers(p, *samples[name], 1, 0, sparse=sparse)
            model.feed(stream)
            first = seen[name]["transfers"][0][0]
            clocks = seen[name]["done"][-1] - first + 1
            rows = model.run(*_handshakes(seen[name], clocks))
            column = [each.name for each, _, _ in probe_columns(probe_table(p))].index("samples")
            done = np.searchsorted(rows[:, column], np.arange(1, 13)) + first
            assert done.tolist() == seen[name]["done"]
            alone = Clocked(p, State.initial(p))
            alone.feed(stream)
            assert abs(alone.clocks_until_idle() - clocks) <= 5


def _handshakes(seen: dict[str, list], clocks: int) -> Iterable[np.ndarray]:
    """Return ``valid`` of the samples as observed, and ``ready`` of the predictions as always."""
    first = seen["transfers"][0][0]
    valid = np.zeros(clocks, np.uint8)
    valid[[clock - first for clock, _ in seen["transfers"]]] = 1
    return valid, np.ones(clocks, np.uint8)


P = NETWORKS["n64"]
INPUTS, CLASSES = P.layers[0], P.layers[-1]
IMAGE = [number % 32 for number in range(INPUTS)]


def dense(label: int = 1) -> bytearray:
    return bytearray(dense_packets([IMAGE], [label], 64)[0].tobytes())


def sparse(*entries: tuple[int, int], label: int = 1) -> bytearray:
    words = [label | 1 << 16, 0, *(index | value << 16 for index, value in entries)]
    return bytearray(np.array(words, "<u4").tobytes())


def image(**pixels: int) -> list[int]:
    return [pixels.get(f"p{number}", 0) for number in range(INPUTS)]


#: name: packet, its image, whether it is malformed.
CASES = {
    "dense": (Packet(dense()), IMAGE, False),
    "dense, early end": (Packet(dense()[:16]), [*IMAGE[:8], *[0] * 16], True),
    "dense, header only": (Packet(dense()[:8]), [0] * INPUTS, True),
    "dense, late end": (Packet(dense() + b"\x07" * 8), IMAGE, True),
    "dense, very late end": (Packet(dense() + b"\x07" * 99), IMAGE, True),
    "dense, lacks a byte": (Packet(dense(), [1] * 31 + [0]), [*IMAGE[:23], 0], True),
    "dense, a pixel too wide": (Packet(dense()[:31] + b"\xe1"), [*IMAGE[:23], 1], False),
    "dense, unknown label": (Packet(dense(CLASSES)), IMAGE, True),
    "sparse": (Packet(sparse((0, 5), (7, 6), (23, 31))), image(p0=5, p7=6, p23=31), False),
    "sparse, blank": (Packet(sparse()), image(), False),
    "sparse, a value of 0": (Packet(sparse((3, 0), (4, 1))), image(p4=1), False),
    "sparse, beyond the last": (Packet(sparse((3, 1), (24, 9))), image(p3=1), True),
    "sparse, far beyond": (Packet(sparse((0xFFFF, 9), (3, 1))), image(p3=1), True),
    "sparse, descends": (Packet(sparse((5, 1), (4, 9), (6, 2))), image(p5=1, p6=2), True),
    "sparse, twice": (Packet(sparse((5, 1), (5, 9))), image(p5=1), True),
    "sparse, half an entry": (Packet(sparse((5, 1), (6, 2))[:-2]), image(p5=1), True),
    "sparse, a hole": (
        Packet(sparse((5, 1), (6, 2), (7, 3)), [1] * 8 + [0] * 4 + [1] * 8),
        image(p6=2, p7=3),
        False,
    ),
    "sparse, unknown label": (Packet(sparse((5, 1), label=0xFFFF)), image(p5=1), True),
    "sparse, after all": (Packet(sparse((5, 1))), image(p5=1), False),
}


def test_cases_by_hand() -> None:
    """What a packet means, as the bench reads it from the document."""
    for name, (packet, pixels, malformed) in CASES.items():
        packet.content = bytes(packet.content)
        meaning = received(P, packet)
        assert (meaning.image, meaning.malformed) == (pixels, malformed), name
        assert meaning.train == ("unknown" not in name), name


def case_packets() -> dict[str, list[Packet]]:
    """Return all cases, each followed by a good packet, in which what is left would show."""
    packets = []
    for packet, _, _ in CASES.values():
        packets += [packet, Packet(bytes(sparse((2, 9), (11, 3), label=2)), train=0)]
    return {"n64": packets}


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_malformed_packets(simulator: str, tmp_path: Path) -> None:
    packets = case_packets()
    got = check(P, packets["n64"], run(simulator, packets, tmp_path)["n64"])
    wanted = [2 * number for number, (_, _, fault) in enumerate(CASES.values()) if fault]
    assert got.malformed == wanted


class KeepIgnored(SampleStream):
    """All bytes of a beat count."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.tvalid & self.tready):
            m.d.sync += self.keep.eq(-1)
        return m


class OrderIgnored(SampleStream):
    """Entries may come in any order."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.sparse):
            m.d.sync += self.position.eq(0)
        return m


class OnlyTlastEnds(SampleStream):
    """A dense sample goes on behind its last pixel."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(~self.sparse):
            m.d.comb += self.samples.payload.last.eq(self.last)
        return m


class TlastIgnored(SampleStream):
    """A dense sample waits for all of its pixels."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        final = self.position + P.pixels_per_beat >= INPUTS
        with m.If(~self.sparse):
            m.d.comb += self.samples.payload.last.eq(final)
        return m


class LateSettings(SampleStream):
    """Settings are those of the moment, not those of the header."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.samples.payload.train.eq(self.train)
        return m


class Silent(SampleStream):
    """Faults are not reported."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.malformed.eq(0)
        return m


class ReportsTwice(SampleStream):
    """Every word of a packet with an unknown label reports it."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        taken = self.samples.valid & self.samples.ready
        m.d.comb += self.malformed.eq(taken & (self.samples.payload.label >= CLASSES))
        return m


FAULTS = [
    KeepIgnored, OrderIgnored, OnlyTlastEnds, TlastIgnored, LateSettings, Silent, ReportsTwice
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault(fault: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdl.sample_stream, "SampleStream", fault)
    packets = case_packets()
    with pytest.raises((AssertionError, SimulationFailed)):
        check(P, packets["n64"], run("icarus", packets, tmp_path)["n64"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels_per_beat": 5}, "pixels_per_beat must be 4, 8 or 16 for packets"),
        ({"activation_bits": 9}, "activation_bits must be at most 8 for packets, not 9"),
        (
            {"bias_bits": 32, "bias_fraction_bits": 0},
            "bias_fraction_bits must be at least 1 for packets, so that a logit has 32 bits, not 0",
        ),
    ],
)
def test_networks_that_do_not_fit(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        P.replace(**changes).check_packets()
