"""The backward sum never overflows, over all lanes and blocks."""

from amaranth.hdl import *

from golden.layout import Layout
from golden.parameters import Parameters
from golden.probes import tree_depth
from hdl.backward import Backward
from hdl.formal.bench import Bench, implies, memory_word, within


def backward_sum(p: Parameters) -> Bench:
    """Steps as the walker gives them, deltas in their ranges.

    Assumed: a column comes once in each block, in order, and what its last block wrote has landed
    when the next one reads.
    """
    bench = Bench()
    m = bench.module
    unit = bench.unit(Backward(p))
    g, depth, blocks = p.draw_fraction_bits, tree_depth(p.lanes), Layout.of(p).blocks
    shape = unit.partial.shape()

    # step(n) is the step at stage s(n).
    steps = [unit.step5]
    for stage in range(6, 9 + depth):
        steps.append(bench.past(steps[-1], f"step{stage}"))

    def step(stage: int):
        return steps[stage - 5]

    def wanted(stage: int) -> Value:
        each = step(stage)
        return each.entry & each.backward & (each.layer != 0)

    # By layer: the largest product of a lane, and the lanes with a unit in the last block.
    largest = [p.hidden_delta_max << g] * (p.depth - 1) + [p.output_delta_max << g]
    used = [size - (count - 1) * p.lanes for size, count in zip(p.layers[1:], blocks, strict=True)]

    def bounded(value: Value, stage: int, first: int, lanes: int) -> Value:
        """Return whether a sum over some lanes is within its bound."""
        each, holds = step(stage), Const(1)
        for layer in range(1, p.depth):
            live = max(0, min(lanes, used[layer] - first))
            bound = Mux(each.last_block, live * largest[layer], lanes * largest[layer])
            holds = holds & implies(wanted(stage) & (each.layer == layer), within(value, bound))
        return holds

    level = [
        bench.named(unit.terms[lane] + unit.carries[lane], f"product{lane}")
        for lane in range(p.lanes)
    ]
    for lane, product in enumerate(level):
        bench.assume(bounded(product, 7, lane, 1))
    for stage, each in enumerate(steps):
        holds = each.layer < p.depth
        for layer, count in enumerate(blocks):
            last = each.block == count - 1
            fits = (each.block < count) & (each.last_block == last)
            holds = holds & implies((each.layer == layer) & each.entry, fits)
        if stage == 0:
            bench.assume(holds)
        else:
            bench.prove(holds, "a step stays what it is on its way")
    for stage, (sums, waiting) in enumerate(zip(unit.tree, unit.waiting, strict=True)):
        totals = [
            bench.named(total + carry, f"total{stage}_{i}")
            for i, (total, carry) in enumerate(zip(sums, waiting, strict=True))
        ]
        for i, total in enumerate(totals):
            late = [
                bench.past(each, f"term{stage}_{i}_{k}", reset_less=True)
                for k, each in enumerate(level[2 * i : 2 * i + 2])
            ]
            bench.prove(total == sum(late[1:], late[0]), "a level of the tree is the sums of pairs")
            width = 2 << stage
            lanes = min(width, p.lanes - i * width)
            bench.prove(
                bounded(total, 8 + stage, i * width, lanes),
                "a sum over some lanes is at most their number times the largest product",
            )
        level = totals

    # One column: how many of its blocks have been written.
    column = bench.fixed(unit.step5.position.shape(), "column")
    word = memory_word(unit, "scratch", column, shape)
    written = Signal(range(max(blocks) + 1))
    of_layer = Signal.like(unit.step5.layer)

    def here(stage: int) -> Value:
        return wanted(stage) & (step(stage).position == column)

    read, add, write = 5 + depth, 7 + depth, 8 + depth
    with m.If(here(write)):
        m.d.sync += [written.eq(step(write).block + 1), of_layer.eq(step(write).layer)]
    alone = ~Cat(here(stage) for stage in range(read + 1, write + 1)).any()
    follows = (written == step(read).block) & (of_layer == step(read).layer) & alone
    bench.assume(implies(here(read), (step(read).block == 0) | follows))
    partial = Signal(signed(len(unit.partial) + 2))
    below = Mux(step(add).block == 0, 0, bench.past(word, "scratch", 2))
    m.d.sync += partial.eq(level[0] + below)
    bench.prove(
        implies(here(write), unit.partial == partial),
        "a partial sum is the sum over the lanes and that of the blocks before, in full width",
    )
    for layer in range(1, p.depth):
        count = range(1, blocks[layer])
        bound = Array([0, *(largest[layer] * p.lanes * block for block in count), 0])[written]
        open_ = (of_layer == layer) & (written != 0) & (written < blocks[layer])
        bench.prove(
            implies(open_, within(word, bound)),
            "what waits for the next block is within the bound of the blocks so far",
        )
    return bench
