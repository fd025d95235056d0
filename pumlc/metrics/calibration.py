"""Whether probabilities are calibrated: the reliability curve, and how far it is off."""

from typing import NamedTuple

import numpy as np

from pumlc.metrics.inputs import (
    Scores,
    Targets,
    check_all_probabilities,
    check_scores,
    known_entries,
)


class Reliability(NamedTuple):
    """What `reliability_curve` returns; each of [B].

    Attributes:
        probabilities: mean probability of a bin.
        shares: share of its labels that are positive.
        counts: number of its labels.
    """

    probabilities: np.ndarray
    shares: np.ndarray
    counts: np.ndarray


def reliability_curve(probabilities: Scores, targets: Targets, *, bins: int = 15) -> Reliability:
    """Bins of equal mass over all known labels, by their probability.

    With labels sorted by probability, bin b holds those from floor(b n / B) to
    floor((b + 1) n / B). Equal probabilities are never divided: a bin takes them all. A bin that
    nothing is left for is left out.

    Args:
        probabilities: [N, C] in [0, 1].
        targets: [N, C] in {1, 0, -1}; 0, unknown, is left out.
        bins: B, at least 1.

    Raises:
        ValueError: unequal shapes, a value outside of its range, no known label.

    Example:
        >>> curve = reliability_curve([[0.1], [0.2], [0.8], [0.9]], [[-1], [-1], [-1], [1]], bins=2)
        >>> curve.probabilities.round(2), curve.shares, curve.counts
        (array([0.15, 0.85]), array([0. , 0.5]), array([2, 2]))
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}, below 1")
    probabilities, targets = check_scores(probabilities, targets, "probabilities")
    check_all_probabilities(probabilities)
    values, positive = known_entries(probabilities, targets)
    values = values.astype(np.float64)
    if not len(values):
        raise ValueError("targets have no known label")
    order = np.argsort(values, kind="stable")
    values, positive = values[order], positive[order]
    ends = np.arange(1, bins + 1) * len(values) // bins
    ends = np.searchsorted(values, values[np.maximum(ends - 1, 0)], side="right")
    starts = np.concatenate([[0], ends[:-1]])
    kept = ends > starts
    starts, counts = starts[kept], (ends - starts)[kept]
    return Reliability(
        np.add.reduceat(values, starts) / counts,
        np.add.reduceat(positive, starts, dtype=np.float64) / counts,
        counts,
    )


def expected_calibration_error(probabilities: Scores, targets: Targets, *, bins: int = 15) -> float:
    r"""Expected calibration error: how far probabilities are from shares of positives, in percent.

    .. math:: \mathrm{ECE} = 100 \sum_b \frac{n_b}{n} |\bar y_b - \bar p_b|

    :math:`\bar y_b` is the share of positives among the :math:`n_b` of n known labels in bin b,
    and :math:`\bar p_b` their mean probability.

    Args:
        probabilities: [N, C] in [0, 1].
        targets: [N, C] in {1, 0, -1}.
        bins: of `reliability_curve`.

    Raises:
        ValueError: see `reliability_curve`.

    Source: Naeini, Cooper & Hauskrecht 2015; bins of equal mass: Nguyen & O'Connor 2015.

    Example:
        >>> expected_calibration_error([[0.5], [0.5]], [[1], [-1]])
        0.0
    """
    curve = reliability_curve(probabilities, targets, bins=bins)
    distances = np.abs(curve.shares - curve.probabilities)
    return 100 * float(np.average(distances, weights=curve.counts))
