"""Least squares that trusts a given positive as far as it is likely to be true."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pumlc.estimators.calibration import fit_sigmoid
from pumlc.estimators.design import Features
from pumlc.estimators.least_squares import LeastSquares, fit_least_squares
from pumlc.labels import NEGATIVE, POSITIVE, validate

_FEWEST = 3
"""Positives, and negatives, that a class needs to say how many of them are false."""
_QUANTILES = np.linspace(0.1, 1.0, 19)


def fit_soft_positives(features: Features, labels: ArrayLike, **options: Any) -> LeastSquares:
    r"""Fit; estimate which given positives are false, and how many; fit again with soft targets.

    For each class, with the scores f of rows by heads fitted without them:

    .. math::

        \pi &= \min_q \frac{P(f_+ \le t_q)}{q}, \qquad t_q \text{ the q-quantile of } f_-

        w_i &= \min\Big(1, \; \pi \, \frac{n_+}{n_-} \, \frac{1 - p_i}{p_i} \Big), \qquad
        t_i = 1 - 2 w_i

    f+ and f- are the scores of the given positives and negatives, n+ and n- their numbers, p the
    probability of being given as positive that Platt's sigmoid reads from f. If the false ones
    among the positives score as negatives do, no share above :math:`\pi` fits below any
    :math:`t_q`, and w is their posterior. So the amount is learned: where no positive scores low,
    :math:`\pi` is 0 and nothing changes. Negatives keep -1: moving them lost on average
    (docs/results/noise_tried.md). The second fit has the penalty of the first one. Its left-out
    scores leave out the row's own target, but not the effect of its label on the targets of others.

    Args:
        features: real [N, D], dense or sparse.
        labels: [N, C] in {1, 0, -1}.
        options: of `fit_least_squares`.

    Raises:
        ValueError: see `fit_least_squares`.

    Source: this package, docs/noise.md; the share: Blanchard, Lee & Scott, "Semi-Supervised
    Novelty Detection" (JMLR 2010).
    """
    labels = validate(labels, "labels")
    first = fit_least_squares(features, labels, **options)
    targets = soft_targets(first.loo_scores, labels)
    options = {**options, "penalties": [first.penalty], "targets": targets}
    return fit_least_squares(features, labels, **options)


def soft_targets(loo_scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The targets of `fit_soft_positives`, float64 [N, C].

    Args:
        loo_scores: [N, C]; a row's own label has no part in its score.
        labels: [N, C] in {1, 0, -1}.
    """
    targets = labels.astype(np.float64)
    for scores, label, target in zip(loo_scores.T, labels.T, targets.T, strict=True):
        positive, negative = label == POSITIVE, label == NEGATIVE
        given, absent = positive.sum(), negative.sum()
        if min(given, absent) < _FEWEST:
            continue
        share = false_share(scores[positive], scores[negative])
        known = positive | negative
        slope, bias = fit_sigmoid(scores[known], positive[known], np.ones(known.sum()))
        # (1 - p) / p are the inverse odds of the sigmoid p
        against = np.exp(-np.clip(slope * scores[positive] + bias, -50, 50))
        target[positive] = 1 - 2 * np.minimum(1, share * given / absent * against)
    return targets


def false_share(positive_scores: np.ndarray, negative_scores: np.ndarray) -> float:
    """The largest share of the positives that can be negatives by their scores, in [0, 1].

    Example:
        >>> scores = np.arange(100.0)
        >>> round(false_share(np.concatenate([scores + 200] * 3 + [scores]), scores), 2)
        0.25
        >>> false_share(scores + 200, scores)
        0.0
    """
    thresholds = np.quantile(negative_scores, _QUANTILES)
    below = (positive_scores[:, None] <= thresholds).mean(axis=0)
    return float(min(1.0, (below / _QUANTILES).min()))
