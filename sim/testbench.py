"""The cocotb side of the lockstep: drive the streams, record every clock, dump the memories.

It runs inside the simulator and judges nothing. What it sees goes through a pipe to the process
that started the simulator (:mod:`sim.lockstep`), which compares while the simulation goes on.

The pipe carries frames: one byte of kind, the length as 64 bits little-endian, the content.

====  ===================================================================================
kind  content
====  ===================================================================================
R     a recording of n clocks: n bytes of ``samples.valid``, n bytes of ``predictions.ready``
      (0 or 1), then for each clock the characters of the port ``probes``, highest bit first
M     a memory, as the characters of its words, highest bit first, in the order of the job
E     JSON: ``clocks`` until the trainer was idle, ``predictions``, payloads in order
====  ===================================================================================
"""

import json
import os
import random
import struct
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Self

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, Timer

#: File of the job in the folder that the simulation runs in.
JOB_FILE = "job.json"

#: File of the payloads of the stream ``samples``, in order.
PAYLOADS_FILE = "payloads.bin"

#: Header of a frame: kind and length.
FRAME = struct.Struct("<cQ")

# Writes of the last sample land some clocks after the trainer is idle.
_LANDING_CLOCKS = 8


@dataclass(frozen=True)
class MemoryJob:
    """A memory to dump.

    Attributes:
        path: Path below the top; empty when the port ``host`` is to be asked, one lane at a time.
        number: The port's number of the memory.
        words: Words, each a row.
        lanes: Lanes of a row.
        bits: Bits of a lane.
    """

    path: str
    number: int
    words: int
    lanes: int
    bits: int


@dataclass(frozen=True)
class Job:
    """What the testbench is to do.

    Attributes:
        pipe: File descriptor to write frames to.
        payload_bytes: Bytes of one payload in :data:`PAYLOADS_FILE`, little-endian.
        in_ready: Position of the probe of that name in the characters of a clock.
        out_valid: Likewise.
        chunk: Clocks of a recording.
        limit: Clocks after which the trainer is taken to hang.
        stalls: Probability of holding back a transfer that could start, and of not being ready for
            a prediction, in each clock.
        seed: Seed of the stalls.
        memories: The memories to dump.
        steady: Clocks that the port ``host`` needs to find a word.
    """

    pipe: int
    payload_bytes: int
    in_ready: int
    out_valid: int
    chunk: int
    limit: int
    stalls: float
    seed: int
    memories: tuple[MemoryJob, ...]
    steady: int

    def save(self, folder: Path) -> None:
        """Write the job for the testbench that runs in ``folder``."""
        (folder / JOB_FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the job."""
        fields = json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))
        memories = tuple(MemoryJob(**memory) for memory in fields.pop("memories"))
        return cls(**fields, memories=memories)


def send_frame(pipe: int, kind: bytes, content: bytes) -> None:
    """Write a frame to the pipe."""
    for part in (FRAME.pack(kind, len(content)), content):
        view = memoryview(part)
        while view:
            view = view[os.write(pipe, view) :]


@cocotb.test()
async def lockstep(dut: Any) -> None:
    """Run the job of the present folder.

    A transfer that was offered stays until it is taken, as the stream's rules demand; stalls delay
    the offer.
    """
    job = Job.load(Path.cwd())
    payloads = Path(PAYLOADS_FILE).read_bytes()
    size = job.payload_bytes
    transfers = len(payloads) // size
    stalls = random.Random(job.seed)  # noqa: S311 - a stimulus, not a secret
    parent = os.getppid()

    # Looked up once: a look-up costs as much as half a clock.
    in_ready, out_valid, stall = job.in_ready, job.out_valid, job.stalls
    probes, idle = dut.probes, dut.idle
    samples_valid, samples_payload = dut.samples__valid, dut.samples__payload
    predictions_ready, predictions_payload = dut.predictions__ready, dut.predictions__payload
    edge = RisingEdge(dut.clk)

    def offer(position: int) -> bool:
        if position == transfers or (stall and stalls.random() < stall):
            return False
        payload = payloads[position * size : (position + 1) * size]
        samples_payload.value = int.from_bytes(payload, "little")
        return True

    dut.rst.value = 1
    samples_valid.value = 0
    samples_payload.value = 0
    predictions_ready.value = 0
    # All of the port: in a netlist, an unknown bit that does not matter may pass for one that does.
    for name in ("active", "memory", "row", "lane", "load", "data", "store", "state"):
        getattr(dut, f"host__{name}").value = 0
    # What these inputs mean must have reached every register of a netlist before the first edge.
    dut.clk.value = 0
    await Timer(1, "ns")
    Clock(dut.clk, 2, "ns").start()
    for _ in range(4):
        await edge

    # From here on an edge ends a clock; clock 0 is the first without reset.
    dut.rst.value = 0
    position, clock, idle_since = 0, 0, None
    predictions = []
    valid, ready = offer(0), True
    samples_valid.value = int(valid)
    predictions_ready.value = 1
    while idle_since is None or clock < idle_since + _LANDING_CLOCKS:
        rows, valids, readies = [], bytearray(), bytearray()
        for _ in range(job.chunk):
            await edge
            row = str(probes.value)
            rows.append(row)
            valids.append(valid)
            readies.append(ready)
            if ready and row[out_valid] == "1":
                predictions.append(int(predictions_payload.value))
            if position == transfers and idle_since is None and idle.value == 1:
                idle_since = clock
            clock += 1
            # Now drive the next clock; only what changes is written.
            if not valid:
                if offer(position):
                    valid = True
                    samples_valid.value = 1
            elif row[in_ready] == "1":
                position += 1
                if not offer(position):
                    valid = False
                    samples_valid.value = 0
            if stall and ready == (stalls.random() < stall):
                ready = not ready
                predictions_ready.value = int(ready)
        send_frame(job.pipe, b"R", bytes(valids) + bytes(readies) + "".join(rows).encode())
        if clock > job.limit:
            raise TimeoutError(
                f"not idle after {clock} clocks, {position} of {transfers} transfers taken"
            )
        if os.getppid() != parent:
            raise ProcessLookupError("the process that compares is gone")

    for memory in job.memories:
        text = _by_path(dut, memory) if memory.path else await _by_host(dut, memory, job.steady)
        send_frame(job.pipe, b"M", text.encode())
    end = {"clocks": idle_since, "predictions": predictions}
    send_frame(job.pipe, b"E", json.dumps(end).encode())


def _by_path(dut: Any, job: MemoryJob) -> str:
    """Return the characters of a memory that a simulator gives access to."""
    memory = reduce(getattr, job.path.split("."), dut)
    return "".join(str(memory[word].value) for word in range(job.words))


async def _by_host(dut: Any, job: MemoryJob, steady: int) -> str:
    """Return the characters of a memory as the idle trainer's port ``host`` tells them."""
    dut.host__active.value = 1
    dut.host__memory.value = job.number
    text: list[str] = []
    for row in range(job.words):
        dut.host__row.value = row
        lanes = []
        for lane in range(job.lanes):
            dut.host__lane.value = lane
            await ClockCycles(dut.clk, steady + 1)
            lanes.append(str(dut.host__word.value)[-job.bits :])
        text += reversed(lanes)
    dut.host__active.value = 0
    return "".join(text)
