"""The choice by validation: one candidate for each method. Test columns are not looked at."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pumlc.sweep.cells import CELL_COLUMNS, Row


@dataclass(frozen=True)
class Candidate:
    """A column in which the rows of a cell differ, so that validation chooses among its values.

    Attributes:
        column: its name in the rows.
        title: its name in tables.
        lowest: what a table says where the lowest value was chosen, beyond which none was tried.
        highest: the same for the highest value.
        floor: the least value that there is; choosing it is no reason to try lower ones.
    """

    column: str
    title: str
    lowest: str
    highest: str
    floor: float = -math.inf


def choose(
    rows: Sequence[Row], within: Sequence[str], by: str, candidates: Sequence[Candidate]
) -> list[Row]:
    """For each group, the rows of the candidate with the highest mean validation over its cells.

    In rows of `family_rows` the methods of a family compete as well.

    Args:
        rows: those of `pumlc.sweep.cells.run_cells`.
        within: columns that make a group: ("method",) chooses one candidate for all proportions,
            ("method", "proportion") one for each.
        by: the column of validation, larger is better.
        candidates: the columns whose values make a candidate.
    """
    groups: dict[tuple, dict[tuple, list[Row]]] = {}
    for row in rows:
        group = groups.setdefault(tuple(row[name] for name in within), {})
        group.setdefault(candidate_of(row, candidates), []).append(row)
    chosen = []
    for group in groups.values():
        # means over different cells do not compare: a candidate that lacks a cell is left out
        num_cells = max(len(rows) for rows in group.values())
        complete = [rows for rows in group.values() if len(rows) == num_cells]
        chosen += max(complete, key=lambda rows: mean(rows, by))
    return chosen


def stopped_early(
    rows: Sequence[Row], by: str, candidates: Sequence[Candidate], duration: Candidate
) -> list[Row]:
    """For each run (a cell with one candidate) the row with the highest validation.

    A person who trains can do the same: keep the weights that the run's own held-out part prefers.
    Of equal rows the one after the shortest training is taken.

    Args:
        rows: as of `choose`.
        by: the column of validation.
        candidates: the columns whose values make a candidate, ``duration`` among them.
        duration: the one whose values are moments of the same run.

    Returns:
        a row for each run; the duration's column is None, so that `choose` compares the other
        candidates, and ``stopped_after`` has its value.
    """
    others = [candidate for candidate in candidates if candidate != duration]
    runs: dict[tuple, list[Row]] = {}
    for row in rows:
        cell = tuple(row.get(column) for column in CELL_COLUMNS)
        runs.setdefault((cell, candidate_of(row, others)), []).append(row)
    stopped = []
    for moments in runs.values():
        in_order = sorted(moments, key=lambda row: row[duration.column])
        best = max(in_order, key=lambda row: mean([row], by))
        stopped.append({**best, duration.column: None, "stopped_after": best[duration.column]})
    return stopped


def family_rows(rows: Sequence[Row], families: Mapping[str, Sequence[str]]) -> list[Row]:
    """The rows of each family's methods once more, under the family's name.

    The column ``member`` keeps the method. What a family's methods differ in (a weight of the loss,
    say) is thus chosen by validation, like the other candidates.
    """
    return [
        {**row, "method": family, "member": row["method"]}
        for family, members in families.items()
        for member in members
        for row in rows
        if row["method"] == member
    ]


def candidate_of(row: Row, candidates: Sequence[Candidate]) -> tuple:
    """What validation chooses a row for: the member of its family and the candidates' values.

    A value is None where the row has no such setting (older results).
    """
    return row.get("member"), *(row.get(candidate.column) for candidate in candidates)


def mean(rows: Sequence[Row], column: str) -> float:
    """The mean of a column over the rows that have it, minus infinity if none has."""
    values = [row[column] for row in rows if row.get(column) is not None]
    return float(np.mean(values)) if values else -math.inf
