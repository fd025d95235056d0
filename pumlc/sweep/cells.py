"""The cells of a sweep, a grid of methods, conditions and seeds: the missing ones are run.

OUT/cells/METHOD-CONDITION-SEED.json    one per finished cell; delete it to run the cell again
OUT/locks/METHOD-CONDITION-SEED.lock    held by the process that runs the cell
OUT/results.csv                         every row of every finished cell, rewritten after each

A condition is what was done to the labels. It is a proportion of them that is known, or it has a
name and does more than hide labels.
"""

import dataclasses
import itertools
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import filelock

from pumlc.errors import UserError
from pumlc.files import read_json, write_csv, write_json
from pumlc.sweep.process import RemoteError

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run of a sweep. Its fields are the first columns of each of its rows.

    Attributes:
        method: its name.
        proportion: of the labels that are known.
        seed: its number.
        condition: the condition's name; "" for the proportion alone.
    """

    method: str
    proportion: float
    seed: int
    condition: str = ""

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.method}-{self.condition or f'{self.proportion:g}'}-{self.seed}"

    @property
    def column(self) -> str:
        """The title of its column in tables."""
        return self.condition or proportion_title(self.proportion)


def proportion_title(proportion: float) -> str:
    """What tables call a proportion of known labels that is a condition by itself.

    Example:
        >>> proportion_title(0.1)
        '10 %'
    """
    return f"{100 * proportion:g} %"


RESAMPLES = "resamples"
"""The entry of a row with its metrics on resamples of the test rows; no column of results.csv."""
CELL_COLUMNS = tuple(field.name for field in dataclasses.fields(Cell))

Settings = Callable[[Cell], Any]
"""What decides a cell's result, as plain JSON."""
Run = Callable[[Cell], list[Row]]
"""The rows of a cell, one for each candidate that validation chooses among."""


def grid(
    methods: Sequence[str],
    proportions: Sequence[float],
    seeds: Sequence[int],
    conditions: Mapping[str, float] | None = None,
) -> list[Cell]:
    """All cells; a whole table of the first seed is finished before the next seed starts.

    Args:
        methods: names.
        proportions: of known labels.
        seeds: numbers.
        conditions: name of a further condition -> the proportion of known labels in it.
    """
    columns = [(proportion, "") for proportion in proportions]
    columns += [(proportion, name) for name, proportion in (conditions or {}).items()]
    return [
        Cell(method, proportion, seed, condition)
        for seed, (proportion, condition), method in itertools.product(seeds, columns, methods)
    ]


class FailedCells(UserError):
    """Some cells failed; the others were run.

    Attributes:
        reasons: name of a failed cell -> one line about its error.
        rows: the rows of the finished cells.
    """

    def __init__(self, reasons: dict[str, str], num_cells: int, rows: list[Row]) -> None:
        lines = "".join(f"\n  {name}: {reason}" for name, reason in reasons.items())
        super().__init__(f"{len(reasons)} of {num_cells} cells failed:{lines}")
        self.reasons = reasons
        self.rows = rows


def finished_cells(cells: Sequence[Cell], out: Path, settings: Settings) -> dict[Cell, list[Row]]:
    """The rows of the finished cells, which are written to ``OUT/results.csv`` too.

    Args:
        cells: all cells of the sweep.
        out: folder of the sweep.
        settings: as of `run_cells`.

    Raises:
        UserError: as of `run_cells`.
    """
    files = {cell: out / "cells" / f"{cell.name}.json" for cell in cells}
    rows_of = {cell: _finished_rows(file, settings(cell)) for cell, file in files.items()}
    _write_results(rows_of, out)
    return {cell: rows for cell, rows in rows_of.items() if rows is not None}


def run_cells(
    cells: Sequence[Cell],
    out: Path,
    settings: Settings,
    run: Run,
    *,
    workers: int = 1,
    wait: bool = True,
) -> list[Row]:
    """Run the cells that have no file yet; a cell that was killed has none and is run again.

    Any number of processes may do this at once in one folder, also on machines that share it: each
    cell has a lock, which ends with the process that holds it, so no cell is run twice.

    A cell that fails stops no other. An error of the user's is one line of the summary; any other
    exception is also shown with its traceback on stderr, since it is a fault of the program or of
    the user's own loss.

    Args:
        cells: all cells of the sweep.
        out: folder of the sweep.
        settings: what decides a cell's result, as plain JSON; kept beside it.
        run: returns the rows of a cell.
        workers: cells at a time.
        wait: also for the cells that other processes are running; False leaves them to those.

    Returns:
        the rows of all cells, which ``OUT/results.csv`` has too.

    Raises:
        UserError: a finished cell was run with other settings, or its file is damaged.
        FailedCells: after all the others have been run.
    """
    work = _Work(cells, out, settings, run)
    missing = work.missing()
    if workers == 1:
        for cell in missing:  # in this thread, so that Ctrl-C ends the cell and its processes
            work.take(cell)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work.take, missing))
    if wait and work.elsewhere:
        print(f"waiting for {len(work.elsewhere)} cells of other processes", flush=True)
        for cell in list(work.elsewhere):
            work.take(cell, wait=True)
    rows = _write_results(work.rows_of, out)  # even if no cell was missing
    if work.reasons:
        raise FailedCells(work.reasons, len(cells), rows)
    return rows


