"""How many labels are wrong, and which: estimated from scores that have not seen them.

Let p be the probability that a label is truly present, logistic in the score. If truly present
labels are called absent at a rate a, and truly absent ones present at a rate b, then

    P(called present) = b + (1 - a - b) p

As a function of the score this flattens at b below and at 1 - a above; without errors it goes on to
0 and 1. That tells errors from labels that are merely hard.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN, validate

_ABSENT_SAMPLED = 200_000


class NoiseModel(NamedTuple):
    """What `fit_noise_model` returns.

    Attributes:
        probabilities: [N, C], of the label being truly present, by its score and class alone.
        wrong: [N, C], of the label being wrong as it is given; of an unknown one, of being present.
        missed: rate a at which truly present labels are called absent; 0 if errors explain nothing.
        invented: rate b at which truly absent labels are called present; 0 likewise.
    """

    probabilities: np.ndarray
    wrong: np.ndarray
    missed: float
    invented: float


def fit_noise_model(scores: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> NoiseModel:
    """Fit the two rates of error, and probabilities, by maximum likelihood.

    The log-odds of p are w0 + w1 z + w2 c + w3 z c, with z the score and c the log-odds of the
    class's known labels, both standardised; so rare classes have a slope of their own. A rate stays
    only if it gains more than log(number of positives) / 2 in log-likelihood (BIC); else it is 0:
    labels without errors give "nothing suspicious". The rates are those of all classes together.
    An error is taken to be as likely for a label that is hard to see as for any other.

    Args:
        scores: [N, C], of models that have not seen the label. Comparable between classes.
        labels: [N, C] in {1, 0, -1}.
        seed: of the sample of absent labels that is fitted on where there are very many.

    Raises:
        ValueError: unequal shapes, an invalid label, nan, no positive or no negative label.

    Source: the link with two asymptotes is the four-parameter logistic of item response theory
    (Barton & Lord 1981); class-conditional noise as in Natarajan et al. 2013; Schwarz 1978.
    """
    scores, labels = np.asarray(scores, np.float64), validate(labels, "labels")
    if scores.shape != labels.shape:
        raise ValueError(f"scores have shape {scores.shape}, labels {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores are not finite")
    present = labels == POSITIVE
    if not present.any() or not (labels == NEGATIVE).any():
        raise ValueError("labels need a present and an absent one")
    score = (scores - scores.mean()) / max(float(scores.std()), 1e-12)
    odds = np.log(present.sum(axis=0) + 0.5) - np.log((labels == NEGATIVE).sum(axis=0) + 0.5)
    odds = (odds - odds.mean()) / max(float(odds.std()), 1e-12)
    rows, columns, weights = _sample(labels, seed)
    chosen = score[rows, columns], odds[columns]
    design = np.stack([np.ones(len(rows)), *chosen, chosen[0] * chosen[1]], axis=1)
    weight, missed, invented = _choice(design, present[rows, columns], weights)
    log_odds = weight[0] + weight[2] * odds + (weight[1] + weight[3] * odds) * score
    probabilities = expit(log_odds)
    return NoiseModel(
        probabilities, _wrong(probabilities, labels, missed, invented), missed, invented
    )


def _sample(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places and weights of the labels to fit on: every positive, and absent ones by chance."""
    present, absent = (np.flatnonzero(labels == sign) for sign in (POSITIVE, NEGATIVE))
    weight = 1.0
    if len(absent) > _ABSENT_SAMPLED:
        weight = len(absent) / _ABSENT_SAMPLED
        absent = np.random.RandomState(seed).choice(absent, _ABSENT_SAMPLED, replace=False)
    places = np.concatenate([present, absent])
    weights = np.repeat([1.0, weight], [len(present), len(absent)])
    return *np.divmod(places, labels.shape[1]), weights


def _choice(
    design: np.ndarray, present: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """Weights and rates; a rate is above 0 only if the labels clearly ask for it."""
    price = np.log(max(present.sum(), 2)) / 2
    best, least = None, np.inf
    for missed, invented in ((False, False), (True, False), (False, True), (True, True)):
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


def _wrong(
    probabilities: np.ndarray, labels: np.ndarray, missed: float, invented: float
) -> np.ndarray:
    """Probability that a label is wrong as it is called, by Bayes' rule."""
    present = missed * probabilities, (1 - missed) * probabilities
    absent = (1 - invented) * (1 - probabilities), invented * (1 - probabilities)
    tiny = np.finfo(np.float64).tiny
    called_absent = present[0] / np.maximum(present[0] + absent[0], tiny)
    called_present = absent[1] / np.maximum(present[1] + absent[1], tiny)
    wrong = np.where(labels == POSITIVE, called_present, called_absent)
    return np.where(labels == UNKNOWN, probabilities, wrong)
