"""Draw ``timing.svg``: one training sample, clock by clock, as the clocked golden model runs it.

Run it from the root of the repository: ``python -m docs.figures.draw_timing``. A test holds the
committed picture against what this script draws.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from golden.clocked import BACKWARD, FORWARD, PHASES, Clocked, transfers
from golden.parameters import Parameters
from golden.probes import probe_columns, probe_table, tree_depth
from golden.state import State

#: A network whose every register fits into the picture, with seeds that make it an eventful sample.
PARAMETERS = Parameters(
    layers=(6, 4, 3),
    lanes=2,
    pixels_per_beat=3,
    weight_bits=6,
    activation_bits=4,
    output_delta_bits=7,
    hidden_delta_bits=7,
    activation_shifts=(1, 1),
    delta_shifts=(1,),
    update_shifts=(5, 5),
    margin_bits=4,
    draw_bits=5,
    draw_seed=5,
    weight_seed=38,
)
PIXELS = (0, 9, 0, 12, 0, 5)
LABEL = 1

FILE = Path(__file__).with_name("timing.svg")

_CELL, _ROW, _LABELS, _MARGIN = 22, 18, 128, 12
_PHASE_FILLS = ("#dce8f4", "#e8e8e8", "#fae3d2", "#f3efe0", "#d9d9d9")
#: Fill of a register by the block that its step belongs to: layer, then block modulo 2.
_BLOCK_FILLS = (("#cfe3f7", "#9fc5ea"), ("#fbd9b5", "#f3b273"))

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Sample:
    """The probed registers during one training sample; row ``c`` of every array is clock ``c``.

    Attributes:
        clocks: Number of clocks, up to the last write of the sample.
    """

    def __init__(self) -> None:
        p = PARAMETERS
        model = Clocked(p, State.initial(p))
        part = transfers(p, [PIXELS], [LABEL], 1, 0)
        model.feed(part)
        # More clocks than the sample takes; cut below.
        in_valid = np.zeros(150, np.uint8)
        in_valid[: len(part)] = 1
        rows = model.run(in_valid, np.ones_like(in_valid))
        columns = probe_columns(probe_table(p))
        self._registers = {
            probe.name: rows[:, [i for i, column in enumerate(columns) if column[0] == probe]]
            for probe, word, _ in columns
            if word == 0
        }
        # The last entry, one clock before its block's end step, writes its weights at s9.
        self.clocks = 7 + int(np.flatnonzero(self["entry_end"])[-1])

    def __getitem__(self, name: str) -> Ints:
        """Return one register, or the words of one: shape (clocks,) or (clocks, words)."""
        words = self._registers[name]
        return words[:, 0] if words.shape[1] == 1 else words

    def issued(self, name: str, stage: int) -> Ints:
        """Return a walker register as it stood when the step now at ``stage`` was issued."""
        return late(self[name], stage)

    def steps(self, stage: int, state: int, kinds: str = "entry end") -> Bools:
        """Return whether a step of one of the kinds and of one state stands at ``stage``."""
        found = np.zeros(len(self["state"]), bool)
        for kind in kinds.split():
            register = {"entry": "entry_valid", "end": "entry_end"}[kind]
            found |= self.issued(register, stage - 2) != 0
        return found & (self.issued("state", stage) == state)


def late(values: Ints, clocks: int) -> Ints:
    """Return what the values were so many clocks before."""
    return np.concatenate([np.zeros(clocks, values.dtype), values[: len(values) - clocks]])


class Picture:
    """SVG text, drawn from the top to the bottom.

    Args:
        sample: What is drawn.
    """

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._parts: list[str] = []
        self._grid = ""
        self._y, self._top = 0, 0
        self._width = 0
        self._first, self._last = 0, 0

    def text(self, x: float, y: float, text: str, style: str = "", size: float = 10) -> None:
        """Write a line of text; ``y`` is its base line."""
        self._parts.append(f'<text x="{x:g}" y="{y:g}" font-size="{size:g}"{style}>{text}</text>')

    def box(self, x: float, width: float, fill: str, text: str) -> None:
        """Draw a cell of the present row with a text that is made to fit."""
        top, height = self._y + 2, _ROW - 4
        self._parts.append(
            f'<rect x="{x:g}" y="{top}" width="{width:g}" height="{height}" fill="{fill}"'
            ' stroke="#444" stroke-width="0.8"/>'
        )
        size = min(10, round(width / (0.8 * len(text)), 1))
        self.text(x + width / 2, self._y + 12.5, text, ' text-anchor="middle"', size)

    def panel(self, title: str, first: int, last: int) -> None:
        """Start a panel of the clocks ``first .. last - 1``."""
        self._first, self._last = first, last
        self._width = max(self._width, _LABELS + (last - first) * _CELL + _MARGIN)
        self._y += 24
        self.text(8, self._y, title, ' font-weight="bold"', 13)
        self._y += 6
        for clock in range(first, last):
            x = self._x(clock) + _CELL / 2
            self.text(x, self._y + 12, str(clock), ' text-anchor="middle" fill="#666"', 9)
        self.text(8, self._y + 12, "clock", ' fill="#666"')
        self._y += _ROW
        self._top = self._y

    def end_panel(self) -> None:
        """Draw the lines between the clocks, behind all rows of the panel."""
        for clock in range(self._first, self._last + 1):
            self._grid += f"M{self._x(clock)} {self._top}V{self._y}"

    def _x(self, clock: int) -> int:
        return _LABELS + (clock - self._first) * _CELL

    def _label(self, name: str, stage: str) -> None:
        self.text(8, self._y + 13, name)
        self.text(_LABELS - 6, self._y + 13, stage, ' text-anchor="end" fill="#666"', 9)

    def _runs(self, values: Ints) -> Iterator[tuple[int, int, int]]:
        """Yield first clock, clock behind the last, and value, of each run of equal values."""
        shown = values[self._first : self._last]
        starts = [0, *(np.flatnonzero(np.diff(shown)) + 1).tolist(), len(shown)]
        for start, end in pairwise(starts):
            yield self._first + start, self._first + end, int(shown[start])

    def phases(self) -> None:
        """Draw the walker's state as a row of bands."""
        self._label("state", "")
        for start, end, value in self._runs(self._sample["state"]):
            x, width = self._x(start), (end - start) * _CELL
            self.box(x, width, _PHASE_FILLS[value], PHASES[value])
        self._y += _ROW

    def bus(self, name: str, word: int | None = None) -> None:
        """Draw a register that belongs to no step: a cell for as long as the value stays."""
        values = self._sample[name] if word is None else self._sample[name][:, word]
        self._label(name if word is None else f"{name}[{word}]", "")
        for start, end, value in self._runs(values):
            self.box(self._x(start), (end - start) * _CELL, "#fff", str(value))
        self._y += _ROW

    def wave(self, name: str) -> None:
        """Draw a register of one bit."""
        self._label(name, "")
        high, low = self._y + 3, self._y + _ROW - 3
        path = "M"
        for start, end, value in self._runs(self._sample[name]):
            level = high if value else low
            path += f"{self._x(start)} {level}L{self._x(end)} {level}L"
        self._parts.append(
            f'<path d="{path.removesuffix("L")}" fill="none" stroke="#222" stroke-width="1.3"/>'
        )
        self._y += _ROW

    def register(
        self, name: str, stage: str, written: Bools, layers: Ints, blocks: Ints, lane: int = -1
    ) -> None:
        """Draw a register as one cell for each new value, filled by the block it belongs to.

        A register that gets no new value in the clocks of the panel has no row.
        """
        clocks = [clock for clock in range(self._first, self._last) if written[clock]]
        if not clocks:
            return
        values = self._sample[name]
        self._label(name if lane < 0 else f"{name}[{lane}]", stage)
        middle = self._y + _ROW / 2
        for clock, following in pairwise([*clocks, self._last]):
            fill = _BLOCK_FILLS[layers[clock]][blocks[clock] % 2]
            value = values[clock] if lane < 0 else values[clock, lane]
            # A line stands for the clocks in which the register holds the value; s2 holds none.
            if following > clock + 1 and stage != "s2":
                self._parts.append(
                    f'<path d="M{self._x(clock + 1)} {middle}H{self._x(following)}"'
                    ' stroke="#888" stroke-width="0.8" stroke-dasharray="2 2"/>'
                )
            self.box(self._x(clock), _CELL, fill, str(value))
        self._y += _ROW

    def finish(self, notes: list[str]) -> str:
        """Draw the legend and return the picture."""
        self._y += 12
        x = 8
        for layer, fills in enumerate(_BLOCK_FILLS, start=1):
            for block, fill in enumerate(fills):
                self.box(x, _CELL, fill, " ")
                self.text(x + _CELL + 6, self._y + 13, f"layer {layer}, block {block}")
                x += 140
        self._y += _ROW
        for note in notes:
            self._y += 16
            self.text(8, self._y, note, ' fill="#333"', 11)
        self._y += 12
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self._width} {self._y}"'
            f' width="{self._width}" height="{self._y}"'
            ' font-family="DejaVu Sans, Verdana, Arial, sans-serif" fill="#111" role="img">'
        )
        title = "<title>One training sample, clock by clock</title>"
        white = f'<rect width="{self._width}" height="{self._y}" fill="#fff"/>'
        grid = f'<path d="{self._grid}" stroke="#ddd" stroke-width="0.7"/>'
        return "\n".join([head, title, white, grid, *self._parts, "</svg>", ""])


