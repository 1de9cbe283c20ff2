"""Multipliers, planted into a lane, that the proof must find: a check that cannot fail is none."""

from unittest.mock import patch

from amaranth.hdl import Cat, Const, Module, Mux, Signal

from golden.parameters import Parameters
from hdl import names
from hdl.lane import Lane
from hdl.update import UpdateWeight

#: Module name of a lane.
LANE_TOP = "nomul_lane"


class Product(UpdateWeight):
    """The new weight is the product of weight and increment."""

    def elaborate(self, platform: object) -> Module:
        """Build it."""
        m = Module()
        m.d.comb += self.new_weight.eq(self.weight * self.increment)
        return m


class ShiftAdd(UpdateWeight):
    """The same product in disguise: shifted copies, each masked by a bit, added up."""

    def elaborate(self, platform: object) -> Module:
        """Build it."""
        m = Module()
        total = Const(0)
        for place in range(len(self.weight)):
            mask = self.weight[place].replicate(len(self.increment))
            total = total + ((self.increment & mask) << place)
        m.d.comb += self.new_weight.eq(total)
        return m


class Serial(UpdateWeight):
    """The same product over clocks: one adder, a bit of the weight in each clock."""

    def elaborate(self, platform: object) -> Module:
        """Build it."""
        m = Module()
        bits = len(self.weight)
        multiplicand = Signal(2 * bits)
        multiplier = Signal(bits)
        total = Signal(2 * bits)
        step = Signal(range(bits))
        first = step == 0
        copy = multiplicand & multiplier[0].replicate(len(multiplicand))
        m.d.sync += [
            step.eq(Mux(step == bits - 1, 0, step + 1)),
            multiplicand.eq(Mux(first, self.increment, multiplicand << 1)),
            multiplier.eq(Mux(first, self.weight, Cat(multiplier[1:], Const(0, 1)))),
            total.eq(Mux(first, 0, total + copy)),
        ]
        with m.If(first):
            m.d.sync += self.new_weight.eq(total)
        return m


#: What is planted for the census of cells, before and after synthesis.
PRODUCT = Product

#: What is planted for the operand rule; none of it has a cell that multiplies.
DISGUISES = (ShiftAdd, Serial)


def planted_lane(parameters: Parameters, unit: type[UpdateWeight] | None) -> str:
    """Return a lane as RTLIL, with a unit in place of the one that updates weights, or as it is."""
    if unit is None:
        return names.convert(Lane(parameters), LANE_TOP)
    with patch("hdl.lane.UpdateWeight", unit):
        return names.convert(Lane(parameters), LANE_TOP)
