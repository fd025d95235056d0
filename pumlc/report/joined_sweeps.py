"""Several sweeps, one for each data set, in one table: ranks, and columns won."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pumlc.report.sweep_page import SweepFigures


@dataclass(frozen=True, kw_only=True)
class JoinedSweeps:
    """Methods compared over all columns; a column is a condition of one sweep.

    Attributes:
        sweeps: names of the sweeps.
        rows: for each method, best rank first: its name; average rank, columns won and mean mAP
            over all columns; then average rank and columns won in each sweep.
        num_columns: of all sweeps together.
        left_out: methods that lack a column, whose ranks would be those of other columns.
    """

    sweeps: list[str]
    rows: list[tuple[str, list[str]]]
    num_columns: int
    left_out: list[str]


def join_sweeps(sweeps: Sequence[SweepFigures]) -> JoinedSweeps:
    """Compare the methods that have every column of every sweep.

    In each column the means over seeds are ranked, 1 for the highest; equal ones share the mean of
    their ranks, and all of the highest have won the column.
    """
    columns = [(number, name) for number, one in enumerate(sweeps) for name in one.conditions]
    all_methods = list(dict.fromkeys(method for one in sweeps for method in one.scores))
    methods = [
        method
        for method in all_methods
        if all(sweeps[number].scores.get(method, {}).get(name) for number, name in columns)
    ]
    left_out = [method for method in all_methods if method not in methods]
    names = [one.name for one in sweeps]
    if not methods:
        return JoinedSweeps(sweeps=names, rows=[], num_columns=len(columns), left_out=left_out)
    means = np.array(
        [
            [
                np.mean(list(sweeps[number].scores[method][name].values()))
                for number, name in columns
            ]
            for method in methods
        ]
    )
    higher = (means[None] > means[:, None]).sum(axis=1)
    equal = (means[None] == means[:, None]).sum(axis=1)
    ranks, won = 1 + higher + (equal - 1) / 2, higher == 0
    of_sweep = np.array([number for number, _ in columns])
    parts = [np.full(len(columns), True), *(of_sweep == number for number in range(len(sweeps)))]
    rows = []
    for index in np.argsort(ranks.mean(axis=1), kind="stable"):
        cells = [
            text
            for part in parts
            for text in (f"{ranks[index, part].mean():.2f}", f"{won[index, part].sum()}")
        ]
        rows.append((methods[index], [*cells[:2], f"{means[index].mean():.2f}", *cells[2:]]))
    return JoinedSweeps(sweeps=names, rows=rows, num_columns=len(columns), left_out=left_out)
