"""Planted faults: each must be caught by the lockstep, and told at the unit that has it.

A fault is a unit subclassed (in Amaranth the last assignment wins) or an edit of the generated
text, where it lies between units. All run on one small network on Icarus.
"""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *

import hdl.backward
import hdl.biases
import hdl.drain
import hdl.lane
import hdl.loader
import hdl.trainer
from golden import Parameters
from golden.state import State
from hdl.accumulate import Accumulate
from hdl.connect import Connect
from hdl.drain import Drain
from hdl.gradient import BiasIncrement, Gradient, HiddenDelta
from hdl.loader import Loader
from hdl.loss import Loss
from hdl.random_source import RandomSource
from hdl.relu import Relu
from hdl.verilog import generate
from hdl.walker import Rule, Walker
from sim.divergence import WINDOW_FILE, DivergenceError
from sim.lockstep import Stimulus, lockstep
from tests.configurations import random_samples
from tests.faults import (
    DroppedPixel,
    FlooredExponent,
    ForgottenPass,
    MissingClip,
    MissingStall,
    ThresholdOffByHalf,
    UnsignedPlane,
    WrongMask,
)

# A hidden layer of two units makes lists that are shorter than the scratch memory's latency.
PARAMETERS = Parameters(
    layers=(13, 2, 9, 5),
    lanes=4,
    pixels_per_beat=3,
    activation_shifts=(2, 2, 2),
    delta_shifts=(2, 2),
    update_shifts=(7, 7, 7),
    draw_bits=5,
    random_sources=2,
    schedule=(1, 2),
    input_dropout_bits=2,
    inference="exact",
)
SAMPLES = 24


def stimulus() -> Stimulus:
    """Training samples, and evaluation samples of each rule in turn; the first one is blank."""
    pixels, labels = random_samples(PARAMETERS, 1, SAMPLES)
    pixels[0] = 0
    rng = np.random.default_rng(1)
    train = rng.random(SAMPLES) < 0.6
    return Stimulus(
        pixels=pixels,
        labels=labels,
        train=train,
        rate_shift=rng.integers(0, PARAMETERS.max_rate_shift + 1, SAMPLES),
        epoch=np.zeros(SAMPLES, np.int64),
        rule=np.cumsum(~train) % 3,
        draws=np.full(SAMPLES, 3),
        sparse=rng.random(SAMPLES) < 0.5,
    )


class RoundingBias(Connect):
    """The draw's random number lacks its half step."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        q, rb = PARAMETERS.draw_shift, PARAMETERS.draw_bits
        total = self.weight + (self.random << (q - rb))
        m.d.comb += self.draw.eq(total >> q)
        return m


class SignSlip(Accumulate):
    """A drawn -1 adds."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.total.eq(self.base + Mux(self.draw == 0, 0, self.value))
        return m


class FlooredActivation(Relu):
    """The forward shift does not round up."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        floored = Signal.like(self.activation)
        late = Signal()
        limit = PARAMETERS.activation_max
        shifted = self.total >> (
            PARAMETERS.activation_shifts[0] + PARAMETERS.accumulator_fraction_bits
        )
        m.d.sync += [floored.eq(Mux(shifted > limit, limit, shifted)), late.eq(self.valid)]
        with m.If(late):
            m.d.sync += self.activation.eq(floored)
        return m


class BiasShift(BiasIncrement):
    """Biases step half as far."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        inner = BiasIncrement(PARAMETERS)
        m.submodules.inner = inner
        m.d.comb += [
            inner.delta.eq(self.delta),
            inner.rate_shift.eq(self.rate_shift),
            self.increment.eq(inner.increment >> 1),
        ]
        return m


class UnroundedIncrement(Gradient):
    """The update drops its random bits."""

    def elaborate(self, platform: object) -> Module:
        inner = Gradient(PARAMETERS)
        m = Module()
        m.submodules.inner = inner
        m.d.comb += [
            inner.delta.eq(self.delta),
            inner.amount.eq(self.amount),
            inner.enable7.eq(self.enable7),
            self.increment.eq(inner.increment),
        ]
        return m


