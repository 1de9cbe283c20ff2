"""The host's end of the link on a line that has a clock of its own: what it waits for, how long."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from golden import Parameters
from hdl.board.protocol import VERSION, Opcode, Status
from sim.board import serial_port
from sim.board.link import BYTE_BITS, Link, LinkError, decode, encode
from sim.board.serial_port import SerialPort

DIGITS = Parameters.named("digits")

#: Bytes that the port holds when its writer goes on.
BUFFER = 4096

#: Seconds on the line's clock that no test needs.
FOREVER = 200


class Line:
    """What pyserial's port does, and what is at its other end; time passes in waits alone.

    Attributes:
        now: Seconds.
        reply: Returns what a request, given without its frame, is answered.
        chatter: Bytes that come anyhow.
        gap: Seconds between two of those.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.reply: Callable[[bytes], bytes] = answered
        self.chatter: Iterator[int] = iter(())
        self.gap = 0.0
        # When all that was sent has left, and what comes, each byte with its time.
        self._left = self._heard = 0.0
        self._coming: deque[tuple[float, int]] = deque()

    def open(self, port: str, baud: int, **options: float) -> "Line":
        """Stand in for the constructor of ``serial.Serial``."""
        self._byte = BYTE_BITS / baud
        self.options = options
        return self

    def write(self, content: bytes) -> None:
        """Send, and wait until no more than the buffer is left to send."""
        self._left = max(self.now, self._left) + len(content) * self._byte
        wait = self._left - BUFFER * self._byte - self.now
        if wait > self.options["write_timeout"]:
            raise OSError("Write timeout")
        self.now += max(0, wait)
        for body in filter(None, content.split(b"\x7e")):
            request = decode(body)
            assert request is not None
            at = self._left
            for octet in self.reply(request):
                at += self._byte
                self._coming.append((at, octet))

    @property
    def in_waiting(self) -> int:
        """Bytes that came."""
        return sum(at <= self.now for at, _ in self._coming)

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the timeout."""
        if not size:
            return b""
        self._heard = max(self._heard, self.now)
        if not self._coming:
            for octet in itertools.islice(self.chatter, 1):
                self._heard += self.gap
                self._coming.append((self._heard, octet))
        end = self.now + self.options["timeout"]
        self.now = max(self.now, min(end, self._coming[0][0] if self._coming else end))
        assert self.now < FOREVER, "it waits for ever"
        return bytes(self._coming.popleft()[1] for _ in range(min(size, self.in_waiting)))


def answered(request: bytes) -> bytes:
    """Return what a board answers, all registers 0."""
    number, opcode, content = request[0], request[1], request[2:]
    answer = b""
    if opcode == Opcode.HELLO:
        answer = bytes([VERSION, 12]) + content
    if opcode == Opcode.READ:
        answer = bytes(4 * (content[2] or 256))
    return encode(bytes([number]) + answer + bytes([Status.OKAY]))


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    """Return what the next serial port is."""
    made = Line()
    monkeypatch.setattr("importlib.import_module", lambda name: SimpleNamespace(Serial=made.open))
    clock = SimpleNamespace(monotonic=lambda: made.now)
    monkeypatch.setattr(serial_port, "time", clock, raising=False)
    return made


def link_over(line: Line, baud: int = 115_200) -> Link:
    """Return a link over the port."""
    return Link(SerialPort("port", baud), DIGITS)


#: What other devices may say: zeros, text, flags, frames of nobody.
CHATTER = {
    "zeros": b"\0",
    "text": b"$GPGGA,123519,4807.038,N\r\n",
    "flags": b"\x7e",
    "frames": encode(b"\1\2\3"),
}


@pytest.mark.parametrize("gap", [0.001, 1.9])
@pytest.mark.parametrize("chatter", CHATTER.values(), ids=CHATTER)
def test_another_device_that_never_stops(line: Line, chatter: bytes, gap: float) -> None:
    """Each HELLO has its time, which bytes that come do not make longer."""
    line.chatter, line.gap, line.reply = itertools.cycle(chatter), gap, lambda request: b""
    link = link_over(line)
    with pytest.raises(LinkError, match="no board answers"):
        link.open()
    assert 10 < line.now < 20


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zeros", "an answer of the board was damaged"),
        ("text", "an answer of the board was damaged"),
        ("flags", "the board does not answer"),
        ("frames", "an answer of the board was lost"),
    ],
)
def test_a_board_that_goes_mad(line: Line, name: str, message: str) -> None:
    """After a good HELLO too, no wait is without an end, nor is what is kept of a frame."""
    link = link_over(line)
    link.open()
    line.chatter, line.gap = itertools.cycle(CHATTER[name]), 0.0005
    line.reply = lambda request: b""
    with pytest.raises(LinkError, match=message):
        link.read32(0)
    assert line.now < 3
    assert len(link._begun) < 3000


def test_chatter_before_the_board(line: Line) -> None:
    """Bytes of somebody before do not keep the board from being found."""
    line.chatter, line.gap = iter(CHATTER["text"] * 5), 0.001
    link = link_over(line)
    link.open()
    assert link.read_many(0, 300) == [0] * 300


@pytest.mark.parametrize("baud", [1200, 9600, 1_000_000])
def test_a_slow_line_is_no_silence(line: Line, baud: int) -> None:
    """The largest WRITEs, each byte of them an escape, and what they are answered, take time."""
    link = link_over(line, baud)
    link.open()
    link.write_many(0, [0x7E7E7E7E] * 256)
    assert line.now > 2064 * BYTE_BITS / baud
    link.write_many(0, [0x7E7E7E7E] * 1024)
    assert link.read_many(0, 256) == [0] * 256


def test_silence(line: Line) -> None:
    """A board that stops is told after the time that it has."""
    link = link_over(line)
    link.open()
    line.reply = lambda request: b""
    with pytest.raises(LinkError, match="the board does not answer; check the cable"):
        link.read32(0)
    assert 2 < line.now < 2.2
