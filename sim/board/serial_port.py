"""A serial port of this machine."""

import importlib
import time

from sim.board.link import BYTE_BITS, LinkError

#: Seconds that a board has for an answer, beside the time that the bytes take on the line.
PATIENCE = 2.0

# Seconds after which a read looks at the clock: to set the port's timeout for each read would be to
# set up the whole port each time.
_LOOK = 0.1


class SerialPort:
    """The transport of :class:`sim.board.link.Link` over pyserial.

    Args:
        port: Name of the port, such as ``/dev/ttyUSB0``.
        baud: Bits a second.

    Raises:
        LinkError: If pyserial is not installed.
        OSError: If the port cannot be opened.
    """

    def __init__(self, port: str, baud: int) -> None:
        try:
            serial = importlib.import_module("serial")
        except ModuleNotFoundError:
            raise LinkError("pyserial is missing: pip install 'nomul[board]'") from None
        self._baud = baud
        self._port = serial.Serial(port, baud, timeout=_LOOK, write_timeout=PATIENCE)

    def write(self, content: bytes) -> None:
        """Send bytes."""
        self._port.write(content)

    def deadline(self, size: int) -> float:
        """Return when a wait that begins now is to end, if so many bytes go over the line."""
        return time.monotonic() + PATIENCE + BYTE_BITS * size / self._baud

    def read(self, deadline: float) -> bytes:
        """Return bytes that came, at least one; none if the deadline is over."""
        while time.monotonic() < deadline:
            first: bytes = self._port.read(1)
            if first:
                rest: bytes = self._port.read(self._port.in_waiting)
                return first + rest
        return b""

    def close(self) -> None:
        """Give the port back."""
        self._port.close()
