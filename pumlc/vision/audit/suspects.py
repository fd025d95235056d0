"""The suspected labels of a part: rows of a CSV file, and how well known errors are found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.audit import GIVEN, STATES, Suspects, rank_suspects, score_finding
from pumlc.files import write_csv
from pumlc.vision.audit.parts import Part

COLUMNS = (
    *("part", "given", "rank", "rank_in_class", "image", "class"),
    *("suspicion", "probability", "wrong", "file"),
)
"""The columns of the CSV file."""
WORTH_A_LOOK = 0.25
"""A list ends where a label is wrong with less than this estimated probability."""
LONGEST, NOT_ESTIMATED = 500, 100
"""Labels of a list at most; and where no share of errors could be estimated."""


@dataclass(frozen=True)
class AuditedPart:
    """A part whose labels have been scored and ranked.

    Attributes:
        part: pictures and labels.
        probabilities: [N, C] of each class being present.
        wrong: [N, C], estimated probability of the label being wrong; None: not estimated.
        vectors: [N, D]; near to each other for pictures that look alike.
        suspects: for each key of `GIVEN` the list, the most suspicious first.
    """

    part: Part
    probabilities: np.ndarray
    wrong: np.ndarray | None
    vectors: np.ndarray
    suspects: Mapping[str, Suspects]


def rank_part(
    part: Part,
    probabilities: np.ndarray,
    vectors: np.ndarray,
    *,
    wrong: np.ndarray | None = None,
    top: int | None,
    decided: np.ndarray | None,
) -> AuditedPart:
    """Rank the labels of each kind.

    Args:
        part: pictures and labels.
        probabilities: [N, C].
        vectors: [N, D].
        wrong: [N, C]; None: not estimated.
        top: labels of each kind; None: as many as are worth a look.
        decided: bool [N, C], labels that a person has judged already.
    """
    labels, suspects = part.images.labels, {}
    for given, value in GIVEN.items():
        number = top
        if number is None:
            candidates = labels == value if decided is None else (labels == value) & ~decided
            number = _worth_a_look(wrong, candidates)
        suspects[given] = rank_suspects(
            probabilities, labels, given=given, top=number, decided=decided
        )
    return AuditedPart(part, probabilities, wrong, vectors, suspects)


def _worth_a_look(wrong: np.ndarray | None, candidates: np.ndarray) -> int:
    if wrong is None:
        return NOT_ESTIMATED
    return min(LONGEST, int((wrong[candidates] >= WORTH_A_LOOK).sum()))


def suspicion_of(given: str, probabilities: Any) -> Any:
    """How much probabilities of being present speak against a given label, in [0, 1]."""
    return 1 - probabilities if given == "positive" else probabilities


def suspect_rows(audited: AuditedPart) -> list[list[Any]]:
    """The suspects as rows of `COLUMNS`, the worst of a kind first."""
    images, rows = audited.part.images, []
    for given, suspects in audited.suspects.items():
        suspicions = suspicion_of(given, suspects.probabilities)
        for place, (row, column) in enumerate(zip(suspects.rows, suspects.columns, strict=True)):
            wrong = "" if audited.wrong is None else f"{audited.wrong[row, column]:.4f}"
            rows.append(
                [
                    *(audited.part.name, STATES[given], place + 1),
                    suspects.ranks_in_class[place],
                    *(bytes(images.paths[row]).decode(), images.classes[column]),
                    *(f"{suspicions[place]:.6f}", f"{suspects.probabilities[place]:.6f}"),
                    *(wrong, images.path(row)),
                ]
            )
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
