"""Which mutants change nothing: shown by a solver, for all inputs in all states.

The netlist with mutants is mapped to gates, without registers that reach no output. A mutant is
*equivalent* if from every state, and for all inputs, it gives the same outputs and goes to the same
next state as the netlist without it: then it does so for ever. Three things widen that:

* It is enough that this holds for two clocks together: registers may differ between them.
* It is enough for states into which some state goes, and for the initial one.
* Registers may differ for as long as others say that they count for nothing: as long as each of
  some bits has one value, which the solver chooses, and shows that it has it.

Left out are also states in which a register differs that keeps its initial value for ever, by
induction, or in which a narrow word has a value that it never takes, whatever everything else is.
Other states that are never reached count too, so that not every mutant that changes nothing is
found.
"""

import graphlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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

# Bits of a word of which all values are looked at that it takes; registers that may differ while
# they count for nothing; registers from which one is a copy, with what resets it.
_NARROW, _EXCUSED, _NEAR = 4, 64, 3

# Seconds for all questions about what may differ, and for one of them.
_ROUNDS, _STEP = 30, 10

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

# Ports of memories: their outputs are free; their inputs must be the same where they count.
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
        # What must not change in any clock in which one of these bits is 1.
        self._seen: dict[Bit, set[Bit]] = defaultdict(set)
        # By the output of each register, its input.
        self._registers: dict[Bit, Bit] = {}
        self._initial: dict[Bit, bool] = {}
        self._values: dict[Bit, Value] = {"0": False, "1": True, "x": False}
        for port in module["ports"].values():
            for bit in port["bits"]:
                if port["direction"] == "output":
                    self._seen[bit].add("1")
                else:
                    self._values[bit] = z3.Bool(f"n{bit}")
        for name, cell in module["cells"].items():
            kind, pins = cell["type"], cell["connections"]
            if kind == "$_DFF_P_":
                self._registers[pins["Q"][0]] = pins["D"][0]
            elif kind in _STATE:
                for pin, bits in pins.items():
                    if pin in _STATE[kind]:
                        self._values |= {bit: z3.Bool(f"n{bit}") for bit in bits}
                        continue
                    for place, bit in enumerate(bits):
                        # What is not written does not matter.
                        if kind == "$memwr_v2" and pin == "DATA":
                            self._seen[bit].add(pins["EN"][place])
                        elif kind == "$memwr_v2" and pin == "ADDR":
                            self._seen[bit].update(pins["EN"])
                        else:
                            self._seen[bit].add("1")
            else:
                self._gates[name] = (kind, {pin: bits[0] for pin, bits in pins.items()})
        self._order = self._sorted()
        self._place = {name: place for place, name in enumerate(self._order)}
        self._values |= dict.fromkeys(self._select, False)
        free = [bit for bit, value in self._values.items() if z3.is_expr(value)]
        self._assume_constants(module)
        self._flags, words = self._words(module)
        self._reached = self._never_taken(words)
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
            self._values |= {q: _now(q) for q in registers} | assumed
            self._evaluate(self._values)
            dropped = {q for q, value in assumed.items() if self._values[registers[q]] is not value}
            assumed = {q: value for q, value in assumed.items() if q not in dropped}

    def _words(self, module: dict[str, Any]) -> tuple[list[Bit], list[tuple[Bit, ...]]]:
        """Return the bits of narrow words of registers, named ones or copies, and the words."""
        registers = {q for q in self._registers if z3.is_expr(self._values[q])}
        registers &= self._initial.keys()
        named = {
            tuple(net["bits"]): None
            for name, net in sorted(module["netnames"].items())
            if "$" not in name and len(net["bits"]) <= _NARROW and registers.issuperset(net["bits"])
        }
        copies: dict[Bit, set[Bit]] = defaultdict(set)
        for q in registers:
            for source in self._sources(q) - {q}:
                copies[source].add(q)
        words = [word for word in named if len(set(word)) > 1]
        for word in words:
            following = [copies[bit] for bit in word]
            shared = set.intersection(*following)
            own = [each - shared for each in following]
            copy = tuple(bit for each in own for bit in each)
            if all(len(each) == 1 for each in own) and copy not in named:
                named[copy] = None
                words.append(copy)
        return list({bit: None for word in named for bit in word}), words

    def _sources(self, register: Bit) -> set[Bit]:
        """Return the registers on which a register's next value depends, if they are few."""
        found: set[Bit] = set()
        waiting, seen = [self._registers[register]], set()
        while waiting and len(found) <= _NEAR:
            bit = waiting.pop()
            if bit in self._registers:
                found.add(bit)
            elif bit in self._drivers and bit not in seen:
                _, pins = self._gates[self._drivers[bit]]
                waiting += [each for pin, each in pins.items() if pin != "Y"]
            seen.add(bit)
        return found if len(found) <= _NEAR else set()

    def _never_taken(self, words: Sequence[tuple[Bit, ...]]) -> list[Value]:
        """Return what is so in every state that is reached: values that narrow words do not have.

        A word's values are those that it goes to from its initial one, in any number of steps,
        where all else is as it likes, but for what has been shown of other words.
        """
        shown: list[Value] = []
        left, before = list(words), len(words) + 1
        while len(left) < before:
            before = len(left)
            for word in list(left):
                taken = self._taken(word, shown)
                if len(taken) < 1 << len(word):
                    shown += [
                        z3.Not(_has(word, value))
                        for value in range(1 << len(word))
                        if value not in taken
                    ]
                    left.remove(word)
        return shown

    def _taken(self, word: tuple[Bit, ...], shown: Sequence[Value]) -> set[int]:
        """Return the values that a word takes, or more; all of them where the solver gives up."""
        everything = set(range(1 << len(word)))
        solver = _solver(2, shown)
        solver.add([_next(q) == _term(self._values[self._registers[q]]) for q in word])
        taken = {sum(self._initial[q] << place for place, q in enumerate(word))}
        while taken != everything:
            solver.push()
            solver.add(z3.Or([_has(word, value) for value in taken]))
            solver.add([z3.Not(_has(word, value, _next)) for value in taken])
            answer = solver.check()
            if answer == z3.unsat:
                break
            if answer != z3.sat:
                return everything
            model = solver.model()
            solver.pop()
            taken.add(sum(z3.is_true(model[_next(q)]) << place for place, q in enumerate(word)))
        return taken

    def _sorted(self) -> list[str]:
        drivers = {pins["Y"]: name for name, (_, pins) in self._gates.items()}
        self._drivers = drivers
        graph: dict[str, list[str]] = {}
        for name, (_, pins) in self._gates.items():
            inputs = [bit for pin, bit in pins.items() if pin != "Y"]
            for bit in inputs:
                self._readers[bit].append(name)
            graph[name] = [drivers[bit] for bit in inputs if bit in drivers]
        return list(graphlib.TopologicalSorter(graph).static_order())

    def equivalent(self, number: int) -> bool:
        """Return whether a mutant is shown to change nothing."""
        return any(self._shown(number, *trial) for trial in _TRIALS) or self._excused(number)

    def _excused(self, number: int) -> bool:
        """Return whether registers differ only as long as flags say that they count for nothing.

        Two states are related if they are the same but for some registers, of which each may differ
        only where each of some flags has a certain value. Related states must give the same
        outputs, and go to related states. Registers are those that come to differ from there; the
        flags of a register are at first all, with the values that they have behind one change of
        it, and a flag is left out when it can have the other value.
        """
        values, flags = self._values, self._flags
        excuses: dict[Bit, dict[Bit, bool]] = {}
        end = time.monotonic() + _ROUNDS
        while len(excuses) <= _EXCUSED and time.monotonic() < end:
            changed: dict[Bit, Value] = {q: z3.Bool(f"other{q}") for q in excuses}
            changed |= {bit: True for i, bit in enumerate(self._select) if number >> i & 1}
            self._propagate(values, changed)
            differ = {bit: z3.Xor(_term(changed[bit]), _term(values[bit])) for bit in changed}
            solver = _solver(_STEP, self._reached)
            solver.add(
                [
                    z3.Or(z3.Bool(f"other{q}") == _now(q), _now(flag) == value)
                    for q, excuse in excuses.items()
                    for flag, value in excuse.items()
                ]
            )
            solver.push()
            solver.add(z3.Or(self._visible(changed, values)))
            if solver.check() != z3.unsat:
                return False
            solver.pop()
            following = {q: differ[d] for q, d in self._registers.items() if d in differ}
            solver.add([z3.Bool(f"differs{q}") == each for q, each in following.items()])
            solver.add([_next(flag) == _term(values[self._registers[flag]]) for flag in flags])
            unexcused = [
                z3.And(
                    z3.Bool(f"differs{q}"),
                    z3.Or([_next(flag) != value for flag, value in excuses[q].items()])
                    if q in excuses
                    else True,
                )
                for q in following
            ]
            solver.add(z3.Or(unexcused))
            answer = solver.check()
            if answer != z3.sat:
                return bool(answer == z3.unsat)
            model = solver.model()
            have = {flag: z3.is_true(model[_next(flag)]) for flag in flags}
            for q in following:
                if z3.is_true(model[z3.Bool(f"differs{q}")]):
                    excuse = excuses.get(q, have)
                    excuses[q] = {f: value for f, value in excuse.items() if have[f] == value}
        return False

    def _shown(self, number: int, before: int, count: int, seconds: int) -> bool:
        solver = _solver(seconds, self._reached)
        solver.add(z3.Or(self._differences(number, before, count)))
        if solver.check() != z3.unsat:
            return False
        if before == 0:
            return True
        # From the initial state on, there is no clock before.
        first = _solver(seconds, [])
        first.add(z3.Or(self._differences(number, 0, count)))
        first.add([_now(q) == self._initial[q] for q in self._registers if q in self._initial])
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
            differ += self._visible(changed, values)
            registers = {q: changed[d] for q, d in self._registers.items() if d in changed}
        return differ + [
            z3.Xor(_term(value), _term(values[self._registers[q]]))
            for q, value in registers.items()
        ]

    def _visible(self, changed: dict[Bit, Value], values: dict[Bit, Value]) -> list[Value]:
        """Return for each output and memory bit that is changed whether that shows."""
        return [
            z3.And(
                z3.Xor(_term(value), _term(values[bit])),
                z3.Or([_term(values[enable]) for enable in self._seen[bit]]),
            )
            for bit, value in changed.items()
            if bit in self._seen
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


def _solver(seconds: int, facts: Sequence[Value]) -> z3.Solver:
    """Return a solver of Boolean terms that knows some."""
    solver = z3.SolverFor("QF_FD")
    solver.set("timeout", seconds * 1000)
    solver.add(facts)
    return solver


def _now(register: Bit) -> Value:
    return z3.Bool(f"n{register}")


def _next(register: Bit) -> Value:
    return z3.Bool(f"next{register}")


def _has(word: Sequence[Bit], value: int, when: Callable[[Bit], Value] = _now) -> Value:
    """Return whether a word of registers has a value."""
    return z3.And([when(q) == bool(value >> place & 1) for place, q in enumerate(word)])


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
