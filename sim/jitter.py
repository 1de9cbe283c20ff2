"""Jitter: images that are moved by a pixel at random, anew in each epoch.

It changes what is streamed, not the network: whoever feeds the gateware can do the same.
"""

import math

import numpy as np

from sim.data import Pixels


def check_square(inputs: int) -> int:
    """Return the side of a square image.

    Raises:
        ValueError: If ``inputs`` pixels are no square.
    """
    side = math.isqrt(inputs)
    if side * side != inputs:
        raise ValueError(f"--jitter moves square images, and {inputs} inputs are no square")
    return side


def jittered(pixels: Pixels, seed: int, epoch: int) -> Pixels:
    """Move half of the images by one pixel: up, down, left or right, an eighth of them each.

    What leaves the image is lost, what comes in is 0.

    Args:
        pixels: uint16, shape (images, pixels), rows of square images one after the other.
        seed: Any number from 0.
        epoch: From 0; the same epoch moves the same images again.

    Returns:
        uint16, of the same shape.

    Raises:
        ValueError: If the images are not square.
    """
    side = check_square(pixels.shape[1])
    images = pixels.reshape(-1, side, side)
    moved = images.copy()
    # Raw words of the generator: what is made of them may change between versions of NumPy.
    words = np.random.PCG64([seed, epoch]).random_raw(len(images))
    towards = np.asarray(words) >> np.uint64(61)
    here, there = slice(None, -1), slice(1, None)
    for direction, (axis, target, source) in enumerate(
        ((1, here, there), (1, there, here), (2, here, there), (2, there, here))
    ):
        chosen = towards == direction
        image = np.zeros_like(images[chosen])
        if axis == 1:
            image[:, target] = images[chosen][:, source]
        else:
            image[:, :, target] = images[chosen][:, :, source]
        moved[chosen] = image
    return moved.reshape(pixels.shape)
