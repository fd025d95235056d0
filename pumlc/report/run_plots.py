"""The plots of a report: curves of training, precision and recall, reliability, histograms."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.metrics import reliability_curve
from pumlc.report.figures import RunFigures, SplitScores
from pumlc.report.plots import Line, line_plot

_POINTS = 300

Named = tuple[str, SplitScores]
"""The name of a run, and what it says of a split."""
Plot = tuple[str, Markup]
"""A caption and an SVG picture."""


def history_plots(runs: Sequence[RunFigures]) -> list[Plot]:
    """A plot for each number that some run has noted in two epochs or more."""
    names = dict.fromkeys(name for run in runs for row in run.history for name in row)
    plots: list[Plot] = []
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


def precision_recall(
    runs: Sequence[Named], title: str = "Precision and recall over all labels"
) -> Plot:
    """A curve for each run, over all of its known labels together."""
    lines = []
    for number, (name, scores) in enumerate(runs):
        labels, probabilities = scores.labels, scores.probabilities
        known = labels != UNKNOWN
        order = np.argsort(-probabilities[known], kind="stable")
        hits = np.cumsum((labels[known] == POSITIVE)[order])
        if not len(hits) or not hits[-1]:
            continue
        places = np.unique(np.linspace(0, len(hits) - 1, _POINTS).astype(int))
        # most of the curve lies where few are found
        places = np.union1d(places, np.searchsorted(hits, np.linspace(1, hits[-1], _POINTS)))
        recall, precision = hits / hits[-1], hits / np.arange(1, len(hits) + 1)
        lines.append(Line(name, recall[places], precision[places], number))
    plot = line_plot(
        lines, title=title, x_label="recall", y_label="precision", x_range=(0, 1), y_range=(0, 1)
    )
    return title, plot


def reliability(
    runs: Sequence[Named],
    title: str = "Reliability: bins of equal mass over all labels",
    *,
    bins: int = 15,
) -> Plot:
    """The share of present labels over the probability, for each run, and where they are equal."""
    lines = [Line("perfectly calibrated", [0, 1], [0, 1], 7, "dashes")]
    for number, (name, scores) in enumerate(runs):
        labels, probabilities = scores.labels, scores.probabilities
        if (labels != UNKNOWN).any():
            curve = reliability_curve(probabilities, labels, bins=bins)
            lines.append(Line(name, curve.probabilities, curve.shares, number, "dots"))
    plot = line_plot(
        lines,
        title=title,
        x_label="probability",
        y_label="share present",
        x_range=(0, 1),
        y_range=(0, 1),
    )
    return title, plot


def histogram(run: str, scores: SplitScores) -> Plot:
    """Share of labels of each state over the probability; a line a state."""
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
