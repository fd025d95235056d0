"""The label convention: every label of the package is one of three values."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from pumlc.errors import warn_user

POSITIVE = 1
"""A label that is known to be present."""
UNKNOWN = 0
"""A label that nobody has given."""
NEGATIVE = -1
"""A label that is known to be absent."""

BLOCK_ENTRIES = 2**22


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of rows small enough that a float64 temporary of each stays at about 32 MB.

    Args:
        shape: of the matrix, [N, C].

    Yields:
        consecutive slices that cover the rows.
    """
    rows = max(1, BLOCK_ENTRIES // max(1, shape[1]))
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)


def validate(labels: ArrayLike, where: str) -> np.ndarray:
    """Check a label matrix.

    Args:
        labels: numbers [N, C], each 1, 0 or -1.
        where: the argument or file that messages name.

    Returns:
        The labels as int8 [N, C]; the array itself if it is int8 already.

    Raises:
        ValueError: another shape; an entry that is no label, with row, column and value; a boolean
            matrix, because False might mean NEGATIVE or UNKNOWN.

    Example:
        >>> validate([[1, 0, -1]], "labels.csv")
        array([[ 1,  0, -1]], dtype=int8)
        >>> validate([[1, 0], [0, 2]], "labels.csv")
        Traceback (most recent call last):
        ValueError: labels.csv: row 1, column 1 is 2, not 1 (positive), 0 (unknown) or -1 (negative)
    """
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise ValueError(f"{where}: labels have shape {labels.shape}, not [N, C]")
    if labels.dtype.kind not in "iuf":
        raise ValueError(
            f"{where}: labels of type {labels.dtype}; write numbers: 1 (positive), 0 (unknown) or "
            "-1 (negative)"
        )
    for rows in row_blocks(labels.shape):
        block = labels[rows]
        wrong = (block != POSITIVE) & (block != UNKNOWN) & (block != NEGATIVE)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"{where}: row {rows.start + row}, column {column} is {block[row, column]}, "
                "not 1 (positive), 0 (unknown) or -1 (negative)"
            )
    return labels.astype(np.int8, copy=False)


def writable(labels: ArrayLike, out: np.ndarray | None) -> np.ndarray:
    """The matrix that a protocol changes: a copy of ``labels``, or ``out`` with the same content.

    Args:
        labels: [N, C] in {1, 0, -1}.
        out: int8 [N, C], may be ``labels`` itself; None for a new matrix.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label, or an ``out`` of another shape or type.
    """
    labels = validate(labels, "labels")
    if out is None:
        return labels.copy()
    if out.shape != labels.shape or out.dtype != np.int8:
        raise ValueError(
            f"out is {out.dtype} {list(out.shape)}, the labels need int8 {list(labels.shape)}"
        )
    if out is not labels:
        out[:] = labels
    return out


def warn_without_negatives(labels: np.ndarray) -> None:
    """Warn of noise on labels of which none is NEGATIVE.

    No negative could become a false positive, and a missed positive would be a known negative, the
    only one. Labels in {1, 0} are mostly in the wrong convention.

    Args:
        labels: [N, C] in {1, 0, -1}.
    """
    if labels.size and labels.min() == UNKNOWN and labels.max() == POSITIVE:
        warn_user(
            "labels hold 1 and 0 (unknown) but no -1 (negative): none can become a false "
            "positive, and every negative that noise makes is wrong; where 0 means negative: "
            "np.where(labels == 1, 1, -1)"
        )
