"""From the labels of a file to those that heads are fitted on."""

from typing import Any, TypeVar

import numpy as np
from scipy.sparse import issparse

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN, SparseLabels

AnyLabels = TypeVar("AnyLabels", np.ndarray, SparseLabels)


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


def label_counts(labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """How many labels of each class are present, and how many absent, each [C].

    Args:
        labels: [N, C] in {1, 0, -1}; CSR too.
    """
    if issparse(labels):
        width = labels.shape[1]
        columns = [labels.indices[labels.data == sign] for sign in (POSITIVE, NEGATIVE)]
        present, absent = (np.bincount(one, minlength=width) for one in columns)
        return present, absent
    return (labels == POSITIVE).sum(axis=0), (labels == NEGATIVE).sum(axis=0)


def chosen_negatives_as_unlisted(labels: AnyLabels) -> AnyLabels:
    """Known absences become unlisted in each class where they are a few that somebody chose.

    A file that lists what is present gets a few absent labels when people decide on suspects. They
    lie where the classifier had said "present", so they do not stand for all that is absent. Heads
    fitted on the known labels alone would call everything present. The class is better treated as
    one that lists positives alone, where these labels are still absent (`fitted_labels`).

    A class is of this kind if it has less than half as many known absent as known present labels,
    and fewer than unknown ones. Labels that were hidden by a protocol are not to be given here: the
    known ones of a frequent class may look the same, and are drawn at random.

    Args:
        labels: [N, C] in {1, 0, -1}, or sparse; not changed.

    Example:
        >>> labels = np.array([[1, 1], [1, -1], [1, -1], [-1, 0], [0, 0], [0, 0]], np.int8)
        >>> chosen_negatives_as_unlisted(labels)[:, 0].tolist()
        [1, 1, 1, 0, 0, 0]
        >>> chosen_negatives_as_unlisted(labels)[:, 1].tolist()
        [1, -1, -1, 0, 0, 0]
    """
    if isinstance(labels, SparseLabels):
        chosen = _rarely_absent(*labels.counts().values())
        return labels.without_negatives(chosen) if chosen.any() else labels
    chosen = _rarely_absent(
        *((labels == state).sum(axis=0) for state in (POSITIVE, NEGATIVE, UNKNOWN))
    )
    return np.where(chosen & (labels == NEGATIVE), UNKNOWN, labels).astype(np.int8)


def _rarely_absent(present: np.ndarray, absent: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Whether the absent labels of each class are a few that somebody chose, from its counts."""
    return (2 * absent < present) & (absent < unknown)
