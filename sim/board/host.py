"""Training on a board: its core by the generated driver, its state as the golden model has it."""

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from golden.inference import Rule
from golden.parameters import Parameters
from golden.state import State
from sim.board.link import Link

Ints = npt.NDArray[np.int64]

#: Samples that may be sent before the first of their records; the link holds back what the board
#: has no room for.
AHEAD = 64


def load_driver(path: Path) -> SimpleNamespace:
    """Return what is in a Python driver that ``nomul generate`` or ``nomul build`` wrote.

    Raises:
        OSError: If there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no driver at {path}; give a folder that nomul build wrote")
    return SimpleNamespace(**runpy.run_path(str(path)))


class Host:
    """A core behind a link.

    Args:
        driver: What :func:`load_driver` returns.
        link: An open link.
        parameters: Of the core.
    """

    def __init__(self, driver: SimpleNamespace, link: Link, parameters: Parameters) -> None:
        self._driver, self._p = driver, parameters
        self.link = link
        #: The driver's core, for registers and counters.
        self.core = driver.NomulCore(
            link.read32, link.write32, link.send, link.receive, self._read_many, self._write_many
        )
        self._moved: Callable[[int], None] = lambda words: None

    def _read_many(self, offset: int, count: int) -> list[int]:
        return self.link.read_many(offset, count, self._moved)

    def _write_many(self, offset: int, words: list[int]) -> None:
        self.link.write_many(offset, words, self._moved)

    @property
    def words(self) -> int:
        """Words of all state."""
        return sum(rows * lanes for _, rows, lanes, _, _ in self._driver.MEMORIES.values())

    def begin(self, state: State, moved: Callable[[int], None] = lambda words: None) -> None:
        """Abandon what the core is doing, and load all state.

        Args:
            state: The state.
            moved: Called with words that were written.

        Raises:
            LinkError: If the link fails.
            RuntimeError: If it is another core.
        """
        core, commands, self._moved = self.core, self._driver.COMMANDS, moved
        core.check_identity()
        core.write("COMMAND", commands["RESET"])
        for name, (_, _, lanes, _, signed) in self._driver.MEMORIES.items():
            rows = getattr(state, name.lower()).tolist()
            if not signed:
                # A random state has its lowest 32 bits in the first word.
                rows = [[word >> 32 * lane for lane in range(lanes)] for word in rows]
            core.load(name, rows)
        core.write("COMMAND", commands["ACCEPT"])
        # The window leaves a row in the trainer's registers; this clears them.
        core.write("COMMAND", commands["RESET"])
        core.counters(clear=True)

    def run(
        self,
        pixels: npt.NDArray[np.integer[Any]],
        labels: Ints,
        *,
        train: bool,
        rate_shift: int = 0,
        rule: Rule = "sampled",
        draws: int = 1,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Ints:
        """Train on samples or evaluate them; return the predictions, int64, shape (samples,).

        Args:
            pixels: Integers, shape (samples, n_0), ``0 .. 2**A - 1``.
            labels: int64, shape (samples,).
            train: Train; else evaluate.
            rate_shift: Learning-rate shift ``sh``.
            rule: Rule of inference of an evaluation.
            draws: ``K``, of the rule sampled.
            progress: Called with the samples done.

        Raises:
            LinkError: If the link fails.
        """
        core, predictions = self.core, np.empty(len(labels), np.int64)
        core.start(train=train, rate_shift=rate_shift, rule=rule.upper(), draws=draws)
        records = core.stream(labels.tolist(), pixels.tolist(), ahead=AHEAD)
        for done, record in enumerate(records):
            predictions[done] = record.prediction
            progress(done + 1)
        core.stop()
        return predictions

    def dump(self, moved: Callable[[int], None] = lambda words: None) -> State:
        """Return all state of the stopped core.

        Args:
            moved: Called with words that were read.

        Raises:
            LinkError: If the link fails.
        """
        self._moved = moved
        state = State.initial(self._p)
        for name, (_, _, _, _, signed) in self._driver.MEMORIES.items():
            rows = self.core.dump(name)
            if not signed:
                rows = [sum(word << 32 * lane for lane, word in enumerate(row)) for row in rows]
            getattr(state, name.lower())[:] = rows
        return state
