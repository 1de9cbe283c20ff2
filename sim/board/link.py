"""The host's end of the serial link (``docs/board.md``): frames, requests, answers."""

import itertools
import os
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

import numpy as np

from golden.parameters import Parameters
from hdl.board.protocol import (
    CRC_BYTES,
    ESCAPE,
    FLAG,
    FLIP,
    MAX_WORDS,
    VERSION,
    Opcode,
    Status,
)

#: Bits of a byte on the line.
BYTE_BITS = 10

# Bytes of a request in the board's buffer beside its content: number and opcode. Bytes of an answer
# beside its content: two flags, number, status, CRC.
_REQUEST, _ANSWER = 2, 4 + CRC_BYTES

# Bytes of answers that may be on their way while the host still sends: the smallest buffer of
# serial ports and their drivers that is known is 4,096 bytes. Escapes can double an answer.
_ANSWERS = 2048

# How often HELLO is sent. A board that was left in the middle of requests does them first.
_HELLOS = 5

_AGAIN = "run the command again, it loads all state anew"

_FAULTS = {
    Status.DAMAGED: "a request was damaged on its way to the board",
    Status.SEQUENCE: "a request was lost on its way to the board",
    Status.OVERFLOW: "the board's buffer overflowed",
}


class LinkError(RuntimeError):
    """The link, or what was asked over it, failed; one line, fault and mend."""


class Transport(Protocol):
    """A serial line: bytes out, bytes in."""

    def write(self, content: bytes) -> None:
        """Send bytes."""

    def deadline(self, size: int) -> float:
        """Return when, on a clock of the line's own, a wait that begins now is to end.

        Args:
            size: Bytes, of both ways together, that may go over the line meanwhile.
        """

    def read(self, deadline: float) -> bytes:
        """Return bytes that came, at least one; none if the deadline is over."""


def encode(content: bytes) -> bytes:
    """Return the frame of a content."""
    body = content + zlib.crc32(content).to_bytes(CRC_BYTES, "little")
    for special in (ESCAPE, FLAG):
        body = body.replace(bytes([special]), bytes([ESCAPE, special ^ FLIP]))
    return bytes([FLAG]) + body + bytes([FLAG])


def decode(body: bytes) -> bytes | None:
    """Return the content of a frame, given without its flags; ``None`` if it is damaged."""
    body = re.sub(rb"\x7d(.)", lambda found: bytes([found[1][0] ^ FLIP]), body, flags=re.DOTALL)
    content, check = body[:-CRC_BYTES], body[-CRC_BYTES:]
    return content if zlib.crc32(content).to_bytes(CRC_BYTES, "little") == check else None


@dataclass(frozen=True)
class _Asked:
    """A request: what it is, in a word too, the words that it moves, and those of its answer."""

    opcode: Opcode
    what: str
    content: bytes
    words: int = 0
    answered: int = 0

    @property
    def size(self) -> int:
        """Bytes that it takes of the board's buffer."""
        return _REQUEST + len(self.content)

    @property
    def answer(self) -> int:
        """Bytes of its answer on the line."""
        return _ANSWER + 4 * self.answered


