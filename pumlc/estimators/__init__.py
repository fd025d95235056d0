"""Classifiers on features or embeddings for partly known labels, in scikit-learn's way.

`PartialLabelClassifier` is the estimator, `fit_least_squares` the closed form that it stands on.
The names are imported when they are first used: the closed form does not load scikit-learn.
"""

_LAZY = {
    "PENALTIES": "pumlc.estimators.least_squares",
    "LeastSquares": "pumlc.estimators.least_squares",
    "PartialLabelClassifier": "pumlc.estimators.classifier",
    "fit_least_squares": "pumlc.estimators.least_squares",
    "fit_moved_positives": "pumlc.estimators.moved",
    "fit_soft_positives": "pumlc.estimators.soft_positives",
}

__all__ = [*_LAZY]  # pyright: ignore


def __getattr__(name: str):
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pumlc.estimators' has no attribute {name!r}")
