"""Parameters and memory map as the kernels of the functional model read them."""

from itertools import accumulate as running_sums
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from golden.layout import Layout
from golden.parameters import Parameters

Int64Array = npt.NDArray[np.int64]


class Plan(NamedTuple):
    """Parameters and memory map as the kernels read them.

    Arrays are int64 and have one entry a layer, but ``sizes`` (one more) and ``lane_source`` (the
    source of each lane). The inputs of a layer stand at ``list_base[layer] ..`` in the arrays over
    all inputs of all layers. ``backward_shifts[0]`` is not used. ``draw_bits`` is 0 when the draw
    is deterministic.
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

    @classmethod
    def of(cls, parameters: Parameters) -> "Plan":
        """Derive the plan from the parameters."""
        p = parameters
        layout = Layout.of(p)
        g = p.draw_fraction_bits

        def array(values: object) -> Int64Array:
            return np.array(values, np.int64)

        return cls(
            sizes=array(p.layers),
            blocks=array(layout.blocks),
            row_base=array(layout.row_base),
            block_base=array(layout.block_base),
            list_base=array([0, *running_sums(p.layers[:-2])]),
            forward_shifts=array([shift + g for shift in p.activation_shifts]),
            backward_shifts=array([0, *(shift + g for shift in p.delta_shifts)]),
            update_shifts=array(p.update_shifts),
            lane_source=array([lane % p.random_sources for lane in range(p.lanes)]),
            lanes=p.lanes,
            fraction_bits=p.weight_fraction_bits,
            bias_fraction_bits=p.bias_fraction_bits,
            draw_fraction_bits=g,
            draw_shift=p.draw_shift,
            draw_bits=p.draw_bits if p.draw == "stochastic" else 0,
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
        )
