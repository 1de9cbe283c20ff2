"""The unit bench compares something, or fails: vectors may not be empty or leave a port out."""

from pathlib import Path

import pytest

from sim.simulators import SimulationFailed
from tests.hdl.unit_bench import Vectors, bench, check

UNIT = "ternary_update_bias"


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({}, "no vectors"),
        ({UNIT: Vectors({"bias": [], "increment": []}, {"new_bias": []})}, r"\[0\] clocks"),
        (
            {UNIT: Vectors({"bias": [1], "increment": [1, 2]}, {"new_bias": [2]})},
            r"\[1, 2\] clocks",
        ),
        ({UNIT: Vectors({"bias": [1]}, {"new_bias": [2]})}, "has the ports .*increment"),
        ({UNIT: Vectors({"bias": [1], "increment": [1]}, {})}, "has the ports .*new_bias"),
    ],
)
def test_bad_vectors(vectors: dict[str, Vectors], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        check("icarus", bench(), vectors, tmp_path)


def test_wrong_expectation_is_told(tmp_path: Path) -> None:
    vectors = Vectors({"bias": [1, -127], "increment": [1, -3]}, {"new_bias": [2, -126]})
    message = (
        r"ternary_update_bias, clock 1:\s+new_bias: expected -126, got -130\s+"
        r"inputs of clock 1: bias=-127 increment=-3\s+inputs of clock 0: bias=1 increment=1\s"
    )
    with pytest.raises(SimulationFailed, match=message):
        check("icarus", bench(), {UNIT: vectors}, tmp_path)
