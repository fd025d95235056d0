"""The plot of a sweep."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pumlc.files import complete_file
from pumlc.sweep.cells import Row
from pumlc.sweep.tables import condition_of, conditions_of, is_proportion, summary


def plot(rows: Sequence[Row], metric: str, path: Path, *, title: str, metric_title: str) -> None:
    """Mean and standard deviation of every method, condition by condition.

    The axis is the proportion of known labels where this is all that the conditions differ in.

    Args:
        rows: one candidate of each method.
        metric: the column that is shown.
        path: the file, of any format that matplotlib writes.
        title: the title above the plot.
        metric_title: the title of the vertical axis.
    """
    from matplotlib.figure import Figure  # not pyplot: that would choose a backend for the process

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    conditions = conditions_of(rows)
    numeric = all(is_proportion(row) for row in rows)
    places = {name: float(place) for place, name in enumerate(conditions)}
    if numeric:
        places = {condition_of(row): 100 * row["proportion"] for row in rows}
    for index, (method, by_condition) in enumerate(summary(rows, metric).items()):
        if not by_condition:
            continue
        means, deviations, _ = zip(*by_condition.values(), strict=True)
        axes.errorbar(
            [places[name] for name in by_condition],
            means,
            yerr=np.nan_to_num(deviations),
            label=method,
            marker="o",
            markersize=3,
            capsize=2,
            color=f"C{index % 10}",
            # nothing lies between two conditions with names: a thin line only leads the eye
            linewidth=1.5 if numeric else 0.5,
            linestyle=("-", "--", ":")[index // 10 % 3],
        )
    axes.set(ylabel=metric_title, title=title)
    if numeric:
        axes.set_xlabel("known labels, %")
    else:
        axes.set_xticks(range(len(conditions)), conditions, rotation=45, ha="right")
    # handles long enough to tell dashes from a line
    axes.legend(fontsize="x-small", ncols=2, handlelength=5)
    with complete_file(path, binary=True) as file:
        figure.savefig(file, format=path.suffix.removeprefix("."))
