"""A flat netlist of Yosys' word-level cells, as ``write_json`` writes it."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: A bit: the number of a net, or a constant ``"0"``, ``"1"``, ``"x"``, ``"z"``.
Bit = int | str


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell.

    Attributes:
        name: In the flat module; anonymous cells are numbered, differently after every change.
        kind: Type, such as ``"$add"``.
        place: Path of the instance that it was in before flattening, ``""`` for the top.
        parameters: Of the cell; numbers are strings of binary digits.
        ports: Bits of each port, lowest first.
    """

    name: str
    kind: str
    place: str
    parameters: Mapping[str, Any]
    ports: Mapping[str, Sequence[Bit]]

    def flag(self, name: str) -> bool:
        """Return a parameter of one bit."""
        return int(self.parameters[name], 2) == 1


@dataclass(frozen=True)
class FlatNetlist:
    """A flat module.

    Attributes:
        cells: All cells.
        inputs: Bits of the input ports.
        drivers: Cell, port and position that drive a net.
        names: Name of each net that has one, with its position in the wire: that on top.
    """

    cells: Sequence[Cell]
    inputs: Sequence[int]
    drivers: Mapping[int, tuple[Cell, str, int]]
    names: Mapping[int, str]

    @classmethod
    def load(cls, path: Path, top: str, nameless: Collection[str] = ()) -> "FlatNetlist":
        """Read the top module of a JSON file; it has no hierarchy below.

        Args:
            path: The file.
            top: Name of the module.
            nameless: Wires that give no names to their nets.
        """
        module = json.loads(path.read_text(encoding="utf-8"))["modules"][top]
        cells = []
        drivers = {}
        for name, content in module["cells"].items():
            ports = content["connections"]
            cell = Cell(name, content["type"], _place(name), content["parameters"], ports)
            cells.append(cell)
            for port, direction in content["port_directions"].items():
                if direction == "output":
                    for position, bit in enumerate(ports[port]):
                        drivers[bit] = (cell, port, position)
        names: dict[int, str] = {}
        for name, content in module["netnames"].items():
            bits = content["bits"]
            if content["hide_name"] or name in nameless:
                continue
            for position, bit in enumerate(bits):
                label = name if len(bits) == 1 else f"{name}[{position}]"
                # The shortest path is the name on top.
                if bit not in names or name.count(".") < names[bit].count("."):
                    names[bit] = label
        inputs = [
            bit
            for port in module["ports"].values()
            if port["direction"] == "input"
            for bit in port["bits"]
        ]
        return cls(cells, inputs, drivers, names)

    def of(self, *kinds: str) -> Iterator[Cell]:
        """Yield the cells of some types."""
        return (cell for cell in self.cells if cell.kind in kinds)

    def driver(self, bit: Bit) -> tuple[Cell, str, int] | None:
        """Return cell, port and position that drive a bit; ``None`` for inputs and constants."""
        return self.drivers.get(bit) if isinstance(bit, int) else None


def _place(name: str) -> str:
    r"""Return ``trainer.lane0`` of ``$flatten\trainer.\lane0.$12``."""
    parts = re.findall(r"\\([^\\$]+)\.", name) if name.startswith("$flatten") else []
    return ".".join(parts)
