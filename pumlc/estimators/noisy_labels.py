"""Heads for labels of which some may be wrong: two kernels, and doubt unless it proves wrong."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from pumlc.estimators.asymptotes import BOTH, BY_CLASS, Errors
from pumlc.estimators.design import identical_rows
from pumlc.estimators.doubt import doubted_targets
from pumlc.estimators.gaussian import GaussianMap, affordable_landmarks
from pumlc.estimators.kernel_heads import KernelHeads, fit_gaussian, mean_left_out
from pumlc.estimators.least_squares import PENALTIES, LeastSquares, fit_least_squares
from pumlc.labels import UNKNOWN, validate

CANDIDATES: dict[str, tuple[Errors, ...] | None] = {
    "given": None,
    "doubted": BOTH,
    "doubted by class": BY_CLASS,
}
"""How given positives may be fitted; the errors that are looked for."""


@dataclass(frozen=True)
class NoisyLabelHeads(KernelHeads):
    """Linear and Gaussian heads, whose scores are averaged.

    A row's own target has no part in its left-out score; its label has in those of other rows.

    Attributes:
        chosen: one of `CANDIDATES`.
        unexplained: candidate -> its criterion for each class, [C]; empty if no error was found.
    """

    chosen: str
    unexplained: dict[str, np.ndarray]


def fit_noisy_labels(
    features: np.ndarray, labels: ArrayLike, *, folds: int = 3, seed: int = 0
) -> NoisyLabelHeads:
    r"""Fit two kernels; doubt given positives unless that predicts the labels of other rows worse.

    1. Least squares, linear and with a Gaussian kernel, each with its own penalty
       (`fit_least_squares`). The scores are the mean of both.
    2. `doubted_targets`: a given positive counts by its probability to be true. There is one rate
       of errors for all classes, or one for each: two candidates beside the labels as given. If no
       error is found, the labels stay as they are.
    3. Each candidate is fitted on the rows outside of a fold, which includes the estimate of its
       rates, and gives the scores g of the fold. For class c and the labels y as they are given,

       .. math:: u_c = 1 - \mathrm{corr}(g_c, y_c)^2

       is the share of their variance that g does not explain. Class-conditional noise lowers all
       correlations of a class by the same factor, so that the best scores for given labels are the
       best for true ones. The doubted candidate with the least mean u is taken, unless u of the
       labels as given is less by more than two standard errors (of the mean difference over the
       classes): the labels already spoke for errors in step 2.
    4. The two kernels are fitted to the chosen targets of all rows, with the penalties of step 1.

    Args:
        features: real [N, D], dense.
        labels: [N, C] in {1, 0, -1}; unknown ones take no part.
        folds: number of folds of step 2; identical rows are in the same one.
        seed: of the folds and of the landmarks of the kernel.

    Raises:
        ValueError: features and labels of different lengths, an invalid label; features that are
            sparse or not finite.

    Source: this package, docs/noise.md.
    """
    labels = validate(labels, "labels")
    if sparse.issparse(features):
        raise ValueError("features are sparse; give dense ones: features.toarray()")
    features = np.asarray(features)
    kernel = GaussianMap.build(features, affordable_landmarks(labels)[0], seed=seed)
    groups = identical_rows(features)
    problem = _Problem((features, kernel.rows(features)), labels, groups)
    first = problem.fit(slice(None))
    tried = _different(mean_left_out(*first), labels)
    if len(tried) == 1:
        return NoisyLabelHeads(*first, kernel, None, "given", {})
    penalties = [each.penalty for each in first]
    left = _unexplained_by(problem, list(tried), penalties, folds, seed)
    chosen = _choice(left)
    final = first if chosen == "given" else problem.fit(slice(None), penalties, tried[chosen])
    return NoisyLabelHeads(*final, kernel, None, chosen, left)


def unexplained(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1 - correlation^2 of the scores and the known labels of each class, [C]; 1 if there is none.

    Example:
        >>> labels = np.array([[1, 1], [-1, -1], [1, 0], [-1, 1]])
        >>> scores = np.array([[0.9, 0.0], [0.1, 1.0], [0.9, 5.0], [0.1, 0.0]])
        >>> np.abs(unexplained(scores, labels).round(3))
        array([0., 0.])
    """
    left = np.ones(labels.shape[1])
    for c, (score, label) in enumerate(zip(scores.T, labels.T, strict=True)):
        known = label != UNKNOWN
        if len(np.unique(label[known])) == 2 and np.ptp(score[known]) > 0:
            left[c] -= np.corrcoef(score[known], label[known])[0, 1] ** 2
    return left


def _choice(left: dict[str, np.ndarray]) -> str:
    """The candidate to take; see `fit_noisy_labels`."""
    doubted = min((name for name in left if name != "given"), key=lambda name: left[name].mean())
    excess = left[doubted] - left["given"]
    error = excess.std() / np.sqrt(max(1, len(excess) - 1))
    return "given" if excess.mean() > 2 * error else doubted


@dataclass(frozen=True)
class _Problem:
    """What is fitted: features of the linear and of the Gaussian kernel, labels, and groups."""

    features: tuple[np.ndarray, np.ndarray]
    labels: np.ndarray
    groups: np.ndarray

    def fit(
        self,
        rows: Any,
        penalties: list[float] | None = None,
        targets: np.ndarray | None = None,
    ) -> tuple[LeastSquares, LeastSquares]:
        """Heads of both kernels; ``targets`` are those of ``rows``."""
        options: dict[str, Any] = {"groups": self.groups[rows], "targets": targets}
        candidates = [PENALTIES] * 2 if penalties is None else [[each] for each in penalties]
        linear, mapped = (features[rows] for features in self.features)
        labels = self.labels[rows]
        return (
            fit_least_squares(linear, labels, penalties=candidates[0], **options),
            fit_gaussian(mapped, labels, penalties=candidates[1], **options),
        )

    def scores(self, heads: tuple[LeastSquares, LeastSquares], rows: np.ndarray) -> np.ndarray:
        linear, gaussian = (
            each.scores(features[rows]) for each, features in zip(heads, self.features, strict=True)
        )
        return (linear + gaussian) / 2


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
) -> dict[str, np.ndarray]:
    """The criterion of each candidate of targets; see `fit_noisy_labels`."""
    scores = {name: np.zeros(problem.labels.shape) for name in names}
    for held_out, rest in _folds(problem.groups, folds, seed):
        first = problem.fit(rest, penalties)
        for name in names:
            heads = first
            if name != "given":
                targets = _targets(mean_left_out(*first), problem.labels[rest], CANDIDATES[name])
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