class FlooredHiddenDelta(HiddenDelta):
    """The backward shift does not round."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        limit = PARAMETERS.hidden_delta_max
        shifted = self.partial >> PARAMETERS.delta_shifts[0]
        clipped = Mux(shifted > limit, limit, Mux(shifted < -limit, -limit, shifted))
        m.d.comb += self.hidden_delta.eq(clipped)
        return m


class LastOfTies(Loss):
    """Of equal sums the last one wins."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        index = [Signal.like(self.index, name=f"late_index{stage}") for stage in range(2)]
        late = [Signal(name=f"late{stage}") for stage in range(2)]
        m.d.sync += [index[0].eq(self.index), index[1].eq(index[0])]
        m.d.sync += [late[0].eq(self.valid), late[1].eq(late[0])]
        with m.If(late[1] & (self.logit_sum >= self.best_sum)):
            m.d.sync += self.best_index.eq(index[1])
        return m


class PassTooFew(Walker):
    """The last draw of several is left out."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.repeat & (self.pass_index == 0)):
            m.d.sync += self.pass_index.eq(2)
        return m


class PassSavesDraw(Walker):
    """Every pass counts as the start of the sample, to which DRAW returns."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.repeat):
            m.d.sync += self.layer_first.eq(1)
        return m


class KeptPlane(Walker):
    """A block starts in the plane in which the one before it ended."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.step.end):
            m.d.sync += self.plane.eq(self.plane)
        return m


class RuleInTraining(Walker):
    """The rule counts for training samples too."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.rule_in_hand.eq(Rule.THRESHOLDED)
        return m


class SmallMargin(Loss):
    """The label's delta is one too small."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        inner = Loss(PARAMETERS.replace(margin_bits=PARAMETERS.margin_bits - 1))
        m.submodules.inner = inner
        m.d.comb += [
            inner.valid.eq(self.valid),
            inner.index.eq(self.index),
            inner.total.eq(self.total),
            inner.label.eq(self.label),
        ]
        late = [Signal(name=f"late{stage}") for stage in range(2)]
        m.d.sync += [late[0].eq(self.valid), late[1].eq(late[0])]
        with m.If(late[1]):
            m.d.sync += self.output_delta.eq(inner.output_delta)
        return m


class ColumnOffByOne(Loader):
    """A pixel is listed under its neighbour's number."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        index = self.samples.payload.index
        with m.If(self.samples.valid & self.samples.ready & (index != 0)):
            m.d.sync += self.index.eq(index - 1)
        return m


class UnfinishedSample(Loader):
    """A word that ends a sample early does not end it."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        final = self.samples.payload.index + PARAMETERS.pixels_per_beat >= PARAMETERS.layers[0]
        with m.If(self.samples.valid & self.samples.ready & ~final):
            m.d.sync += [self.begun.eq(1), self.last.eq(0)]
        return m


class SwappedLanes(Drain):
    """Two lanes change places on their way out."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.load):
            m.d.sync += [self.held[0].eq(self.sums[1]), self.held[1].eq(self.sums[0])]
        return m


class ForgottenDrain(Walker):
    """A block ends while the block before it still is on its way to the drain."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.sync += self.ended.eq(0)
        return m


class NoRestore(Walker):
    """DRAW stays where the backward pass, or an evaluation, left it."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.restore.eq(0)
        return m


class StuckUpdate(RandomSource):
    """One bit of every state is stuck."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.step):
            m.d.sync += self.register[0][7].eq(1)
        return m


SUBCLASSED = [
    # fault, the module that uses the unit, the unit that must be named
    (RoundingBias, hdl.lane, "connect"),
    (SignSlip, hdl.lane, "accumulate"),
    (MissingClip, hdl.lane, "update"),
    (FlooredActivation, hdl.drain, "relu"),
    (FlooredExponent, hdl.trainer, "quantize"),
    (BiasShift, hdl.biases, "biases"),
    (UnroundedIncrement, hdl.lane, "gradient"),
    (FlooredHiddenDelta, hdl.backward, "backward"),
    (ThresholdOffByHalf, hdl.lane, "connect"),
    (UnsignedPlane, hdl.lane, "connect"),
    (LastOfTies, hdl.drain, "loss"),
    (ForgottenPass, hdl.drain, "loss"),
    (SmallMargin, hdl.drain, "loss"),
    (ColumnOffByOne, hdl.trainer, "list"),
    (DroppedPixel, hdl.trainer, "loader"),
    (UnfinishedSample, hdl.trainer, "loader"),
    (WrongMask, hdl.trainer, "drain"),
    (SwappedLanes, hdl.trainer, "drain"),
    (MissingStall, hdl.trainer, "walker"),
    (ForgottenDrain, hdl.trainer, "walker"),
    (KeptPlane, hdl.trainer, "walker"),
    (PassTooFew, hdl.trainer, "walker"),
    (PassSavesDraw, hdl.trainer, "random_source"),
    (RuleInTraining, hdl.trainer, "random_source"),
    (NoRestore, hdl.trainer, "random_source"),
    (StuckUpdate, hdl.trainer, "random_source"),
    (StuckUpdate, hdl.loader, "loader"),
]

# Where each of two lanes is in a word of the weight memory.
LANE0, LANE1, OTHERS = "[7:0]", "[15:8]", "[31:16]"
DATA = "weights__write__data"

# A write port that is two clocks late.
LATE_SCRATCH = r"""
  reg late1_en, late2_en; reg [3:0] late1_at, late2_at; reg [15:0] late1, late2;
  initial begin late1_en = 0; late2_en = 0; end
  always @(posedge clk) begin
    late1_en <= \1; late1_at <= \2; late1 <= partial;
    late2_en <= late1_en; late2_at <= late1_at; late2 <= late1;
    if (late2_en) scratch[late2_at] <= late2;
  end
