"""A random source never reaches the state 0, and goes back to what was saved."""

from amaranth.hdl import *

from golden.parameters import Parameters
from golden.state import State
from hdl.formal.bench import Bench, implies, memory_word
from hdl.random_source import RandomSource

#: Shifts of the contract's section 4: left, right, left.
_SHIFTS = {16: (7, 9, 8), 32: (13, 17, 5), 64: (13, 7, 17)}


def random_source(p: Parameters) -> Bench:
    """DRAW, with its slots: stepped, saved, recalled, replaced by the host in any order."""
    bench = Bench()
    m = bench.module
    initial, slots = State.initial(p).draw.tolist(), p.depth + 1
    unit = bench.unit(RandomSource(p.random_width, initial, slots))
    shape = unit.state.shape()
    kept = [memory_word(unit, "kept", slot, shape) for slot in range(slots)]
    bench.assume((unit.save_slot < slots) & (unit.recall_slot < slots))
    # The window refuses 0.
    bench.assume(unit.replacement != 0)
    for i in range(len(initial)):
        bench.prove(unit.state[i] != 0, "no register is 0")
        bench.prove(unit.word[i] != 0, "no word is 0")
        for word in kept:
            bench.prove(word[i] != 0, "no slot holds 0")

        a, b, c = _SHIFTS[p.random_width]
        bits = (1 << p.random_width) - 1
        v = unit.word[i]
        v ^= (v << a) & bits
        v ^= v >> b
        v ^= (v << c) & bits
        stepped = bench.past(unit.step & ~unit.replace[i] & ~ResetSignal(), f"stepped{i}")
        following = Signal(p.random_width, name=f"following{i}", reset_less=True)
        m.d.sync += following.eq(v)
        bench.prove(implies(stepped, unit.state[i] == following), "a step is the contract's")

    slot = bench.fixed(range(slots), "slot")
    saved = Signal(shape, init=initial, reset_less=True)
    with m.If(unit.save & (unit.save_slot == slot)):
        m.d.sync += saved.eq(unit.state)
    for position, word in enumerate(kept):
        same = Value.cast(word) == Value.cast(saved)
        bench.prove(implies(slot == position, same), "a slot keeps what was saved last")
    recalled = unit.recall & (unit.recall_slot == slot)
    bench.prove(
        implies(recalled, Value.cast(unit.word) == Value.cast(saved)),
        "what is recalled was saved",
    )
    return bench
