"""Least squares with two kernels and any targets: what audit_tried.py and noise_tried.py share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold

from pumlc.estimators import fit_least_squares
from pumlc.estimators.design import identical_rows
from pumlc.estimators.gaussian import LANDMARKS, GaussianMap
from pumlc.estimators.kernel_heads import fit_gaussian, mean_left_out
from pumlc.estimators.least_squares import LeastSquares

Pair = tuple[LeastSquares, LeastSquares]
"""Linear heads, and those of the Gaussian kernel."""
Targets = tuple[np.ndarray, np.ndarray]
"""What the heads of a pair are fitted to, [N, C] each."""


@dataclass(frozen=True)
class Kernels:
    """Rows in the two kernels.

    Attributes:
        linear: features [N, D] of the linear kernel.
        mapped: features [N, R] whose inner products are the Gaussian kernel.
        groups: [N], equal for rows that are left out together: those with identical features.
        mapping: makes ``mapped`` of features.
    """

    linear: np.ndarray
    mapped: np.ndarray
    groups: np.ndarray
    mapping: GaussianMap

    @staticmethod
    def of(
        features: np.ndarray, near: np.ndarray | None = None, *, landmarks: int = LANDMARKS
    ) -> "Kernels":
        """Both kernels of features; ``near`` are others, for the Gaussian one."""
        near = features if near is None else near
        mapping = GaussianMap.build(near, landmarks)
        return Kernels(features, mapping.rows(near), identical_rows(features), mapping)

    def like(self, features: np.ndarray) -> "Kernels":
        """Other rows in the same kernels; ``features`` are those of both."""
        mapped = self.mapping.rows(features)
        return Kernels(features, mapped, identical_rows(features), self.mapping)

    def rows(self, chosen: np.ndarray) -> "Kernels":
        """Some of the rows."""
        parts = (self.linear, self.mapped, self.groups)
        linear, mapped, groups = (part[chosen] for part in parts)
        return replace(self, linear=linear, mapped=mapped, groups=groups)

    def fit(
        self, labels: np.ndarray, *, like: Pair | None = None, targets: Targets | None = None
    ) -> Pair:
        """Heads of both kernels; with the penalties of ``like``, fitted to ``targets``."""
        options: list[dict[str, Any]] = [{"groups": self.groups} for _ in range(2)]
        for place, option in enumerate(options):
            if like is not None:
                option["penalties"] = [like[place].penalty]
            if targets is not None:
                option["targets"] = targets[place]
        return (
            fit_least_squares(self.linear, labels, **options[0]),
            fit_gaussian(self.mapped, labels, **options[1]),
        )

    def scores(self, pair: Pair) -> np.ndarray:
        """The mean of both heads on these rows, [N, C]."""
        return (pair[0].scores(self.linear) + pair[1].scores(self.mapped)) / 2


def hidden(pair: Pair, labels: np.ndarray, share: np.ndarray) -> Targets:
    """Targets that hide a share of each label, [N, C].

    A target at the score of the heads without the row leaves these heads as they are: it hides the
    label. What lies between hides a part of it.
    """
    linear, gaussian = (labels + share * (heads.loo_scores - labels) for heads in pair)
    return linear, gaussian


def scores_of_folds(
    kernels: Kernels,
    labels: np.ndarray,
    targets: Callable[[Pair, np.ndarray], Targets],
    folds: int = 5,
) -> np.ndarray:
    """Scores [N, C] after a second fit whose targets no label of the own fold took part in.

    Args:
        kernels: of all rows.
        labels: [N, C].
        targets: of a first fit and its labels to those of the second fit.
        folds: identical rows are in the same one.
    """
    scores = np.zeros(labels.shape)
    for fitted, held in GroupKFold(folds).split(labels, groups=kernels.groups):
        rows = kernels.rows(fitted)
        first = rows.fit(labels[fitted])
        changed = targets(first, labels[fitted])
        second = rows.fit(labels[fitted], like=first, targets=changed)
        scores[held] = kernels.rows(held).scores(second)
    return scores


def left_out(pair: Pair) -> np.ndarray:
    """The mean of both heads that were fitted without the row, [N, C]."""
    return mean_left_out(*pair)
