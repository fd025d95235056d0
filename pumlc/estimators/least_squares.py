"""Ridge heads in closed form on partly known labels, chosen by exact leave-one-out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pumlc.estimators.design import Features, Reduce
from pumlc.estimators.problem import Fit, Problem
from pumlc.labels import validate

PENALTIES = tuple(float(penalty) for penalty in np.logspace(-2, 4, 13).round(6))
"""Half decades; the features are scaled to a mean squared length of 1."""

_KEPT_ENTRIES = 2**27  # of decompositions kept from the choice to the fit: 1 GiB


@dataclass(frozen=True)
class LeastSquares:
    """Linear heads, and what chose them.

    Attributes:
        coefficients: [D, C], of the features as they were given.
        intercept: [C].
        loo_scores: [N, C]; heads fitted without a row and its group score the row.
        penalty: the one that was chosen.
        penalties: the candidates, [P], ascending.
        errors: leave-one-out mean squared error on known labels, [P, C], for each candidate and
            class; nan for a class without both signs.
    """

    coefficients: np.ndarray
    intercept: np.ndarray
    loo_scores: np.ndarray
    penalty: float
    penalties: tuple[float, ...]
    errors: np.ndarray

    def scores(self, features: Features) -> np.ndarray:
        """Scores of other rows, [M, C]; about 1 where a label is present, -1 where it is absent."""
        return np.asarray(features @ self.coefficients + self.intercept)


def fit_least_squares(
    features: Features,
    labels: ArrayLike,
    *,
    penalties: Sequence[float] = PENALTIES,
    row_weights: ArrayLike | None = None,
    class_weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    targets: ArrayLike | None = None,
    standardize: bool = True,
    reduce: Reduce | None = None,
) -> LeastSquares:
    """Fit +1 for present and -1 for absent by ridge regression on the known labels of each class.

    For class c, with weights w (0 where the label is unknown), t = 1 or -1 and phi of `Design`:

        theta_c = (sum_i w_ic phi_i phi_i^T + penalty I)^-1 sum_i w_ic t_ic phi_i

    One penalty serves all classes. For each candidate, each class's leave-one-out squared error on
    its known labels is divided by its least over the candidates; the mean over the classes with
    both signs is taken. A parabola over log(penalty) goes through the least of these means and its
    two neighbours; the penalty is where it is least. Every row is used; none is held out. The
    scaling of the features, which looks at no label, is that of all rows.

    Memory does not grow with N beyond the labels and the leave-one-out scores: where the known
    rows of a class are more than the features, only sums over blocks of rows are kept, and the
    features may be a memory map. Classes that are known in the same rows share a decomposition.

    Args:
        features: real [N, D], dense or sparse.
        labels: [N, C] in {1, 0, -1}.
        penalties: candidates, above 0.
        row_weights: [N], not negative; an integer weight is the same as that many copies of a row.
        class_weights: [C, 2], the weights of a class's absent and of its present labels.
        groups: [N], equal for rows that are left out together (one patient, one scene); by default
            rows with identical features.
        targets: [N, C], fitted in place of 1 and -1 where a label is known.
        standardize: bring each feature to mean 0 and variance 1 first; not for sparse features.
        reduce: sum over ranks, each of which calls with its own rows; a group lies on one rank.

    Raises:
        ValueError: sizes that do not fit, an invalid label, weights that are negative or all 0,
            a penalty of 0 or less.

    Source: Allen 1974 (PRESS); Rifkin, Yeo & Poggio 2003.

    Example:
        >>> features = [[0.0], [1.0], [2.0], [3.0]]
        >>> heads = fit_least_squares(features, [[-1], [-1], [1], [0]], penalties=[0.1])
        >>> heads.scores([[0.0], [3.0]]).round(2)
        array([[-1.28],
               [ 1.54]])
    """
    labels = validate(labels, "labels")
    if not hasattr(features, "shape"):
        features = np.asarray(features, np.float64)
    if not len(penalties) or not all(0 < value < np.inf for value in penalties):
        raise ValueError(f"penalties are {list(penalties)}; give at least one, above 0")
    candidates = tuple(sorted(float(value) for value in set(penalties)))
    problem = Problem.build(
        features,
        labels,
        row_weights,
        class_weights,
        groups,
        targets,
        standardize=standardize,
        reduce=reduce,
    )
    kept: dict[int, Fit] = {}
    errors = np.full((len(candidates), labels.shape[1]), np.nan)
    for number, fit in problem.fits():
        errors[:, fit.classes] = problem.errors(fit, candidates)
        if sum(one.num_entries for one in kept.values()) + fit.num_entries < _KEPT_ENTRIES:
            kept[number] = fit
    penalty = choose_penalty(candidates, errors)
    theta = np.zeros((problem.design.width, labels.shape[1]))
    dtype = np.result_type(features, np.float32)
    loo_scores = np.zeros(labels.shape, dtype)
    for _, fit in problem.fits(kept):
        theta[:, fit.classes] = fit.spectrum.coefficients(fit.projected, penalty)
        problem.leave_out(fit, penalty, loo_scores)
    problem.add_unused(theta, loo_scores)
    coefficients = theta[:-1] / problem.design.spread[:, None]
    intercept = theta[-1] - problem.design.mean @ coefficients
    return LeastSquares(
        coefficients.astype(dtype), intercept.astype(dtype), loo_scores, penalty, candidates, errors
    )


def choose_penalty(penalties: tuple[float, ...], errors: np.ndarray) -> float:
    """The penalty by the errors, [P, C]; see `fit_least_squares`."""
    judged = errors[:, (errors > 0).all(axis=0)]
    if not judged.size:  # no class has both signs: nothing tells the candidates apart
        return penalties[len(penalties) // 2]
    relative = (judged / judged.min(axis=0)).mean(axis=1)
    best = int(np.argmin(relative))
    if not 0 < best < len(penalties) - 1:
        return penalties[best]
    places = np.log(penalties[best - 1 : best + 2])
    second, first, _ = np.polyfit(places - places[1], relative[best - 1 : best + 2], 2)
    if second <= 0:
        return penalties[best]
    return float(np.exp(np.clip(places[1] - first / (2 * second), places[0], places[2])))
