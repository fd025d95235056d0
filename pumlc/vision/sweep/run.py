"""A sweep from its settings to its tables."""

from pathlib import Path
from typing import NamedTuple

from pumlc.errors import UserError
from pumlc.sweep.cells import (
    FailedCells,
    Row,
    Run,
    Settings,
    finished_cells,
    result_rows,
    run_cells,
)
from pumlc.sweep.launch import launch
from pumlc.vision.sweep.config import LauncherConfig, SweepConfig
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
            ``plot.svg``, with submitit ``jobs``, and see `pumlc.sweep.cells.run_cells`.

    Raises:
        UserError: the folder cannot be made, a setting or a file cannot be used by any cell, or a
            finished cell was run with other settings.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)  # before features are extracted in vain
    except OSError as error:
        raise UserError(f"{out} must be a folder or a new one: {error}") from error
    settings, run = _cells_of(config, out)
    failed = None
    try:
        if config.launcher is None:
            rows = run_cells(config.grid(), out, settings, run, workers=config.workers)
        else:
            rows = _run_jobs(config, config.launcher, out, settings)
    except FailedCells as error:
        rows, failed = error.rows, error
    return SweepResult(rows, write_report(rows, config, out) if rows else "", failed)


def _cells_of(config: SweepConfig, out: Path) -> tuple[Settings, Run]:
    return (feature_cells if config.features is not None else fine_tune_cells)(config, out)


def _run_jobs(
    config: SweepConfig, launcher: LauncherConfig, out: Path, settings: Settings
) -> list[Row]:
    """Let jobs run the missing cells, and collect the rows of all cells."""
    grid = config.grid()
    reasons: dict[str, str] = {}
    if len(finished_cells(grid, out, settings)) < len(grid):
        of_jobs = launch(
            take_cells,
            (config, out.absolute()),
            name=launcher.name,
            jobs=launcher.jobs,
            settings=launcher.settings,
            folder=out / "jobs",
        )
        reasons = {name: reason for each in of_jobs for name, reason in each.items()}
    rows_of = finished_cells(grid, out, settings)
    lost = {cell.name: "its job ended without a result" for cell in grid if cell not in rows_of}
    failed = {**lost, **{name: reason for name, reason in reasons.items() if name in lost}}
    rows = result_rows(rows_of)
    if failed:
        raise FailedCells(failed, len(grid), rows)
    return rows


def take_cells(config: SweepConfig, out: Path) -> dict[str, str]:
    """Run the cells of a sweep that no other process is running.

    Returns:
        name of a failed cell -> one line about its error.
    """
    settings, run = _cells_of(config, out)
    try:
        run_cells(config.grid(), out, settings, run, workers=config.workers, wait=False)
    except FailedCells as error:
        return error.reasons
    return {}
