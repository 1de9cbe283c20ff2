"""A bench around the units: vectors in, values out, on both simulators.

All units of all parameter sets share one design, so that each simulator compiles once; each unit
has its own pair of packed ports.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.parameters import Parameters
from golden.random_source import seeded_states
from hdl.accumulate import Accumulate, Select
from hdl.booth import Booth
from hdl.connect import Connect
from hdl.gradient import BiasIncrement, Gradient, HiddenDelta, UpdateStep
from hdl.loss import Loss
from hdl.quantize import Quantize
from hdl.random_source import RandomSource
from hdl.relu import Relu
from hdl.update import UpdateBias, UpdateWeight
from hdl.verilog import convert
from sim.simulators import compile_design, run_testbench

TOP = "unit_bench"

#: Seed of all random vectors.
SEED = 7

_DEEP = Parameters(
    layers=(30, 12, 9, 5),
    activation_shifts=(3, 5, 2),
    delta_shifts=(3, 2),
    update_shifts=(11, 9, 10),
)
_FLAT = Parameters(layers=(40, 7), activation_shifts=(3,), delta_shifts=(), update_shifts=(11,))

#: What the units are tested with.
PARAMETER_SETS = {
    "ternary": _DEEP,
    "few_random_bits": _DEEP.replace(draw_bits=3, update_bits=3, schedule=(1, 2, 3)),
    "half_steps": _DEEP.replace(
        draw_steps=2, draw_bits=6, quantizer="stochastic", activation_shifts=(3, 3, 2)
    ),
    "binary": _DEEP.replace(connect="binary", draw_bits=8, bias_fraction_bits=0),
    "binary_few": _FLAT.replace(connect="binary", draw_bits=4),
    "deterministic": _DEEP.replace(draw="deterministic", delta_shifts=(4, 4)),
    "deterministic_binary": _FLAT.replace(draw="deterministic", connect="binary"),
    "narrow": Parameters(
        layers=(3, 2, 2),
        weight_bits=4,
        activation_bits=2,
        output_delta_bits=4,
        hidden_delta_bits=4,
        bias_bits=8,
        bias_fraction_bits=0,
        activation_shifts=(24, 0),
        delta_shifts=(24,),
        update_shifts=(31, 31),
        bias_shift=31,
        margin_bits=0,
        draw_bits=3,
        quantizer="stochastic",
        update_bits=1,
        schedule=tuple(range(15)),
        random_width=16,
    ),
    "wide": Parameters(
        layers=(300, 70, 50, 1),
        weight_bits=16,
        activation_bits=16,
        output_delta_bits=16,
        hidden_delta_bits=16,
        bias_bits=32,
        bias_fraction_bits=16,
        activation_shifts=(8, 9, 5),
        delta_shifts=(5, 6),
        update_shifts=(14, 20, 25),
        bias_shift=3,
        margin_bits=15,
        draw_bits=14,
        draw_steps=2,
        update_bits=16,
        random_width=64,
    ),
    "exact": _DEEP.replace(inference="exact"),
    "exact_half_steps": _DEEP.replace(
        inference="exact", draw_steps=2, weight_bits=5, draw_bits=3, bias_fraction_bits=2
    ),
    "no_shifts": _DEEP.replace(
        layers=(5, 6, 4, 3),
        activation_shifts=(0, 1, 0),
        delta_shifts=(0, 1),
        update_shifts=(0, 3, 1),
        bias_shift=0,
        schedule=(5,),
    ),
}

#: Those with hidden layers.
HIDDEN_SETS = {name: p for name, p in PARAMETER_SETS.items() if p.depth > 1}

#: Random sources that are tested: width, number of sources, slots.
SOURCES = {
    "period16": (16, 1, 0),
    "source16": (16, 3, 2),
    "source32": (32, 2, 3),
    "source64": (64, 3, 4),
}


class Increment(wiring.Component):
    """A lane's :class:`Gradient` behind the :class:`UpdateStep` of all lanes.

    The step is given with the delta, at s6: its layer and the sample's shift one clock before, what
    belongs to s7 one clock later.
    """

    def __init__(self, update_step: UpdateStep, gradient: Gradient) -> None:
        self._units = update_step, gradient
        members = update_step.signature.members, gradient.signature.members
        super().__init__(
            {
                **{name: members[0][name] for name in ("exponent", "layer", "rate_shift")},
                "random": In(members[0]["random"].shape.elem_shape),
                **{name: members[1][name] for name in ("delta", "enable7", "increment")},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.update_step, m.submodules.gradient = update_step, gradient = self._units
        m.d.sync += gradient.amount.eq(update_step.amount)
        m.d.comb += [
            update_step.exponent.eq(self.exponent),
            update_step.layer.eq(self.layer),
            update_step.rate_shift.eq(self.rate_shift),
            update_step.random[0].eq(self.random),
            gradient.rounding.eq(update_step.rounding[0]),
            gradient.delta.eq(self.delta),
            gradient.enable7.eq(self.enable7),
            self.increment.eq(gradient.increment),
        ]
        return m


def initial_states(name: str) -> list[int]:
    """Return the states at which one of :data:`SOURCES` starts."""
    width, sources, _ = SOURCES[name]
    return seeded_states(SEED, sources, width).tolist()


def all_units() -> dict[str, wiring.Component]:
    """Return every unit of every parameter set, by a name such as ``"binary_connect"``."""
    units: dict[str, wiring.Component] = {}
    for name, p in PARAMETER_SETS.items():
        g = p.draw_fraction_bits
        delta_bits = max(p.output_delta_bits, p.hidden_delta_bits)
        units |= {
            f"{name}_connect": Connect(p),
            f"{name}_booth": Booth(p),
            f"{name}_select": Select(delta_bits, g),
            f"{name}_accumulate": Accumulate(p),
            f"{name}_loss": Loss(p),
            f"{name}_quantize": Quantize(p),
            f"{name}_increment": Increment(UpdateStep(p), Gradient(p)),
            f"{name}_bias_increment": BiasIncrement(p),
            f"{name}_update_weight": UpdateWeight(p),
            f"{name}_update_bias": UpdateBias(p),
        }
        if p.depth > 1:
            units |= {f"{name}_relu": Relu(p), f"{name}_hidden_delta": HiddenDelta(p)}
    for name, (width, _, slots) in SOURCES.items():
        units[name] = RandomSource(width, initial_states(name), slots)
    return units


@dataclass(frozen=True)
class Vectors:
    """What goes into a unit and must come out, clock by clock after a reset.

    Attributes:
        inputs: One value a clock for every input port; a port of words has one entry a word, called
            ``"port[0]"`` and so on.
        outputs: The same for every output port: its value during the clock.
    """

    inputs: Mapping[str, Sequence[int]]
    outputs: Mapping[str, Sequence[int]]


def _columns(unit: wiring.Component, flow: wiring.Flow) -> list[tuple[str, Value]]:
    """Return name and value of every port, or word of a port, that flows so."""
    columns = []
    for path, member, port in unit.signature.flatten(unit):
        if member.flow is flow:
            name = "__".join(path)
            if isinstance(member.shape, data.ArrayLayout):
                columns += [(f"{name}[{i}]", port[i]) for i in range(member.shape.length)]
            else:
                columns.append((name, port))
    return columns


class Bench(wiring.Component):
    """Units side by side; ``<unit>_in`` and ``<unit>_out`` pack the ports of each.

    ``clocks`` counts, so that a bench of combinational units has a clock as well.

    Args:
        units: The units, by name; none may belong to another bench.
    """

    def __init__(self, units: Mapping[str, wiring.Component]) -> None:
        self.units = units
        members = {"clocks": Out(32)}
        for name, unit in units.items():
            for suffix, flow in (("in", In), ("out", Out)):
                bits = sum(len(value) for _, value in _columns(unit, flow))
                members[f"{name}_{suffix}"] = flow(bits)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.clocks.eq(self.clocks + 1)
        for name, unit in self.units.items():
            m.submodules[name] = unit
            inputs = Cat(value for _, value in _columns(unit, In))
            outputs = Cat(value for _, value in _columns(unit, Out))
            m.d.comb += [
                inputs.eq(getattr(self, f"{name}_in")),
                getattr(self, f"{name}_out").eq(outputs),
            ]
        return m

    @functools.cached_property
    def verilog(self) -> str:
        """The bench as Verilog."""
        return convert(self, TOP)


@functools.cache
def bench() -> Bench:
    """Return the bench of :func:`all_units`."""
    return Bench(all_units())


def check(simulator: str, units: Bench, vectors: Mapping[str, Vectors], folder: Path) -> None:
    """Run vectors through units of a bench and compare every output on every clock.

    Args:
        simulator: One of ``sim.simulators.SIMULATORS``.
        units: The bench.
        vectors: By unit.
        folder: Where the simulation runs.

    Raises:
        SimulationFailed: At the first difference; the message tells unit, clock, port, inputs.
        ValueError: If vectors leave a port out or have no clocks.
    """
    arrays: dict[str, np.ndarray] = {}
    tables = {}
    for name, each in vectors.items():
        unit = units.units[name]
        tables[name] = []
        for suffix, flow, given in (("in", In, each.inputs), ("out", Out, each.outputs)):
            columns = _columns(unit, flow)
            if {column for column, _ in columns} != set(given):
                raise ValueError(
                    f"{name} has the ports {[c for c, _ in columns]}, not {list(given)}"
                )
            tables[name].append([(c, len(value), value.shape().signed) for c, value in columns])
            for column, value in columns:
                dtype = np.int64 if value.shape().signed else np.uint64
                arrays[f"{name}.{suffix}.{column}"] = np.array(given[column], dtype)
        lengths = {len(values) for key, values in arrays.items() if key.startswith(f"{name}.")}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError(f"the vectors of {name} have {sorted(lengths)} clocks")
    if not tables:
        raise ValueError("there are no vectors")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "vectors.npz"
    np.savez(file, units=np.array(json.dumps(tables)), **arrays)
    build = compile_design(simulator, units.verilog, TOP)
    run_testbench(
        simulator,
        build,
        TOP,
        "tb_unit",
        folder=folder,
        search=(Path(__file__).parent,),
        environment={"NOMUL_VECTORS": str(file)},
    )
