"""What ``nomul evaluate`` does: every inference rule, from one trained state."""

from dataclasses import asdict

from rich.table import Table

from golden.network import Network
from sim.commands.common import (
    Setup,
    console,
    sample_bars,
    say_output,
    show_samples,
    versions,
    write_json,
)
from sim.data import load
from sim.evaluation import RuleResult, sample_passes, save_results
from sim.evaluation import evaluate as evaluate_rules
from sim.output import output_folder


def evaluate(setup: Setup, *, draws: list[int], samples: int | None) -> None:
    """Evaluate every inference rule on the test samples, or on the first ``samples`` of them.

    Raises:
        ValueError: If there are not so many, or a number of draws is out of range.
    """
    p = setup.parameters
    dataset = load(p, setup.data)
    network = Network(p, setup.initial_state())
    count = len(dataset.test_labels) if samples is None else samples
    if count > len(dataset.test_labels):
        raise ValueError(f"--samples {count}: the test set has {len(dataset.test_labels)}")
    with output_folder(setup.output, "evaluate") as folder:
        with sample_bars() as bars:
            task = bars.add_task("evaluate", total=sample_passes(draws, count), rate="")
            results = list(
                evaluate_rules(
                    network,
                    dataset.test_pixels[:count],
                    dataset.test_labels[:count],
                    draws,
                    progress=lambda done: show_samples(bars, task, done),
                )
            )
        (folder / "config.toml").write_text(p.to_toml(), encoding="utf-8")
        save_results(results, folder / "evaluation.csv")
        report = {
            "versions": versions(),
            "parameters": p.to_dict(),
            "state_sha256": network.state.digest(),
            "samples": count,
            "results": [asdict(result) for result in results],
        }
        write_json(report, folder / "evaluation.json")
    console.print(_evaluation_table(results))
    say_output(setup.output)


def _evaluation_table(results: list[RuleResult]) -> Table:
    title = f"inference without a multiplier, {results[0].samples:,} test samples"
    table = Table("rule", title=title, title_justify="left")
    for heading in ("passes over the weights", "test errors", "test error", "us a sample"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(
            result.rule,
            str(result.passes),
            f"{result.errors:,}",
            f"{result.error_percent:.2f} %",
            f"{result.microseconds_per_sample:,.1f}",
        )
    return table
