"""Methods compared over the conditions of a sweep: ranks, wins, and the first against the best."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from pumlc.metrics import interval_over_seeds_and_rows, paired_interval
from pumlc.sweep.cells import RESAMPLES, Row
from pumlc.sweep.choose import mean
from pumlc.sweep.tables import condition_of, conditions_of, summary
from pumlc.tables import table


def ranking(rows: Sequence[Row], metric: str) -> str:
    """A table of methods: average rank, conditions won, mean over conditions.

    In each condition the means over seeds are ranked, 1 for the highest, equal ones with the mean
    of their ranks. A condition is won by each method with the highest mean. A method that lacks a
    condition has no line, since its ranks would be those of other columns. One method alone is not
    ranked.

    Args:
        rows: one candidate of each method, with families as methods of their own.
        metric: the column, larger is better.
    """
    spreads = summary(rows, metric)
    conditions = conditions_of([row for row in rows if row.get(metric) is not None])
    methods = [method for method, found in spreads.items() if len(found) == len(conditions)]
    if len(methods) < 2 or not conditions:
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
    have known which it is. The gap is the mean of the differences between cells of the same seed.
    Its interval covers seeds and test rows (`interval_over_seeds_and_rows`) where the rows have the
    metric on resamples; else it covers seeds alone: mean +- t(0.975, n - 1) s / sqrt(n).

    Args:
        rows: one candidate of each method.
        metric: the column, larger is better.
        own: the method, then the families that it belongs to; none of these counts as another.
    """
    found: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        if row.get(metric) is not None:
            found.setdefault((condition_of(row), row["method"]), {})[row["seed"]] = row
    lines = []
    for condition in conditions_of(rows):
        ours = found.get((condition, own[0]))
        others = {
            method: of_seeds
            for (name, method), of_seeds in found.items()
            if name == condition and method not in own
        }
        if ours is None or not others:
            continue
        best = max(others, key=lambda method: mean(list(others[method].values()), metric))
        pairs = [(row, others[best][seed]) for seed, row in ours.items() if seed in others[best]]
        if pairs:
            lines.append([condition, *_compared(best, pairs, metric)])
    if not lines:
        return ""
    titles = ["condition", "best other", "it", own[0], "gap", "95 % of the gap", "covers", "n"]
    return table(titles, lines)


def _compared(best: str, pairs: list[tuple[Row, Row]], metric: str) -> list:
    """The cells of a line after its condition."""
    ours, theirs = np.array([[row[metric] for row in pair] for pair in pairs]).T
    gaps = ours - theirs
    resampled = _resampled_gaps(pairs, metric)
    if resampled is None:
        (low, high), covers = paired_interval(gaps), "seeds"
    else:
        covers = "seeds, test rows" if len(gaps) > 1 else "test rows"
        low, high = interval_over_seeds_and_rows(gaps, resampled)
    shown = None if math.isnan(low) else f"{low:.2f} to {high:.2f}"
    covers = None if shown is None else covers
    means = float(theirs.mean()), float(ours.mean()), float(gaps.mean())
    return [best, *means, shown, covers, len(gaps)]


def _resampled_gaps(pairs: list[tuple[Row, Row]], metric: str) -> np.ndarray | None:
    """The differences of pairs on the resamples of the test rows, [n, R], if all rows have them."""
    found = [[row.get(RESAMPLES, {}).get(metric) for row in pair] for pair in pairs]
    lengths = {len(values) if values is not None else 0 for pair in found for values in pair}
    if len(lengths) != 1 or 0 in lengths:
        return None
    ours, theirs = np.array(found, np.float64).transpose(1, 0, 2)  # None becomes nan
    return ours - theirs


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
