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


@cocotb.test()
async def check_vectors(dut: Any) -> None:
    arrays = np.load(os.environ["NOMUL_VECTORS"])
    units = json.loads(str(arrays["units"]))
    for unit in units:
        getattr(dut, f"{unit}_in").value = 0
    Clock(dut.clk, 2, "ns").start()
    compared = 0
    for unit, (inputs, outputs) in units.items():
        stimuli = pack(inputs, arrays, f"{unit}.in")
        width_in, width_out = (sum(bits for _, bits, _ in table) for table in (inputs, outputs))
        expected = [f"{row:0{width_out}b}" for row in pack(outputs, arrays, f"{unit}.out")]
        stimulus, response = getattr(dut, f"{unit}_in"), getattr(dut, f"{unit}_out")
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        for clock, (row, right) in enumerate(zip(stimuli, expected, strict=True)):
            stimulus.value = row
            await RisingEdge(dut.clk)
            # At the edge a register still shows the value that it had during the clock.
            got = str(response.value)
            if got != right:
                lines = [f"{unit}, clock {clock}:"]
                values = tell(outputs, got)
                lines += [
                    f"  {name}: expected {value}, got {values[name]}"
                    for name, value in tell(outputs, right).items()
                    if value != values[name]
                ]
                for back in range(min(HISTORY, clock + 1)):
                    text = f"{stimuli[clock - back]:0{width_in}b}"
                    lines.append(f"  inputs of clock {clock - back}: {describe(inputs, text)}")
                raise AssertionError("\n".join(lines))
            compared += 1
        stimulus.value = 0
    assert compared, "nothing was compared"
    dut._log.info("%d clocks compared", compared)
