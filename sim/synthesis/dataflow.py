"""Where the numbers of a netlist come from: the data flow of one clock, and through registers.

A *source* is a bit that a clock begins with: of a register, of a memory's read port, or of an
input. *Data flow* is what carries a number: wires, adders, selects, masks, inversions, shifts. What
only decides (the select of a multiplexer, a mask, an amount of shift, a comparison) is *control*,
and no data flow. ``docs/proof.md`` has the table of cells.
"""

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from sim.synthesis.flat_netlist import Bit, Cell, FlatNetlist


class Way(enum.IntFlag):
    """What a bit of a number passes between its source and where it is looked at."""

    #: An adder, in its place.
    ADDED = 1
    #: A carry chain: it may be in any higher place, and is no longer the number's bit.
    CARRIED = 2
    #: A mask, a conditional inversion, or a shift by a variable amount.
    GATED = 4
    #: The bit chose among constants: the number is a table of it.
    CHOSE = 8
    #: A decision about three bits or more, or the select of a multiplexer of a single net.
    DECIDED = 16


#: Ways of what only chooses or decides.
CONTROL = Way.CHOSE | Way.DECIDED


class UnknownCellError(ValueError):
    """A cell that is not in the table."""


#: Sources of a bit, with their ways.
Sources = frozenset[tuple[int, Way]]

REGISTERS = ("$dff", "$dffe", "$sdff", "$sdffe", "$sdffce", "$adff", "$adffe")
ADDERS = ("$add", "$sub")
SHIFTERS = ("$shl", "$shr", "$sshl", "$sshr", "$shift", "$shiftx")
MASKABLE = ("$and", "$or", "$xor", "$xnor")
SELECTS = ("$mux", "$pmux")
DECISIONS = (
    *("$eq", "$ne", "$eqx", "$nex", "$lt", "$le", "$gt", "$ge"),
    *("$logic_not", "$logic_and", "$logic_or"),
    *("$reduce_and", "$reduce_or", "$reduce_xor", "$reduce_xnor", "$reduce_bool"),
)
_MEMORIES = ("$memrd_v2", "$memwr_v2")


def constant(bits: Iterable[Bit]) -> bool:
    """Return whether all bits are constants."""
    return all(isinstance(bit, str) for bit in bits)


def nets(bits: Iterable[Bit]) -> list[int]:
    """Return the nets of a word, each once, without its constants."""
    return list(dict.fromkeys(bit for bit in bits if isinstance(bit, int)))


def flag(bits: Iterable[Bit]) -> bool:
    """Return whether a word has one net at most, beside constants."""
    return len(nets(bits)) <= 1


def masked(cell: Cell) -> tuple[str, int] | None:
    """Return port and net of the mask of a bitwise cell, or ``None`` if it has no mask.

    A mask is one net, repeated for all bits. Where the other operand has but one net as well, which
    of them masks the other cannot be told: there is no mask.
    """
    if len(cell.ports["Y"]) > 1 and cell.kind in MASKABLE:
        for port in "BA":
            bits = cell.ports[port]
            if len(set(bits)) == 1 and len(bits) == len(cell.ports["Y"]):
                (net,) = set(bits)
                other = cell.ports["A" if port == "B" else "B"]
                if isinstance(net, int) and not flag(other):
                    return port, net
    return None


