"""The host's way to the trainer's memories and random states, while no sample is in hand."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.formats import unsigned_bits
from golden.parameters import Parameters
from hdl.register_map import MEMORIES, RegisterMap

#: Clocks that ``row`` and ``lane`` must have been steady before ``word`` is right, and before
#: ``store``: a row travels down the step pipeline to the write port at s9.
STEADY_CLOCKS = 10


def host_signature(parameters: Parameters) -> wiring.Signature:
    """Return the port, as the host sees it (``docs/architecture.md``, section 10).

    Members:
        active: The host uses the memories. Only while the trainer is idle and gets no samples.
        memory: Position in ``hdl.register_map.MEMORIES``.
        row: Row of weights or biases, or number of a random source.
        lane: Lane of the row; for a random state 0 for its lowest 32 bits, 1 for the next.
        load: Keep ``data`` for lane ``lane`` of the row of weights that ``store`` will write, or
            write it as the bias there.
        data: A word for weights or biases, of which the lowest bits count.
        store: Write the row of weights, every lane, or the random state ``state``.
        state: A random state.
        word: The word there, sign-extended.
    """
    memories = RegisterMap.of(parameters).memories
    return wiring.Signature(
        {
            "active": Out(1),
            "memory": Out(range(len(MEMORIES))),
            "row": Out(unsigned_bits(max(memory.rows for memory in memories))),
            "lane": Out(unsigned_bits(max(memory.lanes for memory in memories) - 1)),
            "load": Out(1),
            "data": Out(32),
            "store": Out(1),
            "state": Out(parameters.random_width),
            "word": In(32),
        }
    )
