"""Which mutants change nothing: shown by a solver, for all inputs in all states.

The netlist with mutants is mapped to gates, without registers that reach no output. A mutant is
*equivalent* if from every state, and for all inputs, it gives the same outputs and goes to the same
next state as the netlist without it: then it does so for ever. Two things widen that:

* It is enough that this holds for two clocks together: registers may differ between them.
* It is enough for states into which some state goes, and for the initial one.

Left out are also states in which a register differs that keeps its initial value for ever, by
induction. Other states that are never reached count too, so that not every mutant that changes
nothing is found.
"""

import graphlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import z3

from hdl.verilog import CORE_TOP
from sim.mutation.netlist import SELECT, Mutant, with_mutants
from sim.synthesis.flat_netlist import Bit
from sim.synthesis.tools import SynthesisError

#: Seconds that the solver may take for a mutant; one that it does not decide is not equivalent.
LIMIT = 60

# What is tried, until one shows it: clocks before the mutant is at work, clocks that count
# together, and seconds.
_TRIALS = ((0, 1, LIMIT), (1, 1, 10), (0, 2, 10), (1, 2, 10))

# Without the passes of `opt` that turn a register's feedback into an enable: every next value is
# one bit.
_SIMPLE = "opt_expr\nopt_merge\nopt_clean"

_SCRIPT = f"""
delete t:$meminit_v2
pmuxtree
{_SIMPLE}
techmap
{_SIMPLE}
write_json gates.json
"""

# Ports of memories: their outputs are free, their inputs must be the same.
_STATE = {"$memrd_v2": ("DATA",), "$memwr_v2": ()}

# A bit of the netlist as the solver has it, or as it is known.
Value = Any


def equivalent(mutants: Sequence[Mutant], folder: Path) -> Iterator[bool]:
    """Yield of each mutant whether it is shown to change nothing.

    Args:
        mutants: Of one core.
        folder: ``Mutants.folder`` of it.

    Raises:
        SynthesisError: If Yosys is missing or fails, or the netlist has a cell that is not known.
    """
    if not mutants:
        return
    gates = _Gates(with_mutants(folder, mutants, _SCRIPT) / "gates.json")
    for mutant in mutants:
        yield gates.equivalent(mutant.number)


class _Gates:
    """A netlist of gates with mutants.

    Attributes:
        values: What each net is without a mutant in each clock, by the first one's state and all
            clocks' inputs.
    """

    def __init__(self, path: Path) -> None:
        module = json.loads(path.read_text(encoding="utf-8"))["modules"][CORE_TOP]
        self._select: list[Bit] = module["ports"][SELECT]["bits"]
        self._readers: dict[Bit, list[str]] = defaultdict(list)
        self._gates: dict[str, tuple[str, dict[str, Bit]]] = {}
        # What must not change in any clock.
        self._seen: set[Bit] = set()
        # By the output of each register, its input.
        self._registers: dict[Bit, Bit] = {}
        self._initial: dict[Bit, bool] = {}
        self._values: dict[Bit, Value] = {"0": False, "1": True, "x": False}
        for port in module["ports"].values():
            for bit in port["bits"]:
                if port["direction"] == "output":
                    self._seen.add(bit)
                else:
                    self._values[bit] = z3.Bool(f"n{bit}")
        for name, cell in module["cells"].items():
            kind, pins = cell["type"], cell["connections"]
            if kind == "$_DFF_P_":
                self._registers[pins["Q"][0]] = pins["D"][0]
            elif kind in _STATE:
                for pin, bits in pins.items():
                    if pin not in _STATE[kind]:
                        self._seen.update(bits)
                        continue
                    self._values |= {bit: z3.Bool(f"n{bit}") for bit in bits}
            else:
                self._gates[name] = (kind, {pin: bits[0] for pin, bits in pins.items()})
        self._order = self._sorted()
        self._place = {name: place for place, name in enumerate(self._order)}
        self._values |= dict.fromkeys(self._select, False)
        free = [bit for bit, value in self._values.items() if z3.is_expr(value)]
        self._assume_constants(module)
        self._clocks = [self._values]
        for clock in range(1, max(before + count for before, count, _ in _TRIALS)):
            last = self._clocks[-1]
            values: dict[Bit, Value] = {"0": False, "1": True, "x": False}
            values |= dict.fromkeys(self._select, False)
            values |= {bit: z3.Bool(f"n{bit}@{clock}") for bit in free}
            values |= {q: last[d] for q, d in self._registers.items()}
            self._evaluate(values)
            self._clocks.append(values)

    def _evaluate(self, values: dict[Bit, Value]) -> None:
        for name in self._order:
            kind, pins = self._gates[name]
            values[pins["Y"]] = _output(kind, pins, values)

    def _assume_constants(self, module: dict[str, Any]) -> None:
        """Let registers be constant that keep their initial value if all of these do."""
        initial, registers = self._initial, self._registers
        for net in module["netnames"].values():
            text = reversed(net["attributes"].get("init", ""))
            initial |= {
                bit: value == "1"
                for bit, value in zip(net["bits"], text, strict=False)
                if value in "01"
            }
        assumed = {q: initial[q] for q in registers if q in initial}
        dropped: set[Bit] = {""}
        while dropped:
            self._values |= {q: z3.Bool(f"n{q}") for q in registers} | assumed
            self._evaluate(self._values)
            dropped = {q for q, value in assumed.items() if self._values[registers[q]] is not value}
            assumed = {q: value for q, value in assumed.items() if q not in dropped}

    def _sorted(self) -> list[str]:
        drivers = {pins["Y"]: name for name, (_, pins) in self._gates.items()}
        graph: dict[str, list[str]] = {}
        for name, (_, pins) in self._gates.items():
            inputs = [bit for pin, bit in pins.items() if pin != "Y"]
            for bit in inputs:
                self._readers[bit].append(name)
            graph[name] = [drivers[bit] for bit in inputs if bit in drivers]
        return list(graphlib.TopologicalSorter(graph).static_order())

    def equivalent(self, number: int) -> bool:
        """Return whether a mutant is shown to change nothing."""
        return any(self._shown(number, *trial) for trial in _TRIALS)

    def _shown(self, number: int, before: int, count: int, seconds: int) -> bool:
        solver = z3.Solver()
        solver.set("timeout", seconds * 1000)
        solver.add(z3.Or(self._differences(number, before, count)))
        if solver.check() != z3.unsat:
            return False
        if before == 0:
            return True
        # From the initial state on, there is no clock before.
        first = z3.Solver()
        first.set("timeout", seconds * 1000)
        first.add(z3.Or(self._differences(number, 0, count)))
        first.add(
            [z3.Bool(f"n{q}") == self._initial[q] for q in self._registers if q in self._initial]
        )
        return bool(first.check() == z3.unsat)

    def _differences(self, number: int, before: int, count: int) -> list[Value]:
        """Return what a mutant changes in so many clocks, and in the state behind them."""
        differ: list[Value] = []
        registers: dict[Bit, Value] = {}
        for values in self._clocks[before : before + count]:
            changed = registers | {
                bit: True for i, bit in enumerate(self._select) if number >> i & 1
            }
            self._propagate(values, changed)
            differ += [
                z3.Xor(_term(value), _term(values[bit]))
                for bit, value in changed.items()
                if bit in self._seen
            ]
            registers = {q: changed[d] for q, d in self._registers.items() if d in changed}
        return differ + [
            z3.Xor(_term(value), _term(values[self._registers[q]]))
            for q, value in registers.items()
        ]

    def _propagate(self, before: dict[Bit, Value], changed: dict[Bit, Value]) -> None:
        """Add to what is changed all that changes by it."""
        values = _Changed(before, changed)
        waiting = {self._place[name] for bit in changed for name in self._readers[bit]}
        while waiting:
            place = min(waiting)
            waiting.remove(place)
            kind, pins = self._gates[self._order[place]]
            value, bit = _output(kind, pins, values), pins["Y"]
            if not _same(value, before[bit]):
                changed[bit] = value
                waiting |= {self._place[name] for name in self._readers[bit]}


