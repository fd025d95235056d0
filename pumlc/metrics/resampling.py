"""Average precision on resamples of the rows, and intervals over rows and seeds."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit  # the quantile of Student's t

from pumlc.metrics.inputs import check_scores, known_classes


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


def resampled_average_precision(
    scores: ArrayLike, targets: ArrayLike, counts: np.ndarray
) -> np.ndarray:
    """`average_precision` by the definition "sklearn" of every class, on each resample.

    A row that is drawn k times counts k times. All of its copies are tied.

    Args:
        scores: real numbers [N, C].
        targets: [N, C] in {1, 0, -1}.
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
    if counts.ndim != 2 or counts.shape[1] != len(matrix):
        raise ValueError(f"counts have shape {counts.shape}; expected [resamples, {len(matrix)}]")
    found = np.full((len(counts), matrix.shape[1]), np.nan)
    known = labels != 0
    for column, (score, positive) in enumerate(known_classes(matrix, labels)):
        drawn = counts[:, known[:, column]]
        order = np.argsort(-score, kind="stable")
        drawn, hit = drawn[:, order], positive[order]
        ranked = drawn.cumsum(axis=1)
        hits = (drawn * hit).cumsum(axis=1)
        # precision at a positive counts everything that is tied with it: the end of its group
        ends = np.searchsorted(-score[order], -score[order][hit], side="right") - 1
        precision = hits[:, ends] / np.maximum(ranked[:, ends], 1)
        total = hits[:, -1] if len(hit) else np.zeros(len(counts))
        with np.errstate(invalid="ignore"):
            found[:, column] = (drawn[:, hit] * precision).sum(axis=1) / total
    return found


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
