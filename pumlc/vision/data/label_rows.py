"""Rows of labels that a reader enters one by one: a matrix, or sparse where that is too large."""

from array import array
from collections.abc import Iterable

import numpy as np
from scipy.sparse import csr_array

from pumlc.labels import NEGATIVE, POSITIVE, LabelMatrix, SparseLabels, sparse
from pumlc.vision.data.scattered import ScatteredLabels


class LabelRows:
    """Labels of pictures in their order.

    Args:
        number: of pictures, N.
        width: number of classes, C.
        silent: the label of a class that a row does not list.
    """

    def __init__(self, number: int, width: int, silent: int) -> None:
        self._shape, self._silent, self._done = (number, width), silent, 0
        self._dense = None
        self._indices, self._labels, self._ends = array("i"), array("b"), array("q", [0])
        if number * width <= sparse.DENSE_LIMIT:
            self._dense = np.full(self._shape, silent, np.int8)

    def add(self, positives: Iterable[int], negatives: Iterable[int]) -> None:
        """The next row, by numbers of classes; none is in both."""
        if self._dense is not None:
            self._dense[self._done, list(positives)] = POSITIVE
            self._dense[self._done, list(negatives)] = NEGATIVE
            self._done += 1
            return
        label_of = {**dict.fromkeys(positives, POSITIVE), **dict.fromkeys(negatives, NEGATIVE)}
        self._indices.extend(label_of)
        self._labels.extend(label_of.values())
        self._ends.append(len(self._indices))

    def finished(self) -> LabelMatrix:
        """All rows, after the last one."""
        if self._dense is not None:
            return self._dense
        arrays = (
            np.frombuffer(self._labels, np.int8),
            np.frombuffer(self._indices, np.int32),
            np.frombuffer(self._ends, np.int64),
        )
        silent = np.full(self._shape[0], self._silent, np.int8)
        return SparseLabels.of(csr_array(arrays, shape=self._shape), silent)


def scattered_labels(listed: ScatteredLabels, number: int, width: int) -> LabelMatrix:
    """The labels of codes 1 (present) and 2 (absent), the others unknown; present prevails.

    Args:
        listed: with these codes; given up.
        number: of pictures, N.
        width: number of classes, C.
    """
    codes = listed.matrix(number, width)
    each: np.ndarray = codes.data
    labels = np.array([0, POSITIVE, NEGATIVE], np.int8)[each]
    stored = csr_array((labels, codes.indices, codes.indptr), shape=(number, width))
    held = SparseLabels.of(stored, np.zeros(number, np.int8))
    return held.toarray() if number * width <= sparse.DENSE_LIMIT else held
