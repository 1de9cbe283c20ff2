"""The proof holds for what holds, and falls for every multiplier that is planted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from amaranth.hdl import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from click.testing import CliRunner

from golden import Parameters
from hdl import names
from hdl.booth import Booth
from hdl.connect import Connect
from hdl.random_source import RandomSource
from sim.cli import cli
from sim.commands.common import Setup
from sim.commands.prove import ClaimError, prove_claim
from sim.synthesis.census import elaborated, synthesized
from sim.synthesis.dataflow import UnknownCellError
from sim.synthesis.operand_rule import Findings, operand_rule
from sim.synthesis.planted import DISGUISES, LANE_TOP, PRODUCT, Serial, ShiftAdd, planted_lane
from sim.synthesis.proof import reason

BITS = 4
WIDE = 2 * BITS

#: The network of the whole command: one hidden layer, two lanes.
TINY = Parameters(
    layers=(6, 3, 2),
    lanes=2,
    pixels_per_beat=4,
    activation_shifts=(3, 2),
    delta_shifts=(3,),
    update_shifts=(9, 8),
)

Build = Callable[[Module, Value, Value, Value], Value]
Gate = Callable[[Value, Value], Value]


class Unit(wiring.Component):
    """A word out of two words and a flag, kept in a memory."""

    def __init__(self, build: Build) -> None:
        self._build = build
        super().__init__(
            {"a": In(BITS), "b": In(BITS), "start": In(1), "address": In(2), "word": Out(WIDE)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.kept = kept = memory.Memory(shape=WIDE, depth=4, init=[])
        write, read = kept.write_port(), kept.read_port()
        m.d.comb += [
            write.addr.eq(self.address),
            write.data.eq(self._build(m, self.a, self.b, self.start)),
            write.en.eq(1),
            read.addr.eq(self.address),
            # The census wants an adder.
            self.word.eq(read.data + 1),
        ]
        return m


def rule(component: wiring.Component, folder: Path) -> Findings:
    census, netlist = elaborated(names.convert(component, "top"), "top", folder)
    assert census.clean
    return operand_rule(netlist, lambda violation: False)


def masked(word: Value, bit: Value) -> Value:
    return word & bit.replicate(len(word))


def pipelined(m: Module, a: Value, b: Value, start: Value) -> Value:
    """Partial products wait in registers of their own."""
    parts = [Signal(WIDE, name=f"part{i}") for i in range(BITS)]
    total = Const(0, WIDE)
    for i, part in enumerate(parts):
        m.d.sync += part.eq(masked(a, b[i]) << i)
        total = total + part
    return total


def selected(m: Module, a: Value, b: Value, start: Value) -> Value:
    """Multiplexers instead of masks."""
    total = Const(0, WIDE)
    for i in range(BITS):
        total = total + Mux(b[i], a << i, 0)
    return total


def two_shifts(m: Module, a: Value, b: Value, start: Value) -> Value:
    """Each shifter is fine, their sum is not."""
    return (a << b[:2]) + (a << b[2:])


def decided_rows(m: Module, a: Value, b: Value, start: Value) -> Value:
    """Reductions in place of masks; a third bit makes no difference."""
    total = Const(0, WIDE)
    for j in range(BITS):
        total = total + (Cat(Cat(a[i], b[j], start).all() for i in range(BITS)) << j)
    return total


def selected_rows(m: Module, a: Value, b: Value, start: Value) -> Value:
    """Each bit of a row is one bit of a word, selected by one of the other."""
    total = Const(0, WIDE)
    for j in range(BITS):
        total = total + (Cat(Mux(a[i], b[j], 0) for i in range(BITS)) << j)
    return total


def masked_constants(m: Module, a: Value, b: Value, start: Value) -> Value:
    """Powers of two, masked twice."""
    total = Const(0, WIDE)
    for i in range(BITS):
        for j in range(BITS):
            total = total + masked(masked(Const(1 << (i + j), WIDE), a[j]), b[i])
    return total


def decided_gates(m: Module, a: Value, b: Value, start: Value) -> Value:
    """Half adders of comparisons and reductions."""
    return _columns(a, b, lambda x, y: Cat(x, y).all(), lambda x, y: x != y)


def gates(m: Module, a: Value, b: Value, start: Value) -> Value:
    """Half adders of single gates."""
    return _columns(a, b, lambda x, y: x & y, lambda x, y: x ^ y)


def _columns(a: Value, b: Value, both: Gate, one: Gate) -> Value:
    columns: list[list[Value]] = [[] for _ in range(WIDE + 1)]
    for i in range(BITS):
        for j in range(BITS):
            columns[i + j].append(both(a[i], b[j]))
    for place in range(WIDE):
        while len(columns[place]) > 1:
            x, y = columns[place].pop(0), columns[place].pop(0)
            columns[place].append(one(x, y))
            columns[place + 1].append(both(x, y))
    return Cat(column[0] if column else Const(0, 1) for column in columns[:WIDE])


def overlapping(m: Module, a: Value, b: Value, start: Value) -> Value:
    """Copies that meet in an or, with masks that may both be 1."""
    return (masked(Cat(a, Const(0, 1)), b[0]) | masked(Cat(Const(0, 1), a), b[1])) + 1


def square(m: Module, a: Value, b: Value, start: Value) -> Value:
    return selected(m, a, a, start)


def rom(m: Module, a: Value, b: Value, start: Value) -> Value:
    """A table of products in a memory."""
    return _rom(m, a, b).read


def rom_with_a_port(m: Module, a: Value, b: Value, start: Value) -> Value:
    """The same, with a write port that never writes."""
    rom = _rom(m, a, b)
    rom.unit.write_port()
    return rom.read


class _Rom(NamedTuple):
    unit: memory.Memory
    read: Value


def _rom(m: Module, a: Value, b: Value) -> _Rom:
    table = [x * y for y in range(1 << BITS) for x in range(1 << BITS)]
    m.submodules.rom = unit = memory.Memory(shape=WIDE, depth=len(table), init=table)
    port = unit.read_port()
    m.d.comb += port.addr.eq(Cat(a, b))
    return _Rom(unit, port.data)


def choice(m: Module, a: Value, b: Value, start: Value) -> Value:
    """A table of products in multiplexers, of words from a memory."""
    word = _in_words(m, a, b, start)
    return _products(m, word, Const(1))


def choice_but_one(m: Module, a: Value, b: Value, start: Value) -> Value:
    """The same, but for one product that is no constant."""
    word = _in_words(m, a, b, start)
    return _products(m, word, word[0])


def choice_by_sums(m: Module, a: Value, b: Value, start: Value) -> Value:
    """A table of the products of two sums."""
    sums = [Signal(BITS, name=f"sum_{name}") for name in "ab"]
    m.d.sync += [
        each.eq(Mux(start, 0, each + word)) for each, word in zip(sums, (a, b), strict=True)
    ]
    return _products(m, Cat(sums), Const(1))


def _in_words(m: Module, a: Value, b: Value, start: Value) -> Value:
    m.submodules.words = words = memory.Memory(shape=WIDE, depth=2, init=[])
    write, read = words.write_port(), words.read_port()
    m.d.comb += [write.data.eq(Cat(a, b)), write.en.eq(1), read.addr.eq(start)]
    return read.data


def _products(m: Module, word: Value, one: Value) -> Value:
    product = Signal(WIDE)
    with m.Switch(word):
        for x in range(1 << BITS):
            for y in range(1 << BITS):
                with m.Case(x | y << BITS):
                    m.d.comb += product.eq(one if x * y == 1 else x * y)
    return product


def horner(m: Module, a: Value, b: Value, start: Value) -> Value:
    """Highest bit first: the sum moves, the word stands."""
    total, bits = Signal(WIDE), Signal(BITS)
    m.d.sync += [bits.eq(Mux(start, b, bits << 1)), total.eq((total << 1) + masked(a, bits[-1]))]
    return total


def rotating(m: Module, a: Value, b: Value, start: Value) -> Value:
    """The multiplicand goes round in a ring."""
    total, ring, bits = Signal(WIDE), Signal(WIDE), Signal(BITS)
    m.d.sync += [
        ring.eq(Mux(start, a, ring.rotate_left(1))),
        bits.eq(Mux(start, b, bits >> 1)),
        total.eq(Mux(start, 0, total + masked(ring, bits[0]))),
    ]
    return total


def delayed(m: Module, a: Value, b: Value, start: Value) -> Value:
    """The multiplicand goes down a line of registers, each of which has its place."""
    line = [a]
    for i in range(1, BITS):
        line.append(Signal(BITS, name=f"delay{i}"))
        m.d.sync += line[-1].eq(line[-2])
    bits, total, copy = Signal(BITS), Signal(WIDE), Signal(WIDE)
    step = Signal(range(BITS))
    m.d.sync += [
        step.eq(Mux(start, 1, step + 1)),
        bits.eq(Mux(start, b >> 1, bits >> 1)),
        total.eq(Mux(start, 0, total) + masked(copy, Mux(start, b[0], bits[0]))),
    ]
    with m.Switch(Mux(start, 0, step)):
        for i, word in enumerate(line):
            with m.Case(i):
                m.d.comb += copy.eq(word << i)
    return total


def repeated(m: Module, a: Value, b: Value, start: Value) -> Value:
    """Add a word as often as a counter says."""
    total, word, left = Signal(WIDE), Signal(BITS), Signal(BITS)
    m.d.sync += [
        word.eq(Mux(start, a, word)),
        left.eq(Mux(start, b, left - 1)),
        total.eq(Mux(start, 0, total + masked(word, left != 0))),
    ]
    return total


def side_by_side(m: Module, a: Value, b: Value, start: Value) -> Value:
    """A sum for each bit of a word; each is fine, the sum of the sums is not."""
    sums = [Signal(WIDE, name=f"sum{i}") for i in range(2)]
    for i, each in enumerate(sums):
        m.d.sync += each.eq(Mux(start, 0, each + (masked(a, b[i]) << i)))
    return sums[0] + sums[1]


def in_memory(m: Module, a: Value, b: Value, start: Value) -> Value:
    """The sum waits in a memory, and moves there."""
    m.submodules.sums = sums = memory.Memory(shape=WIDE, depth=2, init=[])
    write, read = sums.write_port(), sums.read_port()
    m.d.comb += [write.en.eq(1), write.data.eq((read.data << 1) + masked(a, b[0]))]
    return read.data


def in_two_memories(m: Module, a: Value, b: Value, start: Value) -> Value:
    """The multiplicand moves from one memory to another and back."""
    m.submodules.ping = ping = memory.Memory(shape=WIDE, depth=2, init=[])
    m.submodules.pong = pong = memory.Memory(shape=WIDE, depth=2, init=[])
    there, back = ping.write_port(), pong.write_port()
    first, second = ping.read_port(domain="comb"), pong.read_port(domain="comb")
    bits, total, phase = Signal(BITS), Signal(WIDE), Signal()
    m.d.sync += [
        phase.eq(Mux(start, 0, ~phase)),
        bits.eq(Mux(start, b, bits >> 1)),
        total.eq(Mux(start, 0, total + masked(Mux(phase, second.data, first.data), bits[0]))),
    ]
    m.d.comb += [
        there.en.eq(1),
        there.data.eq(Mux(start, a, second.data << 1)),
        back.en.eq(1),
        back.data.eq(first.data << 1),
    ]
    return total


DISGUISED: dict[Build, str] = {
    pipelined: "one copy",
    selected: "one copy",
    square: "one copy",
    two_shifts: "one copy",
    decided_rows: "one copy",
    selected_rows: "one copy",
    masked_constants: "one copy",
    gates: "merge",
    decided_gates: "merge",
    overlapping: "merge",
    rom: "table",
    rom_with_a_port: "table",
    choice: "table",
    choice_but_one: "table",
    choice_by_sums: "table",
    horner: "one copy",
    rotating: "accumulator",
    delayed: "accumulator",
    repeated: "accumulator",
    side_by_side: "one copy",
    in_memory: "memory",
    in_two_memories: "memory",
}


@pytest.mark.parametrize(
    ("build", "part"), DISGUISED.items(), ids=lambda each: getattr(each, "__name__", None)
)
def test_disguises_are_caught(build: Build, part: str, tmp_path: Path) -> None:
    found = rule(Unit(build), tmp_path).violations
    assert part in {violation.rule for violation in found}, found


def shifted(m: Module, a: Value, b: Value, start: Value) -> Value:
    """One shift, one sign: a product by a power of two."""
    copy = (a << b[:2]) ^ b[2].replicate(WIDE)
    return copy + b[2]


def exclusive(m: Module, a: Value, b: Value, start: Value) -> Value:
    """0, once or twice a word."""
    once, twice = b[0], b[1] & ~b[0]
    return (masked(Cat(a, Const(0, 1)), once) | masked(Cat(Const(0, 1), a), twice)) + 1


def sum_of_stream(m: Module, a: Value, b: Value, start: Value) -> Value:
    """New words, each masked by a bit, are added up."""
    total = Signal(WIDE)
    m.d.sync += total.eq(Mux(start, 0, total + masked(a, b[0])))
    return total


@pytest.mark.parametrize("build", [shifted, exclusive, sum_of_stream])
def test_what_is_fine_is_found_fine(build: Build, tmp_path: Path) -> None:
    assert rule(Unit(build), tmp_path).violations == []


def test_random_source_and_draw_are_fine(tmp_path: Path) -> None:
    def drawn(m: Module, a: Value, b: Value, start: Value) -> Value:
        m.submodules.source = source = RandomSource(16, [1], slots=2)
        m.submodules.connect = connect = Connect(TINY)
        m.d.comb += [
            source.step.eq(start),
            connect.weight.eq(Cat(a, b)),
            connect.random.eq(source.word[0]),
        ]
        return connect.draw

    assert rule(Unit(drawn), tmp_path).violations == []


def test_an_unknown_cell_is_no_proof(tmp_path: Path) -> None:
    class Odd(wiring.Component):
        a: In(4)
        y: Out(4)

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.odd = Instance("odd_box", i_a=self.a, o_y=self.y)
            return m

    text = names.convert(Odd(), "top")
    module = "\nmodule \\odd_box\n  wire width 4 input 1 \\a\n  wire width 4 output 2 \\y\n"
    text += f"{module}  cell $lut $1\n    parameter \\WIDTH 4\n    parameter \\LUT 16'0\n"
    text += "    connect \\A \\a\n    connect \\Y \\y [0]\n  end\n"
    text += "  cell $add $2\n    parameter \\A_SIGNED 0\n    parameter \\B_SIGNED 0\n"
    text += "    parameter \\A_WIDTH 4\n    parameter \\B_WIDTH 4\n    parameter \\Y_WIDTH 3\n"
    text += "    connect \\A \\a\n    connect \\B \\a\n    connect \\Y \\y [3:1]\n  end\nend\n"
    _, netlist = elaborated(text, "top", tmp_path)
    with pytest.raises(UnknownCellError, match=r"odd: a cell \$lut"):
        operand_rule(netlist, lambda violation: False)


@pytest.mark.parametrize("unit", [PRODUCT, *DISGUISES])
def test_planted_in_a_lane(unit: type, tmp_path: Path) -> None:
    census, netlist = elaborated(planted_lane(TINY, unit), LANE_TOP, tmp_path)
    if unit is PRODUCT:
        assert census.found == {"$mul": 1}
    else:
        assert census.clean
        found = operand_rule(netlist, lambda violation: False).violations
        assert {each.place for each in found} == {"update_weight"}
        expected = {ShiftAdd: "one copy", Serial: "accumulator"}[unit]
        assert {each.rule for each in found} == {expected}


def test_what_is_exempt_has_one_adder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Square(Booth):
        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.d.comb += self.digit.eq(square(m, self.weight, self.weight, Const(0)))
            return m

    exact = Parameters.named("digits").replace(inference="exact")
    for unit, exempt in ((Booth, True), (Square, False)):
        monkeypatch.setattr("hdl.lane.Booth", unit)
        _, netlist = elaborated(planted_lane(exact, None), LANE_TOP, tmp_path)
        found = operand_rule(netlist, lambda violation: reason(violation) is not None)
        assert bool(found.exempt) == exempt
        assert bool(found.violations) == (not exempt)


@pytest.mark.parametrize("family", ["ecp5", "xilinx"])
def test_a_product_becomes_a_dsp_block(family: str, tmp_path: Path) -> None:
    # The command's test has the third family, and the lane as it is.
    lane = planted_lane(Parameters.named("digits"), PRODUCT)
    census = synthesized(lane, LANE_TOP, family, tmp_path)
    assert census.found == {{"ecp5": "MULT18X18D", "xilinx": "DSP48E1"}[family]: 1}


def test_command(tmp_path: Path) -> None:
    (tmp_path / "net.toml").write_text(TINY.to_toml(), encoding="utf-8")
    output = tmp_path / "proof"
    arguments = ["prove", "--config", str(tmp_path / "net.toml"), "--output", str(output)]
    arguments += ["--top", "trainer"]
    result = CliRunner().invoke(cli, [*arguments, "--families", "ice40"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    report = json.loads((output / "proof.json").read_text())
    assert report["holds"]
    assert report["faults"] == []
    assert report["elaborated"]["cells"]["$add"] > 30
    assert list(report["synthesized"]) == ["ice40"]
    assert report["synthesized"]["ice40"]["cells"]["SB_LUT4"] > 100
    assert [(each["name"], each["check"], each["caught"]) for each in report["planted"]] == [
        ("Product", "elaborated", True),
        ("ShiftAdd", "operand rule", True),
        ("Serial", "operand rule", True),
        ("Product", "ice40", True),
    ]
    text = (output / "proof.md").read_text()
    assert "**The claim holds.**" in text
    assert "| lane*.accumulate" in text


def test_command_fails_when_the_claim_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdl.lane.UpdateWeight", ShiftAdd)
    output = tmp_path / "proof"
    with pytest.raises(ClaimError, match=r"does not hold: one copy: lane0\.update_weight"):
        prove_claim(Setup(None, TINY, output), top="trainer", families=[])
    report = json.loads((output / "proof.json").read_text())
    assert not report["holds"]
    assert "does not hold" in (output / "proof.md").read_text()


def test_unknown_family() -> None:
    result = CliRunner().invoke(cli, ["prove", "--families", "ecp5,nexus"])
    assert result.exit_code == 2
    assert "is not a list of ecp5, ice40, xilinx" in result.output
