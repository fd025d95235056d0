r"""Classes by vectors of their names: also those that no row has.

Ridge regression maps a row x to the space of the vectors e (`pumlc.estimators.label_map`). The
score of a class is s = f(x)^T e. Its mean and its deviation over the rows follow from those of f,
so that they are known for a class that no row has: z = (s - mean) / deviation. A logistic
regression on s and z, fitted for all classes together, makes a probability:

.. math:: p = \sigma(b + u\,s + v\,z)

Penalties, a balance of frequent and rare classes, and b, u, v are chosen by classes that are
withheld: the classes are dealt into folds, a map is fitted without those of a fold, and scores
them in rows that it has not seen (leave-one-out). So each class is new once, and what is chosen is
what makes new classes come out right.

For a given class all of this is linear in x: a new class gets a linear head like the others.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from pumlc.estimators.design import Design, fit_design
from pumlc.estimators.label_map import described_targets
from pumlc.estimators.leave_out import (
    DualSpectrum,
    PrimalSpectrum,
    Rows,
    Spectrum,
    left_out_residuals,
)
from pumlc.labels import POSITIVE, UNKNOWN
from pumlc.metrics import average_precision

PENALTIES = (0.1, 1.0, 10.0, 100.0)
"""Of ridge regression; the features are scaled to a mean squared length of 1."""
MAP_PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
POWERS = (0.0, 0.5)
"""The labels of a class are divided by this power of its number of rows."""
FEWEST_CLASSES = 10
_FOLDS = 5
_SMALLEST = 1e-12


@dataclass(frozen=True)
class NamedClasses:
    """A map from features to the vectors of class names, and what makes probabilities of it.

    Attributes:
        coefficients, intercept: f(x) = x @ coefficients + intercept, [F, D] and [D].
        mean, covariance: of f over the rows that were fitted, [D] and [D, D].
        weights: b, u and v.
    """

    coefficients: np.ndarray
    intercept: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    weights: np.ndarray

    def heads(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Linear heads of classes by the vectors of their names [K, D].

        Returns:
            coefficients [F, K] and intercept [K]; the sigmoid of their logits is the probability.
        """
        mean = vectors @ self.mean
        deviation = np.sqrt(np.maximum(((vectors @ self.covariance) * vectors).sum(1), _SMALLEST))
        base, plain, scaled = self.weights
        slope = plain + scaled / deviation
        constants = slope * (vectors @ self.intercept) + base - scaled * mean / deviation
        return self.coefficients @ vectors.T * slope, constants


@dataclass(frozen=True)
class WithheldClasses:
    """What was learned from classes that were withheld, each once.

    Attributes:
        penalty, map_penalty, power: the choice.
        columns: the classes, [K].
        logits: of these classes in rows left out, by maps fitted without them, [N, K].
        mean_average_precision: of these logits by the known labels, in percent.
        chance: mean share of present labels, what a random order has, in percent.
    """

    penalty: float
    map_penalty: float
    power: float
    columns: np.ndarray
    logits: np.ndarray
    mean_average_precision: float
    chance: float


def fit_named_classes(
    features: np.ndarray,
    labels: np.ndarray,
    present: np.ndarray,
    vectors: np.ndarray,
    *,
    groups: np.ndarray,
    seed: int = 0,
) -> tuple[NamedClasses, WithheldClasses]:
    """Fit the map on all rows and classes; withheld classes choose its numbers.

    Args:
        features: [N, F].
        labels: [N, C] in {1, 0, -1}: what the withheld classes are judged by.
        present: [N, C] in [0, 1]: what is fitted, 1 where a label is present.
        vectors: [C, D] of the names.
        groups: [N], equal for rows that are left out together.
        seed: deals the classes into folds.

    Raises:
        ValueError: fewer than `FEWEST_CLASSES` classes have a present and an absent label.
    """
    told = (labels == POSITIVE).any(0) & (labels < UNKNOWN).any(0)
    columns = np.flatnonzero(told)
    if len(columns) < FEWEST_CLASSES:
        raise ValueError(f"{len(columns)} classes have a present and an absent label")
    ridge = _Ridge.build(features, groups)
    folds = np.array_split(np.random.default_rng(seed).permutation(columns), _FOLDS)
    best = max(
        _candidates(ridge, labels, present, vectors, folds), key=lambda candidate: candidate[0]
    )
    _, (penalty, map_penalty, power) = best
    order = np.concatenate(folds)
    scores = np.hstack(
        [_withheld(ridge, present, vectors, f, map_penalty, power, [penalty])[0] for f in folds]
    )
    z = (scores - scores.mean(0)) / np.maximum(scores.std(0), _SMALLEST)
    weights = _logistic(scores, z, labels[:, order])
    logits = weights[0] + weights[1] * scores + weights[2] * z
    described = _described(present[:, columns], vectors[columns], map_penalty, power)
    targets = present[:, columns] @ described
    coefficients, intercept, mean, covariance = ridge.fit(targets, penalty)
    named = NamedClasses(coefficients, intercept, mean, covariance, weights)
    truth = labels[:, order]
    value = 100 * float(np.mean(average_precision(logits, truth)))
    known = (truth != UNKNOWN).sum(0)
    chance = 100 * float(np.mean((truth == POSITIVE).sum(0) / known))
    return named, WithheldClasses(penalty, map_penalty, power, order, logits, value, chance)


