"""The register map of the core, as data: what the decoder, the documents and drivers are made from.

A :class:`RegisterMap` follows from the parameters. The gateware (``hdl/axi_lite.py``), the table of
``docs/core.md``, the C header and the Python driver all read it, so that none can differ.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Self

from golden.formats import EXTRA_DRAWS_BITS, unsigned_bits
from golden.layout import Layout
from golden.parameters import Parameters

#: Bits of an address of the bus, which is in bytes: the map has 4 KiB.
ADDRESS_BITS = 12

#: Content of ``ID``: "NMUL".
IDENTITY = 0x4E4D554C

#: Memories behind the window, by number; in lower case the arrays of ``golden.state.State``.
MEMORIES = ("WEIGHTS", "BIASES", "DRAW", "UPDATE", "DROPOUT")

#: Major and minor version of the map. A driver works with every minor version of its major one.
VERSION = (1, 0)


class Access(Enum):
    """What the bus may do with a register; anything else answers SLVERR."""

    READ_ONLY = "ro"
    READ_WRITE = "rw"
    WRITE_ONLY = "wo"
    #: Reading gives flags; writing clears those whose bit is written as 1.
    CLEAR_ON_ONE = "w1c"


@dataclass(frozen=True)
class Field:
    """Bits of a register; bits that belong to no field read as 0 and must be written as 0.

    Attributes:
        name: Upper case, unique in its register.
        low: Lowest bit.
        bits: Width.
        description: One line.
        reset: Value after a reset, and for ever if nothing changes it.
        maximum: Largest value that may be written; ``None`` for all that fit.
        values: Names of values, of an enumeration.
    """

    name: str
    low: int
    bits: int
    description: str
    reset: int = 0
    maximum: int | None = None
    values: tuple[tuple[str, int], ...] = ()

    @property
    def mask(self) -> int:
        """The field's bits in its register."""
        return ((1 << self.bits) - 1) << self.low

    @property
    def largest(self) -> int:
        """Largest value that may be written."""
        return (1 << self.bits) - 1 if self.maximum is None else self.maximum


@dataclass(frozen=True)
class Register:
    """A word of 32 bits.

    Attributes:
        name: Upper case, unique in the map.
        offset: Address in bytes, a multiple of 4.
        access: What the bus may do.
        description: One line.
        fields: From the lowest bits up.
        constant: It reads as its reset value for ever.
        stopped: A write is refused unless the core is stopped.
    """

    name: str
    offset: int
    access: Access
    description: str
    fields: tuple[Field, ...]
    constant: bool = False
    stopped: bool = False

    @property
    def readable(self) -> bool:
        """Whether a read is answered with OKAY."""
        return self.access is not Access.WRITE_ONLY

    @property
    def writable(self) -> bool:
        """Whether a write may be answered with OKAY."""
        return self.access is not Access.READ_ONLY

    @property
    def reset(self) -> int:
        """The whole word after a reset."""
        return sum(field.reset << field.low for field in self.fields)

    @property
    def mask(self) -> int:
        """The bits of all fields, which may be 1."""
        return sum(field.mask for field in self.fields)

    @property
    def unused(self) -> int:
        """The bits of no field, which must be 0."""
        return ~self.mask & 0xFFFFFFFF

    def field(self, name: str) -> Field:
        """Return the field of that name.

        Raises:
            KeyError: If there is none.
        """
        return {field.name: field for field in self.fields}[name]


@dataclass(frozen=True)
class Memory:
    """What the window reaches under one value of ``WINDOW_MEMORY``.

    Attributes:
        name: One of :data:`MEMORIES`.
        number: Value of ``WINDOW_MEMORY``.
        rows: Values of ``WINDOW_ROW``: ``0 .. rows - 1``.
        lanes: Values of ``WINDOW_LANE``: ``0 .. lanes - 1``. Lanes of a row of weights or biases;
            32-bit words of a random state, the lowest bits first.
        bits: Bits of a word of ``WINDOW_DATA`` that are stored.
        signed: Whether it is two's complement, extended to 32 bits, and symmetric: the lowest
            number, ``-2**(bits-1)``, is refused. Else a number of ``bits`` bits, and a row of
            zeros is refused.
        description: One line.
    """

    name: str
    number: int
    rows: int
    lanes: int
    bits: int
    signed: bool
    description: str


