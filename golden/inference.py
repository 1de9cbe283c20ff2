"""Inference: the kernels that ask a trained network (contract, section 13)."""

import numpy as np
import numpy.typing as npt

from golden.accumulate import accumulate
from golden.jit import jit, unit
from golden.online import Scratch, forward, list_pixels, list_units, predict
from golden.plan import Int64Array, Plan


@unit
def _forward_exact(
    plan: Plan, weights: npt.NDArray[np.int16], biases: Int64Array, scratch: Scratch
) -> None:
    """Add up all layers with the weights themselves (section 11)."""
    lanes, sums = plan.lanes, scratch.sums
    for layer in range(len(plan.blocks)):
        base = plan.list_base[layer]
        for block in range(plan.blocks[layer]):
            block_row = plan.block_base[layer] + block
            first_row = plan.row_base[layer] + block * plan.sizes[layer]
            for lane in range(lanes):
                bias = biases[block_row, lane] << plan.fraction_bits
                sums[block, lane] = bias >> plan.bias_fraction_bits
            for entry in range(base, base + scratch.list_count[layer]):
                row = first_row + scratch.list_index[entry]
                value = scratch.list_value[entry]
                for lane in range(lanes):
                    sums[block, lane] = accumulate(sums[block, lane], weights[row, lane], value)
        if layer + 1 < len(plan.blocks):
            list_units(plan, layer, plan.exact_shifts[layer], scratch)


@jit
def evaluate(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    draw: npt.NDArray[np.uint64],
    scratch: Scratch,
    pixels: npt.NDArray[np.uint16],
    predictions: Int64Array,
) -> None:
    """Predict each sample from one draw."""
    for sample in range(len(pixels)):
        # DRAW is restored after every evaluation sample (section 10).
        draw_copy = draw.copy()
        list_pixels(plan, pixels[sample], False, draw_copy, scratch)
        forward(plan, weights, biases, draw_copy, scratch)
        predictions[sample] = predict(plan, scratch)


@jit
def infer_exact(
    plan: Plan,
    weights: npt.NDArray[np.int16],
    biases: Int64Array,
    no_source: npt.NDArray[np.uint64],
    scratch: Scratch,
    pixels: npt.NDArray[np.uint16],
    predictions: Int64Array,
) -> None:
    """Predict each sample from the weights themselves."""
    for sample in range(len(pixels)):
        list_pixels(plan, pixels[sample], False, no_source, scratch)
        _forward_exact(plan, weights, biases, scratch)
        predictions[sample] = predict(plan, scratch)
