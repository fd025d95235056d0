"""Labels of many pictures and many classes: what a row says is stored, silence is not.

A dense matrix of 9 million pictures x 9,605 classes takes 86 GB, and few of its labels are known.
`SparseLabels` takes 5 bytes a stored label and 9 a picture, whatever the number of classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, vstack

from pumlc.labels.convention import NEGATIVE, POSITIVE, UNKNOWN, row_blocks

DENSE_LIMIT = 2**28
"""So many labels are one byte each; of more only the stored ones are kept."""
_BLOCK_ROWS = 2**16


@dataclass(frozen=True, eq=False)
class SparseLabels:
    """A label matrix [N, C]. Nothing of it can be changed in place.

    Attributes:
        stored: [N, C] int8 CSR with sorted columns, of labels that differ from their row's silence;
            in a row that is silent of absent labels these may be 0.
        silent: [N] int8, the label of what a row does not store.
    """

    stored: csr_array
    silent: np.ndarray

    def __post_init__(self) -> None:
        for array in (self.stored.data, self.stored.indices, self.stored.indptr, self.silent):
            array.flags.writeable = False

    @staticmethod
    def of(stored: csr_array, silent: np.ndarray) -> "SparseLabels":
        """The labels without entries that say what the row's silence says.

        Args:
            stored: [N, C] int8 CSR in {1, 0, -1}; not changed.
            silent: [N] int8, the label of what a row does not store.
        """
        stored = stored.sorted_indices()  # a copy
        told = stored.data != np.repeat(silent, np.diff(stored.indptr))
        if not told.all():
            stored = kept_entries(stored, told)
        return SparseLabels(stored, silent.astype(np.int8))

    @property
    def shape(self) -> tuple[int, int]:
        """[N, C]."""
        number, width = self.stored.shape  # pyright: ignore[reportGeneralTypeIssues]
        return int(number), int(width)

    def __len__(self) -> int:
        return len(self.silent)

    def row(self, row: int) -> np.ndarray:
        """[C] int8 of one row."""
        labels = np.full(self.shape[1], self.silent[row], np.int8)
        span = slice(self.stored.indptr[row], self.stored.indptr[row + 1])
        labels[self.stored.indices[span]] = self.stored.data[span]
        return labels

    def subset(self, rows: np.ndarray) -> "SparseLabels":
        """The given rows, in the given order."""
        return SparseLabels(csr_array(self.stored[rows]), self.silent[rows])

    def toarray(self) -> np.ndarray:
        """[N, C] int8, dense: for a batch, or a part that is scored."""
        labels = np.repeat(self.silent[:, None], self.shape[1], axis=1)
        row_of = np.repeat(np.arange(len(self)), np.diff(self.stored.indptr))
        labels[row_of, self.stored.indices] = self.stored.data
        return labels

    def insert(self, places: Sequence[int], labels: np.ndarray) -> "SparseLabels":
        """The labels with further rows, as `numpy.insert` of a dense matrix inserts them."""
        number, new = len(self), csr_array(labels)
        order = np.insert(np.arange(number), places, number + np.arange(len(labels)))
        silent = np.concatenate([self.silent, np.full(len(labels), UNKNOWN, np.int8)])
        stored = csr_array(vstack([self.stored, new], format="csr"))
        return SparseLabels(stored, silent).subset(order)

    def without_negatives(self, classes: np.ndarray) -> "SparseLabels":
        """The labels, where NEGATIVE of some classes (bool [C]) is UNKNOWN."""
        stored = self.stored
        gone = (stored.data == NEGATIVE) & classes[stored.indices]
        data = np.where(gone, np.int8(UNKNOWN), stored.data)
        silent = np.flatnonzero(self.silent == NEGATIVE)
        told = csr_array((data, stored.indices, stored.indptr), shape=self.shape)
        if not len(silent):
            return SparseLabels.of(told, self.silent)
        pattern = csr_array((np.ones_like(data), stored.indices, stored.indptr), shape=self.shape)
        columns, pairs = np.flatnonzero(classes), []
        for block in row_blocks((len(silent), len(columns))):
            rows = silent[block]
            row, column = np.nonzero(pattern[rows][:, columns].toarray() == 0)
            pairs.append(np.stack([rows[row], columns[column]]))
        added = np.concatenate(pairs, axis=1)
        places = np.concatenate([told.tocoo().coords, added], axis=1)
        values = np.concatenate([data, np.full(added.shape[1], UNKNOWN, np.int8)])
        told = csr_array((values, tuple(places)), shape=self.shape)
        return SparseLabels.of(told, self.silent)

    def known(self) -> csr_array:
        """[N, C] int8 CSR of 1 and -1, every known label: silent rows of absent labels in full."""
        if not self.silent.any():
            return self.stored
        parts = []
        for rows in row_blocks(self.shape):
            block = self.stored[rows], self.silent[rows]
            parts.append(csr_array(SparseLabels(csr_array(block[0]), block[1]).toarray()))
        return csr_array(vstack(parts, format="csr"))

    def number_known(self) -> int:
        """How many labels are known, the silent ones too."""
        told = np.diff(self.stored.indptr)[self.silent != UNKNOWN].sum()
        silent = int((self.silent != UNKNOWN).sum()) * self.shape[1] - int(told)
        return silent + int(np.count_nonzero(self.stored.data))

    def counts(self) -> dict[str, np.ndarray]:
        """ "positive", "negative", "unknown" -> number of labels of each class, [C]."""
        columns, width = self.stored.indices, self.shape[1]
        silent_of = np.repeat(self.silent, np.diff(self.stored.indptr))
        counts = {}
        for name, sign in (("positive", POSITIVE), ("negative", NEGATIVE), ("unknown", UNKNOWN)):
            told = np.bincount(columns[self.stored.data == sign], minlength=width)
            spoken = np.bincount(columns[silent_of == sign], minlength=width)
            counts[name] = told + int((self.silent == sign).sum()) - spoken
        return counts

    def pieces(self) -> Iterator[np.ndarray]:
        """The arrays that say everything of the labels, for a hash or a file."""
        yield np.array(self.shape, np.int64)
        yield self.stored.indptr.astype(np.int64)
        yield self.stored.indices.astype(np.int32)
        yield np.ascontiguousarray(self.stored.data)
        yield np.ascontiguousarray(self.silent)


def kept_entries(matrix: csr_array, kept: np.ndarray) -> csr_array:
    """The matrix without the entries that are not kept.

    Args:
        matrix: [N, C] CSR.
        kept: bool, one for each entry. What is made of it beside the result has the size of a block
            of rows: there may be as many entries as memory holds once.
    """
    starts = matrix.indptr
    ends = np.zeros(len(starts), starts.dtype)
    for first in range(0, len(starts) - 1, _BLOCK_ROWS):
        span = starts[first : first + _BLOCK_ROWS + 1]
        before = np.concatenate([[0], np.cumsum(kept[span[0] : span[-1]])])
        ends[first + 1 : first + len(span)] = ends[first] + before[span[1:] - span[0]]
    return csr_array((matrix.data[kept], matrix.indices[kept], ends), shape=matrix.shape)


LabelMatrix = np.ndarray | SparseLabels
"""[N, C] in {1, 0, -1}: int8, or sparse."""


def dense(labels: LabelMatrix) -> np.ndarray:
    """[N, C] int8; an array is returned itself."""
    return labels.toarray() if isinstance(labels, SparseLabels) else labels


def has_label(labels: LabelMatrix | csr_array, label: int) -> bool:
    """Whether any entry is 1, 0 or -1; of CSR of 1 and -1, any that is stored."""
    if isinstance(labels, csr_array):
        return bool((labels.data == label).any())
    if not isinstance(labels, SparseLabels):
        return bool((labels == label).any())
    name = {POSITIVE: "positive", NEGATIVE: "negative", UNKNOWN: "unknown"}[label]
    return bool(labels.counts()[name].any())


def label_row(labels: LabelMatrix, row: int) -> np.ndarray:
    """[C] int8 of one row."""
    return labels.row(row) if isinstance(labels, SparseLabels) else labels[row]


def label_rows(labels: LabelMatrix, rows: np.ndarray) -> LabelMatrix:
    """The given rows, in the given order."""
    return labels.subset(rows) if isinstance(labels, SparseLabels) else labels[rows]


def positives_of(labels: LabelMatrix) -> csr_array:
    """[N, C] boolean CSR of the positive labels."""
    if isinstance(labels, SparseLabels):
        known = labels.known() if (labels.silent > 0).any() else labels.stored
        present = known.data > 0
        listed = csr_array((present, known.indices, known.indptr), shape=known.shape)
        return listed if present.all() else kept_entries(listed, present)
    return csr_array(labels > 0)
