"""Record ``cosim.svg``: the output of ``nomul cosim`` on this machine, nothing compiled before.

Run it from the root of the repository: ``python -m docs.figures.record_cosim``.
"""

import io
import os
import re
import tempfile
from pathlib import Path

FILE = Path(__file__).with_name("cosim.svg")


def record() -> str:
    """Run the main job and return what it printed as a picture."""
    with tempfile.TemporaryDirectory() as cache:
        # Read when the packages are imported.
        os.environ["XDG_CACHE_HOME"] = cache
        from rich.console import Console  # noqa: PLC0415

        from sim import cli  # noqa: PLC0415
        from sim.commands import common  # noqa: PLC0415

        # Before the module of the command takes it over.
        common.console = Console(record=True, width=94, file=io.StringIO(), highlight=False)
        output = Path(cache) / "nomul-out" / "cosim-digits"
        cli.cli.main(["cosim", "--output", str(output)], standalone_mode=False)
    picture = common.console.export_svg(title="nomul cosim")
    # Where it ran says nothing.
    picture = picture.replace(cache, "~")
    # Without the web font: each line is fitted to its length with any monospaced one.
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)


if __name__ == "__main__":
    FILE.write_text(record(), encoding="utf-8")
