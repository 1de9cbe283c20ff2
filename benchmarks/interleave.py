"""Timing of tasks in turns, so that what else the machine does disturbs all of them alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

#: Most processor time, as a part of the wall time, outside the thread that is timed: showing the
#: progress takes some.
_OTHER_THREADS = 0.05

#: Gets ready for a round, which is numbered from 0, and returns the work of it.
Task = Callable[[int], Callable[[], object]]


@dataclass(frozen=True)
class Spread:
    """A quantity over the rounds: lower quartile, middle, upper quartile."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Float64Array) -> Self:
        """Return the quartiles of at least one value; the middle is the median."""
        low, middle, high = np.percentile(values, [25, 50, 75])
        return cls(float(low), float(middle), float(high))

    @classmethod
    def around(cls, middle: float, values: Float64Array) -> Self:
        """Return the quartiles, about a middle that is known from all rounds together."""
        spread = cls.of(values)
        return cls(spread.low, middle, spread.high)


@dataclass(frozen=True)
class Clock:
    """Seconds of every round, in order.

    Attributes:
        processor: Processor time of the process, all threads together. What runs in one thread
            and never waits takes as much wall time on an idle machine.
        wall: Wall time.
    """

    processor: Float64Array
    wall: Float64Array


def interleave(
    tasks: Mapping[str, Task], rounds: int, advance: Callable[[], None], warm_up: int = 0
) -> dict[str, Clock]:
    """Run each task once a round, in an order that rotates, and return the times of each.

    Args:
        tasks: What to time, by name.
        rounds: Rounds that count, at least one.
        advance: Called after every round.
        warm_up: Rounds before those that count.

    Raises:
        RuntimeError: If a task works in other threads too: on a machine that is shared they wait
            for one another, and all of them count.
    """
    names = list(tasks)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    own = dict.fromkeys(names, 0.0)
    for number in range(warm_up + rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            work = tasks[name](number)
            # Read first and last, so that of a single thread it is never the smaller one.
            thread = time.thread_time()
            processor, wall = time.process_time(), time.perf_counter()
            work()
            elapsed = time.process_time() - processor, time.perf_counter() - wall
            thread = time.thread_time() - thread
            if number >= warm_up:
                times[name].append(elapsed)
                own[name] += thread
        advance()
    for name in names:
        processor, wall = (sum(column) for column in zip(*times[name], strict=True))
        if processor - own[name] > _OTHER_THREADS * wall:
            raise RuntimeError(
                f"while {name} was timed, other threads took {processor - own[name]:.2f} s of "
                f"{processor:.2f} s of processor time; keep every task to one thread"
            )
    return {name: Clock(*np.array(seconds).T) for name, seconds in times.items()}
