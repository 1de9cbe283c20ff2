"""What flows through a trained network: the inputs of every layer, and how large they are."""

import numpy as np
import numpy.typing as npt

from golden.layout import Layout
from golden.parameters import Parameters
from golden.state import State

Int64Array = npt.NDArray[np.int64]


def dense_weights(parameters: Parameters, state: State) -> list[Int64Array]:
    """Return the weights of each layer as a matrix, int64, shape (n_l, n_(l-1)), without padding.

    Contract, section 3.
    """
    layout, lanes = Layout.of(parameters), parameters.lanes
    matrices = []
    for layer, (inputs, units) in enumerate(
        zip(parameters.layers, parameters.layers[1:], strict=False)
    ):
        first, blocks = layout.row_base[layer], layout.blocks[layer]
        rows = state.weights[first : first + blocks * inputs].astype(np.int64)
        by_unit = rows.reshape(blocks, inputs, lanes).transpose(0, 2, 1).reshape(-1, inputs)
        matrices.append(by_unit[:units])
    return matrices


def exact_layers(
    parameters: Parameters, state: State, pixels: npt.NDArray[np.integer]
) -> list[Int64Array]:
    """Return the inputs of every layer, and the last sums, of exact inference.

    Contract, sections 6, 11 and 13.

    Args:
        parameters: The network's.
        state: Weights and biases.
        pixels: Integers in ``0 .. 2**A - 1``, shape (samples, n_0).

    Returns:
        ``L`` arrays of activations, int64, shape (samples, n_l) for ``l = 0..L-1``, no fraction
        bits; then ``z_L``, with ``F`` fraction bits.
    """
    p = parameters
    fraction, layout = p.weight_fraction_bits, Layout.of(p)
    values = pixels.astype(np.int64)
    if p.input_dropout_bits:
        values -= values >> p.input_dropout_bits
    layers = [values]
    for layer, weights in enumerate(dense_weights(p, state)):
        first = layout.block_base[layer]
        biases = state.biases[first : first + layout.blocks[layer]].reshape(-1)[: len(weights)]
        values = values @ weights.T + ((biases << fraction) >> p.bias_fraction_bits)
        if layer + 1 < p.depth:
            shift = p.activation_shifts[layer] + fraction
            rounded_up = (np.maximum(values, 0) + (1 << shift) - 1) >> shift
            values = np.minimum(rounded_up, p.activation_max)
        layers.append(values)
    return layers


def exponent_counts(values: Int64Array, bits: int) -> list[int]:
    """Count values by magnitude.

    Args:
        values: Integers in ``0 .. 2**bits - 1``.
        bits: Bits of a value.

    Returns:
        ``bits + 1`` counts: of zeros, then of values with ``floor(log2 x) = 0 .. bits - 1``.
    """
    powers = 1 << np.arange(bits)
    places = np.searchsorted(powers, values.reshape(-1), side="right")
    return [int(count) for count in np.bincount(places, minlength=bits + 1)]
