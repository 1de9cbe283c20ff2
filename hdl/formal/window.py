"""The window writes whole rows of words that fit, and no random state of 0."""

from amaranth.hdl import *

from golden.parameters import Parameters
from hdl.formal.bench import Bench, implies
from hdl.register_map import RegisterMap
from hdl.window import Window


def window(p: Parameters) -> Bench:
    """Whatever the host writes, in any order.

    Assumed: an access holds until it is done, and nothing else is written meanwhile.
    """
    bench = Bench()
    m = bench.module
    unit = bench.unit(Window(p))
    host = unit.host
    setting = unit.set_memory | unit.set_row | unit.set_lane
    bench.assume(implies(unit.access, ~(setting | unit.forget)))
    waits = bench.past(unit.access & ~unit.done, "waits")
    asked = Cat(unit.write, unit.data)
    bench.assume(implies(waits, unit.access & (asked == bench.past(asked, "asked"))))

    lane = bench.fixed(unit.lane.shape(), "lane")
    loaded = Signal()
    with m.If(host.load & (host.lane == lane)):
        m.d.sync += loaded.eq(1)
    with m.If(host.store | setting | unit.forget):
        m.d.sync += loaded.eq(0)
    bench.prove(implies(unit.expected > lane, loaded), "lanes are written in order")
    before = bench.past(unit.access & unit.write, "before")
    bench.prove(implies(host.load | host.store, unit.write & unit.access), "only a write writes")
    bench.prove(implies(host.store, before), "a row is written a clock after its last lane")
    for memory in RegisterMap.of(p).memories:
        here = unit.memory == memory.number
        last = unit.lane == memory.lanes - 1
        bench.prove(
            implies(host.store & here, last & (host.row < memory.rows)),
            "a row is one of the memory",
        )
        if memory.signed:
            largest = (1 << (memory.bits - 1)) - 1
            data = host.data.as_signed()
            fits = (data >= -largest) & (data <= largest)
            bench.prove(
                implies(host.store & here & (lane < memory.lanes), loaded),
                "a row is written when each of its lanes has been",
            )
            bench.prove(implies(host.load & here, fits), "a word fits the memory")
        else:
            bench.prove(implies(host.store & here, host.state != 0), "no random state is 0")
    return bench
