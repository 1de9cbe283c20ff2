"""Records and logits: none lost, none changed, whatever the receiver does."""

from pathlib import Path

import pytest
from amaranth.hdl import *

import hdl.prediction_stream
from golden.formats import Formats
from golden.parameters import ParameterError, Parameters
from hdl.prediction_stream import PredictionStream
from sim.simulators import SIMULATORS, SimulationFailed
from tests.hdl.stream_bench import NETWORKS, Packet, check, random_packets, run

#: So rarely ready that records with logits hold the walker up.
PAUSES = 0.97


def packets(samples: int) -> list[Packet]:
    return random_packets(NETWORKS["n64"], 6, samples, malformed=False)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_slow_receiver(simulator: str, tmp_path: Path) -> None:
    given = {"n64": packets(12)}
    fast = run(simulator, given, tmp_path / "fast", seed=1)["n64"]
    slow = run(simulator, given, tmp_path / "slow", pauses=PAUSES, seed=1)["n64"]
    for seen in (fast, slow):
        check(NETWORKS["n64"], given["n64"], seen)
        assert True in seen["logits"]
        assert False in seen["logits"]
    assert slow["done"][-1] > 2 * fast["done"][-1]


class OneHalf(PredictionStream):
    """The logits of the next sample go over those being sent."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += [self.written.eq(0), self.sent.eq(0)]
        return m


class TakenEarly(PredictionStream):
    """A prediction is taken before its record is sent."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.predictions.ready.eq(self.tvalid & self.tready)
        return m


class FlagOfTheMoment(PredictionStream):
    """Whether logits follow is decided again and again."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.sync += self.final.eq(1 + Mux(self.logits, NETWORKS["n64"].layers[-1], 0))
        return m


@pytest.mark.parametrize("fault", [OneHalf, TakenEarly, FlagOfTheMoment])
def test_planted_fault(fault: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdl.prediction_stream, "PredictionStream", fault)
    given = {"n64": packets(12)}
    with pytest.raises((AssertionError, SimulationFailed)):
        check(
            NETWORKS["n64"],
            given["n64"],
            run("icarus", given, tmp_path, pauses=PAUSES, seed=1)["n64"],
        )


@pytest.mark.parametrize("draw_steps", [1, 2])
@pytest.mark.parametrize("bias_bits", [31, 32])
@pytest.mark.parametrize("fraction_bits", [1, 2, 3])
def test_logits_that_are_let_through_have_32_bits(
    draw_steps: int, bias_bits: int, fraction_bits: int
) -> None:
    """The check holds for the largest network, and refuses no other."""
    p = Parameters(
        layers=(65535, 65535, 2),
        pixels_per_beat=4,
        draw_steps=draw_steps,
        draw_bits=6,
        bias_bits=bias_bits,
        bias_fraction_bits=fraction_bits,
        activation_shifts=(4, 4),
        delta_shifts=(2,),
        update_shifts=(9, 9),
    )
    if Formats.of(p).sum_bits <= 32:
        p.check_packets()
    else:
        with pytest.raises(ParameterError, match="bias_fraction_bits must be at least"):
            p.check_packets()
