"""Lists of suspects of parts whose labels are too many for a matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pumlc.audit import GIVEN, Suspects, rank_suspects, score_finding
from pumlc.audit.suspects import counts_so_far
from pumlc.labels import POSITIVE, UNKNOWN, SparseLabels
from pumlc.labels.known_cells import labels_at
from pumlc.vision.audit.decided import decided_pairs
from pumlc.vision.audit.known_scores import CellScores
from pumlc.vision.audit.parts import Part
from pumlc.vision.audit.suspects import AuditedPart, worth_a_look

Figures = dict[str, dict[str, float | int | None]]


def is_sparse(parts: Sequence[Part]) -> bool:
    """Whether the labels of a part are too many for a matrix."""
    return any(isinstance(part.images.matrix, SparseLabels) for part in parts)


class KnownAuditedPart(AuditedPart):
    """A part of which only some cells have scores."""

    def tagged(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        entries = slice(*self.probabilities.indptr[column : column + 2])
        return self.probabilities.indices[entries], self.probabilities.data[entries]

    def wrong_at(self, row: int, column: int) -> float | None:
        return None if self.wrong is None else float(self.wrong[row, column])


def rank_cells(
    part: Part,
    scores: CellScores,
    number: int,
    *,
    top: int | None,
    decisions: Path | None,
) -> AuditedPart:
    """Rank the cells of each kind; see `pumlc.vision.audit.suspects.rank_part`.

    Args:
        part: pictures and labels.
        scores: of all parts.
        number: of the part.
        top: number of labels of each kind; None: as many as are worth a look.
        decisions: a file of decisions; None: the one beside the label file.
    """
    cells, probabilities = scores.cells[number], scores.probabilities[number]
    wrong = scores.wrong[number]
    decided = np.isin(cells.keys(), _decided_keys(part, decisions, cells.shape[1]))
    suspects = {}
    for given, value in GIVEN.items():
        most = top
        if most is None:
            most = worth_a_look(wrong, (cells.given == value) & ~decided)
        found = rank_suspects(
            probabilities[:, None],
            cells.given[:, None],
            given=given,
            top=most,
            decided=decided[:, None],
        )
        columns = cells.columns[found.rows]
        suspects[given] = Suspects(
            cells.rows[found.rows], columns, found.probabilities, counts_so_far(columns)
        )
    tagged = cells.matrix(probabilities, cells.given == POSITIVE).tocsc()
    known = None if wrong is None else cells.matrix(wrong, np.ones(len(wrong), bool))
    return KnownAuditedPart(part, tagged, known, scores.vectors[number], suspects)


def _decided_keys(part: Part, decisions: Path | None, width: int) -> np.ndarray:
    pairs = decided_pairs(part.images, decisions) or []
    return np.array([row * width + column for row, column in pairs], np.int64)


def cell_figures(part: Part, scores: CellScores, number: int) -> Figures:
    """The same as `pumlc.vision.audit.suspects.finding_figures`.

    Args:
        part: pictures and labels.
        scores: of all parts.
        number: of the part.
    """
    cells, counts = scores.cells[number], part.images.counts()
    figures: Figures = {given: {"labels": counts[given]} for given in GIVEN}
    if part.true_labels is None:
        return figures
    assert isinstance(part.true_labels, SparseLabels)
    truth = labels_at(part.true_labels.known(), cells.rows, cells.columns)
    known = truth != UNKNOWN
    for given in GIVEN:
        found = score_finding(
            scores.probabilities[number][known, None],
            cells.given[known, None],
            truth[known, None],
            given=given,
        )
        for name, value in found.items():
            figures[given][name] = None if np.isnan(value) else value
    return figures
