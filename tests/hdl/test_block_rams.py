"""The count of block RAMs: the memories are those of the gateware, the rule is that of Yosys."""

import re

import pytest

from golden import Parameters
from golden.state import State
from hdl.block_rams import block_rams, memory_sizes
from hdl.verilog import generate
from tests.configurations import gateware_parameters


@pytest.mark.parametrize("seed", range(8))
def test_memories_are_those_of_the_gateware(seed: int) -> None:
    p = gateware_parameters(seed)
    text = generate(p, State.initial(p)).verilog
    found = re.findall(r"^  reg \[(\d+):0\] (\w+) \[(\d+):0\];", text, re.MULTILINE)
    names = {"by_row": "biases", "by_unit": "biases_by_unit"}
    memories = {names.get(name, name): (int(last) + 1, int(top) + 1) for top, name, last in found}
    # The slots of the random source are read without a clock.
    del memories["kept"]
    sizes = memory_sizes(p)
    assert memories == {name: (size.words, size.bits) for name, size in sizes.items()}
    own_names = {name: own for own, name in names.items()}
    for name, size in sizes.items():
        own = own_names.get(name, name)
        assert len(re.findall(rf"^ +{own}\[.* <= ", text, re.MULTILINE)) == size.enables


def network(layers: tuple[int, ...], lanes: int, weight_bits: int) -> Parameters:
    depth = len(layers) - 1
    return Parameters(
        layers=layers,
        lanes=lanes,
        weight_bits=weight_bits,
        activation_shifts=(4,) * depth,
        delta_shifts=(3,) * (depth - 1),
        update_shifts=(11,) * depth,
        draw_bits=3,
    )


#: What Yosys 0.70 mapped (``synth_ecp5``) of networks that take each branch of the rule.
YOSYS = [
    (((784, 160, 80, 10), 40, 6), [48, 0, 1, 0, 2, 1, 1, 0]),
    (((784, 512, 192, 10), 64, 7), [200, 0, 2, 0, 2, 2, 1, 0]),
    (((784, 512, 256, 10), 16, 6), [187, 12, 2, 8, 2, 2, 1, 0]),
    (((100, 256, 40), 4, 8), [18, 3, 1, 2, 1, 1, 1, 0]),
    (((784, 10), 10, 8), [5, 0, 0, 0, 2, 0]),
]


@pytest.mark.parametrize(("shape", "mapped"), YOSYS)
def test_counts_are_those_of_yosys(
    shape: tuple[tuple[int, ...], int, int], mapped: list[int]
) -> None:
    assert list(block_rams(network(*shape)).values()) == mapped


def test_count_of_a_shipped_configuration() -> None:
    assert list(block_rams(Parameters.named("mnist-small")).values()) == [114, 0, 1, 0, 2, 1, 1, 0]


@pytest.mark.parametrize(
    ("name", "count", "device"),
    [("ecp5-25f", 54, 56), ("ecp5-45f", 105, 108), ("ecp5-85f", 207, 208)],
)
def test_configurations_fit_their_device(name: str, count: int, device: int) -> None:
    p = Parameters.named(name)
    p.check_gateware()
    assert sum(block_rams(p).values()) == count <= device
