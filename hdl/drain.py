"""The drain: from a block's finished sums to the next layer's list, or to prediction and deltas."""

from amaranth.hdl import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import unsigned_bits
from golden.layout import Layout
from golden.parameters import Parameters
from hdl.collision import UNUSED_ON_COLLISION
from hdl.loss import Loss
from hdl.relu import Relu
from hdl.shapes import (
    LANE_GROUP_BITS,
    at_least,
    constant,
    depth_of,
    groups,
    hidden_entry_shape,
    lanes_of,
    lowest_index,
    lowest_set,
    one_hot_index,
    step_shape,
    sum_shape,
    words,
)


class Drain(wiring.Component):
    """Empty a block's accumulators lane by lane, never visiting a lane whose activation is 0.

    Hidden layers: one non-zero activation a clock, appended to the layer's list. Output layer: one
    logit a clock, to the loss. The lanes go on with the next block meanwhile
    (``docs/architecture.md``, section 7).

    Attributes:
        load: A block's sums are complete: take them.
        step: The end step that closed the block (its layer, block and block row).
        sums: The accumulators.
        label: Label of the sample.
        again: The sample has been passed before: its logits add up.
        clear: Forget the sample, or the pass: lists, prediction, loss.
        count: Entries of each hidden layer's list.
        closed: Whether each is complete.
        read_address: Entry of the hidden list memory to read (``depth > 1``).
        read_entry: That entry, one clock later.
        delta_valid: Write ``delta`` to lane ``delta_lane`` of delta row ``delta_row``.
        loss_any: Some output delta is not 0.
        loss_done: Prediction and output deltas are complete.
        prediction: The class with the largest sum so far.
    """

    def __init__(self, parameters: Parameters) -> None:
        p = parameters
        self._p = p
        self._layout = Layout.of(p)
        step = step_shape(p)
        lane_bits = unsigned_bits(p.lanes - 1)
        class_bits = unsigned_bits(p.layers[-1] - 1)
        members = {
            "load": In(1),
            "step": In(step),
            "sums": In(lanes_of(p, sum_shape(p))),
            "label": In(class_bits),
            "again": In(1),
            "clear": In(1),
            "delta_valid": Out(1),
            "delta_row": Out(step["block_row"].shape),
            "delta_lane": Out(lane_bits),
            "delta": Out(signed(p.output_delta_bits)),
            "loss_any": Out(1),
            "loss_done": Out(1),
            "prediction": Out(class_bits),
        }
        if p.depth > 1:
            count_bits = unsigned_bits(max(p.layers[1:-1]))
            members |= {
                "count": Out(data.ArrayLayout(count_bits, p.depth - 1)),
                "closed": Out(p.depth - 1),
                "read_address": In(unsigned_bits(self._layout.hidden_entries - 1)),
                "read_entry": Out(hidden_entry_shape(p)),
            }
        super().__init__(members)
        #: A block is in hand.
        self.busy = Signal()
        self.mask = Signal(p.lanes)
        #: Which groups of its lanes have a live one. A register: a clock is too short to look at
        #: all lanes and find the first.
        self.some = Signal(len(groups(self.mask)))
        self.held = Signal(self.sums.shape(), reset_less=True)
        self.layer = Signal(step["layer"].shape)
        self.block = Signal(step["block"].shape)
        self.row = Signal(step["block_row"].shape)
        self.sum = Signal(sum_shape(p))
        self.lane = Signal(lane_bits)
        self.e4_valid = Signal()
        self.e4_fin = Signal()
        self.e4_index = Signal(unsigned_bits(max(p.layers[1:]) - 1))
        self.e4_lane = Signal(lane_bits)
        self.loss = Loss(p)
        self.relu = Relu(p) if p.depth > 1 else None

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        layout = self._layout
        last_layer = p.depth - 1

        live = [Signal(p.lanes, name=f"live_{layer}") for layer in range(p.depth)]
        for layer, mask in enumerate(live):
            for lane in range(p.lanes):
                # A lane is padding in the last block when no unit is left for it.
                units_left = p.layers[layer + 1] - (layout.blocks[layer] - 1) * p.lanes
                used = Const(1, 1) if lane < units_left else ~self.step.last_block
                positive = self.sums[lane] > 0 if layer != last_layer else Const(1, 1)
                m.d.comb += mask[lane].eq(used & positive)

        #: The block's last lane leaves in this clock.
        drained = Signal()
        first = Signal.like(self.some)
        several = Signal.like(self.some)
        leaving = Cat(
            lowest_set(lanes) & chosen.replicate(len(lanes))
            for lanes, chosen in zip(groups(self.mask), first, strict=True)
        )
        m.d.comb += [
            first.eq(lowest_set(self.some)),
            several.eq(Cat(at_least(group, 2) for group in groups(self.mask))),
            drained.eq(self.busy & ~at_least(self.some, 2) & (several == 0)),
        ]
        e1_valid = Signal()
        e1_fin = Signal()
        #: The group that has the lane, and of each group the place of its first one, and its sum:
        #: each group chooses near its lanes, so that only what they chose goes to one place.
        e1_group = Signal.like(first)
        e1_places, e1_sums = [], []
        for number, (mask, lanes) in enumerate(
            zip(groups(self.mask), groups(range(p.lanes)), strict=True)
        ):
            here = lowest_index(mask)
            e1_places.append(Signal.like(here, name=f"e1_place{number}", reset_less=True))
            e1_sums.append(Signal(len(self.sum), name=f"e1_sum{number}", reset_less=True))
            held = Array(self.held[lane] for lane in lanes)
            m.d.sync += [e1_places[-1].eq(here), e1_sums[-1].eq(held[here])]
        m.d.sync += [
            e1_valid.eq(self.busy & (self.mask != 0)),
            e1_fin.eq(drained),
            e1_group.eq(first),
        ]
        with m.If(self.busy):
            m.d.sync += [
                self.mask.eq(self.mask & ~leaving),
                self.some.eq(self.some & ~(first & ~several)),
                self.busy.eq(~drained),
            ]
        with m.If(self.load):
            m.d.sync += [
                self.busy.eq(1),
                self.held.eq(self.sums),
                self.layer.eq(self.step.layer),
                self.block.eq(self.step.block),
                self.row.eq(self.step.block_row),
            ]
            with m.Switch(self.step.layer):
                for layer, mask in enumerate(live):
                    with m.Case(layer):
                        some = Cat(group.any() for group in groups(mask))
                        m.d.sync += [self.mask.eq(mask), self.some.eq(some)]

        # e2: the lane's sum.
        e2_valid = Signal()
        e2_fin = Signal()
        m.d.sync += [e2_valid.eq(e1_valid), e2_fin.eq(e1_fin)]
        selected, place = Const(0, len(self.sum)), Const(0, LANE_GROUP_BITS)
        for group, near, here in zip(e1_group, e1_sums, e1_places, strict=True):
            selected |= near & group.replicate(len(near))
            place |= here & group.replicate(len(here))
        with m.If(e1_valid):
            m.d.sync += [
                self.sum.eq(selected),
                self.lane.eq(Cat(place, one_hot_index(e1_group))),
            ]

        # First unit of a block: a table of constants, because lanes need not be a power of two.
        bases = [block * p.lanes for block in range(max(layout.blocks))]
        unit_base = constant(m, self.block, bases, "unit_base")
        is_output = Signal()
        e2_index = Signal(len(self.e4_index))
        m.d.comb += [
            is_output.eq(self.layer == last_layer),
            e2_index.eq(unit_base + self.lane),
        ]

        m.submodules.loss = loss = self.loss
        m.d.comb += [
            loss.valid.eq(e2_valid & is_output),
            loss.index.eq(e2_index),
            loss.total.eq(self.sum),
            loss.label.eq(self.label),
            loss.again.eq(self.again),
            loss.clear.eq(self.clear),
            self.loss_any.eq(loss.any),
            self.prediction.eq(loss.best_index),
        ]

        e3_valid = Signal()
        e3_fin = Signal()
        e3_index = Signal(len(e2_index))
        e3_lane = Signal(len(self.lane))
        m.d.sync += [
            e3_valid.eq(e2_valid),
            e3_fin.eq(e2_fin),
            e3_index.eq(e2_index),
            e3_lane.eq(self.lane),
            self.e4_valid.eq(e3_valid),
            self.e4_fin.eq(e3_fin),
        ]
        with m.If(e3_valid):
            m.d.sync += [self.e4_index.eq(e3_index), self.e4_lane.eq(e3_lane)]

        blocks_less_1 = constant(
            m, self.layer, [count - 1 for count in layout.blocks], "blocks_less_1"
        )
        complete = Signal()
        m.d.comb += [
            complete.eq(self.e4_fin & (self.block == blocks_less_1)),
            self.delta_valid.eq(self.e4_valid & is_output),
            self.delta_row.eq(self.row),
            self.delta_lane.eq(self.e4_lane),
            self.delta.eq(loss.output_delta),
        ]
        with m.If(complete & is_output):
            m.d.sync += self.loss_done.eq(1)
        if self.relu is not None:
            self._hidden(m, e2_valid & ~is_output, complete, is_output)
        with m.If(self.clear):
            m.d.sync += self.loss_done.eq(0)
        return m

    def _hidden(self, m: Module, e2_hidden: Value, complete: Value, is_output: Value) -> None:
        """Build the hidden layers' way: ReLU, then the list."""
        p = self._p
        m.submodules.relu = relu = self.relu
        m.d.comb += [
            relu.valid.eq(e2_hidden),
            relu.layer.eq(self.layer),
            relu.total.eq(self.sum),
        ]
        m.submodules.hidden_list = hidden_list = memory.Memory(
            shape=hidden_entry_shape(p),
            depth=depth_of(self._layout.hidden_entries),
            init=[],
            attrs=UNUSED_ON_COLLISION,
        )
        read, write = hidden_list.read_port(), hidden_list.write_port()
        base = constant(m, self.layer, (*self._layout.hidden_base, 0), "hidden_base")
        count = words(self.count)[self.layer]
        m.d.comb += [
            read.addr.eq(self.read_address),
            self.read_entry.eq(read.data),
            write.addr.eq(base + count),
            write.data.index.eq(self.e4_index),
            write.data.value.eq(relu.activation),
            write.data.lane.eq(self.e4_lane),
            write.data.block.eq(self.block),
            write.en.eq(self.e4_valid & ~is_output),
        ]
        with m.If(write.en):
            m.d.sync += count.eq(count + 1)
        with m.If(complete & ~is_output):
            m.d.sync += self.closed.bit_select(self.layer, 1).eq(1)
        with m.If(self.clear):
            m.d.sync += [self.count.as_value().eq(0), self.closed.eq(0)]
