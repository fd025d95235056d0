"""A logistic curve between two asymptotes: what is true of labels, seen through their errors.

Let p be the probability that a label is truly present, logistic in the score. If truly present
labels are called absent at a rate a, and truly absent ones present at a rate b, then

    P(called present) = b + (1 - a - b) p

so the curve of called-present over the score flattens at b below and at 1 - a above, where without
errors it runs on to 0 and 1. That is what tells errors from labels that are merely hard. Where only
present labels are listed, at random, a is the share of them that is not, and b is 0.

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
from pumlc.labels import NEGATIVE, POSITIVE

_ABSENT_SAMPLED = 200_000
_LEAST_SLOPE = 1e-3  # of a standardised score: the order of the scores stays

Errors = tuple[bool, bool]
"""Whether there may be missed labels, and invented ones."""
BOTH: tuple[Errors, ...] = ((False, False), (True, False), (False, True), (True, True))
MISSED: tuple[Errors, ...] = ((False, False), (True, False))


class Curve(NamedTuple):
    """What `fit_curve` returns.

    Attributes:
        slope, bias: [C]; sigmoid(slope * score + bias) is the probability of being truly present.
        missed: rate a at which truly present labels are called absent; 0 where none has to be.
        invented: rate b at which truly absent labels are called present; 0 where none has to be.
    """

    slope: np.ndarray
    bias: np.ndarray
    missed: float
    invented: float


def fit_curve(scores: Any, labels: Any, *, errors: Sequence[Errors] = BOTH, seed: int = 0) -> Curve:
    """Fit the two rates, and the curves of all classes together, by maximum likelihood.

    The log-odds of p are w0 + w1 z + w2 c + w3 z c, with z the score and c the log-odds of the
    class's known labels, both standardised; so rare classes have a slope of their own. A rate stays
    only if it gains more than log(number of positives) / 2 in log-likelihood (BIC); else it is 0.
    The rates are those of all classes together, and an error is taken to be as likely for a label
    that is hard to see as for another.

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
    weight, missed, invented = _choice(design, signs[places] == POSITIVE, weights, errors)
    slope = np.maximum(weight[1] + weight[3] * odds, _LEAST_SLOPE) / spread
    return Curve(slope, weight[0] + weight[2] * odds - slope * mean, missed, invented)


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
    design: np.ndarray, present: np.ndarray, weights: np.ndarray, errors: Sequence[Errors]
) -> tuple[np.ndarray, float, float]:
    """Weights and rates: each rate that the labels speak for clearly, and no other."""
    price = np.log(max(present.sum(), 2)) / 2
    best, least = None, np.inf
    for missed, invented in errors:
        fitted, loss = _fit(design, present, weights, missed, invented)
        loss += price * (missed + invented)
        if loss < least:
            best, least = fitted, loss
    assert best is not None  # every loss is finite
    return best


def _fit(
    design: np.ndarray, present: np.ndarray, weights: np.ndarray, missed: bool, invented: bool
) -> tuple[tuple[np.ndarray, float, float], float]:
    """Least negative log-likelihood, with rates of 0 where they are not asked for."""
    free = np.array([missed, invented])
    signs = np.where(present, 1.0, 0.0)
    width = design.shape[1]

    def rates(point: np.ndarray) -> np.ndarray:
        return np.where(free, expit(point[width:]), 0.0)

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        a, b = rates(point)
        p = expit(design @ point[:width])
        called = np.clip(b + (1 - a - b) * p, 1e-9, 1 - 1e-9)
        value = -(weights * np.log(np.where(present, called, 1 - called))).sum()
        slope = weights * (called - signs) / (called * (1 - called))
        by_weight = design.T @ (slope * (1 - a - b) * p * (1 - p))
        by_rate = free * [-(slope * p).sum() * a * (1 - a), (slope * (1 - p)).sum() * b * (1 - b)]
        return value / present.sum(), np.concatenate([by_weight, by_rate]) / present.sum()

    share = np.average(signs, weights=weights)
    start = np.zeros(width + 2)
    start[:2] = np.log(share) - np.log1p(-share), 2.0
    start[width:] = -2.0, -4.0
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    a, b = rates(found.x)
    return (found.x[:width], float(a), float(b)), float(found.fun) * present.sum()
