"""A serial port of this machine."""

import importlib

from sim.board.link import LinkError

#: Seconds of silence after which a board is taken to be gone.
PATIENCE = 2.0


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
        self._port = serial.Serial(port, baud, timeout=PATIENCE, write_timeout=PATIENCE)

    def write(self, content: bytes) -> None:
        """Send bytes."""
        self._port.write(content)

    def read(self) -> bytes:
        """Return bytes that came, at least one; none after silence."""
        first: bytes = self._port.read(1)
        rest: bytes = self._port.read(self._port.in_waiting) if first else b""
        return first + rest

    def close(self) -> None:
        """Give the port back."""
        self._port.close()
