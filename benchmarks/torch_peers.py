"""The peers: training steps of fully connected networks in torch, on one thread of the CPU.

All have rectified linear units and the squared hinge loss, as the golden model has, and plain
stochastic gradient descent.
"""

import ctypes
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

#: One training step: inputs float32 (batch, pixels), targets float32 +1 or -1 (batch, classes).
Step = Callable[[Any, Any], None]

_RATE = 0.01

# Of <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def use_one_thread() -> None:
    """Keep torch to one thread, and what would slow it down away from it.

    That is denormal numbers, and an allocator that gives the memory of the gradients back to the
    system after each step: page faults took half of a step of batch 1 where it was tried.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    libc = ctypes.CDLL(None)
    # The GNU library's; others have no such setting.
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def tensors(pixels: Any, labels: Any, classes: int) -> tuple[Any, Any]:
    """Return pixels 0..255 as inputs 0..1, and labels as targets."""
    inputs = torch.from_numpy(pixels.astype("float32") / 255)
    targets = 2 * functional.one_hot(torch.from_numpy(labels), classes).float() - 1
    return inputs, targets


class _Ternary(torch.autograd.Function):
    """Draw -1, 0 or +1 with the weight's magnitude as probability; gradients pass straight."""

    @staticmethod
    def forward(_context: Any, weights: Any) -> Any:
        return weights.sign() * (torch.rand_like(weights) < weights.abs())

    @staticmethod
    def backward(_context: Any, gradient: Any) -> Any:
        return gradient


class _TernaryLinear(nn.Linear):
    """A layer that computes with a fresh draw of its weights."""

    def forward(self, inputs: Any) -> Any:
        drawn = _Ternary.apply(self.weight)
        return functional.linear(inputs, drawn, self.bias) * self.in_features**-0.5


def _autograd(layers: Sequence[int], ternary: bool) -> Step:
    kind = _TernaryLinear if ternary else nn.Linear
    modules: list[Any] = []
    for inputs, units in itertools.pairwise(layers):
        modules += [kind(inputs, units), nn.ReLU()]
    network = nn.Sequential(*modules[:-1])
    weights = [each.weight for each in network if isinstance(each, nn.Linear)]
    optimizer = torch.optim.SGD(network.parameters(), lr=_RATE)

    def step(inputs: Any, targets: Any) -> None:
        optimizer.zero_grad()
        loss = (1 - targets * network(inputs)).clamp(min=0).square().sum(1).mean()
        loss.backward()
        optimizer.step()
        if ternary:
            with torch.no_grad():
                for each in weights:
                    each.clamp_(-1, 1)

    return step


def autograd_step(layers: Sequence[int]) -> Step:
    """Return a step of ``nn.Linear`` layers with ``torch.optim.SGD``."""
    return _autograd(layers, ternary=False)


def ternary_step(layers: Sequence[int]) -> Step:
    """Return a step of stochastic ternary weights with straight-through gradients."""
    return _autograd(layers, ternary=True)


def hand_written_step(layers: Sequence[int]) -> Step:
    """Return a step without autograd: products, and updates in place by ``addmm_``."""
    linear = [nn.Linear(inputs, units) for inputs, units in itertools.pairwise(layers)]
    weights = [each.weight.detach() for each in linear]
    biases = [each.bias.detach() for each in linear]

    def step(inputs: Any, targets: Any) -> None:
        values = [inputs]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            values.append(torch.addmm(bias, values[-1], weight.t()).relu_())
        outputs = torch.addmm(biases[-1], values[-1], weights[-1].t())
        delta = (1 - targets * outputs).clamp_(min=0).mul_(targets).mul_(2 / len(inputs))
        for layer in range(len(weights) - 1, -1, -1):
            value = values[layer]
            below = delta.mm(weights[layer]).mul_(value > 0) if layer > 0 else None
            weights[layer].addmm_(delta.t(), value, alpha=_RATE)
            biases[layer].add_(delta.sum(0), alpha=_RATE)
            delta = below

    return step
