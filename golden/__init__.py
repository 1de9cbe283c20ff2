"""What every bit must be: the fixed-point golden model of the multiplier-free trainer.

The package holds integers only. It knows nothing of gateware or simulators; ``docs/arithmetic.md``
is the contract that it implements.
"""

from golden.parameters import ParameterError, Parameters

__all__ = ["ParameterError", "Parameters"]
