"""What people would build otherwise: the same trainer with multipliers, to compare with.

It is no part of the product: nothing outside of this folder uses it.
"""
