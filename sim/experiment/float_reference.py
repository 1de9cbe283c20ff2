"""The published method in floating point: an oracle from outside to compare the integers with.

Lin, Courbariaux, Memisevic and Bengio, *Neural Networks with Few Multiplications* (arXiv
1510.03009): batch norm after every layer, also the last, ReLU, the squared hinge loss, plain SGD on
minibatches with an exponentially falling step, and the weights themselves at test time. It shares
nothing with the golden model and needs the extra ``nomul[paper]``.

Weights are kept in units of Glorot's ``W0 = sqrt(1.5 / (n_in + n_out))``, the scale of the paper's
code, so that drawn weights are -1, 0 or +1; batch norm takes the scale away. A step ``eta`` on
the scaled weights is a step ``eta / W0**2`` on these. They are clipped to -1..1, but for full
precision.

Two liberties, both for speed: test-time batch norm uses the statistics of the first
``STATISTICS_IMAGES`` training images instead of all, and the quantized gradient goes through
batch norm, which the paper's code leaves out.
"""

import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from sim.experiment.columns import COLUMNS, Column
from sim.experiment.split import Split

BATCH = 200
FIRST_RATE, LAST_RATE = 0.3, 0.01
NORM_EPSILON = 1e-4
STATISTICS_IMAGES = 10_000

_MANTISSA_BITS = 23


@dataclass(frozen=True)
class FloatEpoch:
    """What is known of one epoch; errors are in percent.

    Attributes:
        epoch: Number of the epoch, from 0.
        rate: Step ``eta``.
        train_loss: Mean squared hinge loss of the samples when they were learnt from.
        validation_error: Validation images predicted wrongly after the epoch.
        seconds: Wall time of its training, without validation.
    """

    epoch: int
    rate: float
    train_loss: float
    validation_error: float
    seconds: float


@dataclass(frozen=True)
class FloatResult:
    """A finished run.

    Attributes:
        column: Key of ``sim.experiment.columns.COLUMNS``.
        layers: Sizes, inputs first, classes last.
        epochs: Epochs in all.
        seed: Seed of weights, order and draws.
        train_images: Images learnt from.
        best_epoch: First epoch with the lowest validation error.
        best_validation_error: That error, in percent.
        best_test_error: Test error after that epoch, in percent.
        last_validation_error: Validation error after the last epoch, in percent.
        last_test_error: Test error after the last epoch, in percent.
        history: Every epoch.
    """

    column: str
    layers: tuple[int, ...]
    epochs: int
    seed: int
    train_images: int
    best_epoch: int
    best_validation_error: float
    best_test_error: float
    last_validation_error: float
    last_test_error: float
    history: tuple[FloatEpoch, ...]


def draw_ternary(weights: Any, generator: Any, out: Any) -> None:
    """Draw ``t = sign(w)`` with probability ``|w|``, else 0, so that ``E[t] = w``.

    Args:
        weights: float32 tensor, -1..1.
        generator: Its ``torch.Generator``.
        out: Tensor of the same shape to write.
    """
    out.uniform_(generator=generator).add_(weights).floor_()
    # In float32, 1 + u can round up to 2.
    out.clamp_(max=1)


def draw_binary(weights: Any, generator: Any, out: Any) -> None:
    """Draw +1 with probability ``(w + 1) / 2``, else -1; arguments as for :func:`draw_ternary`."""
    out.uniform_(generator=generator)
    out.add_(weights, alpha=0.5).add_(0.5).floor_()
    out.clamp_(max=1).mul_(2).sub_(1)


def quantize(values: Any, generator: Any) -> Any:
    """Round to signed powers of two at random, without bias; 0 stays 0.

    ``|x| = (1 + p) * 2**k`` becomes ``2**(k+1)`` with probability ``p``, else ``2**k``: a random
    number is added to the mantissa, and what stays in the exponent is the result.

    Args:
        values: float32 tensor.
        generator: Its ``torch.Generator``.
    """
    bits = torch.empty_like(values, dtype=torch.int32)
    bits.random_(0, 1 << _MANTISSA_BITS, generator=generator)
    bits.add_(values.view(torch.int32)).bitwise_and_(-1 << _MANTISSA_BITS)
    return bits.view(torch.float32)


def _seed(seed: int, part: int) -> int:
    # On the CPU torch looks at the lowest 32 bits of a seed only.
    return int(np.random.SeedSequence([seed, part]).generate_state(1)[0])


class _Linear(torch.autograd.Function):
    """``x @ drawn.T``; the gradient of the drawn weights is that of the weights themselves."""

    @staticmethod
    def forward(context: Any, values: Any, weights: Any, drawn: Any, generator: Any) -> Any:
        """``generator`` is ``None`` without quantized back propagation."""
        context.save_for_backward(values, drawn)
        context.generator = generator
        return values @ drawn.T

    @staticmethod
    def backward(context: Any, gradient: Any) -> tuple[Any, Any, None, None]:
        values, drawn = context.saved_tensors
        below = gradient @ drawn if context.needs_input_grad[0] else None
        if context.generator is not None:
            values = quantize(values, context.generator)
        return below, gradient.T @ values, None, None


