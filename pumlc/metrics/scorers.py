"""Scorers for scikit-learn's model selection that leave unknown labels out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.metrics.multilabel import Definition, mean_average_precision, precision_recall_f1


def make_scorers(*, definition: Definition = "sklearn") -> dict[str, Callable[..., float]]:
    """Scorers ``scorer(estimator, X, Y) -> float`` in percent, higher is better.

    Y has 1 for present, 0 for absent and nan for unknown, which counts neither for nor against an
    estimator. The scorers are given to ``GridSearchCV(scoring=make_scorers(), refit="mAP")`` or,
    one of them, to ``cross_val_score(scoring=make_scorers()["mAP"])``. Where Y has nan,
    scikit-learn needs the splitter itself (``cv=KFold(5)``): from a number it makes one only for
    complete labels.

    - ``mAP``: `mean_average_precision` of ``decision_function``, or else of ``predict_proba``;
    - ``CF1``, ``OF1``, ``CF1_macro``: `precision_recall_f1` of what ``predict`` decides.

    Args:
        definition: that of the average precision.

    Example:
        >>> from sklearn.dummy import DummyClassifier
        >>> X, Y = np.zeros((4, 1)), np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
        >>> scorers = make_scorers()
        >>> truth = [[1, 0], [1, np.nan], [0, np.nan], [0, 1]]
        >>> scorers["mAP"](DummyClassifier().fit(X, Y), X, truth)
        50.0
    """
    figures = ("CF1", "OF1", "CF1_macro")
    return {
        "mAP": _MeanAveragePrecision(definition),
        **{figure: _DecisionFigure(figure) for figure in figures},
    }


@dataclass(frozen=True)
class _MeanAveragePrecision:
    definition: Definition

    def __call__(self, estimator: Any, X: Any, Y: Any) -> float:
        labels = _labels(estimator, Y)
        if hasattr(estimator, "decision_function"):
            scores = _columns(estimator.decision_function(X), labels.shape[1])
        else:
            scores = _columns(estimator.predict_proba(X), labels.shape[1])
        return mean_average_precision(scores, labels, definition=self.definition)


@dataclass(frozen=True)
class _DecisionFigure:
    figure: str

    def __call__(self, estimator: Any, X: Any, Y: Any) -> float:
        labels = _labels(estimator, Y)
        predicted = estimator.predict(X)
        predicted = predicted.toarray() if sparse.issparse(predicted) else np.asarray(predicted)
        if predicted.ndim == 1:
            predicted = (predicted == estimator.classes_[1])[:, None]
        figures = precision_recall_f1((predicted == 1).astype(np.float64), labels, threshold=0.5)
        return figures[self.figure]


def _columns(scores: Any, num_labels: int) -> np.ndarray:
    """Scores of the present state, [N, C], of any of the forms that scikit-learn has."""
    if isinstance(scores, list):  # one [N, 2] a label
        return np.stack([part[:, 1] for part in scores], axis=1)
    scores = np.asarray(scores)
    if scores.ndim == 1:
        return scores[:, None]
    return scores[:, 1:] if num_labels == 1 and scores.shape[1] == 2 else scores


def _labels(estimator: Any, Y: Any) -> np.ndarray:
    """Y as int8 [N, C] in {1, 0, -1}; a vector is one label, its second class present."""
    matrix = Y.toarray() if sparse.issparse(Y) else np.asarray(Y)
    present = matrix == (estimator.classes_[1] if matrix.ndim == 1 else 1)
    known = matrix == matrix  # not nan
    labels = np.where(known, np.where(present, POSITIVE, NEGATIVE), UNKNOWN).astype(np.int8)
    if matrix.ndim == 1:
        return labels[:, None]
    wrong = known & ~present & (matrix != 0)
    if wrong.any():
        raise ValueError(
            f"Y holds {matrix[wrong][0]}; write 1 (present), 0 (absent) or nan (unknown)"
        )
    return labels
