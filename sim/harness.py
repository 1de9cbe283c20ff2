"""The Verilated trainer as a shared library: thousands of clocks in one call.

Where cocotb wakes Python on every clock, :file:`harness.cpp` drives the streams itself and records
each clock into memory of this process. It judges nothing. Calls release the GIL.
"""

import ctypes
import dataclasses
import re
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.layout import Layout, by_unit
from golden.packing import Bytes, Packing
from golden.parameters import Parameters
from golden.state import State
from hdl.verilog import CLOCKS, Generated
from sim.simulators import SimulatorError, compile_library

#: Module around the gateware.
BENCH_TOP = "nomul_bench"

_SOURCE = Path(__file__).with_name("harness.cpp")


class _Run(ctypes.Structure):
    """``struct Run`` of the library."""

    _fields_ = (
        ("payloads", ctypes.c_void_p),
        ("transfers", ctypes.c_int64),
        ("position", ctypes.c_int64),
        ("samples", ctypes.c_int64),
        ("stalls", ctypes.c_void_p),
        ("probes", ctypes.c_void_p),
        ("valid", ctypes.c_void_p),
        ("ready", ctypes.c_void_p),
        ("predictions", ctypes.c_void_p),
        ("predicted", ctypes.c_int64),
        ("idle", ctypes.c_int64),
    )


@dataclasses.dataclass(eq=False)
class Recording:
    """What a trainer did in consecutive clocks; uint8 arrays.

    Attributes:
        probes: Shape (capacity, ``Packing.row_bytes``): the port ``probes`` in each clock.
        valid: Shape (capacity,): ``samples.valid``.
        ready: Shape (capacity,): ``predictions.ready``.
        predictions: Shape (capacity, bytes): payloads of ``predictions`` that were taken.
        weights: Shape (rows, bytes): the weight memory after the last clock, packed.
        biases: The same of the bias memory.
        clocks: Clocks recorded.
        predicted: Payloads recorded.
        idle: How many of the clocks had passed when nothing was left to do; ``None`` before.
    """

    probes: Bytes
    valid: Bytes
    ready: Bytes
    predictions: Bytes
    weights: Bytes
    biases: Bytes
    clocks: int = 0
    predicted: int = 0
    idle: int | None = None


def library(parameters: Parameters, generated: Generated, cache: Path | None = None) -> Path:
    """Compile probed gateware with the harness, or find it compiled.

    The initial values of its random sources become plusargs, so that it need not be compiled again
    to go on from another state; nothing else of its text changes.

    Raises:
        SimulatorError: If a tool is missing or refuses the gateware.
    """
    verilog = generated.verilog
    for name, path in _sources(parameters).items():
        verilog = _initial_from_plusarg(verilog, f"{generated.top}_{path}", name)
    memories = {name.upper(): f"trainer.{path}" for name, path in generated.memories.items()}
    return compile_library(verilog + bench(generated), BENCH_TOP, _SOURCE, memories, cache=cache)


def bench(generated: Generated, plusargs: Collection[str] = ()) -> str:
    """Return a module :data:`BENCH_TOP` around the gateware that registers every input.

    Verilator computes all that depends on an input twice a clock: when the input may have changed,
    and behind the edge. On the reset alone depends the next value of every register. This makes
    the gateware half as fast again.

    Args:
        generated: The gateware.
        plusargs: Inputs that are no ports of the bench: they stand still at a plusarg of their
            name, or at 0.
    """
    ports, inside, connections = [], [], []
    for port in generated.ports:
        vector = f"[{port.bits - 1}:0] " if port.bits > 1 else ""
        driver = port.name
        if port.name in plusargs:
            inside.append(f"  reg {vector}{port.name}; initial if (!$value$plusargs")
            inside.append(f'    ("{port.name}=%d", {port.name})) {port.name} = 0;')
        else:
            ports.append(f"  {port.direction} {vector}{port.name}")
            if port.direction == "input" and port.name not in CLOCKS:
                driver = f"{port.name}_now"
                inside.append(f"  reg {vector}{driver}; initial {driver} = 0;")
                inside.append(
                    f"  always @(posedge {generated.ports[0].name}) {driver} <= {port.name};"
                )
        connections.append(f"    .{port.name}({driver})")
    lines = [f"module {BENCH_TOP}(", ",\n".join(ports), ");", *inside]
    lines += [f"  {generated.top} trainer(", ",\n".join(connections), "  );", "endmodule", ""]
    return "\n".join(lines)


