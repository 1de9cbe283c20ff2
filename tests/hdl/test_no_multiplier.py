"""Trainer and core have no multiplier, divider or power, and none in disguise, before mapping."""

from pathlib import Path

import pytest
from amaranth.lib import wiring

from golden import Parameters
from golden.parameters import named_configurations
from golden.state import State
from hdl import names
from hdl.core import Core
from hdl.prediction_stream import PredictionStream
from hdl.sample_stream import SampleStream
from hdl.trainer import Trainer
from sim.synthesis.census import elaborated
from sim.synthesis.operand_rule import Findings, operand_rule
from sim.synthesis.proof import EXEMPT, reason
from tests.configurations import gateware_parameters


def check(component: wiring.Component, folder: Path) -> Findings:
    """Census and operand rule; both must find nothing."""
    census, netlist = elaborated(names.convert(component, "top"), "top", folder)
    assert census.clean, census.found
    findings = operand_rule(netlist, lambda violation: reason(violation) is not None)
    assert findings.adders > 0
    assert findings.violations == []
    return findings


@pytest.mark.parametrize("name", named_configurations())
def test_named_configurations(name: str, tmp_path: Path) -> None:
    parameters = Parameters.named(name)
    # The cells of a lane and of a layer do not depend on how many there are: keep the text short.
    parameters = parameters.replace(
        lanes=3, layers=tuple(min(size, 40) for size in parameters.layers)
    )
    findings = check(Trainer(parameters, State.initial(parameters)), tmp_path)
    assert findings.adders > 30
    places = {site.place for site in findings.sites}
    assert {"lane*.accumulate", "lane*.select", "lane*.gradient"} <= places


@pytest.mark.parametrize("seed", [1, 3, 4, 7, 12, 25])
def test_random_configurations(seed: int, tmp_path: Path) -> None:
    parameters = gateware_parameters(seed).replace(lanes=2, random_sources=1)
    findings = check(Trainer(parameters, State.initial(parameters)), tmp_path)
    # Two lanes of Booth digits, the dropped-out pixel and the stochastic quantizer are exempt;
    # nothing else is.
    expected = {
        "booth": 2 * (parameters.inference == "exact"),
        "loader": int(0 < parameters.input_dropout_bits < parameters.activation_bits),
        # A random number of one bit is a flag.
        "quantize": int(parameters.quantizer == "stochastic" and parameters.activation_bits > 2),
    }
    units = [each.place.rpartition(".")[2] for each in findings.exempt]
    assert {unit: units.count(unit) for unit in expected} == expected
    assert len(units) == sum(expected.values())
    assert {unit for _, unit in EXEMPT} == expected.keys()


@pytest.mark.parametrize("unit", [SampleStream, PredictionStream])
def test_streams(unit: type[wiring.Component], tmp_path: Path) -> None:
    check(unit(Parameters.named("mnist-small")), tmp_path)


def test_core(tmp_path: Path) -> None:
    parameters = Parameters.named("digits").replace(lanes=5, layers=(40, 9, 10))
    findings = check(Core(parameters, State.initial(parameters)), tmp_path)
    assert findings.exempt == []
