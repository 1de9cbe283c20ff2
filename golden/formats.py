"""Number formats: widths of sums, derived from the layer sizes and never typed in.

Every bound below is the largest magnitude that the contract (``docs/arithmetic.md``) can reach, so
a signed format of :func:`signed_bits` of the bound can never overflow.
"""

from dataclasses import dataclass
from typing import Self

from golden.parameters import Parameters

#: Bits of the sample stream's field ``extra_draws``, draws of sampled inference beyond the first.
EXTRA_DRAWS_BITS = 8


def signed_bits(bound: int) -> int:
    """Return the bits of the smallest signed format that holds ``-bound .. bound``."""
    return bound.bit_length() + 1


def unsigned_bits(bound: int) -> int:
    """Return the bits of the smallest unsigned format that holds ``0 .. bound``; at least 1."""
    return max(1, bound.bit_length())


def fixed(value: int, fraction_bits: int) -> str:
    """Print an integer with its fixed-point reading, such as ``-96 (-0.75)``."""
    if fraction_bits == 0:
        return str(value)
    return f"{value} ({value / (1 << fraction_bits):g})"


@dataclass(frozen=True)
class Formats:
    """Widths of the trainer's sums, in bits, signed unless said.

    Attributes:
        sum_bits: Accumulator and ``z``, ``g`` fraction bits (contract, section 6).
        accumulator_bits: The gateware's accumulator: ``z`` with ``f`` fraction bits, or a sum on
            the way to it (``docs/architecture.md``, sections 1 and 6).
        value_bits: Unsigned input as the gateware accumulates it, shifted by ``f - g`` or to the
            place of a plane.
        logit_sum_bits: Sum of ``z_L`` over all passes of sampled inference, ``f`` fraction bits.
        logit_bits: ``o = z >> (s_L + g)`` of the output layer.
        product_bits: One lane's ``T * d`` in the backward pass, ``g`` fraction bits.
        partial_bits: Backward sum ``p`` of a column over all units of a layer, ``g`` fraction bits.
        exponent_bits: Unsigned exponent ``e`` of the quantizer, ``0 .. A``.
        increment_bits: Weight increment ``((d << e) + r) >> K``.
        bias_increment_bits: Bias increment ``(d + half) >> (kb + sh)``.
        delta_bits: A delta memory word: the wider of output and hidden delta.
        gradient_bits: Golden model only: ``G``, the sum over a minibatch of delta times quantized
            input (contract, section 12).
    """

    sum_bits: int
    accumulator_bits: int
    value_bits: int
    logit_sum_bits: int
    logit_bits: int
    product_bits: int
    partial_bits: int
    exponent_bits: int
    increment_bits: int
    bias_increment_bits: int
    delta_bits: int
    gradient_bits: int

    @classmethod
    def of(cls, parameters: Parameters) -> Self:
        """Derive the widths from the layer sizes and the operand widths."""
        p = parameters
        g = p.draw_fraction_bits
        f = p.accumulator_fraction_bits

        def largest_sums(fraction_bits: int) -> list[int]:
            # The bias term of a sum is floor(b * 2**g / 2**fb): one LSB more than the magnitude.
            bias_term = (p.bias_max << fraction_bits >> p.bias_fraction_bits) + 1
            return [
                (size * p.activation_max << fraction_bits) + bias_term for size in p.layers[:-1]
            ]

        # The same bound holds for accumulators. With drawn weights they hold z * 2**(f-g). In the
        # rule exact an input's part so far is h times the sum of the lowest digits of W: W itself,
        # or the lowest bits of W read as a signed number (contract, section 13), fewer than all
        # F + 1 of them. Both have magnitudes of at most 2**F.
        accumulators = largest_sums(f)
        # A plane's place, and that of a drawn weight's unit.
        value_shift = max((p.planes - 1) * p.draw_steps, f - g) if f != g else 0
        delta_max = max(p.output_delta_max, p.hidden_delta_max if p.depth > 1 else 0)
        partial = 0
        for layer in range(1, p.depth):
            last = layer == p.depth - 1
            bound = p.output_delta_max if last else p.hidden_delta_max
            partial = max(partial, p.layers[layer + 1] * bound << g)
        # The largest left shift and the smallest K of any layer; + 1 for the rounding.
        weight_increment = max((delta_max << p.activation_bits >> k) + 1 for k in p.update_shifts)
        factor_max = p.activation_max
        if p.quantizer != "none":
            # The largest activation rounds up to 2**A.
            factor_max = 1 << min(p.activation_bits, p.max_exponent)
        return cls(
            sum_bits=signed_bits(max(largest_sums(g))),
            accumulator_bits=signed_bits(max(accumulators)),
            value_bits=p.activation_bits + value_shift,
            logit_sum_bits=signed_bits(accumulators[-1] << EXTRA_DRAWS_BITS),
            logit_bits=signed_bits((accumulators[-1] >> (p.activation_shifts[-1] + f)) + 1),
            product_bits=signed_bits(delta_max << g),
            partial_bits=signed_bits(partial),
            exponent_bits=unsigned_bits(p.activation_bits),
            increment_bits=signed_bits(weight_increment),
            bias_increment_bits=signed_bits((delta_max >> p.bias_shift) + 1),
            delta_bits=max(p.output_delta_bits, p.hidden_delta_bits if p.depth > 1 else 0),
            gradient_bits=signed_bits((delta_max * factor_max) << p.batch_bits),
        )
