"""What the commands do, one module each; :mod:`sim.cli` says how they are called."""
