"""Least squares that trusts a given positive as far as the estimated rates of errors allow."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from pumlc.estimators.asymptotes import BY_CLASS, fit_curve, probability_wrong
from pumlc.estimators.design import Features
from pumlc.estimators.least_squares import LeastSquares, fit_least_squares
from pumlc.labels import NEGATIVE, POSITIVE, validate


def fit_channel_positives(features: Features, labels: ArrayLike, **options: Any) -> LeastSquares:
    r"""Fit; estimate the rates of errors and which positives are false; fit again on soft targets.

    With the score f of a row by heads fitted without it, the rate a at which present labels are
    given as absent, and the rate :math:`b_c` at which absent ones are given as present:

    .. math::

        P(\text{given as present} \mid f) &= b_c + (1 - a - b_c) \, p_c(f), \qquad
        p_c(f) = \sigma(s_c f + r_c)

        w_i &= \frac{b_c \, (1 - p_c(f_i))}{b_c \, (1 - p_c(f_i)) + (1 - a) \, p_c(f_i)}, \qquad
        t_i = 1 - 2 w_i

    for given positives; p is the probability of being truly present, and w that of the label being
    false. `pumlc.estimators.asymptotes.fit_curve` estimates all rates and curves together, by
    maximum likelihood: :math:`b_c` is 0, equal for all classes, or different between them, as far
    as the given labels support it. Where it is 0, nothing changes. Negatives keep -1. The second
    fit has the penalty of the first one. Its left-out scores leave out the row's own target, but
    not the effect of its label on the targets of others.

    Args:
        features: real [N, D], dense or sparse.
        labels: [N, C] in {1, 0, -1}.
        options: of `fit_least_squares`.

    Raises:
        ValueError: see `fit_least_squares`.

    Source: this package, docs/noise.md.
    """
    labels = validate(labels, "labels")
    first = fit_least_squares(features, labels, **options)
    targets = channel_targets(first.loo_scores, labels)
    options = {**options, "penalties": [first.penalty], "targets": targets}
    return fit_least_squares(features, labels, **options)


def channel_targets(loo_scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The targets of `fit_channel_positives`, float64 [N, C].

    Args:
        loo_scores: [N, C]; a row's own label has no part in its score. Comparable between classes.
        labels: [N, C] in {1, 0, -1}.
    """
    targets = labels.astype(np.float64)
    positive = labels == POSITIVE
    if not positive.any() or not (labels == NEGATIVE).any():
        return targets  # nothing tells errors from labels
    scores = np.asarray(loo_scores, np.float64)
    curve = fit_curve(scores, labels, errors=BY_CLASS)
    present = expit(curve.slope * scores + curve.bias)
    wrong = probability_wrong(present, labels, curve.missed, curve.invented)
    targets[positive] = 1 - 2 * wrong[positive]
    return targets
