"""The cells of a very large label matrix by which something is fitted or measured.

They are a CSR array of 1 and -1. A cell that is not stored is unknown, and nothing is computed for
it: so memory grows with the labels that are known, not with pictures x classes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from pumlc.labels.convention import NEGATIVE, POSITIVE, UNKNOWN, row_blocks
from pumlc.labels.sparse import SparseLabels, kept_entries

SAMPLED_CELLS = 2**23
"""So many cells at most are measured of classes in which what is not listed counts as absent."""


class MeasuredCells(NamedTuple):
    """What `measured_cells` returns.

    Attributes:
        labels: [N, C] int8 CSR of 1 and -1.
        alone: bool [C], classes of which only present labels are known.
        sampled: the rows in which these classes are measured; all rows where they are few enough.
    """

    labels: csr_array
    alone: np.ndarray
    sampled: np.ndarray

    def subset(self, rows: np.ndarray) -> "MeasuredCells":
        """The given rows, in ascending order."""
        sampled = np.flatnonzero(np.isin(rows, self.sampled))
        return MeasuredCells(csr_array(self.labels[rows]), self.alone, sampled)


def measured_cells(labels: SparseLabels, *, seed: int = 0) -> MeasuredCells:
    """The known labels; where a class is never known to be absent, what is not listed is absent.

    Such a class is measured in a sample of the rows, the same for all of these classes: there each
    of its labels is a cell, and elsewhere none is.

    Args:
        labels: [N, C].
        seed: chooses the rows.
    """
    counts, known = labels.counts(), csr_array(labels.known())
    alone = (counts["positive"] > 0) & (counts["negative"] == 0) & (counts["unknown"] > 0)
    number, width = len(labels), int(alone.sum())
    rows = np.arange(number)
    if not width:
        return MeasuredCells(known, alone, rows)
    if number * width > SAMPLED_CELLS:
        chosen = np.random.RandomState(seed).choice(number, SAMPLED_CELLS // width, replace=False)
        rows = np.sort(chosen)
    sample = known[rows][:, alone].toarray()
    sample = np.where(sample == POSITIVE, np.int8(POSITIVE), np.int8(NEGATIVE))
    columns = np.tile(np.flatnonzero(alone).astype(np.int32), len(rows))
    ends = np.zeros(number + 1, np.int32)
    ends[rows + 1] = width
    sampled = csr_array((sample.ravel(), columns, np.cumsum(ends)), shape=labels.shape)
    cells = csr_array(without_classes(known, alone) + sampled)  # they have no cell in common
    return MeasuredCells(cells.sorted_indices(), alone, rows)


def without_classes(matrix: csr_array, classes: np.ndarray) -> csr_array:
    """The matrix without the entries of some classes (bool [C])."""
    return kept_entries(matrix, ~classes[matrix.indices])


def stored_by_class(matrix: csr_array) -> Iterator[np.ndarray]:
    """For each class the places of its entries in the arrays of a CSR matrix, by row."""
    order = np.argsort(matrix.indices, kind="stable")
    width = matrix.shape[1]  # pyright: ignore[reportOptionalSubscript]
    ends = np.searchsorted(matrix.indices, np.arange(1, width + 1), sorter=order)
    start = 0
    for end in ends.tolist():
        yield order[start:end]
        start = end


def row_numbers(matrix: csr_array) -> np.ndarray:
    """The row of each entry of a CSR matrix."""
    number = len(matrix.indptr) - 1
    dtype = np.int32 if number < 2**31 else np.int64  # of very many entries half of the memory
    return np.repeat(np.arange(number, dtype=dtype), np.diff(matrix.indptr))


def labels_at(labels: csr_array, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What a matrix stores at some cells, int8 [K]; UNKNOWN where it stores nothing.

    Args:
        labels: [N, C] CSR with sorted columns.
        rows, columns: [K].
    """
    width = labels.shape[1]  # pyright: ignore[reportOptionalSubscript]
    result = np.full(len(rows), UNKNOWN, np.int8)
    if not labels.nnz:
        return result
    keys = row_numbers(labels).astype(np.int64) * width + labels.indices
    for block in row_blocks((len(rows), 1)):
        wanted = rows[block].astype(np.int64) * width + columns[block]
        places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        result[block] = np.where(keys[places] == wanted, labels.data[places], UNKNOWN)
    return result
