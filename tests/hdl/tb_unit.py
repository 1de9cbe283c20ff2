"""The cocotb testbench of all unit tests: drive every input, check every output, on every clock.

The file that ``NOMUL_VECTORS`` names is written by ``unit_bench.py``.
"""

import json
import os
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

#: Clocks of input shown with a mismatch: no unit's pipeline is longer.
HISTORY = 4


def pack(columns: list[Any], arrays: Any, prefix: str) -> list[int]:
    """Return one integer a clock: the columns, first one in the lowest bits."""
    rows, low = [0] * len(arrays[f"{prefix}.{columns[0][0]}"]), 0
    for name, bits, _ in columns:
        mask = (1 << bits) - 1
        values = arrays[f"{prefix}.{name}"].tolist()
        rows = [row | (value & mask) << low for row, value in zip(rows, values, strict=True)]
        low += bits
    return rows


def tell(columns: list[Any], text: str) -> dict[str, str]:
    """Return the value of each column of a packed port, given as the simulator's bits."""
    values, high = {}, len(text)
    for name, bits, signed in columns:
        word, high = text[high - bits : high], high - bits
        if set(word) <= {"0", "1"}:
            number = int(word, 2)
            values[name] = str(number - (1 << bits) if signed and word[0] == "1" else number)
        else:
            values[name] = f"0b{word}"
    return values


def describe(columns: list[Any], text: str) -> str:
    """Return all columns of a packed port on one line."""
    return " ".join(f"{name}={value}" for name, value in tell(columns, text).items())


class Unit:
    """The vectors of one unit, its packed ports, and where it stands."""

    def __init__(self, dut: Any, name: str, tables: Any, arrays: Any) -> None:
        self._name, (self._inputs, self._outputs) = name, tables
        self._stimuli = pack(self._inputs, arrays, f"{name}.in")
        self._width_in, width_out = (sum(bits for _, bits, _ in table) for table in tables)
        rows = pack(self._outputs, arrays, f"{name}.out")
        self._expected = [f"{row:0{width_out}b}" for row in rows]
        self._stimulus, self._response = getattr(dut, f"{name}_in"), getattr(dut, f"{name}_out")
        self.clocks = len(rows)

    def drive(self, clock: int) -> None:
        """Give the inputs of a clock."""
        self._stimulus.value = self._stimuli[clock]

    def compare(self, clock: int) -> None:
        """Compare what came out in a clock, at its end.

        At the edge a register still shows the value that it had during the clock.
        """
        got, right = str(self._response.value), self._expected[clock]
        if got == right:
            return
        lines = [f"{self._name}, clock {clock}:"]
        values = tell(self._outputs, got)
        lines += [
            f"  {name}: expected {value}, got {values[name]}"
            for name, value in tell(self._outputs, right).items()
            if value != values[name]
        ]
        for back in range(min(HISTORY, clock + 1)):
            text = f"{self._stimuli[clock - back]:0{self._width_in}b}"
            lines.append(f"  inputs of clock {clock - back}: {describe(self._inputs, text)}")
        raise AssertionError("\n".join(lines))


@cocotb.test()
async def check_vectors(dut: Any) -> None:
    arrays = np.load(os.environ["NOMUL_VECTORS"])
    tables = json.loads(str(arrays["units"]))
    units = [Unit(dut, name, each, arrays) for name, each in tables.items()]
    for name in tables:
        getattr(dut, f"{name}_in").value = 0
    Clock(dut.clk, 2, "ns").start()
    dut.rst.value = 1
    edge = RisingEdge(dut.clk)
    await edge
    await edge
    dut.rst.value = 0
    compared = 0
    # All units side by side: a clock of the simulator costs more than a vector.
    for clock in range(max(unit.clocks for unit in units)):
        units = [unit for unit in units if clock < unit.clocks]
        for unit in units:
            unit.drive(clock)
        await edge
        for unit in units:
            unit.compare(clock)
        compared += len(units)
    assert compared, "nothing was compared"
    dut._log.info("%d vectors compared", compared)
