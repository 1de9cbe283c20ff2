"""Random small networks and samples: one seed, one network."""

import random
from typing import Any

import numpy as np
import numpy.typing as npt

from golden import Parameters
from golden.clocked import EXACT, SAMPLED, THRESHOLDED


def gateware_parameters(seed: int) -> Parameters:
    """Return a random network of 1 to 4 layers of at most 40 units, as the gateware can train it.

    All options of the gateware occur; scales are drawn around those with which a network learns,
    so that most activations and deltas neither vanish nor saturate.
    """
    rng = random.Random(seed)
    depth = rng.randint(1, 4)
    # Few classes are drawn often: their margins hold now and then, which skips the backward pass.
    layers = (
        *(1 if rng.random() < 0.1 else rng.randint(2, 40) for _ in range(depth)),
        rng.choice((1, 2, 2, 3, rng.randint(4, 40), rng.randint(4, 40))),
    )
    lanes = rng.choice((1, 2, 3, 4, 5, 8, 13, 16, 32))
    weight_bits = rng.randint(4, 16)
    activation_bits = rng.choice((2, 4, 8, 8, 8, 12, 16))
    output_delta_bits = rng.randint(4, 16)
    hidden_delta_bits = rng.randint(4, 16)
    margin_bits = rng.randint(1, output_delta_bits - 1)
    connect = rng.choice(("ternary", "ternary", "binary"))
    draw_steps = rng.randint(1, 2) if connect == "ternary" else 1
    drawn_away = weight_bits if connect == "binary" else weight_bits - draw_steps
    random_width = rng.choice((16, 32, 64))
    quantizer = rng.choice(("nearest", "stochastic"))
    taken = activation_bits - 1 if quantizer == "stochastic" else 0
    spread = [(size.bit_length() + 1) // 2 for size in layers[:-1]]
    logit_shift = activation_bits + spread[-1] - margin_bits
    update_shifts = tuple(
        rng.randint(0, 6) + (output_delta_bits if layer == depth - 1 else hidden_delta_bits)
        for layer in range(depth)
    )
    return Parameters(
        layers=layers,
        lanes=lanes,
        pixels_per_beat=rng.choice((1, 2, 3, 4, 8, 16)),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        output_delta_bits=output_delta_bits,
        hidden_delta_bits=hidden_delta_bits,
        bias_bits=rng.randint(8, 32),
        bias_fraction_bits=rng.randint(draw_steps - 1, 16),
        activation_shifts=(
            *(max(0, rng.randint(-1, 1) + bits) for bits in spread[:-1]),
            max(0, logit_shift + rng.randint(-5, 1)),
        ),
        delta_shifts=tuple(rng.randint(0, 4) for _ in range(depth - 1)),
        update_shifts=update_shifts,
        bias_shift=rng.randint(0, min(update_shifts)),
        margin_bits=margin_bits,
        connect=connect,
        draw=rng.choice(("stochastic", "stochastic", "stochastic", "deterministic")),
        draw_bits=rng.randint(1, min(drawn_away, random_width)),
        draw_steps=draw_steps,
        quantizer=quantizer,
        update_bits=rng.randint(1, min(16, random_width - taken)),
        random_sources=rng.choice((1, lanes, rng.randint(1, lanes))),
        random_width=random_width,
        schedule=tuple(sorted(rng.sample(range(1, 30), rng.randint(0, 4)))),
        draw_seed=rng.randrange(2**62),
        update_seed=rng.randrange(2**62, 2**63),
        weight_seed=rng.randrange(2**63),
        input_dropout_bits=rng.choice((0, 0, 0, 1, 2, 8)),
        dropout_seed=rng.randrange(2**63),
        inference=rng.choice(("drawn", "exact")),
    )


def random_parameters(seed: int) -> Parameters:
    """Return :func:`gateware_parameters` with the options of the golden model for online training.

    Each is off in most networks.
    """
    rng = random.Random(f"golden model only, {seed}")
    p = gateware_parameters(seed)
    min_exponent = rng.choice((0, 0, 0, rng.randint(1, p.activation_bits)))
    changes: dict[str, Any] = {
        "min_exponent": min_exponent,
        "max_exponent": rng.choice((16, 16, 16, rng.randint(min_exponent, p.activation_bits))),
    }
    if rng.random() < 0.15:
        changes |= {"connect": "none", "draw_steps": 1}
    if rng.random() < 0.15:
        changes["quantizer"] = "none"
    return p.replace(**changes)


def minibatch_parameters(seed: int) -> Parameters:
    """Return a random network that learns in batches of 2 to 128, by all of section 11."""
    rng = random.Random(f"minibatch {seed}")
    p = random_parameters(seed)
    batch_bits = rng.choice((1, 1, 2, 3, 4, 5, 6, 7))
    connect = rng.choice((p.connect, p.connect, "none"))
    min_exponent = rng.choice((0, 0, rng.randint(0, p.activation_bits)))
    return p.replace(
        connect=connect,
        draw_steps=1 if connect == "none" else p.draw_steps,
        quantizer=rng.choice((p.quantizer, p.quantizer, "none")),
        min_exponent=min_exponent,
        max_exponent=rng.choice((16, 16, rng.randint(min_exponent, 16))),
        update_shifts=tuple(min(31, k + batch_bits) for k in p.update_shifts),
        batch_bits=batch_bits,
    )


def random_samples(
    parameters: Parameters, seed: int, n: int
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """Return ``n`` random images, dense, sparse and blank ones, and labels.

    Returns:
        Pixels, uint16, shape (n, n_0), and labels, int64, shape (n,).
    """
    rng = np.random.default_rng(seed)
    shape = (n, parameters.layers[0])
    pixels = rng.integers(0, parameters.activation_max, shape, np.uint16, endpoint=True)
    density = rng.choice([0.0, 0.1, 0.5, 1.0], (n, 1), p=[0.1, 0.2, 0.4, 0.3])
    pixels[rng.random(shape) >= density] = 0
    return pixels, rng.integers(0, parameters.layers[-1], n)


def random_rules(
    parameters: Parameters, seed: int, n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rule and the number of draws of ``n`` samples, both int64, shape (n,)."""
    rng = np.random.default_rng(seed)
    rules = [SAMPLED, THRESHOLDED, *([EXACT] if parameters.inference == "exact" else [])]
    return rng.choice(rules, n), rng.choice([1, 1, 2, 3, 5], n)
