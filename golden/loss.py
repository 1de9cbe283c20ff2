"""The squared hinge loss and the prediction (contract, section 7)."""

import numpy as np
import numpy.typing as npt

from golden.jit import unit
from golden.update import clip


@unit
def logit(total: int, shift: int) -> int:
    """Return the logit ``o`` of an output sum, no fraction bits, rounded down.

    Args:
        total: Sum ``z_L``, ``g`` fraction bits.
        shift: ``s_L + g``.
    """
    return total >> shift


@unit
def output_delta(logit: int, is_label: bool, margin: int, maximum: int) -> int:
    """Return a class's delta: the gradient of the squared hinge loss, pointing down the loss.

    Args:
        logit: ``o`` of the class.
        is_label: Whether the sample is of this class.
        margin: ``M``, in logit LSBs.
        maximum: Largest magnitude of an output delta; larger ones saturate.

    Returns:
        ``d`` in ``-maximum .. maximum``, no fraction bits: not negative for the label, not positive
        for the others, 0 once the margin holds.
    """
    delta = max(0, margin - logit) if is_label else -max(0, margin + logit)
    return clip(delta, maximum)


@unit
def argmax(sums: npt.NDArray[np.int64]) -> int:
    """Return the prediction: the lowest index of the largest of ``sums``, int64, shape (n_L,)."""
    best = 0
    for index in range(1, len(sums)):
        if sums[index] > sums[best]:
            best = index
    return best
