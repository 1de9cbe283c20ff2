"""Programs that run with Numba's compiler disabled."""

import os
import subprocess
import sys
from pathlib import Path


def run_uncompiled(program: str) -> str:
    """Run a Python program in a process without the compiler; return what it printed.

    Every warning is an error there: NumPy warns when a 16-bit number overflows.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            f"import numba\nassert numba.config.DISABLE_JIT\n{program}",
        ],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