def _sources(parameters: Parameters) -> dict[str, str]:
    """Return the random sources of the gateware: fields of ``State``, and modules below the top."""
    dropout = {"dropout": "loader_dropout"} if parameters.input_dropout_bits else {}
    return {"draw": "draw", "update": "update", **dropout}


def _initial_from_plusarg(verilog: str, module: str, plusarg: str) -> str:
    """Let a plusarg overrule the initial value of a module's one register."""
    pattern = rf"^(module {module} ?\(.*?)^endmodule"
    found = re.search(pattern, verilog, re.MULTILINE | re.DOTALL)
    text = found[1] if found else ""
    registers = re.findall(r"always @\(posedge clk\)\s+(\w+) <=", text)
    if found is None or len(registers) != 1:
        raise SimulatorError(f"module {module} of the gateware has not one register")
    edited, count = re.subn(
        rf"initial ({registers[0]} = \S+;)",
        rf'initial if (!$value$plusargs("{plusarg}=%h", {registers[0]})) \1',
        text,
    )
    if count != 1:
        raise SimulatorError(f"{registers[0]} of module {module} has not one initial value")
    return verilog[: found.start(1)] + edited + verilog[found.end(1) :]


class Trainer:
    """A Verilated trainer at rest.

    Args:
        parameters: The configuration.
        path: From :func:`library`.
        state: What it remembers; ``None`` is a reset, from the state that it was generated with.

    Attributes:
        samples: Samples done since then, once those offered are done.
    """

    def __init__(self, parameters: Parameters, path: Path, state: State | None = None) -> None:
        p, layout = parameters, Layout.of(parameters)
        self._p = p
        self.weights = Packing([p.weight_bits] * p.lanes)
        self.biases = Packing([p.bias_bits] * p.lanes)
        self._probes = Packing.of_probes(p)
        self._at_work = threading.Lock()
        self._library = ctypes.CDLL(str(path))
        self._library.nomul_open.restype = ctypes.c_void_p
        self._library.nomul_run.restype = ctypes.c_int64
        plusargs = [] if state is None else _plusargs(p, state)
        arguments = (ctypes.c_char_p * len(plusargs))(*plusargs)
        self._handle = ctypes.c_void_p(self._library.nomul_open(len(plusargs), arguments))
        sizes = np.zeros(7, np.int64)
        self._library.nomul_sizes(self._handle, _address(sizes))
        self._payload_bytes, self._prediction_bytes, probes, *memories = sizes.tolist()
        rows = [max(2, layout.rows), max(2, layout.block_rows)]
        if [probes, *memories] != [
            self._probes.row_bytes,
            self.weights.row_bytes,
            self.biases.row_bytes,
            *rows,
        ]:
            raise ValueError(f"the library is not of such a trainer: {sizes.tolist()}")
        self._memory_rows = rows
        if state is not None:
            weights = _memory(self.weights, state.weights, rows[0])
            biases = _memory(self.biases, state.biases, rows[1])
            units = np.array(by_unit(p, state.biases)).reshape(-1, 1)
            one_by_one = _memory(Packing([p.bias_bits]), units, len(units))
            self._library.nomul_load(
                self._handle, _address(weights), _address(biases), _address(one_by_one)
            )
        self._run = _Run()
        self._payloads = np.zeros((0, self._payload_bytes), np.uint8)
        self.samples = 0

    def close(self) -> None:
        """Free the trainer, after the recording that another thread may be making."""
        with self._at_work:
            self._library.nomul_close(self._handle)
            self._handle = ctypes.c_void_p(None)

    def recording(self, clocks: int) -> Recording:
        """Return space for so many clocks."""
        return Recording(
            probes=np.zeros((clocks, self._probes.row_bytes), np.uint8),
            valid=np.zeros(clocks, np.uint8),
            ready=np.zeros(clocks, np.uint8),
            predictions=np.zeros((clocks, self._prediction_bytes), np.uint8),
            weights=np.zeros((self._memory_rows[0], self.weights.row_bytes), np.uint8),
            biases=np.zeros((self._memory_rows[1], self.biases.row_bytes), np.uint8),
        )

    def offer(self, payloads: Bytes, samples: int) -> None:
        """Begin to offer transfers in the next clock; the trainer must be at rest.

        Args:
            payloads: uint8, shape (transfers, bytes), little-endian.
            samples: How many samples they are.
        """
        missing = self._payload_bytes - payloads.shape[1]
        self._payloads = np.ascontiguousarray(np.pad(payloads, [(0, 0), (0, missing)]))
        self.samples += samples
        self._run = _Run(
            payloads=_address(self._payloads), transfers=len(payloads), samples=self.samples
        )
        self._library.nomul_offer(self._handle, ctypes.byref(self._run))

    def record(self, recording: Recording, stalls: Bytes, landing: int) -> Recording:
        """Record until a sample is done, nothing is left to do, or the recording is full.

        Args:
            recording: Is overwritten and returned.
            stalls: uint8, for what follows each clock: 1 to begin no transfer, 2 not to be ready,
                3 both; or empty for none.
            landing: Clocks to record after the one in which nothing is left to do.

        Raises:
            RuntimeError: If the trainer has been closed, as after an interrupt.
        """
        with self._at_work:
            if not self._handle:
                raise RuntimeError("the trainer is closed")
            return self._record(recording, stalls, landing)

    def _record(self, recording: Recording, stalls: Bytes, landing: int) -> Recording:
        run, full = self._run, len(recording.valid) - landing
        run.stalls = _address(stalls) if len(stalls) else None
        run.predictions, run.predicted, run.idle = _address(recording.predictions), 0, 0
        recording.clocks = self._clocks(recording, 0, full, stop=True)
        recording.idle = None
        if run.idle:
            recording.idle = recording.clocks
            run.stalls = None
            recording.clocks += self._clocks(recording, recording.clocks, landing, stop=False)
        recording.predicted = run.predicted
        self._library.nomul_read(
            self._handle, _address(recording.weights), _address(recording.biases)
        )
        return recording

    def _clocks(self, recording: Recording, first: int, clocks: int, *, stop: bool) -> int:
        run = self._run
        run.probes = _address(recording.probes[first:])
        run.valid, run.ready = _address(recording.valid[first:]), _address(recording.ready[first:])
        done: int = self._library.nomul_run(
            self._handle, ctypes.byref(run), ctypes.c_int64(clocks), int(stop)
        )
        return done

    def run_free(self, clocks: int) -> int:
        """Run until nothing is left to do, or so many clocks, record nothing; return the clocks."""
        run, done = self._run, 0
        run.stalls, run.probes, run.predictions, run.idle = None, None, None, 0
        while done < clocks and not run.idle:
            left = ctypes.c_int64(clocks - done)
            done += self._library.nomul_run(self._handle, ctypes.byref(run), left, 1)
        return done

    @property
    def idle(self) -> bool:
        """The port ``idle``."""
        return bool(self._library.nomul_idle(self._handle))


def _address(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _plusargs(parameters: Parameters, state: State) -> list[bytes]:
    plusargs = [b"nomul"]
    for name in _sources(parameters):
        packing = Packing([parameters.random_width] * len(getattr(state, name)))
        packed = packing.pack(getattr(state, name).view(np.int64).reshape(1, -1))
        plusargs.append(f"+{name}={int.from_bytes(packed.tobytes(), 'little'):x}".encode())
    return plusargs


def _memory(packing: Packing, words: npt.NDArray[Any], rows: int) -> Bytes:
    """Return a memory's content; one of a single row has a second one, of zeros."""
    packed = packing.pack(words.astype(np.int64))
    return np.ascontiguousarray(np.pad(packed, [(0, rows - len(packed)), (0, 0)]))