"""

EDITED = {
    # name: (pattern, replacement, the unit that must be named)
    "evaluation without dropout's scale": (
        r"samples__payload\[32\] \? (\{ 1'h0, samples__payload\[7:0\] \}) : \S+;",
        r"\1;",
        "list",
    ),
    "lost write-back": (
        r"if \(weight_enable\)",
        "if (weight_enable && weight_row9[1:0] != 2)",
        "weights",
    ),
    "lanes swapped in memory": (
        rf"(weights\[weight_row9\]) <= {DATA};",
        rf"\1 <= {{{DATA}{OTHERS}, {DATA}{LANE0}, {DATA}{LANE1}}};",
        "weights",
    ),
    "stale delta": (
        r"if \(deltas__write__en\[1\]\)",
        "if (deltas__write__en[1] && !walker__loaded)",
        "deltas",
    ),
    "wrong replay state": (
        r"(assign draw__recall_slot = \S+ \? \S+ : step4\[7:6\]);",
        r"\1 ^ 2'd1;",
        "random_source",
    ),
    "early block drain": (
        r"assign walker__loaded = step7\[1\]",
        "assign walker__loaded = step6[1]",
        "drain",
    ),
    "read-after-write hazard": (
        r"always @\(posedge clk\) begin\s+if \((.*?)\)\s+scratch\[(\S+)\] <= partial;\s+end",
        LATE_SCRATCH,
        "backward",
    ),
}


def report_of(folder: Path, edit: Callable[[str], str] = lambda text: text) -> str:
    """Return the report of the divergence that the faulty gateware must cause."""
    generated = generate(PARAMETERS, State.initial(PARAMETERS), probed=True)
    generated = dataclasses.replace(generated, verilog=edit(generated.verilog))
    with pytest.raises(DivergenceError) as caught:
        lockstep(PARAMETERS, stimulus(), folder=folder, simulator="icarus", generated=generated)
    assert (folder / WINDOW_FILE).stat().st_size > 0
    return str(caught.value)


def unit_of(report: str) -> str:
    """Return the unit that a report names, or the whole report if it names none."""
    found = re.search(r"^ *unit +(\w+)$", report, re.MULTILINE)
    return found[1] if found else report


@pytest.mark.parametrize(
    ("fault", "user", "unit"), SUBCLASSED, ids=[fault.__name__ for fault, _, _ in SUBCLASSED]
)
def test_faulty_unit(
    fault: type, user: object, unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user, fault.__mro__[1].__name__, fault)
    assert unit_of(report_of(tmp_path)) == unit


@pytest.mark.parametrize("name", EDITED)
def test_faulty_connection(name: str, tmp_path: Path) -> None:
    pattern, replacement, unit = EDITED[name]

    def edit(text: str) -> str:
        edited, count = re.subn(pattern, replacement, text)
        assert count == 1, f"the text has {count} places for the fault {name!r}"
        return edited

    assert unit_of(report_of(tmp_path, edit)) == unit


def test_without_a_fault(tmp_path: Path) -> None:
    """The network that the faults are planted in is in lockstep without them."""
    result = lockstep(PARAMETERS, stimulus(), folder=tmp_path, simulator="icarus")
    assert result.clocks == result.predicted_clocks
    assert result.comparisons > 0
