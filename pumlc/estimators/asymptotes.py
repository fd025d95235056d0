"""A logistic curve between two asymptotes: what is true of labels, seen through their errors.

Let p be the probability that a label is truly present, logistic in the score. If truly present
labels are called absent at a rate a, and truly absent ones present at a rate b, then

    P(called present) = b + (1 - a - b) p

so the curve of called-present over the score flattens at b below and at 1 - a above, where without
errors it runs on to 0 and 1. That is what tells errors from labels that are merely hard. The rate b
may differ from class to class. Where only present labels are listed, at random, a is the share of
them that is not, and b is 0.

Source: the link with two asymptotes is the four-parameter logistic of item response theory (Barton
& Lord 1981); class-conditional noise as in Natarajan et al. 2013; positives selected completely at
random: Elkan & Noto 2008; the choice of the rates: Schwarz 1978.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import issparse
from scipy.special import expit

from pumlc.estimators.fitted_labels import label_counts
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN

_ABSENT_SAMPLED = 200_000
_LEAST_SLOPE = 1e-3  # of a standardised score: the order of the scores stays

_DEVIATION = 1.0  # of a class's log-odds of b, a priori


class Errors(NamedTuple):
    """What errors there may be.

    Attributes:
        missed: present labels that are called absent.
        invented: absent labels that are called present.
        by_class: the rate of invented labels differs from class to class.
    """

    missed: bool = False
    invented: bool = False
    by_class: bool = False


MISSED = (Errors(), Errors(missed=True))
BOTH = (*MISSED, Errors(invented=True), Errors(missed=True, invented=True))
BY_CLASS = (*BOTH, Errors(False, True, by_class=True), Errors(True, True, by_class=True))


class Curve(NamedTuple):
    """What `fit_curve` returns.

    Attributes:
        slope, bias: [C]; sigmoid(slope * score + bias) is the probability of being truly present.
        missed: rate a at which truly present labels are called absent; 0 where none has to be.
        invented: [C], rates b at which truly absent labels are called present; 0 where none has to
            be, and equal unless ``by_class`` was tried and chosen.
    """

    slope: np.ndarray
    bias: np.ndarray
    missed: float
    invented: np.ndarray


def fit_curve(scores: Any, labels: Any, *, errors: Sequence[Errors] = BOTH, seed: int = 0) -> Curve:
    """Fit the two rates, and the curves of all classes together, by maximum likelihood.

    The log-odds of p are w0 + w1 z + w2 c + w3 z c, with z the score and c the log-odds of the
    class's known labels, both standardised; so rare classes have a slope of their own. A rate stays
    only if it gains more than log(number of positives) / 2 in log-likelihood (BIC); else it is 0.
    The rates are those of all classes together, and an error is taken to be as likely for a label
    that is hard to see as for another. With ``by_class`` the log-odds of b are v0 + v1 c + u_c for
    each class, with v1 ~ N(0, 1) and u_c ~ N(0, 1). These count as one more number for v1, and
    sum_c log(1 + h_c) / 2 for the u_c, with h_c the information of the labels about u_c (Laplace).

    Args:
        scores: [N, C], finite, of models that have not seen the label; comparable between classes.
        labels: [N, C] in {1, 0, -1}, at least one of them present and one absent. Both may be CSR
            that store the known labels alone; then the mean of the scores is that of these.
        errors: the errors that are tried, the first of equally likely ones is taken.
        seed: of the sample of absent labels that is fitted on where there are very many.
    """
    width = labels.shape[1]
    stored, signs = (each.data if issparse(each) else each for each in (scores, labels))
    present, absent = label_counts(labels)
    mean, spread = float(stored.mean()), max(float(stored.std()), 1e-12)
    values, signs = stored.ravel(), signs.ravel()
    odds = np.log(present + 0.5) - np.log(absent + 0.5)
    odds = (odds - odds.mean()) / max(float(odds.std()), 1e-12)
    places, weights = _sample(signs, seed)
    columns = labels.indices[places] if issparse(labels) else places % width
    chosen = (values[places] - mean) / spread, odds[columns]
    design = np.stack([np.ones(len(places)), *chosen, chosen[0] * chosen[1]], axis=1)
    sample = _Sample(design, signs[places] == POSITIVE, weights, columns)
    weight, missed, invented = _choice(sample, odds, errors)
    slope = np.maximum(weight[1] + weight[3] * odds, _LEAST_SLOPE) / spread
    return Curve(slope, weight[0] + weight[2] * odds - slope * mean, missed, invented)


class _Sample(NamedTuple):
    """The labels that are fitted on: their design [n, 4], states, weights and classes [n]."""

    design: np.ndarray
    present: np.ndarray
    weights: np.ndarray
    classes: np.ndarray


def probability_wrong(
    probabilities: np.ndarray, labels: np.ndarray, missed: float, invented: float | np.ndarray
) -> np.ndarray:
    """Probability that a label is wrong as it is called, by Bayes' rule.

    Args:
        probabilities: of being truly present, any shape.
        labels: of that shape, in {1, 0, -1}; of an unknown one, the result is the probability of
            presence.
        missed: rate a.
        invented: rate b, one or of a shape that broadcasts, as [C] to [N, C].

    Example:
        >>> probability_wrong(np.array([[0.5]]), np.array([[1]]), missed=0.2, invented=0.2)
        array([[0.2]])
    """
    present = missed * probabilities, (1 - missed) * probabilities
    absent = (1 - invented) * (1 - probabilities), invented * (1 - probabilities)
    tiny = np.finfo(np.float64).tiny
    called_absent = present[0] / np.maximum(present[0] + absent[0], tiny)
    called_present = absent[1] / np.maximum(present[1] + absent[1], tiny)
    wrong = np.where(labels == POSITIVE, called_present, called_absent)
    return np.where(labels == UNKNOWN, probabilities, wrong)


def _sample(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and weights of the labels to fit on: every positive, and absent ones by chance."""
    present, absent = (np.flatnonzero(labels == sign) for sign in (POSITIVE, NEGATIVE))
    weight = 1.0
    if len(absent) > _ABSENT_SAMPLED:
        weight = len(absent) / _ABSENT_SAMPLED
        absent = np.random.RandomState(seed).choice(absent, _ABSENT_SAMPLED, replace=False)
    places = np.concatenate([present, absent])
    weights = np.repeat([1.0, weight], [len(present), len(absent)])
    return places, weights


