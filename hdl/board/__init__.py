"""Boards: the core behind a serial port, with what a board needs around it."""