class Network:
    """The network, its batch norms and its draws."""

    def __init__(self, column: Column, layers: Sequence[int], device: str, seed: int) -> None:
        """Start at Glorot's uniform weights, that is -2..2 in units of ``W0``."""
        self.column = column
        self.device = device
        self.generator = torch.Generator(device)
        self.generator.manual_seed(_seed(seed, 0))
        self.scales = [(n + m) / 1.5 for n, m in itertools.pairwise(layers)]
        self.weights, self.gains, self.biases, self.drawn = [], [], [], []
        self.statistics: list[tuple[Any, Any]] = []
        for inputs, units in itertools.pairwise(layers):
            weights = torch.empty(units, inputs, device=device)
            weights.uniform_(-2, 2, generator=self.generator)
            if column.connect != "none":
                weights.clamp_(-1, 1)
            self.weights.append(weights.requires_grad_())
            self.gains.append(torch.ones(units, device=device, requires_grad=True))
            self.biases.append(torch.zeros(units, device=device, requires_grad=True))
            self.drawn.append(torch.empty(units, inputs, device=device))
            self.statistics.append(
                (torch.zeros(units, device=device), torch.ones(units, device=device))
            )

    def parameters(self) -> list[Any]:
        """Return all that is learnt: weights, gains, biases."""
        return [*self.weights, *self.gains, *self.biases]

    def _draw(self) -> list[Any]:
        if self.column.connect == "none":
            return [weights.detach() for weights in self.weights]
        draw = draw_binary if self.column.connect == "binary" else draw_ternary
        with torch.no_grad():
            for weights, out in zip(self.weights, self.drawn, strict=True):
                draw(weights, self.generator, out)
        return self.drawn

    def forward(self, values: Any) -> Any:
        """Return the outputs of a minibatch from one draw, for learning."""
        drawn = self._draw()
        generator = self.generator if self.column.quantized else None
        last = len(self.weights) - 1
        for layer, weights in enumerate(self.weights):
            values = _Linear.apply(values, weights, drawn[layer], generator)
            values = functional.batch_norm(
                values,
                None,
                None,
                self.gains[layer],
                self.biases[layer],
                training=True,
                eps=NORM_EPSILON,
            )
            if layer < last:
                values = torch.relu_(values)
        return values

    def _infer(self, values: Any, momentum: float | None) -> Any:
        """Return the outputs of the weights themselves; with a momentum, gather statistics."""
        last = len(self.weights) - 1
        for layer, weights in enumerate(self.weights):
            mean, variance = self.statistics[layer]
            values = functional.batch_norm(
                values @ weights.T,
                mean,
                variance,
                self.gains[layer],
                self.biases[layer],
                training=momentum is not None,
                momentum=momentum or 0.0,
                eps=NORM_EPSILON,
            )
            if layer < last:
                values = torch.relu_(values)
        return values

    def gather_statistics(self, values: Any) -> None:
        """Average mean and variance of every sum over the minibatches of some images."""
        with torch.no_grad():
            for count, batch in enumerate(values.split(BATCH), start=1):
                self._infer(batch, 1 / count)

    def predict(self, values: Any) -> Any:
        """Return the classes that the weights themselves predict."""
        with torch.no_grad():
            return torch.cat([self._infer(batch, None).argmax(1) for batch in values.split(2000)])

    def step(self, values: Any, targets: Any, rate: float) -> float:
        """Learn from one minibatch; return the mean loss before.

        Args:
            values: Inputs, shape (samples, n_0).
            targets: +1 for the label, -1 elsewhere, shape (samples, n_L).
            rate: Step ``eta``.
        """
        loss = (1 - targets * self.forward(values)).clamp_(min=0).square().sum() / len(values)
        gradients = torch.autograd.grad(loss, self.parameters())
        with torch.no_grad():
            rates = [rate * scale for scale in self.scales]
            rates += [rate] * (len(self.gains) + len(self.biases))
            for parameter, gradient, step in zip(self.parameters(), gradients, rates, strict=True):
                parameter.sub_(gradient, alpha=step)
            if self.column.connect != "none":
                for weights in self.weights:
                    weights.clamp_(-1, 1)
        return float(loss.detach())


def _rate(epoch: int, epochs: int) -> float:
    return float(FIRST_RATE * (LAST_RATE / FIRST_RATE) ** (epoch / epochs))


def _error(network: Network, values: Any, labels: Any) -> float:
    return 100 * int((network.predict(values) != labels).sum()) / len(labels)


