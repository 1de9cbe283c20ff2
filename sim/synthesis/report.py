"""What ``nomul synth`` found, as JSON and as Markdown.

A figure is what a tool said, or :data:`UNMEASURED`.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sim.markdown import RIGHT, table
from sim.synthesis.families import FAMILIES, Resources
from sim.synthesis.mapping import Synthesis
from sim.synthesis.placement import PACKAGE, Placement, Target

#: Stands for a figure that was not measured.
UNMEASURED = "UNMEASURED"


@dataclass(frozen=True)
class Findings:
    """What was measured of a design.

    Attributes:
        lanes: Its lanes.
        netlists: The module alone, by family; a family that was not asked for is not there.
        target: Of the placements.
        placements: One a seed; none without place and route.
        clocks: Clocks a training sample, mean; ``None`` without a data set.
    """

    lanes: int
    netlists: Mapping[str, Synthesis]
    target: Target
    placements: Sequence[Placement]
    clocks: float | None

    @property
    def fmax(self) -> float | None:
        """Median over the seeds in MHz, ``None`` if a seed has no figure."""
        found = [each.fmax for each in self.placements if each.fmax is not None]
        if not found or len(found) < len(self.placements):
            return None
        return statistics.median(found)

    @property
    def samples_per_second(self) -> float | None:
        """Training samples a second at ``fmax``."""
        if self.fmax is None or self.clocks is None:
            return None
        return self.fmax * 1e6 / self.clocks

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, :data:`UNMEASURED` where there is none."""
        placed: dict[str, Any] | None = None
        if self.placements:
            placed = {
                "device": f"ECP5-{self.target.device}",
                "package": PACKAGE,
                "speed_grade": self.target.speed,
                "target_mhz": self.target.freq,
                "placer": self.target.placer,
                "seeds": [
                    {
                        **each.clock,
                        "critical_path": None if each.path is None else asdict(each.path),
                        "utilization": {
                            name: {"used": used, "available": there}
                            for name, (used, there) in each.utilization.items()
                        },
                    }
                    for each in self.placements
                ],
            }
        found = {
            "families": {
                name: self._family(name, self.netlists[name]) if name in self.netlists else None
                for name in FAMILIES
            },
            "place_and_route": placed,
            "fmax_mhz": self.fmax,
            "clocks_a_sample": self.clocks,
            "samples_per_second": self.samples_per_second,
        }
        return {name: told(value) for name, value in found.items()}

    def _family(self, name: str, netlist: Synthesis) -> dict[str, Any]:
        own = netlist.resources
        return {
            **asdict(own),
            "luts_per_lane": own.luts / self.lanes,
            "cells": netlist.cells,
            "devices": {
                device: {"fits": not own.exceeding(there), **_shares(own, there)}
                for device, there in FAMILIES[name].devices.items()
            },
        }

    def to_markdown(self, title: str) -> str:
        """Return tables of all figures."""
        areas = [["family", "look-up tables", "a lane", "flip-flops", "block RAMs", "multipliers"]]
        fits = [["device", "look-up tables", "flip-flops", "block RAMs", "fits"]]
        for name, family in FAMILIES.items():
            netlist = self.netlists.get(name)
            if netlist is None:
                areas.append([family.title, *[UNMEASURED] * 5])
                continue
            own = netlist.resources
            areas.append(
                [
                    family.title,
                    f"{own.luts:,} {family.lut}",
                    f"{own.luts / self.lanes:,.1f}",
                    f"{own.flip_flops:,}",
                    f"{own.block_rams:,} of {family.block_ram}",
                    f"{own.dsps:,}",
                ]
            )
            for device, there in family.devices.items():
                shares = [f"{100 * share:.0f} %" for share in _shares(own, there).values()]
                short = own.exceeding(there)
                fits.append([f"{family.title} {device}", *shares, "no" if short else "yes"])
        runs = [["seed", "Fmax", "slowest path"]]
        runs += [
            [
                str(each.seed),
                _figure(each.fmax, " MHz"),
                str(each.path or UNMEASURED if each.fault is None else each.fault),
            ]
            for each in self.placements
        ]
        sums = [
            ["clock", "clocks a sample", "samples per second"],
            [
                _figure(self.fmax, " MHz"),
                _figure(self.clocks, ""),
                UNMEASURED
                if self.samples_per_second is None
                else f"{self.samples_per_second:,.0f}",
            ],
        ]
        parts = [f"# {title}", "Synthesised by Yosys, the module alone:", _figures(areas)]
        if self.netlists:
            parts += ["By these counts, of what a device has:", _figures(fits)]
        if self.placements:
            parts += [
                f"Placed and routed by nextpnr, in the wrapper, on an ECP5-{self.target.device}, "
                f"speed grade {self.target.speed}, package {PACKAGE}, aiming at "
                f"{self.target.freq} MHz, placer {self.target.placer}:",
                _figures(runs),
            ]
        parts += ["Clock: the median of the seeds.", _figures(sums)]
        return "\n\n".join(parts) + "\n"


def _shares(own: Resources, device: Resources) -> dict[str, float]:
    """Return the shares of a device that a design takes."""
    return {
        "luts_used": own.luts / device.luts,
        "flip_flops_used": own.flip_flops / device.flip_flops,
        "block_rams_used": own.block_rams / device.block_rams,
    }


def told(value: Any) -> Any:
    """Return a value with :data:`UNMEASURED` for each ``None`` in it."""
    if isinstance(value, dict):
        return {name: told(each) for name, each in value.items()}
    if isinstance(value, list):
        return [told(each) for each in value]
    return UNMEASURED if value is None else value


def _figure(value: float | None, unit: str) -> str:
    return UNMEASURED if value is None else f"{value:,.1f}{unit}"


def _figures(rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first row is its heading, figures stand right."""
    return table(rows[0], rows[1:], others=RIGHT)
