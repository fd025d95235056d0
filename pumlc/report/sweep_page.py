"""A sweep in a report: methods by conditions, and the paired difference to the first method."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pumlc.errors import UserError
from pumlc.files import read_cells
from pumlc.metrics import paired_interval
from pumlc.report.plots import Line, line_plot
from pumlc.report.run_plots import Plot


@dataclass(frozen=True, kw_only=True)
class SweepFigures:
    """A sweep as a report shows it.

    Attributes:
        name: what it is called, its folder.
        scores: method -> condition -> seed -> mAP; the first method is the package's own.
    """

    name: str
    scores: Mapping[str, Mapping[str, Mapping[str, float]]]

    @property
    def conditions(self) -> list[str]:
        """All conditions, in the order of the file."""
        return list(dict.fromkeys(name for each in self.scores.values() for name in each))

    def rows(self) -> list[tuple[str, list[str], str]]:
        """For each method: its means, and how far it is from the first one.

        That is the mean over the conditions that both have, of each seed, then over the seeds, with
        the 95 % interval of Student's t of the seeds.
        """
        first = next(iter(self.scores))
        return [
            (method, [_spread(found.get(name)) for name in self.conditions], self._gap(method))
            if method != first
            else (method, [_spread(found.get(name)) for name in self.conditions], "–")
            for method, found in self.scores.items()
        ]

    def plot(self) -> Plot:
        """The means over the conditions, a line a method."""
        places = {name: place for place, name in enumerate(self.conditions)}
        lines = [
            Line(
                method,
                [places[name] for name in found],
                [float(np.mean(list(seeds.values()))) for seeds in found.values()],
                number,
                "dots",
            )
            for number, (method, found) in enumerate(self.scores.items())
        ]
        title = "mAP by condition, in the order of the table"
        return title, line_plot(lines, title=title, x_label="condition", y_label="test mAP, %")

    def _gap(self, method: str) -> str:
        first = next(iter(self.scores.values()))
        of_seeds: dict[str, list[float]] = {}
        for condition, seeds in self.scores[method].items():
            for seed, score in seeds.items():
                if seed in first.get(condition, {}):
                    of_seeds.setdefault(seed, []).append(score - first[condition][seed])
        if not of_seeds:
            return "–"
        gaps = np.array([np.mean(each) for each in of_seeds.values()])
        low, high = paired_interval(gaps)
        shown = "" if math.isnan(low) else f" ({low:+.2f} to {high:+.2f})"
        return f"{gaps.mean():+.2f}{shown}"


def read_sweep(folder: Path) -> SweepFigures:
    """The ``chosen.csv`` of a sweep.

    Raises:
        UserError: there is no such file, or it is another one.
    """
    file = folder / "chosen.csv"
    lines = read_cells(file)
    header = next(lines, (1, []))[1]
    for name in ("method", "condition", "seed", "mAP"):
        if name not in header:
            raise UserError(f"{file}: no column {name!r} in the first line; got {header}")
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for number, cells in lines:
        row = dict(zip(header, cells, strict=False))
        if not row.get("mAP"):
            continue
        try:
            value = float(row["mAP"])
        except ValueError as error:
            raise UserError(f"{file}, line {number}: mAP is {row['mAP']!r}, no number") from error
        of_method = scores.setdefault(row["method"], {})
        of_method.setdefault(row["condition"], {})[row["seed"]] = value
    if not scores:
        raise UserError(f"{file}: no method has a mAP")
    return SweepFigures(name=str(folder), scores=scores)


def _spread(seeds: Mapping[str, float] | None) -> str:
    if not seeds:
        return "–"
    values: Sequence[float] = list(seeds.values())
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"
