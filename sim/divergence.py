"""The first divergence of gateware and golden model, in the algorithm's words."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from vcd import VCDWriter

from golden.clocked import Place, describe
from golden.formats import fixed
from golden.layout import Layout
from golden.parameters import Parameters
from golden.probes import probe_columns, probe_table
from golden.state import State

#: Clocks before and after the divergence that go into the waveform file, 32 in all.
BEFORE, AFTER = 16, 16

#: The waveform file in the output folder.
WINDOW_FILE = "divergence.vcd"


class DivergenceError(RuntimeError):
    """Gateware and golden model differ; the message is the whole report, some lines."""


@dataclass(frozen=True, eq=False)
class Window:
    """Consecutive clocks as they were expected and as they were recorded.

    Attributes:
        first_clock: Number of the first of them.
        expected: int64, shape (clocks, columns of ``probe_columns``).
        recorded: uint8, shape (clocks, bits): characters of the probe port, highest bit first.
    """

    first_clock: int
    expected: npt.NDArray[np.int64]
    recorded: npt.NDArray[np.uint8]

    def __add__(self, later: Self) -> "Window":
        """Return this window and the clocks that follow it."""
        return Window(
            self.first_clock,
            np.concatenate([self.expected, later.expected]),
            np.concatenate([self.recorded, later.recorded]),
        )

    def last(self, clocks: int) -> "Window":
        """Return a copy of the last clocks."""
        first = max(0, len(self.expected) - clocks)
        return Window(
            self.first_clock + first, self.expected[first:].copy(), self.recorded[first:].copy()
        )


@dataclass(frozen=True)
class Divergence:
    """The first word that differs.

    Attributes:
        clock: Clock since the reset.
        epoch: Epoch of the sample, from 0.
        place: Where in the algorithm, and which register.
        expected: Value of the golden model.
        got: Bits of the gateware, highest first; ``X`` and ``Z`` are possible.
    """

    clock: int
    epoch: int
    place: Place
    expected: int
    got: str

    @property
    def got_value(self) -> int | None:
        """Value of the gateware, ``None`` if a bit of it is unknown."""
        if set(self.got) - {"0", "1"}:
            return None
        value = int(self.got, 2)
        if self.place.probe.signed and self.got[0] == "1":
            value -= 1 << len(self.got)
        return value

    def report(self, replay: str) -> str:
        """Return the report: one line of place, then expected, got, clock and files."""
        probe = self.place.probe
        mask = (1 << probe.bits) - 1
        expected = self.expected if probe.signed else self.expected & mask
        got = self.got_value
        got_text = f"0b{self.got}" if got is None else fixed(got, probe.fraction_bits)
        return "\n".join(
            [
                "golden != RTL: the first divergence",
                f"  where     epoch {self.epoch}, {self.place}",
                f"  unit      {probe.unit}",
                f"  expected  {fixed(expected, probe.fraction_bits)}",
                f"  got       {got_text}",
                f"  clock     {self.clock}",
                f"  waveform  {WINDOW_FILE}: the clocks around it, each probe expected and got",
                f"  replay    {replay}",
            ]
        )


def find(
    parameters: Parameters,
    window: Window,
    clock: int,
    column: int,
    epochs: npt.NDArray[np.int64],
    first_sample: int = 0,
) -> Divergence:
    """Describe the word that differs.

    Args:
        parameters: The configuration.
        window: Clocks around ``clock``, those before it as many as the pipeline is deep.
        clock: Clock since the reset.
        column: Column of ``probe_columns``.
        epochs: Epoch of each sample since the reset.
        first_sample: Number of the first of them.
    """
    row = clock - window.first_clock
    place = describe(parameters, window.expected, row, column)
    probe, _, low = probe_columns(probe_table(parameters))[column]
    bits = window.recorded.shape[1]
    got = window.recorded[row, bits - low - probe.bits : bits - low].tobytes().decode()
    return Divergence(
        clock=clock,
        epoch=int(epochs[min(place.sample, len(epochs) - 1)]),
        place=replace(place, sample=place.sample + first_sample),
        expected=int(window.expected[row, column]),
        got=got,
    )


def word_place(parameters: Parameters, memory: str, row: int, lane: int) -> str:
    """Return what a word of the state is: of a field of ``State``."""
    p, layout = parameters, Layout.of(parameters)
    if memory not in ("weights", "biases"):
        return f"source {lane} of {memory.upper()}"
    bases = layout.row_base if memory == "weights" else layout.block_base
    layer = max(each for each in range(p.depth) if bases[each] <= row)
    column = ""
    block = row - bases[layer]
    if memory == "weights":
        block, input_number = divmod(block, p.layers[layer])
        column = f"column {input_number}, "
    unit = block * p.lanes + lane
    return f"{memory}, layer {layer + 1}, block {block}, {column}lane {lane} (unit {unit})"


def gateware_state(parameters: Parameters) -> tuple[str, ...]:
    """Return the fields of a state that the gateware has."""
    dropout = ("dropout",) if parameters.input_dropout_bits else ()
    return ("weights", "biases", "draw", "update", *dropout)


def state_difference(
    parameters: Parameters, expected: State, got: State
) -> tuple[str, int, int] | None:
    """Return place, expected and got of the first word of the state that differs, if any does."""
    for name in gateware_state(parameters):
        want, have = np.atleast_2d(getattr(expected, name)), np.atleast_2d(getattr(got, name))
        different = np.argwhere(want != have)
        if len(different):
            row, lane = different[0].tolist()
            place = word_place(parameters, name, row, lane)
            return place, int(want[row, lane]), int(have[row, lane])
    return None


def end_report(place: str, expected: object, got: object, replay: str) -> str:
    """Return the report of a difference in what is left after the last sample."""
    return "\n".join(
        [
            "golden != RTL: after the last sample",
            f"  where     {place}",
            f"  expected  {expected}",
            f"  got       {got}",
            f"  replay    {replay}",
        ]
    )


def write_window(parameters: Parameters, window: Window, clock: int, path: Path) -> None:
    """Write the clocks around a divergence as a VCD file: every probe, expected and got.

    One clock lasts 1 ns, so times are the numbers of clocks.
    """
    columns = probe_columns(probe_table(parameters))
    bits = window.recorded.shape[1]
    row = clock - window.first_clock
    rows = range(max(0, row - BEFORE), min(len(window.expected), row + AFTER))
    with (
        path.open("w", encoding="utf-8") as file,
        VCDWriter(
            file, timescale="1 ns", date="", comment=f"the divergence is at clock {clock}"
        ) as writer,
    ):
        variables = []
        for probe, word, _ in columns:
            name = f"{probe.name}_{word}" if probe.words > 1 else probe.name
            # Side by side in one scope a unit, so that a viewer lists them in pairs.
            variables.append(
                [
                    writer.register_var(probe.unit, f"{name}_{side}", "wire", probe.bits, init="x")
                    for side in ("expected", "got")
                ]
            )
        for each in rows:
            time = window.first_clock + each
            text = window.recorded[each].tobytes().decode()
            for column, (probe, _, low) in enumerate(columns):
                expected, got = variables[column]
                mask = (1 << probe.bits) - 1
                writer.change(expected, time, int(window.expected[each, column]) & mask)
                writer.change(got, time, text[bits - low - probe.bits : bits - low])
        writer.close(window.first_clock + rows.stop)
