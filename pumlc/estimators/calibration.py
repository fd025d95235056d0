"""From scores to logits whose sigmoid is a probability."""

from typing import Any

import numpy as np
from scipy.special import expit

from pumlc.estimators.fitted_labels import label_counts
from pumlc.labels import POSITIVE, UNKNOWN
from pumlc.metrics import fit_thresholds

_MAX_STEPS = 100
_LEAST_LABELS = 5
"""A class with fewer present, or fewer absent, labels has no threshold of its own.

With one present label the highest F1 is at its own probability, however many absent labels lie
above it. Left-out logits of the VOC subset (996 rows, all and 30 % of the labels known) and of 288
rows of COCO: with a threshold of its own for each class OF1 is 65.0, 56.1 and 36.9, and so 80.0,
77.6 and 44.4; CF1_macro is 46.2, 39.9 and 38.1, and 42.0, 36.7 and 35.6. With 10 in place of 5, the
classes lose more (39.7, 32.2, 35.6) than all labels together gain (80.7, 78.6, 48.2).
`experiments/few_label_thresholds.py`, on training labels alone.
"""


def fit_sigmoid(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """Slope > 0 and bias so that sigmoid(slope * score + bias) is the probability of a positive.

    Least weighted cross entropy with Platt's targets, (n+ + 1) / (n+ + 2) for the positives and
    1 / (n- + 2) for the negatives, which keep both numbers finite for separable scores. Where the
    best slope is not positive, the scores say nothing or the opposite. Then a tiny slope keeps
    their order, and every probability is almost the share of positives.

    Args:
        scores: [N], of rows that the scores were not fitted on.
        positive: bool [N].
        weights: [N], above 0.

    Returns:
        slope, bias.

    Raises:
        ValueError: there is no row.

    Source: Platt 1999; Lin, Lin & Weng 2007.

    Example:
        >>> scores, positive = np.array([-2.0, -1, 1, 2]), np.array([False, True, False, True])
        >>> slope, bias = fit_sigmoid(scores, positive, np.ones(4))
        >>> round(slope, 2), round(bias, 2)
        (0.2, 0.0)
    """
    if not len(scores):
        raise ValueError("no known label to fit a probability on")
    scores = np.asarray(scores, np.float64)
    number_positive = weights[positive].sum()
    number_negative = weights[~positive].sum()
    targets = np.where(
        positive, (number_positive + 1) / (number_positive + 2), 1 / (number_negative + 2)
    )
    mean = np.average(scores, weights=weights)
    spread = np.sqrt(np.average((scores - mean) ** 2, weights=weights))
    spread = float(spread) if spread > 1e-12 * max(1.0, abs(mean)) else 1.0
    scaled = (scores - mean) / spread
    least = 1e-3
    slope, bias = _newton(scaled, targets, weights)
    if not slope > least:
        slope = least
        bias = _newton_bias(slope * scaled, targets, weights)
    return float(slope / spread), float(bias - slope * mean / spread)


def calibrate(
    left_out_scores: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slope and bias of each label, [C], by `fit_sigmoid` on its known rows.

    Args:
        left_out_scores: [N, C]; heads that have not seen a row score it.
        labels: [N, C] in {1, 0, -1}; each class is known in a row with a weight above 0.
        weights: [N], not negative.
    """
    used = weights > 0
    pairs = []
    for scores, label in zip(left_out_scores.T, labels.T, strict=True):
        known = used & (label != UNKNOWN)
        pairs.append(fit_sigmoid(scores[known], label[known] == POSITIVE, weights[known]))
    slope, bias = np.array(pairs, left_out_scores.dtype).T
    return slope, bias


def fit_left_out_thresholds(probabilities: Any, labels: Any) -> np.ndarray:
    """Thresholds of the highest F1, [C], on rows that the heads have not seen.

    A class of `shares_threshold` has that of all classes together. A class without a known present
    and a known absent label keeps 0.5.

    Args:
        probabilities: [N, C].
        labels: [N, C] in {1, 0, -1}; or both CSR with the known labels.
    """
    both = np.minimum(*label_counts(labels)) > 0
    few = shares_threshold(labels)
    own = both & ~few
    thresholds = np.full(labels.shape[1], 0.5)
    if own.any():
        thresholds[own] = fit_thresholds(probabilities[:, own], labels[:, own], per_class=True)
    if few.any():
        together = fit_thresholds(probabilities[:, both], labels[:, both], per_class=False)
        thresholds[few] = together
    return thresholds


def shares_threshold(labels: Any) -> np.ndarray:
    """Whether each class, [C], has too few known labels for a threshold of its own.

    These are from one to four present ones, or from one to four absent ones.

    Args:
        labels: [N, C] in {1, 0, -1}; CSR too.
    """
    fewer = np.minimum(*label_counts(labels))
    return (fewer > 0) & (fewer < _LEAST_LABELS)


def _newton(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The least cross entropy over slope and bias, a convex function, by damped Newton steps."""
    design = np.stack([scores, np.ones_like(scores)])
    point, value = np.zeros(2), np.inf
    for _ in range(_MAX_STEPS):
        probability = expit(point @ design)
        gradient = design @ (weights * (probability - targets))
        curvature = (design * (weights * probability * (1 - probability))) @ design.T
        step = np.linalg.solve(curvature + 1e-12 * weights.sum() * np.eye(2), gradient)
        if np.abs(step).max() < 1e-10:
            break
        length = 1.0
        value = _cross_entropy(point @ design, targets, weights)
        while length > 1e-6:
            if _cross_entropy((point - length * step) @ design, targets, weights) <= value:
                break
            length /= 2
        point = point - length * step
    return float(point[0]), float(point[1])


def _newton_bias(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """The bias at which the mean probability is the mean target."""
    bias = 0.0
    for _ in range(_MAX_STEPS):
        probability = expit(logits + bias)
        gradient = weights @ (probability - targets)
        step = gradient / (weights @ (probability * (1 - probability)))
        bias -= float(np.clip(step, -1, 1))
        if abs(step) < 1e-10:
            break
    return bias


def _cross_entropy(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    return float(weights @ (np.logaddexp(0, logits) - targets * logits))
