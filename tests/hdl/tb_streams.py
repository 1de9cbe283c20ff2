"""The cocotb testbench of the streams: send packets, collect records, note what happens.

It judges nothing but whether it comes to an end; ``stream_bench.py`` writes the job, compares.
"""

import itertools
import json
import random
from functools import reduce
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

#: Clocks that a packet and its record never take, without pauses.
LIMIT = 200


class Network:
    """Sends the packets of one network."""

    def __init__(self, dut: Any, name: str, job: dict[str, Any], pauses: float, seed: int) -> None:
        self._name, self._dut, self._job = name, dut, job
        bus = (AxiStreamBus.from_prefix(dut, f"{name}_{stream}") for stream in ("s_axis", "m_axis"))
        self._source, self._sink = (
            kind(each, dut.clk)
            for kind, each in zip((AxiStreamSource, AxiStreamSink), bus, strict=True)
        )
        self._random = random.Random(f"{seed} {name}")
        if pauses:
            for channel in (self._source, self._sink):
                chance = random.Random(self._random.random())
                channel.set_pause_generator(
                    chance.random() < pauses for _ in itertools.repeat(None)
                )
        for content, keep, _, _ in job["packets"]:
            frame = AxiStreamFrame(bytes.fromhex(content), keep or None)
            self._source.send_nowait(frame)
        self._settings = iter([each[2:] for each in job["packets"]])
        self.seen: dict[str, list[Any]] = {
            "records": [], "logits": [], "malformed": [], "transfers": [], "done": []
        }  # fmt: skip
        self._before = False
        self._flag = 0
        self._port("logits").value = 0
        self._set_next()

    def _port(self, name: str) -> Any:
        return getattr(self._dut, f"{self._name}_{name}")

    def _set_next(self) -> None:
        """Give the settings of the next packet's header."""
        for name, value in zip(("train", "shift"), next(self._settings, ()), strict=False):
            self._port(name).value = value

    def clock(self, clock: int) -> bool:
        """Look at the clock that ends; return whether all is over."""
        taken, last, malformed, done, idle = (
            bit == "1" for bit in reversed(str(self._port("watch").value))
        )
        if malformed:
            # A pulse comes with a word of its packet.
            self.seen["malformed"].append(sum(end for _, end in self.seen["transfers"]))
        if taken:
            self.seen["transfers"].append((clock, last))
        if done:
            self.seen["done"].append(clock)
        ports = [self._port(f"s_axis_{name}").value for name in ("tvalid", "tready", "tlast")]
        if all(ports):
            self._set_next()
        valid = bool(self._port("m_axis_tvalid").value)
        if valid and not self._before:
            # The flag as it stood in the clock before.
            self.seen["logits"].append(bool(self._flag))
        self._before = valid
        self._flag = int(self._port("logits").value)
        self._port("logits").value = self._random.randrange(2)
        while not self._sink.empty():
            frame = self._sink.recv_nowait(compact=False)
            assert all(frame.tkeep)
            self.seen["records"].append(bytes(frame.tdata).hex())
        return idle and len(self.seen["records"]) == len(self._job["packets"])

    def dump(self) -> dict[str, list[Any]]:
        """Return what was seen, and the memories."""
        trainer = self._port("trainer")
        for name, (path, words) in self._job["memories"].items():
            memory = reduce(getattr, path.split("."), trainer)
            self.seen[name] = [str(memory[word].value) for word in range(words)]
        return self.seen


@cocotb.test()
async def streams(dut: Any) -> None:
    job = json.loads(Path("job.json").read_text(encoding="utf-8"))
    edge = RisingEdge(dut.clk)
    dut.rst.value = 1
    Clock(dut.clk, 2, "ns").start()
    for _ in range(4):
        await edge
    dut.rst.value = 0
    # Only now: a packet that is offered during the reset is lost.
    networks = {
        name: Network(dut, name, each, job["pauses"], job["seed"])
        for name, each in job["networks"].items()
    }
    packets = max(len(each["packets"]) for each in job["networks"].values())
    limit = int(LIMIT * packets / (1 - job["pauses"]))
    for clock in range(limit):
        await edge
        over = [network.clock(clock) for network in networks.values()]
        if all(over):
            break
    else:
        raise TimeoutError(f"not done after {limit} clocks")
    for _ in range(8):
        await edge
    seen = {name: network.dump() for name, network in networks.items()}
    Path("seen.json").write_text(json.dumps(seen), encoding="utf-8")