@dataclass(frozen=True)
class Dataflow:
    """The data flow of a netlist.

    Attributes:
        netlist: The netlist.
    """

    netlist: FlatNetlist

    def __post_init__(self) -> None:
        known = {*REGISTERS, *ADDERS, *SHIFTERS, *MASKABLE, *DECISIONS, *_MEMORIES}
        known |= {*SELECTS, "$not", "$pos", "$neg", "$scopeinfo"}
        for cell in self.netlist.cells:
            if cell.kind not in known:
                raise UnknownCellError(f"{cell.place or 'top'}: a cell {cell.kind}")

    @cached_property
    def register_of(self) -> dict[int, tuple[Cell, int]]:
        """Register and position of each of its output bits."""
        return {
            bit: (cell, position)
            for cell in self.netlist.of(*REGISTERS)
            for position, bit in enumerate(cell.ports["Q"])
            if isinstance(bit, int)
        }

    @cached_property
    def memory_of(self) -> dict[int, tuple[str, int]]:
        """Memory and position of each bit of a read port."""
        return {
            bit: (cell.parameters["MEMID"], position)
            for cell in self.netlist.of("$memrd_v2")
            for position, bit in enumerate(cell.ports["DATA"])
            if isinstance(bit, int)
        }

    def next_of(self, bit: int) -> Bit:
        """Return the bit that a register's bit takes over."""
        cell, position = self.register_of[bit]
        return cell.ports["D"][position]

    @cached_property
    def table_selects(self) -> dict[Cell, frozenset[int]]:
        """Multiplexers of constants only, with the sources of everything that selects."""
        found: dict[Cell, frozenset[int]] = {}
        pending = list(self.netlist.of(*SELECTS))
        while True:
            rest = []
            for cell in pending:
                inputs = {bit for port in "AB" for bit in cell.ports[port]}
                behind = {self._driver(bit) for bit in inputs if isinstance(bit, int)}
                if behind <= found.keys():
                    selects = (self.support(bit) for bit in cell.ports["S"])
                    below = (found[each] for each in behind if each is not None)
                    found[cell] = frozenset().union(*selects, *below)
                else:
                    rest.append(cell)
            if len(rest) == len(pending):
                return found
            pending = rest

    def tables(self) -> Iterator[tuple[Cell, int, frozenset[int]]]:
        """Yield each tree of multiplexers: the last one, its constants, the nets that select."""
        selects = [*self.netlist.of(*SELECTS)]
        inner = {driver for each in selects for driver in self._selected(each)}
        for root in selects:
            if root in inner:
                continue
            leaves: set[tuple[Bit, ...]] = set()
            selecting: set[int] = set()
            stack = [root]
            seen = {root}
            while stack:
                each = stack.pop()
                selecting.update(nets(each.ports["S"]))
                width = len(each.ports["Y"])
                choices = (*each.ports["A"], *each.ports["B"])
                words = (choices[first : first + width] for first in range(0, len(choices), width))
                leaves.update(tuple(word) for word in words if constant(word))
                behind = self._selected(each) - seen
                seen |= behind
                stack.extend(behind)
            yield root, len(leaves), frozenset(selecting)

    @cached_property
    def _gates(self) -> frozenset[Cell]:
        """Multiplexers of a single net."""
        return frozenset(
            cell for cell in self.netlist.of(*SELECTS) if flag((*cell.ports["A"], *cell.ports["B"]))
        )

    def _selected(self, cell: Cell) -> set[Cell]:
        """Return the multiplexers that a multiplexer selects from."""
        drivers = (self._driver(bit) for port in "AB" for bit in cell.ports[port])
        return {each for each in drivers if each is not None and each.kind in SELECTS}

    def _driver(self, bit: Bit) -> Cell | None:
        driver = self.netlist.driver(bit)
        return None if driver is None else driver[0]

    def is_source(self, bit: int) -> bool:
        """Return whether a clock begins with this bit."""
        driver = self.netlist.drivers.get(bit)
        return driver is None or driver[0].kind in REGISTERS or driver[0].kind == "$memrd_v2"

    @cached_property
    def _supports(self) -> dict[int, frozenset[int]]:
        return {}

    def support(self, bit: Bit) -> frozenset[int]:
        """Return the sources that a bit depends on in any way, within the clock."""
        if isinstance(bit, str):
            return frozenset()
        seen, found, stack = {bit}, set(), [bit]
        while stack:
            net = stack.pop()
            if self.is_source(net):
                found.add(net)
                continue
            cell, _, _ = self.netlist.drivers[net]
            for port, bits in cell.ports.items():
                if port != "Y":
                    new = {each for each in bits if isinstance(each, int)} - seen
                    seen |= new
                    stack.extend(new)
        return frozenset(found)

    def operand(self, adder: Cell, port: str) -> Sequence[Bit]:
        """Return an operand of an adder without what makes a negation of an inversion.

        ``-x = ~x + 1``: the mask of the exclusive or that made an operand is the carry, the lowest
        bit of either operand, and the inversion of the zeros above ``x``.
        """
        bits = adder.ports[port]
        inversions = {
            mask[1]
            for each in (*adder.ports["A"], *adder.ports["B"])
            if (driver := self._driver(each)) is not None
            and driver.kind == "$xor"
            and (mask := masked(driver)) is not None
        }
        return ["0" if bit in inversions else bit for bit in bits]

    def _behind(self, bit: int) -> Iterator[tuple[Bit, Way]]:
        """Yield the bits that a combinational cell's output bit carries on."""
        cell, _, p = self.netlist.drivers[bit]
        ports = cell.ports
        a, b = ports.get("A", ()), ports.get("B", ())

        def at(bits: Sequence[Bit], port: str, place: int) -> Bit:
            if place < len(bits):
                return bits[place]
            return bits[-1] if bits and cell.flag(f"{port}_SIGNED") else "0"

        none = Way(0)
        if cell.kind in ADDERS:
            for port in "AB":
                bits = self.operand(cell, port)
                yield at(bits, port, p), Way.ADDED
                yield from ((low, Way.ADDED | Way.CARRIED) for low in bits[:p])
        elif cell.kind == "$neg":
            yield at(a, "A", p), Way.ADDED
            yield from ((low, Way.ADDED | Way.CARRIED) for low in a[:p])
        elif cell.kind in ("$not", "$pos"):
            yield at(a, "A", p), none
        elif cell in self.table_selects:
            yield from ((source, Way.CHOSE) for source in self.table_selects[cell])
        elif cell.kind in SELECTS:
            yield from ((each, none) for each in (*a, *b)[p :: len(a)])
            if cell in self._gates:
                # Which of the two gates the other cannot be told.
                yield from ((each, Way.GATED | Way.DECIDED) for each in ports["S"])
        elif cell.kind in SHIFTERS:
            if constant(b):
                raise UnknownCellError(f"{cell.place}: a {cell.kind} by a constant, which is wires")
            yield from ((each, Way.GATED) for each in a)
        elif cell.kind in MASKABLE:
            mask = masked(cell)
            for port, bits in (("A", a), ("B", b)):
                if mask is None or port != mask[0]:
                    plain = mask is None and cell.kind != "$and"
                    yield at(bits, port, p), none if plain else Way.GATED
        elif p == 0:
            # A decision about one bit is that bit, one about two is a gate.
            found = nets((*a, *b))
            gate = Way.GATED if len(found) > 1 else none
            decision = Way.DECIDED if len(found) > 2 else none
            yield from ((each, gate | decision) for each in found)

    def carried(self, bit: int) -> list[int]:
        """Return the nets that a combinational bit carries on; what chooses or decides is none."""
        return [
            each for each, way in self._behind(bit) if isinstance(each, int) and not way & CONTROL
        ]

    @cached_property
    def _flow(self) -> dict[int, Sources]:
        """Sources of the bits looked at so far."""
        return {}

    def sources(self, bit: Bit) -> Sources:
        """Return the sources of the number that a bit is part of, and their ways, in this clock."""
        if isinstance(bit, str):
            return frozenset()
        flow = self._flow
        stack = [bit]
        open_: set[int] = set()
        while stack:
            net = stack[-1]
            if net in flow:
                stack.pop()
            elif self.is_source(net):
                flow[net] = frozenset([(net, Way(0))])
            else:
                behind = [(each, way) for each, way in self._behind(net) if isinstance(each, int)]
                missing = [each for each, _ in behind if each not in flow]
                if missing:
                    if net in open_:
                        raise UnknownCellError(f"a combinational loop through net {net}")
                    open_.add(net)
                    stack.extend(missing)
                else:
                    flow[net] = frozenset(
                        (source, way | passed)
                        for each, way in behind
                        for source, passed in flow[each]
                    )
        return flow[bit]

    def flow(self, bits: Iterable[Bit]) -> set[int]:
        """Return the sources of a number."""
        return {source for bit in bits for source, _ in self.sources(bit)}

    @cached_property
    def accumulators(self) -> frozenset[int]:
        """Bits of registers that an adder adds to in place, each to itself."""
        return frozenset(
            bit
            for bit in self.register_of
            if any(
                source == bit and way & Way.ADDED and not way & (Way.CARRIED | Way.CHOSE)
                for source, way in self.sources(self.next_of(bit))
            )
        )

    @cached_property
    def rings(self) -> frozenset[int]:
        """Bits of registers that come back to another place of a ring without an adder."""
        graph = {
            bit: [
                source
                for source, way in self.sources(self.next_of(bit))
                if source in self.register_of
                and source != bit
                and not way & (Way.ADDED | Way.CHOSE)
            ]
            for bit in self.register_of
        }
        return frozenset(
            bit for group in strongly_connected(graph) if len(group) > 1 for bit in group
        )

    @cached_property
    def numbers(self) -> frozenset[int]:
        """Nets of numbers that an adder takes or a memory keeps; what only decides is none."""
        stack: list[int] = []
        for adder in self.netlist.of(*ADDERS):
            for port in "AB":
                if not flag(bits := self.operand(adder, port)):
                    stack += [bit for bit in bits if isinstance(bit, int)]
        for cell in self.netlist.of("$memwr_v2"):
            stack += [bit for bit in cell.ports["DATA"] if isinstance(bit, int)]
        seen = set(stack)
        while stack:
            net = stack.pop()
            if net in self.register_of:
                behind = nets([self.next_of(net)])
            elif self.is_source(net) or self.netlist.drivers[net][0].kind in ADDERS:
                # The operands of all adders are in the stack already, but flags.
                continue
            else:
                behind = self.carried(net)
            new = set(behind) - seen
            seen |= new
            stack.extend(new)
        return frozenset(seen)

    @cached_property
    def cycles(self) -> frozenset[int]:
        """Bits of registers whose number comes back to them through others, by whatever way."""
        graph = {
            bit: [
                source
                for source in self.flow([self.next_of(bit)])
                if source in self.register_of and source not in self.cut
            ]
            for bit in self.register_of
        }
        return frozenset(
            bit for group in strongly_connected(graph) if len(group) > 1 for bit in group
        )

    @cached_property
    def cut(self) -> frozenset[int]:
        """Register bits that keep a number of their own; all others only delay."""
        return self.accumulators | self.rings

    def delays(self, bit: int) -> bool:
        """Return whether a source is a register's bit that only delays, or holds."""
        return bit in self.register_of and bit not in self.cut


