"""Near-duplicates with different tags: one of the two is labelled wrongly, or lacks a tag."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pumlc.labels import POSITIVE, LabelMatrix, SparseLabels, validate
from pumlc.labels.sparse import label_row

LEAST = 0.9
"""Cosine of pooled features from which two pictures are near-duplicates.

Of 100 pictures of VOC 2007, by tf_efficientnet_lite0: all copies as JPEG of quality 50 and all
mirrored ones are above it, and 97 that lack a twentieth at each side. Of 1,501 other pictures 0.9 %
have a neighbour above it (experiments/near_duplicates.py).
"""
_BLOCK = 2**25  # cosines in memory at a time


class Pair(NamedTuple):
    """Two rows that look alike.

    Attributes:
        first, second: the rows, the smaller first.
        similarity: their cosine.
        columns: [n], of the classes that one of them has and the other does not.
    """

    first: int
    second: int
    similarity: float
    columns: np.ndarray


def near_duplicates(
    vectors: np.ndarray, labels: LabelMatrix, *, least: float = LEAST, most: int = 500
) -> list[Pair]:
    """Pairs of near-duplicates of which one has a tag that the other lacks, the most alike first.

    The other's label is absent or unknown. Each row is compared with all others.

    Args:
        vectors: [N, D], pooled features.
        labels: [N, C] in {1, 0, -1}, dense or sparse.
        least: cosine from which two rows are near-duplicates.
        most: so many pairs at most.

    Raises:
        ValueError: vectors and labels have different lengths, or an invalid label.

    Example:
        >>> pairs = near_duplicates(np.array([[1, 0], [0, 1], [9, 1]]), np.array([[1], [0], [0]]))
        >>> [(pair.first, pair.second, pair.columns.tolist()) for pair in pairs]
        [(0, 2, [0])]
    """
    if not isinstance(labels, SparseLabels):
        labels = validate(labels, "labels")
    if len(vectors) != len(labels):
        raise ValueError(f"{len(vectors)} vectors, but {len(labels)} rows of labels")
    pairs = []
    for first, second, similarity in _alike(np.asarray(vectors, np.float32), least):
        present = [label_row(labels, row) == POSITIVE for row in (first, second)]
        columns = np.flatnonzero(present[0] != present[1])
        if len(columns):
            pairs.append(Pair(first, second, similarity, columns))
    return sorted(pairs, key=lambda pair: (-pair.similarity, pair[:2]))[:most]


def _alike(vectors: np.ndarray, least: float) -> Iterator[tuple[int, int, float]]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    rows = np.arange(len(units))
    for block in np.array_split(rows, 1 + len(rows) ** 2 // _BLOCK):
        cosines = units[block] @ units.T
        for place, second in zip(*np.nonzero(cosines >= least), strict=True):
            first = int(block[place])
            if first < second:
                yield first, int(second), float(cosines[place, second])
