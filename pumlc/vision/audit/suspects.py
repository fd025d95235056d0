"""The suspected labels of a part: rows of a CSV file, and how well known errors are found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.audit import GIVEN, STATES, Suspects, rank_suspects, score_finding
from pumlc.files import write_csv
from pumlc.labels import POSITIVE, dense
from pumlc.vision.audit.parts import Part

COLUMNS = (
    *("part", "given", "rank", "rank_in_class", "image", "class"),
    *("suspicion", "probability", "wrong", "file"),
)
"""The columns of the CSV file."""
WORTH_A_LOOK = 0.25
"""A list ends where the estimated probability of an error falls below this."""
LONGEST, NOT_ESTIMATED = 500, 100
"""The longest list, and the length of a list without an estimate of errors."""


@dataclass(frozen=True)
class AuditedPart:
    """A part whose labels have been scored and ranked.

    Attributes:
        part: pictures and labels.
        probabilities: [N, C], that each class is present.
        wrong: [N, C], estimated probability that the label is wrong; None: not estimated.
        vectors: [N, D]; pictures that look alike have vectors close to each other.
        suspects: for each key of `GIVEN` its list, the most suspicious label first.
    """

    part: Part
    probabilities: Any
    wrong: Any
    vectors: np.ndarray
    suspects: Mapping[str, Suspects]

    def tagged(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """The pictures that have a class, ascending, and their probabilities of it."""
        rows = np.flatnonzero(self.part.images.labels[:, column] == POSITIVE)
        return rows, self.probabilities[rows, column]

    def wrong_at(self, row: int, column: int) -> float | None:
        """The estimated probability that a suspected label is wrong, if it was estimated."""
        return None if self.wrong is None else float(self.wrong[row, column])


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
        top: number of labels of each kind; None: as many as are worth a look.
        decided: bool [N, C], labels on which a person has already decided.
    """
    labels, suspects = part.images.labels, {}
    for given, value in GIVEN.items():
        number = top
        if number is None:
            candidates = labels == value if decided is None else (labels == value) & ~decided
            number = worth_a_look(wrong, candidates)
        suspects[given] = rank_suspects(
            probabilities, labels, given=given, top=number, decided=decided
        )
    return AuditedPart(part, probabilities, wrong, vectors, suspects)


def worth_a_look(wrong: np.ndarray | None, candidates: np.ndarray) -> int:
    """How many labels a list has if nobody says it.

    Args:
        wrong: estimated probabilities of errors; None: not estimated.
        candidates: which labels the list may have, bool, of the same shape.
    """
    if wrong is None:
        return NOT_ESTIMATED
    return min(LONGEST, int((wrong[candidates] >= WORTH_A_LOOK).sum()))


def suspicion_of(given: str, probabilities: Any) -> Any:
    """How strongly the probability of presence contradicts a given label, in [0, 1]."""
    return 1 - probabilities if given == "positive" else probabilities


def suspect_rows(audited: AuditedPart) -> list[list[Any]]:
    """The suspects as rows of `COLUMNS`, the most suspicious of each kind first."""
    images, rows = audited.part.images, []
    for given, suspects in audited.suspects.items():
        suspicions = suspicion_of(given, suspects.probabilities)
        for place, (row, column) in enumerate(zip(suspects.rows, suspects.columns, strict=True)):
            estimate = audited.wrong_at(row, column)
            wrong = "" if estimate is None else f"{estimate:.4f}"
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
    """The number of labels of each kind and, if the truth is known, how well errors are found.

    The figures are those of `pumlc.audit.score_finding`, with None for nan.

    Args:
        part: pictures and labels.
        probabilities: [N, C].
    """
    counts = part.images.counts()
    figures: dict[str, dict[str, float | int | None]] = {}
    for given in GIVEN:
        figures[given] = {"labels": counts[given]}
        if part.true_labels is not None:
            scores = score_finding(
                probabilities, part.images.labels, dense(part.true_labels), given=given
            )
            for name, value in scores.items():
                figures[given][name] = None if np.isnan(value) else value
    return figures


def write_suspects(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write the rows of `suspect_rows` as a CSV file."""
    write_csv(path, COLUMNS, rows)
