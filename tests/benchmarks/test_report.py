"""What the report says of a target."""

import pytest

from benchmarks.interleave import Spread
from benchmarks.report import Comparison

UNIT = Spread(1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("ratio", "says"),
    [
        (Spread(2.1, 2.5, 3.0), ">= 2: reached"),
        (Spread(1.9, 2.5, 3.0), ">= 2: reached, but close"),
        (Spread(1.0, 1.9, 2.1), ">= 2: missed, but close"),
        (Spread(1.0, 1.5, 1.9), ">= 2: missed"),
    ],
)
def test_target(ratio: Spread, says: str) -> None:
    row = Comparison("section", "what", "peer", "ms", UNIT, UNIT, ratio, target=2)
    assert row.cells()[2] == says


@pytest.mark.parametrize(
    ("ours", "says"),
    [
        (Spread(1.0, 1.5, 1.9), "<= 2 s: reached"),
        (Spread(1.0, 1.9, 2.1), "<= 2 s: reached, but close"),
        (Spread(2.1, 2.5, 3.0), "<= 2 s: missed"),
    ],
)
def test_limit(ours: Spread, says: str) -> None:
    row = Comparison("section", "what", "peer", "s", ours, UNIT, UNIT, limit=2)
    assert row.cells()[2] == says
