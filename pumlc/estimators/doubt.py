"""Given positives by their probability to be true, from the estimated rates of errors."""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from pumlc.estimators.asymptotes import BY_CLASS, Errors, fit_curve, probability_wrong
from pumlc.labels import NEGATIVE, POSITIVE


def doubted_targets(
    left_out: np.ndarray, labels: np.ndarray, errors: Sequence[Errors] = BY_CLASS
) -> np.ndarray:
    r"""Targets of given positives by their probability to be true, float64 [N, C].

    With the score f of a row by heads fitted without it, the rate a at which present labels are
    given as absent, and the rate :math:`b_c` at which absent ones are given as present:

    .. math::

        P(\text{given as present} \mid f) &= b_c + (1 - a - b_c) \, p_c(f), \qquad
        p_c(f) = \sigma(s_c f + r_c)

        w &= \frac{b_c \, (1 - p_c(f))}{b_c \, (1 - p_c(f)) + (1 - a) \, p_c(f)}, \qquad
        t = 1 - 2 w

    p is the probability of being truly present, and w that of a given positive being false.
    `pumlc.estimators.asymptotes.fit_curve` estimates rates and curves of all classes together, by
    maximum likelihood; :math:`b_c` is 0 unless the given labels clearly support it, and then the
    target is the label. Negatives keep -1.

    Args:
        left_out: [N, C]; a row's own label has no part in its score. Comparable between classes.
        labels: [N, C] in {1, 0, -1}.
        errors: the errors that are looked for.

    Source: this package, docs/noise.md.
    """
    targets = labels.astype(np.float64)
    positive = labels == POSITIVE
    if not positive.any() or not (labels == NEGATIVE).any():
        return targets  # nothing tells errors from labels
    scores = np.asarray(left_out, np.float64)
    curve = fit_curve(scores, labels, errors=errors)
    present = expit(curve.slope * scores + curve.bias)
    wrong = probability_wrong(present, labels, curve.missed, curve.invented)
    targets[positive] = 1 - 2 * wrong[positive]
    return targets
