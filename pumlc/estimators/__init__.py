"""Classifiers on features or embeddings for partly known labels, in scikit-learn's way.

`PartialLabelClassifier` is the estimator, `fit_least_squares` the closed form that it stands on.
The names are imported when they are first used: the closed form does not load scikit-learn.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
