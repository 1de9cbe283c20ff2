"""Mutants are found by the checks; what changes nothing is shown to, or said to, or survives."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from hdl.verilog import CORE_TOP
from sim.cli import cli
from sim.commands import mutate
from sim.mutation import checks, equivalence, netlist, score
from sim.mutation.checks import Checks, Waits
from sim.mutation.equivalence import equivalent
from sim.mutation.netlist import (
    Mutant,
    Mutants,
    cells_of,
    choose,
    plant,
    unit_of,
)
from sim.mutation.score import MUTATED, MutationError, Reason, Score, Verdict, judge
from sim.simulators import SimulatorError
from sim.synthesis.flat_netlist import Cell, FlatNetlist

#: A core that is compiled and run quickly.
SMALL = MUTATED.replace(
    layers=(5, 3, 2),
    lanes=2,
    activation_shifts=(1, 1),
    delta_shifts=(0,),
    update_shifts=(5, 8),
    random_width=16,
    random_sources=1,
    input_dropout_bits=0,
    inference="drawn",
)

#: One whose samples take several times the clocks of those of the default network.
LONG = SMALL.replace(layers=(64, 16, 2), schedule=())

#: Registers of the core, a bit, and its fault: what comes of it, and by which check.
PLANTED = {
    ("count_samples", 0, "const0"): ("killed", "training"),
    ("trainer.walker__again", 0, "const1"): ("killed", "training"),
    ("packets.reported", 0, "const0"): ("killed", "packets"),
    ("value_SAMPLE_LIMIT", 31, "const1"): ("killed", "training"),
    ("trainer.loader__shift", 0, "const0"): ("killed", "training"),
    ("dirty", 0, "const0"): ("killed", "resets"),
    # No register of the map has such a bit: it keeps its initial value.
    ("value_INTERRUPT_STATUS", 31, "const0"): ("proved equivalent", ""),
    # The counter starts near its wrap.
    ("done_of_interval", 31, "const0"): ("killed", "limits"),
    # Inverts where the bit of the control is 1: what is left of a limit goes through all bits.
    ("left", 11, "cnot1"): ("killed", "training"),
    ("slave.hit_REFUSED", 0, "const1"): ("killed", "flags"),
    # Of the only group of lanes.
    ("trainer.drain.some", 0, "const1"): ("survived", ""),
}

CONTROL = 22

SURVIVOR = Reason(
    unit="trainer.drain",
    nets=["trainer.drain.some"],
    faults=["$dff Q[0] const1"],
    cells=1,
    why="there is no other group",
)


def planted() -> Iterator[Mutant]:
    """Yield the mutants of :data:`PLANTED`."""
    cells = cells_of(SMALL)
    drivers = {
        name: cells.drivers[bit] for bit, name in cells.names.items() if bit in cells.drivers
    }
    for number, (net, bit, mode) in enumerate(PLANTED, 1):
        cell, port, position = drivers.get(f"{net}[{bit}]") or drivers[net]
        control = CONTROL if mode == "cnot1" else None
        yield Mutant(
            number=number,
            unit=cell.place or "core",
            kind=cell.kind,
            pin=f"{port}[{position}]",
            mode=mode,
            control=control,
            nets=(net,),
            inputs=(),
            command=command(cell, port, position, mode, control),
        )


def command(cell: Cell, port: str, bit: int | str, mode: str, control: int | str | None) -> str:
    """Return the command of Yosys that makes a mutant."""
    text = f"mutate -mode {mode} -module {CORE_TOP} -cell {cell.name} -port {port} -portbit {bit}"
    return text if control is None else f"{text} -ctrlbit {control}"


def covered(reason: Reason, cells: FlatNetlist) -> list[Mutant]:
    """Return all mutants of a netlist that a reason is of."""
    commands = []
    for fault in reason.faults:
        kind, port, bit, mode, *control = re.split(r"[\[\] ]+", fault)
        commands += [
            command(cell, port, bit, mode, *control or [None])
            for cell in cells.of(kind)
            if unit_of(cell) == reason.unit and len(cell.ports[port]) > int(bit)
        ]
    return [mutant for mutant in netlist._mutants(cells, commands) if reason.covers(mutant)]


@pytest.fixture(scope="module")
def mutants() -> Mutants:
    return plant(SMALL, list(planted()))


def test_planted_mutants(mutants: Mutants, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is killed by the check that is meant for it; a harmless one is not counted as killed."""
    stages = []
    verdicts = judge(
        SMALL, mutants, seed=1, jobs=1, progress=lambda *each: stages.append(each), known=[]
    )
    got = [(each.outcome, each.check) for each in verdicts]
    assert got == list(PLANTED.values())
    assert Score.of(verdicts) == Score(killed=9, survived=1, proved=1, argued=0)
    assert Score.of(verdicts).percent == "90.0"
    assert ("checks", len(PLANTED), len(PLANTED)) in stages
    # With a reason the same mutant is equivalent, and no other.
    (survivor,) = (each.mutant for each in verdicts if each.outcome == "survived")
    assert SURVIVOR.covers(survivor)
    assert not any(SURVIVOR.covers(each) for each in mutants.mutants if each is not survivor)
    # The solver takes none for equivalent that a check kills. (It would ask about each for long.)
    monkeypatch.setattr(equivalence, "_ROUNDS", 2)
    shown = list(equivalent(mutants.mutants, mutants.folder))
    assert shown == [outcome == "proved equivalent" for outcome, _ in PLANTED.values()]


