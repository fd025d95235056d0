"""Heads for labels of which some may be wrong: two kernels, and doubt where it proves right."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pumlc.estimators.asymptotes import BOTH, BY_CLASS, Errors
from pumlc.estimators.design import identical_rows
from pumlc.estimators.doubt import doubted_targets
from pumlc.estimators.gaussian import GaussianMap, affordable_landmarks
from pumlc.estimators.least_squares import LeastSquares, fit_least_squares
from pumlc.labels import NEGATIVE, UNKNOWN, validate
from pumlc.metrics import average_precision

CANDIDATES: dict[str, tuple[Errors, ...] | None] = {
    "given": None,
    "doubted": BOTH,
    "doubted by class": BY_CLASS,
}
"""How given positives may be fitted; the errors that are looked for."""


@dataclass(frozen=True)
class NoisyLabelHeads:
    """Linear heads, or linear and Gaussian ones whose scores are averaged.

    Attributes:
        heads: on the features, then on those of ``kernel``, if any.
        kernel: the map to the features of the Gaussian heads.
        chosen: one of `CANDIDATES`.
        unexplained: candidate -> its criterion; empty if no label was doubted.
    """

    heads: tuple[LeastSquares, ...]
    kernel: GaussianMap | None
    chosen: str
    unexplained: dict[str, float]

    @property
    def penalty(self) -> float:
        """That of the linear heads."""
        return self.heads[0].penalty

    @property
    def loo_scores(self) -> np.ndarray:
        """[N, C]; a row's own target has no part in its score, its label has in those of others."""
        return _mean([each.loo_scores for each in self.heads])

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Scores of other rows, [M, C]; about 1 where a label is present, -1 where it is absent."""
        found = [self.heads[0].scores(features)]
        if self.kernel is not None:
            found.append(self.heads[1].scores(self.kernel.rows(features)))
        return _mean(found)


def fit_noisy_labels(
    features: np.ndarray, labels: ArrayLike, *, folds: int = 3, seed: int = 0
) -> NoisyLabelHeads:
    r"""Choose kernels by left-out scores; doubt positives if that predicts other rows better.

    1. Kernels: least squares, linear and with a Gaussian kernel, each with its own penalty
       (`fit_least_squares`). Of the linear scores and the mean of both, those are taken whose
       left-out scores have the higher mean average precision for the given labels.
    2. Targets: the labels as they are given, or `doubted_targets`, in which a given positive counts
       by its probability to be true, with one rate of errors for all classes or one for each. Each
       candidate is fitted on the rows outside of a fold, which includes the estimate of its rates,
       and gives the scores g of the fold. That with the least

       .. math:: \frac{1}{C} \sum_c 1 - \mathrm{corr}(g_c, y_c)^2

       is taken, the share of the variance of the labels y, as they are given, that g does not
       explain. Class-conditional noise lowers all correlations of a class by the same factor, so
       that the best scores for given labels are the best for true ones. If no error is found in
       all rows, there is one candidate.
    3. The kernels are fitted to the chosen targets of all rows, with the penalties of step 1.

    Args:
        features: real [N, D], dense.
        labels: [N, C] in {1, 0, -1}; unknown ones take no part.
        folds: number of folds of step 2; identical rows are in the same one.
        seed: of the folds and of the landmarks of the kernel.

    Raises:
        ValueError: features and labels of different lengths, an invalid label.

    Source: this package, docs/noise.md.
    """
    labels = validate(labels, "labels")
    features = np.asarray(features)
    kernel = GaussianMap.build(features, affordable_landmarks(labels)[0], seed=seed)
    groups = identical_rows(features)
    problem = _Problem((features, kernel.rows(features)), labels, groups)
    first = problem.fit(slice(None))
    if _precision(first[0].loo_scores, labels) >= _precision(_left_out(first), labels):
        problem, first, kernel = _Problem((features,), labels, groups), first[:1], None
    tried = _different(_left_out(first), labels)
    if len(tried) == 1:
        return NoisyLabelHeads(first, kernel, "given", {})
    penalties = [each.penalty for each in first]
    left = _unexplained_by(problem, list(tried), penalties, folds, seed)
    chosen = min(left, key=left.__getitem__)
    final = first if chosen == "given" else problem.fit(slice(None), penalties, tried[chosen])
    return NoisyLabelHeads(final, kernel, chosen, left)


def unexplained(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes of 1 - correlation^2 of scores and known labels; 1 if there is none.

    Example:
        >>> labels = np.array([[1, 1], [-1, -1], [1, 0], [-1, 1]])
        >>> scores = np.array([[0.9, 0.0], [0.1, 1.0], [0.9, 5.0], [0.1, 0.0]])
        >>> round(unexplained(scores, labels), 3)
        0.0
    """
    left = []
    for score, label in zip(scores.T, labels.T, strict=True):
        known = label != UNKNOWN
        if len(np.unique(label[known])) == 2 and np.ptp(score[known]) > 0:
            left.append(1 - np.corrcoef(score[known], label[known])[0, 1] ** 2)
    return float(np.mean(left)) if left else 1.0


