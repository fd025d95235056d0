"""Least squares beyond linear: a Gaussian kernel beside the features, where it proves better."""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from pumlc.estimators.calibration import fit_sigmoid
from pumlc.estimators.design import Design, Features, identical_rows
from pumlc.estimators.gaussian import GaussianMap, affordable_landmarks, gaussian_scores
from pumlc.estimators.least_squares import LeastSquares, fit_least_squares
from pumlc.estimators.weighting import Weighting
from pumlc.labels import POSITIVE, validate

Kernel = Literal["auto", "linear", "both"]
KERNELS = ("auto", "linear", "both")

_CLEARLY = 2  # standard errors


class Gain(NamedTuple):
    """What the Gaussian kernel changes, by scores of heads that have not seen the row.

    The figures are cross entropies, means over the known labels of classes with both signs. For
    each class and heads, Platt's sigmoid makes probabilities of the left-out scores. Without it a
    kernel would win by fitting the values 1 and -1, even where it ranks worse.

    Attributes:
        linear: of the linear heads.
        both: of the mean of both heads.
        standard_error: of the difference; rows that are left out together count as one.
    """

    linear: float
    both: float
    standard_error: float

    @property
    def is_clear(self) -> bool:
        """Whether both are better by more than two standard errors."""
        return bool(self.linear - self.both > _CLEARLY * self.standard_error)


@dataclass(frozen=True)
class GaussianPart:
    """The Gaussian half of heads: scores exp(-|u - v|^2) of landmarks v, times coefficients.

    Attributes:
        design: the standardisation that comes before u.
        landmarks: [L, D], at length 1.
        coefficients: [L, C].
        intercept: [C].
    """

    design: Design
    landmarks: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray

    def scores(self, features: Features) -> np.ndarray:
        """Scores of rows [M, D]: [M, C]."""
        own = gaussian_scores(features, self.design, self.landmarks, self.coefficients)
        return own + self.intercept

    def calibrated(self, slope: np.ndarray, bias: np.ndarray) -> "GaussianPart":
        """The part whose scores are slope * scores + bias, both [C]."""
        return replace(
            self,
            coefficients=(self.coefficients * slope).astype(self.coefficients.dtype),
            intercept=(self.intercept * slope + bias).astype(self.intercept.dtype),
        )


@dataclass(frozen=True)
class KernelHeads:
    """Linear heads, or the mean of linear and Gaussian heads.

    Attributes:
        linear: heads on the features.
        gaussian: heads on the features of ``kernel``; None: the linear heads stand alone.
        kernel: the map to these.
        gain: what the Gaussian kernel changes; None if it was not asked.
    """

    linear: LeastSquares
    gaussian: LeastSquares | None
    kernel: GaussianMap | None
    gain: Gain | None

    @property
    def penalty(self) -> float:
        """That of the linear heads."""
        return self.linear.penalty

    @property
    def loo_scores(self) -> np.ndarray:
        """[N, C]; a row's own target has no part in its score."""
        return mean_left_out(self.linear, self.gaussian)

    def scores(self, features: Features) -> np.ndarray:
        """Scores of other rows, [M, C]; about 1 where a label is present, -1 where it is absent."""
        linear, part = self.linear.scores(features), self.gaussian_part()
        return linear if part is None else (linear + part.scores(features)) / 2

    def gaussian_part(self) -> GaussianPart | None:
        """What scores new rows beside the linear heads, if anything does."""
        if self.gaussian is None or self.kernel is None:
            return None
        dtype, root = self.kernel.root.dtype, self.kernel.root.astype(np.float64)
        coefficients = (root @ self.gaussian.coefficients).astype(dtype)
        intercept = self.gaussian.intercept.astype(dtype)
        return GaussianPart(self.kernel.design, self.kernel.landmarks, coefficients, intercept)


