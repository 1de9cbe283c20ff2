"""Experiments: studies of the method and of its number formats, and the float reference."""
