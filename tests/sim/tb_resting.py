"""cocotb test of test_simulators.py: an output that never changes has its value all the same."""

import cocotb
from cocotb.handle import HierarchyObject
from cocotb.triggers import Timer


@cocotb.test()
async def resting(dut: HierarchyObject) -> None:
    await Timer(1, "ns")
    assert str(dut.ready.value) == "1"
