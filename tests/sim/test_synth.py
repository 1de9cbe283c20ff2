"""``nomul synth``: its figures are those of the tools, and it has none where they say nothing."""

import json
import re
from pathlib import Path

import pytest

import sim.synthesis.mapping
import sim.synthesis.tools
from golden import Parameters
from golden.state import State
from hdl.block_rams import block_rams
from hdl.verilog import Generated, Port, generate
from sim.cli import cli
from sim.clocks import count_clocks
from sim.data import load_digits
from sim.synthesis import mapping
from sim.synthesis.critical_path import critical_path
from sim.synthesis.families import FAMILIES, Resources
from sim.synthesis.mapping import DESIGN, NETLIST, Synthesis, synthesize
from sim.synthesis.placement import LOG, REPORT, Placement, Target, fmax_of
from sim.synthesis.report import UNMEASURED, Findings
from sim.synthesis.tools import SynthesisError, run_yosys
from sim.synthesis.wrapper import wrap

TINY = Parameters(
    layers=(64, 3, 10),
    lanes=2,
    pixels_per_beat=4,
    weight_bits=4,
    draw_bits=2,
    activation_shifts=(3, 2),
    delta_shifts=(3,),
    update_shifts=(5, 3),
    bias_shift=0,
    margin_bits=5,
)

#: A multiplier and a memory of one block of each family.
PRODUCT = Generated(
    verilog="""\
module product (input clk, input [7:0] a, input [7:0] b, input write, output reg [15:0] p,
                output reg [7:0] word);
  (* no_rw_check *)
  reg [7:0] words [511:0];
  always @(posedge clk) p <= a * b;
  always @(posedge clk) if (write) words[{a[0], b}] <= a;
  always @(posedge clk) word <= words[{b[0], a}];
endmodule
""",
    top="product",
    ports=(
        Port("clk", "input", 1),
        Port("a", "input", 8),
        Port("b", "input", 8),
        Port("write", "input", 1),
        Port("p", "output", 16),
        Port("word", "output", 8),
    ),
    memories={},
)


def synth(folder: Path, *arguments: str) -> None:
    (folder / "tiny.toml").write_text(TINY.to_toml())
    options = ["--top", "trainer", "--seeds", "1", *arguments]
    cli.main(["synth", "--config", "tiny.toml", *options], standalone_mode=False)


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_synth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synth(tmp_path)
    out = tmp_path / "nomul-out" / "synth-tiny"
    report = json.loads((out / "synth.json").read_text())
    assert Parameters.load(str(out / "config.toml")) == TINY

    for name, family in FAMILIES.items():
        found = report["families"][name]
        # The tool's own table, the last one of its log.
        table = (out / f"yosys-{name}.log").read_text().rpartition(" cells\n")[2]
        cells = {kind: int(count) for count, kind in re.findall(r"^ +(\d+) +(\S+)$", table, re.M)}
        # Yosys counts cells of its libraries apart.
        cells.pop("submodules", None)
        assert found["cells"] == cells
        assert found["dsps"] == 0
        assert found["luts"] > 500
        assert found["luts_per_lane"] == found["luts"] / TINY.lanes
        assert found["devices"].keys() == family.devices.keys()
    ecp5 = report["families"]["ecp5"]
    assert ecp5["block_rams"] == sum(block_rams(TINY).values())

    log = (out / "nextpnr-seed1.log").read_text()
    (seed,) = report["place_and_route"]["seeds"]
    assert f"{seed['fmax_mhz']:.2f}" == re.findall(r"Max frequency .*: ([\d.]+) MHz", log)[-1]
    assert report["fmax_mhz"] == seed["fmax_mhz"]
    used = seed["utilization"]
    assert used["DP16KD"]["used"] == ecp5["block_rams"]
    assert used["TRELLIS_COMB"]["used"] >= ecp5["luts"]
    assert used["MULT18X18D"] == {"used": 0, "available": FAMILIES["ecp5"].devices["25F"].dsps}
    assert used["DP16KD"]["available"] == FAMILIES["ecp5"].devices["25F"].block_rams

    path = seed["critical_path"]
    assert path["logic_ns"] + path["routing_ns"] == pytest.approx(1e3 / seed["fmax_mhz"], abs=0.01)
    text = generate(TINY, State.initial(TINY)).verilog
    for end in (path["start"], path["end"]):
        assert re.search(rf"^ *reg (\[\d+:0\] )?{end.rpartition('.')[2]}\b", text, re.MULTILINE)

    digits = load_digits(TINY.activation_bits)
    clocks = count_clocks(TINY, State.initial(TINY), digits, 0, lambda done: None)["clocks"]
    assert report["clocks_a_sample"] == clocks
    assert report["samples_per_second"] == pytest.approx(1e6 * seed["fmax_mhz"] / clocks)
    assert f"{seed['fmax_mhz']:.1f} MHz" in (out / "synth.md").read_text()

    # The same again comes from the cache; another seed does not.
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a tool runs")

    monkeypatch.setattr(sim.synthesis.tools.subprocess, "run", refuse)
    synth(tmp_path)
    assert json.loads((out / "synth.json").read_text()) == report
    with pytest.raises(AssertionError, match="a tool runs"):
        synth(tmp_path, "--freq", "151")


