"""Predictions into records of an AXI4-Stream, with the logits on request."""

from amaranth.hdl import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import unsigned_bits
from golden.parameters import Parameters
from hdl.shapes import logit_shape, prediction_shape

#: Words of a record before the logits.
HEADER_WORDS = 2


class PredictionStream(wiring.Component):
    """Send a record for each sample (``docs/packets.md``).

    A prediction is taken when its record has been sent: until then its logits stay in one half of a
    memory, while those of the next sample go into the other, and that sample waits behind its
    forward pass. So back-pressure loses nothing.

    Args:
        parameters: The network and its formats; a beat has ``parameters.bus_bits`` bits.
        first_count: That of the trainer, whose samples are counted like records.

    Raises:
        ParameterError: If logits do not fit into packets.

    Attributes:
        predictions: From the trainer.
        logit_valid: ``logit`` is that of an output unit of the sample in hand.
        logit_index: Number of the unit.
        logit: Its sum ``z`` over the passes so far, ``f`` fraction bits.
        sample_count: From the trainer, with which it is reset.
        logits: Send the logits, too. Taken when a record begins.
        tdata: And the like: the records.
    """

    def __init__(self, parameters: Parameters, first_count: int = 0) -> None:
        parameters.check_packets()
        self._p = parameters
        super().__init__(
            {
                "predictions": In(stream.Signature(prediction_shape(parameters))),
                "logit_valid": In(1),
                "logit_index": In(unsigned_bits(parameters.layers[-1] - 1)),
                "logit": In(logit_shape(parameters)),
                "sample_count": In(32),
                "logits": In(1),
                "tdata": Out(parameters.bus_bits),
                "tkeep": Out(parameters.bus_bits // 8),
                "tlast": Out(1),
                "tvalid": Out(1),
                "tready": In(1),
            }
        )
        #: Halves of the memory.
        self.written = Signal()
        self.sent = Signal()
        #: Records sent.
        self.number = Signal(16, init=first_count % (1 << 16))
        #: Position of the record's last word.
        self.final = Signal(unsigned_bits(parameters.layers[-1] + HEADER_WORDS - 1))
        #: That of the word in hand.
        self.position = Signal.like(self.final)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        classes = self._p.layers[-1]
        record = self.predictions.payload
        number, position = self.number, self.position
        following = Signal()

        # Samples and records are counted alike, so the lowest bit names the half.
        index_bits = len(self.logit_index)
        m.submodules.logit_memory = logit_memory = memory.Memory(
            shape=logit_shape(self._p), depth=2 << index_bits, init=[]
        )
        read, write = logit_memory.read_port(), logit_memory.write_port()
        wanted = position + following - HEADER_WORDS
        m.d.comb += [
            self.written.eq(self.sample_count[0]),
            self.sent.eq(number[0]),
            write.addr.eq(Cat(self.logit_index, self.written)),
            write.data.eq(self.logit),
            write.en.eq(self.logit_valid),
            # What is read in this clock is sent in the next.
            read.addr.eq(Cat(wanted[:index_bits], self.sent)),
        ]

        word = Signal(signed(32))
        with m.Switch(position):
            with m.Case(0):
                m.d.comb += [word[:16].eq(record.prediction), word[16:].eq(record.label)]
            with m.Case(1):
                m.d.comb += [
                    word[0].eq(record.prediction == record.label),
                    word[1].eq(record.train),
                    word[16:].eq(number),
                ]
            with m.Default():
                # The sum of many draws may need more than a word has: it saturates.
                m.d.comb += word.eq(read.data)
                if len(read.data) > len(word):
                    low, high = -(1 << 31), (1 << 31) - 1
                    with m.If(read.data < low):
                        m.d.comb += word.eq(low)
                    with m.If(read.data > high):
                        m.d.comb += word.eq(high)
        m.d.comb += [
            self.tdata.eq(word.as_unsigned()),
            self.tkeep.eq(-1),
            self.tlast.eq(position == self.final),
        ]
        with m.FSM(name="record"):
            with m.State("WAIT"):
                with m.If(self.predictions.valid):
                    m.d.sync += [
                        position.eq(0),
                        self.final.eq(HEADER_WORDS - 1 + Mux(self.logits, classes, 0)),
                    ]
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += [self.tvalid.eq(1), following.eq(self.tready)]
                m.d.sync += position.eq(position + following)
                with m.If(self.tready & self.tlast):
                    m.d.comb += self.predictions.ready.eq(1)
                    m.d.sync += number.eq(number + 1)
                    m.next = "WAIT"
        return m
