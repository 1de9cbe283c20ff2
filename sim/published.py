"""The published method's training step in floating point, its operations counted as they execute.

Lin, Courbariaux, Memisevic and Bengio, *Neural Networks with Few Multiplications* (arXiv
1510.03009): full precision, or ternary connect with quantized back propagation, with or without
batch normalization. It is here to be counted, beside what the integer trainer needs; nothing is
trained with it. What counts as what is in ``docs/operations.md``.
"""

import itertools
import math
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from golden.operations import PHASES, Tally
from golden.oracle import Phase

#: The network and the minibatch of the paper's table of multiplications.
PAPER_LAYERS = (784, 1024, 1024, 1024, 10)
PAPER_BATCH = 200

#: Multiplications a minibatch, as published: (ternary connect and QBP, batch normalization).
PAPER_MULTIPLICATIONS = {
    (False, False): 1_747_974_000,
    (False, True): 1_753_549_338,
    (True, False): 1_849_200,
    (True, True): 7_424_538,
}

#: What a number is known to be; a product with one that is not ``"real"`` needs no multiplier.
Kind = Literal["real", "ternary", "power"]

Array = npt.NDArray[np.float64]

_MULTIPLICATIONS = (np.multiply, np.reciprocal)
_ADDITIONS = (np.add, np.subtract, np.negative)
_SELECTS = (np.maximum, np.minimum, np.absolute, np.sign, np.less, np.greater, np.equal)
# A power of two is taken apart and put together by its bits; a root is neither sum nor product.
_FREE = (np.frexp, np.ldexp, np.sqrt)


