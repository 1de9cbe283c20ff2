"""What ``nomul generate`` does: the gateware, and everything that a design needs of it."""

from dataclasses import asdict
from typing import Any

from golden.checkpoint import Checkpoint
from golden.parameters import ParameterError
from golden.probes import probe_columns, probe_table
from hdl.block_rams import block_rams
from hdl.verilog import generate as generate_trainer
from hdl.verilog import generate_core
from sim.commands.common import Setup, console, say_output, versions, write_json
from sim.data import load
from sim.export.project import Project
from sim.export.vectors import Vectors
from sim.output import output_folder


def generate(setup: Setup, *, top: str, bus_bits: int | None, samples: int, probes: bool) -> None:
    """Write the gateware as Verilog with its testbench, descriptions, drivers and a manifest."""
    p = setup.parameters
    if bus_bits is not None:
        p = p.replace(pixels_per_beat=bus_bits // 8)
    state = setup.initial_state()
    dataset = None if setup.data is None else load(p, setup.data)
    if dataset is not None and samples > len(dataset.train_labels):
        raise ParameterError(
            f"--samples must be at most {len(dataset.train_labels)}, the training images of "
            f"{setup.data}, not {samples}"
        )
    blocks = block_rams(p)
    with output_folder(setup.output, "generate") as folder:
        with console.status("generate Verilog"):
            if top == "core":
                generated = generate_core(p, state, probed=probes)
            else:
                generated = generate_trainer(p, state, probed=probes)
        with console.status("run the golden model for the testbench"):
            vectors = Vectors.of(p, state, dataset, samples)
            project = Project(generated, vectors)
            listing = project.write(folder)
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
        done = 0 if setup.checkpoint is None else setup.checkpoint.samples
        Checkpoint(p, state, done).save(folder / "checkpoint.npz")
        manifest: dict[str, Any] = {
            "top": generated.top,
            "verilog": f"{generated.top}.v",
            "versions": versions(),
            "parameters": p.to_dict(),
            "files": listing,
            "ports": [asdict(port) for port in generated.ports],
            "memories": {
                memory.name: {
                    "path": memory.path,
                    "words": memory.rows,
                    "bits": memory.bits,
                    "lane_bits": memory.lane_bits,
                    "lane_0": "lowest bits",
                    "initial": f"{generated.top}_{memory.name}.mem; "
                    f"checkpoint.npz, array {memory.array!r}",
                }
                for memory in project.memories
            },
            "ecp5_block_rams": blocks,
        }
        if project.registers is not None:
            manifest["registers"] = [
                asdict(register) | {"access": register.access.value, "reset": register.reset}
                for register in project.registers
            ]
        if probes:
            manifest["probes"] = [
                {
                    "name": probe.name,
                    "word": word,
                    "lowest_bit": low,
                    "bits": probe.bits,
                    "signed": probe.signed,
                    "fraction_bits": probe.fraction_bits,
                    "unit": probe.unit,
                }
                for probe, word, low in probe_columns(probe_table(p))
            ]
        write_json(manifest, folder / "manifest.json")
    lines = len(generated.verilog.splitlines())
    console.print(f"{generated.top}: {lines:,} lines of Verilog, {len(generated.ports)} ports")
    console.print(f"{len(listing)} files; {generated.top}.md says what each is for")
    console.print(f"block RAMs of a Lattice ECP5: {sum(blocks.values()):,}")
    say_output(setup.output)
