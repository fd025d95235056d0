"""The report of runs: curves of training, classes, precision-recall and reliability, suspects."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.errors import UserError
from pumlc.files import read_cells
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.metrics import average_precision, expected_calibration_error, mean_average_precision
from pumlc.report.class_pages import class_details, confused_pairs
from pumlc.report.figures import RunFigures, SplitScores
from pumlc.report.joined_sweeps import join_sweeps
from pumlc.report.page import write_page
from pumlc.report.run_plots import Named, histogram, history_plots, precision_recall, reliability
from pumlc.report.sweep_page import SweepFigures

_DRAWS = 1000
_SUSPECTS = 30


def write_report(
    path: Path | str,
    runs: Sequence[RunFigures],
    *,
    command: str,
    split: str,
    suspects: Mapping[str, Sequence[Mapping[str, str]]] | None = None,
    sweeps: Sequence[SweepFigures] = (),
) -> None:
    """Write the page: one file, no network, no script.

    Args:
        path: the HTML file.
        runs: what is reported, side by side.
        command: what makes the page, as it was typed.
        split: the split that the runs were scored on.
        suspects: name of an audit -> its rows, of `read_suspects`.
        sweeps: of `read_sweep`.

    Raises:
        ValueError: there is neither a run nor an audit nor a sweep.
    """
    if not runs and not suspects and not sweeps:
        raise ValueError("nothing to report")
    scored = [(run.name, run.scores) for run in runs if run.scores is not None]
    values: dict[str, Any] = {
        "title": "Report of "
        + ", ".join([*(each.name for each in (*runs, *sweeps)), *(suspects or {})]),
        "command": command,
        "split": split,
        "runs": runs,
        "summary": summary_rows(scored),
        "curves": history_plots(runs),
        "plots": [precision_recall(scored), reliability(scored)] if scored else [],
        "histograms": [histogram(name, scores) for name, scores in scored],
        "tables": [(name, class_rows(scores)) for name, scores in scored],
        "details": class_details(scored) if scored else [],
        "confused": [(name, confused_pairs(scores)) for name, scores in scored],
        "suspects": suspects or {},
        "sweeps": sweeps,
        "joined": join_sweeps(sweeps) if len(sweeps) > 1 else None,
    }
    write_page(path, "report.html", script=None, style="report.css", **values)


def summary_rows(runs: Sequence[Named]) -> list[dict[str, Any]]:
    """mAP and calibration of each run, and the paired difference to the first one.

    The 95 % interval of a difference is from at most 1,000 bootstrap draws of pictures. Where
    pictures, classes or labels differ from those of the first run, ``other`` names what does, and
    the difference is None.
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
                "other": (other := _other(runs[0][1], scores)),
                "difference": _paired(runs[0][1], scores) if place and not other else None,
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
    blank = [""] * len(header)  # a spreadsheet may cut the empty cells at the end of a row
    rows = [dict(zip(header, [*cells, *blank], strict=False)) for _, cells in lines]
    return [row for row in rows if row["rank"].isdigit() and int(row["rank"]) <= most]


def read_history(file: Path) -> list[dict[str, float]]:
    """The numbers of a run's metrics.csv, one per epoch; nothing if there is no file.

    Raises:
        UserError: it is no CSV file.
    """
    if not file.is_file():
        return []
    lines = read_cells(file)
    header = next(lines, (1, []))[1]
    rows = [dict(zip(header, cells, strict=False)) for _, cells in lines]
    return [
        {name: value for name, text in row.items() if name and (value := _number(text)) is not None}
        for row in rows
    ]


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _other(first: SplitScores, second: SplitScores) -> str:
    """Why two runs cannot be compared by what they say of a split; nothing if they can."""
    if list(first.paths) != list(second.paths):
        return "pictures"
    if sorted(first.classes) != sorted(second.classes):
        return "classes"
    same = np.array_equal(first.labels, second.labels[:, _columns(first, second)])
    return "" if same else "labels"


def _columns(first: SplitScores, second: SplitScores) -> list[int]:
    """The columns of the second in the order of the first: label formats order classes anew."""
    place = {name: column for column, name in enumerate(second.classes)}
    return [place[name] for name in first.classes]


def _paired(first: SplitScores, second: SplitScores) -> dict[str, float]:
    labels, theirs = first.labels, first.probabilities
    ours = second.probabilities[:, _columns(first, second)]
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
