"""Rounding shifts, carries and symmetric saturation, as wires and multiplexers."""

from collections.abc import Callable, Sequence

from amaranth.hdl import *


def shift_by_layer(
    value: Value, layer: Value, shifts: Sequence[int], rounding: Callable[[int], int]
) -> Value:
    """Return ``(value + rounding(n)) >> n`` with ``n = shifts[layer]``, in full width.

    Layers share one adder; when all shifts are equal, the shift is only wires.

    Args:
        value: What is shifted, signed or unsigned.
        layer: Position in ``shifts``; one beyond the end counts as the last.
        shifts: Constant shifts, one a layer.
        rounding: The constant that is added before a shift of ``n``.
    """
    if len(set(shifts)) == 1:
        return (value + rounding(shifts[0])).shift_right(shifts[0])
    total = value + Array(Const(rounding(n)) for n in shifts)[layer]
    return Value.cast(Array(total.shift_right(n) for n in shifts)[layer])


def add_carry(a: Value, b: Value, carry: Value) -> Value:
    """Return ``a + b + carry`` of two signed values, in full width, from one adder.

    The carry is in a lowest bit of both operands, where it carries into the sum: synthesis would
    make a second adder of a third term.
    """
    return (Cat(carry, a).as_signed() + Cat(carry, b).as_signed()).shift_right(1)


def sum_is(a: Value, b: Value, constant: int) -> Value:
    """Return whether ``a + b`` of two signed values is a constant, sooner than their sum is there.

    If each bit of the sum is that of the constant, the bits also say what each place carries: it is
    enough to look at two places at a time.
    """
    width = max(len(a), len(b)) + 1
    a, b = (Cat(each, each[-1].replicate(width - len(each))) for each in (a, b))
    total = Const(constant, signed(width))
    carries = (a & b) | ((a | b) & ~total)
    return (a ^ b ^ total)[:width] == Cat(0, carries)[:width]


def saturate(value: Value, bits: int, lowest: Value | None = None) -> Value:
    """Return ``clip(value, 2**(bits-1) - 1)``, signed, ``bits`` wide (contract, section 1).

    Saturation is symmetric: ``-2**(bits-1)`` becomes ``-(2**(bits-1) - 1)`` too. It looks at bits
    instead of comparing, because a comparison costs a carry chain a lane.

    Args:
        value: Signed.
        bits: Of the result.
        lowest: Whether the value is ``-2**(bits-1)``, where that is known sooner than the value.
    """
    sign = value[-1]
    # At least one bit above the result's sign bit, so that `high` is never empty.
    wide = Cat(value, sign.replicate(max(0, bits + 1 - len(value))))
    low, high = wide[: bits - 1], wide[bits - 1 : -1]
    above = ~sign & high.any()
    below = sign & (~high.all() | (~low.any() if lowest is None else lowest))
    clipped = Mux(above, -1, Mux(below, 1, low))[: bits - 1]
    result = Cat(clipped, sign).as_signed()
    assert len(result) == bits
    return result
