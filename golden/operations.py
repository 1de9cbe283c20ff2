"""The count of operations, by execution: the oracle, run on integers that count.

The oracle (:mod:`golden.oracle`) computes every value of the contract in plain Python. Here its
data are integers of the class :class:`Counted`: whatever operator meets one of them is tallied, and
what comes out is one again. Addresses and loop counters stay plain, and are not counted. Weights,
biases and the states of the random sources stand in memories that tally the bits moved. What counts
as what is in ``docs/operations.md``.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NoReturn, Self, get_args

from golden.oracle import Drawn, Live, Oracle, Phase
from golden.parameters import Parameters
from golden.state import State

#: In the order in which they are passed through.
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclass(slots=True)
class Tally:
    """How often each thing was done.

    Attributes:
        multiplications: Products, and quotients, remainders and powers, which are no cheaper.
        additions: Sums, differences and negations.
        zero_additions: Those of the additions that had an operand of 0.
        shifts: Shifts by a distance that is data: a shifter.
        fixed_shifts: Shifts by a constant: wires.
        selects: Comparisons, also those that steer a select; bit logic; leading-one detections.
        random_bits: Random bits used, once for each source however many lanes share them.
        weight_bits_read: Bits of weights read from memory.
        weight_bits_written: Bits of weights written to memory.
        bias_bits_read: Bits of biases read from memory.
        bias_bits_written: Bits of biases written to memory.
        source_bits_read: State bits of random sources read.
        source_bits_written: State bits of random sources written.
    """

    multiplications: int = 0
    additions: int = 0
    zero_additions: int = 0
    shifts: int = 0
    fixed_shifts: int = 0
    selects: int = 0
    random_bits: int = 0
    weight_bits_read: int = 0
    weight_bits_written: int = 0
    bias_bits_read: int = 0
    bias_bits_written: int = 0
    source_bits_read: int = 0
    source_bits_written: int = 0

    @property
    def bits_read(self) -> int:
        """All bits read: weights, biases, states of random sources."""
        return self.weight_bits_read + self.bias_bits_read + self.source_bits_read

    @property
    def bits_written(self) -> int:
        """All bits written: weights, biases, states of random sources."""
        return self.weight_bits_written + self.bias_bits_written + self.source_bits_written

    def __add__(self, other: Self) -> Self:
        """Return the sum, field by field."""
        more = asdict(other)
        return type(self)(**{name: value + more[name] for name, value in asdict(self).items()})


class Counted(int):
    """An integer that tallies the operators that meet it; their result is one, too.

    Attributes:
        tally: Where all of them count, of the class: the phase in hand.
    """

    __slots__ = ()
    tally: ClassVar[Tally] = Tally()

    # Comparing for equality is counted, so that the hash must be named again.
    __hash__ = int.__hash__

    def __bool__(self) -> bool:
        """Compare with 0."""
        Counted.tally.selects += 1
        return int.__bool__(self)

    def __neg__(self) -> int:
        """Subtract from 0."""
        Counted.tally.additions += 1
        return Counted(int.__neg__(self))

    def __abs__(self) -> int:
        """Subtract from 0, perhaps."""
        Counted.tally.additions += 1
        return Counted(int.__abs__(self))

    def __invert__(self) -> int:
        """Flip every bit."""
        Counted.tally.selects += 1
        return Counted(int.__invert__(self))


def _multiplication(compute: Callable[[int, int], int]) -> Callable[[int, int], int]:
    def operator(self: int, other: int) -> int:
        Counted.tally.multiplications += 1
        return Counted(compute(self, other))

    return operator


def _addition(compute: Callable[[int, int], int]) -> Callable[[int, int], int]:
    is_zero = (0).__eq__

    def operator(self: int, other: int) -> int:
        tally = Counted.tally
        tally.additions += 1
        if is_zero(self) or is_zero(other):
            tally.zero_additions += 1
        return Counted(compute(self, other))

    return operator


def _shift(compute: Callable[[int, int], int], reflected: bool) -> Callable[[int, int], int]:
    def operator(self: int, other: int) -> int:
        # Reflected, it is the distance that is counted.
        if reflected or isinstance(other, Counted):
            Counted.tally.shifts += 1
        else:
            Counted.tally.fixed_shifts += 1
        return Counted(compute(self, other))

    return operator


def _logic(compute: Callable[[int, int], int]) -> Callable[[int, int], int]:
    def operator(self: int, other: int) -> int:
        Counted.tally.selects += 1
        return Counted(compute(self, other))

    return operator


def _comparison(compute: Callable[[int, object], bool]) -> Callable[[int, object], bool]:
    def operator(self: int, other: object) -> bool:
        Counted.tally.selects += 1
        return compute(self, other)

    return operator


def _refuse(self: int, other: int) -> NoReturn:
    raise TypeError("the contract has integers only, and no operation that gives anything else")


def _overload() -> None:
    for name in ("mul", "floordiv", "mod", "pow"):
        for method in (f"__{name}__", f"__r{name}__"):
            setattr(Counted, method, _multiplication(getattr(int, method)))
    for method in ("__truediv__", "__rtruediv__", "__divmod__", "__rdivmod__"):
        setattr(Counted, method, _refuse)
    for method in ("__add__", "__radd__", "__sub__", "__rsub__"):
        setattr(Counted, method, _addition(getattr(int, method)))
    for name in ("lshift", "rshift"):
        for method, reflected in ((f"__{name}__", False), (f"__r{name}__", True)):
            setattr(Counted, method, _shift(getattr(int, method), reflected))
    for name in ("and", "or", "xor"):
        for method in (f"__{name}__", f"__r{name}__"):
            setattr(Counted, method, _logic(getattr(int, method)))
    for method in ("__lt__", "__le__", "__eq__", "__ne__", "__gt__", "__ge__"):
        setattr(Counted, method, _comparison(getattr(int, method)))


_overload()


class _Row(list[int]):
    """A memory row that tallies each word read or written; its words are read as counted ones."""

    def __init__(self, words: Sequence[int], kind: str, bits: int) -> None:
        super().__init__(words)
        self._read, self._written, self._bits = f"{kind}_bits_read", f"{kind}_bits_written", bits

    # Any: a list's own signatures have slices, too.
    def __getitem__(self, lane: Any) -> Any:
        tally = Counted.tally
        setattr(tally, self._read, getattr(tally, self._read) + self._bits)
        return Counted(super().__getitem__(lane))

    def __setitem__(self, lane: Any, word: Any) -> None:
        tally = Counted.tally
        setattr(tally, self._written, getattr(tally, self._written) + self._bits)
        super().__setitem__(lane, int(word))


class CountingOracle(Oracle):
    """An oracle whose data are counted: what it computes is the same, bit for bit.

    Only training is counted; inference counts in the phase that was last entered. One at a time
    can be at work, because the class :class:`Counted` has one tally.

    Attributes:
        tallies: What was done since :meth:`restart`, by phase.
    """

    zero = Counted(0)

    def __init__(self, parameters: Parameters, state: State) -> None:
        """Start at a state, which is copied.

        Raises:
            ValueError: If the state is not one of such a network.
        """
        state.check(parameters)
        self._start = state
        super().__init__(parameters)
        p = parameters
        self.biases = [_Row(row, "bias", p.bias_bits) for row in state.biases.tolist()]
        self.draw = state.draw.tolist()
        self.update = state.update.tolist()
        self.dropout = state.dropout.tolist()
        self.restart()

    def restart(self) -> dict[Phase, Tally]:
        """Begin to count anew; return the new tallies, which what follows fills."""
        self.tallies = {phase: Tally() for phase in PHASES}
        return self.tallies

    def _initial_weights(self) -> list[list[int]]:
        bits = self.parameters.weight_bits
        return [_Row(row, "weight", bits) for row in self._start.weights.tolist()]

    def _enter(self, phase: Phase) -> None:
        Counted.tally = self.tallies[phase]

    def _take(self, sources: list[int]) -> list[int]:
        """Step the sources: their words are plain, only the bits taken from them are data."""
        bits = self.parameters.random_width * len(sources)
        Counted.tally.source_bits_read += bits
        Counted.tally.source_bits_written += bits
        return super()._take(sources)

    def _top(self, word: int, bits: int) -> int:
        if bits == 0:  # a deterministic draw: what follows from it is a constant
            return super()._top(word, bits)
        Counted.tally.random_bits += bits
        return Counted(super()._top(word, bits))

    def _low(self, word: int, bits: int) -> int:
        Counted.tally.random_bits += bits
        return Counted(super()._low(word, bits))

    def _leading_one(self, x: int) -> int:
        Counted.tally.selects += 1
        return Counted(super()._leading_one(x))

    # What may be a constant when it saturates is data all the same.

    def _dropped(self, pixels: Sequence[int], train: bool) -> list[int]:
        return [Counted(x) for x in super()._dropped([Counted(x) for x in pixels], train)]

    def _drawn(self, weight: int, r: int, g: int) -> int:
        return Counted(super()._drawn(weight, r, g))

    def _activation(self, z: int, shift: int) -> int:
        return Counted(super()._activation(z, shift))

    def _output_delta(self, z: list[int], label: int) -> list[int]:
        return [Counted(d) for d in super()._output_delta(z, label)]

    def _hidden_delta(self, layer: int, drawn: Drawn, live: Live, delta: list[int]) -> list[int]:
        return [Counted(d) for d in super()._hidden_delta(layer, drawn, live, delta)]

    def _exponent(self, x: int, words: list[int]) -> int | None:
        e = super()._exponent(x, words)
        return None if e is None else Counted(e)
