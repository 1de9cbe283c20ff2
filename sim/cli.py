"""The command line, ``nomul``."""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from golden.parameters import Parameters, named_configurations

_MNIST_HELP = "Folder with the four MNIST files in IDX format, as they are or packed with gzip."

_DATA_HELP = f"{_MNIST_HELP} Without it the UCI digits are used, which are installed already."

_VECTORS_HELP = (
    f"{_MNIST_HELP} Its first images are the testbench's. Without it these are the UCI digits, or "
    "random where they do not fit the network."
)

_CLOCKS_HELP = (
    f"{_MNIST_HELP} The clocks of an epoch of it give the samples per second. Without it these are "
    "the UCI digits, or UNMEASURED where they do not fit the network."
)

#: By command; the others have ``_DATA_HELP``.
_DATA_HELPS = {
    "generate": _VECTORS_HELP,
    "synth": _CLOCKS_HELP,
    "build-ulx3s": _CLOCKS_HELP.replace("The clocks", "The clocks and bytes"),
}

#: The configuration if neither --config nor a checkpoint says which.
_DEFAULT_CONFIG = "digits"

_REPLACES = "Folder to write; an earlier output of this command there is replaced"

_UNLESS_UNFINISHED = ", but never a run that is not complete"

# Options of several commands; each says in its help what it means there.
_output_option = partial(
    click.option,
    "--output",
    type=click.Path(path_type=Path),
    show_default=True,
    metavar="DIR",
    help=f"{_REPLACES}.",
)

_state_option = partial(
    click.option, "--state", type=click.Path(path_type=Path), metavar="FILE.npz"
)

_data_option = partial(
    click.option, "--data", type=click.Path(path_type=Path), metavar="FOLDER", help=_DATA_HELP
)

_first_sample_option = partial(
    click.option,
    "--first-sample",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
)

_evaluate_option = partial(
    click.option, "--evaluate", type=click.IntRange(min=0), default=0, metavar="N"
)

_seeds_option = partial(
    click.option, "--seeds", type=click.IntRange(min=1), default=3, show_default=True
)

_jobs_option = partial(
    click.option,
    "--jobs",
    type=click.IntRange(min=1),
    default=os.cpu_count(),
    show_default="processors",
)

_rule_option = click.option(
    "--rule",
    type=click.Choice(["sampled", "thresholded", "exact"]),
    default="sampled",
    show_default=True,
    help="How it predicts them; exact is for a core with wider accumulators.",
)

_draws_option = click.option(
    "--draws",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Draws of the weights whose logits the rule sampled adds up.",
)


def _check_draws(draws: int, rule: str) -> None:
    if draws > 1 and rule != "sampled":
        raise click.UsageError(f"--draws is for --rule sampled, not {rule}")


_top_option = click.option(
    "--top",
    type=click.Choice(["core", "trainer"]),
    default="core",
    show_default=True,
    help="The core with AXI ports, or the bare trainer.",
)

# The table of families comes with what it is told by, which takes a second to load.
_FAMILIES = ("ecp5", "ice40", "xilinx")


def _families(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",")]
    if not set(names) <= set(_FAMILIES) or len(set(names)) < len(names):
        raise click.BadParameter(f"{value!r} is not a list of {', '.join(_FAMILIES)}")
    return names


_families_option = partial(
    click.option,
    "--families",
    default=",".join(_FAMILIES),
    show_default=True,
    callback=_families,
    metavar="A,B,..",
)


