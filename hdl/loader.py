"""Loading: samples from the stream into lists of non-zero pixels, behind the computing."""

from amaranth.hdl import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import unsigned_bits
from golden.parameters import Parameters
from hdl.collision import UNUSED_ON_COLLISION
from hdl.random_source import RandomSource
from hdl.shapes import (
    at_least,
    input_entry_shape,
    lowest_index,
    lowest_set,
    sample_shape,
    words,
)


class Loader(wiring.Component):
    """Fill one input list while the trainer works on the other.

    A sample is one word or more, in ascending order of pixels; what no word carries is 0. An
    all-zero word costs one clock, another word one clock for each non-zero pixel
    (``docs/architecture.md``, section 4). With input dropout a pixel of a training sample may be
    left out, and one of another sample is a little smaller.

    Args:
        parameters: The network and its formats.
        dropout: State of DROPOUT after configuration.

    Attributes:
        samples: The sample stream.
        release: Give the list ``release_buffer`` back, empty.
        count: Entries of each list; an entry may be read from the clock on in which it is counted.
        closed: The list is complete.
        label: Label of each list's sample.
        train: Whether it is a training sample.
        shift: Its learning-rate shift.
        rule: Its rule of inference.
        extra_draws: Its draws beyond the first.
        opened: A sample is in the list or on its way.
        read_address: Entry to read.
        read_entry: That entry, one clock later.
    """

    def __init__(self, parameters: Parameters, dropout: int) -> None:
        p = parameters
        self._p = p
        shape = sample_shape(p)
        self._address_bits = unsigned_bits(2 * p.layers[0] - 1)
        super().__init__(
            {
                "samples": In(stream.Signature(shape)),
                "release": In(1),
                "release_buffer": In(1),
                "count": Out(data.ArrayLayout(unsigned_bits(p.layers[0]), 2)),
                "closed": Out(2),
                "opened": Out(2),
                "label": Out(data.ArrayLayout(shape["label"].shape, 2)),
                "train": Out(2),
                "shift": Out(data.ArrayLayout(shape["shift"].shape, 2)),
                "rule": Out(data.ArrayLayout(shape["rule"].shape, 2)),
                "extra_draws": Out(data.ArrayLayout(shape["extra_draws"].shape, 2)),
                "read_address": In(self._address_bits),
                "read_entry": Out(input_entry_shape(p)),
            }
        )
        self.valid = Signal()
        self.pixels = Signal(shape["pixels"].shape)
        self.mask = Signal(p.pixels_per_beat)
        #: More than one pixel is left in the mask. A register, because what the packets do in this
        #: clock hangs on it.
        self.more = Signal()
        self.index = Signal(unsigned_bits(p.layers[0] - 1))
        self.last = Signal()
        self.begun = Signal()
        self.buffer = Signal()
        #: A pixel is appended to the list in this clock.
        self.listed = Signal()
        self.dropout: RandomSource | None = None
        if p.input_dropout_bits:
            self.dropout = RandomSource(p.random_width, [dropout], slots=0)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        inputs, width = p.layers[0], p.pixels_per_beat

        m.submodules.input_list = input_list = memory.Memory(
            shape=input_entry_shape(p),
            depth=2 * inputs,
            init=[],
            attrs=UNUSED_ON_COLLISION,
        )
        read, write = input_list.read_port(), input_list.write_port()
        m.d.comb += [read.addr.eq(self.read_address), self.read_entry.eq(read.data)]

        lowest = Signal(unsigned_bits(width - 1))
        done = Signal()
        accept = Signal()
        m.d.comb += [
            lowest.eq(lowest_index(self.mask)),
            done.eq(self.valid & ~self.more),
            self.samples.ready.eq(
                (~self.valid | (done & ~self.last))
                & (self.begun | ~self.opened.bit_select(self.buffer, 1))
            ),
            accept.eq(self.samples.valid & self.samples.ready),
        ]

        payload = self.samples.payload
        arriving = Signal(width)
        m.d.comb += arriving.eq(
            Cat((payload.pixels[k] != 0) & (payload.index < inputs - k) for k in range(width))
        )

        count = words(self.count)[self.buffer]
        pixel = words(self.pixels)[lowest]
        live = Signal()
        m.d.comb += [
            live.eq(self.valid & (self.mask != 0)),
            write.addr.eq(Mux(self.buffer, inputs, 0) + count),
            # The unit's number is below n_0: the mask has no bit beyond the last pixel.
            write.data.index.eq(self.index + lowest),
            write.data.value.eq(pixel),
            write.en.eq(self.listed),
            self.listed.eq(live),
        ]
        n = p.input_dropout_bits
        pixels = [payload.pixels[k] for k in range(width)]
        if n:
            m.submodules.dropout = dropout = self.dropout
            with m.If(self.train.bit_select(self.buffer, 1)):
                m.d.comb += [
                    dropout.step.eq(live),
                    self.listed.eq(live & dropout.word[0][-n:].any()),
                ]
            # On arrival, because from a register to the list is too far for a subtraction.
            pixels = [Mux(payload.train, x, x - (x >> n))[: p.activation_bits] for x in pixels]

        with m.If(live):
            m.d.sync += [
                self.mask.eq(self.mask & ~lowest_set(self.mask)),
                self.more.eq(at_least(self.mask, 3)),
            ]
        with m.If(self.listed):
            m.d.sync += count.eq(count + 1)
        with m.If(done):
            m.d.sync += self.valid.eq(0)
            with m.If(self.last):
                m.d.sync += [
                    self.closed.bit_select(self.buffer, 1).eq(1),
                    self.buffer.eq(~self.buffer),
                ]
        with m.If(accept):
            m.d.sync += [
                self.valid.eq(1),
                self.pixels.eq(Cat(pixels)),
                self.mask.eq(arriving),
                self.more.eq(at_least(arriving, 2)),
                self.index.eq(payload.index),
                self.last.eq(payload.last),
                self.begun.eq(~payload.last),
                self.opened.bit_select(self.buffer, 1).eq(1),
                words(self.label)[self.buffer].eq(payload.label),
                self.train.bit_select(self.buffer, 1).eq(payload.train),
                words(self.shift)[self.buffer].eq(payload.shift),
                words(self.rule)[self.buffer].eq(payload.rule),
                words(self.extra_draws)[self.buffer].eq(payload.extra_draws),
            ]
        with m.If(self.release):
            m.d.sync += [
                self.opened.bit_select(self.release_buffer, 1).eq(0),
                self.closed.bit_select(self.release_buffer, 1).eq(0),
                words(self.count)[self.release_buffer].eq(0),
            ]
        return m
