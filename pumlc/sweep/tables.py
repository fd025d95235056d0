"""The tables of a sweep, in Markdown."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pumlc.sweep.cells import Row, proportion_title
from pumlc.sweep.choose import Candidate, candidate_of, choose, mean
from pumlc.tables import table


class Spread(NamedTuple):
    """A mean over seeds, their standard deviation (n - 1; nan of one seed) and their number."""

    mean: float
    deviation: float
    num_seeds: int


def condition_of(row: Row) -> str:
    """The condition of a row; older results have none but the proportion."""
    return row.get("condition") or proportion_title(row["proportion"])


def is_proportion(row: Row) -> bool:
    """Whether the row's condition is its proportion of known labels and nothing else."""
    return condition_of(row) == proportion_title(row["proportion"])


def conditions_of(rows: Sequence[Row]) -> list[str]:
    """The conditions of rows: proportions ascending, then the others as they come."""
    proportions = {row["proportion"] for row in rows if is_proportion(row)}
    others = dict.fromkeys(condition_of(row) for row in rows if not is_proportion(row))
    return [*map(proportion_title, sorted(proportions)), *others]


def summary(rows: Sequence[Row], metric: str) -> dict[str, dict[str, Spread]]:
    """Method -> condition -> mean and standard deviation of a column over seeds.

    Rows without the metric are left out; a method that has none of it maps to {}.
    """
    values_of: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        by_condition = values_of.setdefault(row["method"], {})
        if row.get(metric) is not None:
            by_condition.setdefault(condition_of(row), []).append(row[metric])
    order = conditions_of(rows)
    return {
        method: {name: _spread(values[name]) for name in order if name in values}
        for method, values in values_of.items()
    }


def _spread(values: Sequence[float]) -> Spread:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), deviation, len(values))


def markdown(rows: Sequence[Row], metric: str) -> str:
    """Methods down, conditions across, mean +- standard deviation over seeds."""
    spreads = summary(rows, metric)
    conditions = conditions_of([row for row in rows if row.get(metric) is not None])
    lines = [
        [method, *(_shown(by_condition.get(name)) for name in conditions)]
        for method, by_condition in spreads.items()
    ]
    return table(["method", *conditions], lines)


def latex(rows: Sequence[Row], metric: str) -> str:
    """The same table for LaTeX (package booktabs), the highest mean of each column in bold."""
    spreads = summary(rows, metric)
    conditions = conditions_of([row for row in rows if row.get(metric) is not None])
    highest = {
        name: max(spread[name].mean for spread in spreads.values() if name in spread)
        for name in conditions
    }

    def shown(name: str, spread: Spread | None) -> str:
        text = _shown(spread)
        if spread is None or text is None:
            return "--"
        text = text.replace("+-", r"$\pm$")
        return rf"\textbf{{{text}}}" if spread.mean == highest[name] else text

    lines = [
        " & ".join([_plain(method), *(shown(name, spread.get(name)) for name in conditions)])
        for method, spread in spreads.items()
    ]
    head = " & ".join(["method", *map(_plain, conditions)])
    body = "".join(f"{line} \\\\\n" for line in lines)
    return (
        f"\\begin{{tabular}}{{l{'c' * len(conditions)}}}\n\\toprule\n{head} \\\\\n\\midrule\n"
        f"{body}\\bottomrule\n\\end{{tabular}}\n"
    )


_SPECIAL = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def _plain(name: str) -> str:
    """A name as LaTeX prints it."""
    return "".join(_SPECIAL.get(char, char) for char in name)


def _shown(spread: Spread | None) -> str | None:
    if spread is None:
        return None
    if math.isnan(spread.deviation):
        return f"{spread.mean:.1f}"
    return f"{spread.mean:.1f} +- {spread.deviation:.1f}"


def chosen_settings(
    rows: Sequence[Row], by: str, candidates: Sequence[Candidate], *, title: str
) -> str:
    """What `choose` takes for each method or family, and the validation that decided it.

    The column "edge" names the candidates of which the lowest or the highest value was taken: the
    best one may lie beyond. In rows of `stopped_early` the duration is the median of the runs.

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
            known = {row.get(candidate.column) for row in tried} - {None}
            edges += _edges(candidate, value, known)
        shown = [
            _setting(candidate.column, value, chosen)
            for candidate, value in zip(candidates, values, strict=True)
        ]
        validation, edge = mean(chosen, by), ", ".join(edges)
        if math.isinf(validation):
            validation, edge = None, "no known label to choose by: the first candidate"
        method = name if member is None else f"{name}: {member}"
        lines.append([method, *shown, validation, edge])
    titles = [candidate.title for candidate in candidates]
    return table(["method", *titles, title, "edge"], lines)


def _setting(column: str, value: float | None, chosen: Sequence[Row]) -> str | None:
    """A chosen value as a table shows it; of a duration that each run stopped at, the median."""
    if value is not None:
        return f"{value:g}"
    stopped = [row["stopped_after"] for row in chosen if column in row and "stopped_after" in row]
    return f"{round(float(np.median(stopped)))}" if stopped else None


def _edges(candidate: Candidate, value: float | None, tried: set) -> list[str]:
    """The ends of the tried values that a value is."""
    if value is None or len(tried) < 2:
        return []
    lowest = [candidate.lowest] if value == min(tried) > candidate.floor else []
    return lowest + ([candidate.highest] if value == max(tried) else [])
