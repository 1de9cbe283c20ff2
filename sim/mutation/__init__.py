"""A mutation score for the lockstep: faults by the hundred in the gateware's netlist."""
