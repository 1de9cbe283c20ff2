"""cocotb tests for the counter of test_simulators.py; each is chosen by COCOTB_TEST_FILTER."""

import os

import cocotb
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import ReadOnly, RisingEdge


async def count(dut: HierarchyObject, clocks: int) -> None:
    Clock(dut.clk, 10, "ns").start()
    dut.rst.value = 1
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    for _ in range(clocks):
        await RisingEdge(dut.clk)
    await ReadOnly()


@cocotb.test()
async def passes(dut: HierarchyObject) -> None:
    await count(dut, 11)
    assert dut.value.value.to_unsigned() == 11
    # The counter writes its value into its memory before it steps.
    words = [dut.store.memory[address].value.to_unsigned() for address in range(8)]
    assert words == [8, 9, 10, 3, 4, 5, 6, 7]


@cocotb.test()
async def fails(dut: HierarchyObject) -> None:
    await count(dut, 2)
    assert dut.value.value.to_unsigned() == 3, "the planted failure"


@cocotb.test()
async def crashes(dut: HierarchyObject) -> None:
    os._exit(3)


@cocotb.test()
async def hangs(dut: HierarchyObject) -> None:
    print("hanging in process", os.getpid(), flush=True)
    await count(dut, 10**12)
