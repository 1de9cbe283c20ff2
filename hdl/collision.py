"""Memories that are read and written at the same row in the same clock only where nobody looks.

Amaranth's read port then gives the old word. Block RAMs of many families do not, and a synthesis
tool puts a comparator and a multiplexer behind each of them, in the trainer's slowest path. The
trainer never uses the word of such a clock (``docs/architecture.md``, section 2, says why for each
memory); Yosys takes its memories as they are, by this attribute.
"""

#: Attributes of such a memory, in the Verilog text.
UNUSED_ON_COLLISION = {"no_rw_check": 1}
