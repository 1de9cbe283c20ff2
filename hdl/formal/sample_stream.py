"""Samples out of packets: the bus's rules, one whole sample a packet, ascending pixels."""

from amaranth.hdl import *

from golden.parameters import Parameters
from hdl.formal.bench import Bench, implies
from hdl.sample_stream import SampleStream


def sample_stream(p: Parameters) -> Bench:
    """With any packets, malformed ones too, and any receiver."""
    bench = Bench()
    m = bench.module
    unit = bench.unit(SampleStream(p))
    samples, word = unit.samples, unit.samples.payload
    inputs, width, bits = p.layers[0], p.pixels_per_beat, p.activation_bits
    taken = bench.named(unit.tvalid & unit.tready, "taken")
    leaves = bench.named(samples.valid & samples.ready, "leaves")

    stalled = bench.past(samples.valid & ~samples.ready, "stalled")
    payload = Value.cast(word)
    stays = samples.valid & (payload == bench.past(payload, "payload"))
    bench.prove(implies(stalled, stays), "a transfer stays, unchanged, until it is taken")

    # The packet whose beats are being taken, and the sample that is being made of it.
    inside, open_ = Signal(), Signal()
    with m.If(taken):
        m.d.sync += inside.eq(~unit.tlast)
    with m.If(taken & ~inside):
        m.d.sync += open_.eq(1)
    with m.Elif(leaves & word.last):
        m.d.sync += open_.eq(0)
    bench.prove(
        implies(samples.valid, open_), "no transfer outside of a packet, or behind its last"
    )
    bench.prove(implies(unit.idle, ~inside & ~open_), "every packet has become a whole sample")
    bench.prove(
        implies(taken & ~inside, ~open_ | (leaves & word.last)),
        "a packet begins when the sample before has been handed on",
    )

    # Pixels ascend: floor is the lowest number that the next one may have.
    floor = Signal(range(inputs + 1))
    above = Signal(range(inputs + 1))
    m.d.comb += above.eq(floor)
    for k in range(width):
        live = (word.pixels[k] != 0) & (word.index + k < inputs)
        with m.If(live):
            m.d.comb += above.eq(word.index + k + 1)
        bench.prove(
            implies(samples.valid & live, word.index + k >= floor), "pixels come in ascending order"
        )
    with m.If(taken & ~inside):
        m.d.sync += floor.eq(0)
    with m.Elif(leaves):
        m.d.sync += floor.eq(above)
    ahead = unit.position + ~unit.sparse <= inputs
    bench.prove(
        implies(open_, (floor <= unit.position) & ahead), "no pixel is ahead of those that may come"
    )

    # The beat in hand, of a packet that is dense or sparse.
    sparse, data = Signal(), Signal.like(unit.tdata, reset_less=True)
    keep, label = Signal.like(unit.tkeep, reset_less=True), Signal(16, reset_less=True)
    with m.If(taken & inside):
        m.d.sync += [data.eq(unit.tdata), keep.eq(unit.tkeep)]
    with m.Elif(taken):
        m.d.sync += [keep.eq(0), sparse.eq(unit.tdata[16]), label.eq(unit.tdata[:16])]
    with m.Elif(leaves & sparse):
        m.d.sync += [data.eq(data >> 32), keep.eq(keep >> 4)]
    shown = Cat(*(unit.data[8 * k :][:8] & keep[k].replicate(8) for k in range(len(keep))))
    expected = Cat(*(data[8 * k :][:8] & keep[k].replicate(8) for k in range(len(keep))))
    bench.prove((unit.keep == keep) & (shown == expected), "no byte of a beat is lost")
    bench.prove(unit.inside == inside, "a packet ends with TLAST")
    bench.prove(implies(unit.held, unit.last == ~inside), "the beat in hand is the last taken")
    bench.prove(
        open_ == (unit.held | inside) & ~unit.surplus, "a sample ends with its packet, or before"
    )
    in_hand = samples.valid & keep.any()
    bench.prove(unit.sparse == sparse, "the header says how it is packed")
    for k in range(width):
        value = Mux(keep[k], data[8 * k :][:bits], 0)
        bench.prove(
            implies(in_hand & ~sparse, word.pixels[k] == value),
            "a dense beat's pixels are its bytes",
        )
    counts = keep[:4].all() & (data[:16] >= unit.position) & (data[:16] < inputs)
    entry = (word.index == data[: len(word.index)]) & (word.pixels[0] == data[16 : 16 + bits])
    bench.prove(implies(in_hand & sparse & counts, entry), "an entry's pixel is what it says")
    others = Cat(Value.cast(word.pixels[k]) for k in range(1, width)).any()
    bench.prove(implies(in_hand & sparse, ~others), "an entry is one pixel")
    blank = ~Value.cast(word.pixels).any()
    bench.prove(implies(in_hand & sparse & ~counts, blank), "what does not count is no pixel")
    bench.prove(implies(samples.valid & ~keep.any(), blank), "a beat without pixels is blank")
    unknown = label >= p.layers[-1]
    bench.prove(implies(unknown, ~word.train), "no class, nothing to learn")
    bench.prove(unit.label == label, "the label is the packet's")
    waits = samples.valid & ~leaves
    bench.prove(implies(waits, ~unit.tready), "no beat is taken while one waits")

    reported = Signal()
    with m.If(unit.malformed):
        m.d.sync += reported.eq(1)
    with m.If(taken & ~inside):
        m.d.sync += reported.eq(0)
    bench.prove(unit.reported == reported, "it is known whether a packet has been reported")
    bench.prove(implies(unit.malformed, ~reported), "one report for each malformed packet")
    return bench
