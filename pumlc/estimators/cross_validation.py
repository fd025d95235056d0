"""Predictions of rows by estimators that were fitted without their folds; labels may be unknown."""

from typing import Any, Literal

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils import indexable

Method = Literal["decision_function", "predict_proba", "predict"]


def cross_val_predict(
    estimator: Any,
    X: Any,
    Y: Any,
    *,
    groups: Any = None,
    cv: Any = 5,
    method: Method = "decision_function",
) -> np.ndarray:
    """The ``cross_val_predict`` of scikit-learn for a Y that has nan.

    Scikit-learn's own function numbers the values of each column of Y, for every method but
    ``predict``: nan becomes 2, or even 1. This one hands Y on as it is.

    Args:
        estimator: any classifier that takes this Y, a ``Pipeline`` for example; it is cloned.
        X: features [N, D]: an array, a sparse matrix or a data frame.
        Y: [N, C] of 1, 0 and nan, dense or sparse.
        groups: [N], equal for rows that stay in one fold.
        cv: a number of folds, or a splitter of scikit-learn that does not stratify.
        method: what is called on the rows of each fold.

    Returns:
        [N, C], each row by an estimator that was fitted without its fold.

    Raises:
        ValueError: the folds of the splitter do not hold each row once; see also the estimator.

    Example:
        >>> from pumlc.estimators import PartialLabelClassifier
        >>> X = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]]
        >>> Y = [[0], [1], [0], [1], [np.nan], [1]]
        >>> cross_val_predict(PartialLabelClassifier(), X, Y, cv=3, method="predict").shape
        (6, 1)
    """
    X, Y, groups = indexable(X, Y, groups)
    X, Y = (np.asarray(each) if isinstance(each, list) else each for each in (X, Y))
    if isinstance(cv, int):
        cv = KFold(cv) if groups is None else GroupKFold(cv)
    rows, predictions = [], []
    for fitted, left_out in cv.split(X, None, groups):
        own: Any = clone(estimator)
        own.fit(_taken(X, fitted), _taken(Y, fitted))
        predictions.append(getattr(own, method)(_taken(X, left_out)))
        rows.append(left_out)
    order = np.concatenate(rows)
    if not np.array_equal(np.sort(order), np.arange(X.shape[0])):
        raise ValueError("cv does not leave each row out once; take KFold or GroupKFold")
    return np.concatenate(predictions)[np.argsort(order)]


def _taken(matrix: Any, rows: np.ndarray) -> Any:
    return matrix.iloc[rows] if hasattr(matrix, "iloc") else matrix[rows]
