"""What ``nomul board`` does: train on a board, and compare it with the golden model."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from golden.checkpoint import Checkpoint
from golden.inference import Rule
from golden.network import Network
from golden.parameters import Parameters
from golden.state import State
from sim.board.host import Host, load_driver
from sim.board.link import Link, LinkError, Transport
from sim.board.serial_port import SerialPort
from sim.commands.common import (
    console,
    sample_bars,
    say_output,
    show_samples,
    versions,
    write_json,
)
from sim.data import Dataset, load
from sim.divergence import DivergenceError, state_difference
from sim.output import output_folder


def board(port: str, baud: int | None, build: Path, output: Path, **options: Any) -> None:
    """Do :func:`train_on_board` over a serial port.

    Args:
        port: Name of the port.
        baud: Bits a second, ``None`` for those of the build.
        build: Folder that ``nomul build`` wrote.
        output: Folder to write.
        options: Of :func:`train_on_board`.

    Raises:
        LinkError: If the port cannot be opened.
        OSError: If the build cannot be read.
        ValueError: If the build says no baud rate.
    """
    line = SerialPort(port, baud or _baud_of(build / "build.json"))
    try:
        train_on_board(line, build, output, **options)
    finally:
        line.close()


def _baud_of(report: Path) -> int:
    """Return the bits a second that a build was made for."""
    try:
        baud: int = round(json.loads(report.read_text(encoding="utf-8"))["baud"])
    except (KeyError, OverflowError, TypeError, ValueError):
        baud = 0
    if baud < 1:
        raise ValueError(f"{report} says no baud rate: give a folder that nomul build wrote")
    return baud


def train_on_board(
    transport: Transport,
    build: Path,
    output: Path,
    *,
    samples: int | None = None,
    first_sample: int = 0,
    evaluate: int = 0,
    rule: Rule = "sampled",
    draws: int = 1,
    state: Path | None = None,
    data: Path | None = None,
) -> None:
    """Load a state, train on samples, evaluate others, dump the state; compare all bits.

    Args:
        transport: The line to the board.
        build: Folder that ``nomul build`` wrote.
        output: Folder to write.
        samples: Training samples, epoch after epoch, default one epoch.
        first_sample: Number of the first of them.
        evaluate: Test samples to predict then.
        rule: How.
        draws: ``K``, of the rule sampled.
        state: Checkpoint to start from, default the seeded state.
        data: Folder of the MNIST files, default the UCI digits.

    Raises:
        DivergenceError: If the board and the golden model differ.
        LinkError: If the link fails, or the board has another core.
    """
    p = Parameters.load(str(build / "config.toml"))
    dataset = load(p, data)
    initial = State.initial(p)
    if state is not None:
        checkpoint = Checkpoint.load(state)
        checkpoint.changes(p)
        initial = checkpoint.state
    count = len(dataset.train_labels) if samples is None else samples
    if evaluate > len(dataset.test_labels):
        raise ValueError(f"--evaluate {evaluate}: the test set has {len(dataset.test_labels)}")
    driver = load_driver(build / "nomul_core.py")
    if rule.upper() not in driver.RULES:
        raise ValueError(
            f"--rule {rule}: the core in {build} has {', '.join(driver.RULES).lower()}; "
            f'build one with inference = "{rule}"'
        )
    network = Network(p, initial.copy())
    with output_folder(output, "board") as folder:
        with sample_bars() as bars:
            link = Link(transport, p)
            link.open()
            host = Host(driver, link, p)
            loading = bars.add_task("load words", total=host.words, rate="")
            try:
                host.begin(initial, lambda words: bars.advance(loading, words))
            except LinkError:
                raise
            except RuntimeError as error:
                raise LinkError(f"{error}: load the bitstream that is in {build}") from error

            began = time.perf_counter()
            training = bars.add_task("train", total=count, rate="")
            parts = list(_epochs(p, dataset, first_sample, count))

            def more_than(done: int) -> Callable[[int], None]:
                return lambda more: show_samples(bars, training, done + more)

            got = [
                host.run(
                    dataset.train_pixels[part],
                    dataset.train_labels[part],
                    train=True,
                    rate_shift=shift,
                    progress=more_than(done),
                )
                for done, part, shift in parts
            ]
            seconds = time.perf_counter() - began
            trained = host.core.counters(clear=True)
            wrong = learned = 0
            for (done, part, shift), predictions in zip(parts, got, strict=True):
                pixels, labels = dataset.train_pixels[part], dataset.train_labels[part]
                wanted = network.train(pixels, labels, shift)
                _compare(wanted.predictions, predictions, first_sample + done, "training sample")
                wrong += int((predictions != labels).sum())
                learned += int(wanted.trained.sum())

            test_wrong = None
            if evaluate:
                testing = bars.add_task("evaluate", total=evaluate, rate="")
                pixels, labels = dataset.test_pixels[:evaluate], dataset.test_labels[:evaluate]
                predictions = host.run(
                    pixels,
                    labels,
                    train=False,
                    rule=rule,
                    draws=draws,
                    progress=lambda more: show_samples(bars, testing, more),
                )
                _compare(network.infer(pixels, rule, draws), predictions, 0, "test sample")
                test_wrong = int((predictions != labels).sum())
            evaluated = host.core.counters(clear=True)
            dumping = bars.add_task("dump words", total=host.words, rate="")
            final = host.dump(lambda words: bars.advance(dumping, words))
        difference = state_difference(p, network.state, final)
        if difference is not None:
            raise DivergenceError("the board's {}: expected {}, got {}".format(*difference))
        for name, counts, *expected in (
            ("training", trained, count, wrong, learned),
            ("evaluation", evaluated, evaluate, test_wrong or 0, 0),
        ):
            found = [counts[each] for each in ("samples", "errors", "trained")]
            if found != expected:
                raise DivergenceError(
                    f"the board's counters of {name}: expected "
                    "{} samples, {} wrong, {} trained, got {}, {}, {}".format(*expected, *found)
                )
        Checkpoint(p, final, first_sample + count).save(folder / "checkpoint.npz")
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
        write_json(
            {
                "versions": versions(),
                "parameters": p.to_dict(),
                "first_sample": first_sample,
                "training": trained,
                "seconds": seconds,
                "evaluation": {"rule": rule, "draws": draws, **evaluated},
                "state_sha256": final.digest(),
                "equal_to_golden_model": True,
            },
            folder / "board.json",
        )
    console.print(
        f"board == golden model: {count:,} samples trained, {evaluate:,} evaluated, "
        f"all {host.words:,} words of state equal"
    )
    console.print(
        f"{count / seconds:,.0f} samples/s; the core worked "
        f"{trained['clocks'] / max(1, count):,.1f} clocks a sample, waiting for the line included"
    )
    if test_wrong is not None:
        console.print(f"test error: {100 * test_wrong / evaluate:.2f} % of {evaluate:,}")
    say_output(output)


def _epochs(
    parameters: Parameters, dataset: Dataset, first: int, count: int
) -> Iterator[tuple[int, slice, int]]:
    """Yield samples done before, samples in the data set, and rate shift, of each epoch."""
    size, done = len(dataset.train_labels), 0
    while done < count:
        epoch, start = divmod(first + done, size)
        end = min(size, start + count - done)
        yield done, slice(start, end), parameters.rate_shift(epoch)
        done += end - start


def _compare(
    expected: np.ndarray[Any, Any], got: np.ndarray[Any, Any], first: int, what: str
) -> None:
    differing = np.flatnonzero(expected != got)
    if len(differing):
        at = int(differing[0])
        raise DivergenceError(
            f"the board's prediction of {what} {first + at}: expected {expected[at]}, got {got[at]}"
        )
