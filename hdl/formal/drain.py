"""The lists of live activations never overflow, and no activation is lost."""

from amaranth.hdl import *

from golden.layout import Layout
from golden.parameters import Parameters
from hdl.drain import Drain
from hdl.formal.bench import Bench, implies, memory_word
from hdl.shapes import groups, hidden_entry_shape

#: Clocks from a lane's turn to its entry in the list.
_STAGES = 4


def drain(p: Parameters) -> Bench:
    """With any sums.

    Assumed of the walker: blocks come in order, each 7 clocks or more after the last one has
    drained, and a sample is forgotten when its last block has gone through.
    """
    bench = Bench()
    m = bench.module
    unit = bench.unit(Drain(p))
    step, layout, lanes, last = unit.step, Layout.of(p), p.lanes, p.depth - 1

    # The block in hand, and the one that comes next.
    at = {"layer": Signal(range(p.depth)), "block": Signal(range(max(layout.blocks)))}
    layer, block = Signal(range(p.depth + 1)), Signal(range(max(layout.blocks)))
    begun, ends = Signal(), Signal()
    busy = [unit.busy]
    for clock in range(7):
        busy.append(bench.past(busy[-1], f"busy{clock}"))
    bench.assume(implies(unit.load | unit.clear, ~Cat(busy).any()))
    bench.assume(~(unit.load & unit.clear))
    in_order = (step.layer == layer) & (step.block == block) & (step.last_block == ends)
    bench.assume(implies(unit.load, in_order & (layer <= last)))
    for number, count in enumerate(layout.blocks):
        with m.If(layer == number):
            m.d.comb += ends.eq(block == count - 1)
        bench.prove(implies(layer == number, block < count), "a block is one of its layer")
    with m.If(unit.load):
        m.d.sync += [block.eq(Mux(ends, 0, block + 1)), layer.eq(layer + ends), begun.eq(1)]
        m.d.sync += [at["layer"].eq(layer), at["block"].eq(block)]
    with m.If(unit.clear):
        m.d.sync += [block.eq(0), layer.eq(0), begun.eq(0)]
    bench.prove(
        (unit.layer == at["layer"]) & (unit.block == at["block"]), "a block keeps its number"
    )
    bench.prove(implies(~begun, (layer == 0) & (block == 0) & ~Cat(busy).any()), "then all is new")
    for number, count in enumerate(layout.blocks):
        here, last_one = begun & (unit.layer == number), unit.block == count - 1
        next_layer = (layer == number + 1) & (block == 0)
        next_block = (layer == number) & (block == unit.block + 1) & (unit.block < count - 1)
        bench.prove(implies(here, Mux(last_one, next_layer, next_block)), "blocks come in order")
        used = p.layers[number + 1] - (count - 1) * lanes
        padding = unit.mask[used:].any()
        bench.prove(
            implies(unit.busy & here & last_one, ~padding), "padding lanes have no activation"
        )

    for some, group in zip(unit.some, groups(unit.mask), strict=True):
        bench.prove(implies(unit.busy, some == group.any()), "some tells which groups have a lane")

    # The lanes on their way: whether one is at a stage, and its unit.
    valid, number = Signal(), Signal(range(max(layout.blocks) * lanes))
    for lane in reversed(range(lanes)):
        with m.If(unit.busy & unit.mask[lane]):
            m.d.comb += [valid.eq(1), number.eq(unit.block * lanes + lane)]
    stages, numbers = [valid], [number]
    for stage in range(_STAGES):
        stages.append(bench.past(stages[-1], f"valid{stage}"))
        numbers.append(bench.past(numbers[-1], f"number{stage}"))
    bench.prove(unit.e4_valid == stages[-1], "a lane takes four clocks")
    bench.prove(
        implies(unit.e4_valid, unit.e4_index == numbers[-1]), "a lane is told by its unit's number"
    )
    on_way = sum(stages[2:], stages[1])
    for hidden_layer in range(last):
        count, here = unit.count[hidden_layer], unit.layer == hidden_layer
        size = p.layers[hidden_layer + 1]
        all_of = Mux(layer > hidden_layer, size, Mux(layer == hidden_layer, block * lanes, 0))
        bench.prove(
            count + Mux(here, on_way, 0) <= all_of, "a list has at most as many entries as units"
        )
        for stage in range(_STAGES + 1):
            ahead = sum(stages[stage + 1 :], Const(0))
            bench.prove(
                implies(stages[stage] & here, count + ahead <= numbers[stage]),
                "entries are fewer than units so far",
            )
        complete = (layer > hidden_layer) & ~(here & (unit.busy | Cat(stages).any()))
        bench.prove(
            implies(unit.closed[hidden_layer], complete), "a list is closed when all have come"
        )

    # One unit of a hidden layer, and its place in the list.
    mine = bench.fixed(range(max(1, last)), "hidden_layer")
    lane, place_block = (
        bench.fixed(range(lanes), "lane"),
        bench.fixed(unit.block.shape(), "of_block"),
    )
    unit_number = bench.named(place_block * lanes + lane, "unit_number")
    first, size = Signal(range(sum(p.layers))), Signal(range(max(p.layers) + 1))
    for hidden_layer in range(last):
        with m.If(mine == hidden_layer):
            m.d.comb += [
                first.eq(layout.hidden_base[hidden_layer]),
                size.eq(p.layers[hidden_layer + 1]),
            ]
    bench.assume((mine < last) & (lane < lanes) & (unit_number < size))
    count = Array(unit.count[each] for each in range(last))[mine]
    closed = Array(unit.closed[each] for each in range(last))[mine]
    positive = Array(unit.sums[each] > 0 for each in range(lanes))[lane]
    wanted, listed = Signal(), Signal()
    place = Signal(range(max(p.layers)))
    with m.If(unit.load & (layer == mine) & (block == place_block)):
        m.d.sync += wanted.eq(positive)
    in_hand = unit.busy & (unit.layer == mine) & (unit.block == place_block)
    waits = bench.named(in_hand & (unit.mask >> lane)[0], "waits")
    turns = [bench.named(waits & (number == unit_number), "turn")]
    for stage in range(_STAGES):
        turns.append(bench.past(turns[-1], f"turn{stage}"))
    with m.If(turns[-1]):
        m.d.sync += [listed.eq(1), place.eq(count)]
    with m.If(unit.clear):
        m.d.sync += [wanted.eq(0), listed.eq(0)]
    under_way = waits | Cat(turns[1:]).any()
    bench.prove(implies(wanted & ~listed, under_way), "a live unit waits until it is listed")
    bench.prove(
        implies(under_way, wanted & ~listed), "a unit is listed once, and only if it is live"
    )
    bench.prove(implies(listed, wanted), "a unit is listed only if it is live")
    came = (layer > mine) | ((layer == mine) & (block > place_block))
    bench.prove(implies(wanted, came), "a unit waits when its block has come")
    bench.prove(implies(closed & wanted, listed), "a complete list lacks no live unit")
    entry = memory_word(unit, "hidden_list", first + place, hidden_entry_shape(p))
    right = (entry.index == unit_number) & (entry.lane == lane) & (entry.block == place_block)
    bench.prove(
        implies(listed, right & (place < count)),
        "an entry is in its list, unchanged, until the sample is forgotten",
    )
    return bench
