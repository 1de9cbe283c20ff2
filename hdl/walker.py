"""The walker: which step of the algorithm enters the pipeline in this clock."""

from amaranth.hdl import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import EXTRA_DRAWS_BITS, unsigned_bits
from golden.layout import Layout
from golden.parameters import Parameters
from golden.probes import tree_depth
from hdl.shapes import constant, step_shape


class Phase(enum.Enum, shape=3):
    """What the trainer is doing with the sample in hand."""

    FORWARD = 0
    LOSS = 1
    BACKWARD = 2
    SETTLE = 3
    DONE = 4


class Rule(enum.Enum, shape=2):
    """How an evaluation sample is predicted; a training sample is SAMPLED."""

    SAMPLED = 0
    THRESHOLDED = 1
    EXACT = 2


class Walker(wiring.Component):
    """Walk layers, blocks and lists, forward and back (``docs/architecture.md``, section 5).

    Args:
        parameters: The network and its formats.
        first_count: ``sample_count`` after a reset; not 0 only in a test of all its bits.

    Attributes:
        unread: The present layer's list has more than ``position`` entries now.
        closed: It is complete.
        train: The sample in hand is a training sample.
        rule: How it is predicted, as the stream has it.
        extra_draws: Draws beyond the first, of the rule SAMPLED.
        loss_any: Some output delta is not 0.
        loss_done: Prediction and output deltas are complete.
        result_free: The prediction register can be loaded.
        loaded: The drain takes a block in this clock.
        draining: It is at work on one.
        rule_in_hand: How the sample in hand is predicted: one of :class:`Rule`.
        step: The step issued in this clock; a bubble has neither ``entry`` nor ``end``.
        layer: Layer whose list is being read, from 0.
        position: List entry being read.
        buffer: The loader's buffer in hand.
        result: Load the prediction register.
        save: DRAW saves its state into slot ``L``.
        restore: DRAW restores slot ``restore_slot``.
        again: The sample in hand has been passed before.
        repeat: A pass is done with, and another one follows.
        done: The sample is done with, in its last clock.
        sample_count: Samples done since reset, modulo ``2**32``.
    """

    def __init__(self, parameters: Parameters, first_count: int = 0) -> None:
        p = parameters
        self._p = p
        step = step_shape(p)
        super().__init__(
            {
                "unread": In(1),
                "closed": In(1),
                "train": In(1),
                "rule": In(2),
                "extra_draws": In(EXTRA_DRAWS_BITS),
                "loss_any": In(1),
                "loss_done": In(1),
                "result_free": In(1),
                "loaded": In(1),
                "draining": In(1),
                "rule_in_hand": Out(Rule),
                "step": Out(step),
                "layer": Out(step["layer"].shape),
                "position": Out(step["position"].shape),
                "buffer": Out(1),
                "result": Out(1),
                "save": Out(1),
                "restore": Out(1),
                "restore_slot": Out(range(p.depth + 1)),
                "again": Out(1),
                "repeat": Out(1),
                "done": Out(1),
                "sample_count": Out(32, init=first_count % (1 << 32)),
            }
        )
        self.phase = Signal(Phase)
        self.pass_index = Signal(EXTRA_DRAWS_BITS)
        #: Another pass is to follow. It stands still long before a pass ends, so it is a register.
        self.more = Signal()
        self.block = Signal(step["block"].shape)
        self.plane = Signal(step["plane"].shape)
        self.row_base = Signal(step["row_base"].shape)
        self.block_row = Signal(step["block_row"].shape)
        self.first = Signal(init=1)
        self.layer_first = Signal(init=1)
        #: A block's end is on its way to the drain.
        self.ended = Signal()
        #: A block has ended that has not drained. It is told by two registers, since what ends a
        #: drain comes late, and from far away.
        self.pending = Signal()
        self.gap = Signal(2)
        self.settle = Signal(unsigned_bits(self._settle_clocks))
        self.trained = Signal()

    @property
    def _settle_clocks(self) -> int:
        """Clocks that let the last writes of a layer's backward pass land."""
        return 4 + tree_depth(self._p.lanes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        layout = Layout.of(p)
        layer = self.layer
        last_layer = p.depth - 1

        inputs = constant(m, layer, p.layers[:-1], "inputs")
        blocks_less_1 = constant(m, layer, [count - 1 for count in layout.blocks], "blocks_less_1")
        last_block = Signal()
        backward = Signal()
        step: data.View = self.step
        m.d.comb += [
            last_block.eq(self.block == blocks_less_1),
            backward.eq(self.phase == Phase.BACKWARD),
            step.backward.eq(backward),
            step.first.eq(self.first),
            step.layer_first.eq(self.layer_first),
            step.last_block.eq(last_block),
            step.layer.eq(layer),
            step.block.eq(self.block),
            step.plane.eq(self.plane),
            step.position.eq(self.position),
            step.row_base.eq(self.row_base),
            step.block_row.eq(self.block_row),
        ]

        known = [Rule.THRESHOLDED, *([Rule.EXACT] if p.inference == "exact" else [])]
        exact = Signal()
        last_plane = Signal()
        with m.If(~self.train):
            with m.Switch(self.rule):
                for rule in known:
                    with m.Case(rule):
                        m.d.comb += self.rule_in_hand.eq(rule)
        m.d.comb += [
            exact.eq(self.rule_in_hand == Rule.EXACT),
            last_plane.eq(~exact | (self.plane == p.planes - 1)),
            self.again.eq(self.pass_index != 0),
        ]

        m.d.sync += self.more.eq(
            ~self.train
            & (self.rule_in_hand == Rule.SAMPLED)
            & (self.pass_index != self.extra_draws)
        )

        m.d.comb += self.pending.eq(self.ended | self.draining)
        with m.If(self.loaded):
            m.d.sync += self.ended.eq(0)

        with m.If(step.entry):
            m.d.sync += [
                self.position.eq(self.position + 1),
                self.first.eq(0),
                self.layer_first.eq(0),
            ]
        with m.If(step.end):
            m.d.sync += [
                self.position.eq(0),
                self.plane.eq(0),
                self.first.eq(1),
                self.layer_first.eq(last_block),
                self.row_base.eq(self.row_base + inputs),
                self.block_row.eq(self.block_row + 1),
                self.block.eq(Mux(last_block, 0, self.block + 1)),
            ]
        with m.If(backward & self.first & (step.entry | step.end)):
            m.d.sync += self.gap.eq(3)
        with m.Elif(self.gap != 0):
            m.d.sync += self.gap.eq(self.gap - 1)

        with m.Switch(self.phase):
            with m.Case(Phase.FORWARD):
                m.d.comb += [
                    step.entry.eq(self.unread),
                    step.end.eq(~step.entry & self.closed & last_plane & ~self.pending),
                ]
                with m.If(~step.entry & self.closed & ~last_plane):
                    m.d.sync += [self.position.eq(0), self.plane.eq(self.plane + 1)]
                with m.If(step.end):
                    m.d.sync += self.ended.eq(1)
                    with m.If(last_block):
                        with m.If(layer == last_layer):
                            m.d.sync += self.phase.eq(Phase.LOSS)
                        with m.Else():
                            m.d.sync += layer.eq(layer + 1)
            with m.Case(Phase.LOSS):
                with m.If(self.loss_done & self.more):
                    m.d.comb += self.repeat.eq(1)
                    m.d.sync += [
                        self.phase.eq(Phase.FORWARD),
                        self.pass_index.eq(self.pass_index + 1),
                        # Slot 0 of DRAW keeps the state before the sample.
                        self.layer_first.eq(0),
                        layer.eq(0),
                        self.row_base.eq(0),
                        self.block_row.eq(0),
                    ]
                with m.Elif(self.loss_done & self.result_free):
                    m.d.comb += self.result.eq(1)
                    with m.If(self.train & self.loss_any):
                        m.d.comb += self.save.eq(1)
                        m.d.sync += [
                            self.phase.eq(Phase.BACKWARD),
                            self.row_base.eq(layout.row_base[last_layer]),
                            self.block_row.eq(layout.block_base[last_layer]),
                            self.trained.eq(1),
                        ]
                    with m.Else():
                        m.d.sync += self.phase.eq(Phase.DONE)
            with m.Case(Phase.BACKWARD):
                # One scratch word is read every list length + 1 clocks, and its sum takes 4 clocks
                # to come back: a list of one or two must wait.
                with m.If(~(self.first & (self.gap != 0))):
                    m.d.comb += [
                        step.entry.eq(self.unread),
                        step.end.eq(~step.entry),
                    ]
                with m.If(step.end & last_block):
                    m.d.sync += [
                        self.phase.eq(Phase.SETTLE),
                        self.settle.eq(self._settle_clocks),
                    ]
            with m.Case(Phase.SETTLE):
                with m.If(self.settle != 0):
                    m.d.sync += self.settle.eq(self.settle - 1)
                with m.Elif(layer == 0):
                    m.d.sync += self.phase.eq(Phase.DONE)
                with m.Else():
                    below_row = constant(m, layer, (0, *layout.row_base[:-1]), "below_row")
                    below_block = constant(m, layer, (0, *layout.block_base[:-1]), "below_block")
                    m.d.sync += [
                        self.phase.eq(Phase.BACKWARD),
                        layer.eq(layer - 1),
                        self.row_base.eq(below_row),
                        self.block_row.eq(below_block),
                    ]
            with m.Case(Phase.DONE):
                m.d.comb += [
                    self.done.eq(1),
                    self.restore.eq(~self.train | self.trained),
                    self.restore_slot.eq(Mux(self.train, p.depth, 0)),
                ]
                m.d.sync += [
                    self.phase.eq(Phase.FORWARD),
                    self.buffer.eq(~self.buffer),
                    layer.eq(0),
                    self.row_base.eq(0),
                    self.block_row.eq(0),
                    self.trained.eq(0),
                    self.pass_index.eq(0),
                    self.sample_count.eq(self.sample_count + 1),
                ]
        return m
