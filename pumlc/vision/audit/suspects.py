"""The suspected labels of a part: rows of a CSV file, and how well known errors are found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.audit import GIVEN, rank_suspects, score_finding
from pumlc.files import write_csv
from pumlc.vision.audit.parts import Part

COLUMNS = ("part", "given", "rank", "rank_in_class", "image", "class", "probability")
"""The columns of the CSV file."""


def suspect_rows(part: Part, probabilities: np.ndarray, top: int) -> list[list[Any]]:
    """The most suspicious labels of each kind, as rows of `COLUMNS`, the worst of a kind first.

    Args:
        part: pictures and labels.
        probabilities: [N, C] of each class being present.
        top: labels of each kind.
    """
    images, rows = part.images, []
    for given in GIVEN:
        suspects = rank_suspects(probabilities, images.labels, given=given, top=top)
        for rank, (row, column, probability, rank_in_class) in enumerate(
            zip(*suspects, strict=True), start=1
        ):
            place = [rank, rank_in_class, images.path(row), images.classes[column]]
            rows.append([part.name, given, *place, f"{probability:.6f}"])
    return rows


def finding_figures(
    part: Part, probabilities: np.ndarray
) -> dict[str, dict[str, float | int | None]]:
    """For each given label how many there are and, where the truth is known, how well it is found.

    The figures are those of `pumlc.audit.score_finding`, with None for nan.
    """
    counts = part.images.counts()
    figures: dict[str, dict[str, float | int | None]] = {}
    for given in GIVEN:
        figures[given] = {"labels": counts[given]}
        if part.true_labels is not None:
            scores = score_finding(probabilities, part.images.labels, part.true_labels, given=given)
            for name, value in scores.items():
                figures[given][name] = None if np.isnan(value) else value
    return figures


def write_suspects(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write the rows of `suspect_rows` as a CSV file."""
    write_csv(path, COLUMNS, rows)
