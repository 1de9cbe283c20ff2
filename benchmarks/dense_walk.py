"""Online training that skips less: the kernels of :mod:`golden.online` with nothing left out.

They are compiled once more, from a copy of the module in which the parts that skip are exchanged.
All else is the same, so that times differ by what is skipped alone. (Rows of weights that no delta
can change are written in neither.)
"""

import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numba
import numpy as np

from golden import online
from golden.jit import part, unit
from golden.minibatch import BatchScratch, train_batches
from golden.online import Scratch
from golden.parameters import Parameters
from golden.plan import Plan
from golden.quantize import nearest
from golden.relu import relu
from golden.state import State


def _copy_of_online() -> ModuleType:
    """Return a second, independent copy of the module; nothing in it is compiled yet."""
    spec = importlib.util.find_spec("golden.online")
    if spec is None or spec.loader is None:
        raise ImportError("golden.online has no source file to make a copy from")
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


_loss = online.loss


@part
def _never_zero(plan: Plan, label: int, scratch: Scratch) -> int:
    """Leave the output deltas in ``scratch``; what is returned makes every sample learn."""
    return _loss(plan, label, scratch) | 1


@part
def _all_pixels(plan: Plan, pixels: Any, _train: bool, _dropout: Any, scratch: Scratch) -> None:
    """List all pixels, dark ones too."""
    for j in range(plan.sizes[0]):
        scratch.list_index[j] = j
        scratch.list_value[j] = pixels[j]
    scratch.list_count[0] = plan.sizes[0]


@part
def _all_units(plan: Plan, layer: int, shift: int, scratch: Scratch) -> None:
    """List all units of a hidden layer, dead ones too."""
    base = plan.list_base[layer + 1]
    sums = scratch.sums.reshape(-1)
    for i in range(plan.sizes[layer + 1]):
        scratch.list_index[base + i] = i
        scratch.list_value[base + i] = relu(sums[i], shift, plan.activation_max)
    scratch.list_count[layer + 1] = plan.sizes[layer + 1]


@unit
def _nearest_or_none(value: int) -> int:
    """Return the exponent of an input; for 0 one that is below every bound: no update."""
    return nearest(value) if value != 0 else -1


def _masking(backward: Callable[..., None]) -> Callable[..., None]:
    """Return the backward part with the deltas of dead units 0, as they are not in the list."""

    @part
    def masked(plan: Plan, weights: Any, layer: int, scratch: Scratch, work: Any) -> None:
        backward(plan, weights, layer, scratch, work)
        below = scratch.delta.reshape(-1)
        first, base = plan.block_base[layer - 1] * plan.lanes, plan.list_base[layer]
        for i in range(plan.sizes[layer]):
            if scratch.list_value[base + i] == 0:
                below[first + i] = 0

    return masked


class Walk:
    """A network with 16-bit lanes that learns online and skips what it is told to.

    Without zero columns left out, random words are taken for every column: the arithmetic is that
    of a minibatch of one sample (contract, section 12), and :meth:`check` holds it to that.

    Attributes:
        state: What it remembers.
    """

    def __init__(self, parameters: Parameters, *, skips_columns: bool) -> None:
        """Start at the initial state. No sample is skipped.

        Args:
            parameters: The network; nearest quantizer, no input dropout.
            skips_columns: Whether columns of inputs that are 0 are left out.

        Raises:
            ValueError: If the parameters ask for something else.
        """
        self._plan = Plan.of(parameters)
        if (
            parameters.quantizer != "nearest"
            or parameters.input_dropout_bits > 0
            or not self._plan.narrow
        ):
            raise ValueError("the dense walk needs 16-bit lanes, the quantizer nearest, no dropout")
        self._parameters = parameters
        self.state = State.initial(parameters)
        self._scratch = Scratch.of(parameters)
        copy: Any = _copy_of_online()
        copy.loss = _never_zero
        if not skips_columns:
            copy.list_pixels, copy.list_units = _all_pixels, _all_units
            copy.nearest = _nearest_or_none
            copy._backward = _masking(copy._backward)
        # The cache on disk knows the module's own kernels by the same names.
        self._kernel = numba.njit(copy._train.py_func)

    def train(self, pixels: Any, labels: Any) -> None:
        """Learn from samples, uint16 of shape (n, n_0) and int64 of shape (n,), in order."""
        state, scratch = self.state, self._scratch
        predictions, losses = np.empty(len(labels), np.int64), np.empty(len(labels), np.int64)
        self._kernel(
            self._plan, state.weights, state.biases, state.draw, state.update, state.dropout,
            scratch, scratch.narrow, pixels, labels, 0, predictions, losses,
        )  # fmt: skip

    def check(self, pixels: Any, labels: Any) -> None:
        """Learn from samples, and check all state against the plain minibatch kernel's.

        Raises:
            RuntimeError: If anything differs, or if a sample has no delta, so that it proves less.
        """
        plain = self.state.copy()
        scratch = BatchScratch.of(self._parameters.replace(batch_bits=0))
        predictions, losses = np.empty(len(labels), np.int64), np.empty(len(labels), np.int64)
        train_batches(
            self._plan, plain.weights, plain.biases, plain.draw, plain.update, plain.dropout,
            scratch, pixels, labels, 0, predictions, losses,
        )  # fmt: skip
        self.train(pixels, labels)
        if not losses.all() or self.state != plain:
            raise RuntimeError("the dense walk is not a minibatch of one sample")
