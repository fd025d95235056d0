"""Thresholds that keep a promise about recall or precision, with a given confidence."""

import math
from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array, issparse
from scipy.special import bdtrc  # P(Binomial > k); scipy.stats would take half a second to load

from pumlc.labels import POSITIVE, UNKNOWN
from pumlc.labels.known_cells import stored_by_class
from pumlc.metrics.inputs import Scores, Targets, check_scores


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
    _check_shares(recall=recall, confidence=confidence)
    return math.ceil(math.log1p(-confidence) / math.log(recall) - 1e-12)


def recall_thresholds(
    scores: Scores, targets: Targets, *, recall: float, confidence: float
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
    # only the positives count: a matrix without a negative is valid here
    columns = list(_known(scores, targets))
    thresholds = np.full(len(columns), np.nan)
    for column, (values, positive) in enumerate(columns):
        found = np.sort(values[positive])
        if len(found) >= needed:
            # P(Binomial >= k) falls with k, and reaches the confidence at k = 1
            places = np.arange(1, len(found) + 1)
            reached = bdtrc(places - 1, len(found), 1 - recall) >= confidence - 1e-12
            thresholds[column] = found[int(reached.sum()) - 1]
    return thresholds


def precision_thresholds(
    scores: Scores, targets: Targets, *, precision: float, confidence: float
) -> np.ndarray:
    """For each class the lowest threshold found with which enough of ``score >= t`` are true.

    Let t be the (n + 1)-th highest score of the known labels of a class. The n labels above it are
    drawn from all that score above t, so that k of them are present with at least the probability

        P(Binomial(n, r) >= k)

    if the precision above t is no more than r. Where that is at most the error level, the precision
    is above r. The numbers n are n_1, 2 n_1, 4 n_1, ... with n_1 of `labels_needed`; they look at
    no label. The confidence holds for all of them together: the J tests share 1 - confidence
    equally, and a test that succeeds passes its level on to the next one.

    It holds whatever the scores are, if a label is as likely to be known when it is present as when
    it is absent, and if the scores are of models that have not seen the labels.

    Args:
        scores: [N, C], by models that have not seen the labels of the row.
        targets: [N, C] in {1, 0, -1}.
        precision: share r of true ones among those that are called present, in (0, 1).
        confidence: probability that this holds, of each class by itself.

    Returns:
        float64 [C]; nan where no threshold is sure enough.

    Raises:
        ValueError: unequal shapes, an invalid target, a number outside of its range.

    Source: tests of many thresholds at once, Angelopoulos, Bates, Candes, Jordan & Lei 2021 (Learn
    then Test); the order of tests that passes levels on: Wiens 2003 (fallback procedure).

    >>> scores = np.arange(100.0)[:, None]
    >>> precision_thresholds(scores, np.where(scores > 20, 1, -1), precision=0.9, confidence=0.95)
    array([27.])
    """
    _check_shares(precision=precision, confidence=confidence)
    # known positives alone are no targets of a metric, but here they only give nan
    columns = list(_known(scores, targets))
    thresholds = np.full(len(columns), np.nan)
    for column, (values, present) in enumerate(columns):
        if not present.all():
            thresholds[column] = _precise(values, present, precision, 1 - confidence)
    return thresholds


def labels_needed(known: int, *, precision: float, confidence: float) -> int:
    """So many labels above a threshold, all of them present, it takes to be sure of a precision.

    Args:
        known: known labels of the class; the more, the more thresholds are tried.
        precision: share of true ones, in (0, 1).
        confidence: probability that this holds, in (0, 1).

    Raises:
        ValueError: a number outside of its range.

    >>> labels_needed(100, precision=0.9, confidence=0.95)
    36
    """
    _check_shares(precision=precision, confidence=confidence)
    level = (1 - confidence) / _tests(known, precision, confidence)
    return positives_needed(recall=precision, confidence=1 - level)


def _known(scores: Scores, targets: Targets) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each class the scores of its known labels, and which of them are positive."""
    if issparse(targets):
        scores, targets = csr_array(scores), csr_array(targets)
        for entries in stored_by_class(targets):
            known = entries[targets.data[entries] != UNKNOWN]
            yield scores.data[known].astype(np.float64), targets.data[known] == POSITIVE
        return
    scores, targets = np.asarray(scores), np.asarray(targets)
    check_scores(scores, np.where(targets == UNKNOWN, -1, targets), "scores")
    for column in range(scores.shape[1]):
        known = targets[:, column] != UNKNOWN
        yield scores[known, column].astype(np.float64), targets[known, column] == POSITIVE


def _check_shares(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} is {value}, not between 0 and 1")


def _tests(known: int, precision: float, confidence: float) -> int:
    least = positives_needed(recall=precision, confidence=confidence)
    return max(1, int(math.log2(max(known / least, 1))) + 1)


def _precise(values: np.ndarray, present: np.ndarray, precision: float, error: float) -> float:
    """The threshold of one class."""
    order = np.argsort(-values, kind="stable")
    values, present = values[order], present[order]
    tests = _tests(len(values), precision, 1 - error)
    number = labels_needed(len(values), precision=precision, confidence=1 - error)
    found, level = np.nan, 0.0
    for _ in range(tests):
        if number >= len(values):
            break
        level += error / tests
        above = int((values > values[number]).sum())  # fewer than the number if scores are equal
        p_value = bdtrc(int(present[:above].sum()) - 1, above, precision)
        if above and p_value <= level + 1e-12:
            found = float(np.nextafter(values[number], np.inf))
        else:
            level = 0.0
        number *= 2
    return found