def fit_kernel_heads(
    features: Features,
    labels: ArrayLike,
    *,
    kernel: Kernel = "auto",
    landmarks: int | None = None,
    seed: int = 0,
    groups: ArrayLike | None = None,
    standardize: bool = True,
    **options: Any,
) -> KernelHeads:
    """Fit linear heads, and beside them heads with a Gaussian kernel where these prove better.

    Both are ridge regressions with exact leave-one-out, each with its own penalty
    (`fit_least_squares`). With u the standardised features at length 1 the kernel is
    ``exp(-|u - v|^2)``, on at most 2,000 rows as landmarks (`GaussianMap`). The scores are the mean
    of both. Standardisation and landmarks look at no label, so the mean of the left-out scores is
    exactly what heads without the row would give it.

    "auto" keeps the Gaussian heads if they lower the left-out cross entropy of the known labels by
    more than two standard errors over the rows (`Gain`): one decision for all classes.

    Where each class is known in rows of its own there are as many decompositions as classes, and
    the landmarks are as few as keep them to about a minute. Memory does not grow with N beyond
    labels and left-out scores.

    Args:
        features: real [N, D], dense or a memory map; sparse ones get linear heads alone.
        labels: [N, C] in {1, 0, -1}.
        kernel: "linear", "both", or "auto".
        landmarks: at most so many; None: what is affordable.
        seed: of the landmarks.
        groups: of `fit_least_squares`.
        standardize: of `fit_least_squares`; without it u is the row itself at length 1.
        options: further arguments of `fit_least_squares`, but for ``reduce``.

    Raises:
        ValueError: see `fit_least_squares`; another kernel; "both" for sparse features.

    Example:
        >>> x = np.random.RandomState(0).randn(200, 2)
        >>> same_sign = np.where(x.prod(axis=1) > 0, 1, -1)[:, None]
        >>> heads = fit_kernel_heads(x, same_sign)
        >>> heads.gain.is_clear
        True
    """
    if kernel not in KERNELS:
        raise ValueError(f"kernel is {kernel!r}; valid: {', '.join(KERNELS)}")
    labels = validate(labels, "labels")
    is_sparse = sparse.issparse(features)
    if kernel == "both" and is_sparse:
        raise ValueError("kernel is 'both', but the features are sparse; valid: 'auto', 'linear'")
    features = features if hasattr(features, "shape") else np.asarray(features, np.float64)
    groups = identical_rows(features) if groups is None else np.asarray(groups)
    linear = fit_least_squares(features, labels, groups=groups, standardize=standardize, **options)
    if kernel == "linear" or is_sparse:
        return KernelHeads(linear, None, None, None)
    weights = options.get("row_weights")
    mapping = GaussianMap.build(
        features,
        affordable_landmarks(labels)[0] if landmarks is None else landmarks,
        row_weights=None if weights is None else np.asarray(weights, np.float64),
        standardize=standardize,
        seed=seed,
    )
    gaussian = fit_gaussian(mapping.of(features), labels, groups=groups, **options)
    gain = _gain(linear, gaussian, labels, groups, options)
    if kernel == "auto" and not gain.is_clear:
        return KernelHeads(linear, None, None, gain)
    return KernelHeads(linear, gaussian, mapping, gain)


def fit_gaussian(mapped: Any, labels: np.ndarray, **options: Any) -> LeastSquares:
    """Heads on the rows of a `GaussianMap`; the options are those of `fit_least_squares`."""
    return fit_least_squares(mapped, labels, standardize=False, **options)


def mean_left_out(linear: LeastSquares, gaussian: LeastSquares | None) -> np.ndarray:
    """Left-out scores of the mean of both heads, [N, C]."""
    if gaussian is None:
        return linear.loo_scores
    return (linear.loo_scores + gaussian.loo_scores) / 2


def _gain(
    linear: LeastSquares,
    gaussian: LeastSquares,
    labels: np.ndarray,
    groups: np.ndarray,
    options: dict[str, Any],
) -> Gain:
    """Cross entropies of the known labels that are left out, with the weights of the fit."""
    row_weights = options.get("row_weights")
    weights = np.ones(len(labels)) if row_weights is None else np.asarray(row_weights, np.float64)
    classes = options.get("class_weights")
    weighting = Weighting(labels, weights, None if classes is None else np.asarray(classes))
    total, rows = 0.0, np.zeros((2, len(labels)))  # of a row: linear, both
    for column, label in enumerate(labels.T):
        weight = weighting.weights(column)
        known = np.flatnonzero(weight)
        if len(np.unique(label[known])) < 2:
            continue
        positive, weight = label[known] == POSITIVE, weight[known]
        one, other = (each.loo_scores[known, column].astype(float) for each in (linear, gaussian))
        for place, scores in enumerate((one, (one + other) / 2)):
            slope, bias = fit_sigmoid(scores, positive, weight)
            logits = slope * scores + bias
            rows[place, known] += weight * (np.logaddexp(0, logits) - positive * logits)
        total += weight.sum()
    if not total:  # no class has both signs: nothing tells the heads apart
        return Gain(0.0, 0.0, 0.0)
    _, place = np.unique(groups, return_inverse=True)
    change = np.bincount(place, rows[0] - rows[1])[np.bincount(place, rows[0]) > 0]
    number = len(change)
    spread = np.sqrt(number * change.var(ddof=1)) if number > 1 else np.inf
    before, after = (rows.sum(axis=1) / total).tolist()
    return Gain(before, after, float(spread / total))
