"""All golden models on the same samples: SHA-256 of all state after 1, 2, 10 and 100 of them."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from golden.clocked import Clocked, transfers
from golden.network import Network
from golden.oracle import Oracle
from golden.parameters import Parameters
from golden.state import State
from tests.configurations import gateware_parameters, random_samples
from tests.uncompiled import run_uncompiled

SEEDS = range(200, 220)
STOPS = (1, 2, 10, 100)


Part = tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64], int]


def parts(parameters: Parameters, seed: int) -> Iterator[Part]:
    """Yield pixels, labels and rate shift of the samples from one stop to the next."""
    pixels, labels = random_samples(parameters, seed, STOPS[-1])
    for first, stop in itertools.pairwise((0, *STOPS)):
        yield pixels[first:stop], labels[first:stop], stop % (parameters.max_rate_shift + 1)


def functional(parameters: Parameters, seed: int) -> list[str]:
    """Return the functional model's digests at the stops."""
    network = Network(parameters)
    digests = []
    for pixels, labels, shift in parts(parameters, seed):
        network.train(pixels, labels, shift)
        digests.append(network.state.digest())
    return digests


def clocked(parameters: Parameters, seed: int) -> list[str]:
    machine = Clocked(parameters, State.initial(parameters))
    digests = []
    for pixels, labels, shift in parts(parameters, seed):
        machine.feed(transfers(parameters, pixels, labels, True, shift))
        machine.clocks_until_idle()
        digests.append(machine.state.digest())
    return digests


def naive(parameters: Parameters, seed: int) -> list[str]:
    oracle = Oracle(parameters)
    digests = []
    for pixels, labels, shift in parts(parameters, seed):
        for image, label in zip(pixels.tolist(), labels.tolist(), strict=True):
            oracle.sample(image, label, True, shift)
        digests.append(oracle.digest())
    return digests


@pytest.fixture(scope="module")
def uncompiled() -> list[list[str]]:
    """Return the functional model's digests of every seed with the compiler disabled."""
    program = (
        "from tests.configurations import gateware_parameters\n"
        "from tests.golden.test_agreement import SEEDS, functional\n"
        "for seed in SEEDS: print(*functional(gateware_parameters(seed), seed))\n"
    )
    return [line.split() for line in run_uncompiled(program).splitlines()]


@pytest.mark.parametrize("seed", SEEDS)
def test_all_golden_models_agree(seed: int, uncompiled: list[list[str]]) -> None:
    p = gateware_parameters(seed)
    digests = functional(p, seed)
    assert digests[0] != digests[-1]
    assert naive(p, seed) == digests
    assert clocked(p, seed) == digests
    assert uncompiled[SEEDS.index(seed)] == digests
