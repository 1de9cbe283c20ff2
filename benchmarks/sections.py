"""The sections of the benchmark: what is compared with what."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from benchmarks.dense_walk import Walk
from benchmarks.interleave import Float64Array, Spread, Task, interleave
from benchmarks.products import SIZE, instruction, product_tasks
from benchmarks.report import Comparison
from benchmarks.samples import Samples
from benchmarks.startup import first_call, torch_first_call
from golden.network import Network
from golden.parameters import Parameters
from golden.state import State

#: Samples of a turn of an epoch.
CHUNK = 1000

#: Rounds of fresh processes, which take seconds each.
STARTS = 7

#: Samples that the dense walk is checked on.
_CHECKED = 20


@dataclass
class Run:
    """What the sections share.

    Attributes:
        samples: What the networks are shown.
        rounds: Rounds that count.
        progress: Where to show how far it is.
        comparisons: What was measured so far.
        notes: Sentences for the reader.
        processor: Processor time of all that was timed in this process, in seconds.
        wall: Wall time of the same.
    """

    samples: Samples
    rounds: int
    progress: Progress
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    processor: float = 0.0
    wall: float = 0.0

    def seconds(
        self, what: str, tasks: Mapping[str, Task], rounds: int, warm_up: int = 0
    ) -> dict[str, Float64Array]:
        """Return the processor seconds of the rounds of each task."""
        bar = self.progress.add_task(what, total=warm_up + rounds)
        clocks = interleave(tasks, rounds, lambda: self.progress.advance(bar), warm_up)
        self.progress.remove_task(bar)
        self.processor += sum(float(clock.processor.sum()) for clock in clocks.values())
        self.wall += sum(float(clock.wall.sum()) for clock in clocks.values())
        return {name: clock.processor for name, clock in clocks.items()}

    def make_ready(self, what: str, work: Callable[[], object]) -> None:
        """Do what takes a while and is not timed."""
        bar = self.progress.add_task(what, total=None)
        work()
        self.progress.remove_task(bar)


def _dashed(layers: Iterable[int]) -> str:
    return "-".join(map(str, layers))


def step_times(run: Run) -> None:
    """Compare a training step of the paper's network with torch."""
    _step_time(run, 0, steps=32, autograd_target=2.5, ternary_target=25)
    _step_time(run, 4, steps=6, autograd_target=3, ternary_target=12)
    _step_time(run, 7, steps=2, autograd_target=3.5, ternary_target=6)


def _step_time(
    run: Run, batch_bits: int, steps: int, autograd_target: float, ternary_target: float
) -> None:
    from benchmarks import torch_peers  # noqa: PLC0415 - an extra, which takes seconds to load

    torch_peers.use_one_thread()
    batch = 1 << batch_bits
    paper = Parameters.named("mnist-paper")
    # A batch twice as large wants shifts that are one larger (contract, section 12).
    parameters = paper.replace(
        input_dropout_bits=0,
        batch_bits=batch_bits,
        update_shifts=tuple(shift + batch_bits for shift in paper.update_shifts),
        bias_shift=paper.bias_shift + batch_bits,
    )
    pixels, labels = run.samples.pixels[: steps * batch], run.samples.labels[: steps * batch]
    initial = State.initial(parameters)

    network = Network(parameters)

    def ours(_round: int) -> Callable[[], object]:
        # Every round starts from the initial state, when samples are learnt from; the memory stays
        # where it is, as that of the peers does.
        for array, value in zip(vars(network.state).values(), vars(initial).values(), strict=True):
            array[:] = value
        return lambda: network.train(pixels, labels)

    run.make_ready("compile", ours(0))
    learnt = Network(parameters).train(pixels, labels).trained.mean()
    run.notes.append(
        f"Step of batch {batch}: {100 * learnt:.0f} % of the {len(labels)} samples were learnt "
        "from, the others had no delta."
    )
    inputs, targets = torch_peers.tensors(pixels, labels, paper.layers[-1])
    parts = list(zip(inputs.split(batch), targets.split(batch), strict=True))

    def torch_task(step: torch_peers.Step) -> Task:
        def work() -> None:
            for each in parts:
                step(*each)

        return lambda _round: work

    autograd, ternary, hand = "torch, autograd + SGD", "torch, stochastic ternary", "torch, by hand"
    seconds = run.seconds(
        f"step of batch {batch}",
        {
            "ours": ours,
            autograd: torch_task(torch_peers.autograd_step(paper.layers)),
            ternary: torch_task(torch_peers.ternary_step(paper.layers)),
            hand: torch_task(torch_peers.hand_written_step(paper.layers)),
        },
        run.rounds,
        warm_up=2,
    )
    for peer, target in ((autograd, autograd_target), (ternary, ternary_target), (hand, None)):
        run.comparisons.append(
            Comparison(
                section=f"Training step, {_dashed(paper.layers)}",
                what=f"batch {batch}",
                peer=peer,
                unit="ms",
                ours=Spread.of(1e3 * seconds["ours"] / steps),
                theirs=Spread.of(1e3 * seconds[peer] / steps),
                ratio=Spread.of(seconds[peer] / seconds["ours"]),
                target=target,
            )
        )


