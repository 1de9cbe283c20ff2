"""The slowest path of a placed design, in the names of the gateware.

nextpnr names cells and nets as Yosys left them: after one of the many names that a register has
(``drain.sums`` for ``lane3.accumulator``), with suffixes of its own. But Yosys also keeps where in
the Verilog text a register is assigned: of the register's names, that one is right which ends in
what is assigned there.
"""

import json
import re
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sim.synthesis.wrapper import INSTANCE

#: Kinds of segments that are not between cells.
_LOGIC = ("clk-to-q", "logic", "setup")


@dataclass(frozen=True)
class CriticalPath:
    """A path from register to register.

    Attributes:
        start: Register or memory where it begins: ``trainer.lane3.accumulator``, or
            ``port s_axis_tdata``.
        end: Where it ends.
        end_pin: Pin of the cell there: ``LSR`` is a reset, ``CE`` an enable, others are data.
        logic_ns: Time in cells, the registers' own included.
        routing_ns: Time between cells.
        cells: Cells between the registers.
    """

    start: str
    end: str
    end_pin: str
    logic_ns: float
    routing_ns: float
    cells: int

    def __str__(self) -> str:
        pins = {"LSR": " (reset)", "CE": " (enable)"}
        return (
            f"{self.start} -> {self.end}{pins.get(self.end_pin, '')}: {self.logic_ns:.1f} ns logic "
            f"in {self.cells} cells, {self.routing_ns:.1f} ns routing"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def critical_path(report: dict[str, Any], netlist: Path, design: Path) -> CriticalPath | None:
    """Return the slowest path within the clock, ``None`` if the report has none.

    Args:
        report: nextpnr's report.
        netlist: Yosys's netlist, as JSON.
        design: Its Verilog text.
    """
    for each in report.get("critical_paths", []):
        if "<async>" in (each["from"], each["to"]):
            continue
        path = each["path"]
        times = {
            kind: sum(part["delay"] for part in path if part["type"] in kinds)
            for kind, kinds in (("logic", _LOGIC), ("routing", ("routing",)))
        }
        names = _Names(netlist, design)
        return CriticalPath(
            start=names.of(path[0]["from"]["cell"]),
            end=names.of(path[-1]["to"]["cell"]),
            end_pin=path[-1]["to"]["port"],
            logic_ns=round(times["logic"], 3),
            routing_ns=round(times["routing"], 3),
            cells=sum(part["type"] == "logic" for part in path),
        )
    return None


class _Names:
    """What the cells of a netlist are called in the gateware."""

    def __init__(self, netlist: Path, design: Path) -> None:
        modules = json.loads(netlist.read_text(encoding="utf-8"))["modules"]
        # Beside the design there are the cells of the library, as black boxes.
        self._module = next(each for each in modules.values() if "top" in each["attributes"])
        self._lines = design.read_text(encoding="utf-8").splitlines()
        self._design = design.name
        #: Instances of each module, by its name in the text.
        self._instances = defaultdict(list)
        for name, cell in self._module["cells"].items():
            if cell["type"] == "$scopeinfo":
                self._instances[cell["attributes"].get("module")].append(name)
        self._wrapped = INSTANCE in self._module["cells"]

    def of(self, cell: str) -> str:
        """Return the name of a register, of a memory (without its number of a block), or a port."""
        found = self._module["cells"].get(cell)
        if found is None or "Q" not in found["connections"]:
            return self._plain(re.sub(r"(\.\d+)+([$_].*)?$", "", cell))
        bit = found["connections"]["Q"][0]
        aliases = [
            name
            for name, net in self._module["netnames"].items()
            if bit in net["bits"] and not net["hide_name"]
        ]
        registers = self._registers(found["attributes"].get("src", ""))
        own = [name for name in aliases if name.rpartition(".")[2] in dict(registers)]
        # The register's own name is lost where another was preferred.
        own = own or [
            f"{instance}.{register}"
            for register, module in registers
            for instance in self._instances[module]
        ]
        one = [name for name in own if _share_instance(name, aliases)] or own
        equal = {re.sub(r"\d+", "*", name) for name in one}
        if len(one) > 1 and len(equal) == 1:
            return self._plain(equal.pop())
        return self._plain(min(one or aliases or [cell], key=len))

    def _plain(self, name: str) -> str:
        """Return a name without the wrapper's instance; what is outside of that is a port."""
        inside = name.removeprefix(f"{INSTANCE}.")
        return f"port {name}" if self._wrapped and inside == name else inside

    def _registers(self, source: str) -> list[tuple[str, str]]:
        """Return what is assigned at a place of the text, and in which module.

        A place is such as ``design.v:9166.3-9167.37|/share/cells.v:83.170-83.229``.
        """
        found = []
        place = rf"{re.escape(self._design)}:(\d+)\.\d+-(\d+)\.\d+"
        for first, last in re.findall(place, source):
            above = reversed(self._lines[: int(first)])
            module = next(line.split()[1] for line in above if line.startswith("module "))
            text = "\n".join(self._lines[int(first) - 1 : int(last)])
            names = re.findall(r"(\w+)(?:\[[^]]*\])? *<=", text)
            found += [(name, module.partition("(")[0]) for name in names]
        return found


def _share_instance(name: str, aliases: list[str]) -> bool:
    """Return whether a name is in the instance of an alias: one of several equal lanes."""
    instance = name.rpartition(".")[0]
    return any(re.match(rf"{re.escape(instance)}(\.|__)", alias) for alias in aliases)
