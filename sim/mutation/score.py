"""The verdict on each mutant, and the score."""

import importlib.resources
import multiprocessing
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from golden.parameters import Parameters
from sim.mutation.checks import Checks
from sim.mutation.equivalence import equivalent
from sim.mutation.netlist import Mutant, Mutants, any_lane

#: Small, so that it is quick; of large steps and narrow words, so that all that can saturate does,
#: and hits its edge, and a shift beyond all bits; and with all that
#: gateware may have built in: several hidden layers and blocks, padding lanes, all rules of
#: inference, two sources of random states of two words each, input dropout, the stochastic
#: quantizer.
MUTATED = Parameters.named("digits").replace(
    layers=(9, 6, 9, 5),
    lanes=4,
    pixels_per_beat=4,
    activation_shifts=(1, 2, 1),
    delta_shifts=(1, 0),
    weight_bits=14,
    hidden_delta_bits=6,
    bias_bits=16,
    update_shifts=(5, 8, 18),
    random_width=64,
    random_sources=2,
    input_dropout_bits=2,
    inference="exact",
    quantizer="stochastic",
    schedule=(1, 2, 3),
)

# Mutants that a process gets at a time.
_AT_A_TIME = 8


class MutationError(RuntimeError):
    """There is no score; the message is one line."""


@dataclass(frozen=True)
class Reason:
    """Why mutants of a unit change nothing, where no solver shows it.

    Attributes:
        unit: Of the mutants.
        nets: Each has one of these among its nets, lanes without their numbers.
        faults: Each is one of these: type of its cell, pin and mode, as in ``$dff Q[0] const1``,
            and the control, if it has one, as in ``$dff Q[0] cnot0 2``.
        cells: How many cells have such mutants.
        why: The reason.
        inputs: Each has all of these among its inputs.
    """

    unit: str
    nets: Sequence[str]
    faults: Sequence[str]
    cells: int
    why: str
    inputs: Sequence[str] = ()

    def covers(self, mutant: Mutant) -> bool:
        """Return whether it is of this mutant."""
        nets = {any_lane(net) for net in mutant.nets}
        fault = f"{mutant.kind} {mutant.pin} {mutant.mode}"
        if mutant.control is not None:
            fault += f" {mutant.control}"
        return (
            mutant.unit == self.unit
            and fault in self.faults
            and not nets.isdisjoint(self.nets)
            and set(self.inputs) <= set(mutant.inputs)
        )


@cache
def reasons(parameters: Parameters) -> tuple[Reason, ...]:
    """Return those of ``reasons.toml``, which hold in the core of :data:`MUTATED`.

    In that of another network a bit may mean something else: there are none.
    """
    if parameters != MUTATED:
        return ()
    text = (importlib.resources.files(__package__) / "reasons.toml").read_text(encoding="utf-8")
    return tuple(Reason(**each) for each in tomllib.loads(text).get("reason", []))


@dataclass(frozen=True)
class Verdict:
    """What came of a mutant.

    Attributes:
        mutant: The mutant.
        outcome: ``"killed"``, ``"survived"``, ``"proved equivalent"`` or ``"argued equivalent"``.
        check: Name of the check that killed it.
        text: Its complaint, or the reason why the mutant is equivalent.
    """

    mutant: Mutant
    outcome: str
    check: str = ""
    text: str = ""


def judge(
    parameters: Parameters,
    mutants: Mutants,
    *,
    seed: int,
    jobs: int,
    progress: Callable[[str, int, int], None],
    known: Sequence[Reason] | None = None,
) -> list[Verdict]:
    """Run all checks on all mutants, and the solver on those that survive.

    Args:
        parameters: The configuration.
        mutants: Of its core.
        seed: Of samples, states and pauses of the checks.
        jobs: Processes.
        progress: Called with the stage, how many are done, and of how many.
        known: Written reasons; default :func:`reasons` of the configuration.

    Returns:
        A verdict for each mutant, in their order.

    Raises:
        MutationError: If the netlist without a mutant fails a check, or a process dies.
        SynthesisError: If Yosys is missing or fails.
        SimulatorError: If the netlist cannot be compiled.
    """
    total = len(mutants.mutants)
    progress("compile", 0, 1)
    library = mutants.library()
    progress("checks", 0, total)
    failures: list[tuple[str, str] | None] = []
    # Threads of Numba and of this process do not outlive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        jobs, context, initializer=_begin, initargs=(parameters, seed, library)
    ) as pool:
        try:
            sound = pool.submit(_failure, 0).result()
            if sound is not None:
                raise MutationError(f"the core without a mutant fails: {': '.join(sound)}")
            for failure in pool.map(_failure, range(1, total + 1), chunksize=_AT_A_TIME):
                failures.append(failure)
                progress("checks", len(failures), total)
        except BrokenProcessPool as error:
            raise MutationError(
                f"a simulation ended its process, after mutant {len(failures)}"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
    pairs = list(zip(mutants.mutants, failures, strict=True))
    alive = [mutant for mutant, failure in pairs if failure is None]
    progress("solver", 0, len(alive))
    same: set[int] = set()
    for done, (mutant, proved) in enumerate(
        zip(alive, equivalent(alive, mutants.folder), strict=True), 1
    ):
        same |= {mutant.number} if proved else set()
        progress("solver", done, len(alive))
    argued = reasons(parameters) if known is None else known
    return [_verdict(mutant, failure, mutant.number in same, argued) for mutant, failure in pairs]


def _verdict(
    mutant: Mutant, failure: tuple[str, str] | None, proved: bool, known: Sequence[Reason]
) -> Verdict:
    if failure is not None:
        return Verdict(mutant, "killed", *failure)
    if proved:
        return Verdict(mutant, "proved equivalent")
    for reason in known:
        if reason.covers(mutant):
            return Verdict(mutant, "argued equivalent", text=reason.why)
    return Verdict(mutant, "survived")


@dataclass(frozen=True)
class Score:
    """Counts of verdicts.

    Attributes:
        killed: Mutants that a check found.
        survived: Mutants that no check found, and of which nothing is shown.
        proved: Mutants that are shown to change nothing.
        argued: Mutants that change nothing for a written reason.
    """

    killed: int
    survived: int
    proved: int
    argued: int

    @classmethod
    def of(cls, verdicts: Sequence[Verdict]) -> "Score":
        """Count."""
        count = Counter(each.outcome for each in verdicts)
        return cls(
            count["killed"],
            count["survived"],
            count["proved equivalent"],
            count["argued equivalent"],
        )

    @property
    def mutants(self) -> int:
        """All."""
        return self.killed + self.survived + self.proved + self.argued

    @property
    def percent(self) -> str:
        """``killed / (all - equivalent)``, rounded down to a tenth of a per cent."""
        real = self.killed + self.survived
        tenths = 1000 * self.killed // real if real else 1000
        return f"{tenths // 10}.{tenths % 10}"


def by_unit(verdicts: Sequence[Verdict]) -> dict[str, Score]:
    """Return the score of each unit."""
    units: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        units[verdict.mutant.unit].append(verdict)
    return {unit: Score.of(units[unit]) for unit in sorted(units)}


# What a process of the pool keeps: compiled checks, and the library.
_KEPT: dict[str, tuple[Checks, Path]] = {}


def _begin(parameters: Parameters, seed: int, library: Path) -> None:
    _KEPT["checks"] = Checks(parameters, seed), library


def _failure(mutant: int) -> tuple[str, str] | None:
    checks, library = _KEPT["checks"]
    return checks.first_failure(library, mutant)
