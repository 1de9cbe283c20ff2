"""Where golden model and gateware meet: simulators, lockstep, reports, the command line."""
