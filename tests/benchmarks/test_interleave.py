"""The clock of the benchmark: turns, rounds, and one thread only."""

import hashlib
import threading
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.interleave import Spread, interleave

BYTES = bytes(20_000_000)


def work() -> None:
    # Hashing lets other threads of Python run beside it.
    hashlib.sha256(BYTES).digest()


def work_in_two_threads() -> None:
    other = threading.Thread(target=work)
    other.start()
    work()
    other.join()


def test_turns_rotate_and_warm_up_does_not_count() -> None:
    turns: list[tuple[str, int]] = []

    def task(name: str) -> Callable[[int], Callable[[], object]]:
        return lambda number: lambda: turns.append((name, number))

    advanced: list[None] = []
    clocks = interleave(
        {"a": task("a"), "b": task("b")}, 2, lambda: advanced.append(None), warm_up=1
    )
    assert turns == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert len(advanced) == 3
    assert [len(clock.processor) for clock in clocks.values()] == [2, 2]


def test_one_thread_passes() -> None:
    clock = interleave({"one": lambda _round: work}, 2, lambda: None)["one"]
    assert (clock.processor > 0).all()
    assert (clock.wall > 0).all()


def test_a_second_thread_is_refused() -> None:
    with pytest.raises(RuntimeError, match="while two was timed, other threads took"):
        interleave({"two": lambda _round: work_in_two_threads}, 2, lambda: None)


def test_spread() -> None:
    values = np.array([4.0, 1.0, 3.0, 2.0, 5.0])
    assert Spread.of(values) == Spread(2.0, 3.0, 4.0)
    assert Spread.around(2.5, values) == Spread(2.0, 2.5, 4.0)
