"""FPGA families: how Yosys maps to each, what its cells are, and what some devices hold."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sim.synthesis.tools import SynthesisError


@dataclass(frozen=True)
class Resources:
    """What a design takes, or a device has.

    Attributes:
        luts: Look-up tables, those of carry chains and of distributed RAM included.
        flip_flops: Flip-flops.
        block_rams: Block RAMs, of the family's unit.
        dsps: Multipliers.
    """

    luts: int
    flip_flops: int
    block_rams: int
    dsps: int

    def exceeding(self, device: "Resources") -> list[str]:
        """Return what a device has too few of: ``118 block RAMs of 56``."""
        pairs = {
            "look-up tables": (self.luts, device.luts),
            "flip-flops": (self.flip_flops, device.flip_flops),
            "block RAMs": (self.block_rams, device.block_rams),
            "multipliers": (self.dsps, device.dsps),
        }
        return [
            f"{own:,} {name} of {there:,}" for name, (own, there) in pairs.items() if own > there
        ]


@dataclass(frozen=True)
class Family:
    """An FPGA family.

    Attributes:
        title: Its name.
        command: Synthesis command of Yosys, multipliers allowed.
        lut: What a look-up table is called.
        block_ram: What a block RAM is.
        weights: Look-up tables of each type of cell (a regular expression) that takes some.
        flip_flops: Types of flip-flops.
        block_rams: Blocks of each type of memory.
        dsps: Types of multipliers: all that a DSP block can become.
        others: Types that take none of these.
        devices: Some devices, by name.
        goal: Command before it that says what to map for, if any.
    """

    title: str
    command: str
    lut: str
    block_ram: str
    weights: Mapping[str, int]
    flip_flops: str
    block_rams: Mapping[str, int]
    dsps: tuple[str, ...]
    others: str
    devices: Mapping[str, Resources]
    goal: str = ""

    def count(self, cells: Mapping[str, int]) -> Resources:
        """Count what a netlist takes.

        Args:
            cells: Number of cells by type.

        Raises:
            SynthesisError: If a type is not known: nothing is counted by guess.
        """
        luts = flip_flops = blocks = dsps = 0
        for cell, count in cells.items():
            lut, block = _of(cell, self.weights), _of(cell, self.block_rams)
            if lut is not None:
                luts += lut * count
            elif block is not None:
                blocks += block * count
            elif re.fullmatch(self.flip_flops, cell):
                flip_flops += count
            elif cell in self.dsps:
                dsps += count
            elif not re.fullmatch(self.others, cell):
                raise SynthesisError(f"cells of type {cell} are not known in {self.title}")
        return Resources(luts, flip_flops, blocks, dsps)


def _of(cell: str, table: Mapping[str, int]) -> int | None:
    return next((value for kind, value in table.items() if re.fullmatch(kind, cell)), None)


#: The families, by the name that the command line has for them. Numbers of the devices are those of
#: their data sheets: Lattice FPGA-DS-02012, DS1040 and FPGA-DS-02008, Xilinx DS180.
FAMILIES = {
    "ecp5": Family(
        title="Lattice ECP5",
        # Logic and wires of 6 ns, by ABC's reckoning: with no goal it makes every path as fast as
        # the fastest that the slowest can be, which costs a sixth more look-up tables.
        goal="scratchpad -set abc9.D 6000",
        command="synth_ecp5",
        lut="LUT4",
        block_ram="18 Kb",
        weights={"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4},
        flip_flops="TRELLIS_FF",
        block_rams={"DP16KD|PDPW16KD": 1},
        dsps=(
            *("MULT9X9C", "MULT9X9D", "MULT18X18C", "MULT18X18D"),
            *("ALU24A", "ALU24B", "ALU54A", "ALU54B", "PRADD9A", "PRADD18A"),
        ),
        others=r"PFUMX|L6MUX21|EHXPLLL|\$scopeinfo",
        devices={
            "25F": Resources(24288, 24288, 56, 28),
            "45F": Resources(43848, 43848, 108, 72),
            "85F": Resources(83640, 83640, 208, 156),
        },
    ),
    "ice40": Family(
        title="Lattice iCE40",
        command="synth_ice40 -dsp",
        lut="LUT4",
        block_ram="4 Kb",
        weights={"SB_LUT4": 1},
        flip_flops=r"SB_DFF\w*",
        block_rams={r"SB_RAM40_4K\w*": 1},
        dsps=("SB_MAC16",),
        others=r"SB_CARRY|\$scopeinfo",
        devices={
            "HX8K": Resources(7680, 7680, 32, 0),
            "UP5K": Resources(5280, 5280, 30, 8),
        },
    ),
    "xilinx": Family(
        title="Xilinx 7",
        command="synth_xilinx -family xc7 -flatten -noiopad -noclkbuf",
        lut="LUT6",
        block_ram="18 Kb",
        weights={
            "LUT[1-6]": 1,
            "RAM(32|64)X1S|SRL16E|SRLC32E": 1,
            "RAM(32|64)X1D|RAM128X1S": 2,
            "RAM(32|64)M|RAM128X1D|RAM256X1S": 4,
        },
        flip_flops="FD[RSCP]E(_1)?",
        block_rams={"RAMB18E1": 1, "RAMB36E1": 2},
        dsps=(
            *("DSP48", "DSP48A", "DSP48A1", "DSP48E", "DSP48E1", "DSP48E2", "DSP58", "DSP_PREADD"),
            *("MULT18X18", "MULT18X18S", "MULT18X18SIO"),
        ),
        # An inverter becomes part of what it drives.
        others=r"CARRY4|MUXF[78]|INV|\$scopeinfo",
        devices={
            "XC7A35T": Resources(20800, 41600, 100, 90),
            "XC7A100T": Resources(63400, 126800, 270, 240),
            "XC7A200T": Resources(134600, 269200, 730, 740),
        },
    ),
}
