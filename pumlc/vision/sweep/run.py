"""A sweep from its settings to its tables."""

from pathlib import Path
from typing import NamedTuple

from pumlc.errors import UserError
from pumlc.sweep.cells import FailedCells, Row, run_cells
from pumlc.vision.sweep.config import SweepConfig
from pumlc.vision.sweep.feature_cells import feature_cells
from pumlc.vision.sweep.fine_tuned_cells import fine_tune_cells
from pumlc.vision.sweep.report import write_report


class SweepResult(NamedTuple):
    """What `run_sweep` returns.

    Attributes:
        rows: the rows of the finished cells, as in results.csv.
        report: the tables, as in table.md; empty if no cell is finished.
        failed: says which cells failed; None if all are finished.
    """

    rows: list[Row]
    report: str
    failed: FailedCells | None


def run_sweep(config: SweepConfig, out: Path) -> SweepResult:
    """Run the missing cells of a sweep and write its results, tables and plot.

    Finished cells are not run again, so the same settings continue a stopped sweep, and a longer
    list of methods, proportions, conditions or seeds adds to it. Every cell has its own process. A
    cell that fails does not stop the others.

    Args:
        config: the settings.
        out: the folder of the sweep: ``results.csv``, ``chosen.csv``, ``table.md``, ``table.tex``,
            ``plot.svg``, and see `pumlc.sweep.cells.run_cells`.

    Raises:
        UserError: the folder cannot be made, a setting or a file cannot be used by any cell, or a
            finished cell was run with other settings.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)  # before features are extracted in vain
    except OSError as error:
        raise UserError(f"{out} must be a folder or a new one: {error}") from error
    mode = feature_cells if config.features is not None else fine_tune_cells
    settings, run = mode(config, out)
    failed = None
    try:
        rows = run_cells(config.grid(), out, settings, run, workers=config.workers)
    except FailedCells as error:
        rows, failed = error.rows, error
    return SweepResult(rows, write_report(rows, config, out) if rows else "", failed)
