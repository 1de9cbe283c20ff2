"""The gateware's deltas and predictions are the golden model's, sample after sample."""

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import *

from golden.loss import argmax, logit, output_delta
from golden.parameters import Parameters
from hdl.loss import Loss
from sim.simulators import SIMULATORS, SimulationFailed
from tests.faults import ForgottenPass
from tests.hdl.unit_bench import PARAMETER_SETS, SEED, Bench, Vectors, bench, check

#: What stands between two samples: bubbles that let the last delta leave, then the clear.
_GAP = 3


def sums(p: Parameters, random: np.random.Generator) -> list[int]:
    """Return the sums of one sample: about the margin, often equal, often at an end."""
    shift = p.activation_shifts[-1] + p.accumulator_fraction_bits
    f = p.accumulator_fraction_bits
    bias_term = (p.bias_max << f >> p.bias_fraction_bits) + 1
    limit = (p.layers[-2] * p.activation_max << f) + bias_term
    near = min(limit, 3 * p.margin << shift)
    kind = random.integers(0, 4)
    totals = random.integers(-near, near + 1, p.layers[-1])
    if kind == 0:
        totals = random.choice([-limit, limit, 0], p.layers[-1])
    elif kind == 1:
        # About where a delta begins and where it saturates.
        marks = [-p.margin, p.margin, p.output_delta_max - p.margin, p.margin - p.output_delta_max]
        totals = (random.choice(marks, p.layers[-1]) << shift) + random.integers(-1, 2)
    elif kind == 2:
        # All negative, so that the first sum must count as the best one.
        totals = -1 - random.integers(0, max(2, near), p.layers[-1])
    return np.clip(totals, -limit, limit).tolist()


def vectors(p: Parameters, samples: int = 300) -> Vectors:
    """Samples of one to three passes, each ended by a clear."""
    random = np.random.default_rng(SEED)
    rows = []
    for _ in range(samples):
        label = int(random.integers(0, p.layers[-1]))
        for again in range(random.choice([1, 1, 2, 3])):
            for index, total in enumerate(sums(p, random)):
                while random.integers(0, 4) == 0:
                    # A bubble carries anything.
                    rows.append((0, 0, int(random.integers(-8, 8)), label, int(again > 0), 0))
                rows.append((1, index, total, label, int(again > 0), 0))
            rows += [(0, 0, 0, label, int(again > 0), int(gap == _GAP)) for gap in range(_GAP + 1)]

    outputs: dict[str, list[int]] = {
        name: [] for name in ("output_delta", "logit_sum", "best_sum", "best_index", "any")
    }
    shift = p.activation_shifts[-1] + p.accumulator_fraction_bits
    summed = [0] * p.layers[-1]
    seen: list[int] = []
    arriving: dict[int, tuple[int, int]] = {}
    delta = logit_sum = best_sum = best_index = loss_any = 0
    for clock, (valid, index, total, label, again, clear) in enumerate(rows):
        delta, logit_sum = arriving.get(clock, (delta, logit_sum))
        values = (delta, logit_sum, best_sum, best_index, loss_any)
        for name, value in zip(outputs, values, strict=True):
            outputs[name].append(value)
        if clock in arriving:
            loss_any |= delta != 0
            seen.append(logit_sum)
            best_index = argmax(np.array(seen))
            best_sum = seen[best_index]
        if valid:
            summed[index] = total + (summed[index] if again else 0)
            o = logit(total, shift)
            d = output_delta(o, index == label, p.margin, p.output_delta_max)
            arriving[clock + 2] = d, summed[index]
        if clear:
            seen, loss_any = [], 0
    inputs = ("valid", "index", "total", "label", "again", "clear")
    return Vectors(dict(zip(inputs, zip(*rows, strict=True), strict=True)), outputs)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_loss(simulator: str, tmp_path: Path) -> None:
    check(
        simulator,
        bench(),
        {f"{name}_loss": vectors(p) for name, p in PARAMETER_SETS.items()},
        tmp_path,
    )


class FaultyPrediction(Loss):
    """Takes the last of equal sums."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        last = Signal()
        m.d.sync += last.eq(self.logit_sum == self.best_sum)
        with m.If(last):
            m.d.sync += self.best_index.eq(self.best_index + 1)
        return m


class FaultyDelta(Loss):
    """Flips a saturated delta."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.output_delta == self._p.output_delta_max):
            m.d.sync += self.output_delta.eq(-self._p.output_delta_max)
        return m


@pytest.mark.parametrize(
    ("fault", "port"),
    [
        (FaultyPrediction, "best_index"),
        (ForgottenPass, "logit_sum"),
        (FaultyDelta, "output_delta"),
    ],
)
def test_fault_is_found(fault: type[Loss], port: str, tmp_path: Path) -> None:
    p = PARAMETER_SETS["ternary"]
    with pytest.raises(SimulationFailed, match=rf"loss, clock \d+:\s+{port}: expected -?\d+, got"):
        check("icarus", Bench({"loss": fault(p)}), {"loss": vectors(p)}, tmp_path)