def _candidates(
    ridge: "_Ridge",
    labels: np.ndarray,
    present: np.ndarray,
    vectors: np.ndarray,
    folds: list[np.ndarray],
) -> Iterator[tuple[float, tuple[float, float, float]]]:
    """The mean average precision of withheld classes by each choice of numbers."""
    for map_penalty, power in itertools.product(MAP_PENALTIES, POWERS):
        values = np.zeros(len(PENALTIES))
        for fold in folds:
            found = _withheld(ridge, present, vectors, fold, map_penalty, power, PENALTIES)
            for place, scores in enumerate(found):
                values[place] += average_precision(scores, labels[:, fold]).sum()
        for penalty, value in zip(PENALTIES, values, strict=True):
            yield value, (penalty, map_penalty, power)


def _withheld(
    ridge: "_Ridge",
    present: np.ndarray,
    vectors: np.ndarray,
    fold: np.ndarray,
    map_penalty: float,
    power: float,
    penalties: Any,
) -> list[np.ndarray]:
    """Left-out scores [N, K] of the classes of a fold by maps without them, by each penalty.

    Ridge regression is linear in its targets: T e is regressed, not all of T.
    """
    seen = np.setdiff1d(np.flatnonzero(present.any(0)), fold)
    described = _described(present[:, seen], vectors[seen], map_penalty, power)
    return ridge.left_out(present[:, seen] @ (described @ vectors[fold].T), penalties)


def _described(
    present: np.ndarray, vectors: np.ndarray, map_penalty: float, power: float
) -> np.ndarray:
    """What a label of each class adds to the target of its row, [C, D].

    The labels of a class are divided by a power of its number of rows; by 1 on average.
    """
    factors = np.maximum(present.sum(0), _SMALLEST) ** -power
    return described_targets(np.diag(factors / factors.mean()), vectors, map_penalty)


def _logistic(scores: np.ndarray, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """b, u and v by the known labels."""
    known = labels != UNKNOWN
    inputs = np.stack([scores[known], z[known]], axis=1)
    scale = np.maximum(np.abs(inputs).mean(0), _SMALLEST)
    model = LogisticRegression(C=1e6, max_iter=200)
    model.fit(inputs / scale, labels[known] == POSITIVE)
    return np.concatenate([model.intercept_, model.coef_[0] / scale])


@dataclass(frozen=True)
class _Ridge:
    """Ridge regression of any targets on the same rows."""

    design: Design
    phi: np.ndarray
    spectrum: Spectrum
    rows: Rows
    groups: np.ndarray

    @staticmethod
    def build(features: np.ndarray, groups: np.ndarray) -> "_Ridge":
        design = fit_design(features, np.ones(len(features)), standardize=True)
        phi = design.rows(features, slice(None))
        spectrum: Spectrum
        if len(phi) <= design.width:
            spectrum = DualSpectrum.from_rows(phi)
        else:
            spectrum = PrimalSpectrum.from_gram(np.asarray(phi.T @ phi, np.float64))
        return _Ridge(design, phi, spectrum, spectrum.rows(phi), groups)

    def _projected(self, targets: np.ndarray) -> np.ndarray:
        dual = isinstance(self.spectrum, DualSpectrum)
        return self.spectrum.project_targets(targets if dual else self.phi.T @ targets)

    def left_out(self, targets: np.ndarray, penalties: Any) -> list[np.ndarray]:
        """Predictions [N, K] of the targets by fits without the group of each row."""
        projected = self._projected(targets)
        residuals = (
            left_out_residuals(self.spectrum, self.rows, projected, targets, self.groups, penalty)
            for penalty in penalties
        )
        return [targets - one for one in residuals]

    def fit(self, targets: np.ndarray, penalty: float) -> tuple[np.ndarray, ...]:
        """Coefficients and intercept for features as they were given; mean and covariance of f."""
        theta = self.spectrum.coefficients(self._projected(targets), penalty)
        fitted = self.phi @ theta
        coefficients = theta[:-1] / self.design.spread[:, None]
        intercept = theta[-1] - self.design.mean @ coefficients
        return coefficients, intercept, fitted.mean(0), np.cov(fitted.T, bias=True)
