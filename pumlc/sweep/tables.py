"""The tables of a sweep, in Markdown."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pumlc.sweep.cells import Row
from pumlc.sweep.choose import Candidate, candidate_of, choose, mean
from pumlc.tables import table


class Spread(NamedTuple):
    """A mean over seeds, their standard deviation (n - 1; nan of one seed) and their number."""

    mean: float
    deviation: float
    num_seeds: int


def summary(rows: Sequence[Row], metric: str) -> dict[str, dict[float, Spread]]:
    """Method -> proportion -> mean and standard deviation of a column over seeds.

    Rows without the metric are left out; a method that has none of it maps to {}.
    """
    values_of: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        by_proportion = values_of.setdefault(row["method"], {})
        if row.get(metric) is not None:
            by_proportion.setdefault(row["proportion"], []).append(row[metric])
    return {
        method: {
            proportion: _spread(values) for proportion, values in sorted(by_proportion.items())
        }
        for method, by_proportion in values_of.items()
    }


def _spread(values: Sequence[float]) -> Spread:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), deviation, len(values))


def markdown(rows: Sequence[Row], metric: str) -> str:
    """Methods down, proportions across, mean +- standard deviation over seeds."""
    spreads = summary(rows, metric)
    proportions = sorted({p for by_proportion in spreads.values() for p in by_proportion})
    lines = [
        [method, *(_shown(by_proportion.get(p)) for p in proportions)]
        for method, by_proportion in spreads.items()
    ]
    return table(["method", *(f"{100 * p:g} %" for p in proportions)], lines)


def _shown(spread: Spread | None) -> str | None:
    if spread is None:
        return None
    if math.isnan(spread.deviation):
        return f"{spread.mean:.1f}"
    return f"{spread.mean:.1f} +- {spread.deviation:.1f}"


def chosen_settings(
    rows: Sequence[Row], by: str, candidates: Sequence[Candidate], *, title: str
) -> str:
    """What `choose` takes for each method or family, and the validation it takes it for.

    The column "edge" names the candidates of which the lowest or the highest value was taken: the
    best one may lie beyond. Of `stopped_early` rows the duration is the median of the runs.

    Args:
        rows: as of `choose`.
        by: the column of validation.
        candidates: the columns whose values make a candidate.
        title: the title of the column of validation.
    """
    rows_of: dict[str, list[Row]] = {}
    for row in rows:
        rows_of.setdefault(row["method"], []).append(row)
    lines = []
    for name, tried in rows_of.items():
        chosen = choose(tried, ["method"], by, candidates)
        member, *values = candidate_of(chosen[0], candidates)
        edges = []
        for candidate, value in zip(candidates, values, strict=True):
            edges += _edges(candidate, value, {row[candidate.column] for row in tried})
        shown = [
            round(float(np.median([row["stopped_after"] for row in chosen])))
            if value is None
            else value
            for value in values
        ]
        validation, edge = mean(chosen, by), ", ".join(edges)
        if math.isinf(validation):
            validation, edge = None, "no known label to choose by: the first candidate"
        method = name if member is None else f"{name}: {member}"
        lines.append([method, *(f"{value:g}" for value in shown), validation, edge])
    titles = [candidate.title for candidate in candidates]
    return table(["method", *titles, title, "edge"], lines)


def _edges(candidate: Candidate, value: float | None, tried: set) -> list[str]:
    """The ends of the tried values that a value is."""
    if value is None or len(tried) < 2:
        return []
    lowest = [candidate.lowest] if value == min(tried) > candidate.floor else []
    return lowest + ([candidate.highest] if value == max(tried) else [])
