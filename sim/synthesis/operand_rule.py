"""No shift-add loop in disguise: the operand rule, on a netlist (``docs/proof.md``)."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from sim.synthesis.dataflow import (
    ADDERS,
    CONTROL,
    DECISIONS,
    MASKABLE,
    SHIFTERS,
    Dataflow,
    Origins,
    Way,
    constant,
    flag,
    masked,
    nets,
)
from sim.synthesis.flat_netlist import Bit, Cell, FlatNetlist

#: Most bits that the masks of one word may be made of, to try all their values.
_MASK_SUPPORT = 12

#: Most constants of a table that data selects: the exponents of a power of two, 0 to 16.
_TABLE_ENTRIES = 17


@dataclass(frozen=True, order=True)
class Violation:
    """Something that the rule cannot show to be fine.

    Attributes:
        rule: Name of the part of the rule.
        place: Instance.
        words: What was found there.
        adders: How many adders the instance has.
    """

    rule: str
    place: str
    words: str
    adders: int = field(compare=False)

    def __str__(self) -> str:
        return f"{self.rule}: {self.place or 'top'}: {self.words}"


@dataclass(frozen=True, order=True)
class Site:
    """A product: a word that is masked, inverted or shifted by something variable.

    Attributes:
        place: Instance, with ``*`` for the number of a lane.
        kind: ``"mask"`` (times 0 or 1), ``"sign"`` (times +1 or -1), or ``"shift"`` (times a power
            of two).
        data: The word.
        operand: What stands for the other factor.
        count: How many there are.
    """

    place: str
    kind: str
    data: str
    operand: str
    count: int = field(default=1, compare=False)


@dataclass(frozen=True)
class Findings:
    """What the rule found.

    Attributes:
        violations: Empty if the rule holds.
        exempt: What would violate it, in a place that is exempt.
        sites: Products.
        adders: Adders looked at.
        accumulators: Registers that add to themselves: place, word, and the word that is added.
        exclusive: Words whose masks were shown never to be set together.
    """

    violations: list[Violation]
    exempt: list[Violation]
    sites: list[Site]
    adders: int
    accumulators: list[str]
    exclusive: list[str]


def operand_rule(netlist: FlatNetlist, exempt: Callable[[Violation], bool]) -> Findings:
    """Apply the rule to a netlist.

    Raises:
        UnknownCellError: If it has a cell that the rule does not know.
    """
    return _Rule(netlist).findings(exempt)


class _Rule:
    def __init__(self, netlist: FlatNetlist) -> None:
        self._netlist = netlist
        self._flow = flow = Dataflow(netlist)
        self._origins = Origins(flow, Way(0))
        self._gated = Origins(flow, Way.DECIDED)
        self._summed = Origins(flow, Way.CHOSE, summed=True)
        self._in_place = Origins(flow, Way.CARRIED | Way.CHOSE)
        self._unchanged = Origins(flow, Way.CARRIED | Way.CHOSE | Way.GATED)
        self._adders_in = Counter(cell.place for cell in netlist.of(*ADDERS))
        self._found: set[Violation] = set()
        self._exclusive: set[str] = set()
        #: Bits of registers that add more than constants and flags to themselves.
        self._sums: set[int] = set()

    def findings(self, exempt: Callable[[Violation], bool]) -> Findings:
        adders = list(self._netlist.of(*ADDERS))
        accumulators, loops = self._accumulators(adders)
        for adder in adders:
            self._one_copy(adder, self._origins)
            # In its own loop a sum counts as one word: it is no copy of what it adds.
            if adder not in loops:
                self._one_copy(adder, self._summed)
        for cell in self._netlist.of(*MASKABLE, *DECISIONS):
            self._merge(cell)
        self._memories()
        self._tables()
        ordered = sorted(self._found)
        return Findings(
            violations=[each for each in ordered if not exempt(each)],
            exempt=[each for each in ordered if exempt(each)],
            sites=self._sites(),
            adders=len(adders),
            accumulators=accumulators,
            exclusive=sorted(self._exclusive),
        )

    def _violate(self, rule: str, cell: Cell, words: str) -> None:
        self._found.add(Violation(rule, cell.place, words, self._adders_in[cell.place]))

    def _word(self, bits: Iterable[Bit]) -> str:
        """Return the name of a word: that of its source, its driver, or its first bit."""
        names = dict.fromkeys(
            re.sub(r"\[\d+\]$", "", self._netlist.names[bit])
            for bit in bits
            if isinstance(bit, int) and bit in self._netlist.names
        )
        shown = list(names)[:3]
        return ", ".join(shown) + (", .." if len(names) > len(shown) else "") or "an unnamed word"

    def _origin_words(self, found: int) -> str:
        return self._word(self._origins.nets(found))

    # One copy: no bit of data reaches both operands of an adder.

    def _one_copy(self, adder: Cell, origins: Origins) -> None:
        a, b = (self._flow.operand(adder, port) for port in "AB")
        common = origins.of(a) & origins.of(b)
        if not common or self._counted(a, b) or self._counted(b, a):
            return
        shared = self._flow.flow(a) & self._flow.flow(b)
        # One bit is a flag, and what it masks is no sum of copies.
        if common.bit_count() == 1 or (len(shared) == 1 and not common & ~origins.of(shared)):
            return
        word = self._word(origins.nets(common))
        if _shifted(a, b):
            words = f"{word} and itself, shifted by a constant: a constant times it"
            self._violate("constant multiple", adder, words)
        else:
            self._violate("one copy", adder, f"both operands of an adder come from {word}")

    def _counted(self, word: Sequence[Bit], one: Sequence[Bit]) -> bool:
        """Return whether a flag is added to a register that has only ever counted."""
        registers = {self._flow.register_of.get(bit, (None,))[0] for bit in nets(word)}
        if not flag(one) or len(registers) != 1 or (register := registers.pop()) is None:
            return False
        stack = nets(register.ports["D"])
        seen = set(stack)
        while stack:
            bit = stack.pop()
            if bit in register.ports["Q"]:
                continue
            if self._flow.is_source(bit):
                return False
            cell = self._netlist.drivers[bit][0]
            if cell.kind in ADDERS:
                operands = (self._flow.operand(cell, port) for port in "AB")
                new = {net for bits in operands if not flag(bits) for net in nets(bits)}
            else:
                new = set(self._flow.carried(bit))
            new -= seen
            seen |= new
            stack.extend(new)
        return True

    # Merges: a word meets itself only through exclusive masks, or linearly.

    def _merge(self, cell: Cell) -> None:
        if masked(cell) is not None or not self._flow.numbers.intersection(cell.ports["Y"]):
            return
        a, b = cell.ports["A"], cell.ports.get("B", ())
        if cell.kind in DECISIONS:
            found = nets((*a, *b))
            drivers = {driver and driver[0] for driver in map(self._netlist.driver, found)}
            # About two bits that are not of one word, it is a gate.
            if len(found) != 2 or len(drivers) != 2:
                return
            a, b = found[:1], found[1:]
        common = self._gated.of(a) & self._gated.of(b)
        if not common:
            return
        if cell.kind == "$or":
            ones, others = self._masks(a), self._masks(b)
            fine = ones is not None and others is not None and self._never_both(ones, others)
            if fine:
                self._exclusive.add(f"{_anonymous(cell.place)}: {self._origin_words(common)}")
        elif cell.kind not in ("$xor", "$xnor"):
            # What only clears bits of a word that nothing was done to makes no other multiple.
            fine = self._plain(a) or self._plain(b)
        else:
            # A constant combination of the bits of a word, without carry: no second factor.
            fine = self._plain(a) and self._plain(b)
        if not fine:
            words = f"{cell.kind[1:]} of copies of {self._origin_words(common)}"
            self._violate("merge", cell, words)

    def _plain(self, bits: Sequence[Bit]) -> bool:
        return not any(way for bit in bits for _, way in self._flow.sources(bit))

    def _masks(self, bits: Sequence[Bit]) -> set[int] | None:
        """Return nets of which one is 1 where a word is not 0."""
        drivers = [self._netlist.driver(bit) for bit in bits if isinstance(bit, int)]
        cells = {driver[0] for driver in drivers if driver is not None}
        if None in drivers:
            return None
        found: set[int] = set()
        for cell in cells:
            if cell.kind == "$and" and (mask := masked(cell)) is not None:
                found.add(mask[1])
            elif cell.kind == "$or":
                for port in "AB":
                    below = self._masks(cell.ports[port])
                    if below is None:
                        return None
                    found |= below
            else:
                return None
        return found

    def _never_both(self, ones: set[int], others: set[int]) -> bool:
        """Return whether no two masks, one of each set, are ever 1 together: by trying all."""
        if any(ones | others <= set(word) for word in self._one_hot) and not ones & others:
            return True
        support: set[int] = set()
        for bit in ones | others:
            support |= self._flow.support(bit)
        if len(support) > _MASK_SUPPORT:
            return False
        for values in itertools.product((False, True), repeat=len(support)):
            known: dict[Bit, bool] = dict(zip(sorted(support), values, strict=True))
            try:
                if any(
                    self._value(x, known) and self._value(y, known) for x in ones for y in others
                ):
                    return False
            except NotImplementedError:
                return False
        return True

    @cached_property
    def _one_hot(self) -> list[Sequence[Bit]]:
        """Words ``v & -v``, written as ``v & (~v + 1)``: the lowest 1 of a word, no other."""
        found = []
        for cell in self._netlist.of("$and"):
            for word, other in ("AB", "BA"):
                low = [self._netlist.driver(bit) for bit in cell.ports[other]]
                adder = low[0][0] if low[0] is not None else None
                if adder is None or adder.kind != "$add":
                    continue
                if any(each != (adder, "Y", p) for p, each in enumerate(low)):
                    continue
                one = [*adder.ports["B"], "0"]
                inverted = [self._netlist.driver(bit) for bit in adder.ports["A"]]
                if one[0] != "1" or set(one[1:]) != {"0"} or inverted[0] is None:
                    continue
                source = inverted[0][0]
                value = source.ports["A"]
                if (
                    source.kind == "$not"
                    and adder.ports["A"] == source.ports["Y"]
                    and value == cell.ports[word][: len(value)]
                    and set(cell.ports[word][len(value) :]) <= {"0"}
                ):
                    found.append(cell.ports["Y"])
        return found

    def _value(self, bit: Bit, known: dict[Bit, bool]) -> bool:
        """Return the value of a bit of plain logic."""
        if bit not in known:
            if isinstance(bit, str):
                return bit == "1"
            cell, _, p = self._netlist.drivers[bit]
            read = {
                port: [self._value(each, known) for each in cell.ports[port]]
                for port in "ABS"
                if port in cell.ports and cell.kind != "$pmux"
            }
            if cell.kind == "$not":
                known[bit] = not read["A"][p]
            elif cell.kind == "$and":
                known[bit] = read["A"][p] and read["B"][p]
            elif cell.kind == "$or":
                known[bit] = read["A"][p] or read["B"][p]
            elif cell.kind == "$mux":
                known[bit] = read["BA"[not read["S"][0]]][p]
            elif cell.kind == "$eq":
                known[bit] = read["A"] == read["B"]
            else:
                raise NotImplementedError(cell.kind)
        return known[bit]

    # Accumulators: what is added is new in each clock, and the sum stays in place.

    def _accumulators(self, adders: Sequence[Cell]) -> tuple[list[str], set[Cell]]:
        listed, loops = set(), set()
        registers = {
            self._flow.register_of[bit][0]: None for bit in sorted(self._flow.accumulators)
        }
        operands = {
            adder: {port: self._flow.flow(self._flow.operand(adder, port)) for port in "AB"}
            for adder in adders
        }
        for register in registers:
            bits = [bit for bit in register.ports["Q"] if bit in self._flow.accumulators]
            cone = self._cone(register.ports["D"])
            for adder in adders:
                for base, added in ("AB", "BA"):
                    if adder in cone and operands[adder][base].intersection(bits):
                        loops.add(adder)
                        addend = self._flow.operand(adder, added)
                        data = self._origins.of(addend)
                        if flag(addend):
                            words = "constants or a flag"
                        else:
                            self._sums.update(bits)
                            self._fresh(register, addend)
                            self._in_its_place(register, bits)
                            words = self._origin_words(data) if data else "constants"
                        listed.add(_anonymous(f"{self._word(bits)} adds {words}"))
        return sorted(listed), loops

    def _in_its_place(self, register: Cell, bits: Sequence[int]) -> None:
        """Check that no bit of a sum comes back in another place."""
        every = self._in_place.of(bits)
        for bit in bits:
            moved = self._in_place.of([self._flow.next_of(bit)]) & every & ~self._in_place.of([bit])
            if moved:
                words = f"{self._word([bit])} is shifted while it sums"
                self._violate("accumulator", register, words)

    def _cone(self, bits: Iterable[Bit]) -> set[Cell]:
        """Return the combinational cells behind some bits."""
        stack = [bit for bit in bits if isinstance(bit, int)]
        seen, cells = set(stack), set()
        while stack:
            bit = stack.pop()
            if not self._flow.is_source(bit):
                cell = self._netlist.drivers[bit][0]
                if cell not in cells:
                    cells.add(cell)
                    new = {
                        each
                        for port, inputs in cell.ports.items()
                        if port not in ("Y", "S")
                        for each in inputs
                        if isinstance(each, int)
                    } - seen
                    seen |= new
                    stack.extend(new)
        return cells

    def _fresh(self, register: Cell, added: Sequence[Bit]) -> None:
        """Check that no register on the way of what is added holds it, moves it or goes round.

        Nor is a bit of a memory or an input added that comes by two ways of different length.
        """
        sum_ = self._word(register.ports["Q"])
        ages: dict[int, int] = {}
        kept: set[int] = set()
        front, age = self._numbers(added), 0
        while front:
            for bit in front - self._flow.register_of.keys():
                if ages.setdefault(bit, age) != age:
                    words = f"{sum_} adds {self._word([bit])} of more than one clock"
                    self._violate("accumulator", register, words)
            following: set[int] = set()
            for bit in (front & self._flow.register_of.keys()) - kept:
                before = self._numbers([self._flow.next_of(bit)])
                cell, _ = self._flow.register_of[bit]
                if (
                    bit in self._flow.cut
                    or "EN" in cell.ports
                    or before.intersection(cell.ports["Q"])
                    or bit in self._flow.cycles
                ):
                    words = f"{sum_} adds {self._word([bit])}, which is kept"
                    self._violate("accumulator", register, words)
                    # Not once more round the cycle.
                    kept.add(bit)
                following |= before
            front, age = following, age + 1

    def _numbers(self, bits: Iterable[Bit]) -> set[int]:
        """Return the sources of a number, but those that only choose or decide."""
        return {
            source for bit in bits for source, way in self._flow.sources(bit) if not way & CONTROL
        }

    # Memories: a sum that waits in one stays in place; none is a table.

    def _memories(self) -> None:
        written = {
            cell.parameters["MEMID"]
            for cell in self._netlist.of("$memwr_v2")
            if set(cell.ports["EN"]) != {"0"}
        }
        for cell in self._netlist.of("$memrd_v2"):
            if cell.parameters["MEMID"] not in written:
                self._violate("table", cell, f"{cell.parameters['MEMID']} is never written")
        into: dict[tuple[str, int], set[tuple[str, int]]] = {}
        for cell in self._netlist.of("$memwr_v2"):
            for position, bit in enumerate(cell.ports["DATA"]):
                found = self._unchanged.nets(self._unchanged.of([bit]))
                into.setdefault((cell.parameters["MEMID"], position), set()).update(
                    self._flow.memory_of[net] for net in found if net in self._flow.memory_of
                )
        for cell in self._netlist.of("$memwr_v2"):
            memory = cell.parameters["MEMID"]
            for position in range(len(cell.ports["DATA"])):
                # By way of other memories, too.
                stack = [(memory, position)]
                seen = set(stack)
                while stack:
                    new = into.get(stack.pop(), set()) - seen
                    seen |= new
                    stack.extend(new)
                if any(each == memory and place != position for each, place in seen):
                    self._violate("memory", cell, f"{memory} takes its own words, shifted")

    # Tables: data selects among a few constants at most.

    def _tables(self) -> None:
        for cell, entries, selects in self._flow.tables():
            if entries <= _TABLE_ENTRIES:
                continue
            support = frozenset().union(*(self._flow.support(net) for net in selects))
            found = self._origins.nets(self._origins.of(support))
            if any(net in self._flow.memory_of or net in self._sums for net in found):
                self._violate("table", cell, f"{entries} constants selected by {self._word(found)}")

        for cell in self._netlist.of(*SHIFTERS):
            if constant(cell.ports["A"]) and list(cell.ports["A"]).count("1") > 1:
                self._violate("table", cell, "a constant is shifted by a variable amount")

    # Sites.

    def _sites(self) -> list[Site]:
        counts: Counter[Site] = Counter()
        for cell in self._netlist.of(*MASKABLE, *SHIFTERS):
            mask = masked(cell)
            if cell.kind in SHIFTERS:
                kind, data, operand = "shift", cell.ports["A"], cell.ports["B"]
            elif mask is not None and cell.kind != "$or":
                # An `$or` chooses between the word and all ones.
                kind = "mask" if cell.kind == "$and" else "sign"
                data, operand = cell.ports["B" if mask[0] == "A" else "A"], [mask[1]]
            else:
                continue
            support = frozenset().union(*(self._flow.support(bit) for bit in operand))
            word = self._word(sorted(self._flow.flow(data)))
            given_by = self._word(sorted(support))
            site = Site(_anonymous(cell.place), kind, _anonymous(word), _anonymous(given_by))
            counts[site] += 1
        return [replace(site, count=count) for site, count in sorted(counts.items())]


def _shifted(a: Sequence[Bit], b: Sequence[Bit]) -> bool:
    """Return whether ``b`` is ``a`` shifted down by a constant: the same nets."""
    return any(
        list(b) == [*a[places:], *(["0"] * (len(b) - len(a) + places))]
        for places in range(len(a) - min(len(a), len(b)), len(a))
    )


def _anonymous(name: str) -> str:
    """Return a name with ``*`` for the number of a lane."""
    return re.sub(r"\blane\d+\b", "lane*", name)
