"""Shapes of what travels between the trainer's blocks."""

from amaranth.hdl import *
from amaranth.lib import data

from golden.formats import EXTRA_DRAWS_BITS, Formats, unsigned_bits
from golden.layout import Layout
from golden.parameters import Parameters

#: Of a lane's number, the bits that tell its place in a group of lanes looked at together.
LANE_GROUP_BITS = 3


def sample_shape(parameters: Parameters) -> data.StructLayout:
    """Payload of the sample stream: one transfer (``docs/architecture.md``, section 3)."""
    p = parameters
    return data.StructLayout(
        {
            "pixels": data.ArrayLayout(unsigned(p.activation_bits), p.pixels_per_beat),
            "index": unsigned_bits(p.layers[0] - 1),
            "last": 1,
            "label": unsigned_bits(p.layers[-1] - 1),
            "train": 1,
            "shift": unsigned_bits(p.max_rate_shift),
            "rule": 2,
            "extra_draws": EXTRA_DRAWS_BITS,
        }
    )


def prediction_shape(parameters: Parameters) -> data.StructLayout:
    """Payload of the prediction stream: one record a sample."""
    label = unsigned_bits(parameters.layers[-1] - 1)
    return data.StructLayout({"prediction": label, "label": label, "train": 1})


def input_entry_shape(parameters: Parameters) -> data.StructLayout:
    """A word of the input list: a non-zero pixel."""
    return data.StructLayout(
        {
            "index": unsigned_bits(parameters.layers[0] - 1),
            "value": unsigned(parameters.activation_bits),
        }
    )


def hidden_entry_shape(parameters: Parameters) -> data.StructLayout:
    """A word of the hidden list: a non-zero activation, and the lane and block it came from.

    Lane and block say where its delta goes. They are stored, because the way back from the index is
    a division when the lanes are no power of two.
    """
    return data.StructLayout(
        {
            "index": unsigned_bits(max(parameters.layers[1:-1]) - 1),
            "value": unsigned(parameters.activation_bits),
            "lane": unsigned_bits(parameters.lanes - 1),
            "block": unsigned_bits(max(Layout.of(parameters).blocks) - 1),
        }
    )


def step_shape(parameters: Parameters) -> data.StructLayout:
    """What a step carries down the pipeline (``docs/architecture.md``, section 5)."""
    p = parameters
    layout = Layout.of(p)
    return data.StructLayout(
        {
            "entry": 1,
            "end": 1,
            "backward": 1,
            "first": 1,
            "layer_first": 1,
            "last_block": 1,
            "layer": unsigned_bits(p.depth - 1),
            "block": unsigned_bits(max(layout.blocks) - 1),
            "position": unsigned_bits(max(p.layers[:-1])),
            "row_base": unsigned_bits(layout.rows),
            "block_row": unsigned_bits(layout.block_rows),
            "plane": unsigned_bits(p.planes - 1),
        }
    )


def lanes_of(parameters: Parameters, shape: Shape) -> data.ArrayLayout:
    """One word of ``shape`` for each lane, lane 0 in the lowest bits."""
    return data.ArrayLayout(shape, parameters.lanes)


def groups(lanes: Value | range) -> list[Value | range]:
    """Return lanes, numbers or bits of a mask, ``2**LANE_GROUP_BITS`` a group or less.

    A clock is too short to choose one of all lanes; it is done in two levels.
    """
    size = 1 << LANE_GROUP_BITS
    return [lanes[low : low + size] for low in range(0, len(lanes), size)]


def sum_shape(parameters: Parameters) -> Shape:
    """An accumulator."""
    return signed(Formats.of(parameters).accumulator_bits)


def logit_shape(parameters: Parameters) -> Shape:
    """A sum of the output layer, added up over the passes of a sample."""
    return signed(Formats.of(parameters).logit_sum_bits)


def delta_shape(parameters: Parameters) -> Shape:
    """A word of the delta memory."""
    return signed(Formats.of(parameters).delta_bits)


def constant(m: Module, select: Value, values: list[int] | tuple[int, ...], name: str) -> Value:
    """Return ``values[select]`` as a multiplexer of constants, or the constant if all are equal."""
    bits = max(unsigned_bits(value) for value in values)
    if len(set(values)) == 1:
        return Const(values[0], bits)
    result = Signal(bits, name=name)
    with m.Switch(select):
        for position, value in enumerate(values):
            with m.Case(position):
                m.d.comb += result.eq(value)
    return result


def depth_of(count: int) -> int:
    """Return the depth of a memory of ``count`` words: at least 2.

    The address of a single word has no bits, and Verilog has no vectors without bits.
    """
    return max(2, count)


def words(view: data.View) -> Array:
    """Return the words of an array, to be indexed by a signal as a multiplexer.

    Indexing the view itself by a signal makes a shifter by the index times the word's width: a
    multiplier.
    """
    return Array(view[position] for position in range(view.shape().length))


def lowest_set(value: Value) -> Value:
    """Return ``value`` with all but its lowest set bit cleared (a carry chain)."""
    return (value & (~value + 1))[: len(value)]


def lowest_index(value: Value) -> Value:
    """Return the position of the lowest set bit of ``value``, the highest if there is none."""

    def among(positions: range) -> Value:
        if len(positions) == 1:
            return Const(positions[0], unsigned_bits(len(value) - 1))
        low, high = positions[: len(positions) // 2], positions[len(positions) // 2 :]
        return Mux(value[low.start : low.stop].any(), among(low), among(high))

    return among(range(len(value)))


def at_least(value: Value, count: int) -> Value:
    """Return whether at least ``count`` bits of ``value`` are set."""
    if count > len(value):
        return Const(0, 1)
    if count <= 1:
        return value.any() if count else Const(1, 1)
    low, high = value[: len(value) // 2], value[len(value) // 2 :]
    return Cat(at_least(low, n) & at_least(high, count - n) for n in range(count + 1)).any()


def one_hot_index(one_hot: Value) -> Value:
    """Return the position of the only set bit, 0 if there is none."""
    width = len(one_hot)
    bits = unsigned_bits(width - 1)
    return Cat(
        Cat(one_hot[position] for position in range(width) if position >> bit & 1).any()
        for bit in range(bits)
    )
