"""A grid of methods, proportions and seeds: run what is missing, choose, tabulate, plot.

OUT/cells/METHOD-PROPORTION-SEED.json    one per finished cell; deleted, it is run again
OUT/results.csv                          every row of every finished cell, rewritten after each
OUT/table.md, OUT/plot.svg               after the choice by validation
"""

import csv
import itertools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from pumlc.errors import UserError
from pumlc.files import read_json, write_json
from pumlc.tables import table

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    method: str
    proportion: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method}-{self.proportion:g}-{self.seed}"


Settings = Callable[[Cell], Any]
"""What decides a cell's result, as plain JSON."""
Run = Callable[[Cell], list[Row]]
"""The rows of a cell, one for each candidate that validation chooses among."""


def grid(methods: Sequence[str], proportions: Sequence[float], seeds: Sequence[int]) -> list[Cell]:
    """All cells; a whole table of the first seed is finished before the next seed starts."""
    cells = itertools.product(seeds, proportions, methods)
    return [Cell(method, proportion, seed) for seed, proportion, method in cells]


class FailedCells(UserError):
    """Cells could not be run; the others were, and ``rows`` are theirs."""

    def __init__(self, reasons: dict[str, str], cells: int, rows: list[Row]) -> None:
        listed = "".join(f"\n  {name}: {reason}" for name, reason in reasons.items())
        super().__init__(f"{len(reasons)} of {cells} cells failed:{listed}")
        self.rows = rows


def run_cells(
    cells: Sequence[Cell],
    out: Path,
    settings: Settings,
    run: Run,
    *,
    workers: int = 1,
) -> list[Row]:
    """Run the cells that have no file yet; a cell that was killed has none and is run again.

    A cell that raises is reported and the others go on.

    Args:
        settings: what decides a cell's result, as plain JSON; kept beside it.
        run: returns the rows of a cell, one for each candidate that validation chooses among.
        workers: cells at a time.

    Returns:
        the rows of all the cells, with method, proportion and seed; OUT/results.csv has them too.

    Raises:
        UserError: a finished cell was run with other settings, or its file is damaged.
        FailedCells: after all the others have been run.
    """
    folder = out / "cells"
    folder.mkdir(parents=True, exist_ok=True)
    files = {cell: folder / f"{cell.name}.json" for cell in cells}
    rows_of = {cell: _finished(file, settings(cell)) for cell, file in files.items()}
    missing = [cell for cell in cells if rows_of[cell] is None]
    reasons: dict[str, str] = {}
    started, done, lock = time.monotonic(), itertools.count(1), Lock()

    def work(cell: Cell) -> None:
        try:
            rows = run(cell)
            write_json(files[cell], {"settings": settings(cell), "rows": rows})
            rows_of[cell] = rows
        except Exception as error:  # a mistake of one loss must not end the others
            reasons[cell.name] = str(error)
        with lock:
            write_csv(_all_rows(rows_of), out / "results.csv")
            number, seconds = next(done), time.monotonic() - started
            left = seconds / number * (len(missing) - number)
            failed = f" failed: {reasons[cell.name]}" if cell.name in reasons else ""
            print(
                f"{number}/{len(missing)} {cell.name}{failed}: {seconds:.0f} s, {left:.0f} s left",
                flush=True,
            )

    if workers == 1:
        for cell in missing:  # in this thread, so that Ctrl-C ends the cell and its processes
            work(cell)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, missing))
    rows = _all_rows(rows_of)
    write_csv(rows, out / "results.csv")  # even if no cell was missing
    if reasons:
        raise FailedCells(reasons, len(cells), rows)
    return rows


def _finished(file: Path, settings: Any) -> list[Row] | None:
    """The rows of a finished cell, None if it is to be run."""
    if not file.is_file():
        return None
    try:
        content = read_json(file)
        found, rows = content["settings"], content["rows"]
        rows = [dict(row) for row in rows]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{file} is damaged: it has no settings and rows of a cell; delete it to run it again"
        ) from None
    if found != settings:
        raise UserError(
            f"{file} was run with other settings than the config gives it now; delete it to run it "
            "again, or choose another --out"
        )
    return rows


