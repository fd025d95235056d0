"""Classifiers on features or embeddings for partly known labels, in scikit-learn's way.

`PartialLabelClassifier` is the estimator, `fit_least_squares` the closed form that it stands on.
"""

from pumlc.estimators.classifier import PartialLabelClassifier
from pumlc.estimators.least_squares import PENALTIES, LeastSquares, fit_least_squares
from pumlc.estimators.moved import fit_moved_positives
from pumlc.estimators.soft_positives import fit_soft_positives

__all__ = [
    "PENALTIES",
    "LeastSquares",
    "PartialLabelClassifier",
    "fit_least_squares",
    "fit_moved_positives",
    "fit_soft_positives",
]
