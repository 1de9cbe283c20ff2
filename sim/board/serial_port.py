"""A serial port of this machine."""

import importlib
import time

from sim.board.link import BYTE_BITS, LinkError

#: Seconds that a board has for an answer, beside the time that the bytes take on the line.
PATIENCE = 2.0

# Seconds after which a read looks at the clock: to set the port's timeout for each read would be to
# set up the whole port each time.
_LOOK = 0.1

# Bytes that are written at a time: a piece goes to the port as soon as so many have left it, whose
# time is known. Ports hold so many, or more.
_PIECE = 4096


class SerialPort:
    """The transport of :class:`sim.board.link.Link` over pyserial.

    Args:
        port: Name of the port, such as ``/dev/ttyUSB0``.
        baud: Bits a second.

    Raises:
        LinkError: If pyserial is not installed, or the port cannot be opened: another program may
            have it.
    """

    def __init__(self, port: str, baud: int) -> None:
        try:
            serial = importlib.import_module("serial")
        except ModuleNotFoundError:
            raise LinkError("pyserial is missing: pip install 'nomul[board]'") from None
        self._baud = baud
        # Of what it holds and of the piece.
        patience = PATIENCE + self._seconds(2 * _PIECE)
        try:
            self._port = serial.Serial(
                port, baud, timeout=_LOOK, write_timeout=patience, exclusive=True
            )
        except (OSError, OverflowError, ValueError) as error:
            raise LinkError(
                f"cannot open {port} at {baud} baud: {getattr(error, 'strerror', None) or error}; "
                "give another --port or --baud, or end the program that has it"
            ) from error

    def _seconds(self, size: int) -> float:
        """Return the time of so many bytes on the line."""
        return BYTE_BITS * size / self._baud

    def write(self, content: bytes) -> None:
        """Send bytes."""
        for at in range(0, len(content), _PIECE):
            self._port.write(content[at : at + _PIECE])

    def deadline(self, size: int) -> float:
        """Return when a wait that begins now is to end, if so many bytes go over the line."""
        return time.monotonic() + PATIENCE + self._seconds(size)

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