def draw() -> str:
    """Return the picture as SVG text."""
    sample = Sample()
    picture = Picture(sample)
    tree = tree_depth(PARAMETERS.lanes)
    lanes = range(PARAMETERS.lanes)

    def of_step(name: str, stage: int, written: Bools, label: str = "", lane: int = -1) -> None:
        layers, blocks = (sample.issued(register, stage) for register in ("layer", "block"))
        picture.register(name, label or f"s{stage}", written, layers, blocks, lane)

    # What stands at e4 belongs to the block that was loaded last into the drain.
    loads = np.flatnonzero(sample.steps(7, FORWARD, "end"))
    drained = [loads[loads < clock][-1:] for clock in range(len(sample["e4_valid"]))]
    layers, blocks = (
        np.array([values[load[0]] if len(load) else 0 for load in drained])
        for values in (sample.issued("layer", 7), sample.issued("block", 7))
    )
    is_output = layers == PARAMETERS.depth - 1
    at_e4 = sample["e4_valid"] != 0

    backward_start = int(np.flatnonzero(sample["state"] == BACKWARD)[0])
    for title, first, last in (
        ("Forward pass and loss", 0, backward_start),
        ("Backward pass and update", backward_start, sample.clocks),
    ):
        picture.panel(title, first, last)
        picture.phases()
        if first == 0:
            picture.bus("list_count", 0)
            picture.bus("hidden_count")
        for name in ("layer", "block", "position"):
            picture.bus(name)
        for state in (FORWARD, BACKWARD):
            for name in ("entry_index", "entry_value"):
                of_step(name, 2, sample.steps(2, state, "entry"))
            of_step("entry_end", 2, sample.steps(2, state, "end"))
            for lane in lanes:
                of_step("draw", 6, sample.steps(6, state, "entry"), lane=lane)
        for lane in lanes:
            of_step("accumulator", 7, sample.steps(7, FORWARD), lane=lane)
        if first == 0:
            picture.wave("drain_busy")
            picture.wave("e4_valid")
        picture.register("drain_index", "e4", at_e4, layers, blocks)
        picture.register("activation", "e4", at_e4 & ~is_output, layers, blocks)
        picture.register("output_delta", "e4", at_e4 & is_output, layers, blocks)
        for lane in lanes:
            of_step("delta", 6, sample.steps(6, BACKWARD, "entry"), lane=lane)
        inner = sample.steps(8 + tree, BACKWARD, "entry") & (sample.issued("layer", 8 + tree) != 0)
        of_step("partial", 8 + tree, inner, "s(8+T)")
        # The register of the next stage: one clock later, and only of the last block.
        complete = late(inner, 1)
        last_block = -(-PARAMETERS.layers[-1] // PARAMETERS.lanes) - 1
        complete &= sample.issued("block", 9 + tree) == last_block
        of_step("hidden_delta", 9 + tree, complete, "s(9+T)")
        for lane in lanes:
            of_step("new_weight", 9, sample.steps(9, BACKWARD, "entry"), lane=lane)
        of_output = late(at_e4 & is_output, 3)
        picture.register(
            "new_bias",
            "b3",
            of_output | late(complete, 3),
            np.where(of_output, late(layers, 3), sample.issued("layer", 12 + tree) - 1),
            np.where(
                of_output,
                late(blocks, 3),
                late(sample["entry_index"], 10 + tree) // PARAMETERS.lanes,
            ),
        )
        picture.wave("out_valid")
        picture.end_panel()

    p = PARAMETERS
    pixels = ", ".join(map(str, PIXELS))
    return picture.finish(
        [
            f"Layers {p.layers}, {p.lanes} lanes (T = {tree}), pixels ({pixels}), label {LABEL}. "
            "A filled cell is a new value in the register of its stage, a dashed line its holding;",
            "the register layer counts from 0. The draws of the backward pass are those of the "
            "forward pass, block for block.",
        ]
    )


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