def _shared_options(
    command: str, *, data: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add --config, --output, --state and --data, and hand them on as one ``Setup``."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def with_setup(
            config: str | None,
            output: Path | None,
            data: Path | None = None,
            state: Path | None = None,
            **options: Any,
        ) -> None:
            if config is None and state is None and not options.get("resume"):
                config = _DEFAULT_CONFIG
            # A slip in the configuration is told before the slow packages are loaded.
            parameters = Parameters.load(config or _DEFAULT_CONFIG)
            if config is None:
                name = _DEFAULT_CONFIG if state is None else state.stem
            else:
                name = Path(config).stem if config.endswith(".toml") else config
            output = output or Path("nomul-out") / f"{command}-{name}"
            setup = _command("common").Setup.of(config, parameters, output, data, state)
            function(setup, **options)

        options = [
            click.option(
                "--config",
                metavar="NAME|FILE.toml",
                help=f"A shipped configuration ({', '.join(named_configurations())}) or a file. "
                f"Default: that of the checkpoint, or else {_DEFAULT_CONFIG}.",
            ),
            _output_option(
                help=f"{_REPLACES}{_UNLESS_UNFINISHED if command in ('train', 'cosim') else ''}. "
                f"Default: ./nomul-out/{command}-NAME, after the configuration, or after the "
                "checkpoint if only that is given.",
            ),
            _state_option(
                required=command == "evaluate",
                help="The checkpoint to evaluate."
                if command == "evaluate"
                else "Start from the state of a checkpoint instead of the seeded one. Epochs count "
                "from 0. A --config beside it may have another schedule, other shifts or rules.",
            ),
            *([_data_option(help=_DATA_HELPS.get(command, _DATA_HELP))] if data else []),
        ]
        for option in reversed(options):
            with_setup = option(with_setup)
        return with_setup

    return decorate


def _command(name: str) -> Any:
    """Return the module of a command.

    Numba, Amaranth, cocotb and Matplotlib take a second to load, which --help and a typing error
    do not need.
    """
    return importlib.import_module(f"sim.commands.{name}")


