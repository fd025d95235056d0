"""Average precision on resamples of the rows, and intervals over rows and seeds."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.special import stdtrit  # the quantile of Student's t

from pumlc.labels import UNKNOWN
from pumlc.labels.known_cells import row_numbers, stored_by_class
from pumlc.metrics.inputs import Scores, Targets, check_scores, known_classes


def resample_counts(num_rows: int, num_resamples: int, *, seed: int = 0) -> np.ndarray:
    """How often each row is drawn, in resamples of as many rows with replacement.

    The same arguments give the same draws, so that methods are compared on the same resamples.

    Args:
        num_rows: N.
        num_resamples: R.
        seed: of the draws.

    Returns:
        integers [R, N]; each line has the sum N.

    Example:
        >>> resample_counts(3, 2).sum(axis=1)
        array([3, 3])
    """
    random = np.random.RandomState(seed)
    shares = np.full(num_rows, 1 / num_rows)
    return random.multinomial(num_rows, shares, size=num_resamples)


def resampled_average_precision(scores: Scores, targets: Targets, counts: np.ndarray) -> np.ndarray:
    """`average_precision` by the definition "sklearn" of every class, on each resample.

    A row that is drawn k times counts k times. All of its copies are tied.

    Args:
        scores: real numbers [N, C].
        targets: [N, C] in {1, 0, -1}; or both CSR, as `average_precision` takes them.
        counts: integers [R, N], see `resample_counts`.

    Returns:
        float64 [R, C], fractions; nan where a resample has no positive of a class.

    Raises:
        ValueError: see `average_precision`; or counts of another number of rows.

    Example:
        >>> counts = np.array([[1, 1, 1], [0, 2, 1]])
        >>> resampled_average_precision([[3.0], [2.0], [1.0]], [[1], [-1], [1]], counts)
        array([[0.83333333],
               [0.33333333]])
    """
    matrix, labels = check_scores(scores, targets, "scores")
    if counts.ndim != 2 or counts.shape[1] != labels.shape[0]:
        raise ValueError(
            f"counts have shape {counts.shape}; expected [resamples, {labels.shape[0]}]"
        )
    found = np.full((len(counts), labels.shape[1]), np.nan)
    classes = zip(known_classes(matrix, labels), _known_rows(labels), strict=True)
    for column, ((score, positive), rows) in enumerate(classes):
        order = np.argsort(-score, kind="stable")
        drawn, hit = counts[:, rows[order]], positive[order]
        ranked = drawn.cumsum(axis=1)
        hits = (drawn * hit).cumsum(axis=1)
        # precision at a positive counts everything that is tied with it: the end of its group
        ends = np.searchsorted(-score[order], -score[order][hit], side="right") - 1
        precision = hits[:, ends] / np.maximum(ranked[:, ends], 1)
        total = hits[:, -1] if len(hit) else np.zeros(len(counts))
        with np.errstate(invalid="ignore"):
            found[:, column] = (drawn[:, hit] * precision).sum(axis=1) / total
    return found


def _known_rows(targets: Any) -> Iterator[np.ndarray]:
    """The rows of each class whose label is known, in the order of `known_classes`."""
    if issparse(targets):
        rows = row_numbers(targets)
        for entries in stored_by_class(targets):
            yield rows[entries][targets.data[entries] != UNKNOWN]
        return
    for column in targets.T:
        yield np.flatnonzero(column)


def resampled_mean_average_precision(
    scores: Scores, targets: Targets, counts: np.ndarray
) -> np.ndarray:
    """`mean_average_precision` by the definition "sklearn", on each resample.

    Args:
        scores: real numbers [N, C].
        targets: [N, C] in {1, 0, -1}; or both CSR.
        counts: integers [R, N], see `resample_counts`.

    Returns:
        percent [R]; nan for a resample without a known positive.

    Raises:
        ValueError: see `resampled_average_precision`.

    Example:
        >>> scores, targets = [[3.0, 1.0], [2.0, 2.0]], [[1, -1], [-1, 1]]
        >>> resampled_mean_average_precision(scores, targets, np.array([[1, 1], [2, 0]]))
        array([100., 100.])
    """
    each = resampled_average_precision(scores, targets, counts)
    present = ~np.isnan(each)
    number = present.sum(axis=1)
    total = np.where(present, each, 0.0).sum(axis=1)
    return np.where(number > 0, 100 * total / np.maximum(number, 1), np.nan)


def interval_over_seeds_and_rows(
    gaps: np.ndarray, resampled: np.ndarray, level: float = 0.95
) -> tuple[float, float]:
    r"""The interval of a mean of paired differences over seeds and over the rows of the test split.

    .. math::

        \bar g \pm t_\nu \sqrt{V_s + V_r} \qquad
        V_s = \frac{1}{n (n - 1)} \sum_i (g_i - \bar g)^2 \qquad
        V_r = \frac{1}{R - 1} \sum_r (\bar g_r - \bar g_\cdot)^2 \qquad
        \nu = \frac{(V_s + V_r)^2}{V_s^2 / (n - 1) + V_r^2 / (R - 1)}

    where :math:`\bar g_r` is the mean over the seeds of the difference on resample r of the test
    rows: every seed sees the same resample. :math:`\nu` are Satterthwaite's degrees of freedom. The
    part of the variance that depends on both, seed and row, is in both terms, so the interval is
    rather too wide. Of one seed it covers the rows alone.

    Args:
        gaps: differences on the whole split, a number for each seed, [n].
        resampled: the same on each resample, [n, R]; a resample with nan is left out.
        level: of confidence.

    Returns:
        low and high; nan where nothing varies or there are fewer than two resamples.

    Example:
        >>> low, high = interval_over_seeds_and_rows(
        ...     np.array([1.0, 2.0, 3.0]), np.array([[0.0, 2.0], [1.0, 3.0], [2.0, 4.0]])
        ... )
        >>> round(low, 2), round(high, 2)
        (-8.86, 12.86)
    """
    num_seeds, means = len(gaps), resampled.mean(axis=0)
    means = means[~np.isnan(means)]
    if len(means) < 2:
        return math.nan, math.nan
    of_rows = float(means.var(ddof=1))
    of_seeds = float(np.var(gaps, ddof=1)) / num_seeds if num_seeds > 1 else 0.0
    total = of_seeds + of_rows
    if total == 0:
        return math.nan, math.nan
    spread = of_rows**2 / (len(means) - 1) + of_seeds**2 / max(1, num_seeds - 1)
    half = stdtrit(total**2 / spread, (1 + level) / 2) * math.sqrt(total)
    return float(np.mean(gaps) - half), float(np.mean(gaps) + half)
