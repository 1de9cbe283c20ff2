"""What ``nomul doctor`` does: say which tools are there."""

from rich.table import Table

from sim.commands.common import console
from sim.doctor import examine


def doctor() -> bool:
    """Print what of the toolchain is there; return whether the lockstep can run."""
    findings = examine()
    table = Table("tool", "for", "found", box=None)
    for finding in findings:
        if finding.version is not None:
            found = finding.version
        else:
            need = "MISSING" if finding.required else "not installed (optional)"
            found = f"{need}: {finding.mend}"
        table.add_row(finding.name, finding.purpose, found)
    console.print(table)
    missing = [each.name for each in findings if each.required and each.version is None]
    if missing:
        console.print(f"nomul cosim cannot run without {', '.join(missing)}.")
    else:
        console.print("nomul cosim can run.")
    return not missing