def _save(path: Path, head: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        np.savez(file, head=np.array(json.dumps(head)), **arrays)
    unfinished.replace(path)


def train(
    column: str,
    split: Split,
    hidden: Sequence[int],
    epochs: int,
    seed: int,
    checkpoint: Path,
    progress: Callable[[float], None] | None = None,
) -> FloatResult:
    """Train a column of the paper's table on a GPU, or else on one thread; resume where it stopped.

    Args:
        column: Key of ``sim.experiment.columns.COLUMNS``.
        split: 8-bit pixels; the network sees them divided by 255, less their mean over the
            training images.
        hidden: Sizes of the hidden layers.
        epochs: Epochs in all, at least 1; the step falls from 0.3 to 0.01 over them.
        seed: Seed of weights, order and draws.
        checkpoint: ``.npz`` file that is written after every epoch and removed at the end.
        progress: Called with the epochs done, a fraction in between; whatever it raises ends the
            run, which can be resumed.

    Raises:
        ValueError: If the checkpoint is one of another run.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    classes = int(split.train_labels.max()) + 1
    layers = (split.train_pixels.shape[1], *hidden, classes)
    identity = {
        "column": column,
        "layers": list(layers),
        "epochs": epochs,
        "seed": seed,
        "train_images": len(split.train_labels),
    }
    mean = split.train_pixels.mean(axis=0) / 255

    def images(pixels: Any) -> Any:
        return torch.tensor((pixels / 255 - mean).astype(np.float32), device=device)

    train_images = images(split.train_pixels)
    validation_images, test_images = images(split.validation_pixels), images(split.test_pixels)
    targets = torch.tensor(2 * np.eye(classes, dtype=np.float32) - 1, device=device)
    targets = targets[torch.tensor(split.train_labels, device=device)]
    validation_labels = torch.tensor(split.validation_labels, device=device)
    test_labels = torch.tensor(split.test_labels, device=device)

    network = Network(COLUMNS[column], layers, device, seed)
    history: list[FloatEpoch] = []
    best = [parameter.detach().clone() for parameter in network.parameters()]
    if checkpoint.exists():
        with np.load(checkpoint, allow_pickle=False) as saved:
            head = json.loads(str(saved["head"]))
            if head["identity"] != identity:
                raise ValueError(f"{checkpoint} is of another run: remove it, or choose --output")
            history = [FloatEpoch(**epoch) for epoch in head["history"]]
            for number, parameter in enumerate(network.parameters()):
                parameter.data.copy_(torch.from_numpy(saved[f"parameter_{number}"]))
                best[number].copy_(torch.from_numpy(saved[f"best_{number}"]))

    for epoch in range(len(history), epochs):
        # An epoch's randomness is its own, so that an interrupted run resumes to the bit.
        network.generator.manual_seed(_seed(seed, 1 + epoch))
        began = time.perf_counter()
        order = torch.randperm(len(train_images), generator=network.generator, device=device)
        rate = _rate(epoch, epochs)
        total = 0.0
        for done, chosen in enumerate(order.split(BATCH)):
            if progress is not None:
                progress(epoch + done * BATCH / len(order))
            loss = network.step(train_images[chosen], targets[chosen], rate)
            total += loss * len(chosen)
        seconds = time.perf_counter() - began
        network.gather_statistics(train_images[:STATISTICS_IMAGES])
        error = _error(network, validation_images, validation_labels)
        if error < min((done.validation_error for done in history), default=101.0):
            best = [parameter.detach().clone() for parameter in network.parameters()]
        history.append(FloatEpoch(epoch, rate, total / len(train_images), error, seconds))
        arrays = {
            f"{name}_{number}": values.detach().cpu().numpy()
            for name, tensors in (("parameter", network.parameters()), ("best", best))
            for number, values in enumerate(tensors)
        }
        _save(
            checkpoint,
            {"identity": identity, "history": [asdict(done) for done in history]},
            arrays,
        )

    network.gather_statistics(train_images[:STATISTICS_IMAGES])
    last_test_error = _error(network, test_images, test_labels)
    with torch.no_grad():
        for parameter, values in zip(network.parameters(), best, strict=True):
            parameter.copy_(values)
    network.gather_statistics(train_images[:STATISTICS_IMAGES])
    best_test_error = _error(network, test_images, test_labels)
    errors = [done.validation_error for done in history]
    result = FloatResult(
        column=column,
        layers=layers,
        epochs=epochs,
        seed=seed,
        train_images=len(train_images),
        best_epoch=errors.index(min(errors)),
        best_validation_error=min(errors),
        best_test_error=best_test_error,
        last_validation_error=errors[-1],
        last_test_error=last_test_error,
        history=tuple(history),
    )
    checkpoint.unlink()
    return result