def _precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean average precision over the classes with both signs; 0 if there is none."""
    each = average_precision(scores, labels)[(labels == NEGATIVE).any(axis=0)]
    return float(np.nanmean(each)) if (~np.isnan(each)).any() else 0.0


@dataclass(frozen=True)
class _Problem:
    """What is fitted: features of each kernel (the linear one first), labels, and groups."""

    features: tuple[np.ndarray, ...]
    labels: np.ndarray
    groups: np.ndarray

    def fit(
        self,
        rows: Any,
        penalties: list[float] | None = None,
        targets: np.ndarray | None = None,
    ) -> tuple[LeastSquares, ...]:
        """Heads of each kernel; ``targets`` are those of ``rows``."""
        options: dict[str, Any] = {"groups": self.groups[rows], "targets": targets}
        heads = []
        for place, features in enumerate(self.features):
            if penalties is not None:
                options["penalties"] = [penalties[place]]
            options["standardize"] = place == 0
            heads.append(fit_least_squares(features[rows], self.labels[rows], **options))
        return tuple(heads)

    def scores(self, heads: tuple[LeastSquares, ...], rows: np.ndarray) -> np.ndarray:
        pairs = zip(heads, self.features, strict=True)
        return _mean([each.scores(features[rows]) for each, features in pairs])


def _mean(scores: list[np.ndarray]) -> np.ndarray:
    return np.sum(scores, axis=0) / len(scores)


def _left_out(heads: tuple[LeastSquares, ...]) -> np.ndarray:
    return _mean([each.loo_scores for each in heads])


def _targets(
    left_out: np.ndarray, labels: np.ndarray, errors: tuple[Errors, ...] | None
) -> np.ndarray:
    if errors is None:
        return labels.astype(np.float64)
    return doubted_targets(left_out, labels, errors)


def _different(left_out: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Candidate -> targets, without those that repeat an earlier one."""
    found: dict[str, np.ndarray] = {}
    for name, errors in CANDIDATES.items():
        targets = _targets(left_out, labels, errors)
        if not any(np.array_equal(targets, other) for other in found.values()):
            found[name] = targets
    return found


def _unexplained_by(
    problem: _Problem, names: list[str], penalties: list[float], folds: int, seed: int
) -> dict[str, float]:
    """The criterion of each candidate of targets; see `fit_noisy_labels`."""
    scores = {name: np.zeros(problem.labels.shape) for name in names}
    for held_out, rest in _folds(problem.groups, folds, seed):
        first = problem.fit(rest, penalties)
        for name in names:
            heads = first
            if name != "given":
                targets = _targets(_left_out(first), problem.labels[rest], CANDIDATES[name])
                heads = problem.fit(rest, penalties, targets)
            scores[name][held_out] = problem.scores(heads, held_out)
    return {name: unexplained(scores[name], problem.labels) for name in names}


def _folds(groups: np.ndarray, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of a fold and the others; a group is never split."""
    names, places = np.unique(groups, return_inverse=True)
    folds = min(folds, len(names))
    fold = np.random.RandomState(seed).permutation(len(names))[places] % folds
    for number in range(folds):
        yield np.flatnonzero(fold == number), np.flatnonzero(fold != number)