def _examples(*lines: str) -> str:
    """Return an epilog; the first character keeps click from wrapping it."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_examples(
        "nomul doctor                   what is installed, and how to get the rest",
        "nomul cosim                    the UCI digits: an epoch in lockstep, then more",
        "nomul train --config digits    the golden model alone",
        "nomul evaluate --state FILE    the ways to infer, compared",
        "nomul generate                 the gateware as Verilog",
        "nomul prove                    that nothing in it multiplies, as a report",
        "nomul synth                    its area and clock in an FPGA",
        "nomul formal                   proofs of the units' contracts",
        "nomul audit                    ranges of registers and sums: proved, observed",
        "nomul build ulx3s              a bitstream for a board, nomul board to train on it",
        "nomul mutate                   how many planted faults the lockstep finds",
        "nomul experiment compare A B   runs of nomul train side by side",
    ),
)
@click.version_option(package_name="nomul", message="nomul %(version)s")
def cli() -> None:
    """Train neural networks in hardware without a multiplier, and prove it.

    The golden model says what every bit must be, the gateware does it, and the lockstep compares
    the two in a simulator: every register, on every clock.
    """


@cli.command(
    epilog=_examples(
        "nomul cosim",
        "nomul cosim --samples 100 --simulator icarus --stalls 0.3 --seed 7",
        "nomul cosim --config mnist-small --data mnist --samples 60000 --epochs 0",
        "nomul cosim --resume --output nomul-out/cosim-mnist-small",
        "nomul cosim --state FILE --samples 0 --epochs 0 --evaluate 360 --rule exact",
    )
)
@_shared_options("cosim")
@click.option(
    "--simulator",
    type=click.Choice(["verilator", "icarus"]),
    default="verilator",
    show_default=True,
    help="Icarus is some fifty times slower; it also sees unknown bits.",
)
@click.option(
    "--netlist",
    type=click.Choice(["ecp5", "ice40"]),
    help="Synthesise the gateware for this family with Yosys, and run the netlist instead. Needs "
    "pip install 'nomul[synth]'.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    help="Samples to train on in lockstep. Default: one epoch.",
)
@_first_sample_option(
    help="Number of the first of them, counted from 0 over all epochs; with --state, to go on "
    "from a checkpoint in the middle.",
)
@click.option(
    "--engine",
    type=click.Choice(["cocotb", "batch"]),
    help="cocotb wakes Python on every clock; batch drives the Verilated gateware for thousands of "
    "clocks at a time, compares as much, and can --resume. Default: batch on Verilator from 5,000 "
    "samples on, unless --waves is given.",
)
@_evaluate_option(
    help="Then let the gateware predict the first N test samples, in lockstep too.",
)
@_rule_option
@_draws_option
@click.option(
    "--epochs",
    type=click.IntRange(min=0),
    help="Epochs in all; the golden model alone trains those after the lockstep. "
    "Default: 20, or as many as the configuration's schedule needs.",
)
@click.option(
    "--stalls",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    metavar="PROB",
    help="Probability, in each clock, of holding back input and of not being ready for output.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the stalls.")
@click.option("--waves", is_flag=True, help="Record all signals of the whole run: large files.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the interrupted batch run in the output folder; beside it only --output and "
    "--data count.",
)
def cosim(setup: Any, **options: Any) -> None:
    """Train the gateware in a simulator, in lockstep with the golden model.

    Every probed register is compared on every clock, and at the end all weights, biases, random
    sources and predictions, and the number of clocks. Then the golden model goes on alone from
    the same state.

    The first difference ends the run; it is told in the algorithm's words, with the clocks around
    it as a waveform file and the command that replays it.
    """
    _check_draws(options["draws"], options["rule"])
    if options["samples"] == 0 and not options["evaluate"]:
        raise click.UsageError("--samples 0 leaves nothing to do: give --evaluate N")
    _command("cosim").cosim(setup, **options)


@cli.command(
    epilog=_examples(
        "nomul train",
        "nomul train --config mnist-small --data mnist --validation 10000 --output mnist-run",
        "nomul train --resume --output mnist-run --epochs 60",
        "nomul train --resume --state nomul-out/cosim-digits/lockstep.npz",
    )
)
@_shared_options("train")
@click.option(
    "--epochs",
    type=click.IntRange(min=0),
    help="Epochs in all. Default: 20, or as many as the configuration's schedule needs.",
)
@click.option(
    "--validation",
    type=click.IntRange(min=0),
    metavar="N",
    help="Hold back the last N training images and measure the error on them after each epoch; "
    "the test images are then looked at once, at the end.",
)
@click.option(
    "--jitter/--no-jitter",
    default=None,
    help="Move half of the training images by a pixel, up, down, left or right, anew in each "
    "epoch. Default: no.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in the output folder, interrupted or complete, to the same bits as if "
    "it had never stopped. With --state: a new run that goes on where the checkpoint stands.",
)
def train(setup: Any, **options: Any) -> None:
    """Train with the golden model alone: the gateware's bits at the speed of the CPU.

    The output folder is valid at every moment: configuration, metrics and curves of the epochs
    done, a report, and a checkpoint after each epoch, from which --resume goes on. The validation
    and test errors are those of exact inference: the weights themselves, without draws.
    """
    _command("train").train_network(setup, **options)


def _draws(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    words = value.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 1,2,4")
    return [int(word) for word in words]


@cli.command(
    epilog=_examples(
        "nomul evaluate --state nomul-out/train-digits/checkpoint.npz",
        "nomul evaluate --config mnist-small --data mnist --state run/checkpoint.npz --draws 1,3",
    )
)
@_shared_options("evaluate")
@click.option(
    "--draws",
    default="1,2,4,8,16",
    show_default=True,
    callback=_draws,
    metavar="K,K,...",
    help="Numbers of draws that sampled inference adds up.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Test samples, from the first one on. Default: all.",
)
def evaluate(setup: Any, draws: list[int], samples: int | None) -> None:
    """Compare the ways to infer without a multiplier, all from one trained state.

    Sampled: random draws of the weights, added up. Thresholded: the weights rounded to the values
    that can be drawn. Exact: the weights themselves, bit by bit. Pow2: the weights themselves,
    inputs rounded to powers of two.
    """
    _command("evaluate").evaluate(setup, draws=draws, samples=samples)


@cli.command(
    epilog=_examples(
        "nomul generate --config mnist-small",
        "nomul generate --state nomul-out/train-net/checkpoint.npz --output net",
        "nomul generate --top trainer   the trainer alone, with bare streams",
    )
)
@_shared_options("generate")
@_top_option
@click.option(
    "--bus-bits",
    type=click.Choice(["32", "64", "128"]),
    help="Width of the core's streams, 8 bits a pixel.  [default: the configuration's "
    "pixels_per_beat]",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1, max=1000),
    default=8,
    show_default=True,
    help="Samples of the testbench; three quarters are trained on, the others evaluated.",
)
@click.option("--probes", is_flag=True, help="Add the port that the lockstep compares.")
def generate(setup: Any, top: str, bus_bits: str | None, samples: int, probes: bool) -> None:
    """Write the gateware as Verilog, and what a design needs of it.

    A self-checking testbench that needs no Python, memory files, a C header and a Python driver of
    the registers, documentation, FuseSoC and IP-XACT descriptions, constraints, and a manifest.

    The memories start at the state: the seeded one, or one that was trained before.
    """
    bits = None if bus_bits is None else int(bus_bits)
    _command("generate").generate(setup, top=top, bus_bits=bits, samples=samples, probes=probes)


@cli.command(
    epilog=_examples(
        "nomul synth",
        "nomul synth --config mnist-small --data mnist --device 85F",
        "nomul synth --config net.toml --families ecp5,xilinx --no-place",
    )
)
@_shared_options("synth")
@_families_option(
    help="FPGA families to count cells for.",
)
@click.option(
    "--device",
    type=click.Choice(["25F", "45F", "85F"]),
    default="25F",
    show_default=True,
    help="Lattice ECP5 to place and route on.",
)
@click.option(
    "--speed",
    type=click.Choice(["6", "7", "8"]),
    default="6",
    show_default=True,
    help="Its speed grade; 8 is the fastest.",
)
@_seeds_option(
    help="Seeds of the placer, from 1 on; the clock is the median.",
)
@click.option(
    "--freq",
    type=click.IntRange(min=1),
    default=150,
    show_default=True,
    metavar="MHZ",
    help="Clock that place and route aims at.",
)
@click.option(
    "--placer",
    type=click.Choice(["heap", "static"]),
    default="heap",
    show_default=True,
    help="nextpnr's placer: for a device that is well filled, static makes shorter wires.",
)
@_top_option
@click.option("--place/--no-place", "place_it", default=True, help="Place and route.")
def synth(setup: Any, speed: str, **options: Any) -> None:
    """Synthesise the gateware, place and route it: area, clock, samples per second.

    Yosys counts the cells of the module for Lattice ECP5, iCE40 and Xilinx 7. nextpnr places and
    routes it on an ECP5, in a wrapper with three pins: minutes a seed for a large network. Clocks a
    sample are counted by the clocked golden model, over an epoch from the state.

    A figure is measured, or it is UNMEASURED. Results are cached by content.
    """
    _command("synth").synth(setup, speed=int(speed), **options)


@cli.group()
def build() -> None:
    """Build a bitstream for a board."""


@build.command(
    epilog=_examples(
        "nomul build ulx3s",
        "nomul build ulx3s --config mnist-small --data mnist --frequency 40 --seeds 5",
        "nomul build ulx3s --state nomul-out/train-digits/checkpoint.npz --baud 2000000",
    )
)
@_shared_options("build-ulx3s")
@click.option(
    "--lanes",
    type=click.IntRange(min=1),
    help="Lanes of the trainer.  [default: the configuration's]",
)
@click.option(
    "--frequency",
    type=click.FloatRange(min=0, min_open=True),
    default=50.0,
    show_default=True,
    metavar="MHZ",
    help="Clock of the core; the PLL makes the fastest one that is not above.",
)
@_seeds_option(
    help="Seeds of the placer that are tried, one after the other, until the clock is met.",
)
@click.option(
    "--baud",
    type=click.IntRange(min=1),
    default=1_000_000,
    show_default=True,
    help="Bits a second of the serial line.",
)
def ulx3s(setup: Any, lanes: int | None, **options: Any) -> None:
    """Build the core for a ULX3S with an ECP5-85F, behind its USB serial port.

    Writes the bitstream, its Verilog and constraints, the Python driver, and a report of what was
    measured. Fails unless timing is met. No board was at hand to try it on: the design is compared
    with the golden model in simulation, but for the clock generator (docs/board.md).

    The memories start at the state: the seeded one, or one that was trained before.
    """
    if lanes is not None:
        setup = replace(setup, parameters=setup.parameters.replace(lanes=lanes))
    _command("build").build_ulx3s(setup, **options)


@cli.command(
    epilog=_examples(
        "nomul board --port /dev/ttyUSB0",
        "nomul board --port /dev/ttyUSB0 --samples 10000 --evaluate 360 --draws 8",
        "nomul board --port COM3 --build mnist-build --data mnist --state run/checkpoint.npz",
    )
)
@click.option("--port", required=True, help="Serial port of the board, such as /dev/ttyUSB0.")
@click.option(
    "--build",
    "build_folder",
    type=click.Path(path_type=Path),
    default=Path("nomul-out") / "build-ulx3s-digits",
    show_default=True,
    metavar="DIR",
    help="Folder of nomul build, whose bitstream is loaded.",
)
@click.option(
    "--baud", type=click.IntRange(min=1), help="Bits a second.  [default: those of the build]"
)
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    help="Samples to train on, epoch after epoch. Default: one epoch.",
)
@_first_sample_option(
    help="Number of the first of them, counted from 0 over all epochs; with --state, to go on.",
)
@_evaluate_option(
    help="Then let the board predict the first N test samples.",
)
@_rule_option
@_draws_option
@_state_option(
    help="Start from the state of a checkpoint instead of the seeded one.",
)
@_data_option()
@_output_option(default=Path("nomul-out") / "board")
def board(port: str, baud: int | None, build_folder: Path, output: Path, **options: Any) -> None:
    """Train on a board, and compare it with the golden model.

    Loads all state over the serial port, trains, evaluates, reads the counters and dumps all state
    into a checkpoint. Every prediction and every bit of the state must be the golden model's. Needs
    pyserial: pip install 'nomul[board]'.
    """
    _check_draws(options["draws"], options["rule"])
    _command("board").board(port, baud, build_folder, output, **options)


@cli.command(
    epilog=_examples(
        "nomul count",
        "nomul count --config mnist-small --data mnist --samples 20",
        "nomul count --state nomul-out/train-digits/checkpoint.npz",
    )
)
@_shared_options("count")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Training samples to count, from the start. Seconds each for a large network.",
)
def count(setup: Any, samples: int) -> None:
    """Count the operations of training, by executing them.

    The oracle, the naive golden model in plain Python, trains on integers that tally every operator
    they meet: multiplications, additions, shifts, comparisons, random bits, memory bits moved, for
    each sample and phase. Its state at the end must be that of the fast model.

    Beside it stand the multiplications of the published method on the same network and on the
    paper's own, counted as a floating-point step executes.
    """
    _command("count").count_operations(setup, samples=samples)


@cli.command(
    epilog=_examples(
        "nomul audit",
        "nomul audit --config mnist-small --data mnist",
        "nomul audit --state nomul-out/train-net/checkpoint.npz --epochs 3",
    )
)
@_shared_options("audit")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Training samples, epoch after epoch. Default: an epoch.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="The same in epochs.")
def audit(setup: Any, samples: int | None, epochs: int | None) -> None:
    """Compare what registers and sums can hold with what they hold while a network trains.

    Trains with the clocked golden model, looks at every probed register on every clock and at the
    sums before each shift and clip, and says how many bits were never used, and how often something
    saturated.

    Writes audit.json and audit.md; exits with 1 if a value was outside of its proved range.
    """
    _command("audit").audit_ranges(setup, samples=samples, epochs=epochs)


@cli.command(
    epilog=_examples(
        "nomul prove",
        "nomul prove --config mnist-small --families ecp5",
        "nomul prove --state nomul-out/train-net/checkpoint.npz --top trainer",
    )
)
@_shared_options("prove", data=False)
@_top_option
@_families_option(
    help="FPGAs to synthesize for, with DSP blocks allowed.",
)
def prove(setup: Any, top: str, families: list[str]) -> None:
    """Prove that nothing in the gateware multiplies, as a report.

    Counts the cells of the elaborated gateware and, after synthesis, the DSP blocks; then follows
    every number through the netlist and shows that each product has an operand that is a sign and a
    power of two, so that no multiplier is hidden in adders, a loop or a table. Plants multipliers,
    which each check must find.

    Writes proof.json and proof.md; exits with 1 if the claim does not hold. Needs Yosys:
    pip install 'nomul[synth]'.
    """
    _command("prove").prove_claim(setup, top=top, families=families)


@cli.command(
    epilog=_examples(
        "nomul formal --list",
        "nomul formal --jobs 2",
        "nomul formal --only loader --only drain --config net.toml",
    )
)
@click.option(
    "--config",
    "configs",
    multiple=True,
    metavar="NAME|FILE.toml",
    help="A network to prove it for; may be repeated. Default: digits, mnist-small, and digits "
    "with binary connect, with exact inference and the stochastic quantizer.",
)
@click.option(
    "--only", multiple=True, metavar="NAME", help="Run this proof; may be repeated. Default: all."
)
@_jobs_option(
    help="Proofs at a time.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1800,
    show_default=True,
    metavar="SECONDS",
    help="Stop a solver that has not answered after so long; its proof fails.",
)
@click.option("--list", "list_only", is_flag=True, help="Say what there is to prove, and end.")
@_output_option(default=Path("nomul-out") / "formal")
def formal(
    configs: tuple[str, ...], only: tuple[str, ...], list_only: bool, output: Path, **options: Any
) -> None:
    """Prove the units' contracts: for all inputs, in all clocks, by induction.

    Each proof is of a unit as it ships. Exits with 1 if something is not proved, and leaves a
    waveform of the clocks that break it. Needs Yosys and z3: pip install 'nomul[synth]'.
    """
    loaded = {Path(config).stem: Parameters.load(config) for config in configs}
    for parameters in loaded.values():
        parameters.check_gateware()
    if len(loaded) < len(configs):
        raise click.UsageError("two of the configurations have the same name")
    from hdl.formal.proofs import NETWORKS, PROOFS  # noqa: PLC0415 - Amaranth takes a second

    command = _command("formal")
    if list_only:
        command.list_proofs()
        return
    names = [proof.name for proof in PROOFS]
    for name in only:
        if name not in names:
            raise click.UsageError(f"no proof {name!r}; there are {', '.join(names)}")
    command.formal(loaded or NETWORKS, output, only=only, **options)


@cli.command(
    epilog=_examples(
        "nomul mutate",
        "nomul mutate --budget 100 --seed 3",
        "nomul mutate --config net.toml --jobs 2",
    )
)
@click.option(
    "--config",
    metavar="NAME|FILE.toml",
    help="A shipped configuration or a file; small ones are quick. Default: a network of four "
    "lanes that has all that gateware may have built in.",
)
@click.option(
    "--budget",
    type=click.IntRange(min=1, max=20_000),
    default=1000,
    show_default=True,
    metavar="N",
    help="Mutants.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Of the choice of mutants, and of samples, states and pauses.",
)
@_jobs_option(
    help="Mutants at a time.",
)
@_output_option(
    help=f"{_REPLACES}. Default: ./nomul-out/mutate, or mutate-NAME after the configuration.",
)
def mutate(config: str | None, output: Path | None, **options: Any) -> None:
    """Plant faults by the hundred in the core's netlist: how many are found?

    Each mutant runs in the Verilated core, against the golden models. Those that survive are looked
    at by a solver, which finds many that change nothing. Needs Yosys and z3:
    pip install 'nomul[synth]'.
    """
    parameters = None if config is None else Parameters.load(config)
    name = "mutate" if config is None else f"mutate-{Path(config).stem}"
    output = output or Path("nomul-out") / name
    _command("mutate").mutate(config, output, parameters=parameters, **options)


@cli.group()
def experiment() -> None:
    """Compare runs, and study the method and its number formats."""


@experiment.command(
    epilog=_examples(
        "nomul experiment compare nomul-out/train-digits wide-run",
        "nomul experiment compare run-* --output nomul-out/runs",
    )
)
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN...")
@_output_option(
    default=Path("nomul-out") / "compare",
    help="Folder to write; an earlier comparison there is replaced.",
)
def compare(runs: tuple[Path, ...], output: Path) -> None:
    """Set runs of nomul train side by side.

    Each RUN is a folder that nomul train wrote, complete or still at work. Shows a table of what
    differs in their configurations and of what they reached, and writes it as CSV, with the error
    curves of all in one figure.
    """
    _command("compare").compare(runs, output)


@experiment.command(
    "paper-mnist",
    epilog=_examples(
        "nomul experiment paper-mnist --quick",
        "nomul experiment paper-mnist --data mnist --jobs 8",
        "nomul experiment paper-mnist --data mnist --studies columns --config mnist-paper",
    ),
)
@_data_option(help=_MNIST_HELP)
@_output_option(
    help="Folder to write; runs that it holds already are not run again. "
    "Default: ./nomul-out/paper-mnist-CONFIG.",
)
@click.option(
    "--config",
    default="mnist-small",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="The configuration that the studies vary.",
)
@click.option(
    "--studies",
    metavar="A,B,..",
    help="Default: all. columns, quantizer, exponents, weight-bits, draw-steps, draw-bits, "
    "random-source, update-bits.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Epochs of every run, over which the schedule is stretched. "
    "Default: as many as the schedule is made for.",
)
@_seeds_option(help="Seeds of each point.")
@_jobs_option(
    help="Runs at a time, each in one thread.",
)
@click.option("--quick", is_flag=True, help="A tiny network on the UCI digits: a look in a minute.")
@click.option(
    "--float-epochs",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Epochs of the published method in floating point, beside the integers; 0 leaves it "
    "out. Needs torch: pip install 'nomul[paper]'.",
)
def paper_mnist(
    data: Path | None,
    output: Path | None,
    config: str,
    studies: str | None,
    quick: bool,
    **options: Any,
) -> None:
    """Reproduce the paper on MNIST in integers, and study number formats.

    Writes results.csv, results.md and figures. Every finished run is kept: after an interrupt the
    same command goes on with the rest.
    """
    if data is None and not quick:
        raise click.UsageError("give --data FOLDER with the MNIST files, or --quick")
    # Takes a second to load, which --help and a typing error do not need.
    from sim.experiment import paper_mnist as command  # noqa: PLC0415
    from sim.experiment.studies import STUDIES  # noqa: PLC0415

    names = list(dict.fromkeys(studies.split(","))) if studies else list(STUDIES)
    for name in names:
        if name not in STUDIES:
            raise click.UsageError(f"no study {name!r}; there are {', '.join(STUDIES)}")
    label = "quick" if quick else Path(config).stem
    command.paper_mnist(
        config,
        data,
        output or Path("nomul-out") / f"paper-mnist-{label}",
        studies=names,
        quick=quick,
        **options,
    )


@cli.command()
def doctor() -> None:
    """Say which tools are there, and how to get those that are not.

    Exits with 1 if ``nomul cosim`` cannot run.
    """
    if not _command("doctor").doctor():
        raise SystemExit(1)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; every expected failure is one line and an exit code.

    0: done. 1: a failure, or a divergence. 2: wrong usage. 130: interrupted.
    """
    # A terminated run cleans up like an interrupted one.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(cli.main(prog_name="nomul", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("nomul: interrupted", err=True)
        sys.exit(130)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        click.echo(f"nomul: error: {reason}", err=True)
        sys.exit(1)
    except (ValueError, RuntimeError) as error:
        # ParameterError, DataError, SimulatorError, SynthesisError, DivergenceError and the like
        click.echo(f"nomul: error: {error}", err=True)
        sys.exit(1)
