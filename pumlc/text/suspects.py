"""Which labels of documents are suspected, by scores of documents for labels."""

from dataclasses import dataclass

import numpy as np

from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.data.text_split import TextSplit

PER_DOCUMENT = 3
"""Labels of one document that are suspected to be missing, at most."""


@dataclass(frozen=True)
class SuspectedLabel:
    """A pair of a document and a label.

    Attributes:
        row: the document, a row of the split.
        column: the label.
        given: "unknown": it is probably missing; "present": it is probably wrong.
        score: of the document for the label; for encoders a cosine, if they normalise.
        suspicion: higher for what is more suspicious, within a list.
    """

    row: int
    column: int
    given: str
    score: float
    suspicion: float


def suspects_of(scores: SparseMatrix, documents: TextSplit) -> list[SuspectedLabel]:
    r"""The labels of documents that have a score of a fit that has not seen them.

    A missing label is as suspicious as its score is high. A given one is compared with labels that
    are as frequent, since what a fit knows of a label grows with its documents: of a label with one
    document it knows nothing without that one. With :math:`m_b` and :math:`d_b`, mean and standard
    deviation of the scores of given labels in an octave b of frequencies, the suspicion is
    :math:`(m_b - s) / d_b`.

    Args:
        scores: CSR [N, L]: of the best labels of each document and of those that it has.
        documents: N.
    """
    entries = scores.tocoo()
    rows, columns, values = entries.row, entries.col, entries.data
    given = _contained(documents.truth, rows, columns)
    known = _contained(documents.positives, rows, columns)
    octave = _octaves(documents.truth)[columns[given]]
    free = np.flatnonzero(~known)
    order = free[np.lexsort((-values[free], rows[free]))]  # a document's best labels come first
    before = np.searchsorted(rows[order], rows[order])
    first = order[np.arange(len(order)) - before < PER_DOCUMENT]
    wrong = _below_equals(values[given].astype(np.float64), octave)
    return [
        *_listed("present", rows[given], columns[given], values[given], wrong),
        *_listed("unknown", rows[first], columns[first], values[first], values[first]),
    ]


def _contained(matrix: SparseMatrix, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.asarray(matrix[rows, columns]).ravel().astype(bool)


def _octaves(truth: SparseMatrix) -> np.ndarray:
    """[L] 0 for labels of one document, 1 of two or three, 2 of four to seven, and so on."""
    counts = np.bincount(truth.indices, minlength=truth.shape[1])
    return np.floor(np.log2(np.maximum(counts, 1))).astype(np.int64)


def _below_equals(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """How many standard deviations each value is below the mean of its group.

    >>> _below_equals(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1])).tolist()
    [1.0, -1.0, 0.0]
    """
    count = np.maximum(1, np.bincount(group))
    mean = np.bincount(group, weights=values) / count
    deviation = np.sqrt(np.bincount(group, weights=(values - mean[group]) ** 2) / count)
    deviation[deviation == 0] = 1  # of a group of one, or of equal values
    return (mean[group] - values) / deviation[group]


def _listed(
    given: str, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray, suspicion: np.ndarray
) -> list[SuspectedLabel]:
    return [
        SuspectedLabel(int(row), int(column), given, float(score), float(value))
        for row, column, score, value in zip(rows, columns, scores, suspicion, strict=True)
    ]
