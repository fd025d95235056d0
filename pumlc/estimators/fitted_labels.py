"""From the labels of a file to those that heads are fitted on."""

import numpy as np

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN


def fitted_labels(labels: np.ndarray) -> np.ndarray:
    """Unknown becomes absent for each class that is nowhere known to be absent.

    Example:
        >>> fitted_labels(np.array([[1, 1], [0, -1], [0, 0]], np.int8)).tolist()
        [[1, 1], [-1, -1], [-1, 0]]
    """
    return np.where(never_absent(labels) & (labels == UNKNOWN), NEGATIVE, labels).astype(np.int8)


def never_absent(labels: np.ndarray) -> np.ndarray:
    """Whether each class, [C], is known to be present somewhere and absent nowhere."""
    return ~(labels == NEGATIVE).any(axis=0) & (labels == POSITIVE).any(axis=0)