def test_a_seed_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Areas and the other seeds are written, and why there is no clock."""
    fault = "nextpnr-ecp5 failed: ERROR: no route | at all"
    (tmp_path / mapping.LOG).touch()
    for name in (LOG, REPORT):
        (tmp_path / name).write_text("{}")

    def place(netlist: Synthesis, target: Target, seed: int) -> Placement:
        if seed == 2:
            raise SynthesisError(fault, "whole log")
        return Placement(tmp_path, seed, 80.0 + seed, None, {})

    netlist = Synthesis(tmp_path, {}, Resources(10, 20, 1, 0))
    monkeypatch.setattr("sim.commands.synth.synthesize", lambda *arguments, **options: netlist)
    monkeypatch.setattr("sim.commands.synth.place", place)
    synth(tmp_path, "--seeds", "3")
    assert capsys.readouterr().err == f"nomul: seed 2 has no figures: {fault}\n"
    out = tmp_path / "nomul-out" / "synth-tiny"
    report = json.loads((out / "synth.json").read_text())
    assert report["families"]["ecp5"]["luts"] == 10
    assert report["fmax_mhz"] == report["samples_per_second"] == UNMEASURED
    nothing = {"critical_path": UNMEASURED, "utilization": {}}
    assert report["place_and_route"]["seeds"] == [
        {"seed": 1, "fmax_mhz": 81.0, **nothing},
        {"seed": 2, "fmax_mhz": UNMEASURED, "fault": fault, **nothing},
        {"seed": 3, "fmax_mhz": 83.0, **nothing},
    ]
    shown = fault.replace("|", "\\|")
    assert f"| 2 | {UNMEASURED} | {shown} |" in (out / "synth.md").read_text()
    assert [each.name for each in sorted(out.glob("nextpnr*"))] == [
        "nextpnr-seed1.json",
        "nextpnr-seed1.log",
        "nextpnr-seed2.log",
        "nextpnr-seed3.json",
        "nextpnr-seed3.log",
    ]
    assert (out / "nextpnr-seed2.log").read_text() == "whole log"


def test_no_seed_that_does_not_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The areas are written, and the command fails."""

    def place(*arguments: object) -> Placement:
        raise SynthesisError("no route")

    (tmp_path / mapping.LOG).touch()
    netlist = Synthesis(tmp_path, {}, Resources(10, 20, 1, 0))
    monkeypatch.setattr("sim.commands.synth.synthesize", lambda *arguments, **options: netlist)
    monkeypatch.setattr("sim.commands.synth.place", place)
    with pytest.raises(SynthesisError, match=r"^no seed could be placed and routed; use more"):
        synth(tmp_path, "--seeds", "2")
    report = json.loads((tmp_path / "nomul-out" / "synth-tiny" / "synth.json").read_text())
    assert report["families"]["ecp5"]["luts"] == 10


def test_placer(tmp_path: Path) -> None:
    """The other placer places, and the report names it."""
    synth(tmp_path, "--families", "ecp5", "--placer", "static")
    out = tmp_path / "nomul-out" / "synth-tiny"
    report = json.loads((out / "synth.json").read_text())
    assert report["command"][-2:] == ["--placer", "static"]
    assert report["place_and_route"]["placer"] == "static"
    assert report["fmax_mhz"] > 0
    assert "placer static" in (out / "synth.md").read_text()
    assert "Running Static placer" in (out / "nextpnr-seed1.log").read_text()


def test_no_place(tmp_path: Path) -> None:
    synth(tmp_path, "--no-place", "--families", "ecp5")
    report = json.loads((tmp_path / "nomul-out" / "synth-tiny" / "synth.json").read_text())
    assert report["families"]["ecp5"]["luts"] > 500
    assert report["families"]["ice40"] == report["families"]["xilinx"] == UNMEASURED
    for name in ("place_and_route", "fmax_mhz", "samples_per_second"):
        assert report[name] == UNMEASURED


@pytest.mark.parametrize("family", FAMILIES)
def test_multiplier_and_memory_are_counted(family: str, tmp_path: Path) -> None:
    resources = synthesize(PRODUCT, family, cache=tmp_path / "cache").resources
    assert resources.dsps == 1
    assert resources.block_rams >= 1


def test_wrapper_keeps_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """17 bits in, 24 out, 6 + 2 + 1 to fold them."""
    cache = tmp_path / "cache"
    bare = synthesize(PRODUCT, "ecp5", cache=cache).resources
    assert bare.flip_flops == 16
    wrapped = synthesize(PRODUCT, "ecp5", wrapped=True, cache=cache).resources
    assert wrapped.flip_flops == bare.flip_flops + 17 + 24 + 6 + 2 + 1
    assert (wrapped.block_rams, wrapped.dsps) == (bare.block_rams, 1)
    # What nobody sees is left out: a wrapper that forgets a bit.
    text = wrap(PRODUCT).replace(" ^ p[15]", "")
    assert text != wrap(PRODUCT)
    monkeypatch.setattr(sim.synthesis.mapping, "wrap", lambda generated: text)
    forgetful = synthesize(PRODUCT, "ecp5", wrapped=True, cache=cache).resources
    assert forgetful.flip_flops < wrapped.flip_flops


