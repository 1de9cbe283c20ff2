"""Parameters and memory map as the kernels of the functional model read them."""

from itertools import accumulate as running_sums
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from golden.layout import Layout
from golden.parameters import Parameters

Int64Array = npt.NDArray[np.int64]

#: Numbers of lanes that the kernels of online training are compiled for, a fifth faster than those
#: for any number. Each takes the compiler ten seconds, once.
FIXED_LANES = (64, 128, 256)

#: Entries of value 0 behind each list: kernels take up to four entries at a time.
LIST_PADDING = 3

INT16_MAX = 2**15 - 1
INT64_MAX = 2**63 - 1


def _largest_product(p: Parameters) -> int:
    """Return the largest ``T * h``; binary connect adds up twice the larger of 0 and T."""
    drawn = 2 if p.connect == "binary" else 1 << p.draw_fraction_bits
    return drawn * p.activation_max


def _reach(p: Parameters) -> int:
    """Return the shift to the right that leaves nothing but the sign of any delta."""
    return max(p.output_delta_bits, p.hidden_delta_bits)


def fits_16_bits(parameters: Parameters) -> bool:
    """Tell whether signed 16-bit arithmetic holds all that online training does to one lane.

    That is ``W + r`` of the draw, one product ``T * h``, ``d + r`` of an update once folded
    (:func:`golden.gradient.folded`), the increment, and its sum with ``W``.
    """
    p = parameters
    if p.connect == "none" or p.quantizer == "none":
        return False
    # Binary connect adds 2**F as well, so that one rule serves both.
    one = 1 << p.weight_fraction_bits if p.connect == "binary" else 0
    draw = p.weight_max + one + (1 << p.draw_shift) - 1
    exponent = min(p.activation_bits, p.max_exponent)
    deltas = [*[p.hidden_delta_max] * (p.depth - 1), p.output_delta_max]
    # Where the power of two is larger than the step, the increment is longer than the delta.
    increment = max(
        delta << max(0, exponent - k) for delta, k in zip(deltas, p.update_shifts, strict=True)
    )
    folded = max(deltas) + (1 << _reach(p)) - 1
    return max(draw, 4 * _largest_product(p), increment + p.weight_max, folded) <= INT16_MAX


class Plan(NamedTuple):
    """Parameters and memory map as the kernels read them.

    Arrays are int64 and have one entry a layer, but ``sizes`` (one more) and ``lane_source`` (the
    source of each lane). The inputs of a layer stand at ``list_base[layer] ..`` in the arrays over
    all inputs of all layers. ``backward_shifts[0]`` is not used. ``draw_bits`` is 0 when nothing
    is drawn at random.

    With ``narrow`` the work on lanes fits 16 bits (:func:`fits_16_bits`). ``run`` is the number of
    products ``T * h`` that a lane can then add up. Rounding shifts of the update are at most
    ``reach`` bits (:func:`golden.gradient.folded`). ``fixed_lanes`` has an entry for each lane
    where kernels are compiled for that number of them, else none: Numba knows the length of a tuple
    when it compiles.
    """

    sizes: Int64Array
    blocks: Int64Array
    row_base: Int64Array
    block_base: Int64Array
    list_base: Int64Array
    forward_shifts: Int64Array
    backward_shifts: Int64Array
    update_shifts: Int64Array
    lane_source: Int64Array
    lanes: int
    fixed_lanes: tuple[int, ...]
    fraction_bits: int
    bias_fraction_bits: int
    draw_fraction_bits: int
    draw_shift: int
    draw_bits: int
    binary_connect: bool
    stochastic_quantizer: bool
    activation_bits: int
    activation_max: int
    weight_max: int
    bias_max: int
    output_delta_max: int
    hidden_delta_max: int
    margin: int
    bias_shift: int
    update_bits: int
    random_width: int
    input_dropout_bits: int
    quantizes: bool
    min_exponent: int
    max_exponent: int
    draw_offset: int
    draw_scale: int
    one_draw: bool
    narrow: bool
    run: int
    reach: int

    @classmethod
    def of(cls, parameters: Parameters) -> "Plan":
        """Derive the plan from the parameters."""
        p = parameters
        layout = Layout.of(p)
        g = p.draw_fraction_bits
        narrow = fits_16_bits(p)
        fixed = p.lanes in FIXED_LANES and p.batch_bits == 0

        def array(values: object) -> Int64Array:
            return np.array(values, np.int64)

        return cls(
            sizes=array(p.layers),
            blocks=array(layout.blocks),
            row_base=array(layout.row_base),
            block_base=array(layout.block_base),
            list_base=array([0, *running_sums(size + LIST_PADDING for size in p.layers[:-2])]),
            forward_shifts=array([shift + g for shift in p.activation_shifts]),
            backward_shifts=array([0, *(shift + g for shift in p.delta_shifts)]),
            update_shifts=array(p.update_shifts),
            lane_source=array([lane % p.random_sources for lane in range(p.lanes)]),
            lanes=p.lanes,
            fixed_lanes=(0,) * p.lanes if fixed else (),
            fraction_bits=p.weight_fraction_bits,
            bias_fraction_bits=p.bias_fraction_bits,
            draw_fraction_bits=g,
            draw_shift=p.draw_shift,
            draw_bits=p.draw_bits if p.draw == "stochastic" and p.connect != "none" else 0,
            binary_connect=p.connect == "binary",
            stochastic_quantizer=p.quantizer == "stochastic",
            activation_bits=p.activation_bits,
            activation_max=p.activation_max,
            weight_max=p.weight_max,
            bias_max=p.bias_max,
            output_delta_max=p.output_delta_max,
            hidden_delta_max=p.hidden_delta_max,
            margin=p.margin,
            bias_shift=p.bias_shift,
            update_bits=p.update_bits,
            random_width=p.random_width,
            input_dropout_bits=p.input_dropout_bits,
            quantizes=p.quantizer != "none",
            min_exponent=p.min_exponent,
            max_exponent=p.max_exponent,
            draw_offset=1 << p.weight_fraction_bits if p.connect == "binary" else 0,
            draw_scale=2 if p.connect == "binary" else 1,
            one_draw=p.random_sources == 1 or p.draw == "deterministic" or p.connect == "none",
            narrow=narrow,
            run=(INT16_MAX if narrow else INT64_MAX) // _largest_product(p) // 4 * 4,
            reach=_reach(p) if narrow else 63,
        )