def products(run: Run) -> None:
    """Compare the matrix products of a batch of 128 with the peak of their instruction."""
    batch = 128
    work, count = product_tasks(batch)
    for name, kernel in work.items():
        run.make_ready(f"compile {name}", kernel)

    def task(kernel: Callable[[], object]) -> Task:
        return lambda _round: kernel

    tasks = {name: task(kernel) for name, kernel in work.items()}
    seconds = run.seconds("matrix products", tasks, run.rounds, warm_up=2)
    run.notes.append(f"Peak of the matrix products: {instruction()}, in registers alone.")
    run.comparisons += [
        Comparison(
            section=f"Matrix products, {SIZE} x {SIZE}, batch {batch}",
            what=f"{name} product",
            peer="peak",
            unit="GOPS",
            ours=Spread.of(1e-9 * count / seconds[name]),
            theirs=Spread.of(1e-9 * count / seconds["peak"]),
            ratio=Spread.of(seconds["peak"] / seconds[name]),
            target=0.8,
        )
        for name in work
        if name != "peak"
    ]


def _chunk(run: Run, number: int) -> tuple[Any, Any]:
    part = slice(number * CHUNK, (number + 1) * CHUNK)
    return run.samples.pixels[part], run.samples.labels[part]


def _epoch(
    run: Run, section: str, what: str, peer: str, ours: Float64Array, theirs: Float64Array
) -> Comparison:
    """Compare whole epochs, with the quartiles of their turns."""
    samples = CHUNK * len(ours)
    return Comparison(
        section=section,
        what=what,
        peer=peer,
        unit="samples/s",
        ours=Spread.around(samples / float(ours.sum()), CHUNK / ours),
        theirs=Spread.around(samples / float(theirs.sum()), CHUNK / theirs),
        ratio=Spread.around(float(theirs.sum() / ours.sum()), theirs / ours),
        target=10 if peer == "torch, autograd + SGD" else None,
    )


