"""Decision thresholds that maximise F1 on labels held out from training."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse

from pumlc.labels.convention import row_blocks
from pumlc.metrics.inputs import (
    Scores,
    Targets,
    check_all_probabilities,
    check_probabilities,
    check_scores,
    known_classes,
    known_entries,
)

Part = tuple[np.ndarray, np.ndarray]
"""Probabilities of known entries, and which of them are positive."""


def fit_thresholds(
    probabilities: Scores, targets: Targets, *, per_class: bool
) -> float | np.ndarray:
    """Thresholds t with the highest F1 of ``probability >= t``, from a validation part.

    F1(t) = 2 tp(t) / (predicted(t) + positive) over the known entries: of all classes together for
    the one global threshold, of each class for ``per_class``. There a class without a known
    positive takes the global threshold. t lies half-way between the lowest probability that is
    predicted and the next lower one; of equally good thresholds the lowest is taken. It is a number
    of the type of ``probabilities``, so that no later comparison rounds it.

    Args:
        probabilities: in [0, 1], [N, C].
        targets: [N, C] in {1, 0, -1}; or both CSR, see `pumlc.metrics.inputs`.
        per_class: one threshold for each class instead of one for all.

    Returns:
        a number, or float64 [C].

    Raises:
        ValueError: probabilities outside [0, 1], invalid targets, targets without any known
            positive, or with UNKNOWN but without any NEGATIVE entry.

    Example:
        >>> probabilities = [[0.9, 0.2], [0.8, 0.3], [0.4, 0.0], [0.3, 0.1]]
        >>> targets = [[1, 1], [1, 1], [-1, -1], [-1, 0]]
        >>> fit_thresholds(probabilities, targets, per_class=True)
        array([0.6, 0.1])
        >>> fit_thresholds(probabilities, targets, per_class=False)
        0.1
    """
    probabilities, targets = check_scores(probabilities, targets, "probabilities")
    check_all_probabilities(probabilities)

    def blocks() -> Iterator[Part]:
        if issparse(targets):
            yield known_entries(probabilities, targets)
            return
        for rows in row_blocks(probabilities.shape):
            yield known_entries(probabilities[rows], targets[rows])

    everywhere = _best_threshold(blocks)
    if np.isnan(everywhere):
        raise ValueError("targets hold no known positive, so that there is no threshold to fit")
    if not per_class:
        return everywhere
    classes = known_classes(probabilities, targets)
    thresholds = np.array([_best_threshold(lambda part=part: iter([part])) for part in classes])
    return np.where(np.isnan(thresholds), everywhere, thresholds)


def _best_threshold(parts: Callable[[], Iterator[Part]]) -> float:
    """The threshold of highest F1 over all ``parts`` together; nan without a positive.

    To predict one more negative only lowers F1: the positives' own values are all the candidates.
    ``parts`` is read again for each pass, so that one part at a time is in memory.
    """
    hits = np.sort(np.concatenate([part[positive] for part, positive in parts()]))
    if not len(hits):
        return np.nan
    predicted = np.zeros(len(hits), np.int64)
    for part, _ in parts():
        predicted += len(part) - np.searchsorted(np.sort(part), hits, side="left")
    f1 = 2 * (len(hits) - np.searchsorted(hits, hits, side="left")) / (predicted + len(hits))
    hit = hits[int(np.argmax(f1))]
    lower = max((below.max() for part, _ in parts() if len(below := part[part < hit])), default=hit)
    middle = (lower + hit) / 2
    return float(middle if middle > lower else hit)


def expected_thresholds(probabilities: ArrayLike) -> np.ndarray:
    """Thresholds with the highest F1 that is to be expected if the probabilities are right.

    For labels that cannot be looked up: of each class the t with the largest
    2 sum(p where p >= t) / (number of p >= t + sum of p).

    Args:
        probabilities: in [0, 1], [N, C], at least one row.

    Returns:
        float64 [C]; 0.5 for a class whose probabilities are all 0.

    Raises:
        ValueError: probabilities outside [0, 1].

    Source: Ye, Chai, Lee & Chieu 2012.

    >>> expected_thresholds([[0.9, 0.0], [0.8, 0.0], [0.1, 0.0]])
    array([0.8, 0.5])
    """
    probabilities = np.asarray(probabilities)
    check_probabilities(probabilities)
    thresholds = np.full(probabilities.shape[1], 0.5)
    for column, values in enumerate(probabilities.T):
        ordered = np.sort(values.astype(np.float64))[::-1]
        if ordered[0] > 0:
            found = np.cumsum(ordered)
            f1 = 2 * found / (np.arange(1, len(ordered) + 1) + found[-1])
            thresholds[column] = ordered[int(np.argmax(f1))]
    return thresholds


def oracle_thresholds(
    probabilities: Scores, targets: Targets, *, per_class: bool
) -> float | np.ndarray:
    """``fit_thresholds`` on the very targets that the figures are about.

    The figures with them are an upper bound of what thresholds can do there, not a result: say so
    beside them.

    Args:
        probabilities: in [0, 1], [N, C].
        targets: [N, C] in {1, 0, -1}.
        per_class: one threshold for each class instead of one for all.

    Returns:
        a number, or float64 [C].

    Raises:
        ValueError: see ``fit_thresholds``.

    Example:
        >>> oracle_thresholds([[0.9], [0.7], [0.2]], [[1], [-1], [-1]], per_class=False)
        0.8
    """
    return fit_thresholds(probabilities, targets, per_class=per_class)
