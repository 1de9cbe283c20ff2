"""What goes over the serial port, by number (``docs/board.md``); gateware and host read it here."""

from enum import IntEnum

#: Version of the protocol.
VERSION = 1

#: Ends a frame; what begins an escape; what an escaped byte is changed by (RFC 1662).
FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20

#: Bytes of the CRC at the end of a frame: CRC-32, the lowest byte first.
CRC_BYTES = 4

#: Most words of one READ.
MAX_WORDS = 256


class Opcode(IntEnum):
    """What a request asks for."""

    HELLO = 0
    READ = 1
    WRITE = 2
    SAMPLE = 3


class Status(IntEnum):
    """How a request ended, or, from ``DAMAGED`` on, why the board takes no more of them."""

    OKAY = 0
    REFUSED = 1
    STOPPED = 2
    MALFORMED = 3
    DAMAGED = 4
    SEQUENCE = 5
    OVERFLOW = 6
