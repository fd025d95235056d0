"""What the multi-label metrics share: the checks of their input, and its columns one by one."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from pumlc.labels import POSITIVE, UNKNOWN, validate

BLOCK_CLASSES = 16


def check_scores(scores: ArrayLike, targets: ArrayLike, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Check scores and targets of the multi-label metrics.

    Args:
        scores: real numbers [N, C].
        targets: [N, C] in {1, 0, -1}.
        name: what messages call the scores.

    Returns:
        both as arrays, the targets int8.

    Raises:
        ValueError: no real numbers, unequal shapes, an invalid target; or targets with UNKNOWN but
            without any NEGATIVE entry, against which any prediction would be perfect.
    """
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


def known_classes(
    scores: np.ndarray, targets: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Go through the classes.

    Args:
        scores: [N, C].
        targets: [N, C] in {1, 0, -1}.

    Yields:
        for each class the scores of its known entries, and which of them are positive.

    Raises:
        ValueError: a score is nan, with row and column.
    """
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