def strongly_connected(graph: dict[int, list[int]]) -> Iterator[list[int]]:
    """Yield the strongly connected components (Tarjan), without recursion."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    for root, first in graph.items():
        if root in index:
            continue
        index[root] = low[root] = len(index)
        path.append(root)
        on_path.add(root)
        work = [(root, iter(first))]
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    path.append(target)
                    on_path.add(target)
                    work.append((target, iter(graph[target])))
                    break
                if target in on_path:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group: list[int] = []
                    while not group or group[-1] != node:
                        group.append(path.pop())
                        on_path.discard(group[-1])
                    yield group


class Origins:
    """Where numbers come from, looking through the registers that only delay them.

    An origin is a bit of a memory, of an input, or of a register that keeps a number of its own.

    Args:
        dataflow: Of one clock.
        without: Ways that are not followed.
        summed: Count what an accumulator adds among its origins, beside itself.
    """

    def __init__(self, dataflow: Dataflow, without: Way, *, summed: bool = False) -> None:
        self._dataflow = dataflow
        self._without = without
        self._bits: list[int] = []
        self._sets: dict[int, int] = {}
        behind = {}
        for bit in dataflow.register_of:
            sums = summed and bit in dataflow.accumulators
            if dataflow.delays(bit) or sums:
                self._sets[bit] = self._number(bit) if sums else 0
                behind[bit] = self._sources([dataflow.next_of(bit)])
        changed = True
        while changed:
            changed = False
            for bit, sources in behind.items():
                new = self._sets[bit] | self._union(sources)
                if new != self._sets[bit]:
                    self._sets[bit] = new
                    changed = True

    def _sources(self, bits: Iterable[Bit]) -> set[int]:
        return {
            source
            for bit in bits
            for source, way in self._dataflow.sources(bit)
            if not way & self._without
        }

    def _union(self, sources: Iterable[int]) -> int:
        result = 0
        for source in sources:
            if source not in self._sets:
                self._sets[source] = self._number(source)
            result |= self._sets[source]
        return result

    def _number(self, source: int) -> int:
        self._bits.append(source)
        return 1 << (len(self._bits) - 1)

    def of(self, bits: Iterable[Bit]) -> int:
        """Return the origins of a number as a set, the bits of an integer."""
        return self._union(self._sources(bits))

    def nets(self, found: int) -> list[int]:
        """Return the nets of such a set."""
        return [bit for number, bit in enumerate(self._bits) if found >> number & 1]
