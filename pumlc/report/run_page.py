"""The report of runs: curves of training, classes, precision-recall and reliability, suspects."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pumlc.errors import UserError
from pumlc.files import read_cells
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.metrics import (
    average_precision,
    expected_calibration_error,
    mean_average_precision,
    reliability_curve,
)
from pumlc.report.page import write_page
from pumlc.report.plots import Line, line_plot

_DRAWS = 1000
_SUSPECTS = 30
_POINTS = 300


@dataclass(frozen=True, kw_only=True)
class SplitScores:
    """A split as a run scores it.

    Attributes:
        classes: C names.
        paths: N names of the pictures.
        labels: [N, C] in {1, 0, -1}.
        probabilities: [N, C].
        thresholds: [C].
    """

    classes: Sequence[str]
    paths: Sequence[str]
    labels: np.ndarray
    probabilities: np.ndarray
    thresholds: np.ndarray


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """A run as a report shows it.

    Attributes:
        name: what it is called, its folder.
        facts: name -> value, of its settings.
        history: one row per epoch: name of a number -> number.
        scores: its probabilities on a split; None where it was not scored.
    """

    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    scores: SplitScores | None = None


def write_report(
    path: Path | str,
    runs: Sequence[RunFigures],
    *,
    command: str,
    split: str,
    suspects: Mapping[str, Sequence[Mapping[str, str]]] | None = None,
) -> None:
    """Write the page: one file, no network, no script.

    Args:
        path: the HTML file.
        runs: what is reported, side by side.
        command: what makes the page, as it was typed.
        split: the split that the runs were scored on.
        suspects: name of an audit -> its rows, of `read_suspects`.

    Raises:
        ValueError: there is neither a run nor an audit.
    """
    if not runs and not suspects:
        raise ValueError("nothing to report")
    scored = [(run.name, run.scores) for run in runs if run.scores is not None]
    values: dict[str, Any] = {
        "title": "Report of " + ", ".join([*(run.name for run in runs), *(suspects or {})]),
        "command": command,
        "split": split,
        "runs": runs,
        "summary": summary_rows(scored),
        "curves": _history_plots(runs),
        "plots": [_precision_recall(scored), _reliability(scored)] if scored else [],
        "histograms": [_histogram(name, scores) for name, scores in scored],
        "tables": [(name, class_rows(scores)) for name, scores in scored],
        "suspects": suspects or {},
    }
    write_page(path, "report.html", script=None, style="report.css", **values)


Named = tuple[str, SplitScores]


def summary_rows(runs: Sequence[Named]) -> list[dict[str, Any]]:
    """mAP and calibration of each run, and the paired difference to the first one.

    The 95 % interval of a difference is from at most 1,000 bootstrap draws of pictures. Both are
    None where pictures or classes differ from those of the first run.
    """
    rows = []
    for place, (name, scores) in enumerate(runs):
        labels, probabilities = scores.labels, scores.probabilities
        rows.append(
            {
                "name": name,
                "N": len(labels),
                "classes": int((labels == POSITIVE).any(axis=0).sum()),
                "mAP": mean_average_precision(probabilities, labels, definition="sklearn"),
                "ECE": expected_calibration_error(probabilities, labels),
                "difference": _paired(runs[0][1], scores) if place else None,
            }
        )
    return rows


def class_rows(scores: SplitScores) -> list[dict[str, Any]]:
    """AP, counts, threshold, precision and recall of each class, the worst AP first."""
    labels, probabilities = scores.labels, scores.probabilities
    each = 100 * average_precision(probabilities, labels)
    rows = []
    for column, name in enumerate(scores.classes):
        found = (probabilities[:, column] >= scores.thresholds[column]) & (
            labels[:, column] != UNKNOWN
        )
        present = labels[:, column] == POSITIVE
        hits = int((found & present).sum())
        rows.append(
            {
                "name": name,
                "AP": float(each[column]),
                "present": int(present.sum()),
                "absent": int((labels[:, column] == NEGATIVE).sum()),
                "threshold": float(scores.thresholds[column]),
                "precision": 100 * hits / found.sum() if found.any() else np.nan,
                "recall": 100 * hits / present.sum() if present.any() else np.nan,
            }
        )
    return sorted(rows, key=lambda row: (np.isnan(row["AP"]), row["AP"]))


def read_suspects(file: Path, *, most: int = _SUSPECTS) -> list[dict[str, str]]:
    """The first rows of each list of the ``suspects.csv`` of an audit.

    Raises:
        UserError: it is no such file.
    """
    lines = read_cells(file)
    header = next(lines, (1, []))[1]
    for name in ("part", "given", "rank", "image", "class", "suspicion"):
        if name not in header:
            raise UserError(f"{file}: no column {name!r} in the first line; got {header}")
    rows = [dict(zip(header, cells, strict=False)) for _, cells in lines]
    return [row for row in rows if row["rank"].isdigit() and int(row["rank"]) <= most]


def read_history(file: Path) -> list[dict[str, float]]:
    """The numbers of a run's metrics.csv, one per epoch; nothing if there is no file."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [
        {name: value for name, text in row.items() if name and (value := _number(text)) is not None}
        for row in rows
    ]


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _paired(first: SplitScores, second: SplitScores) -> dict[str, float] | None:
    names = [(list(scores.classes), list(scores.paths)) for scores in (first, second)]
    if names[0] != names[1] or not np.array_equal(first.labels, second.labels):
        return None
    labels, ours, theirs = first.labels, second.probabilities, first.probabilities
    random = np.random.RandomState(0)
    # a draw takes pictures, for all classes at once; the sort for each class's AP takes the time,
    # so that large splits get fewer draws
    draws = int(np.clip(4e7 // labels.size, 50, _DRAWS))
    differences = []
    for _ in range(draws):
        chosen = random.randint(0, len(labels), len(labels))
        if not (labels[chosen] == POSITIVE).any():
            continue
        maps = [
            mean_average_precision(each[chosen], labels[chosen], definition="sklearn")
            for each in (ours, theirs)
        ]
        differences.append(maps[0] - maps[1])
    low, high = np.percentile(differences, [2.5, 97.5])
    value = mean_average_precision(ours, labels, definition="sklearn") - mean_average_precision(
        theirs, labels, definition="sklearn"
    )
    return {"value": value, "low": float(low), "high": float(high), "draws": draws}


def _history_plots(runs: Sequence[RunFigures]) -> list[tuple[str, Markup]]:
    """A plot for each number that some run has noted in two epochs or more."""
    names = dict.fromkeys(name for run in runs for row in run.history for name in row)
    plots = []
    for name in names:
        if name == "epoch":
            continue
        lines = []
        for number, run in enumerate(runs):
            pairs = [
                (row.get("epoch", i), row[name]) for i, row in enumerate(run.history) if name in row
            ]
            if len(pairs) > 1:
                x, y = zip(*pairs, strict=True)
                lines.append(Line(run.name, x, y, number, "dots"))
        if lines:
            plots.append((name, line_plot(lines, title=name, x_label="epoch", y_label=name)))
    return plots


def _precision_recall(runs: Sequence[Named]) -> tuple[str, Markup]:
    lines = []
    for number, (name, scores) in enumerate(runs):
        labels, probabilities = scores.labels, scores.probabilities
        known = labels != UNKNOWN
        order = np.argsort(-probabilities[known], kind="stable")
        hits = np.cumsum((labels[known] == POSITIVE)[order])
        if not len(hits) or not hits[-1]:
            continue
        places = np.unique(np.linspace(0, len(hits) - 1, _POINTS).astype(int))
        # few predictions make most of the curve: places at equal steps of recall, too
        places = np.union1d(places, np.searchsorted(hits, np.linspace(1, hits[-1], _POINTS)))
        recall, precision = hits / hits[-1], hits / np.arange(1, len(hits) + 1)
        lines.append(Line(name, recall[places], precision[places], number))
    title = "Precision and recall over all labels"
    plot = line_plot(
        lines, title=title, x_label="recall", y_label="precision", x_range=(0, 1), y_range=(0, 1)
    )
    return title, plot


def _reliability(runs: Sequence[Named]) -> tuple[str, Markup]:
    lines = [Line("perfectly calibrated", [0, 1], [0, 1], 7, "dashes")]
    for number, (name, scores) in enumerate(runs):
        labels, probabilities = scores.labels, scores.probabilities
        curve = reliability_curve(probabilities, labels)
        lines.append(Line(name, curve.probabilities, curve.shares, number, "dots"))
    title = "Reliability: bins of equal mass over all labels"
    plot = line_plot(
        lines,
        title=title,
        x_label="probability",
        y_label="share present",
        x_range=(0, 1),
        y_range=(0, 1),
    )
    return title, plot


def _histogram(run: str, scores: SplitScores) -> tuple[str, Markup]:
    """Share of labels of each state over the probability; one line per state."""
    lines = []
    for colour, (name, value) in enumerate(
        {"present": POSITIVE, "absent": NEGATIVE, "unknown": UNKNOWN}.items()
    ):
        chosen = scores.probabilities[scores.labels == value]
        if len(chosen):
            counts, edges = np.histogram(chosen, bins=20, range=(0, 1))
            lines.append(
                Line(name, (edges[1:] + edges[:-1]) / 2, counts / len(chosen), colour, "dots")
            )
    title = f"Probabilities by state: {run}"
    plot = line_plot(
        lines, title=title, x_label="probability", y_label="share of labels", x_range=(0, 1)
    )
    return title, plot