def online(run: Run) -> None:
    """Compare the first epoch online, sample by sample, with torch at batch 1."""
    from benchmarks import torch_peers  # noqa: PLC0415 - an extra, which takes seconds to load

    torch_peers.use_one_thread()
    parameters = Parameters.named("mnist-small")
    network, learnt = Network(parameters), []
    run.make_ready("compile", lambda: Network(parameters).train(*_chunk(run, 0)))

    def ours(number: int) -> Callable[[], object]:
        pixels, labels = _chunk(run, number)
        return lambda: learnt.append(network.train(pixels, labels).trained)

    def torch_task(step: torch_peers.Step) -> Task:
        def task(number: int) -> Callable[[], object]:
            inputs, targets = torch_peers.tensors(*_chunk(run, number), parameters.layers[-1])

            def work() -> None:
                for each in zip(inputs.split(1), targets.split(1), strict=True):
                    step(*each)

            return work

        task(0)()
        return task

    autograd, hand = "torch, autograd + SGD", "torch, by hand"
    seconds = run.seconds(
        "online epoch",
        {
            "ours": ours,
            autograd: torch_task(torch_peers.autograd_step(parameters.layers)),
            hand: torch_task(torch_peers.hand_written_step(parameters.layers)),
        },
        len(run.samples.labels) // CHUNK,
    )
    run.notes.append(
        f"Online epoch: {100 * np.concatenate(learnt).mean():.0f} % of the samples were learnt "
        "from, the others had no delta."
    )
    run.comparisons += [
        _epoch(
            run,
            f"First epoch online, {_dashed(parameters.layers)}",
            "batch 1",
            peer,
            seconds["ours"],
            seconds[peer],
        )
        for peer in (autograd, hand)
    ]


def skips(run: Run) -> None:
    """Compare the first epoch online with the same kernels when they skip less."""
    parameters = Parameters.named("mnist-small")
    network = Network(parameters)
    columns = Walk(parameters, skips_columns=True)
    dense = Walk(parameters, skips_columns=False)
    pixels, labels = run.samples.pixels[:_CHECKED], run.samples.labels[:_CHECKED]
    run.make_ready("compile", lambda: network.train(pixels, labels))
    run.make_ready("compile without the skip of samples", lambda: columns.train(pixels, labels))
    run.make_ready("compile the dense walk, check it", lambda: dense.check(pixels, labels))

    def task(trainer: Network | Walk) -> Task:
        return lambda number: lambda: trainer.train(*_chunk(run, number))

    seconds = run.seconds(
        "online epoch, dense",
        {"both": task(network), "columns": task(columns), "dense": task(dense)},
        len(run.samples.labels) // CHUNK,
    )
    run.comparisons += [
        _epoch(
            run,
            f"What the skips pay, first epoch online, {_dashed(parameters.layers)}",
            what,
            "the dense walk",
            seconds[name],
            seconds["dense"],
        )
        for what, name in (("zero columns skipped", "columns"), ("and samples", "both"))
    ]


def starts(run: Run) -> None:
    """Measure the first call of a fresh process, without and with compiled code on disk."""
    for name, batch_bits in (("mnist-small", 0), ("mnist-paper", 7)):
        with tempfile.TemporaryDirectory() as folder:
            _start(run, name, batch_bits, Path(folder))


def _start(run: Run, name: str, batch_bits: int, cache: Path) -> None:
    layers = Parameters.named(name).layers
    what = f"{name}, batch {1 << batch_bits}"

    def ours(_round: int) -> Callable[[], object]:
        return lambda: first_call(name, batch_bits, cache)

    def theirs(_round: int) -> Callable[[], object]:
        return lambda: torch_first_call(layers)

    bar = run.progress.add_task(f"first call, {what}, empty cache", total=STARTS + 1)

    def advance() -> None:
        run.progress.update(bar, advance=1, description=f"first call, {what}")

    cold = interleave({"ours": ours}, 1, advance)["ours"].wall
    warm = interleave({"ours": ours, "torch": theirs}, STARTS, advance)
    run.progress.remove_task(bar)
    run.notes.append(f"First call, {what}, with an empty cache: {cold[0]:.0f} s, once.")
    run.comparisons.append(
        Comparison(
            section="First call in a fresh process, wall time",
            what=f"{what}, warm cache",
            peer="torch, first step",
            unit="s",
            ours=Spread.of(warm["ours"].wall),
            theirs=Spread.of(warm["torch"].wall),
            ratio=Spread.of(warm["torch"].wall / warm["ours"].wall),
            limit=2,
        )
    )


#: All sections, in order.
SECTIONS: dict[str, Callable[[Run], None]] = {
    "steps": step_times,
    "products": products,
    "online": online,
    "skips": skips,
    "starts": starts,
}

#: Those that compare with torch.
WITH_TORCH = ("steps", "online", "starts")
