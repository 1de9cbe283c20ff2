"""What ``nomul train`` does: the functional golden model, in a run folder."""

import shlex
from collections.abc import Callable
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from golden.checkpoint import Checkpoint
from golden.network import Network
from sim.commands.common import (
    Interrupted,
    Setup,
    console,
    say_output,
    versions,
)
from sim.data import Dataset, load
from sim.jitter import check_square
from sim.run_folder import Run, RunError, training_in
from sim.training import Epoch, compile_kernels, default_epochs, exact_error, train

#: Most lines of a table of epochs; the output folder has every epoch.
EPOCH_LINES = 25


def train_with_bar(
    network: Network,
    dataset: Dataset,
    epochs: int,
    first_sample: int,
    *,
    validation: int = 0,
    jitter: bool = False,
    finished: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train with a bar, and print a line for every epoch, or every so many if there are many.

    ``finished`` is called after each epoch.
    """
    size = len(dataset.train_labels) - validation
    total = epochs * size - first_sample
    if total <= 0:
        return []
    done: list[Epoch] = []
    every = -(-epochs // EPOCH_LINES)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[shown]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        compilation = bars.add_task("compile the golden model (once)", total=None, shown="")
        compile_kernels(network.parameters)
        bars.remove_task(compilation)
        held_back = "validation" if validation else "test"
        console.print(
            f"epoch   rate  train error      loss  trained on  samples/s  {held_back} error"
        )
        task = bars.add_task("", total=total, shown="")

        def show(samples: int) -> None:
            shown = f"{samples / (bars.tasks[0].elapsed or 1):,.0f} samples/s"
            if done:
                shown += f", loss {done[-1].loss:.4f}, error {done[-1].held_back_error:.2f} %"
            epoch = min((first_sample + samples) // size + 1, epochs)
            bars.update(task, completed=samples, description=f"epoch {epoch}/{epochs}", shown=shown)

        for epoch in train(
            network,
            dataset,
            epochs,
            validation=validation,
            jitter=jitter,
            first_sample=first_sample,
            progress=show,
        ):
            done.append(epoch)
            show(sum(each.samples for each in done))
            if finished is not None:
                finished(epoch)
            if (epoch.epoch + 1) % every and epoch.epoch + 1 != epochs:
                continue
            console.print(
                f"{epoch.epoch + 1:5}  2^-{epoch.rate_shift:<2}  {epoch.train_error:9.2f} %"
                f"  {epoch.loss:8.5f}  {epoch.trained_fraction:8.1f} %"
                f"  {epoch.samples / epoch.seconds:9,.0f}  {epoch.held_back_error:8.2f} %"
            )
    return done


def train_network(
    setup: Setup,
    *,
    epochs: int | None,
    validation: int | None,
    jitter: bool | None,
    resume: bool,
) -> None:
    """Train with the functional model alone, in a run folder.

    Raises:
        Interrupted: If the user stops it; the run folder stays, and it can go on.
        RunError: If the folder is not one that the run can begin in, or go on in.
    """
    dataset: Dataset | None = None
    if not (resume and setup.checkpoint is None):
        dataset = _begin_run(
            setup,
            epochs=epochs,
            validation=validation or 0,
            jitter=bool(jitter),
            resume=resume,
        )
        epochs = None
    with training_in(setup.output):
        run, checkpoint = Run.resume(setup.output)
        try:
            _check_resumed(setup, run, validation, jitter)
            if setup.data is not None:
                run.report["data"] = str(setup.data.absolute())
            if epochs is not None:
                run.extend(epochs)
            if dataset is None:
                folder = run.report["data"]
                dataset = load(run.parameters, None if folder is None else Path(folder))
            network = Network(run.parameters, checkpoint.state)
            train_with_bar(
                network,
                dataset,
                run.report["epochs"],
                checkpoint.samples,
                validation=run.report["validation_samples"],
                jitter=run.report["jitter"],
                finished=lambda epoch: run.add(epoch, network.state),
            )
            error_percent = exact_error(network, dataset)
            run.finish(network.state, error_percent)
        except KeyboardInterrupt as error:
            # It may have come after a write, before `run` knew of it: the folder says what is done.
            run, _ = Run.resume(setup.output)
            run.draw()
            again = shlex.join(["nomul", "train", "--resume", "--output", str(setup.output)])
            raise Interrupted(
                f"interrupted, {run.epochs_done} of {run.report['epochs']} epochs are done; "
                f"go on with: {again}"
            ) from error
    console.print(f"test error: {error_percent:.2f} %")
    say_output(setup.output)


def _begin_run(
    setup: Setup, *, epochs: int | None, validation: int, jitter: bool, resume: bool
) -> Dataset:
    """Make the folder of a new run, and return what it trains on.

    With ``resume`` it goes on from where the checkpoint stands.
    """
    p = setup.parameters
    dataset = load(p, setup.data)
    size = len(dataset.train_labels) - validation
    if size <= 0:
        raise RunError(
            f"--validation must be below the {len(dataset.train_labels):,} training images, "
            f"not {validation:,}"
        )
    if jitter:
        try:
            check_square(p.layers[0])
        except ValueError as error:
            raise RunError(str(error)) from None
    before = setup.checkpoint.samples if resume and setup.checkpoint is not None else 0
    epochs = default_epochs(p) if epochs is None else epochs
    command = ["nomul", "train", *setup.arguments(), "--epochs", str(epochs)]
    report = {
        "command": [
            *command,
            *(["--validation", str(validation)] if validation else []),
            *(["--jitter"] if jitter else []),
            *(["--resume"] if resume else []),
        ],
        "versions": versions(),
        "parameters": p.to_dict(),
        "data": None if setup.data is None else str(setup.data.absolute()),
        "epochs": epochs,
        "train_samples": size,
        "validation_samples": validation,
        "jitter": jitter,
        "samples_before": before,
    }
    Run.create(setup.output, Checkpoint(p, setup.initial_state(), before), report)
    return dataset


def _check_resumed(setup: Setup, run: Run, validation: int | None, jitter: bool | None) -> None:
    """Refuse options that would make the resumed run another one.

    Raises:
        RunError: If the configuration, the images held back or the jitter differ.
    """
    mend = "leave the option out, or start a new run in another folder with --output"
    if setup.config is not None and setup.parameters != run.parameters:
        raise RunError(f"{run.path} was not trained with --config {setup.config}; {mend}")
    if validation is not None and validation != run.report["validation_samples"]:
        raise RunError(
            f"{run.path} holds back {run.report['validation_samples']} images, not {validation}; "
            + mend
        )
    if jitter is not None and jitter != run.report["jitter"]:
        raise RunError(
            f"{run.path} was begun with{'' if run.report['jitter'] else 'out'} --jitter; {mend}"
        )