def _choice(
    sample: _Sample, odds: np.ndarray, errors: Sequence[Errors]
) -> tuple[np.ndarray, float, np.ndarray]:
    """Weights and rates: each rate that the labels speak for clearly, and no other."""
    price = np.log(max(sample.present.sum(), 2)) / 2
    best, least = None, np.inf
    for tried in errors:
        fitted, loss = _fit(sample, odds, tried)
        loss += price * sum(tried)
        if loss < least:
            best, least = fitted, loss
    assert best is not None  # every loss is finite
    return best


def _fit(
    sample: _Sample, odds: np.ndarray, errors: Errors
) -> tuple[tuple[np.ndarray, float, np.ndarray], float]:
    """Least negative log-posterior, with rates of 0 where they are not asked for.

    The point is the weights of the design, the log-odds of a, and the coefficients of the log-odds
    of b on ``effects``.
    """
    design, present, weights, classes = sample
    width, count = design.shape[1], present.sum()
    effects, precision = np.ones((len(odds), 1)), np.zeros(1)
    if errors.by_class:
        effects = np.column_stack([effects, odds, np.eye(len(odds))])
        precision = np.concatenate([[0.0, 1.0], np.full(len(odds), _DEVIATION**-2)])

    def rates(point: np.ndarray) -> tuple[float, np.ndarray]:
        a, b = expit(point[width]), expit(effects @ point[width + 1 :])
        return a * errors.missed, b * errors.invented

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        a, b = rates(point)
        p, own = expit(design @ point[:width]), b[classes]
        called = np.clip(own + (1 - a - own) * p, 1e-9, 1 - 1e-9)
        value = -(weights * np.log(np.where(present, called, 1 - called))).sum()
        slope = weights * (called - present) / (called * (1 - called))
        by_weight = design.T @ (slope * (1 - a - own) * p * (1 - p))
        by_missed = -(slope * p).sum() * a * (1 - a)
        by_class = np.bincount(classes, slope * (1 - p), len(odds)) * b * (1 - b)
        prior = precision * point[width + 1 :]
        value += prior @ point[width + 1 :] / 2
        gradient = np.concatenate([by_weight, [by_missed], effects.T @ by_class + prior])
        return value / count, gradient / count

    share = np.average(present, weights=weights)
    start = np.zeros(width + 1 + effects.shape[1])
    start[:2] = np.log(share) - np.log1p(-share), 2.0
    start[width : width + 2] = -2.0, -4.0
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    a, b = rates(found.x)
    least = float(found.fun) * count
    if errors.by_class:
        p, own = expit(design @ found.x[:width]), b[classes]
        called = np.clip(own + (1 - a - own) * p, 1e-9, 1 - 1e-9)
        squares = weights * ((1 - p) * own * (1 - own)) ** 2 / (called * (1 - called))
        information = np.bincount(classes, squares, len(odds))
        least += np.log1p(_DEVIATION**2 * information).sum() / 2
    return (found.x[:width], float(a), b), least