def _all_rows(rows_of: dict[Cell, list[Row] | None]) -> list[Row]:
    return [
        {"method": cell.method, "proportion": cell.proportion, "seed": cell.seed, **row}
        for cell, rows in rows_of.items()
        for row in rows or ()
    ]


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """All rows, under another name first, then renamed."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)


def choose(rows: Sequence[Row], within: Sequence[str], by: str = "validation") -> list[Row]:
    """Of each group, the rows of the candidate with the highest mean validation over its cells.

    A candidate is a method with a learning rate and a number of epochs; of `family_rows` the
    methods of the family compete, of `stopped_early` rates alone. Test columns are not looked at.

    Args:
        within: columns that make a group: ("method",) chooses one setting for all proportions,
            ("method", "proportion") one for each.
        by: the column of validation.
    """
    groups: dict[tuple, dict[tuple, list[Row]]] = {}
    for row in rows:
        candidates = groups.setdefault(tuple(row[name] for name in within), {})
        candidates.setdefault(_candidate(row), []).append(row)
    chosen = []
    for candidates in groups.values():
        # means over other cells do not compare: a candidate that lacks one stands back
        complete = max(len(rows) for rows in candidates.values())
        whole = [rows for rows in candidates.values() if len(rows) == complete]
        chosen += max(whole, key=lambda rows: _mean(rows, by))
    return chosen


def validation_column(rows: Sequence[Row], metric: str) -> str:
    """The column by which to choose for a metric: that of its own classes, where known labels tell
    which these are (of "listed", not of "frequent")."""
    own = f"validation_{metric}"
    return own if any(row.get(own) is not None for row in rows) else "validation"


def stopped_early(rows: Sequence[Row], by: str = "validation") -> list[Row]:
    """Of each run (a cell with a method and a learning rate) the row with the highest validation.

    That is what one who trains can do: keep the weights that the run's own held-out part prefers.
    Of equal ones the fewest epochs. ``epochs`` is None in the rows, so that `choose` compares
    rates; ``stopped_after`` has the number.
    """
    runs: dict[tuple, list[Row]] = {}
    for row in rows:
        member, rate, _ = _candidate(row)
        run = (row["method"], member, rate, row["proportion"], row["seed"])
        runs.setdefault(run, []).append(row)
    found = []
    for of in runs.values():
        best = max(sorted(of, key=lambda row: row["epochs"]), key=lambda row: _mean([row], by))
        found.append({**best, "epochs": None, "stopped_after": best["epochs"]})
    return found


def family_rows(rows: Sequence[Row], families: Mapping[str, Sequence[str]]) -> list[Row]:
    """The rows of each family's methods once more, under the family's name.

    The column ``member`` keeps the method. What a family's methods differ in (a weight of the loss,
    say) is thus chosen like the learning rate: by validation.
    """
    return [
        {**row, "method": family, "member": row["method"]}
        for family, members in families.items()
        for member in members
        for row in rows
        if row["method"] == member
    ]


def _candidate(row: Row) -> tuple[str | None, float, int | None]:
    return row.get("member"), row["learning_rate"], row["epochs"]


def _mean(rows: Sequence[Row], column: str) -> float:
    values = [row[column] for row in rows if row.get(column) is not None]
    return float(np.mean(values)) if values else -math.inf


def summary(rows: Sequence[Row], metric: str) -> dict[str, dict[float, tuple[float, float, int]]]:
    """Method -> proportion -> mean, standard deviation over seeds (n - 1; nan of one), seeds.

    Rows without the metric are left out; a method that has none of it maps to {}.
    """
    found: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        values = found.setdefault(row["method"], {})
        if row.get(metric) is not None:
            values.setdefault(row["proportion"], []).append(row[metric])
    return {
        method: {
            proportion: (
                float(np.mean(values)),
                float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
                len(values),
            )
            for proportion, values in sorted(by_proportion.items())
        }
        for method, by_proportion in found.items()
    }


def markdown(rows: Sequence[Row], metric: str) -> str:
    """Methods down, proportions across, mean +- standard deviation over seeds."""
    means = summary(rows, metric)
    proportions = sorted({p for by_proportion in means.values() for p in by_proportion})
    lines = [
        [method, *(_cell(by_proportion.get(p)) for p in proportions)]
        for method, by_proportion in means.items()
    ]
    return table(["method", *(f"{100 * p:g} %" for p in proportions)], lines)


def chosen_settings(rows: Sequence[Row], by: str = "validation") -> str:
    """What `choose` takes for each method or family, and the validation it takes it for.

    "edge" names the rate or number of epochs beyond which there was no candidate: the best may lie
    there. One epoch is no edge, there is nothing before it. Of `stopped_early` rows the epochs are
    the median of the runs.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["method"], []).append(row)
    lines = []
    for name, of in groups.items():
        chosen = choose(of, ["method"], by)
        member, rate, epochs = _candidate(chosen[0])
        rates, numbers = ({row[column] for row in of} for column in ("learning_rate", "epochs"))
        edges = {
            "lowest rate": len(rates) > 1 and rate == min(rates),
            "highest rate": len(rates) > 1 and rate == max(rates),
        }
        if epochs is None:
            epochs = round(float(np.median([row["stopped_after"] for row in chosen])))
        elif len(numbers) > 1:
            edges["fewest epochs"] = epochs == min(numbers) > 1
            edges["most epochs"] = epochs == max(numbers)
        edge = ", ".join(words for words, there in edges.items() if there)
        shown = name if member is None else f"{name}: {member}"
        validation = _mean(chosen, by)
        if math.isinf(validation):
            validation, edge = None, "no known label to choose by: the first candidate"
        lines.append([shown, f"{rate:g}", str(epochs), validation, edge])
    return table(["method", "learning rate", "epochs", "validation mAP", "edge"], lines)


def _cell(entry: tuple[float, float, int] | None) -> str | None:
    if entry is None:
        return None
    mean, spread, _ = entry
    return f"{mean:.1f}" if math.isnan(spread) else f"{mean:.1f} +- {spread:.1f}"


def plot(rows: Sequence[Row], metric: str, path: Path, title: str) -> None:
    """Mean and standard deviation of every method against the proportion of known labels."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for index, (method, by_proportion) in enumerate(summary(rows, metric).items()):
        if not by_proportion:
            continue
        means, spreads, _ = zip(*by_proportion.values(), strict=True)
        axes.errorbar(
            [100 * p for p in by_proportion],
            means,
            yerr=np.nan_to_num(spreads),
            label=method,
            marker="o",
            markersize=3,
            capsize=2,
            color=f"C{index % 10}",
            linestyle=("-", "--", ":")[index // 10 % 3],
        )
    axes.set(xlabel="known labels, %", ylabel="mAP, %", title=title)
    # handles long enough to tell dashes from a line
    axes.legend(fontsize="x-small", ncols=2, handlelength=5)
    figure.savefig(path)
    pyplot.close(figure)
