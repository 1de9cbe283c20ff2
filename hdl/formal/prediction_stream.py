"""Records obey the bus, have the length asked for, and lose no logit."""

from amaranth.hdl import *

from golden.parameters import Parameters
from hdl.formal.bench import Bench, implies, memory_word
from hdl.prediction_stream import HEADER_WORDS, PredictionStream


def prediction_stream(p: Parameters) -> Bench:
    """With any receiver.

    Assumed of the trainer: a prediction waits unchanged until it is taken, and meanwhile logits are
    those of the next sample.
    """
    bench = Bench()
    m = bench.module
    unit = bench.unit(PredictionStream(p))
    predictions, classes = unit.predictions, p.layers[-1]
    payload = Value.cast(predictions.payload)
    waited = bench.past(predictions.valid & ~predictions.ready, "prediction_waited")
    same = payload == bench.past(payload, "prediction")
    bench.assume(implies(waited, predictions.valid & same))
    next_sample = unit.sample_count[0] != unit.number[0]
    bench.assume(implies(predictions.valid & unit.logit_valid, next_sample))
    bench.assume(unit.logit_index < classes)

    sent = bench.named(unit.tvalid & unit.tready, "sent")
    stalled = bench.past(unit.tvalid & ~unit.tready, "stalled")
    beat = Cat(unit.tdata, unit.tkeep, unit.tlast)
    stays = unit.tvalid & (beat == bench.past(beat, "beat"))
    bench.prove(implies(stalled, stays), "a beat stays, unchanged, until it is taken")
    bench.prove(implies(unit.tvalid, predictions.valid), "no record without a prediction")
    bench.prove(
        predictions.ready == (sent & unit.tlast),
        "a prediction is taken with its record's last word",
    )
    late = bench.past(predictions.valid & ~predictions.ready, "late")
    bench.prove(implies(late, unit.tvalid), "a record begins a clock after its prediction comes")

    position = Signal(range(HEADER_WORDS + classes))
    with_logits = Signal()
    with m.If(~unit.tvalid):
        m.d.sync += [position.eq(0), with_logits.eq(unit.logits)]
    with m.Elif(sent):
        m.d.sync += position.eq(position + 1)
    bench.prove(implies(unit.tvalid, unit.position == position), "words are sent in order")
    final = HEADER_WORDS - 1 + Mux(with_logits, classes, 0)
    bench.prove(implies(unit.tvalid, unit.final == final), "a record keeps its length")
    bench.prove(implies(unit.tvalid, position <= final), "no word beyond the last")
    bench.prove(
        implies(unit.tvalid, unit.tlast == (position == final)), "TLAST marks the last word"
    )

    record = predictions.payload
    word = unit.tdata[:32]
    right = record.prediction == record.label
    header = {
        0: Cat(record.prediction, Const(0, 16 - len(record.prediction)), record.label),
        1: Cat(right, record.train, Const(0, 14), unit.number),
    }
    for place, expected in header.items():
        bench.prove(
            implies(unit.tvalid & (position == place), word == expected),
            "the first words are prediction, label, flags, number",
        )
    last_number = Signal(16)
    with m.If(predictions.ready):
        m.d.sync += last_number.eq(last_number + 1)
    bench.prove(unit.number == last_number, "records are counted")

    # One logit: that of a unit of the output layer, in the half of the record in hand.
    index = bench.fixed(unit.logit_index.shape(), "index")
    bench.assume(index < classes)
    half = bench.fixed(1, "half")
    z = memory_word(unit, "logit_memory", Cat(index, half), unit.logit.shape())
    written = Signal.like(unit.logit)
    known = Signal()
    with m.If(unit.logit_valid & (unit.logit_index == index) & (unit.sample_count[0] == half)):
        m.d.sync += [written.eq(unit.logit), known.eq(1)]
    bench.prove(implies(known, z == written), "a logit stays until the sample after the next")
    low, high = -(1 << 31), (1 << 31) - 1
    expected = Signal(signed(32))
    m.d.comb += expected.eq(Mux(z < low, low, Mux(z > high, high, z)))
    here = unit.tvalid & (position == index + HEADER_WORDS) & (unit.number[0] == half)
    bench.prove(
        implies(here, word == expected.as_unsigned()), "a logit is sent as it came, saturated"
    )
    return bench
