"""Packets for the core and what they mean, as ``docs/packets.md`` has it; random ones, too."""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from golden.clocked import Transfers
from golden.formats import unsigned_bits
from golden.layout import Layout
from golden.parameters import Parameters
from golden.state import State
from sim.packets import dense_packets, sparse_packets

#: Faults of a malformed packet.
FAULTS = ("cut", "header", "long", "keep", "number", "order", "hole", "label")


@dataclass(frozen=True)
class Settings:
    """What registers say of a sample: MODE and RATE; ``rule`` is its number."""

    train: int = 1
    logits: int = 0
    rule: int = 0
    draws: int = 1
    shift: int = 0


@dataclass(frozen=True)
class Packet:
    """A packet.

    Attributes:
        beats: A row of bytes for each: data, TKEEP in two bytes, TLAST.
        pixels: Pixels of each transfer to the trainer.
        first: Number of the first of them.
        label: As far as a class has bits.
        known: Whether it is the label of a class.
        malformed: Whether it has a fault.
    """

    beats: npt.NDArray[np.uint8]
    pixels: Sequence[Sequence[int]]
    first: Sequence[int]
    label: int
    known: bool
    malformed: bool

    def image(self, parameters: Parameters) -> list[int]:
        """Return every pixel."""
        image = [0] * (parameters.layers[0] + parameters.pixels_per_beat)
        for first, pixels in zip(self.first, self.pixels, strict=True):
            for number, pixel in enumerate(pixels, first):
                image[number] = pixel or image[number]
        return image[: parameters.layers[0]]

    def transfers(self, settings: Settings) -> Transfers:
        """Return what the trainer gets of it."""
        count = len(self.first)
        last = np.zeros(count, np.int64)
        last[-1] = 1

        def each(value: int) -> npt.NDArray[np.int64]:
            return np.full(count, value, np.int64)

        return Transfers(
            pixels=np.array(self.pixels, np.int64),
            first=np.array(self.first, np.int64),
            last=last,
            label=each(self.label),
            train=each(settings.train if self.known else 0),
            shift=each(settings.shift),
            rule=each(settings.rule),
            extra_draws=each(settings.draws - 1),
        )


@dataclass
class _Bytes:
    """A packet in the making: bytes, those that count, and whether it is sparse."""

    content: bytearray
    sparse: bool
    dropped: set[int] = field(default_factory=set)


