"""The audit sees what the model does, and fails when a value is outside of its range."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import sim.audit
import sim.clocks
from golden import Parameters
from golden.clocked import BACKWARD, FORWARD
from golden.network import Network
from golden.probes import first_columns, probe_table, tree_depth
from golden.ranges import Range, register_ranges, sum_ranges
from golden.state import State
from hdl.formal.proofs import PROOFS
from sim.audit import Audit, audit
from sim.cli import cli
from sim.commands.audit import AuditError
from sim.data import Dataset
from tests.configurations import gateware_parameters, random_samples

Rows = npt.NDArray[np.int64]

DOCUMENT = Path(__file__).parents[2] / "docs" / "audit.md"

SMALL = Parameters.named("digits").replace(layers=(64, 8, 10), lanes=4, schedule=(1,))


@pytest.fixture
def _long_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is planted lies in the first one."""
    monkeypatch.setattr(sim.clocks, "_CHUNK", 2048)


def run(p: Parameters, seed: int, samples: int) -> Audit:
    pixels, labels = random_samples(p, seed, 20)
    return audit(
        p, State.initial(p), Dataset(pixels, labels, pixels, labels), samples, lambda n: None
    )


@pytest.mark.parametrize("seed", range(30))
def test_random_networks(seed: int) -> None:
    """Two epochs, the second at half the rate: sums end in their registers, in their ranges."""
    p = gateware_parameters(seed)
    found = run(p, seed, 40)
    assert found.faults() == []
    assert [each.name for each in found.registers] == [probe.name for probe in probe_table(p)]
    # Counted once more by the functional model: output deltas, and where they are not all 0.
    pixels, labels = random_samples(p, seed, 20)
    network = Network(p)
    trained = [network.train(pixels, labels, p.rate_shift(epoch)).trained.sum() for epoch in (0, 1)]
    ended = {(each.name, each.layer): each.ended for each in found.sums}
    assert ended["margin -+ logit", p.depth] == 40 * p.layers[-1]
    assert (ended["weight + increment", p.depth] > 0) <= (sum(trained) > 0)
    seen = {each.name: each for each in found.registers}
    assert seen["samples"].high == 39


def test_extremes_are_those_of_the_memory() -> None:
    """One sample reads the weights of its live pixels, and none but initial ones."""
    pixels, _ = random_samples(SMALL, 4, 20)
    live = np.flatnonzero(pixels[0])
    assert len(live) > 0
    seen = {each.name: each for each in run(SMALL, 4, 1).registers}["weight"]
    weights = State.initial(SMALL).weights
    # Two blocks of the first layer.
    read = weights[np.concatenate([live, 64 + live])]
    assert weights.min() <= seen.low <= read.min() < read.max() <= seen.high <= weights.max()


def plant(
    monkeypatch: pytest.MonkeyPatch,
    register: str,
    value: Callable[[Rows], Rows | int],
    clocks: Callable[[Rows], slice | int] = lambda rows: 700,
) -> None:
    """Let the first word of a register be something else in clocks of the first recording."""
    recorded = sim.audit.recorded
    column = first_columns(SMALL)[register]

    def planted(*arguments: object) -> Iterator[Rows]:
        for number, rows in enumerate(recorded(*arguments)):
            if number == 0:
                place = clocks(rows), column
                rows[place] = value(rows[place])
            yield rows

    monkeypatch.setattr(sim.audit, "recorded", planted)


def entries(rows: Rows, state: int, layer: int, block: int) -> Rows:
    """Return the clocks in which entries of a block are issued."""
    column = first_columns(SMALL)
    listed = np.roll(rows[:, column["entry_valid"]], -2) != 0
    walker = rows[:, [column[name] for name in ("state", "layer", "block")]]
    return np.flatnonzero(listed & np.all(walker == (state, layer, block), axis=1))


@pytest.mark.usefixtures("_long_recordings")
@pytest.mark.parametrize(
    ("register", "value"),
    [
        ("new_weight", -2048),
        ("weight", 2048),
        ("drain_sum", 131072),
        ("activation", 256),
        ("output_delta", 512),
        ("draw_state", 0),
        ("exponent", 9),
        ("block", 3),
        ("best_index", 10),
        ("partial", -10221),
        ("hidden_delta", 640),
    ],
)
def test_planted_value_is_found(register: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, register, lambda before: value)
    words = rf"{register}: observed -?\d+ \.\. -?\d+, outside of proved -?\d+ \.\. -?\d+"
    assert any(re.fullmatch(words, fault) for fault in run(SMALL, 3, 8).faults())


#: Stages of the adder tree.
TREE = tree_depth(SMALL.lanes)


