"""The netlist of synthesis trains as the golden model does; the model of a block RAM is one."""

import dataclasses
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from golden import Parameters
from golden.network import Network
from golden.state import State
from hdl.verilog import Generated, generate
from sim.divergence import DivergenceError
from sim.lockstep import Stimulus, lockstep
from sim.simulators import find_icarus
from sim.synthesis.netlist import SIMULATED, cell_models, netlist
from sim.synthesis.tools import SynthesisError, run_yosys
from tests.configurations import random_samples

SEED = 1

TINY = Parameters(
    layers=(9, 5, 3),
    lanes=2,
    pixels_per_beat=3,
    weight_bits=6,
    activation_bits=4,
    bias_bits=12,
    bias_fraction_bits=5,
    activation_shifts=(2, 1),
    delta_shifts=(2,),
    update_shifts=(5, 5),
    draw_bits=4,
    update_bits=4,
    random_width=16,
    schedule=(1,),
)


@pytest.fixture(scope="module")
def gateware() -> Generated:
    return generate(TINY, State.initial(TINY), probed=True)


def stimulus(samples: int) -> Stimulus:
    pixels, labels = random_samples(TINY, SEED, samples)
    zeros = np.zeros(samples, np.int64)
    return Stimulus(pixels, labels, np.ones(samples, np.bool_), rate_shift=zeros, epoch=zeros)


@pytest.mark.parametrize("family", SIMULATED)
def test_trains_like_the_golden_model(family: str, tmp_path: Path) -> None:
    # Icarus is slow, but Verilator would take half a minute to compile so many cells.
    samples = stimulus(4)
    result = lockstep(TINY, samples, folder=tmp_path, family=family, simulator="icarus")
    network = Network(TINY)
    trained = network.train(samples.pixels, samples.labels)
    assert result.predictions.tolist() == trained.predictions.tolist()
    assert result.state == network.state
    assert result.state.weights.tolist() != State.initial(TINY).weights.tolist()


def test_a_wrong_cell_is_told(gateware: Generated, tmp_path: Path) -> None:
    """A carry cell whose sum is always 0, in the sums of the deltas."""
    good = netlist(gateware, "ecp5")
    cell = r"CCU2C #\((?:[^;](?!CCU2C))*?\) \\?backward\."
    found = re.search(cell, good.verilog, re.DOTALL)
    assert found is not None
    text, count = re.subn(r"16'b[01]{16}", f"16'b{0:016b}", found[0])
    assert count == 2
    text = good.verilog[: found.start()] + text + good.verilog[found.end() :]
    faulty = dataclasses.replace(good, verilog=text)
    with pytest.raises(DivergenceError, match=r"unit +backward|unit +lane"):
        lockstep(TINY, stimulus(6), folder=tmp_path, generated=faulty, simulator="icarus")


@pytest.mark.parametrize(("memory", "told"), [("0", "weights"), ("1", "biases")])
def test_memories_are_read_through_the_host_port(
    gateware: Generated, memory: str, told: str, tmp_path: Path
) -> None:
    """Where nothing can be read by a path, as in a netlist; a port that says 0 is found out."""
    plain = dataclasses.replace(gateware, memories={})
    lockstep(TINY, stimulus(2), folder=tmp_path, generated=plain, simulator="icarus")
    pattern = rf"(3'h{memory}:\s+host__word_next = )[^;]+;"
    text, count = re.subn(pattern, r"\g<1>32'd0;", plain.verilog)
    assert count == 1
    faulty = dataclasses.replace(plain, verilog=text)
    with pytest.raises(DivergenceError, match=told):
        lockstep(TINY, stimulus(2), folder=tmp_path, generated=faulty, simulator="icarus")


MEMORY = """
module {name}(input clk, input [{a}:0] wa, input [{a}:0] ra, input we, input re, input [{d}:0] wd,
              output reg [{d}:0] rd);
  (* ram_style = "block" *) reg [{d}:0] memory [0:{last}];
  integer i;
  initial begin
    for (i = 0; i <= {last}; i = i + 1)
      memory[i] = i * 40503 ^ i >> 3;
    rd = 0;
  end
  always @(posedge clk) begin
    if (we)
      memory[wa] <= wd;
    if (re)
      rd <= memory[ra];
  end
endmodule
"""

