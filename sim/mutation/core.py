"""A Verilated core that has mutants, with a processor, packets and records around it."""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.packing import Bytes

#: The C++ side.
SOURCE = Path(__file__).with_name("core.cpp")

#: What ``core.cpp`` watches in every clock, by the bit of a violation.
_RULES = (
    "a record changed before it was taken",
    "the answer to a write changed before it was taken",
    "the answer to a read changed before it was taken",
    "an answer to no access",
    "no answer to an access",
)


class Violation(Exception):  # noqa: N818 - the gateware errs, not this program
    """The gateware broke a rule that holds in every clock; the message is one line."""


@dataclass(frozen=True)
class Answer:
    """An answer of the bus.

    Attributes:
        response: Two bits, of AXI4-Lite.
        clocks: From the clock in which all of the access was offered to that of the answer.
        data: What was read.
    """

    response: int
    clocks: int
    data: int = 0


class VerilatedCore:
    """A core after power on, in reset.

    Args:
        library: From :func:`sim.simulators.compile_library`, with :data:`SOURCE`.
        mutant: Number of the mutant that it is; 0 for the gateware as it is.
        seed: Of pauses, and of what stands on idle buses.
    """

    def __init__(self, library: Path, mutant: int, seed: int) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.core_open.restype = ctypes.c_void_p
        for name in ("clock", "wait", "waiting", "recorded_clocks"):
            getattr(self._library, f"core_{name}").restype = ctypes.c_int64
        sizes = np.zeros(2, np.int64)
        self._library.core_sizes(_address(sizes))
        self._beat_bytes, self._row_bytes = sizes.tolist()
        plusarg = f"+mutant={mutant}".encode()
        handle = self._library.core_open(plusarg, ctypes.c_uint64(seed))
        self._handle = ctypes.c_void_p(handle)

    def close(self) -> None:
        """Free it."""
        self._library.core_close(self._handle)

    @property
    def clock(self) -> int:
        """Clocks since power on."""
        clocks: int = self._library.core_clock(self._handle)
        return clocks

    @property
    def irq(self) -> bool:
        """The interrupt, in the clock that was run last."""
        return bool(self._library.core_irq(self._handle))

    def check(self) -> None:
        """Check the rules that hold in every clock.

        Raises:
            Violation: If one was broken since power on.
        """
        broken = self._library.core_violations(self._handle)
        for bit, rule in enumerate(_RULES):
            if broken >> bit & 1:
                raise Violation(rule)

    def pause(self, probability: float) -> None:
        """Let streams and bus pause from now on, with a probability."""
        self._library.core_pauses(self._handle, round(256 * probability))

    def hold(self, word: int | None) -> None:
        """Take no word of a record from this one on, from now on; ``None``: take all."""
        self._library.core_hold(self._handle, -1 if word is None else word)

    @property
    def waiting(self) -> int:
        """Beats of packets that the core has not taken."""
        beats: int = self._library.core_waiting(self._handle)
        return beats

    def reset(self, clocks: int) -> None:
        """Reset; the next clock is the first one after it. Packets and records are gone."""
        self._library.core_reset(self._handle, clocks)

    def run(self, clocks: int) -> None:
        """Run."""
        self._library.core_run(self._handle, ctypes.c_int64(clocks))

    def wait_for_irq(self, wanted: bool, clocks: int) -> None:
        """Run until the interrupt is as wanted, at most so many clocks."""
        self._library.core_wait_irq(self._handle, int(wanted), ctypes.c_int64(clocks))

    def forgive(self) -> None:
        """Let the record that is offered be withdrawn."""
        self._library.core_forgive(self._handle)

    def write(self, address: int, data: int, strobes: int) -> Answer:
        """Write.

        Raises:
            Violation: If there is no answer, or a rule was broken.
        """
        response, clocks, *_ = self._access(True, False, (address, data, strobes, 0))
        return Answer(response, clocks)

    def read(self, address: int) -> Answer:
        """Read.

        Raises:
            Violation: If there is no answer, or a rule was broken.
        """
        _, _, response, clocks, data = self._access(False, True, (0, 0, 0, address))
        return Answer(response, clocks, data)

    def write_and_read(self, address: int, data: int) -> tuple[Answer, Answer]:
        """Write and read an address, in one clock; return the answers to either.

        Raises:
            Violation: If there is no answer, or a rule was broken.
        """
        words = self._access(True, True, (address, data, 0b1111, address))
        return Answer(*words[:2]), Answer(*words[2:])

    def _access(self, writes: bool, reads: bool, request: tuple[int, int, int, int]) -> list[int]:
        words = np.array([*request, 0], np.uint32)
        self._library.core_access(self._handle, int(writes), int(reads), _address(words))
        self.check()
        answers: list[int] = words.tolist()
        return answers

    def send(self, beats: Bytes) -> None:
        """Queue beats of packets: uint8, shape (beats, bytes of a beat + 3).

        A row is data, TKEEP in two bytes, TLAST.
        """
        rows = np.ascontiguousarray(beats)
        if rows.shape[1:] != (self._beat_bytes + 3,):
            raise ValueError(f"a beat has {self._beat_bytes} bytes, not {rows.shape[1] - 3}")
        self._library.core_send(self._handle, _address(rows), ctypes.c_int64(len(rows)))

    def records(self, beats: int, clocks: int) -> Bytes:
        """Return the beats that came of records, rows as of :meth:`send`.

        Waits for so many, at most so many clocks; there may be fewer or more.
        """
        arguments = ctypes.c_int64(beats), ctypes.c_int64(clocks)
        come = self._library.core_wait(self._handle, *arguments)
        rows = np.zeros((come, self._beat_bytes + 3), np.uint8)
        self._library.core_take(self._handle, _address(rows))
        return rows

    def record(self, on: bool) -> None:
        """Record probes and handshakes from the next clock on, or stop; drop what there is."""
        self._library.core_record(self._handle, int(on))
        self.recorded()

    def recorded(self) -> tuple[Bytes, Bytes, Bytes]:
        """Take what was recorded since the last time.

        Returns:
            Packed probes (clocks, bytes); ``valid`` of the trainer's samples and ``ready`` of its
            predictions (clocks,); all uint8.
        """
        library, handle = self._library, self._handle
        clocks = library.core_recorded_clocks(handle)
        probes = np.zeros((clocks, self._row_bytes), np.uint8)
        valid, ready = np.zeros(clocks, np.uint8), np.zeros(clocks, np.uint8)
        library.core_recorded(handle, _address(probes), _address(valid), _address(ready))
        return probes, valid, ready


def _address(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