class CountedArray(np.ndarray[Any, np.dtype[np.float64]]):
    """A float64 array that tallies the operations that meet it; their results are such arrays.

    Attributes:
        tally: Where all of them count, of the class: the phase in hand.
        kind: What its elements are known to be. Only :func:`counted` says so: the result of an
            operation is ``"real"``.
    """

    tally: ClassVar[Tally] = Tally()
    kind: Kind

    def __array_finalize__(self, template: Any) -> None:
        """A view of an array is of its kind."""
        self.kind = getattr(template, "kind", "real")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Compute on plain arrays, and tally.

        Raises:
            TypeError: If there is no rule for the operation: nothing passes uncounted.
        """
        plain = [x.view(np.ndarray) if isinstance(x, CountedArray) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        tally = CountedArray.tally
        if ufunc is np.matmul and method == "__call__":
            products = math.prod(result.shape) * inputs[0].shape[-1]
            _count_products(tally, inputs, products)
            tally.additions += products
        elif ufunc is np.add and method == "reduce":
            tally.additions += plain[0].size
        elif method != "__call__":
            raise TypeError(f"no rule to count {ufunc.__name__}.{method}")
        elif ufunc in _MULTIPLICATIONS:
            _count_products(tally, inputs, result.size)
        elif ufunc in _ADDITIONS:
            tally.additions += result.size
        elif ufunc in _SELECTS:
            tally.selects += result.size
        elif ufunc not in _FREE:
            raise TypeError(f"no rule to count {ufunc.__name__}")
        if isinstance(result, tuple):
            return tuple(counted(part) for part in result)
        return counted(result)


def _count_products(tally: Tally, operands: tuple[Any, ...], products: int) -> None:
    """Count products by what their operands are known to be."""
    kinds = {_kind(operand) for operand in operands}
    if "ternary" in kinds:
        tally.selects += products
    elif "power" in kinds:
        tally.shifts += products
    else:
        tally.multiplications += products


def _kind(operand: object) -> Kind:
    if isinstance(operand, CountedArray):
        return operand.kind
    if isinstance(operand, float | int) and abs(math.frexp(operand)[0]) == 0.5:
        return "power"
    return "real"


def counted(values: npt.ArrayLike, kind: Kind = "real") -> CountedArray:
    """Return values as an array that counts.

    Raises:
        ValueError: If they are not of the kind.
    """
    array = np.array(values, np.float64)
    if kind == "ternary" and not np.isin(array, (-1, 0, 1)).all():
        raise ValueError("values other than -1, 0 and 1 are not ternary")
    if kind == "power" and not np.isin(np.abs(np.frexp(array)[0]), (0, 0.5)).all():
        raise ValueError("values other than 0 and powers of two are not powers of two")
    result = array.view(CountedArray)
    result.kind = kind
    return result


class PublishedNetwork:
    """A network of the paper: rectified linear units, squared hinge loss, one step a minibatch.

    Weights are in units of the paper's scale, so that they lie in -1 .. 1.

    Attributes:
        weights: By layer, shape (inputs, units).
        biases: By layer, shape (units,); with batch normalization its ``beta``.
        gains: By layer, shape (units,): ``gamma`` of batch normalization.
        drawn: By layer, the weights that the last step computed with.
    """

    def __init__(
        self,
        layers: tuple[int, ...],
        *,
        few_multiplications: bool,
        batch_norm: bool,
        rate: float = 0.3,
        seed: int = 1,
    ) -> None:
        """Start at random weights.

        Args:
            layers: Sizes, inputs first, classes last.
            few_multiplications: Ternary connect and quantized back propagation.
            batch_norm: Batch normalization after every layer, also the last.
            rate: Learning rate; the loss is the mean over the minibatch.
            seed: Of weights and draws.
        """
        self._rng = np.random.default_rng(seed)
        self._few, self._batch_norm, self._rate = few_multiplications, batch_norm, rate
        self.weights: list[Array] = [
            counted(self._rng.uniform(-1, 1, (inputs, units)))
            for inputs, units in itertools.pairwise(layers)
        ]
        self.biases: list[Array] = [counted(np.zeros(units)) for units in layers[1:]]
        self.gains: list[Array] = [counted(np.ones(units)) for units in layers[1:]]
        self.drawn: list[Array] = []

    def _ternary(self, weights: Array) -> Array:
        """Draw each weight: its sign with the probability of its magnitude, else 0."""
        hit = self._rng.random(weights.shape) < np.absolute(weights)
        return counted(np.sign(weights) * counted(hit, "ternary"), "ternary")

    def _power_of_two(self, x: Array) -> Array:
        """Round each to one of the powers of two around it, at random and without bias; 0 stays."""
        mantissa, exponent = np.frexp(np.absolute(x))  # in 0.5 .. 1
        up = self._rng.random(x.shape) < mantissa * 2.0 - 1.0
        power = np.ldexp(1.0, (exponent - 1.0 + up).astype(np.int64))
        return counted(np.sign(x) * counted(power, "power"), "power")

    def step(self, images: Array, labels: npt.NDArray[np.integer]) -> dict[Phase, Tally]:
        """Learn from one minibatch; return what was done, by phase.

        Args:
            images: Shape (samples, inputs).
            labels: Classes, shape (samples,).
        """
        tallies = {phase: Tally() for phase in PHASES}
        rate, depth = self._rate / len(labels), len(self.weights)

        CountedArray.tally = tallies["forward"]
        self.drawn = [self._ternary(w) if self._few else w for w in self.weights]
        inputs: list[Array] = [counted(images)]
        norms = []
        for layer in range(depth):
            z = inputs[layer] @ self.drawn[layer]
            if self._batch_norm:
                norms.append(_BatchNorm(z, self.gains[layer]))
                z = norms[layer].output
            z = z + self.biases[layer]
            inputs.append(np.maximum(z, 0.0) if layer < depth - 1 else z)

        CountedArray.tally = tallies["loss"]
        target = counted(2.0 * np.eye(z.shape[1])[labels] - 1.0, "ternary")
        delta = 2.0 * (target * np.maximum(1.0 - target * z, 0.0))

        for layer in range(depth - 1, -1, -1):
            CountedArray.tally = tallies["backward"]
            slope = np.ones(z.shape) if layer == depth - 1 else inputs[layer + 1] > 0.0
            delta = delta * counted(slope)
            shift = delta  # the gradient of what is added last: bias, or beta
            if self._batch_norm:
                delta, gain = norms[layer].backward(delta)
            below = delta @ self.drawn[layer].T

            CountedArray.tally = tallies["update"]
            x = self._power_of_two(inputs[layer]) if self._few else inputs[layer]
            weights = self.weights[layer] + x.T @ (rate * delta)
            self.weights[layer] = np.minimum(np.maximum(weights, -1.0), 1.0)
            self.biases[layer] = self.biases[layer] + (rate * shift).sum(0)
            if self._batch_norm:
                self.gains[layer] = self.gains[layer] + rate * gain
            delta = below
        return tallies


class _BatchNorm:
    """Batch normalization of one layer for one minibatch, as in Ioffe and Szegedy (1502.03167).

    Forward it takes 3 multiplications for each unit of each sample, and 3 for each unit; backward
    6 and 5, because their equation for the gradient of the mean is left as it is printed.
    """

    EPSILON = 1e-4

    def __init__(self, z: Array, gain: Array) -> None:
        self._gain, self._mean_of = gain, 1.0 / len(z)
        self._centred = z - z.sum(0) * self._mean_of
        variance = (self._centred * self._centred).sum(0) * self._mean_of
        self._scale = np.reciprocal(np.sqrt(variance + self.EPSILON))
        self._normal = self._centred * self._scale
        self.output = gain * self._normal

    def backward(self, delta: Array) -> tuple[Array, Array]:
        """Return the deltas of the sums and of the gain."""
        gain = (delta * self._normal).sum(0)
        normal = delta * self._gain
        cube = self._scale * self._scale * self._scale
        variance = (normal * self._centred).sum(0) * cube * -0.5
        mean = (normal * -self._scale).sum(0)
        two = 2.0 * self._mean_of
        delta = normal * self._scale + self._centred * (variance * two) + mean * self._mean_of
        return delta, gain


def count_published(
    layers: tuple[int, ...], *, few_multiplications: bool, batch_norm: bool
) -> dict[Phase, Tally]:
    """Execute one step of a minibatch of 200 and return what was done, by phase.

    The images are noise: what is done does not depend on them.
    """
    rng = np.random.default_rng(0)
    images = rng.normal(size=(PAPER_BATCH, layers[0]))
    labels = rng.integers(0, layers[-1], PAPER_BATCH)
    network = PublishedNetwork(
        layers, few_multiplications=few_multiplications, batch_norm=batch_norm
    )
    return network.step(images, labels)