BENCH = """
module bench;
  reg clk = 0, we = 0, re = 0;
  reg [{a}:0] wa = 0, ra = 0;
  reg [{d}:0] wd = 0;
  wire [{d}:0] expected, got;
  integer seed = {seed}, clocks, errors = 0, unknown = 0;
  written original(clk, wa, ra, we, re, wd, expected);
  mapped netlist(clk, wa, ra, we, re, wd, got);
  initial begin
    for (clocks = 0; clocks < 6000; clocks = clocks + 1) begin
      we = $random(seed);
      re = $random(seed);
      // Not far apart, so that what was written is read, and all over the memory at first.
      wa = clocks < 2000 ? $random(seed) : $random(seed) & 15;
      ra = clocks < 2000 ? $random(seed) : $random(seed) & 15;
      wd = {{$random(seed), $random(seed)}};
      #1 clk = 1;
      #1 clk = 0;
      if (^got === 1'bx)
        unknown = unknown + 1;
      else if (got !== expected)
        errors = errors + 1;
    end
    $display("%0d wrong, %0d unknown", errors, unknown);
  end
endmodule
"""


def simulate(folder: Path, *texts: str) -> str:
    """Return what a module ``bench`` prints in Icarus."""
    (folder / "bench.v").write_text("\n".join(texts))
    icarus = find_icarus().path
    command = [icarus, "-g2005-sv", "-s", "bench", "-o", "bench.vvp", "bench.v"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    run = [icarus.with_name("vvp"), "bench.vvp"]
    return subprocess.run(
        run, cwd=folder, check=True, timeout=60, stdout=subprocess.PIPE
    ).stdout.decode()


def block_ram(folder: Path, bits: int, words: int, planted: str = "") -> str:
    """Compare a memory with what Yosys makes of it, in Icarus; return what it prints."""
    sizes = {"a": words.bit_length() - 2, "d": bits - 1, "last": words - 1}
    written, mapped = (MEMORY.format(name=name, **sizes) for name in ("written", "mapped"))
    (folder / "mapped.v").write_text(mapped)
    run_yosys(
        "read_verilog mapped.v\nsynth_ecp5 -top mapped\nselect -assert-min 1 t:DP16KD\n"
        "write_verilog -noattr netlist.v\n",
        folder,
    )
    text = (folder / "netlist.v").read_text()
    models = cell_models("ecp5", text)
    if planted:
        was, becomes = planted.split(" -> ")
        assert was in models
        models = models.replace(was, becomes)
    bench = BENCH.format(seed=SEED, **sizes)
    return simulate(folder, bench, written, text, models)


@pytest.mark.parametrize(("bits", "words"), [(36, 512), (18, 1024), (9, 2048), (4, 4096)])
def test_block_ram_of_every_width(bits: int, words: int, tmp_path: Path) -> None:
    assert block_ram(tmp_path, bits, words) == "0 wrong, 0 unknown\n"


@pytest.mark.parametrize(
    "planted",
    [
        "content[20 * (unit / 2) + -> content[18 * (unit / 2) +",
        "memory[(address & mask(width)) >> 3 | part] -> memory[(address & mask(width)) >> 3]",
        "18: word = word[17:0]; -> 18: word = word[8:0];",
        "else if (enable_b) begin -> else begin",
    ],
)
def test_faulty_block_ram_is_told(planted: str, tmp_path: Path) -> None:
    assert not block_ram(tmp_path, 18, 1024, planted).startswith("0 wrong")


MEETING = """
module bench;
  reg clk = 0, a = 0;
  wire q;
  DP16KD ram (
    .CLKA(clk), .CEA(1'b1), .WEA(1'b1), .RSTA(1'b0), .CSA0(1'b0), .CSA1(1'b0), .CSA2(1'b0),
    .ADA0(1'b1), .ADA1(1'b1), .ADA4(a), {zeros_a}, .DIA0(1'b1),
    .CLKB(clk), .CEB(1'b1), .WEB(1'b0), .RSTB(1'b0), .CSB0(1'b0), .CSB1(1'b0), .CSB2(1'b0),
    .ADB0(1'b0), .ADB1(1'b0), .ADB4(1'b0), {zeros_b}, .DOB0(q));
  initial begin
    #1 clk = 1;
    #1 $write("%b", q);
    clk = 0;
    a = 1;
    #1 clk = 1;
    #1 $write("%b", q);
  end
endmodule
"""


def test_word_that_is_written_while_it_is_read_is_unknown(tmp_path: Path) -> None:
    places = [2, 3, *range(5, 14)]
    zeros = {
        f"zeros_{port}": ", ".join(f".AD{port.upper()}{i}(1'b0)" for i in places) for port in "ab"
    }
    assert simulate(tmp_path, MEETING.format(**zeros), cell_models("ecp5", "  DP16KD #")) == "x1"


def test_complaint_of_yosys(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match=r"^yosys failed: ERROR: [^\n]*none\.v[^\n()]*$"):
        run_yosys("read_verilog none.v\n", tmp_path)


def test_missing_yosys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SynthesisError, match=r"yosys is missing: pip install 'nomul\[synth\]'"):
        run_yosys("", tmp_path)
