"""Tables of the results pages, and plots of their numbers: what results_plots.py draws with."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parent.parent / "docs"
RESULTS = DOCS / "results"
Table = dict[str, list[str]]


def tables(page: str) -> list[tuple[list[str], Table]]:
    """Header and rows (first cell -> the others) of every table of a page, in order."""
    found = []
    blocks = re.findall(r"(?:^\|.*\n)+", (RESULTS / page).read_text("utf-8"), re.MULTILINE)
    for block in blocks:
        rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()]
        named: Table = {}
        for row in rows[2:]:
            key = row[0]
            while key in named:
                key += " "
            named[key] = row[1:]
        found.append((rows[0], named))
    return found


def number(cell: str) -> float:
    """The first number of a cell: the mean, where a deviation follows."""
    if cell == "nan":
        return math.nan
    match = re.search(r"-?\d[\d,]*\.?\d*", cell)
    assert match is not None, cell
    return float(match[0].replace(",", ""))


def deviation(cell: str) -> float:
    found = re.search(r"(?:\+-|±)\s*(\d[\d.]*)", cell)
    return float(found[1]) if found else 0.0


def lines(axes: Any, title: str, header: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Known labels across, a line for each row; an empty cell has no point."""
    for name, cells in rows.items():
        measured = [
            (number(at), number(cell)) for at, cell in zip(header, cells, strict=True) if cell
        ]
        axes.plot(*zip(*measured, strict=True), marker="o", markersize=3, label=name)
    axes.set(title=title, xlabel="known labels, %", ylabel="mAP, %")
    axes.legend(fontsize="small")


def bars(axes: Any, title: str, rows: Mapping[str, Mapping[str, str]], unit: str) -> None:
    """A group of bars for each row, a bar for each of its named cells."""
    names = list(next(iter(rows.values())))
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        cells = [row[name] for row in rows.values()]
        axes.barh(
            [index + place * width for index in range(len(rows))],
            [number(cell) for cell in cells],
            height=width,
            xerr=[deviation(cell) for cell in cells],
            error_kw={"linewidth": 0.8},
            label=name,
        )
    middle = (len(names) - 1) * width / 2
    axes.set_yticks([index + middle for index in range(len(rows))], list(rows))
    axes.invert_yaxis()
    axes.set(title=title, xlabel=unit)
    if len(names) > 1:
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))


def save(name: str, figure: Figure) -> None:
    # the same file from the same numbers: no date, no random ids
    figure.savefig(DOCS / "images" / f"{name}.svg", metadata={"Date": None})


def figure(columns: int = 1, height: float = 3.4) -> tuple[Figure, list[Any]]:
    made = Figure(figsize=(7 if columns == 1 else 4 * columns, height), layout="constrained")
    return made, list(made.subplots(1, columns, squeeze=False)[0])