def packet(
    parameters: Parameters,
    image: Sequence[int],
    label: int,
    *,
    sparse: bool,
    fault: str = "",
    dropped: int | None = None,
) -> Packet:
    """Return the packet of an image.

    Args:
        parameters: The configuration.
        image: All pixels.
        label: Of a class, or not.
        sparse: Which format.
        fault: One of :data:`FAULTS`, or none; where there is no room for it, none.
        dropped: Number of a byte behind the header that is not in TKEEP.
    """
    form = sparse_packets if sparse else dense_packets
    content = bytearray(form([image], [label], parameters.bus_bits)[0].tobytes())
    raw = _Bytes(content, sparse)
    _spoil(parameters, raw, fault)
    if dropped is not None:
        raw.dropped.add(parameters.bus_bits // 8 + dropped)
    return _read(parameters, raw)


def _spoil(p: Parameters, raw: _Bytes, fault: str) -> None:
    size, content = p.bus_bits // 8, raw.content
    entries = list(range(size, len(content) - 3, 4)) if raw.sparse else []
    if fault == "cut":
        # In the middle of an entry, or before the last pixel.
        del content[-2 if raw.sparse and entries else max(size, len(content) - size) :]
    elif fault == "header":
        del content[size:]
    elif fault == "long":
        content += bytes(-len(content) % size) + bytes(range(1, 2 * size + 1))
    elif fault == "keep":
        raw.dropped |= {entries[0] + 1} if entries else {size, len(content) - 1}
    elif fault == "label":
        content[:2] = (p.layers[-1] + 0x1230).to_bytes(2, "little")
    elif fault == "hole" and len(entries) > 1:
        raw.dropped |= set(range(entries[0], entries[0] + 4))
    elif fault == "number" and entries:
        content[entries[-1] : entries[-1] + 2] = p.layers[0].to_bytes(2, "little")
    elif fault == "order" and len(entries) > 1:
        first, second = entries[:2]
        content[second : second + 2] = content[first : first + 2]


def _read(p: Parameters, raw: _Bytes) -> Packet:
    size, width, inputs = p.bus_bits // 8, p.pixels_per_beat, p.layers[0]
    content, mask = bytes(raw.content), p.activation_max
    padded = content + bytes(-len(content) % size)
    keep = [at < len(content) and at not in raw.dropped for at in range(len(padded))]
    beats = np.zeros((len(padded) // size, size + 3), np.uint8)
    beats[:, :size] = np.frombuffer(padded, np.uint8).reshape(-1, size)
    for row in range(len(beats)):
        kept = sum(flag << i for i, flag in enumerate(keep[row * size : (row + 1) * size]))
        beats[row, size : size + 2] = kept & 255, kept >> 8
    beats[-1, size + 2] = 1

    pixels: list[list[int]] = []
    first: list[int] = []
    malformed = False
    position = 0
    for at in range(size, len(padded), size):
        if raw.sparse:
            # An entry that counts for nothing is a pixel of 0; the beat ends with its last one.
            last = max((i for i in range(0, size, 4) if any(keep[at + i : at + i + 4])), default=0)
            for entry in range(at, at + last + 1, 4):
                number = int.from_bytes(padded[entry : entry + 2], "little")
                whole = all(keep[entry : entry + 4])
                listed = whole and position <= number < inputs
                malformed |= any(keep[entry : entry + 4]) and not listed
                value = padded[entry + 2] & mask if listed else 0
                pixels.append([value] + [0] * (width - 1))
                first.append(number % inputs)
                position = number + 1 if listed else position
        elif position < inputs:
            own = range(at, at + width)
            pixels.append([padded[i] & mask if keep[i] else 0 for i in own])
            # Bytes behind the last pixel are ignored.
            pixels[-1] = [v if position + i < inputs else 0 for i, v in enumerate(pixels[-1])]
            malformed |= not all(keep[i] for i in own if position + i - at < inputs)
            first.append(position)
            position += width
        else:
            malformed = True
    malformed |= not raw.sparse and position < inputs
    if not pixels:
        pixels, first = [[0] * width], [0]
    label = int.from_bytes(content[:2], "little")
    known = label < p.layers[-1]
    bits = unsigned_bits(p.layers[-1] - 1)
    return Packet(
        beats, pixels, first, label & ((1 << bits) - 1), known, bool(malformed) or not known
    )


def random_packet(parameters: Parameters, rng: random.Random, fault: str = "") -> Packet:
    """Return a packet of a random image: blank and full ones, and single pixels, among them."""
    p = parameters
    image = [0] * p.layers[0]
    live = rng.choice((0.0, None, 0.2, 0.6, 1.0, 1.0))
    if live is None:
        # Of one bit, often 1, so that sums have few bits, too.
        image[rng.randrange(p.layers[0])] = 1 << rng.choice((0, rng.randrange(p.activation_bits)))
    else:
        largest = rng.choice((1, 2, p.activation_max, p.activation_max))
        # Of every brightness, or all bright.
        lowest = rng.choice((1, max(1, largest - largest // 8)))
        image = [rng.randint(lowest, largest) if rng.random() < live else 0 for _ in image]
    label = rng.randrange(p.layers[-1])
    return packet(p, image, label, sparse=rng.random() < 0.5, fault=fault)


def blank_packet(parameters: Parameters, rng: random.Random) -> Packet:
    """Return a packet of one beat, a header that ends it."""
    p = parameters
    return packet(p, [0] * p.layers[0], rng.randrange(p.layers[-1]), sparse=True)


def largest_state(parameters: Parameters) -> State:
    """Return a state of the largest weights and biases; those of every other class are negative."""
    p = parameters

    def unit(layer: int, number: int) -> tuple[list[int], int]:
        sign = -1 if layer == p.depth - 1 and number % 2 else 1
        return [sign * p.weight_max] * p.layers[layer], sign * p.bias_max

    return _filled(State.initial(p), p, unit)


def random_states(parameters: Parameters, rng: random.Random) -> Iterator[State]:
    """Yield states, for ever, of four kinds in turns.

    * Weights and biases of every size, the largest too.
    * The weights of a unit are 0 or one power of two, with any sign: sums of few bits.
    * The weights of a unit are all alike, and mostly positive: long lists, and sums of every size,
      up to the largest.
    * Weights and biases at an edge, or a step from it, in every lane each of them by and by. Signs
      of weights and bias differ, and of some units half of the weights are the largest, so that a
      sum is small in spite of its bias, and its delta can have either sign.

    The first increments of most are rounded by random bits that are all alike, or all but one.
    """
    p, last = parameters, parameters.depth - 1
    powers = _dealt([1 << bit for bit in range(p.weight_max.bit_length())], rng)
    lanes = [_dealt(_ties(p.weight_max) + _clips(p.weight_max), rng) for _ in range(p.lanes)]
    bias_edges = _dealt(_clips(p.bias_max), rng)

    def word(largest: int) -> int:
        bound = max(1, rng.choice((largest, largest >> rng.randint(1, 8))))
        # Powers of two, and three times those, lie where draws are rounded.
        tie = min(largest, rng.choice((1, 3)) << rng.randrange(largest.bit_length()))
        return rng.choice((bound, -bound, tie, -tie, rng.randint(-bound, bound)))

    def of_any_size(layer: int, number: int) -> tuple[list[int], int]:
        return [word(p.weight_max) for _ in range(p.layers[layer])], word(p.bias_max)

    def of_few_bits(layer: int, number: int) -> tuple[list[int], int]:
        size = next(powers)
        weights = [rng.choice((0, size, size, -size)) for _ in range(p.layers[layer])]
        return weights, rng.choice((0, 0, 1, -1)) * p.bias_max

    def alike(layer: int, number: int) -> tuple[list[int], int]:
        size = rng.choice((p.weight_max, next(powers), rng.randint(1, p.weight_max)))
        positive = rng.random() < (0.5 if layer == last else 0.9)
        weights = [size if positive else -size] * p.layers[layer]
        bias = rng.choice((0, p.bias_max >> rng.randrange(p.bias_max.bit_length())))
        return weights, bias if rng.random() < 0.9 else -bias

    def at_edges(layer: int, number: int) -> tuple[list[int], int]:
        lane, sign = lanes[number % p.lanes], rng.choice((1, -1))
        large = rng.choice((0.0, 0.5))
        weights = [
            sign * (p.weight_max if rng.random() < large else next(lane))
            for _ in range(p.layers[layer])
        ]
        return weights, -sign * next(bias_edges)

    for unit in itertools.cycle((of_any_size, of_few_bits, alike, at_edges)):
        seeds = {
            name: rng.randrange(2**63) for name in ("draw_seed", "update_seed", "dropout_seed")
        }
        state = State.initial(p.replace(**seeds))
        state.update[:] = [_rounds_at_edges(p, word, rng) for word in state.update.tolist()]
        yield _filled(state, p, unit)


def _rounds_at_edges(p: Parameters, word: int, rng: random.Random) -> int:
    """Return a random state whose rounding bits, all or all but one, are alike; or as it was."""
    alike = rng.choice((0, 1, 1, None))
    if alike is None:
        return word
    low = p.random_width - p.update_bits
    ones = (1 << p.random_width) - (1 << low)
    other = rng.choice((0, 1 << rng.randrange(low, p.random_width)))
    return (word | ones if alike else word & ~ones | 1) ^ other


def _ties(largest: int) -> list[int]:
    """Return words about powers of two and three times those, where draws are rounded."""
    exact = {times << bit for bit in range(largest.bit_length()) for times in (0, 1, 3)}
    return _about(exact, largest)


def _clips(largest: int) -> list[int]:
    """Return words about those that are a power of two away from where a sum is clipped."""
    return _about({largest + 1 - (1 << bit) for bit in range(largest.bit_length())}, largest)


def _about(exact: set[int], largest: int) -> list[int]:
    words = {word + step for word in exact for step in (-1, 0, 1)}
    return sorted(word for word in words if 0 <= word <= largest)


def _dealt(words: list[int], rng: random.Random) -> Iterator[int]:
    """Yield words in random order, for ever: all of them before one comes again."""
    while True:
        yield from rng.sample(words, len(words))


def _filled(
    state: State, p: Parameters, unit: Callable[[int, int], tuple[Sequence[int], int]]
) -> State:
    """Fill a state with weights and bias of each unit of each layer; padding lanes hold 0."""
    layout = Layout.of(p)
    state.weights[...] = 0
    for layer, units in enumerate(p.layers[1:]):
        for number in range(units):
            weights, bias = unit(layer, number)
            block, lane = divmod(number, p.lanes)
            row = layout.row_base[layer] + block * p.layers[layer]
            state.weights[row : row + len(weights), lane] = weights
            state.biases[layout.block_base[layer] + block, lane] = bias
    return state
