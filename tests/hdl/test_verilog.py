"""The Verilog text: names of the signatures, one module for equal lanes."""

import re

import pytest
from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.parameters import Parameters
from golden.state import State
from hdl.lane import Lane
from hdl.verilog import convert, generate, generate_core
from tests.configurations import gateware_parameters

SMALL = Parameters(
    layers=(9, 6, 5, 3),
    lanes=3,
    activation_shifts=(3, 2, 1),
    delta_shifts=(2, 2),
    update_shifts=(9, 8, 7),
)


def ports_of(text: str, module: str) -> list[str]:
    """Return the names of a module's ports."""
    (header,) = re.findall(rf"^module {module} ?\(([^)]*)\);", text, re.MULTILINE)
    return [name.strip() for name in header.split(",")]


@pytest.mark.parametrize("seed", range(2))
def test_no_name_is_made_up(seed: int) -> None:
    """No number of Amaranth's or Yosys's in a name that crosses a module's border."""
    p = gateware_parameters(seed)
    p = p.replace(pixels_per_beat=4, activation_bits=min(8, p.activation_bits))
    for generated in (
        generate(p, State.initial(p), probed=seed == 0),
        generate_core(p, State.initial(p)),
    ):
        text = generated.verilog
        # Dollars are of system functions.
        assert not re.search(r"\$[^a-z]|\$auto|\$like|\$signal", text)
        modules = re.findall(r"^module (\S+?) ?\(", text, re.MULTILINE)
        assert len(modules) == len(set(modules))
        for module in modules:
            for port in ports_of(text, module):
                assert not re.fullmatch(r"n\d+|n?signal\w*|port\d*", port), (module, port)
        assert ports_of(text, generated.top)
        assert {port.name for port in generated.ports} == set(ports_of(text, generated.top))


def test_lanes_share_their_modules() -> None:
    text = generate(SMALL, State.initial(SMALL)).verilog
    assert len(re.findall(r"^  nomul_trainer_lane lane\d+ \(", text, re.MULTILINE)) == 3
    assert len(re.findall(r"^module nomul_trainer_lane ", text, re.MULTILINE)) == 1
    # All that a lane is built of, once each.
    assert len(re.findall(r"^module nomul_trainer_lane_\w+ ", text, re.MULTILINE)) == 5
    lane = Lane(SMALL)
    alone = convert(lane, "lane")
    members = {"__".join(map(str, path)) for path, _, _ in lane.signature.flatten(lane)}
    assert set(ports_of(text, "nomul_trainer_lane")) - {"clk", "rst"} <= members
    for module in (alone, text):
        assert re.search(r"^    accumulator <= accumulator_next;", module, re.MULTILINE)


class Adder(wiring.Component):
    """Adds a constant."""

    def __init__(self, constant: int) -> None:
        self._constant = constant
        super().__init__({"a": In(8), "total": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.total.eq(self.a + self._constant)
        return m


class Adders(wiring.Component):
    """Five adders, two pairs of which are alike; one gets a part of a signal, and gives to two."""

    a: In(40)
    total: Out(40)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for number, constant in enumerate((1, 2, 1, 3, 3)):
            m.submodules[f"adder{number}"] = adder = Adder(constant)
            low = 8 * number
            m.d.comb += [
                adder.a.eq(self.a[low : low + 8]),
                self.total[low : low + 8].eq(adder.total),
            ]
        return m


def test_equal_modules_become_one_and_others_do_not() -> None:
    text = convert(Adders(), "adders")
    assert re.findall(r"^module (\w+) ?\(([^)]*)\)", text, re.MULTILINE) == [
        ("adders", "a, total"),
        ("adders_adder", "a, total"),
        ("adders_adder1", "a, total"),
        ("adders_adder3", "a, total"),
    ]
    instances = re.findall(r"^  (\w+) (adder\d) \(\n    \.a\((\S+)\)", text, re.MULTILINE)
    assert instances == [
        ("adders_adder", "adder0", "a[7:0]"),
        ("adders_adder1", "adder1", "a[15:8]"),
        ("adders_adder", "adder2", "a[23:16]"),
        ("adders_adder3", "adder3", "a[31:24]"),
        ("adders_adder3", "adder4", "a[39:32]"),
    ]


class Parts(wiring.Component):
    """A port that is put together outside of the component."""

    left: In(1)
    right: In(1)
    total: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.adder = adder = Adder(3)
        m.d.comb += [adder.a.eq(Cat(self.left, C(0, 3), self.right)), self.total.eq(adder.total)]
        return m


def test_parts_of_a_port_are_named_after_it() -> None:
    assert ports_of(convert(Parts(), "parts"), "parts_adder") == ["total", "a_0", "a_4"]
