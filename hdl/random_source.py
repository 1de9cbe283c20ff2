"""Random sources: xorshift generators that can go back to a saved state."""

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

#: Shift amounts ``(a, b, c)`` of a generator, by its bits (contract, section 4).
SHIFTS = {16: (7, 9, 8), 32: (13, 17, 5), 64: (13, 7, 17)}


def next_state(state: Value) -> Value:
    """Return the state that follows ``state``: wires and exclusive ors."""
    width = len(state)
    a, b, c = SHIFTS[width]
    state = state ^ (state << a)[:width]
    state = state ^ (state >> b)
    return state ^ (state << c)[:width]


class RandomSource(wiring.Component):
    """Independent xorshift generators that step together (contract, section 4).

    Slots keep states: ``save`` stores the registers into one, ``recall`` lets one stand for the
    registers, in the same clock. A reset changes neither generators nor slots.

    Args:
        width: Bits of a state: 16, 32 or 64.
        initial: The states after configuration, one a source; the slots hold them too.
        slots: Number of slots. Without slots there are no ports to save and recall.

    Attributes:
        step: Replace the states by those that follow ``word``.
        save: Store ``state`` in slot ``save_slot``.
        save_slot: Number of a slot.
        recall: ``word`` is what slot ``recall_slot`` holds; so is ``state`` after the clock, if it
            is not stepped as well.
        recall_slot: Number of a slot.
        replace: One bit a source: replace its state by ``replacement``, whatever else is asked for.
        replacement: A state, not 0.
        word: One word a source, combinational: the present states.
        state: The registers.
    """

    def __init__(self, width: int, initial: Sequence[int], slots: int) -> None:
        self._slots = slots
        self._initial = list(initial)
        self._shape = data.ArrayLayout(unsigned(width), len(self._initial))
        members = {
            "step": In(1),
            "replace": In(len(self._initial)),
            "replacement": In(width),
            "word": Out(self._shape),
            "state": Out(self._shape),
        }
        if slots:
            members |= {
                "save": In(1),
                "save_slot": In(range(slots)),
                "recall": In(1),
                "recall_slot": In(range(slots)),
            }
        super().__init__(members)
        self.register = Signal(self._shape, init=self._initial, reset_less=True)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        register = self.register
        m.d.comb += [self.state.eq(register), self.word.eq(register)]
        if self._slots:
            # A memory with an asynchronous read: look-up table RAM, where registers would take a
            # flip-flop and a multiplexer input for each bit of each slot.
            m.submodules.kept = kept = memory.Memory(
                shape=self._shape, depth=self._slots, init=[self._initial] * self._slots
            )
            write, read = kept.write_port(), kept.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(self.save_slot),
                write.data.eq(self.state),
                write.en.eq(self.save),
                read.addr.eq(self.recall_slot),
            ]
            with m.If(self.recall):
                m.d.comb += self.word.eq(read.data)
                m.d.sync += register.eq(read.data)
        with m.If(self.step):
            for i in range(len(self._initial)):
                m.d.sync += register[i].eq(next_state(self.word[i]))
        for i in range(len(self._initial)):
            with m.If(self.replace[i]):
                m.d.sync += register[i].eq(self.replacement)
        return m
