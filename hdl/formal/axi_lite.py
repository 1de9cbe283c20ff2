"""The AXI4-Lite slave obeys the bus: an answer for each request, which waits to be taken."""

from amaranth.hdl import *

from golden.parameters import Parameters
from hdl.axi_lite import OKAY, SLVERR, AxiLite
from hdl.formal.bench import Bench, implies
from hdl.register_map import Access, Register, RegisterMap

#: Registers that the core keeps outside of the slave.
_OWNED = ("WINDOW_MEMORY", "WINDOW_ROW", "WINDOW_LANE", "WINDOW_DATA")


def _fits(register: Register, word: Value) -> Value:
    """Return whether a word may be written into a register."""
    fits = (word & register.unused) == 0
    for field in register.fields:
        fits &= word[field.low : field.low + field.bits] <= field.largest
    return fits


def axi_lite(p: Parameters) -> Bench:
    """With any master, and any owner of the registers."""
    bench = Bench()
    m = bench.module
    register_map = RegisterMap.of(p)
    unit = bench.unit(AxiLite(register_map, _OWNED))
    kept = [
        each
        for each in register_map
        if each.access is Access.READ_WRITE and each.name not in _OWNED
    ]
    for each in register_map:
        owned = each.access is Access.READ_ONLY and not each.constant
        if owned or each.name in _OWNED:
            bench.inputs(unit.value[each.name])
    bench.inputs(*(unit.event[name] for name in unit.event if name != "REFUSED"))
    bench.inputs(*unit.refuse.values())

    taken = {
        "write": bench.named(unit.awvalid & unit.awready, "write_taken"),
        "read": bench.named(unit.arvalid & unit.arready, "read_taken"),
    }
    answered = {
        "write": bench.named(unit.bvalid & unit.bready, "write_answered"),
        "read": bench.named(unit.rvalid & unit.rready, "read_answered"),
    }
    valid = {"write": unit.bvalid, "read": unit.rvalid}
    waiting = {name: Signal(name=f"{name}_waiting") for name in taken}
    busy = waiting["write"] | waiting["read"]
    bench.prove(
        taken["write"] == (unit.wvalid & unit.wready), "address and data are taken together"
    )
    for name, flag in waiting.items():
        with m.If(taken[name]):
            m.d.sync += flag.eq(1)
        with m.Elif(answered[name]):
            m.d.sync += flag.eq(0)
        bench.prove(implies(valid[name], flag), "no answer without a request")
        bench.prove(implies(taken[name], ~busy), "no request is taken before the last is answered")
    bench.prove(~(waiting["write"] & waiting["read"]), "one access at a time")
    bench.prove(~(taken["write"] & taken["read"]), "one request at a time")
    wanted = (unit.awvalid & unit.wvalid) | unit.arvalid
    bench.prove(
        implies(wanted & ~busy, taken["write"] | taken["read"]), "a request is taken at once"
    )
    bench.prove(unit.idle == ~busy, "an access is in hand from its request to its answer")
    bench.prove(implies(busy, unit.write == waiting["write"]), "an access keeps its direction")
    offered = Cat(unit.select.values()).any()
    bench.prove(implies(offered, busy), "an owner is asked for a request only")
    answering = unit.bvalid | unit.rvalid
    bench.prove(
        implies(bench.past(taken["write"] | taken["read"], "request"), unit.checking),
        "a request is checked in the next clock",
    )
    checked = bench.past(unit.checking, "checked")
    bench.prove(implies(checked, busy & ~unit.checking), "a check takes one clock")
    bench.prove(
        implies(bench.past(busy & ~unit.checking & ~offered & ~answering, "refused"), answering),
        "what is refused is answered in the clock after its check",
    )
    bench.prove(
        implies(bench.past(offered & unit.done, "done"), answering),
        "what is done is answered in the next clock",
    )

    held = bench.past(unit.bvalid & ~unit.bready, "b_held")
    same = unit.bresp == bench.past(unit.bresp, "bresp")
    bench.prove(implies(held, unit.bvalid & same), "a write's answer stays until it is taken")
    held = bench.past(unit.rvalid & ~unit.rready, "r_held")
    payload = Cat(unit.rresp, unit.rdata)
    same = payload == bench.past(payload, "r")
    bench.prove(implies(held, unit.rvalid & same), "a read's answer stays until it is taken")
    for response, flag in ((unit.bresp, unit.bvalid), (unit.rresp, unit.rvalid)):
        known = (response == OKAY) | (response == SLVERR)
        bench.prove(implies(flag, known), "an answer is OKAY or SLVERR")
    refused = unit.rvalid & (unit.rresp == SLVERR)
    bench.prove(implies(refused, unit.rdata == 0), "a read that is refused is 0")

    turn = bench.past(answered["write"], "write_served")
    both = unit.awvalid & unit.wvalid & unit.arvalid
    bench.prove(implies(turn & both, taken["read"]), "after a write a waiting read comes first")
    for register in kept:
        value = unit.value[register.name]
        bench.prove(_fits(register, value), "a register holds only what may be written into it")
        bench.prove(
            implies(unit.select[register.name] & unit.write, _fits(register, unit.data)),
            "only such a word is offered",
        )
        written = bench.past(
            unit.select[register.name] & unit.write & unit.done, f"written_{register.name}"
        )
        same = value == bench.past(value, register.name)
        # A reset, in which what is remembered is 0, changes registers too.
        running = bench.past(Const(1), f"running_{register.name}")
        bench.prove(implies(running & ~written, same), "a register changes only when it is written")
    return bench
