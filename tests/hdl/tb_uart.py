"""The cocotb testbench of the UART: times on the line, not clocks, so that both ends may differ."""

import json
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Event, RisingEdge, Timer

#: Of the clock, ps.
PERIOD = 2000


def job() -> dict[str, Any]:
    """Return what the run is told."""
    return json.loads(Path("job.json").read_text(encoding="utf-8"))


class Receiver:
    """One receiver: drives its line, collects what it says."""

    def __init__(self, dut: Any, divisor: int, seed: int) -> None:
        self._dut, self._name = dut, f"receiver{divisor}"
        self.bit = divisor * PERIOD
        self.random = random.Random(f"{seed} {divisor}")
        self.seen: list[tuple[int, bool]] = []
        self._line = getattr(dut, f"{self._name}__rx")
        self._line.value = 1
        cocotb.start_soon(self._collect())

    async def _collect(self) -> None:
        valid, data, error = (
            getattr(self._dut, f"{self._name}__{each}") for each in ("valid", "data", "error")
        )
        while True:
            await RisingEdge(self._dut.clk)
            if valid.value == 1:
                self.seen.append((int(data.value), bool(error.value)))

    async def level(self, value: int, time: float) -> None:
        """Hold the line for a time, ps."""
        self._line.value = value
        await Timer(round(time), "ps")

    async def send(self, octet: int, scale: float = 1.0, stop: int = 1) -> None:
        """Send a byte with bits that are longer or shorter."""
        for value in (0, *(octet >> place & 1 for place in range(8)), stop):
            await self.level(value, scale * self.bit)


async def started(dut: Any) -> list[Receiver]:
    """Start the clock, reset."""
    told = job()
    receivers = [Receiver(dut, each, told["seed"]) for each in told["divisors"]]
    for each in told["divisors"]:
        getattr(dut, f"transmitter{each}__data__valid").value = 0
    dut.rst.value = 1
    Clock(dut.clk, PERIOD, "ps").start()
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 2)
    return receivers


async def together(*coroutines: Any) -> None:
    """Run coroutines to their ends."""
    for task in [cocotb.start_soon(each) for each in coroutines]:
        await task


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def receives(dut: Any) -> None:
    """Every byte arrives, from a sender up to 2 % faster or slower, at any phase, gap or none."""

    async def check(receiver: Receiver) -> None:
        octets = [*range(256), *(receiver.random.randrange(256) for _ in range(50))]
        receiver.random.shuffle(octets)
        octets = octets[: job()["bytes"]]
        for scale in (0.98, 1.0, 1.02):
            receiver.seen.clear()
            await Timer(receiver.random.randrange(PERIOD) + 1, "ps")
            for octet in octets:
                await receiver.send(octet, scale)
                if receiver.random.random() < 0.3:
                    await receiver.level(1, receiver.random.random() * 3 * receiver.bit + 1)
            await receiver.level(1, 2 * receiver.bit)
            assert receiver.seen == [(octet, False) for octet in octets], (receiver.bit, scale)

    await together(*(check(each) for each in await started(dut)))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def tells_errors(dut: Any) -> None:
    """A stop bit that is missing, a line held at 0, a glitch; what follows is received."""

    async def check(receiver: Receiver) -> None:
        await receiver.level(1, 0.37 * receiver.bit)
        await receiver.send(0xA5, stop=0)
        await receiver.level(1, receiver.bit)
        await receiver.send(0x5A)
        await receiver.level(0, 35 * receiver.bit)
        await receiver.level(1, receiver.bit)
        await receiver.send(0xFF)
        # A clock less than half a bit; the middle may be seen a clock early.
        for _ in range(5):
            await receiver.level(0, receiver.bit / 2 - PERIOD * 1.1)
            await receiver.level(1, 3 * receiver.bit)
        await receiver.send(0x00)
        await receiver.level(1, 2 * receiver.bit)
        wanted = [(0xA5, True), (0x5A, False), (0x00, True), (0xFF, False), (0x00, False)]
        assert receiver.seen == wanted, receiver.bit

    await together(*(check(each) for each in await started(dut)))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def transmits(dut: Any) -> None:
    """Every bit lasts the divisor's clocks; bytes follow one another or pause."""
    await started(dut)
    told = job()

    async def check(divisor: int) -> None:
        chance = random.Random(f"{told['seed']} {divisor} transmit")
        octets = [chance.randrange(256) for _ in range(told["bytes"])]
        valid, data, ready = (
            getattr(dut, f"transmitter{divisor}__data__{each}")
            for each in ("valid", "payload", "ready")
        )
        line, done = getattr(dut, f"transmitter{divisor}__tx"), Event()
        levels: list[int] = []

        async def watch() -> None:
            while not done.is_set():
                await RisingEdge(dut.clk)
                levels.append(int(line.value))

        watching = cocotb.start_soon(watch())
        for octet in octets:
            if chance.random() < 0.3:
                await ClockCycles(dut.clk, chance.randint(1, 3 * divisor))
            data.value, valid.value = octet, 1
            await RisingEdge(dut.clk)
            while ready.value == 0:
                await RisingEdge(dut.clk)
            valid.value = 0
        await ClockCycles(dut.clk, 12 * divisor)
        done.set()
        await watching
        at = 0
        for octet in octets:
            at = levels.index(0, at)
            for value in (0, *(octet >> place & 1 for place in range(8)), 1):
                assert levels[at : at + divisor] == [value] * divisor, (divisor, octet)
                at += divisor
        assert 0 not in levels[at:]

    await together(*(check(each) for each in told["divisors"]))
