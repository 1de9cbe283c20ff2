"""A bench for a solver: a unit, what is assumed of its inputs, what is claimed of it."""

from typing import TypeVar

from amaranth.back import rtlil
from amaranth.hdl import *
from amaranth.hdl._ast import AnyConst
from amaranth.lib import data, wiring

#: Name of a bench's module.
TOP = "bench"

Unit = TypeVar("Unit", bound=wiring.Component)


class Bench:
    """Units whose inputs are free in every clock, and properties of them.

    The reset is free too: a claim holds whenever a reset comes. What the bench itself remembers is
    forgotten with it.

    Attributes:
        module: The top. It may drive inputs of units, and have registers of its own.
        claims: What each property says, by ``file:line`` of the call of :meth:`prove`.
    """

    def __init__(self) -> None:
        self.module = Module()
        self.claims: dict[str, str] = {}
        self._ports: list[Signal] = []

    def unit(self, component: Unit, name: str = "unit") -> Unit:
        """Add a unit and return it; its inputs are free unless the bench drives them."""
        self.module.submodules[name] = component
        for _, _, value in component.signature.flatten(component):
            self._ports.append(Value.cast(value))
        return component

    def inputs(self, *signals: Signal) -> None:
        """Let signals of a unit that are not in its signature be free."""
        self._ports += signals

    def free(self, shape: object, name: str) -> Signal:
        """Return a signal that may have any value in each clock."""
        signal = Signal(shape, name=name)
        self._ports.append(Value.cast(signal))
        return signal

    def fixed(self, shape: object, name: str) -> Signal:
        """Return a signal that may have any value, the same in all clocks."""
        signal = Signal(shape, name=name)
        self.module.d.comb += Value.cast(signal).eq(AnyConst(Value.cast(signal).shape()))
        return signal

    def named(self, value: Value, name: str) -> Signal:
        """Return a signal with the value, to be seen in a counterexample."""
        signal = Signal(value.shape(), name=name)
        self.module.d.comb += signal.eq(value)
        return signal

    def past(self, value: Value, name: str, clocks: int = 1, *, reset_less: bool = False) -> Value:
        """Return what a value was so many clocks ago; 0 before the first clock.

        It is 0 behind a reset, too, unless the registers that it is compared with have none.
        """
        for clock in range(clocks):
            shape = value.shape()
            late = Signal(shape, name=f"{name}_past{clock + 1}", reset_less=reset_less)
            source = value.as_value() if isinstance(shape, data.Layout) else value
            self.module.d.sync += (late.as_value() if source is not value else late).eq(source)
            value = late
        return value

    def assume(self, condition: Value) -> None:
        """Leave out what does not satisfy a condition."""
        self.module.d.comb += Assume(condition, src_loc_at=1)

    def prove(self, condition: Value, claim: str) -> None:
        """Claim that a condition holds in every clock."""
        check = Assert(condition, src_loc_at=1)
        file, line = check.src_loc
        self.claims[f"{file}:{line}"] = claim
        self.module.d.comb += check

    def rtlil(self) -> str:
        """Return the bench as RTLIL, the text of Yosys."""
        return rtlil.convert(self.module, TOP, ports=self._ports, emit_src=True)


def within(value: Value, bound: int | Value) -> Value:
    """Return whether ``-bound <= value <= bound``."""
    return (value >= -bound) & (value <= bound)


def clip(value: Value, bound: int) -> Value:
    """Return ``min(max(value, -bound), bound)`` (contract, section 1)."""
    return Mux(value > bound, bound, Mux(value < -bound, -bound, value))


def implies(condition: Value, consequence: Value) -> Value:
    """Return whether the consequence holds, or the condition does not."""
    return ~Value.cast(condition).any() | Value.cast(consequence).any()


def memory_word(unit: wiring.Component, name: str, address: Value | int, shape: object) -> Signal:
    """Return a word of a unit's memory as it stands, seen through a read port of its own.

    Args:
        unit: The unit.
        name: Of the memory, among its submodules.
        address: Of the word.
        shape: Of a word.
    """
    word = Signal(shape)
    elaborate = unit.elaborate

    def observed(platform: object) -> Module:
        m = elaborate(platform)
        port = getattr(m.submodules, name).read_port(domain="comb")
        m.d.comb += [port.addr.eq(address), Value.cast(word).eq(Value.cast(port.data))]
        return m

    unit.elaborate = observed
    return word
