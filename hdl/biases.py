"""The biases: a row of them for the lanes, one of them for the update and the host."""

from amaranth.hdl import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.formats import unsigned_bits
from golden.layout import Layout, by_unit
from golden.parameters import Parameters
from golden.state import State
from hdl.collision import UNUSED_ON_COLLISION
from hdl.gradient import BiasIncrement
from hdl.shapes import delta_shape, depth_of, lanes_of, step_shape
from hdl.update import UpdateBias


class Biases(wiring.Component):
    """Hold the biases, and update one in each clock in which a delta comes.

    They stand in two memories that are written together: row by row, since all lanes begin a block
    in the same clock, and unit by unit, since deltas come one by one. So one adder updates them all
    (``docs/architecture.md``, section 8).

    Args:
        parameters: The network and its formats.
        state: What they are after configuration.

    Attributes:
        read_row: Block row to read for the lanes.
        read_data: That row, one clock later.
        valid: Update the bias of a unit (b0).
        row: Its block row.
        lane: Its lane.
        delta: Its delta.
        rate_shift: ``sh`` of the sample, one clock later.
        busy: An update is on its way.
        new_bias: ``new_bias`` register of b3, which is written in that clock.
        host: Read or write the word of ``host_row``, ``host_lane``; only while no update comes.
        host_row: Block row.
        host_lane: Lane.
        host_store: Write ``host_data`` there, in the next clock.
        host_data: A bias.
        word: The word there, when row and lane have been steady for two clocks.
    """

    def __init__(self, parameters: Parameters, state: State) -> None:
        self._p = p = parameters
        self._state = state
        row = step_shape(p)["block_row"].shape
        lane = unsigned_bits(p.lanes - 1)
        bias = signed(p.bias_bits)
        super().__init__(
            {
                "read_row": In(row),
                "read_data": Out(lanes_of(p, bias)),
                "valid": In(1),
                "row": In(row),
                "lane": In(lane),
                "delta": In(delta_shape(p)),
                "rate_shift": In(unsigned_bits(p.max_rate_shift)),
                "busy": Out(1),
                "new_bias": Out(bias),
                "host": In(1),
                "host_row": In(row),
                "host_lane": In(lane),
                "host_store": In(1),
                "host_data": In(bias),
                "word": Out(bias),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self._p
        block_rows = depth_of(Layout.of(p).block_rows)
        place = data.StructLayout({"lane": self.lane.shape(), "row": unsigned_bits(block_rows - 1)})
        units = by_unit(p, self._state.biases)
        m.submodules.by_row = by_row = memory.Memory(
            shape=self.read_data.shape(),
            depth=block_rows,
            init=self._state.biases.tolist(),
            attrs=UNUSED_ON_COLLISION,
        )
        m.submodules.by_unit = one_by_one = memory.Memory(
            shape=self.new_bias.shape(), depth=len(units), init=units, attrs=UNUSED_ON_COLLISION
        )
        row_read, row_write = by_row.read_port(), by_row.write_port(granularity=1)
        unit_read, unit_write = one_by_one.read_port(), one_by_one.write_port()

        m.submodules.increment = increment = BiasIncrement(p)
        m.submodules.update = update = UpdateBias(p)
        here = Signal(place)
        with m.If(self.host):
            m.d.comb += [here.row.eq(self.host_row), here.lane.eq(self.host_lane)]
        with m.Else():
            m.d.comb += [here.row.eq(self.row), here.lane.eq(self.lane)]
        valid = [self.valid]
        places = [here]
        for stage in (1, 2, 3):
            valid.append(Signal(name=f"b{stage}_valid"))
            places.append(Signal(place, name=f"b{stage}_place"))
            m.d.sync += [valid[-1].eq(valid[-2]), places[-1].eq(places[-2])]
        delta1 = Signal.like(self.delta)
        bias2 = Signal.like(self.new_bias)
        increment2 = Signal.like(increment.increment)
        m.d.comb += [
            row_read.addr.eq(self.read_row),
            self.read_data.eq(row_read.data),
            unit_read.addr.eq(here),
            self.word.eq(bias2),
            increment.delta.eq(delta1),
            increment.rate_shift.eq(self.rate_shift),
            update.bias.eq(bias2),
            update.increment.eq(increment2),
            self.busy.eq(Cat(valid[1:]).any()),
        ]
        m.d.sync += [
            delta1.eq(self.delta),
            bias2.eq(unit_read.data),
            increment2.eq(increment.increment),
        ]
        with m.If(valid[2]):
            m.d.sync += self.new_bias.eq(update.new_bias)
        host_write = Signal()
        m.d.sync += host_write.eq(self.host_store)
        with m.If(self.host_store):
            m.d.sync += self.new_bias.eq(self.host_data)

        store = Signal()
        written = places[3]
        m.d.comb += [
            store.eq(valid[3] | host_write),
            unit_write.addr.eq(written),
            unit_write.data.eq(self.new_bias),
            unit_write.en.eq(store),
            row_write.addr.eq(written.row),
            *(row_write.data[lane].eq(self.new_bias) for lane in range(p.lanes)),
            *(row_write.en[lane].eq(store & (written.lane == lane)) for lane in range(p.lanes)),
        ]
        return m
