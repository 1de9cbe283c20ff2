"""The functional model: a network that learns, at the speed of the processor."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from golden.inference import (
    RULES,
    FixedPass,
    Rule,
    draws_at_random,
    predict_fixed_narrow,
    predict_fixed_wide,
    predict_sampled,
)
from golden.minibatch import BatchScratch, train_batches
from golden.online import Scratch, train
from golden.packed import PackedScratch, fits, train_packed
from golden.parameters import Parameters
from golden.plan import Int64Array, Plan
from golden.state import State

#: Samples between two calls of a progress callback.
CHUNK = 512

#: Most draws of sampled inference: no sum of so many logits exceeds 64 bits.
MAX_DRAWS = 1 << 16


@dataclass(frozen=True)
class TrainResult:
    """What training on some samples gave, sample by sample.

    Attributes:
        predictions: Predicted classes, before learning from the sample, int64, shape (n,).
        trained: Whether any output delta was not 0, so that the sample changed the weights, bool,
            shape (n,). (In a minibatch the others learn from its draw, but add nothing.)
        losses: Squared hinge loss before learning from the sample, the sum of the squares of its
            output deltas, in squared logit LSBs, int64, shape (n,).
    """

    predictions: Int64Array
    trained: npt.NDArray[np.bool_]
    losses: Int64Array


class Network:
    """A network that learns from samples in the order given, one by one or in minibatches.

    Attributes:
        parameters: The network's parameters.
        state: Everything that the trainer remembers; training changes it in place.
    """

    def __init__(self, parameters: Parameters, state: State | None = None) -> None:
        """Start at ``state``, which is not copied, or at the initial state.

        Raises:
            ValueError: If the state is not one of such a network.
        """
        self.parameters = parameters
        self.state = State.initial(parameters) if state is None else state
        self.state.check(parameters)
        self._plan = Plan.of(parameters)
        self._scratch = Scratch.of(parameters)
        self._kernel: Callable[..., None] = train
        self._kernel_scratch: Scratch | BatchScratch | PackedScratch = self._scratch
        if parameters.batch_bits > 0 and fits(parameters):
            self._kernel, self._kernel_scratch = train_packed, PackedScratch.of(parameters)
        elif parameters.batch_bits > 0:
            self._kernel, self._kernel_scratch = train_batches, BatchScratch.of(parameters)

    def train(
        self,
        pixels: npt.NDArray[np.integer],
        labels: npt.NDArray[np.integer],
        rate_shift: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> TrainResult:
        """Learn from samples in order, online or in batches (contract, sections 6 to 12).

        With ``batch_bits > 0`` the first ``2**batch_bits`` samples of a call are its first batch
        and so on; the last batch takes what is left.

        Args:
            pixels: Integers in ``0 .. 2**A - 1``, shape (n, n_0).
            labels: Classes, integers in ``0 .. n_L - 1``, shape (n,).
            rate_shift: Learning-rate shift ``sh``, ``0 .. Parameters.max_rate_shift``.
            progress: Called with the number of samples done, from time to time.

        Raises:
            ValueError: If a shape or a value is out of range; the network is then unchanged.
        """
        pixels = self._checked_pixels(pixels)
        labels = self._checked_labels(labels, len(pixels))
        highest = self.parameters.max_rate_shift
        if not 0 <= rate_shift <= highest:
            raise ValueError(
                f"rate_shift must be in 0..{highest} (the schedule has {highest} entries), "
                f"not {rate_shift}"
            )
        state = self.state
        predictions = np.empty(len(pixels), np.int64)
        losses = np.empty(len(pixels), np.int64)
        for part in _chunks(len(pixels), progress, max(CHUNK, 1 << self.parameters.batch_bits)):
            self._kernel(
                self._plan,
                state.weights,
                state.biases,
                state.draw,
                state.update,
                state.dropout,
                self._kernel_scratch,
                pixels[part],
                labels[part],
                rate_shift,
                predictions[part],
                losses[part],
            )
        return TrainResult(predictions, losses != 0, losses)

    def infer(
        self,
        pixels: npt.NDArray[np.integer],
        rule: Rule = "exact",
        draws: int = 1,
        progress: Callable[[int], None] | None = None,
    ) -> Int64Array:
        """Return the predictions of an inference rule; nothing changes (contract, section 13).

        Args:
            pixels: Integers in ``0 .. 2**A - 1``, shape (n, n_0).
            rule: ``"sampled"``: the sum of ``draws`` passes, each with its own draw; one pass is
                what an evaluation sample gets from the gateware. ``"thresholded"``: the weights
                rounded to what can be drawn. ``"exact"``: the weights themselves. ``"pow2"``: the
                weights themselves, inputs rounded to powers of two.
            draws: Passes of the rule ``"sampled"``, ``K``, 1..65536; 1 for the other rules.
            progress: Called with the number of samples done, from time to time.

        Returns:
            Classes, int64, shape (n,).

        Raises:
            ValueError: If a shape or a value is out of range.
        """
        if rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}, not {rule!r}")
        highest = MAX_DRAWS if rule == "sampled" else 1
        if not 1 <= draws <= highest:
            raise ValueError(f"draws must be in 1..{highest} for the rule {rule}, not {draws}")
        pixels = self._checked_pixels(pixels)
        predictions = np.empty(len(pixels), np.int64)
        state = self.state
        if rule == "sampled" and draws_at_random(self.parameters):
            for part in _chunks(len(pixels), progress, max(1, CHUNK // draws)):
                predict_sampled(
                    self._plan,
                    state.weights,
                    state.biases,
                    state.draw,
                    draws,
                    self._scratch,
                    pixels[part],
                    predictions[part],
                )
            return predictions
        fixed = FixedPass.of(self.parameters, state, rule, self._scratch)
        predict = predict_fixed_narrow if fixed.biases.dtype == np.int32 else predict_fixed_wide
        for part in _chunks(len(pixels), progress):
            predict(self._plan, fixed, state.dropout, pixels[part], predictions[part])
        return predictions

    def _checked_pixels(self, pixels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint16]:
        size, maximum = self.parameters.layers[0], self.parameters.activation_max
        if pixels.ndim != 2 or pixels.shape[1] != size:
            raise ValueError(f"pixels must have the shape (n, {size}), not {pixels.shape}")
        _check_range("pixels", pixels, maximum)
        # Read-only arrays would be compiled for once more.
        return np.require(pixels, np.uint16, ["C", "W"])

    def _checked_labels(self, labels: npt.NDArray[np.integer], samples: int) -> Int64Array:
        if labels.shape != (samples,):
            raise ValueError(
                f"labels must have the shape ({samples},), one a row of pixels, not {labels.shape}"
            )
        _check_range("labels", labels, self.parameters.layers[-1] - 1)
        return np.require(labels, np.int64, ["C", "W"])


def _check_range(name: str, values: npt.NDArray[np.integer], maximum: int) -> None:
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} must be integers, not {values.dtype}")
    if values.size and not (values.min() >= 0 and values.max() <= maximum):
        raise ValueError(f"{name} must be in 0..{maximum}, not {values.min()}..{values.max()}")


def _chunks(
    samples: int, progress: Callable[[int], None] | None, size: int = CHUNK
) -> Iterator[slice]:
    """Yield the slices of the chunks of ``samples`` samples; report each when it is done."""
    for start in range(0, samples, size):
        stop = min(start + size, samples)
        yield slice(start, stop)
        if progress is not None:
            progress(stop)