class _Work:
    """The cells of a sweep in this process.

    Attributes:
        rows_of: cell -> its rows; None if it is not finished.
        reasons: name of a failed cell -> one line about its error.
        elsewhere: cells that another process was running when this one came to them.
    """

    def __init__(self, cells: Sequence[Cell], out: Path, settings: Settings, run: Run) -> None:
        self.out, self.settings, self.run = out, settings, run
        for name in ("cells", "locks"):
            (out / name).mkdir(parents=True, exist_ok=True)
        self.rows_of = {cell: self._finished(cell) for cell in cells}
        self.reasons: dict[str, str] = {}
        self.elsewhere: list[Cell] = []
        self.progress, self.shared = _Progress(len(self.missing())), Lock()

    def missing(self) -> list[Cell]:
        """The cells that are not finished."""
        return [cell for cell, rows in self.rows_of.items() if rows is None]

    def take(self, cell: Cell, *, wait: bool = False) -> None:
        """Run a cell, unless another process has finished it or is running it.

        Args:
            cell: a missing one.
            wait: until no other process is running it.
        """
        lock = filelock.FileLock(self.out / "locks" / f"{cell.name}.lock")
        try:
            held = lock.acquire(timeout=-1 if wait else 0, poll_interval=0.5)
        except filelock.Timeout:
            self.elsewhere.append(cell)
            return
        except NotImplementedError:  # a file system without locks
            held = nullcontext()
        with held:
            rows = self._finished(cell)
            if rows is None:
                self._run(cell)
            else:
                self.rows_of[cell] = rows
                self.progress.num_cells -= 1

    def _run(self, cell: Cell) -> None:
        try:
            rows = self.run(cell)
            content = {"settings": self.settings(cell), "rows": rows}
            write_json(self._file(cell), content)
            self.rows_of[cell] = rows
        except (UserError, OSError) as error:
            self.reasons[cell.name] = str(error)
        except Exception as error:  # noqa: BLE001 (a border: one fault must not end the other cells)
            traceback.print_exception(error)
            self.reasons[cell.name] = f"{_fault(error)} (its traceback is shown above)"
        with self.shared:
            _write_results(self.rows_of, self.out)
            self.progress.show(cell, self.reasons.get(cell.name))

    def _file(self, cell: Cell) -> Path:
        return self.out / "cells" / f"{cell.name}.json"

    def _finished(self, cell: Cell) -> list[Row] | None:
        return _finished_rows(self._file(cell), self.settings(cell))


class _Progress:
    """A printed line for each cell that ends, with the time that the others will take."""

    def __init__(self, num_cells: int) -> None:
        self.num_cells, self.num_done = num_cells, 0
        self.started = time.monotonic()

    def show(self, cell: Cell, reason: str | None) -> None:
        self.num_done += 1
        seconds = time.monotonic() - self.started
        left = seconds / self.num_done * (self.num_cells - self.num_done)
        failed = "" if reason is None else f" failed: {reason}"
        print(
            f"{self.num_done}/{self.num_cells} {cell.name}{failed}: {seconds:.0f} s, "
            f"{left:.0f} s left",
            flush=True,
        )


def _fault(error: Exception) -> str:
    """Type and message of an exception, also of one in another process."""
    return str(error) if isinstance(error, RemoteError) else f"{type(error).__name__}: {error}"


def _finished_rows(file: Path, settings: Any) -> list[Row] | None:
    """The rows of a finished cell, None if it is to be run."""
    if not file.is_file():
        return None
    try:
        content = read_json(file)
        recorded, rows = content["settings"], [dict(row) for row in content["rows"]]
    except (UserError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{file} is damaged: it has no settings and rows of a cell; delete it to run it again"
        ) from error
    if recorded != settings:
        raise UserError(
            f"{file} was run with other settings than the sweep gives it now; delete it to run it "
            "again, or choose another folder for the sweep"
        )
    return rows


def result_rows(rows_of: Mapping[Cell, list[Row] | None]) -> list[Row]:
    """The rows of all finished cells, each with the columns of its cell."""
    return [
        {**dataclasses.asdict(cell), "condition": cell.column, **row}
        for cell, rows in rows_of.items()
        for row in rows or ()
    ]


def _write_results(rows_of: Mapping[Cell, list[Row] | None], out: Path) -> list[Row]:
    """Write the rows of the finished cells to ``OUT/results.csv`` and return them."""
    rows = result_rows(rows_of)
    columns = [name for name in dict.fromkeys(n for row in rows for n in row) if name != RESAMPLES]
    write_csv(out / "results.csv", columns, ([row.get(name) for name in columns] for row in rows))
    return rows
