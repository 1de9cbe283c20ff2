"""The first call of training in a fresh process, with and without compiled code on disk."""

import os
import subprocess
import sys
from pathlib import Path

import golden

_FIRST_CALL = """
import numpy as np
from golden.network import Network
from golden.parameters import Parameters
parameters = Parameters.named({name!r}).replace(batch_bits={batch_bits})
network = Network(parameters)
network.train(np.zeros((1, parameters.layers[0]), np.uint16), np.zeros(1, np.int64))
"""

_TORCH_FIRST_CALL = """
import torch
from benchmarks.torch_peers import autograd_step, use_one_thread
use_one_thread()
autograd_step({layers})(torch.zeros(1, {layers}[0]), torch.ones(1, {layers}[-1]))
"""


def _run(script: str, cache: Path | None) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(golden.__file__).parents[1])}
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def first_call(name: str, batch_bits: int, cache: Path) -> None:
    """Train a shipped configuration on one sample, in a process of its own.

    Args:
        name: Of the configuration.
        batch_bits: Replaces its own.
        cache: Folder of the compiled code; an empty one makes the call compile.

    Raises:
        CalledProcessError: If that fails.
    """
    _run(_FIRST_CALL.format(name=name, batch_bits=batch_bits), cache)


def torch_first_call(layers: tuple[int, ...]) -> None:
    """Take the peer's first step, in a process of its own.

    Raises:
        CalledProcessError: If that fails.
    """
    _run(_TORCH_FIRST_CALL.format(layers=layers), None)
