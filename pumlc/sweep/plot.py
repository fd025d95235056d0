"""The plot of a sweep."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pumlc.files import complete_file
from pumlc.sweep.cells import Row
from pumlc.sweep.tables import summary


def plot(rows: Sequence[Row], metric: str, path: Path, *, title: str, metric_title: str) -> None:
    """Mean and standard deviation of every method against the proportion of known labels.

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
    for index, (method, by_proportion) in enumerate(summary(rows, metric).items()):
        if not by_proportion:
            continue
        means, deviations, _ = zip(*by_proportion.values(), strict=True)
        axes.errorbar(
            [100 * p for p in by_proportion],
            means,
            yerr=np.nan_to_num(deviations),
            label=method,
            marker="o",
            markersize=3,
            capsize=2,
            color=f"C{index % 10}",
            linestyle=("-", "--", ":")[index // 10 % 3],
        )
    axes.set(xlabel="known labels, %", ylabel=metric_title, title=title)
    # handles long enough to tell dashes from a line
    axes.legend(fontsize="x-small", ncols=2, handlelength=5)
    with complete_file(path, binary=True) as file:
        figure.savefig(file, format=path.suffix.removeprefix("."))
