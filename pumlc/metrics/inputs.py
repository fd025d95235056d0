"""What the multi-label metrics share: the checks of their input, and its columns one by one.

Scores and targets are matrices [N, C], or both CSR arrays of scipy that store the same entries. An
entry that is not stored is unknown: so memory grows with the known labels, not with N x C.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN, validate
from pumlc.labels.convention import row_blocks
from pumlc.labels.known_cells import stored_by_class

BLOCK_CLASSES = 16

Scores = Any
"""Array-like [N, C]; or CSR with the entries of the targets."""
Targets = Any
"""Array-like [N, C] in {1, 0, -1}; or CSR in which an entry that is not stored is UNKNOWN."""


def check_scores(scores: Scores, targets: Targets, name: str) -> tuple[Any, Any]:
    """Check scores and targets of the multi-label metrics.

    Args:
        scores: real numbers [N, C].
        targets: [N, C] in {1, 0, -1}.
        name: what messages call the scores.

    Returns:
        both as arrays, the targets int8; or both as CSR.

    Raises:
        ValueError: no real numbers, unequal shapes, an invalid target; or targets with UNKNOWN but
            without any NEGATIVE entry, against which any prediction would be perfect. Of CSR also:
            only one of the two is, or they store different entries.
    """
    if issparse(scores) or issparse(targets):
        return _check_stored(scores, targets, name)
    scores, targets = np.asarray(scores), validate(targets, "targets")
    if scores.dtype.kind not in "iuf":
        raise ValueError(f"{name} are of type {scores.dtype}, not real numbers")
    if scores.shape != targets.shape:
        raise ValueError(f"{name} have shape {scores.shape}, targets {targets.shape}")
    if targets.size and targets.min() == UNKNOWN and targets.max() == POSITIVE:
        raise ValueError(
            f"the {targets.size} targets hold 1 and 0 (unknown) but no -1 (negative), so that any "
            "prediction would be perfect; score against more known labels (a larger proportion "
            "known, a larger part held out), or where 0 means negative: "
            "np.where(targets == 1, 1, -1)"
        )
    return scores, targets


def _check_stored(scores: Any, targets: Any, name: str) -> tuple[csr_array, csr_array]:
    if not issparse(scores) or not issparse(targets):
        raise ValueError(f"{name} and targets: both dense, or both CSR with the same entries")
    if scores.shape != targets.shape:
        raise ValueError(f"{name} have shape {scores.shape}, targets {targets.shape}")
    scores, targets = csr_array(scores), csr_array(targets)
    if not (
        np.array_equal(scores.indptr, targets.indptr)
        and np.array_equal(scores.indices, targets.indices)
    ):
        raise ValueError(f"{name} and targets store different entries")
    if scores.dtype.kind not in "iuf":
        raise ValueError(f"{name} are of type {scores.dtype}, not real numbers")
    labels = validate(targets.data[:, None], "targets, as they are stored")[:, 0]
    whole = len(labels) == np.prod(targets.shape, dtype=np.int64) and (labels != UNKNOWN).all()
    if (labels == POSITIVE).any() and not (labels == NEGATIVE).any() and not whole:
        raise ValueError(
            "the targets hold 1 and unknown entries but no -1 (negative), so that any prediction "
            "would be perfect; score against more known labels"
        )
    return scores, targets


def known_entries(scores: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    """The scores of all known entries in one array, and which of them are positive.

    Args:
        scores, targets: of `check_scores`.
    """
    if issparse(targets):
        scores, targets = scores.data, targets.data
    known = targets != UNKNOWN
    return scores[known], targets[known] == POSITIVE


def check_all_probabilities(probabilities: Any) -> None:
    """Check that a matrix, dense or CSR, holds probabilities; see `check_probabilities`."""
    if issparse(probabilities):
        check_probabilities(probabilities.data[:, None])
        return
    for rows in row_blocks(probabilities.shape):
        check_probabilities(probabilities[rows], rows.start)


def check_probabilities(block: np.ndarray, first_row: int = 0) -> None:
    """Check that a block of rows holds probabilities.

    Args:
        block: rows of the matrix, [n, C].
        first_row: where it starts in the matrix.

    Raises:
        ValueError: a number outside [0, 1], with row and column.
    """
    wrong = ~((block >= 0) & (block <= 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"probabilities: row {first_row + row}, column {column} is {block[row, column]}, "
            "outside [0, 1]; pass the sigmoid of logits"
        )


def known_classes(scores: Any, targets: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Go through the classes.

    Args:
        scores: [N, C].
        targets: [N, C] in {1, 0, -1}; or both CSR, see `check_scores`.

    Yields:
        for each class the scores of its known entries, and which of them are positive.

    Raises:
        ValueError: a score is nan, with row and column.
    """
    if issparse(targets):
        yield from _stored_classes(scores, targets)
        return
    for start in range(0, scores.shape[1], BLOCK_CLASSES):  # a block at a time: columns are strided
        columns = slice(start, start + BLOCK_CLASSES)
        score_rows = np.ascontiguousarray(scores[:, columns].T)
        target_rows = np.ascontiguousarray(targets[:, columns].T)
        for index, (score, target) in enumerate(zip(score_rows, target_rows, strict=True)):
            if np.isnan(score).any():
                row = int(np.flatnonzero(np.isnan(score))[0])
                raise ValueError(f"scores: row {row}, column {start + index} is nan")
            known = target != UNKNOWN
            yield score[known], target[known] == POSITIVE


def _stored_classes(
    scores: csr_array, targets: csr_array
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if np.isnan(scores.data).any():
        row, column = _place(targets, int(np.flatnonzero(np.isnan(scores.data))[0]))
        raise ValueError(f"scores: row {row}, column {column} is nan")
    for entries in stored_by_class(targets):
        label = targets.data[entries]
        known = label != UNKNOWN
        yield scores.data[entries][known], label[known] == POSITIVE


def _place(matrix: csr_array, entry: int) -> tuple[int, int]:
    """Row and column of an entry."""
    row = int(np.searchsorted(matrix.indptr, entry, side="right")) - 1
    return row, int(matrix.indices[entry])
