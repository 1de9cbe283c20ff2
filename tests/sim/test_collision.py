"""Words that are read and written in the same clock are never used: they may as well be unknown."""

import dataclasses
import re
from pathlib import Path

import pytest

from golden.state import State
from hdl.collision import UNUSED_ON_COLLISION
from hdl.verilog import Generated, generate
from sim.divergence import DivergenceError
from sim.lockstep import lockstep
from tests.sim.test_faults import PARAMETERS, SAMPLES, stimulus

ATTRIBUTE = next(iter(UNUSED_ON_COLLISION))


def unknown_on_collision(generated: Generated, *, anywhere: bool = False) -> Generated:
    """Return a module whose marked memories read unknown words where a write meets a read.

    Args:
        generated: The module.
        anywhere: Plant a fault: also where the rows differ.
    """
    text = generated.verilog
    names = re.findall(rf"\(\* {ATTRIBUTE} = 32'd1 \*\)\n  reg \[\d+:0\] (\w+) \[", text)
    assert len(names) == len(set(names)) >= 5
    for name in names:
        # Written under one enable, or under one a lane.
        writes = re.findall(rf"if \(([^\n]+)\)\n +{name}\[(.+?)\](?:\[[\d:]+\])? <=", text)
        rows = {row for _, row in writes}
        reads = re.findall(rf"^( +)(\w+) <= {name}\[(.+)\];$", text, re.MULTILINE)
        assert writes
        assert len(rows) == len(reads) == 1
        indent, word, row = reads[0]
        meets = " || ".join(enable for enable, _ in writes)
        if not anywhere:
            meets = f"({meets}) && {row} == {rows.pop()}"
        text = text.replace(
            f"{indent}{word} <= {name}[{row}];",
            f"{indent}if ({meets}) begin\n"
            f'{indent}  $display("collision {name}");\n'
            f"{indent}  {word} <= {{4096{{1'bx}}}};\n"
            f"{indent}end else {word} <= {name}[{row}];",
        )
    return dataclasses.replace(generated, verilog=text)


def collisions(folder: Path, *, anywhere: bool) -> set[str]:
    """Run a network in lockstep on Icarus; return the memories that had a collision."""
    generated = generate(PARAMETERS, State.initial(PARAMETERS), probed=True)
    result = lockstep(
        PARAMETERS,
        stimulus(),
        folder=folder,
        simulator="icarus",
        generated=unknown_on_collision(generated, anywhere=anywhere),
    )
    assert result.samples == SAMPLES
    log = (folder / "simulation" / "simulation.log").read_text()
    return set(re.findall(r"^collision (\w+)$", log, re.MULTILINE))


def test_words_of_a_collision_are_not_used(tmp_path: Path) -> None:
    seen = collisions(tmp_path, anywhere=False)
    assert seen == {"weights", "by_row", "by_unit", "hidden_list", "scratch", "logits"}


def test_a_used_word_would_be_seen(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"got +0bX"):
        collisions(tmp_path, anywhere=True)