class _Changed(Mapping[Bit, Value]):
    """Values, of which some are changed."""

    def __init__(self, values: Mapping[Bit, Value], changed: Mapping[Bit, Value]) -> None:
        self._values, self._changed = values, changed

    def __getitem__(self, bit: Bit) -> Value:
        return self._changed[bit] if bit in self._changed else self._values[bit]

    def __iter__(self) -> Iterator[Bit]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _term(value: Value) -> Value:
    return z3.BoolVal(value) if isinstance(value, bool) else value


def _same(one: Value, other: Value) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one.eq(other))


def _not(a: Value) -> Value:
    if isinstance(a, bool):
        return not a
    return a.arg(0) if z3.is_not(a) else z3.Not(a)


def _and(a: Value, b: Value) -> Value:
    if isinstance(a, bool):
        return b if a else False
    if isinstance(b, bool):
        return a if b else False
    return a if a.eq(b) else z3.And(a, b)


def _xor(a: Value, b: Value) -> Value:
    if isinstance(a, bool):
        return _not(b) if a else b
    if isinstance(b, bool):
        return _not(a) if b else a
    return False if a.eq(b) else z3.Xor(a, b)


def _mux(a: Value, b: Value, s: Value) -> Value:
    if isinstance(s, bool):
        return b if s else a
    if _same(a, b):
        return a
    if isinstance(a, bool) or isinstance(b, bool):
        return _not(_and(_not(_and(s, b)), _not(_and(_not(s), a))))
    return z3.If(s, b, a)


def _output(kind: str, pins: Mapping[str, Bit], values: Mapping[Bit, Value]) -> Value:
    """Return what a gate gives."""
    a = values[pins["A"]]
    if kind in {"$_NOT_", "$_BUF_"}:
        return _not(a) if kind == "$_NOT_" else a
    b = values[pins["B"]]
    match kind:
        case "$_AND_":
            return _and(a, b)
        case "$_OR_":
            return _not(_and(_not(a), _not(b)))
        case "$_XOR_":
            return _xor(a, b)
        case "$_XNOR_":
            return _not(_xor(a, b))
        case "$_MUX_":
            return _mux(a, b, values[pins["S"]])
        case _:
            raise SynthesisError(f"yosys made a gate of type {kind}, which is not known here")
