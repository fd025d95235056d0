"""Which labels the documents of a step are scored against."""

import numpy as np
import scipy.sparse as sp

from pumlc.text.data.matrix import SparseMatrix


def draw_negatives(shortlists: np.ndarray, per_row: int, random: np.random.Generator) -> np.ndarray:
    """Draw labels from each row of ``shortlists`` without replacement.

    Args:
        shortlists: [B, K] label ids; -1, which is never drawn, where a document has fewer.
        per_row: labels to draw; from a row that holds fewer, all are drawn.

    Returns:
        the drawn ids of all rows, one after another.

    Example:
        >>> random = np.random.default_rng(0)
        >>> sorted(draw_negatives(np.array([[4, 7, -1], [2, -1, -1]]), 2, random).tolist())
        [2, 4, 7]
    """
    order = np.where(shortlists < 0, np.inf, random.random(shortlists.shape))
    first = np.argsort(order, axis=1)[:, :per_row]
    drawn = np.take_along_axis(shortlists, first, axis=1)
    return drawn[drawn >= 0]


def candidate_labels(positives: SparseMatrix, negatives: np.ndarray, at_least: int) -> np.ndarray:
    """The labels of a step: all positives of its documents and the negatives, sorted, each once.

    Positives are looked up among all of them afterwards (`entries_among`): a label that was drawn
    as a negative of one document counts as a positive of every document that has it.

    Args:
        positives: CSR [B, L], the rows of the documents.
        negatives: label ids.
        at_least: number of labels that are needed (every process needs one, soft top-k more than
            it selects); the lowest other ids fill up the rest.

    Example:
        >>> candidate_labels(sp.csr_array([[0, 0, 1, 0], [0, 0, 1, 1]]), np.array([2]), 3).tolist()
        [0, 2, 3]
    """
    labels = np.union1d(positives.indices, negatives).astype(np.int64)
    if len(labels) < at_least:
        # among the first len + at_least ids there are at_least others, or all that exist
        lowest = np.arange(min(len(labels) + at_least, positives.shape[1]))
        others = np.setdiff1d(lowest, labels)
        labels = np.union1d(labels, others[: at_least - len(labels)])
    return labels


def entries_among(matrix: SparseMatrix, labels: np.ndarray) -> SparseMatrix:
    """Bool CSR [B, len(labels)]: the columns of the sorted ``labels`` of a bool matrix.

    Example:
        >>> positives = sp.csr_array([[1, 0, 1, 0], [0, 0, 0, 1]])
        >>> entries_among(positives, np.array([2, 3])).toarray().astype(int).tolist()
        [[1, 0], [0, 1]]
    """
    columns = np.searchsorted(labels, matrix.indices)
    kept = np.append(labels, -1)[columns] == matrix.indices
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    shape = (matrix.shape[0], len(labels))
    return sp.csr_array((np.ones(int(kept.sum()), bool), (rows[kept], columns[kept])), shape)
