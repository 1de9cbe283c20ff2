"""What ``nomul generate`` writes beside the Verilog text: everything that a design needs of it."""
