"""Methods compared over the conditions of a sweep: ranks, wins, and the first against the best."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from pumlc.metrics import paired_interval
from pumlc.sweep.cells import Row
from pumlc.sweep.choose import mean
from pumlc.sweep.tables import condition_of, conditions_of, summary
from pumlc.tables import table


def ranking(rows: Sequence[Row], metric: str) -> str:
    """A table of methods: average rank, conditions won, mean over conditions.

    In each condition the means over seeds are ranked, 1 for the highest, equal ones with the mean
    of their ranks. A condition is won by each method with the highest mean. A method that lacks a
    condition has no line, since its ranks would be those of other columns.

    Args:
        rows: one candidate of each method, with families as methods of their own.
        metric: the column, larger is better.
    """
    spreads = summary(rows, metric)
    conditions = conditions_of([row for row in rows if row.get(metric) is not None])
    methods = [method for method, found in spreads.items() if len(found) == len(conditions)]
    if not methods or not conditions:
        return ""
    means = np.array([[spreads[method][name].mean for name in conditions] for method in methods])
    ranks = rankdata(-means, axis=0).mean(axis=1)
    wins = (means == means.max(axis=0)).sum(axis=1)
    order = np.argsort(ranks, kind="stable")
    lines = [
        [methods[i], float(ranks[i]), f"{wins[i]} of {len(conditions)}", float(means[i].mean())]
        for i in order
    ]
    return table(["method", "average rank", "conditions won", "mean"], lines)


def against_the_best(rows: Sequence[Row], metric: str, own: Sequence[str]) -> str:
    """A table of conditions: the best of all other methods, and how far a method is ahead of it.

    The best is taken by the metric itself, condition by condition, which favours it: nobody could
    have known which it is. The interval is that of the mean of the differences between cells of
    the same seed: mean +- t(0.975, n - 1) s / sqrt(n).

    Args:
        rows: one candidate of each method.
        metric: the column, larger is better.
        own: the method, then the families that it belongs to; none of these counts as another.
    """
    values: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        if row.get(metric) is not None:
            of_seeds = values.setdefault((condition_of(row), row["method"]), {})
            of_seeds[row["seed"]] = row[metric]
    lines = []
    for condition in conditions_of(rows):
        ours = values.get((condition, own[0]))
        others = {
            method: of_seeds
            for (name, method), of_seeds in values.items()
            if name == condition and method not in own
        }
        if ours is None or not others:
            continue
        best = max(others, key=lambda method: float(np.mean(list(others[method].values()))))
        pairs = [
            (value, others[best][seed]) for seed, value in ours.items() if seed in others[best]
        ]
        if pairs:
            lines.append([condition, *_compared(best, pairs)])
    if not lines:
        return ""
    return table(["condition", "best other", "it", own[0], "gap", "95 % of the gap", "n"], lines)


def _compared(best: str, pairs: list[tuple[float, float]]) -> list:
    """Name and mean of the best other, our mean, the gap, its interval and the number of seeds."""
    ours, theirs = np.array(pairs).T
    gaps = ours - theirs
    low, high = paired_interval(gaps)
    shown = None if math.isnan(low) else f"{low:.2f} to {high:.2f}"
    return [best, float(theirs.mean()), float(ours.mean()), float(gaps.mean()), shown, len(gaps)]


def chosen_columns(rows: Sequence[Row], metric: str, by: str, settings: Sequence[str]) -> list[Row]:
    """The rows of chosen.csv: one for each method, condition and seed.

    Args:
        rows: one candidate of each method.
        metric: the column that becomes ``mAP``.
        by: the column of validation, which becomes ``validation``.
        settings: the columns of what was chosen.
    """
    return [
        {
            **{name: row.get(name) for name in ("method", "member")},
            "condition": condition_of(row),
            **{name: row.get(name) for name in ("proportion", "seed", *settings)},
            "validation": None if math.isinf(mean([row], by)) else row[by],
            "mAP": row.get(metric),
        }
        for row in rows
    ]
