"""The UART, on both simulators: bytes at times that are not the clock's, errors, exact bits."""

import json
from pathlib import Path

import pytest
from amaranth.hdl import *
from amaranth.lib import wiring

from hdl.uart import MIN_DIVISOR, UartReceiver, UartTransmitter, check_divisor
from hdl.verilog import convert
from sim.simulators import SIMULATORS, SimulationFailed, compile_design, run_testbench

HERE = Path(__file__).parent

TOP = "uart_bench"

#: Clocks of a bit: the fewest, an odd number, a usual one.
DIVISORS = (4, 5, 16)


class Bench(wiring.Component):
    """A receiver and a transmitter for each divisor."""

    def __init__(self, receiver: type[UartReceiver], transmitter: type[UartTransmitter]) -> None:
        self.units = {f"receiver{each}": receiver(each) for each in DIVISORS}
        self.units |= {f"transmitter{each}": transmitter(each) for each in DIVISORS}
        flow = {name: each.signature for name, each in self.units.items()}
        super().__init__({name: wiring.Out(each) for name, each in flow.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, unit in self.units.items():
            m.submodules[f"{name}_unit"] = unit
            wiring.connect(m, wiring.flipped(getattr(self, name)), unit)
        return m


def run(
    simulator: str,
    folder: Path,
    tests: str = "receives|tells_errors|transmits",
    receiver: type[UartReceiver] = UartReceiver,
    transmitter: type[UartTransmitter] = UartTransmitter,
    count: int = 40,
) -> int:
    """Run tests of ``tb_uart.py``, by a regular expression of their names."""
    verilog = convert(Bench(receiver, transmitter), TOP)
    build = compile_design(simulator, verilog, TOP)
    folder.mkdir(exist_ok=True)
    told = {"divisors": DIVISORS, "seed": 1, "bytes": count}
    (folder / "job.json").write_text(json.dumps(told), encoding="utf-8")
    return run_testbench(
        simulator,
        build,
        TOP,
        "tb_uart",
        folder=folder,
        environment={
            "COCOTB_TEST_FILTER": rf"\.({tests})$",
            "COCOTB_LOG_LEVEL": "WARNING",
            "COCOTB_REWRITE_ASSERTION_FILES": "tb_uart.py",
        },
        search=(HERE,),
        timeout=300,
    )


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_uart(simulator: str, tmp_path: Path) -> None:
    assert run(simulator, tmp_path) == 3


def test_too_few_clocks_of_a_bit() -> None:
    check_divisor(MIN_DIVISOR)
    with pytest.raises(ValueError, match="divisor must be at least 4 clocks a bit, not 3"):
        check_divisor(3)


class SlowReceiver(UartReceiver):
    """Bits are taken to be a clock longer."""

    def __init__(self, divisor: int) -> None:
        super().__init__(divisor + 1)


class BlindToStop(UartReceiver):
    """The stop bit may be missing."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.error.eq(0)
        return m


class EarlyEnd(UartTransmitter):
    """The next byte may begin before the stop bit is over."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += self.data.ready.eq(~self.busy[1:].any())
        return m


@pytest.mark.parametrize(
    ("fault", "test"),
    [(SlowReceiver, "receives"), (BlindToStop, "tells_errors"), (EarlyEnd, "transmits")],
)
def test_fault_is_found(fault: type, test: str, tmp_path: Path) -> None:
    units = {fault.__mro__[1].__name__.removeprefix("Uart").lower(): fault}
    with pytest.raises(SimulationFailed, match=rf"failed: tb_uart\.{test}\n"):
        run("icarus", tmp_path, test, **units)
