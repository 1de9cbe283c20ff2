"""What the units must do, as properties that a solver proves for all inputs.

A bench holds a unit as it ships, assumptions on its inputs, and claims on what it does. Claims are
written from the contract (``docs/arithmetic.md``, ``docs/architecture.md``) with plain arithmetic,
products included; ``hdl.formal.proofs`` lists them, ``nomul formal`` proves them.
"""
