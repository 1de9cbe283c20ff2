"""The lists of live pixels never overflow, and no pixel is lost."""

from amaranth.hdl import *

from golden.parameters import Parameters
from golden.state import State
from hdl.formal.bench import Bench, implies, memory_word
from hdl.loader import Loader
from hdl.shapes import input_entry_shape


def loader(p: Parameters) -> Bench:
    """With any stream of ascending pixels, and lists released when they are complete."""
    bench = Bench()
    m = bench.module
    unit = bench.unit(Loader(p, int(State.initial(p).dropout[0])))
    payload, inputs, width = unit.samples.payload, p.layers[0], p.pixels_per_beat
    accept = bench.named(unit.samples.valid & unit.samples.ready, "accept")
    closed = [unit.closed[b] for b in range(2)]
    opened = [unit.opened[b] for b in range(2)]
    bench.assume(implies(unit.release, Mux(unit.release_buffer, closed[1], closed[0])))

    training = Mux(unit.buffer, unit.train[1], unit.train[0])
    bench.assume(implies(accept & unit.begun, payload.train == training))

    # Pixels ascend: floor is the lowest number that the next one of the sample may have.
    floor = Signal(range(inputs + 1))
    start = bench.named(Mux(unit.begun, floor, 0), "start")
    above = Signal(range(inputs + 1))
    m.d.comb += above.eq(start)
    for k in range(width):
        live = (payload.pixels[k] != 0) & (payload.index + k < inputs)
        bench.assume(implies(accept & live, payload.index + k >= start))
        with m.If(live):
            m.d.comb += above.eq(payload.index + k + 1)
    with m.If(accept):
        m.d.sync += floor.eq(above)

    working = unit.valid | unit.begun
    bench.prove(floor <= inputs, "pixels so far are at most the inputs")
    for b in range(2):
        here = unit.buffer == b
        count = unit.count[b]
        bench.prove(count <= inputs, "a list has at most as many entries as there are inputs")
        bench.prove(implies(~opened[b], ~closed[b] & (count == 0)), "a list that is free is empty")
        bench.prove(implies(working & here, opened[b] & ~closed[b]), "the list in hand is open")
        bench.prove(implies(here & opened[b] & ~closed[b], working), "an open list is being loaded")
        bench.prove(implies(~here & opened[b], closed[b]), "the other list is free, or complete")
    in_hand = Mux(unit.buffer, unit.count[1], unit.count[0])
    first = Signal(range(inputs + width))
    for k in reversed(range(width)):
        with m.If(unit.mask[k]):
            m.d.comb += first.eq(unit.index + k)
    pending = unit.valid & unit.mask.any()
    bench.prove(
        implies(unit.valid, unit.more == (unit.mask & (unit.mask - 1)).any()),
        "more tells whether a word waits for its last pixel",
    )
    fewer = "entries are fewer than the pixels so far"
    bench.prove(implies(working, in_hand <= floor), fewer)
    bench.prove(implies(pending, in_hand <= first), fewer)
    for k in range(width):
        pending = unit.valid & unit.mask[k]
        bench.prove(
            implies(pending, (unit.pixels[k] != 0) & (unit.index + k < floor)),
            "what is to be listed is a live pixel",
        )
    bench.prove(implies(unit.valid, unit.last == ~unit.begun), "a sample ends with its last word")

    # One pixel of the samples in one buffer, and its place in the list.
    pixel, buffer = bench.fixed(range(inputs), "pixel"), bench.fixed(1, "buffer")
    bench.assume(pixel < inputs)
    mine = unit.buffer == buffer
    wanted = Signal(p.activation_bits)
    listed, dropped = Signal(), Signal()
    place = Signal(range(inputs))
    arriving = Signal(p.activation_bits)
    turn = Signal()
    n = p.input_dropout_bits
    for k in range(width):
        with m.If(payload.index + k == pixel):
            x = payload.pixels[k]
            m.d.comb += arriving.eq(Mux(payload.train, x, x - (x >> n)) if n else x)
        here = unit.valid & mine & unit.mask[k] & (unit.index + k == pixel)
        bench.prove(
            implies(here, (wanted == unit.pixels[k]) & ~listed & ~dropped),
            "a pixel is listed once, with its value",
        )
        with m.If(here & ~unit.mask[:k].any()):
            m.d.comb += turn.eq(1)
    in_mask = Cat(
        unit.valid & mine & unit.mask[k] & (unit.index + k == pixel) for k in range(width)
    ).any()
    bench.prove(
        implies((wanted != 0) & ~listed & ~dropped, in_mask),
        "a live pixel waits until it is listed",
    )
    bench.prove(implies(listed | dropped, wanted != 0), "nothing is listed that is not live")
    count = Mux(buffer, unit.count[1], unit.count[0])
    m_opened = Mux(buffer, opened[1], opened[0])
    m_closed = Mux(buffer, closed[1], closed[0])
    bench.prove(
        implies(working & mine & (wanted != 0), pixel < floor), "a pixel that came is behind"
    )
    bench.prove(implies(~m_opened, wanted == 0), "a list that is free has no pixel")
    with m.If(accept & mine):
        with m.If(arriving != 0):
            m.d.sync += wanted.eq(arriving)
    with m.If(turn):
        m.d.sync += [listed.eq(unit.listed), dropped.eq(~unit.listed), place.eq(count)]
    with m.If(unit.release & (unit.release_buffer == buffer)):
        m.d.sync += [wanted.eq(0), listed.eq(0), dropped.eq(0)]
    bench.prove(
        implies(m_closed & (wanted != 0), listed | dropped), "a complete list lacks no live pixel"
    )
    if n:
        train = Mux(buffer, unit.train[1], unit.train[0])
        bench.prove(implies(dropped, train), "only training pixels are dropped")
    else:
        bench.prove(~dropped, "no pixel is dropped")
    entry = memory_word(unit, "input_list", Mux(buffer, inputs, 0) + place, input_entry_shape(p))
    bench.prove(
        implies(listed, (entry.index == pixel) & (entry.value == wanted) & (place < count)),
        "an entry is in its list, unchanged, until the list is released",
    )
    return bench