def test_reason_makes_equivalent(mutants: Mutants) -> None:
    survivor = mutants.mutants[-1]
    for known, outcome in (([], "survived"), ([SURVIVOR], "argued equivalent")):
        verdict = score._verdict(survivor, None, False, known)
        assert verdict.outcome == outcome
    assert verdict.text == SURVIVOR.why
    # A killed one stays killed, whatever is said of it.
    assert score._verdict(survivor, ("bus", ""), False, [SURVIVOR]).outcome == "killed"


def test_reasons_are_of_this_gateware() -> None:
    """A reason says why, of signals that the netlist has and so many cells; of no other network."""
    cells = cells_of(MUTATED)
    known = score.reasons(MUTATED)
    assert known
    for reason in known:
        mutants = covered(reason, cells)
        of = {re.search(r"-cell (\S+)", each.command)[1] for each in mutants}
        assert len(of) == reason.cells, reason
        faults = {f"{each.kind} {each.pin} {each.mode}" for each in mutants}
        assert {re.sub(r" \d+$", "", fault) for fault in reason.faults} == faults, reason
        assert set(reason.nets) <= {net for each in mutants for net in each.nets}, reason
        assert len(reason.why.split()) > 5, reason
    assert not score.reasons(SMALL)


@pytest.mark.parametrize("change", [{"inputs": ("D trainer.loader",)}, {"control": 1}])
def test_reason_is_of_its_cell_and_control(change: dict[str, object]) -> None:
    """The same fault of another cell, or where another bit inverts it, has no reason."""
    reason = dataclasses.replace(SURVIVOR, faults=["$dff Q[0] cnot0 2"], inputs=["S abandon"])
    mutant = Mutant(
        number=1,
        unit="trainer.drain",
        kind="$dff",
        pin="Q[0]",
        mode="cnot0",
        control=2,
        nets=("trainer.drain.some",),
        inputs=("D trainer.loader", "S abandon"),
        command="",
    )
    assert reason.covers(mutant)
    assert not reason.covers(dataclasses.replace(mutant, **change))


def test_core_that_fails_without_a_mutant(
    mutants: Mutants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no score of checks that fail anyway: here they are of another configuration."""
    with pytest.raises(MutationError, match="without a mutant fails: training: lockstep, "):
        judge(
            SMALL.replace(draw_seed=7),
            mutants,
            seed=1,
            jobs=1,
            progress=lambda *each: None,
        )


def test_waits_of_the_default_network() -> None:
    """Another number here is another stimulus: published scores would not be repeated."""
    assert Waits.of(MUTATED) == Waits(
        patience=6000, forward=400, held=1000, whole=1500, reset=500, abandoned=400
    )


def test_long_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core passes the checks that wait for samples, however long they take."""
    monkeypatch.setattr(checks, "_LOADED", 2)
    monkeypatch.setattr(checks, "_CLIPPED", 2)
    # It sends a packet without each of its bytes, one by one.
    monkeypatch.setattr(Checks, "_packets", lambda self: lambda host: None)
    assert Waits.of(LONG).whole > 2 * Waits.of(MUTATED).whole
    library = plant(LONG, choose(LONG, 1, 1)).library()
    assert Checks(LONG, 1).first_failure(library, 0) is None


def test_choice() -> None:
    """From all units alike, each once, the same for the same seed."""
    first = choose(MUTATED, 60, 5)
    assert [each.number for each in first] == list(range(1, 61))
    assert len({each.command for each in first}) == 60
    counts = [sum(each.unit == unit for each in first) for unit in {each.unit for each in first}]
    assert len(counts) > 20
    # A small unit has no more.
    assert max(counts) <= 3
    assert choose(MUTATED, 60, 5) == first
    assert choose(MUTATED, 60, 6) != first


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutants: Mutants) -> None:
    outcomes = ["killed", "killed", "killed", "survived", "proved equivalent", "argued equivalent"]
    verdicts = [
        Verdict(mutant, outcome, "bus" if outcome == "killed" else "")
        for mutant, outcome in zip(mutants.mutants, outcomes, strict=False)
    ]
    monkeypatch.setattr(mutate, "choose", lambda *each: mutants.mutants)
    monkeypatch.setattr(mutate, "plant", lambda *each: mutants)
    monkeypatch.setattr(mutate, "judge", lambda *each, **options: verdicts)
    output = tmp_path / "out"
    done = CliRunner().invoke(cli, ["mutate", "--budget", "6", "--output", str(output)])
    assert done.exit_code == 0, done.output
    assert "score: 75.0 %" in done.output
    assert f"survived: {verdicts[3].mutant}" in done.output
    report = json.loads((output / "mutants.json").read_text())
    assert report["percent"] == "75.0"
    assert report["units"]["all"] == {"killed": 3, "survived": 1, "proved": 1, "argued": 1}
    assert [each["outcome"] for each in report["mutants"]] == outcomes
    text = (output / "mutants.md").read_text()
    assert "`nomul mutate --budget 6 --seed 1`: **75.0 %**" in text
    assert "| all | 6 | 3 | 1 | 1 | 1 | 75.0 |" in text


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise SimulatorError("no C++ compiler")

    monkeypatch.setattr(mutate, "choose", fail)
    done = CliRunner().invoke(cli, ["mutate", "--output", str(tmp_path / "out")])
    assert isinstance(done.exception, SimulatorError)
    assert list(tmp_path.iterdir()) == []


def test_score() -> None:
    assert Score(0, 0, 3, 1).percent == "100.0"
    assert Score(999, 1, 0, 0).percent == "99.9"
    # Never rounded up.
    assert Score(9999, 1, 5, 5).percent == "99.9"
    assert netlist.FIRST_COUNT < 0
