"""The classes of a report one by one: curves, telling pictures, and which are taken for others."""

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.metrics import average_precision
from pumlc.report.figures import SplitScores
from pumlc.report.run_plots import Named, Plot, precision_recall, reliability

CLASSES = 60
"""So many classes, the worst first, have curves and pictures."""
_EACH = 3
_BINS = 8  # of the labels of one class
_PAIRS = 20
_MOST_PAIRED = 2000  # classes; more would make millions of pairs
_STATES = {POSITIVE: "present", NEGATIVE: "absent", UNKNOWN: "unknown"}


class Shown(NamedTuple):
    """A picture beside what the run says of it; ``source`` is a data URL."""

    name: str
    state: str
    probability: float
    source: str


def worst_classes(scores: SplitScores) -> list[int]:
    """Columns of the classes with a present label, the worst AP first, at most `CLASSES`."""
    each = average_precision(scores.probabilities, scores.labels)
    order = np.argsort(each, kind="stable")
    return [int(column) for column in order if np.isfinite(each[column])][:CLASSES]


def telling_rows(scores: SplitScores, column: int) -> dict[str, list[int]]:
    """What is seen -> the rows of a class that show it, the most telling first."""
    probabilities, labels = scores.probabilities[:, column], scores.labels[:, column]
    present, absent = (np.flatnonzero(labels == sign) for sign in (POSITIVE, NEGATIVE))
    distance = np.abs(_log_odds(probabilities) - _log_odds(scores.thresholds[column]))
    chosen = {
        "best: present, the most probable": present[_first(-probabilities[present])],
        "worst: present, the least probable": present[_first(probabilities[present])],
        "worst: absent, the most probable": absent[_first(-probabilities[absent])],
        "most uncertain: nearest to the threshold": _first(distance),
    }
    return {title: rows.tolist() for title, rows in chosen.items() if len(rows)}


def pictures_to_show(scores: SplitScores) -> list[int]:
    """The rows whose pictures a report shows."""
    rows = (
        row
        for column in worst_classes(scores)
        for each in telling_rows(scores, column).values()
        for row in each
    )
    return list(dict.fromkeys(rows))


def class_details(runs: Sequence[Named]) -> list[dict[str, Any]]:
    """For each class of the first run, the worst first: curves of all runs, pictures of the first.

    Args:
        runs: at least one; another run has a curve where it has a class of the same name.
    """
    first = runs[0][1]
    details = []
    for column in worst_classes(first):
        name = first.classes[column]
        of_class = [(run, _one_class(scores, name)) for run, scores in runs]
        found = [(run, scores) for run, scores in of_class if scores is not None]
        plots: list[Plot] = [
            precision_recall(found, f"Precision and recall: {name}"),
            reliability(found, f"Reliability: {name}", bins=_BINS),
        ]
        details.append({"name": name, "plots": plots, "pictures": _pictures(first, column)})
    return details


def confused_pairs(scores: SplitScores) -> list[dict[str, Any]]:
    """Pairs of classes where one is called present too often beside the other.

    Of the pictures that show a class and, as is known, not another one: how many are called the
    other one by its threshold, and how many would be if the first class played no part. The pairs
    with the largest difference, at most 20.
    """
    if len(scores.classes) > _MOST_PAIRED:
        return []
    present = (scores.labels == POSITIVE).astype(np.float32)
    absent = (scores.labels == NEGATIVE).astype(np.float32)
    false = absent * (scores.probabilities >= scores.thresholds)
    called, of = present.T @ false, present.T @ absent
    rate = false.sum(axis=0) / np.maximum(absent.sum(axis=0), 1)
    excess = called - of * rate
    np.fill_diagonal(excess, 0)
    order = np.argsort(-excess, axis=None, kind="stable")[:_PAIRS]
    return [
        {
            "shown": scores.classes[row],
            "called": scores.classes[column],
            "times": int(called[row, column]),
            "of": int(of[row, column]),
            "expected": float(of[row, column] * rate[column]),
        }
        for row, column in zip(*np.divmod(order, len(scores.classes)), strict=True)
        if excess[row, column] > 0.5
    ]


def _one_class(scores: SplitScores, name: str) -> SplitScores | None:
    if name not in scores.classes:
        return None
    column = list(scores.classes).index(name)
    chosen = slice(column, column + 1)
    return SplitScores(
        classes=[name],
        paths=scores.paths,
        labels=scores.labels[:, chosen],
        probabilities=scores.probabilities[:, chosen],
        thresholds=scores.thresholds[chosen],
    )


def _pictures(scores: SplitScores, column: int) -> list[tuple[str, list[Shown]]]:
    def shown(row: int) -> Shown:
        picture = base64.b64encode(scores.pictures[row]).decode()
        return Shown(
            scores.paths[row],
            _STATES[int(scores.labels[row, column])],
            float(scores.probabilities[row, column]),
            f"data:image/jpeg;base64,{picture}",
        )

    lists = telling_rows(scores, column) if scores.pictures else {}
    return [
        (title, [shown(row) for row in rows if row in scores.pictures])
        for title, rows in lists.items()
    ]


def _first(keys: np.ndarray) -> np.ndarray:
    return np.argsort(keys, kind="stable")[:_EACH]


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    kept = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return np.log(kept) - np.log1p(-kept)
