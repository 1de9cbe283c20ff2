"""The window: the trainer's memories and random states, word by word, behind four registers."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.parameters import Parameters
from hdl.host import STEADY_CLOCKS, host_signature
from hdl.register_map import Memory, RegisterMap
from hdl.shapes import constant


class Window(wiring.Component):
    """Serve one access of ``WINDOW_DATA`` at a time, and step to the next word.

    A row is written as a whole, with its last lane: the memories have no write enable for a single
    lane, which would keep block RAMs from packing words of any width.

    Attributes:
        host: To the trainer.
        data: Word to write, of either a row number, a lane number, or the memory's word.
        set_memory: Replace ``memory`` by ``data``.
        set_row: Likewise ``row``.
        set_lane: Likewise ``lane``.
        forget: Lanes that were written of a row not yet complete may be lost: they must be written
            again.
        access: Read or write the word; held until ``done``.
        write: It is a write.
        memory: ``WINDOW_MEMORY``.
        row: ``WINDOW_ROW``.
        lane: ``WINDOW_LANE``.
        done: The access is over in this clock: ``word`` is what was read, or it was refused.
        word: The word, sign-extended.
        nowhere: With ``done``: refused, there is no such word, or the write is out of order.
        misfit: With ``done``: refused, the word does not fit the memory.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._p = parameters
        self._map = RegisterMap.of(parameters)
        signature = host_signature(parameters)
        super().__init__(
            {
                "host": Out(signature),
                "data": In(32),
                "set_memory": In(1),
                "set_row": In(1),
                "set_lane": In(1),
                "forget": In(1),
                "access": In(1),
                "write": In(1),
                "memory": Out(signature.members["memory"].shape),
                "row": Out(signature.members["row"].shape),
                "lane": Out(signature.members["lane"].shape),
                "done": Out(1),
                "word": Out(32),
                "nowhere": Out(1),
                "misfit": Out(1),
            }
        )

        #: The lane that may be written: all before it are kept for the row.
        self.expected = Signal.like(self.lane)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memories = self._map.memories
        host = self.host
        rows = constant(m, self.memory, [each.rows for each in memories], "rows")
        lanes_less_1 = constant(m, self.memory, [each.lanes - 1 for each in memories], "lanes")
        last_lane = Signal()
        expected = self.expected
        kept = Signal(32)
        m.d.comb += [
            last_lane.eq(self.lane == lanes_less_1),
            host.active.eq(self.access),
            host.memory.eq(self.memory),
            host.row.eq(self.row),
            host.lane.eq(self.lane),
            host.data.eq(self.data),
            host.state.eq(Cat(kept, self.data) if len(host.state) > 32 else self.data),
            self.word.eq(host.word),
        ]
        # An access stands still while it waits, so what is decided about it can be registers.
        m.d.sync += [
            self.nowhere.eq(
                (self.row >= rows)
                | (self.lane > lanes_less_1)
                | (self.write & (self.lane != expected))
            ),
            host.load.eq(0),
            host.store.eq(0),
        ]
        with m.Switch(self.memory):
            for each in memories:
                with m.Case(each.number):
                    m.d.sync += self.misfit.eq(self.write & self._misfit(each, last_lane))

        clock = Signal(range(STEADY_CLOCKS + 2))
        with m.If(self.access):
            m.d.sync += clock.eq(clock + 1)
            with m.If((clock != 0) & (self.nowhere | self.misfit)):
                m.d.comb += self.done.eq(1)
            with m.Elif(clock == STEADY_CLOCKS - 1):
                m.d.sync += host.load.eq(self.write)
            with m.Elif(clock == STEADY_CLOCKS):
                m.d.sync += host.store.eq(self.write & last_lane)
            with m.Elif(clock == STEADY_CLOCKS + 1):
                m.d.comb += self.done.eq(1)
                m.d.sync += [
                    kept.eq(self.data),
                    self.lane.eq(Mux(last_lane, 0, self.lane + 1)),
                    self.row.eq(self.row + last_lane),
                    expected.eq(Mux(self.write & ~last_lane, self.lane + 1, 0)),
                ]
        with m.If(~self.access | self.done):
            m.d.sync += clock.eq(0)
        for strobe, register in (
            (self.set_memory, self.memory),
            (self.set_row, self.row),
            (self.set_lane, self.lane),
        ):
            with m.If(strobe):
                m.d.sync += [register.eq(self.data), expected.eq(0)]
        with m.If(self.forget):
            m.d.sync += expected.eq(0)
        return m

    def _misfit(self, memory: Memory, last_lane: Value) -> Value:
        """Return whether ``data`` is no word of a memory."""
        word, rest = self.data[: memory.bits], self.data[memory.bits :]
        if memory.signed:
            lowest = (word[:-1] == 0) & word[-1]
            return (rest != word[-1].replicate(len(rest))) | lowest
        return rest.any() | (last_lane & (self.host.state == 0))
