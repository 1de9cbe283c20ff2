"""What nomul build and nomul board do without a board: clock, baud rate, timing, errors."""

import hashlib
import io
import itertools
import json
import math
import os
import random
import re
import subprocess
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from golden import Parameters
from golden.checkpoint import Checkpoint
from golden.state import State
from hdl.block_rams import block_rams
from hdl.board.pll import MAX_DIVIDER, VCO_HZ, FrequencyError, Pll
from hdl.board.ulx3s import ULX3S_TOP, generate_board, ulx3s_constraints, ulx3s_verilog
from sim.board.build import (
    Built,
    check_fit,
    known_resources,
    meet_timing,
    pack,
    sample_bytes,
    serial_divisor,
)
from sim.board.host import load_driver
from sim.board.link import LinkError, decode, encode
from sim.board.serial_port import SerialPort
from sim.cli import cli
from sim.commands import build
from sim.data import load_digits
from sim.export.project import python_driver
from sim.simulators import find_verilator
from sim.synthesis import mapping
from sim.synthesis.critical_path import CriticalPath
from sim.synthesis.families import Resources
from sim.synthesis.mapping import Synthesis
from sim.synthesis.placement import LOG, REPORT, Placement, Target
from sim.synthesis.report import UNMEASURED
from sim.synthesis.tools import SynthesisError

DIGITS = Parameters.named("digits")


