"""What ``nomul experiment compare`` does: runs of ``nomul train`` side by side."""

from collections.abc import Sequence
from pathlib import Path

from sim.commands.common import console, say_output
from sim.comparison import comparison, figure, results_table, settings_table, to_csv
from sim.curves import save_figure
from sim.output import output_folder
from sim.run_folder import Run


def compare(paths: Sequence[Path], output: Path) -> None:
    """Set run folders side by side: a table, CSV and a figure.

    Raises:
        RunError: If a path is no folder of a run.
    """
    runs = [Run.read(path) for path in paths]
    rows = comparison(runs)
    with output_folder(output, "experiment compare") as folder:
        (folder / "comparison.csv").write_text(to_csv(rows), encoding="utf-8")
        save_figure(figure(runs), folder, "comparison")
    settings = settings_table(rows)
    if settings.row_count:
        console.print(settings)
    console.print(results_table(rows))
    say_output(output)
