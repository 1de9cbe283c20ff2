"""The backward sum: an adder tree over the lanes, and a scratch memory over the blocks."""

from amaranth.hdl import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import Formats
from golden.parameters import Parameters
from golden.probes import tree_depth
from hdl.collision import UNUSED_ON_COLLISION
from hdl.gradient import HiddenDelta
from hdl.rounding import add_carry
from hdl.shapes import depth_of, hidden_entry_shape, step_shape


class Backward(wiring.Component):
    """Sum ``T * d`` of a column over all units, and make it the delta of the unit below.

    The sum of a column is complete only after the layer's last block: until then it waits in a
    scratch memory, one word a list entry (``docs/architecture.md``, section 6).

    Attributes:
        terms: ``T * d`` of every lane at s7, less its carry.
        carries: 1 to add to a lane's term.
        step5: The step at s5.
        entry5: Its list word.
        delta_valid: Write ``delta`` to unit ``delta_block``, ``delta_lane`` of the layer below.
        delta_layer: Layer whose backward pass made it.
        delta_block: Block of the unit below.
        delta_lane: Lane of the unit below.
        partial: The column's sum so far, s(8+T), ``g`` fraction bits.
        delta: ``hidden_delta`` register, s(9+T).
    """

    def __init__(self, parameters: Parameters) -> None:
        p = parameters
        self._p = p
        formats = Formats.of(p)
        step, entry = step_shape(p), hidden_entry_shape(p)
        super().__init__(
            {
                "terms": In(data.ArrayLayout(signed(formats.product_bits), p.lanes)),
                "carries": In(p.lanes),
                "step5": In(step),
                "entry5": In(entry),
                "delta_valid": Out(1),
                "delta_layer": Out(step["layer"].shape),
                "delta_block": Out(entry["block"].shape),
                "delta_lane": Out(entry["lane"].shape),
                "partial": Out(signed(formats.partial_bits)),
                "delta": Out(signed(p.hidden_delta_bits)),
            }
        )

        #: The registers of each level of the tree, of one bit more than those of the level before.
        #: The last level fits partial_bits, which counts every unit of the layer: lanes without a
        #: unit add 0.
        self.tree: list[list[Signal]] = []
        #: To each of them, a carry that is still to be added: of the two terms of a sum, one's
        #: carry goes into the adder, the other's waits for the next level.
        self.waiting: list[list[Signal]] = []
        count = p.lanes
        for stage in range(tree_depth(p.lanes)):
            count = -(-count // 2)
            bits = formats.product_bits + stage + 1
            # Without a reset: the step beside them says whether they count.
            self.tree.append(
                [
                    Signal(signed(bits), name=f"tree{stage}_{i}", reset_less=True)
                    for i in range(count)
                ]
            )
            self.waiting.append(
                [Signal(name=f"waiting{stage}_{i}", reset_less=True) for i in range(count)]
            )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        depth = tree_depth(p.lanes)

        # steps[i] and entries[i] belong to stage s(5+i).
        steps, entries = [self.step5], [self.entry5]
        for stage in range(6, 10 + depth):
            step = Signal.like(self.step5, name=f"step{stage}")
            entry = Signal.like(self.entry5, name=f"entry{stage}")
            m.d.sync += [step.eq(steps[-1]), entry.eq(entries[-1])]
            steps.append(step)
            entries.append(entry)
        at_read, at_sum, at_write, at_delta = (steps[depth + i] for i in (0, 2, 3, 4))

        terms, carries = [self.terms[lane] for lane in range(p.lanes)], [*self.carries]
        for sums, waiting in zip(self.tree, self.waiting, strict=True):
            for i, total in enumerate(sums):
                pair = terms[2 * i : 2 * i + 2]
                if len(pair) == 2:
                    m.d.sync += total.eq(add_carry(*pair, carries[2 * i]))
                else:
                    m.d.sync += total.eq(*pair)
                m.d.sync += waiting[i].eq(carries[2 * i : 2 * i + 2][-1])
            terms, carries = sums, waiting

        m.submodules.scratch = scratch = memory.Memory(
            shape=self.partial.shape(),
            depth=depth_of(max(p.layers[1:-1])),
            init=[],
            attrs=UNUSED_ON_COLLISION,
        )
        read, write = scratch.read_port(), scratch.write_port()
        scratch_word = Signal.like(self.partial, reset_less=True)
        m.d.comb += read.addr.eq(at_read.position)
        m.d.sync += scratch_word.eq(read.data)

        wanted = at_sum.entry & at_sum.backward & (at_sum.layer != 0)
        with m.If(wanted):
            below = Mux(at_sum.block == 0, 0, scratch_word).as_signed()
            m.d.sync += self.partial.eq(add_carry(terms[0], below, carries[0]))

        written = Signal()
        m.d.comb += [
            written.eq(at_write.entry & at_write.backward & (at_write.layer != 0)),
            write.addr.eq(at_write.position),
            write.data.eq(self.partial),
            write.en.eq(written & ~at_write.last_block),
        ]

        m.submodules.hidden_delta = hidden_delta = HiddenDelta(p)
        m.d.comb += [
            hidden_delta.partial.eq(self.partial),
            hidden_delta.layer.eq(at_write.layer),
        ]
        with m.If(written & at_write.last_block):
            m.d.sync += self.delta.eq(hidden_delta.hidden_delta)
        m.d.sync += self.delta_valid.eq(written & at_write.last_block)
        m.d.comb += [
            self.delta_layer.eq(at_delta.layer),
            self.delta_block.eq(entries[depth + 4].block),
            self.delta_lane.eq(entries[depth + 4].lane),
        ]
        return m
