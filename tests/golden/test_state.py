"""The state: initial values of section 4, memory order of section 3, copies and digests."""

import dataclasses
import hashlib

import numpy as np
import pytest

from golden import Parameters
from golden.layout import Layout
from golden.random_source import next_state, seeded_states
from golden.state import State
from tests.configurations import random_parameters

FIELDS = [field.name for field in dataclasses.fields(State)]


@pytest.mark.parametrize("seed", range(10))
def test_initial_weights_follow_the_weight_source(seed: int) -> None:
    p = random_parameters(seed)
    layout = Layout.of(p)
    state = State.initial(p)
    word = seeded_states(p.weight_seed, 1, 32)[0]
    expected = np.zeros((layout.rows, p.lanes), np.int16)
    for layer, (inputs, units) in enumerate(zip(p.layers, p.layers[1:], strict=False)):
        for block in range(layout.blocks[layer]):
            for j in range(inputs):
                for lane in range(min(p.lanes, units - block * p.lanes)):
                    signed = int(np.uint32(word).astype(np.int32))
                    weight = signed // 2 ** (31 - p.weight_fraction_bits)
                    row = layout.row_base[layer] + block * inputs + j
                    expected[row, lane] = max(weight, -p.weight_max)
                    word = np.uint64(next_state(word, 32))
    assert (state.weights == expected).all()
    assert not state.biases.any()
    assert (state.draw == seeded_states(p.draw_seed, p.random_sources, p.random_width)).all()
    assert (state.update == seeded_states(p.update_seed, p.random_sources, p.random_width)).all()
    assert (state.dropout == seeded_states(p.dropout_seed, 1, p.random_width)).all()
    state.check(p)


def test_initial_weights_are_uniform() -> None:
    weights = State.initial(Parameters.named("mnist-small")).weights
    values, counts = np.unique(weights[: 4 * 784], return_counts=True)
    assert values.tolist() == list(range(-127, 128))
    # -127 stands for two of the 256 equally likely values.
    mean = 4 * 784 * 64 / 256
    assert abs(counts[0] - 2 * mean) < 6 * (2 * mean) ** 0.5
    assert (np.abs(counts[1:] - mean) < 6 * mean**0.5).all()


@pytest.mark.parametrize("field", FIELDS)
def test_one_bit_changes_equality_and_digest(field: str) -> None:
    state = State.initial(random_parameters(1))
    other = state.copy()
    assert other == state
    assert other.digest() == state.digest()
    array = getattr(other, field)
    array.flat[array.size - 1] ^= array.dtype.type(1)
    assert other != state
    assert other.digest() != state.digest()
    array.flat[array.size - 1] ^= array.dtype.type(1)
    assert other == state


def test_copy_shares_no_memory() -> None:
    state = State.initial(random_parameters(2))
    copy = state.copy()
    for field in FIELDS:
        assert not np.shares_memory(getattr(state, field), getattr(copy, field))


def test_digest_is_over_64_bit_little_endian_words() -> None:
    state = State.initial(random_parameters(3))
    words = [int(word) for field in FIELDS for word in getattr(state, field).flat]
    data = b"".join((word % 2**64).to_bytes(8, "little") for word in words)
    assert state.digest() == hashlib.sha256(data).hexdigest()


def test_states_of_different_shape_differ() -> None:
    state = State.initial(random_parameters(4))
    longer = state.copy()
    longer.weights = np.concatenate([longer.weights, longer.weights[:1]])
    assert longer != state
    assert state != "a state"


@pytest.mark.parametrize("field", FIELDS)
def test_check_names_the_array_at_fault(field: str) -> None:
    p = random_parameters(5)
    for fault in (lambda array: array[:0], lambda array: array.astype(np.float32)):
        state = State.initial(p)
        setattr(state, field, fault(getattr(state, field)))
        with pytest.raises(ValueError, match=rf"^state\.{field} must be u?int\d\d of shape "):
            state.check(p)


def test_check_wants_contiguous_writable_arrays() -> None:
    p = random_parameters(5)
    state = State.initial(p)
    state.weights = np.asfortranarray(state.weights)
    with pytest.raises(ValueError, match=r"^state\.weights must be contiguous and writable"):
        state.check(p)
    state = State.initial(p)
    state.draw.flags.writeable = False
    with pytest.raises(ValueError, match=r"^state\.draw must be contiguous and writable"):
        state.check(p)