def _flag(name: str, low: int, description: str, reset: int = 0) -> Field:
    return Field(name, low, 1, description, reset=reset)


def _word(description: str) -> tuple[Field, ...]:
    return (Field("VALUE", 0, 32, description),)


@dataclass(frozen=True)
class RegisterMap:
    """All registers, by offset, and the memories behind the window.

    Attributes:
        registers: In ascending order of offsets.
        memories: In ascending order of numbers.
    """

    registers: tuple[Register, ...]
    memories: tuple[Memory, ...]

    def __iter__(self) -> Iterator[Register]:
        return iter(self.registers)

    def __getitem__(self, name: str) -> Register:
        """Return the register of that name.

        Raises:
            KeyError: If there is none.
        """
        return {register.name: register for register in self.registers}[name]

    @classmethod
    def of(cls, parameters: Parameters) -> Self:
        """Return the map of the core of a network."""
        memories = _memories(parameters)
        registers = (*_identity(parameters), *_control(parameters), *_window(memories))
        return cls(registers, memories)


def parameters_hash(parameters: Parameters) -> int:
    """Return what ``BUILD_HASH`` holds: the first 32 bits of the SHA-256 of the TOML document."""
    digest = hashlib.sha256(parameters.to_toml().encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _memories(p: Parameters) -> tuple[Memory, ...]:
    layout = Layout.of(p)
    halves, bits = max(1, p.random_width // 32), min(p.random_width, 32)
    shapes = [
        (layout.rows, p.lanes, p.weight_bits, True, "weights"),
        (layout.block_rows, p.lanes, p.bias_bits, True, "biases"),
        (p.random_sources, halves, bits, False, "states of DRAW"),
        (p.random_sources, halves, bits, False, "states of UPDATE"),
    ]
    if p.input_dropout_bits > 0:
        shapes.append((1, halves, bits, False, "state of DROPOUT"))
    return tuple(Memory(MEMORIES[number], number, *shape) for number, shape in enumerate(shapes))


def _identity(p: Parameters) -> list[Register]:
    """Return the registers that say what the core is: constants."""

    def constant(name: str, offset: int, description: str, *fields: Field) -> Register:
        return Register(name, offset, Access.READ_ONLY, description, fields, constant=True)

    def number(name: str, low: int, bits: int, value: int, description: str) -> Field:
        return Field(name, low, bits, description, reset=value)

    return [
        constant("ID", 0x000, "Identity", number("VALUE", 0, 32, IDENTITY, '"NMUL" in ASCII')),
        constant(
            "VERSION",
            0x004,
            "Version of this register map",
            number("MINOR", 0, 16, VERSION[1], "grows when something is added"),
            number("MAJOR", 16, 16, VERSION[0], "grows when drivers must change"),
        ),
        constant(
            "BUILD_HASH",
            0x008,
            "Which parameters the core was generated from",
            number("VALUE", 0, 32, parameters_hash(p), "first 32 bits of the TOML's SHA-256"),
        ),
        constant(
            "BUILD_SHAPE",
            0x00C,
            "Shape of the core",
            number("LAYERS", 0, 8, p.depth, "layers, `L`"),
            number("BUS_BITS", 8, 8, p.bus_bits, "bits of a beat of the streams"),
            number("LANES", 16, 16, p.lanes, "lanes, `P`"),
        ),
        constant(
            "BUILD_FORMATS",
            0x010,
            "Number formats",
            number("WEIGHT_BITS", 0, 8, p.weight_bits, "bits of a weight"),
            number("ACTIVATION_BITS", 8, 8, p.activation_bits, "bits of a pixel"),
            number("BIAS_BITS", 16, 8, p.bias_bits, "bits of a bias"),
            number("BIAS_FRACTION_BITS", 24, 8, p.bias_fraction_bits, "fraction bits of a bias"),
        ),
        constant(
            "BUILD_RANDOM",
            0x014,
            "Random sources",
            number("SOURCES", 0, 16, p.random_sources, "sources of DRAW, and of UPDATE, `S`"),
            number("WIDTH", 16, 8, p.random_width, "bits of a state"),
            number("DROPOUT_BITS", 24, 8, p.input_dropout_bits, "`input_dropout_bits`"),
        ),
        *(
            constant(
                f"SIZE_{layer}",
                0x020 + 4 * layer,
                "Pixels of a sample" if layer == 0 else f"Units of layer {layer}",
                number("VALUE", 0, 16, size, f"`n_{layer}`"),
            )
            for layer, size in enumerate(p.layers)
        ),
    ]


def _control(p: Parameters) -> list[Register]:
    """Return the registers that run the core."""
    commands = (("START", 1), ("STOP", 2), ("ACCEPT", 3), ("RESET", 4))
    rules = [("SAMPLED", 0), ("THRESHOLDED", 1)]
    if p.inference == "exact":
        rules.append(("EXACT", 2))
    interrupts = (
        _flag("STOPPED", 0, "the core came to a stop"),
        _flag("SAMPLES", 1, "another `SAMPLE_INTERVAL` samples are done"),
        _flag("PACKET", 2, "a malformed packet arrived"),
    )
    return [
        Register(
            "COMMAND",
            0x080,
            Access.WRITE_ONLY,
            "What the core is to do",
            (
                Field(
                    "VALUE",
                    0,
                    3,
                    "`START`: take samples; refused while `DIRTY` or not `STOPPED`. `STOP`: take "
                    "no further sample. `ACCEPT`: clear `DIRTY`; refused while not `STOPPED`. "
                    "`RESET`: abandon the samples in hand",
                    maximum=commands[-1][1],
                    values=commands,
                ),
            ),
        ),
        Register(
            "STATUS",
            0x084,
            Access.READ_ONLY,
            "What the core is doing",
            (
                _flag("RUNNING", 0, "it takes samples"),
                _flag("STOPPED", 1, "it takes none and has none in hand", reset=1),
                _flag("IN_PACKET", 2, "a packet has begun and not ended"),
                _flag(
                    "DIRTY",
                    3,
                    "a reset cut a sample short: memories and random states are not "
                    "those after a whole sample (not changed by a reset)",
                ),
            ),
        ),
        Register(
            "MODE",
            0x088,
            Access.READ_WRITE,
            "What is done with a sample, from the next one accepted on",
            (
                _flag("TRAIN", 0, "train; else evaluate, which changes nothing"),
                _flag("LOGITS", 1, "send the logits with each record that begins from now on"),
                Field(
                    "RULE",
                    4,
                    2,
                    "inference rule of an evaluation",
                    maximum=len(rules) - 1,
                    values=tuple(rules),
                ),
                Field("DRAWS", 16, EXTRA_DRAWS_BITS, "draws of the rule `SAMPLED`, less 1"),
            ),
        ),
        Register(
            "RATE",
            0x08C,
            Access.READ_WRITE,
            "Learning rate, from the next sample accepted on",
            (
                Field(
                    "SHIFT",
                    0,
                    4,
                    "learning-rate shift `sh`",
                    maximum=p.max_rate_shift,
                ),
            ),
        ),
        Register(
            "SAMPLE_LIMIT",
            0x090,
            Access.READ_WRITE,
            "Samples that `START` lets in before the core stops by itself",
            (Field("VALUE", 0, 32, "0 for no limit"),),
        ),
        Register(
            "REFUSED",
            0x094,
            Access.CLEAR_ON_ONE,
            "Why the bus was answered SLVERR",
            (
                _flag("ADDRESS", 0, "no register there, or address not a multiple of 4"),
                _flag("ACCESS", 1, "write of a read-only or read of a write-only register"),
                _flag("STROBES", 2, "write of less than 4 bytes"),
                _flag("VALUE", 3, "a field out of range, or a bit of no field set"),
                _flag("BUSY", 4, "the core is not stopped"),
                _flag("DIRTY", 5, "`START` on a dirty state"),
                _flag(
                    "WINDOW",
                    6,
                    "no such row or lane in the memory, or a row not written from lane 0 on",
                ),
            ),
        ),
        Register(
            "INTERRUPT_STATUS",
            0x0A0,
            Access.CLEAR_ON_ONE,
            "Causes of an interrupt",
            interrupts,
        ),
        Register(
            "INTERRUPT_MASK",
            0x0A4,
            Access.READ_WRITE,
            "Causes that raise `irq`",
            interrupts,
        ),
        Register(
            "SAMPLE_INTERVAL",
            0x0A8,
            Access.READ_WRITE,
            "Samples between two interrupts `SAMPLES`; writing begins anew",
            (Field("VALUE", 0, 32, "0 for none"),),
        ),
        Register(
            "COUNTERS",
            0x0C0,
            Access.WRITE_ONLY,
            "What to do with the counters, in one clock",
            (
                _flag("LATCH", 0, "copy all to the registers below"),
                _flag("CLEAR", 1, "then set all to 0"),
            ),
        ),
        *(
            Register(name, offset, Access.READ_ONLY, f"{text}, as latched", _word(unit))
            for name, offset, text, unit in (
                ("COUNT_SAMPLES", 0x0C4, "Samples done", "modulo 2^32"),
                ("COUNT_ERRORS", 0x0C8, "Those with prediction != label", "modulo 2^32"),
                ("COUNT_TRAINED", 0x0CC, "Those that had a backward pass", "modulo 2^32"),
                ("COUNT_CLOCKS_LOW", 0x0D0, "Clocks not stopped", "bits 31:0"),
                ("COUNT_CLOCKS_HIGH", 0x0D4, "Clocks not stopped", "bits 63:32"),
            )
        ),
    ]


def _window(memories: tuple[Memory, ...]) -> list[Register]:
    """Return the registers of the window."""
    last = memories[-1].number
    numbers = tuple((memory.name, memory.number) for memory in memories)
    # One beyond the last is where a window that was read to its end stands.
    rows = max(memory.rows for memory in memories)
    lanes = max(memory.lanes for memory in memories) - 1
    return [
        Register(
            "WINDOW_MEMORY",
            0x100,
            Access.READ_WRITE,
            "Memory that the window reaches",
            (Field("VALUE", 0, unsigned_bits(last), "memory", maximum=last, values=numbers),),
            stopped=True,
        ),
        Register(
            "WINDOW_ROW",
            0x104,
            Access.READ_WRITE,
            "Its row, or number of the random source",
            (Field("VALUE", 0, unsigned_bits(rows), "grows after the last lane", maximum=rows),),
            stopped=True,
        ),
        Register(
            "WINDOW_LANE",
            0x108,
            Access.READ_WRITE,
            "Its lane, or 32-bit word of the random state",
            (Field("VALUE", 0, unsigned_bits(lanes), "grows after an access", maximum=lanes),),
            stopped=True,
        ),
        Register(
            "WINDOW_DATA",
            0x10C,
            Access.READ_WRITE,
            "The word there, sign-extended; reads, too, are refused unless the core is stopped",
            _word("a row is written from lane 0 on, and changes with its last lane"),
            stopped=True,
        ),
    ]