@pytest.mark.usefixtures("_long_recordings")
@pytest.mark.parametrize(
    ("register", "state", "block", "stage"),
    [
        ("draw", FORWARD, 0, 6),
        ("accumulator", FORWARD, 0, 7),
        ("accumulator", FORWARD, 2, 7),
        ("increment", BACKWARD, 0, 8),
        ("new_weight", BACKWARD, 0, 9),
        ("partial", BACKWARD, 0, 8 + TREE),
        ("partial", BACKWARD, 1, 8 + TREE),
        ("partial", BACKWARD, 2, 8 + TREE),
        ("hidden_delta", BACKWARD, 2, 9 + TREE),
        ("new_bias", BACKWARD, 2, 12 + TREE),
    ],
)
def test_sum_that_ends_elsewhere_is_found(
    register: str, state: int, block: int, stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A register that is wrong by one, inside of its range."""
    plant(
        monkeypatch,
        register,
        lambda before: before + np.where(before < 1, 1, -1),
        lambda rows: int(entries(rows, state, 1, block)[0]) + stage,
    )
    found = run(SMALL, 3, 8)
    assert found.wrong > 0
    assert re.search(r"\d+ sums do not end in the register", "\n".join(found.faults()))


@pytest.mark.usefixtures("_long_recordings")
def test_sum_that_stays_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that the register keeps, so that each step alone adds up: every one differs."""

    def behind_steps(rows: Rows) -> slice:
        # Twenty of one block, one in each clock.
        issued = entries(rows, FORWARD, 0, 0)[2:22]
        assert np.all(np.diff(issued) == 1)
        return slice(issued[0] + 7, issued[-1] + 8)

    plant(monkeypatch, "accumulator", lambda before: before + 5, behind_steps)
    faults = run(SMALL, 3, 8).faults()
    assert faults == ["20 sums do not end in the register that they should"]


@pytest.mark.usefixtures("_long_recordings")
@pytest.mark.parametrize("register", ["layer", "block", "position"])
@pytest.mark.parametrize("state", [FORWARD, BACKWARD])
def test_place_that_is_not_there_is_found(
    register: str, state: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step far outside of the network: no sum is looked up there."""
    plant(
        monkeypatch,
        register,
        lambda before: 1 << 40,
        lambda rows: int(entries(rows, state, 1, 1)[0]),
    )
    found = run(SMALL, 3, 8)
    assert found.wrong > 0
    assert found.faults()[0].startswith(f"{register}: observed 0 .. {1 << 40}, outside of proved")


def test_planted_range_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a sum and of a register: narrower than what was observed, wider than the format."""
    sums, registers = sum_ranges(SMALL), register_ranges(SMALL)
    sums["tree sum", 2] = Range(-1, 1, "")
    registers["accumulator"] = dataclasses.replace(registers["accumulator"], high=1 << 17)
    monkeypatch.setattr(sim.audit, "sum_ranges", lambda p: sums)
    monkeypatch.setattr(sim.audit, "register_ranges", lambda p: registers)
    faults = run(SMALL, 3, 8).faults()
    assert len(faults) == 2
    assert re.match(r"accumulator: proved -\d+ \.\. 131072 does not fit 18 bits", faults[0])
    assert re.match(r"tree sum, layer 2: observed -?\d+ \.\. \d+, outside of proved -1", faults[1])


@pytest.fixture
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    Path("small.toml").write_text(SMALL.to_toml())


def command(*arguments: str) -> None:
    cli.main(["audit", "--config", "small.toml", *arguments], standalone_mode=False)


@pytest.mark.usefixtures("_in_folder")
def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    command("--samples", "60")
    report = json.loads(Path("nomul-out/audit-small/audit.json").read_text())
    assert report["faults"] == []
    assert report["samples"] == 60
    assert [each["name"] for each in report["registers"]] == [x.name for x in probe_table(SMALL)]
    weight = next(each for each in report["registers"] if each["name"] == "new_weight")
    assert weight["proved"] == [-2047, 2047]
    assert -2047 <= weight["observed"][0] < weight["observed"][1] <= 2047
    text = Path("nomul-out/audit-small/audit.md").read_text()
    assert "**Everything is within its range.**" in text
    for entry in (*report["registers"], *report["sums"]):
        low, high = entry["observed"]
        assert f"| {low:,} .. {high:,} | {entry['unused_bits']} |" in text
    assert "tree sum, layer 2" in capsys.readouterr().out


@pytest.mark.usefixtures("_in_folder", "_long_recordings")
def test_command_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "new_weight", lambda before: -2048)
    with pytest.raises(AuditError, match=r"^new_weight: observed -2048 \.\. .*; see .*audit\.md$"):
        command("--samples", "8")
    report = json.loads(Path("nomul-out/audit-small/audit.json").read_text())
    assert report["faults"][0].startswith("new_weight: observed -2048")
    assert "Not within its range" in Path("nomul-out/audit-small/audit.md").read_text()


@pytest.mark.usefixtures("_in_folder")
def test_wrong_use() -> None:
    with pytest.raises(ValueError, match="leave one out"):
        command("--samples", "8", "--epochs", "1")
    assert not Path("nomul-out").exists()


@pytest.mark.parametrize("seed", range(8))
def test_proofs_that_are_named_are_there(seed: int) -> None:
    """And they are made for such a network."""
    p = gateware_parameters(seed)
    there = {proof.name for proof in PROOFS if proof.applies(p)}
    for each in (*register_ranges(p).values(), *sum_ranges(p).values()):
        if p.depth > 1:
            assert set(each.proofs) <= there
        else:
            assert set(each.proofs) <= {proof.name for proof in PROOFS}


def test_document() -> None:
    """The document has each register and each sum, with its range as it is proved now."""
    text = DOCUMENT.read_text(encoding="utf-8")
    p = Parameters.named("mnist-small")
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    ranges = {f"`{name}`": each for name, each in register_ranges(p).items()}
    ranges |= {f"{name}, layer {layer}": each for (name, layer), each in sum_ranges(p).items()}
    proved = {name: f"{each.low:,} .. {each.high:,}" for name, each in ranges.items()}
    assert {cells[0].strip(): cells[2] for cells in rows} == proved
    assert "**Everything is within its range.**" in text