def test_too_big_for_the_device(tmp_path: Path) -> None:
    arguments = ["synth", "--config", "mnist-small", "--device", "45F"]
    with pytest.raises(SynthesisError) as fault:
        cli.main(arguments, standalone_mode=False)
    assert str(fault.value) == (
        "the design does not fit an ECP5-45F: it takes 119 block RAMs of 108; "
        "use --device 85F or --no-place"
    )
    assert not (tmp_path / "nomul-out").exists()


def test_exceeding() -> None:
    device = Resources(100, 100, 10, 0)
    assert Resources(100, 100, 10, 0).exceeding(device) == []
    assert Resources(101, 100, 10, 1).exceeding(device) == [
        "101 look-up tables of 100",
        "1 multipliers of 0",
    ]


def test_unknown_cells_are_not_passed_over() -> None:
    with pytest.raises(SynthesisError, match="cells of type PCSCLKDIV are not known in Lattice"):
        FAMILIES["ecp5"].count({"LUT4": 3, "PCSCLKDIV": 1})


def test_yosys_refuses(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=r"^yosys failed: ERROR: .*nowhere"):
        run_yosys("read_verilog nowhere.v\n", tmp_path)


def test_tool_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sim.synthesis.tools._TOOLS, "yosys", ("no_such_package", "run"))
    with pytest.raises(SynthesisError, match=r"^yosys is missing: pip install 'nomul\[synth\]'$"):
        run_yosys("", tmp_path)


def test_bad_families(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="'ecp5,spartan' is not a list of ecp5, ice40, xilinx"):
        synth(tmp_path, "--families", "ecp5,spartan")


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"fmax": {}},
        {"fmax": {"clk": {"constraint": 100}}},
        {"fmax": {"clk": {"achieved": "57", "constraint": 100}}},
        {"fmax": {"clk": {"achieved": 57}, "other": {"achieved": 90}}},
    ],
)
def test_broken_report_has_no_figure(report: dict[str, object]) -> None:
    assert fmax_of(report) is None
    assert critical_path(report, Path(NETLIST), Path(DESIGN)) is None


@pytest.mark.parametrize(
    ("scopes", "start", "end"),
    [(["module_"], "link.state", "port tdata"), ([], "link.state", "tdata")],
)
def test_ports_are_those_of_the_wrapper(
    scopes: list[str], start: str, end: str, tmp_path: Path
) -> None:
    """What has no wrapper, as a board, has registers at its top."""
    names = ("module_.link.state", "tdata")
    cells = {
        f"{name}_FF": {"type": "FF", "connections": {"Q": [i]}} for i, name in enumerate(names)
    }
    cells |= {name: {"type": "$scopeinfo", "connections": {}} for name in scopes}
    module = {
        "attributes": {"top": 1},
        "cells": {name: {"attributes": {}, **cell} for name, cell in cells.items()},
        "netnames": {name: {"bits": [i], "hide_name": 0} for i, name in enumerate(names)},
    }
    (tmp_path / NETLIST).write_text(json.dumps({"modules": {"design": module}}))
    (tmp_path / DESIGN).touch()
    ends = {"from": {"cell": f"{names[0]}_FF"}, "to": {"cell": f"{names[1]}_FF", "port": "DI"}}
    report = {
        "critical_paths": [
            {"from": "posedge", "to": "posedge", "path": [{"type": "logic", "delay": 2.0, **ends}]}
        ]
    }
    path = critical_path(report, tmp_path / NETLIST, tmp_path / DESIGN)
    assert path is not None
    assert (path.start, path.end) == (start, end)


def test_a_seed_without_a_figure_leaves_no_median() -> None:
    def findings(*fmax: float | None) -> Findings:
        runs = [Placement(Path(), i, each, None, {}) for i, each in enumerate(fmax)]
        netlist = Synthesis(Path(), {}, Resources(10, 20, 1, 0))
        return Findings(2, {"ecp5": netlist}, Target("25F", 6, 100), runs, 50.0)

    assert fmax_of({"fmax": {"clk": {"achieved": 57.25}}}) == 57.25
    whole = findings(80.0, 60.0, 61.0)
    assert whole.to_dict()["fmax_mhz"] == 61
    assert whole.to_dict()["samples_per_second"] == 61e6 / 50
    broken = findings(80.0, None, 61.0)
    found = broken.to_dict()
    assert found["fmax_mhz"] == found["samples_per_second"] == UNMEASURED
    seeds = found["place_and_route"]["seeds"]
    assert [each["fmax_mhz"] for each in seeds] == [80.0, UNMEASURED, 61.0]
    assert broken.to_markdown("broken").count(UNMEASURED) > whole.to_markdown("").count(UNMEASURED)
