"""What the gateware does: the multiplier-free trainer in Amaranth.

It shares :class:`golden.Parameters` and what follows from them (formats, layout, the probe table)
with the golden model, and nothing of its arithmetic.
"""
