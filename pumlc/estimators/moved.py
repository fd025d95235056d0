"""Least squares that doubts a given positive as far as the other rows do."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pumlc.estimators.design import Features
from pumlc.estimators.least_squares import LeastSquares, fit_least_squares
from pumlc.labels import POSITIVE, validate


def fit_moved_positives(
    features: Features, labels: ArrayLike, *, share: float, **options: Any
) -> LeastSquares:
    r"""Fit, move the targets of given positives towards their left-out scores, fit again.

    .. math:: t_i = 1 + \text{share} \cdot (\min(\max(f_{-i}, -1), 1) - 1)

    where :math:`f_{-i}` is the score of row i by the heads fitted without it and its group. The
    targets of negatives stay. The second fit has the penalty of the first one. Its left-out scores
    leave out the row's own target, but not the effect of the row's label on the targets of others.

    Args:
        features: real [N, D], dense or sparse.
        labels: [N, C] in {1, 0, -1}.
        share: in [0, 1]; 0 is `fit_least_squares`.
        options: of `fit_least_squares`.

    Raises:
        ValueError: a share outside [0, 1]; see also `fit_least_squares`.

    Example:
        >>> features, labels = [[0.0], [1.0], [2.0], [3.0], [4.0]], [[-1], [1], [-1], [1], [1]]
        >>> for share in (0.0, 1.0):
        ...     heads = fit_moved_positives(features, labels, share=share, penalties=[1.0])
        ...     print(heads.scores([[1.0]]).round(2))  # the row whose label is doubted
        [[-0.17]]
        [[-0.61]]
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, outside [0, 1]")
    labels = validate(labels, "labels")
    first = fit_least_squares(features, labels, **options)
    if share == 0:
        return first
    moved = 1 + share * (np.clip(first.loo_scores, -1, 1) - 1)
    targets = np.where(labels == POSITIVE, moved, labels)
    options = {**options, "penalties": [first.penalty], "targets": targets}
    return fit_least_squares(features, labels, **options)
