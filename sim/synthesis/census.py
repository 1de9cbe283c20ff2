"""Count the cells of a design: as it is elaborated, and as a family of FPGAs would build it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sim.synthesis.families import FAMILIES
from sim.synthesis.flat_netlist import FlatNetlist
from sim.synthesis.tools import run_yosys

#: Cells of Yosys that multiply, divide or raise to a power.
MULTIPLIERS = (
    *("$mul", "$macc", "$macc_v2", "$fma"),
    *("$div", "$mod", "$divfloor", "$modfloor", "$pow"),
)

#: Most gates of a design after elaboration are these; a census without one has seen nothing.
_ADDERS = ("$add", "$sub")


@dataclass(frozen=True)
class Census:
    """Cells of a design.

    Attributes:
        cells: How many there are of each type.
        found: Those of them that multiply.
    """

    cells: Mapping[str, int]
    found: Mapping[str, int]

    @property
    def clean(self) -> bool:
        """Whether none multiplies."""
        return not self.found


def elaborated(rtlil: str, top: str, folder: Path) -> tuple[Census, FlatNetlist]:
    """Flatten a design and count its cells before anything is mapped or merged.

    Args:
        rtlil: The design.
        top: Its top module.
        folder: Where Yosys works.

    Returns:
        The census after ``proc -norom; flatten; opt_clean``, and the netlist without the initial
        content of memories, in which equal cells are merged as well: what is written once may have
        been repeated for each bit.

    Raises:
        SynthesisError: If Yosys is not installed, or fails.
    """
    (folder / "design.il").write_text(rtlil, encoding="utf-8")
    run_yosys(
        f"read_rtlil design.il\nhierarchy -check -top {top}\n"
        "proc -norom\nflatten -noscopeinfo\nopt_clean\ntee -q -o elaborated.json stat -json\n"
        # Nobody asks for what memories begin with, and of a large one Yosys writes half.
        "delete t:$meminit t:$meminit_v2\n"
        "opt_merge\nopt_clean\nwrite_json netlist.json\n",
        folder,
        "elaborate.log",
    )
    census = _read(folder / "elaborated.json", MULTIPLIERS)
    if not any(census.cells.get(kind) for kind in _ADDERS):
        raise ValueError(f"{top} has no adder: that is no design to prove anything of")
    return census, FlatNetlist.load(folder / "netlist.json", top)


def synthesized(rtlil: str, top: str, family: str, folder: Path) -> Census:
    """Synthesize a design for a family, a key of ``FAMILIES``, and count its cells.

    Raises:
        SynthesisError: If Yosys is not installed, or fails.
    """
    chosen = FAMILIES[family]
    (folder / "design.il").write_text(rtlil, encoding="utf-8")
    # Straight from RTLIL, ABC9 of Yosys 0.70 may fail an assertion.
    run_yosys(
        f"read_rtlil design.il\nhierarchy -check -top {top}\n"
        f"proc\nflatten -noscopeinfo\nopt\nclean\n{chosen.command} -top {top}\n"
        f"tee -q -o {family}.json stat -json\n",
        folder,
        f"{family}.log",
    )
    return _read(folder / f"{family}.json", (*MULTIPLIERS, *chosen.dsps))


def _read(path: Path, wanted: tuple[str, ...]) -> Census:
    """Read what ``stat -json`` counted."""
    cells = json.loads(path.read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
    if not cells:
        raise ValueError(f"{path.name} counts no cells")
    return Census(cells, {kind: cells[kind] for kind in wanted if kind in cells})
