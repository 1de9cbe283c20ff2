"""What ``nomul generate`` does: the gateware as Verilog, with a manifest."""

from dataclasses import asdict
from typing import Any

from golden.checkpoint import Checkpoint
from golden.layout import Layout
from golden.probes import probe_columns, probe_table
from hdl.block_rams import block_rams
from hdl.verilog import generate as generate_verilog
from sim.commands.common import Setup, console, say_output, versions, write_json
from sim.output import output_folder


def generate(setup: Setup, *, probes: bool) -> None:
    """Write the gateware as Verilog, with a manifest."""
    p, layout = setup.parameters, Layout.of(setup.parameters)
    state = setup.initial_state()
    blocks = block_rams(p)
    with output_folder(setup.output, "generate") as folder:
        with console.status("generate Verilog"):
            generated = generate_verilog(p, state, probed=probes)
        verilog = folder / f"{generated.top}.v"
        verilog.write_text(generated.verilog, encoding="utf-8")
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
        samples = 0 if setup.checkpoint is None else setup.checkpoint.samples
        Checkpoint(p, state, samples).save(folder / "checkpoint.npz")
        manifest: dict[str, Any] = {
            "top": generated.top,
            "verilog": verilog.name,
            "versions": versions(),
            "parameters": p.to_dict(),
            "ports": [asdict(port) for port in generated.ports],
            "memories": {
                name: {
                    "path": generated.memories[name],
                    "words": words,
                    "bits": bits * p.lanes,
                    "lane_bits": bits,
                    "lane_0": "lowest bits",
                    "initial": f"in the Verilog; checkpoint.npz, array {name!r}",
                }
                for name, words, bits in (
                    ("weights", layout.rows, p.weight_bits),
                    ("biases", layout.block_rows, p.bias_bits),
                )
            },
            "ecp5_block_rams": blocks,
        }
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
    console.print(f"block RAMs of a Lattice ECP5: {sum(blocks.values()):,}")
    say_output(setup.output)
