"""The walker's steps stay inside the memories, and apart from each other."""

from amaranth.hdl import *

from golden.layout import Layout
from golden.parameters import Parameters
from hdl.formal.bench import Bench, implies
from hdl.walker import Phase, Walker


def walker(p: Parameters) -> Bench:
    """With lists of any lengths that fit their layers."""
    bench = Bench()
    m = bench.module
    unit = bench.unit(Walker(p))
    layout, step = Layout.of(p), unit.step
    going = bench.named(step.entry | step.end, "going")
    for layer, (inputs, blocks) in enumerate(zip(p.layers, layout.blocks, strict=False)):
        here = unit.layer == layer
        bench.assume(implies(here & unit.unread, unit.position < inputs))
        rows = layout.row_base[layer] + unit.block * inputs
        block_row = layout.block_base[layer] + unit.block
        walking = (unit.phase == Phase.FORWARD) | (unit.phase == Phase.BACKWARD)
        bench.prove(implies(here & walking, unit.block < blocks), "a block is one of its layer")
        bench.prove(
            implies(here & walking, (unit.row_base == rows) & (unit.block_row == block_row)),
            "rows are those of the layout",
        )
        bench.prove(
            implies(here & step.entry, step.position < inputs), "an entry is one of the list"
        )
        last = unit.block == blocks - 1
        bench.prove(implies(here & going, step.last_block == last), "the last block is marked")
    bench.prove(unit.layer < p.depth, "a layer is one of the network")
    bench.prove(implies(unit.phase == Phase.LOSS, unit.layer == p.depth - 1), "a pass ends last")
    rest = (unit.phase == Phase.LOSS) | (unit.phase == Phase.SETTLE) | (unit.phase == Phase.DONE)
    bench.prove(implies(rest, unit.block == 0), "a layer ends with its last block")
    bench.prove(Value.cast(unit.phase) <= Phase.DONE.value, "no phase but the five")
    forward_end = step.end & ~step.backward
    bench.prove(implies(forward_end, ~unit.pending), "a block ends when the one before has drained")

    # One column: when it was visited last in the backward pass, and in which block.
    column = bench.fixed(step.position.shape(), "column")
    visited = bench.named(step.entry & step.backward & (step.position == column), "visited")
    since = Signal(3, init=4)
    m.d.sync += since.eq(Mux(visited, 1, Mux(since == 4, 4, since + 1)))
    # By induction over the steps of a block: one a clock, and gap counts from the first.
    backward, position = unit.phase == Phase.BACKWARD, unit.position
    behind = position > column
    bench.prove(implies(rest, unit.first), "a block follows on a block")
    bench.prove(implies(unit.first, position == 0), "a block begins at its first entry")
    bench.prove((since >= 1) & (since <= 4), "clocks are counted to 4")
    bench.prove(
        implies(unit.phase == Phase.SETTLE, since + unit.settle >= 4), "settling takes 4 clocks"
    )
    bench.prove(
        implies(~backward & (unit.phase != Phase.SETTLE), since == 4), "then no visit is recent"
    )
    inside = backward & ~unit.first
    for condition, claim in (
        (backward & unit.first, unit.gap + since + column >= 4),
        (inside, unit.gap + position >= 4),
        (inside & behind, since == Mux(position - column > 4, 4, position - column)),
        (inside & ~behind, since + column >= 4 + position),
    ):
        bench.prove(implies(condition, claim), "gap counts down from a block's first step")
    bench.prove(implies(visited, since == 4), "two visits of a column are 4 clocks apart")
    return bench