@pytest.mark.parametrize("seed", range(3))
def test_pll_makes_the_fastest_clock_that_is_not_above(seed: int) -> None:
    """Against all dividers; every one that is returned is within the PLL's limits."""
    rng = random.Random(seed)
    steps = range(VCO_HZ[0] // 12_500_000, VCO_HZ[1] // 12_500_000 + 1)
    every = [
        Fraction(12_500_000 * feedback, output)
        for feedback, output in itertools.product(steps, range(1, MAX_DIVIDER + 1))
    ]
    for _ in range(30):
        hz = rng.choice((rng.randint(3_125_000, 400_000_000), rng.randint(20, 100) * 10**6))
        pll = Pll.at_most(hz)
        assert pll.hz == max(each for each in every if each <= hz)
        assert VCO_HZ[0] <= pll.vco_hz <= VCO_HZ[1]
        assert pll.hz * pll.output == pll.vco_hz == 12_500_000 * pll.feedback
    assert Pll.at_most(50_000_000).hz == 50_000_000


@pytest.mark.parametrize("hz", [0, 3_124_999, 400_000_001, math.inf, math.nan])
def test_clocks_out_of_reach(hz: float) -> None:
    with pytest.raises(FrequencyError, match=r"the clock must be in 3.125..400 MHz, not"):
        Pll.at_most(hz)


@pytest.mark.parametrize("frequency", ["inf", "nan", "1e400", "401"])
def test_frequency_out_of_reach(frequency: str, tmp_path: Path) -> None:
    options = ["--frequency", frequency, "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, ["build", "ulx3s", *options])
    assert isinstance(done.exception, FrequencyError)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("feedback", "output"), [(31, 8), (65, 8), (48, 0), (48, 129), (0, 1)])
def test_dividers_out_of_range(feedback: int, output: int) -> None:
    with pytest.raises(FrequencyError, match="the PLL"):
        Pll(feedback, output)


def test_top_and_constraints(tmp_path: Path) -> None:
    """The whole top lints, around a stand-in for the vendor's PLL; each port has its pin."""
    p = DIGITS.replace(layers=(6, 3, 10), lanes=2)
    pll = Pll.at_most(50_000_000)
    top = ulx3s_verilog(generate_board(p, State.initial(p), 50), pll)
    names = re.findall(r"^    \.(\w+)\((.*)\)", pll.to_verilog(), re.MULTILINE)
    parameters = ", ".join(f"parameter {name} = {value}" for name, value in names[:19])
    inputs = ", ".join(f"input {n}" for n, _ in names[19:] if n not in ("CLKOP", "CLKOS", "LOCK"))
    stand_in = f"module EHXPLLL #({parameters}) ({inputs}, output CLKOP, CLKOS, LOCK);\n"
    stand_in += "  assign {CLKOP, CLKOS, LOCK} = {CLKI, CLKI, 1'b1};\nendmodule\n"
    (tmp_path / "top.v").write_text(top + stand_in)
    verilator = find_verilator()
    root = {} if verilator.root is None else {"VERILATOR_ROOT": str(verilator.root)}
    done = subprocess.run(
        [verilator.path, "--lint-only", "-Wno-fatal", "--top-module", ULX3S_TOP, "top.v"],
        cwd=tmp_path,
        env={**os.environ, **root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Of this file's own text not even a warning.
    own = top[: top.index(f"module {ULX3S_TOP}")].count("\n")
    lines = [int(each) for each in re.findall(r"top\.v:(\d+):", done.stderr)]
    assert all(line <= own for line in lines), done.stderr

    (header,) = re.findall(rf"module {ULX3S_TOP} \((.*?)\);", top, re.DOTALL)
    ports = {each.split()[-1] for each in header.split(",")}
    located = re.findall(r'LOCATE COMP "([\w\[\]]+)" SITE "(\w+)"', ulx3s_constraints())
    assert {name.partition("[")[0] for name, _ in located} == ports
    assert sum(name.startswith("led[") for name, _ in located) == 8
    assert len({site for _, site in located}) == len(located)
    for name, _ in located:
        assert f'IOBUF PORT "{name}" IO_TYPE=LVCMOS33' in ulx3s_constraints()


@pytest.mark.parametrize(
    ("mhz", "baud", "divisor"), [(50, 1_000_000, 50), (50, 3_000_000, 17), (57, 115_200, 495)]
)
def test_baud_rates(mhz: int, baud: int, divisor: int) -> None:
    assert serial_divisor(Fraction(mhz * 10**6), baud) == divisor


@pytest.mark.parametrize(("baud", "near"), [(9_000_000, "10000000"), (30_000_000, "12500000")])
def test_baud_rates_out_of_reach(baud: int, near: str) -> None:
    with pytest.raises(SynthesisError, match=f"makes no {baud:,} baud: .* --baud .*{near}"):
        serial_divisor(Fraction(50_000_000), baud)


def placement(seed: int, fmax: float | None) -> Placement:
    """Return a placement that reached a clock."""
    return Placement(folder=Path(), seed=seed, fmax=fmax, path=None, utilization={})


def test_timing_is_met_or_told() -> None:
    """The first seed that meets it is taken; without one the mend is told."""
    pll = Pll.at_most(50_000_000)
    reached = {1: 47.9, 2: 50.0, 3: 60.0}
    chosen, tried = meet_timing(pll, 3, lambda seed: placement(seed, reached[seed]))
    assert (chosen.seed, [each.seed for each in tried]) == (2, [1, 2])
    with pytest.raises(
        SynthesisError, match=r"best of 1 placements reaches 47\.90 .*--frequency 47 or"
    ):
        meet_timing(pll, 1, lambda seed: placement(seed, reached[seed]))
    with pytest.raises(SynthesisError, match="timing is not known"):
        meet_timing(pll, 2, lambda seed: placement(seed, None))


def test_a_seed_that_fails() -> None:
    """The next one is tried; the last fault is told if none meets the clock."""
    pll = Pll.at_most(50_000_000)

    def placed(seed: int) -> Placement:
        if seed < 3:
            raise SynthesisError(f"no route, {seed}")
        return placement(seed, 40.0 + 5 * seed)

    chosen, tried = meet_timing(pll, 3, placed)
    assert (chosen.seed, chosen.fault) == (3, None)
    assert [(each.seed, each.fmax, each.fault) for each in tried] == [
        (1, None, "no route, 1"),
        (2, None, "no route, 2"),
        (3, 55.0, None),
    ]
    with pytest.raises(SynthesisError, match=r"^not placed and routed; seed 2: no route, 2; use"):
        meet_timing(pll, 2, placed)
    with pytest.raises(SynthesisError, match=r"reaches 55\.00 MHz; .* \(seed 2: no route, 2\)$"):
        meet_timing(Pll.at_most(60_000_000), 3, placed)
    with pytest.raises(SynthesisError, match=r"^seed 1: no route, 1$"):
        pack(tried[0])


@pytest.mark.parametrize("measured", [True, False])
def test_figures_of_a_build(measured: bool) -> None:
    """As JSON and as the table; what needs a data set is UNMEASURED, or left out, without one."""
    resources = Resources(luts=8424, flip_flops=6186, block_rams=17, dsps=0)
    path = CriticalPath("trainer.a", "trainer.b", "DI", 4.5, 8.0, 3)
    chosen = replace(placement(2, 80.0), path=path)
    built = Built(
        pll=Pll(feedback=48, output=12),
        divisor=50,
        netlist=Synthesis(Path(), {"LUT4": 8424}, resources),
        placement=chosen,
        tried=[placement(1, 49.5), chosen],
        bitstream=b"bits" * 1000,
        sample_bytes=80.0 if measured else None,
        clocks=625.0 if measured else None,
    )
    # 50 MHz; a byte is 10 bits of 50 clocks.
    assert built.uart_rate == (1250.0 if measured else None)
    assert built.core_rate == (80_000.0 if measured else None)
    assert built.to_dict() == {
        "device": "ECP5-85F",
        "package": "CABGA381",
        "speed_grade": 6,
        "clock_mhz": 50.0,
        "pll": {"feedback": 48, "output": 12, "vco_mhz": 600.0},
        "fmax_mhz": 80.0,
        "critical_path": {
            "start": "trainer.a",
            "end": "trainer.b",
            "end_pin": "DI",
            "logic_ns": 4.5,
            "routing_ns": 8.0,
            "cells": 3,
        },
        "seed": 2,
        "seeds": [{"seed": 1, "fmax_mhz": 49.5}, {"seed": 2, "fmax_mhz": 80.0}],
        "luts": 8424,
        "flip_flops": 6186,
        "block_rams": 17,
        "dsps": 0,
        "cells": {"LUT4": 8424},
        "bitstream_bytes": 4000,
        "bitstream_sha256": hashlib.sha256(b"bits" * 1000).hexdigest(),
        "clocks_a_bit": 50,
        "baud": 1_000_000.0,
        "bytes_a_sample": 80.0 if measured else UNMEASURED,
        "samples_per_second_uart": 1250.0 if measured else UNMEASURED,
        "clocks_a_sample": 625.0 if measured else UNMEASURED,
        "samples_per_second_core": 80_000.0 if measured else UNMEASURED,
    }
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(build._table(built))
    rows = [re.split(r" *│ *", line)[1:3] for line in console.export_text().splitlines()[1:-1]]
    wanted = [
        ["clock", "50.00 MHz"],
        ["Fmax", "80.00 MHz, seed 2"],
        ["look-up tables", "8,424"],
        ["flip-flops", "6,186"],
        ["block RAMs", "17"],
        ["multipliers", "0"],
        ["bitstream", "4,000 bytes"],
    ]
    if measured:
        wanted += [
            ["the serial line feeds", "1,250 samples/s (80.0 bytes each, 1,000,000 baud)"],
            ["the core could train", "80,000 samples/s (625.0 clocks each)"],
        ]
    assert rows == wanted


def test_command_where_a_seed_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is packed; the report and a line on stderr say why it is not the first."""
    p = DIGITS.replace(layers=(6, 3, 10), lanes=2)
    (tmp_path / "tiny.toml").write_text(p.to_toml())
    (tmp_path / mapping.LOG).touch()
    for name in (LOG, REPORT):
        (tmp_path / name).write_text("{}")

    def place(netlist: Synthesis, target: Target, seed: int, *, constraints: str) -> Placement:
        if seed == 1:
            raise SynthesisError("nextpnr-ecp5 failed: no route")
        return replace(placement(seed, 60.0), folder=tmp_path)

    netlist = Synthesis(tmp_path, {}, Resources(1, 1, 1, 0))
    monkeypatch.setattr("sim.commands.build.synthesize_text", lambda *arguments: netlist)
    monkeypatch.setattr("sim.commands.build.place", place)
    monkeypatch.setattr("sim.commands.build.pack", lambda chosen: bytes([chosen.seed]))
    out = tmp_path / "out"
    options = ["--config", str(tmp_path / "tiny.toml"), "--output", str(out)]
    done = CliRunner().invoke(cli, ["build", "ulx3s", *options], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stderr == "nomul: seed 1 has no figures: nextpnr-ecp5 failed: no route\n"
    report = json.loads((out / "build.json").read_text())
    assert report["seed"] == 2
    assert report["seeds"] == [
        {"seed": 1, "fmax_mhz": UNMEASURED, "fault": "nextpnr-ecp5 failed: no route"},
        {"seed": 2, "fmax_mhz": 60.0},
    ]
    assert (out / f"{ULX3S_TOP}.bit").read_bytes() == b"\2"
    assert [each.name for each in sorted(out.glob("nextpnr*"))] == [
        "nextpnr-seed1.log",
        "nextpnr-seed2.json",
        "nextpnr-seed2.log",
    ]


def test_what_does_not_fit() -> None:
    check_fit(Resources(80_000, 1, 208, 0))
    with pytest.raises(SynthesisError, match=r"takes 209 block RAMs of 208; use fewer --lanes"):
        check_fit(Resources(1, 1, 209, 0))


def test_block_rams_are_known() -> None:
    """Of digits so many as Yosys makes (docs/board.md)."""
    assert known_resources(DIGITS) == Resources(0, 0, 17, 0)
    wide = DIGITS.replace(layers=(3000, 2, 2), lanes=2)
    assert known_resources(wide).block_rams == sum(block_rams(wide).values()) + 4


def test_too_many_block_rams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before anything is generated."""

    def generates(*arguments: object) -> None:
        raise AssertionError("Verilog is generated")

    monkeypatch.setattr("sim.commands.build.generate_board", generates)
    options = ["--config", "ecp5-85f", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, ["build", "ulx3s", *options])
    assert str(done.exception) == (
        "the design does not fit the board's ECP5-85F: it takes 209 block RAMs of 208; "
        "use fewer --lanes or a smaller network"
    )
    assert not (tmp_path / "out").exists()


def test_bytes_of_a_sample() -> None:
    """They are those of the frames that the driver's packets become."""
    digits = load_digits(DIGITS.activation_bits)
    namespace: dict[str, object] = {}
    exec(python_driver(DIGITS), namespace)  # noqa: S102 - our own text
    packet = namespace["packet"]
    assert callable(packet)
    pairs = zip(digits.train_labels[:1000], digits.train_pixels[:1000].tolist(), strict=True)
    sizes = [len(encode(b"\0\0" + packet(*each))) for each in pairs]
    assert sample_bytes(DIGITS, digits) == np.mean(sizes)


@pytest.mark.parametrize("seed", range(3))
def test_frames(seed: int) -> None:
    """Every content comes back; a frame with one bit flipped or one byte lost never does."""
    rng = random.Random(seed)
    for _ in range(50):
        content = bytes(rng.choice((0x7D, 0x7E, rng.randrange(256))) for _ in range(20))
        frame = encode(content)
        assert frame[0] == frame[-1] == 0x7E
        body = frame[1:-1]
        assert 0x7E not in body
        assert decode(body) == content
        at, bit = rng.randrange(len(body)), 1 << rng.randrange(8)
        assert decode(body[:at] + bytes([body[at] ^ bit]) + body[at + 1 :]) is None
        assert decode(body[:at] + body[at + 1 :]) is None


def test_serial_port() -> None:
    """Bytes both ways over a pseudo terminal; none at the deadline."""
    ours, theirs = os.openpty()
    port = SerialPort(os.ttyname(theirs), 115_200)
    try:
        everything = bytes(range(256))
        port.write(everything)
        came = b""
        while len(came) < 256:
            came += os.read(ours, 256)
        assert came == everything
        writer = threading.Timer(0.1, lambda: os.write(ours, everything))
        writer.start()
        came = b""
        while len(came) < 256:
            came += port.read(port.deadline(256))
        assert came == everything
        assert port.read(port.deadline(0)) == b""
        writer.join()
    finally:
        port.close()
        os.close(ours)
        os.close(theirs)


def test_port_that_cannot_be_opened() -> None:
    """Because it has no such rate, or another program has it: one line."""
    ours, theirs = os.openpty()
    name = os.ttyname(theirs)
    with pytest.raises(LinkError, match=rf"^cannot open {name} at {10**10} baud: .*; give another"):
        SerialPort(name, 10**10)
    port = SerialPort(name, 9600)
    try:
        with pytest.raises(LinkError, match=rf"^cannot open {name} at 9600 baud: .*; give another"):
            SerialPort(name, 9600)
    finally:
        port.close()
        os.close(ours)
        os.close(theirs)


def test_pyserial_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(LinkError, match=r"pip install 'nomul\[board\]'"):
        SerialPort("/dev/null", 9600)


def test_no_driver(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give a folder that nomul build wrote"):
        load_driver(tmp_path / "nomul_core.py")


def test_lanes_of_a_state(tmp_path: Path) -> None:
    """A state has the lanes that it was trained with."""
    Checkpoint(DIGITS, State.initial(DIGITS)).save(tmp_path / "state.npz")
    options = ["--state", str(tmp_path / "state.npz"), "--lanes", "8"]
    output = ["--output", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, ["build", "ulx3s", *options, *output])
    assert done.exit_code == 1
    assert "lanes = 16, not 8" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_no_build_folder(tmp_path: Path) -> None:
    arguments = ["board", "--port", "/dev/null", "--build", str(tmp_path)]
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, FileNotFoundError)
    assert "build.json" in str(done.exception)


NO_BAUD_RATES = [f'{{"baud": {baud}}}' for baud in ('"x"', "null", "0", "NaN", "1e999")]


@pytest.mark.parametrize("content", ["", "{}", "[]", "3", "not JSON", *NO_BAUD_RATES])
def test_build_without_a_baud_rate(content: str, tmp_path: Path) -> None:
    (tmp_path / "build.json").write_text(content)
    done = CliRunner().invoke(cli, ["board", "--port", "/dev/null", "--build", str(tmp_path)])
    assert str(done.exception) == (
        f"{tmp_path / 'build.json'} says no baud rate: give a folder that nomul build wrote"
    )