class Link:
    """Registers, samples and records of a core over a serial line.

    Requests go ahead of their answers as far as the board's buffer holds them, so that the line is
    never idle; nothing is sent that could find it full. Each method raises :class:`LinkError` when
    something was lost or refused, or when no answer comes in time; then only :meth:`open` goes on.

    Args:
        transport: The line.
        parameters: Of the core.
    """

    def __init__(self, transport: Transport, parameters: Parameters) -> None:
        self._transport = transport
        self._beat = parameters.bus_bits // 8
        #: Most words of a record.
        self._record = 2 + parameters.layers[-1]
        #: Bytes of the longest answer, without escapes.
        self._longest = _ANSWER + 4 * max(MAX_WORDS, self._record)
        self._depth = 0
        self._number = 0
        self._pending: deque[tuple[int, _Asked]] = deque()
        self._moved: Callable[[int], None] | None = None
        self._records: deque[bytes] = deque()
        self._payloads: list[bytes] = []
        # What came of a frame whose end has not come.
        self._begun = b""
        self._frames: deque[bytes] = deque()

    def open(self) -> None:
        """Begin anew, whatever state the board's end is in.

        Raises:
            LinkError: If no board answers, or one with another version of the protocol.
        """
        self._pending.clear()
        self._records.clear()
        self._payloads.clear()
        for _ in range(_HELLOS):
            # Answers to somebody before, HELLOs included, are told by these bytes.
            number, nonce = os.urandom(1)[0], os.urandom(4)
            self._transport.write(encode(bytes([number, Opcode.HELLO]) + nonce))
            deadline = self._deadline(_ANSWERS + self._longest)
            while (body := self._next_frame(deadline)) is not None:
                answer = decode(body)
                if answer is None or (answer[:1], answer[3:-1]) != (bytes([number]), nonce):
                    continue
                if answer[1] != VERSION:
                    raise LinkError(
                        f"the board speaks version {answer[1]} of the protocol, not {VERSION}; "
                        "load a bitstream that this nomul built"
                    )
                self._depth = 1 << answer[2]
                self._number = (number + 1) % 256
                return
        raise LinkError(
            "no board answers: check the port, that the bitstream is loaded (LED 0 blinks), and "
            "that the baud rate is the one it was built with"
        )

    def read32(self, offset: int) -> int:
        """Return a register."""
        return self.read_many(offset, 1)[0]

    def write32(self, offset: int, value: int) -> None:
        """Write a register."""
        self.write_many(offset, [value])

    def read_many(
        self, offset: int, count: int, moved: Callable[[int], None] | None = None
    ) -> list[int]:
        """Read a register so many times; ``moved`` is told the words that came."""
        requests = []
        for first in range(0, count, MAX_WORDS):
            words = min(MAX_WORDS, count - first)
            content = offset.to_bytes(2, "little") + bytes([words % MAX_WORDS])
            requests.append(_Asked(Opcode.READ, f"read of {offset:#05x}", content, words, words))
        answers = b"".join(self._exchange(requests, moved))
        words_read: list[int] = np.frombuffer(answers, "<u4").tolist()
        return words_read

    def write_many(
        self, offset: int, words: Sequence[int], moved: Callable[[int], None] | None = None
    ) -> None:
        """Write a register so many times; ``moved`` is told the words that were written."""
        requests = []
        for first in range(0, len(words), MAX_WORDS):
            part = words[first : first + MAX_WORDS]
            content = offset.to_bytes(2, "little") + np.array(part, "<u4").tobytes()
            what = f"write of {offset:#05x}"
            requests.append(_Asked(Opcode.WRITE, what, content, len(part)))
        self._exchange(requests, moved)

    def send(self, packet: bytes) -> None:
        """Send a sample, when the board's buffer has room for it."""
        self._request(_Asked(Opcode.SAMPLE, "sample", packet, answered=self._record))

    def receive(self) -> bytes:
        """Return the next record, as beats of the core's stream."""
        while not self._records:
            if not self._pending:
                raise LinkError("there is no sample whose record could come")
            self._collect()
        content = self._records.popleft()
        words = (content[at : at + 4] for at in range(0, len(content), 4))
        return b"".join(word.ljust(self._beat, b"\0") for word in words)

    def _exchange(
        self, requests: Iterable[_Asked], moved: Callable[[int], None] | None
    ) -> list[bytes]:
        """Make requests and return the contents of their answers."""
        self._moved = moved
        for request in requests:
            self._request(request)
        while self._pending:
            self._collect()
        payloads, self._payloads = self._payloads, []
        return payloads

    def _request(self, asked: _Asked) -> None:
        """Send a request, once there is room for it and for its answer."""
        if asked.size > self._depth:
            raise LinkError(
                f"a {asked.what} of {asked.size} bytes does not fit the board's {self._depth}"
            )
        while self._pending and (
            sum(each.size for _, each in self._pending) + asked.size > self._depth
            or sum(each.answer for _, each in self._pending) + asked.answer > _ANSWERS
        ):
            self._collect()
        self._transport.write(encode(bytes([self._number, asked.opcode]) + asked.content))
        self._pending.append((self._number, asked))
        self._number = (self._number + 1) % 256

    def _collect(self) -> None:
        """Wait for the next answer and keep what it brings."""
        # Of what is on its way nothing may have left yet.
        sizes = (each.size + each.answer for _, each in self._pending)
        body = self._next_frame(self._deadline(sum(sizes)))
        if body is None:
            self._fail(f"the board does not answer; check the cable, then {_AGAIN}")
        answer = decode(body)
        if answer is None or len(answer) < 2:
            self._fail(f"an answer of the board was damaged on its way; {_AGAIN}")
        expected, asked = self._pending.popleft()
        number, payload, status = answer[0], answer[1:-1], answer[-1]
        if number != expected:
            self._fail(f"an answer of the board was lost on its way; {_AGAIN}")
        # A fault has the number of the first request that was not done.
        if status in _FAULTS:
            self._fail(f"{_FAULTS[Status(status)]}, and nothing after it was done; {_AGAIN}")
        if status == Status.REFUSED:
            self._fail(f"the core refused a {asked.what}; its register REFUSED says why")
        if status == Status.STOPPED:
            self._fail("the core takes no sample: it is stopped; start it first")
        if status != Status.OKAY:
            self._fail(f"the board does not know such a {asked.what}; rebuild its bitstream")
        if asked.opcode is Opcode.SAMPLE:
            self._records.append(payload)
        else:
            self._payloads.append(payload)
            if self._moved is not None:
                self._moved(asked.words)

    def _fail(self, message: str) -> NoReturn:
        # What is on its way belongs to nobody any more.
        self._pending.clear()
        self._payloads.clear()
        raise LinkError(message)

    def _deadline(self, size: int) -> float:
        """Return when a wait is to end in which so many bytes may come and go, without escapes."""
        return self._transport.deadline(2 * size)

    def _next_frame(self, deadline: float) -> bytes | None:
        """Return the next frame that is not empty, without its flags; ``None`` at the deadline."""
        while not self._frames:
            came = self._transport.read(deadline)
            if not came:
                return None
            *whole, self._begun = (self._begun + came).split(bytes([FLAG]))
            if len(self._begun) > 2 * self._longest:
                # No answer is as long: it counts as a damaged one, for its end may never come.
                whole.append(self._begun)
                self._begun = b""
            self._frames.extend(itertools.filterfalse(lambda body: not body, whole))
        return self._frames.popleft()
