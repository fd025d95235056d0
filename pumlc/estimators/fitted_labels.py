"""The labels that heads are fitted on, of those that a file has."""

import numpy as np

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN


def fitted_labels(labels: np.ndarray) -> np.ndarray:
    """Unknown becomes absent for the labels that are nowhere known to be absent.

    >>> fitted_labels(np.array([[1, 1], [0, -1], [0, 0]], np.int8)).tolist()
    [[1, 1], [-1, -1], [-1, 0]]
    """
    return np.where(never_absent(labels) & (labels == UNKNOWN), NEGATIVE, labels).astype(np.int8)


def never_absent(labels: np.ndarray) -> np.ndarray:
    """Whether each class, [C], is known to be present somewhere and absent nowhere."""
    return ~(labels == NEGATIVE).any(axis=0) & (labels == POSITIVE).any(axis=0)
