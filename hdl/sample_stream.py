"""Packets of an AXI4-Stream into samples for the trainer."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import unsigned_bits
from golden.parameters import Parameters
from hdl.shapes import sample_shape

#: Fields of a transfer that a packet brings; the others are settings.
_FROM_PACKET = ("pixels", "index", "last", "label")


class SampleStream(wiring.Component):
    """Turn packets into transfers, one a clock (``docs/packets.md``).

    A dense packet becomes dense words, a sparse one a word for each entry. One beat is held, and
    ``tready`` depends on no input but ``samples.ready``. A header costs no clock: it comes while
    the loader finishes the sample before.

    Whatever a packet is, it becomes one whole sample of ascending pixels, at TLAST or, when it has
    too many beats, before.

    Args:
        parameters: The network and its formats; a beat has ``parameters.bus_bits`` bits.

    Raises:
        ParameterError: If samples do not fit into packets.

    Attributes:
        tdata: And the like: the packets.
        train: Train on the sample or evaluate it. This and the other settings, each by its name in
            ``hdl.shapes.sample_shape``, are taken with the header.
        samples: To the trainer.
        idle: No packet is in hand.
        malformed: One pulse for each packet with a fault.
    """

    def __init__(self, parameters: Parameters) -> None:
        parameters.check_packets()
        self._p = parameters
        shape = sample_shape(parameters)
        self._settings = {name: each.shape for name, each in shape if name not in _FROM_PACKET}
        super().__init__(
            {
                "tdata": In(parameters.bus_bits),
                "tkeep": In(parameters.bus_bits // 8),
                "tlast": In(1),
                "tvalid": In(1),
                "tready": Out(1),
                **{name: In(each) for name, each in self._settings.items()},
                "samples": Out(stream.Signature(shape)),
                "idle": Out(1),
                "malformed": Out(1),
            }
        )
        #: The packet in hand has begun and not ended.
        self.inside = Signal()
        self.sparse = Signal()
        self.last = Signal()
        #: It has brought all pixels; further beats are dropped.
        self.surplus = Signal()
        self.label = Signal(16, reset_less=True)
        #: Its label is that of no class.
        self.unknown_label = Signal()
        #: Its fault has been told.
        self.reported = Signal()
        #: A beat is in hand.
        self.held = Signal()
        #: Its bytes, which move down entry by entry.
        self.data = Signal.like(self.tdata, reset_less=True)
        #: Which of them count.
        self.keep = Signal.like(self.tkeep, reset_less=True)
        #: The lowest number that the next pixel may have.
        self.position = Signal(unsigned_bits(parameters.layers[0] + parameters.pixels_per_beat))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        inputs, width, bits = p.layers[0], p.pixels_per_beat, p.activation_bits
        word = self.samples.payload
        sparse, last, keep, position = self.sparse, self.last, self.keep, self.position

        inside, surplus, held, data = self.inside, self.surplus, self.held, self.data
        label, unknown_label, reported = self.label, self.unknown_label, self.reported
        settings = {
            name: Signal(each, name=name, reset_less=True) for name, each in self._settings.items()
        }

        entry_index, entry_value = data[:16], data[16 : 16 + bits]
        listed = Signal()
        more = Signal()
        final = Signal()
        fault = Signal()
        m.d.comb += [
            listed.eq(keep[:4].all() & (entry_index >= position) & (entry_index < inputs)),
            more.eq(sparse & keep[4:].any()),
            # The word has the last pixel.
            final.eq(position >= inputs - width),
        ]
        with m.If(sparse):
            m.d.comb += [
                word.index.eq(entry_index),
                word.pixels[0].eq(entry_value & listed.replicate(bits)),
                word.last.eq(last & ~more),
                fault.eq(keep[:4].any() & ~listed),
            ]
        with m.Else():
            lacks = Cat(~keep[k] & (position < inputs - k) for k in range(width))
            m.d.comb += [
                word.index.eq(position),
                *(
                    word.pixels[k].eq(data[8 * k :][:bits] & keep[k].replicate(bits))
                    for k in range(width)
                ),
                word.last.eq(last | final),
                fault.eq(lacks.any() | (last != final)),
            ]
        leaves = Signal()
        done = Signal()
        m.d.comb += [
            word.label.eq(label),
            *(word[name].eq(each) for name, each in settings.items()),
            self.samples.valid.eq(held & ~surplus),
            leaves.eq(self.samples.valid & self.samples.ready),
            done.eq((leaves & ~more) | (held & surplus)),
            self.tready.eq(~held | done),
            self.idle.eq(~held & ~inside),
            self.malformed.eq(leaves & (fault | unknown_label) & ~reported),
        ]

        with m.If(leaves):
            with m.If(self.malformed):
                m.d.sync += reported.eq(1)
            with m.If(sparse):
                m.d.sync += [data.eq(data >> 32), keep.eq(keep >> 4)]
                with m.If(listed):
                    m.d.sync += position.eq(entry_index + 1)
            with m.Else():
                # Beats behind the last pixel are dropped.
                m.d.sync += [position.eq(position + width), surplus.eq(final & ~last)]
        with m.If(done):
            m.d.sync += held.eq(0)
        with m.If(self.tvalid & self.tready):
            m.d.sync += [data.eq(self.tdata), last.eq(self.tlast), inside.eq(~self.tlast)]
            with m.If(inside):
                m.d.sync += [held.eq(1), keep.eq(self.tkeep)]
            with m.Else():
                # A header that ends its packet stands for a beat without pixels.
                m.d.sync += [
                    held.eq(self.tlast),
                    keep.eq(0),
                    sparse.eq(self.tdata[16]),
                    surplus.eq(0),
                    reported.eq(0),
                    position.eq(0),
                    label.eq(self.tdata[:16]),
                    unknown_label.eq(self.tdata[:16] >= p.layers[-1]),
                    *(each.eq(getattr(self, name)) for name, each in settings.items()),
                ]
                # Nothing can be learnt from it.
                with m.If(self.tdata[:16] >= p.layers[-1]):
                    m.d.sync += settings["train"].eq(0)
        return m
