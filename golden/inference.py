"""Inference: four ways to ask a trained network, none with a multiplier (contract, section 13).

``sampled`` adds up forward passes like those of training. The other rules have weights that no
random bit touches: these are made once for many samples, and what is left is one kernel.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from golden.accumulate import accumulate
from golden.connect import binary, ternary
from golden.jit import jit, unit
from golden.loss import argmax
from golden.online import Scratch, forward, list_pixels, list_units, predict
from golden.parameters import Parameters
from golden.plan import Int64Array, Plan
from golden.quantize import nearest
from golden.rounding import rounding
from golden.state import State

Rule = Literal["sampled", "thresholded", "exact", "pow2"]

#: The rules by name.
RULES: tuple[Rule, ...] = get_args(Rule)


class FixedPass(NamedTuple):
    """A forward pass without random bits, ready for many samples.

    Attributes:
        drawn: ``T``, int16, shape (``Layout.rows``, P), ``g`` fraction bits.
        biases: ``(b << g) >> fb``, shape (``Layout.block_rows``, P), ``g`` fraction bits; int32 if
            no sum of the pass can exceed that, else int64.
        shifts: ``s_l + g`` of each layer, int64, shape (L,).
        round_inputs: Whether a layer's inputs are rounded to powers of two first.
        scratch: Where the kernel works; its sums have the type of ``biases``.
    """

    drawn: npt.NDArray[np.int16]
    biases: npt.NDArray[np.int32] | Int64Array
    shifts: Int64Array
    round_inputs: bool
    scratch: Scratch

    @classmethod
    def of(cls, parameters: Parameters, state: State, rule: Rule, scratch: Scratch) -> "FixedPass":
        """Make the weights of a rule; ``scratch`` lends its lists.

        The rule ``sampled`` is meant for networks of which :func:`draws_at_random` is false.
        """
        p = parameters
        if rule == "sampled":
            # K equal passes, and K times a logit is the largest where the logit is.
            rule = "exact" if p.connect == "none" else "thresholded"
        weights = state.weights.astype(np.int16, copy=False)
        if rule == "thresholded":
            g = p.draw_steps - 1
            drawn = np.empty_like(weights)
            _threshold(weights, p.connect == "binary", p.weight_fraction_bits, g, drawn)
        else:
            g = p.weight_fraction_bits
            drawn = weights
        # 2**A, one more than the largest activation, is what pow2 rounds it to.
        largest = max(p.layers[:-1]) << p.activation_bits << g
        largest += (p.bias_max << g >> p.bias_fraction_bits) + 1
        biases: npt.NDArray[np.int32] | Int64Array = state.biases << g >> p.bias_fraction_bits
        if largest < 1 << 31:
            biases = biases.astype(np.int32)
        return cls(
            drawn=drawn,
            biases=biases,
            shifts=np.array([shift + g for shift in p.activation_shifts], np.int64),
            round_inputs=rule == "pow2",
            scratch=scratch._replace(sums=np.zeros(scratch.sums.shape, biases.dtype)),
        )


def draws_at_random(parameters: Parameters) -> bool:
    """Return whether the network's forward pass takes words of DRAW (section 6)."""
    return parameters.draw == "stochastic" and parameters.connect != "none"


@jit
def _threshold(
    weights: npt.NDArray[np.int16],
    binary_connect: bool,
    fraction_bits: int,
    draw_fraction_bits: int,
    drawn: npt.NDArray[np.int16],
) -> None:
    """Draw every weight by the deterministic rule (section 5)."""
    shift = fraction_bits + 1 if binary_connect else fraction_bits - draw_fraction_bits
    r = rounding(0, 0, shift)
    rows, lanes = weights.shape
    for row in range(rows):
        for lane in range(lanes):
            weight = int(weights[row, lane])
            if binary_connect:
                drawn[row, lane] = binary(weight, r, fraction_bits)
            else:
                drawn[row, lane] = ternary(weight, r, shift)


@unit
def _predict_fixed(
    plan: Plan,
    fixed: FixedPass,
    dropout: npt.NDArray[np.uint64],
    pixels: npt.NDArray[np.uint16],
    predictions: Int64Array,
) -> None:
    """Predict each sample from one fixed pass; takes no word of ``dropout``."""
    lanes, drawn, biases, scratch = plan.lanes, fixed.drawn, fixed.biases, fixed.scratch
    sums, list_index, list_value = scratch.sums, scratch.list_index, scratch.list_value
    values = np.empty(len(list_value), np.int64)
    for sample in range(len(pixels)):
        list_pixels(plan, pixels[sample], False, dropout, scratch)
        for layer in range(len(plan.blocks)):
            base = plan.list_base[layer]
            end = base + scratch.list_count[layer]
            for entry in range(base, end):
                value = int(list_value[entry])
                values[entry] = 1 << nearest(value) if fixed.round_inputs else value
            for block in range(plan.blocks[layer]):
                block_row = plan.block_base[layer] + block
                first_row = plan.row_base[layer] + block * plan.sizes[layer]
                for lane in range(lanes):
                    sums[block, lane] = biases[block_row, lane]
                for entry in range(base, end):
                    row = first_row + list_index[entry]
                    value = values[entry]
                    for lane in range(lanes):
                        sums[block, lane] = accumulate(sums[block, lane], drawn[row, lane], value)
            if layer + 1 < len(plan.blocks):
                list_units(plan, layer, fixed.shifts[layer], scratch)
        predictions[sample] = predict(plan, scratch)


# A kernel has one combination of argument types: hence two of the same code.


@jit
def predict_fixed_narrow(
    plan: Plan,
    fixed: FixedPass,
    dropout: npt.NDArray[np.uint64],
    pixels: npt.NDArray[np.uint16],
    predictions: Int64Array,
) -> None:
    """Predict each sample from one fixed pass with int32 sums."""
    _predict_fixed(plan, fixed, dropout, pixels, predictions)


@jit
def predict_fixed_wide(
    plan: Plan,
    fixed: FixedPass,
    dropout: npt.NDArray[np.uint64],
    pixels: npt.NDArray[np.uint16],
    predictions: Int64Array,
) -> None:
    """Predict each sample from one fixed pass with int64 sums."""
    _predict_fixed(plan, fixed, dropout, pixels, predictions)


@jit
def predict_sampled(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    draws: int,
    scratch: Scratch,
    pixels: npt.NDArray[np.uint16],
    predictions: Int64Array,
) -> None:
    """Predict each sample from the sums of ``draws`` passes; leave ``draw`` as it is."""
    source = np.empty_like(draw)
    total = np.empty(plan.sizes[-1], np.int64)
    for sample in range(len(pixels)):
        source[:] = draw
        total[:] = 0
        # Every pass lists anew all but the pixels.
        list_pixels(plan, pixels[sample], False, source, scratch)
        for _ in range(draws):
            forward(plan, weights, biases, source, scratch)
            total += scratch.sums.reshape(-1)[: plan.sizes[-1]]
        predictions[sample] = argmax(total)
