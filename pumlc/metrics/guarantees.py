"""Thresholds that keep a promise: they find a share of the true tags, with a given confidence."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from pumlc.labels import POSITIVE
from pumlc.metrics.inputs import check_scores


def positives_needed(*, recall: float, confidence: float) -> int:
    """The least number of known positives with which `recall_thresholds` can keep its promise.

    With n of them the lowest score is the threshold, and 1 - recall^n must reach the confidence.

    Args:
        recall: share of the true tags to be found, in (0, 1).
        confidence: probability that this holds, in (0, 1).

    Raises:
        ValueError: a number outside of its range.

    Example:
        >>> positives_needed(recall=0.9, confidence=0.95)
        29
    """
    for name, value in (("recall", recall), ("confidence", confidence)):
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}, not between 0 and 1")
    return math.ceil(math.log1p(-confidence) / math.log(recall) - 1e-12)


def recall_thresholds(
    scores: ArrayLike, targets: ArrayLike, *, recall: float, confidence: float
) -> np.ndarray:
    """The highest threshold of each class with which ``score >= t`` keeps the promised recall.

    Of n scores of known positives let t be the k-th lowest. The share of all positives below t is
    at most Beta(k, n - k + 1) distributed, so that

        P(recall(t) >= r) >= P(Binomial(n, 1 - r) >= k)

    and k is the largest number with which this reaches the confidence. The promise holds for any
    distribution of the scores if the known positives are drawn at random from all positives and
    are scored by models that have not seen them. It does not hold if tags are missing because they
    are hard to see.

    Args:
        scores: [N, C], by models that have not seen the labels of the row.
        targets: [N, C] in {1, 0, -1}; only the known positives count.
        recall: share of the true tags to be found, in (0, 1).
        confidence: probability that this holds, of each class by itself.

    Returns:
        float64 [C]; nan where there are fewer than `positives_needed`.

    Raises:
        ValueError: unequal shapes, an invalid target, a number outside of its range.

    Source: order statistics as tolerance bounds, Wilks 1941.

    Example:
        >>> scores = np.arange(60.0)[:, None]
        >>> recall_thresholds(scores, np.ones((60, 1)), recall=0.9, confidence=0.95)
        array([1.])
    """
    needed = positives_needed(recall=recall, confidence=confidence)
    scores, targets = np.asarray(scores), np.asarray(targets)
    # only the positives count: a matrix without a negative is valid here
    scores, _ = check_scores(scores, np.where(targets == POSITIVE, targets, -1), "scores")
    thresholds = np.full(scores.shape[1], np.nan)
    for column in range(scores.shape[1]):
        found = np.sort(scores[targets[:, column] == POSITIVE, column].astype(np.float64))
        if len(found) >= needed:
            # P(Binomial >= k) falls with k, and reaches the confidence at k = 1
            places = np.arange(1, len(found) + 1)
            reached = binom.sf(places - 1, len(found), 1 - recall) >= confidence - 1e-12
            thresholds[column] = found[int(reached.sum()) - 1]
    return thresholds
