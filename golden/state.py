"""All that a trainer remembers from one sample to the next (contract, sections 3, 4 and 10)."""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from golden.aligned import aligned_zeros
from golden.jit import jit
from golden.layout import Layout
from golden.parameters import Parameters
from golden.random_source import next_state, seeded_states


@jit
def _draw_initial_weights(
    weights: npt.NDArray[np.int16], units: int, fraction_bits: int, source: np.uint64
) -> np.uint64:
    """Fill the rows of one layer (inputs x blocks, P lanes); return the source's next state."""
    inputs_blocks, lanes = weights.shape
    inputs = inputs_blocks // (-(-units // lanes))
    lowest = 1 - (1 << fraction_bits)
    for row in range(inputs_blocks):
        live = min(lanes, units - row // inputs * lanes)
        for lane in range(live):
            word = int(np.int64(source))
            if word >= 1 << 31:
                word -= 1 << 32
            weights[row, lane] = max(word >> (31 - fraction_bits), lowest)
            source = next_state(source, 32)
    return source


@dataclass(eq=False)
class State:
    """Weights, biases and random sources, in memory order.

    Attributes:
        weights: int16, shape (``Layout.rows``, P), ``F`` fraction bits. Padding lanes hold 0.
        biases: int64, shape (``Layout.block_rows``, P), ``fb`` fraction bits. Padding lanes hold 0.
        draw: States of DRAW, uint64, shape (S,).
        update: States of UPDATE, uint64, shape (S,).
        dropout: State of DROPOUT, uint64, shape (1,).
    """

    weights: npt.NDArray[np.int16]
    biases: npt.NDArray[np.int64]
    draw: npt.NDArray[np.uint64]
    update: npt.NDArray[np.uint64]
    dropout: npt.NDArray[np.uint64]

    @classmethod
    def initial(cls, parameters: Parameters) -> Self:
        """Return the state before the first sample: seeded weights, zero biases (section 4)."""
        p = parameters
        layout = Layout.of(p)
        weights = aligned_zeros((layout.rows, p.lanes), np.int16)
        source = seeded_states(p.weight_seed, 1, 32)[0]
        for base, blocks, inputs, units in zip(
            layout.row_base, layout.blocks, p.layers, p.layers[1:], strict=False
        ):
            source = _draw_initial_weights(
                weights[base : base + blocks * inputs], units, p.weight_fraction_bits, source
            )
            # Compiled code returns a Python integer.
            source = np.uint64(source)
        return cls(
            weights=weights,
            biases=np.zeros((layout.block_rows, p.lanes), np.int64),
            draw=seeded_states(p.draw_seed, p.random_sources, p.random_width),
            update=seeded_states(p.update_seed, p.random_sources, p.random_width),
            dropout=seeded_states(p.dropout_seed, 1, p.random_width),
        )

    def _arrays(self) -> tuple[npt.NDArray[np.generic], ...]:
        return (self.weights, self.biases, self.draw, self.update, self.dropout)

    def copy(self) -> Self:
        """Return a state that shares no memory with this one."""
        weights = aligned_zeros(self.weights.shape, self.weights.dtype)
        weights[:] = self.weights
        return type(self)(
            weights=weights,
            biases=self.biases.copy(),
            draw=self.draw.copy(),
            update=self.update.copy(),
            dropout=self.dropout.copy(),
        )

    def check(self, parameters: Parameters) -> None:
        """Check that this can be the state of such a network.

        Raises:
            ValueError: If an array has not the shape or the dtype that it must have; one line.
        """
        p = parameters
        layout = Layout.of(p)
        for name, shape, dtype in (
            ("weights", (layout.rows, p.lanes), np.int16),
            ("biases", (layout.block_rows, p.lanes), np.int64),
            ("draw", (p.random_sources,), np.uint64),
            ("update", (p.random_sources,), np.uint64),
            ("dropout", (1,), np.uint64),
        ):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f"state.{name} must be {np.dtype(dtype)} of shape {shape}, "
                    f"not {array.dtype} of {array.shape}"
                )
            if not array.flags.carray:
                raise ValueError(f"state.{name} must be contiguous and writable: pass a copy")

    def digest(self) -> str:
        """Return the SHA-256 of every field in order, as 64-bit little-endian words."""
        digest = hashlib.sha256()
        for array in self._arrays():
            word = "<u8" if array.dtype == np.uint64 else "<i8"
            digest.update(array.astype(word).tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        """Compare every word."""
        if not isinstance(other, State):
            return NotImplemented
        pairs = zip(self._arrays(), other._arrays(), strict=True)
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)

    # A state changes, so it has no hash; typeshed knows no class without one.
    __hash__ = None  # type: ignore[assignment]
