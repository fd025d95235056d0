"""A scikit-learn classifier for partly known labels."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from pumlc.estimators.calibration import calibrate, fit_left_out_thresholds
from pumlc.estimators.fitted_labels import fitted_labels
from pumlc.estimators.kernel_heads import KERNELS, Kernel, fit_kernel_heads
from pumlc.estimators.least_squares import PENALTIES
from pumlc.estimators.states import States, Unlisted, check_columns, read_states
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN

LOSSES = ("auto", "least_squares")


class PartialLabelClassifier(ClassifierMixin, BaseEstimator):
    """Heads on features or embeddings, for labels of which some are unknown.

    Each label is fitted on the rows where it is known; no row is held out. The penalty, the kernel
    and the probabilities come from exact leave-one-out scores
    (`pumlc.estimators.fit_kernel_heads`). A label that is never known to be absent is fitted
    against all rows where it is unknown: its scores rank, and its probabilities are those of being
    listed as present.

    Args:
        loss: "least_squares", ridge regression in closed form; "auto" takes what fits the states
            in Y, which today is always least squares.
        penalties: candidates for the ridge penalty, for features of mean squared length 1; None:
            13 from 0.01 to 10,000. A number is taken as it is.
        unlisted: what a 0 of a dense Y, or an entry that a sparse Y does not store, means: "absent"
            or "unknown" (for labels that list what is present and nothing else).
        standardize: bring each feature to mean 0 and variance 1 first. None: dense features are,
            sparse ones are not (they cannot be).
        kernel: "linear"; "both", the mean of linear heads and heads with a Gaussian kernel; "auto",
            both if that clearly lowers the leave-one-out cross entropy. Sparse X gets linear
            heads.

    Attributes:
        coef_: [C, D].
        intercept_: [C]. Both give the logits of the linear heads.
        gaussian_: the heads with a Gaussian kernel; None: the linear heads stand alone.
        classes_: the column numbers; for a label vector its two values.
        loo_scores_: [N, C], leave-one-out logits of the training rows: the `decision_function` of
            heads that have seen neither the row nor rows that are equal to it. [N, 1] for a label
            vector.
        thresholds_: [C], probabilities above which predictions have the highest F1, by the
            leave-one-out scores; 0.5 for a label without known present or absent rows.
        penalty_: the penalty that leave-one-out chose.
        loss_: the loss that was taken.
        n_features_in_: D.
        feature_names_in_: names of the features, where X has them.

    Example:
        >>> X = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]]
        >>> Y = [[0, 1], [0, 1], [0, np.nan], [1, 0], [1, 0], [np.nan, 0]]
        >>> heads = PartialLabelClassifier().fit(X, Y)
        >>> heads.predict([[0.5], [4.5]])
        array([[0, 1],
               [1, 0]])
    """

    def __init__(
        self,
        loss: str = "auto",
        *,
        penalties: Sequence[float] | float | None = None,
        unlisted: Unlisted = "absent",
        standardize: bool | None = None,
        kernel: Kernel = "auto",
    ) -> None:
        self.loss = loss
        self.penalties = penalties
        self.unlisted: Unlisted = unlisted
        self.standardize = standardize
        self.kernel: Kernel = kernel

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.kernel != "both"
        tags.target_tags.multi_output = True
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        return tags

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> "PartialLabelClassifier":
        """Fit the heads.

        Args:
            X: features [N, D], dense or sparse.
            y: [N, C] of 1 (present), 0 (absent) and nan (unknown), dense or sparse; or [N], one
                label of any two values.
            sample_weight: [N], not negative.
            groups: [N], equal for rows that are left out together (one patient, one scene); by
                default rows with equal features.

        Raises:
            ValueError: other values in y, a label without a known entry, sizes that do not fit.
        """
        penalties = self._check_parameters()
        X = validate_data(self, X, accept_sparse=self._accepts(), dtype=[np.float64, np.float32])
        states = read_states(y, unlisted=self.unlisted)
        check_consistent_length(X, states.labels, sample_weight)
        check_columns(states.labels)
        weights = np.ones(len(states.labels))
        if sample_weight is not None:
            weights = np.asarray(sample_weight, np.float64)
        labels = fitted_labels(states.labels)
        standardize = not sparse.issparse(X) if self.standardize is None else self.standardize
        heads = fit_kernel_heads(
            X,
            labels,
            kernel=self.kernel,
            penalties=penalties,
            row_weights=weights,
            groups=groups,
            standardize=standardize,
        )
        if states.values is not None:
            _check_both(states, weights)
        slope, bias = calibrate(heads.loo_scores, labels, weights)
        self.coef_ = (heads.linear.coefficients * slope).T
        self.intercept_ = heads.linear.intercept * slope + bias
        gaussian = heads.gaussian_part()
        self.gaussian_ = None if gaussian is None else gaussian.calibrated(slope, bias)
        self.loo_scores_ = heads.loo_scores * slope + bias
        self.penalty_, self.loss_ = heads.penalty, "least_squares"
        self.thresholds_ = fit_left_out_thresholds(expit(self.loo_scores_), states.labels)
        self._one_label = states.values is not None
        self.classes_ = np.arange(labels.shape[1]) if states.values is None else states.values
        return self

    def _accepts(self) -> str | bool:
        return False if self.kernel == "both" else "csr"

    def _check_parameters(self) -> Sequence[float]:
        if self.loss not in LOSSES:
            raise ValueError(f"loss is {self.loss!r}; valid: {', '.join(LOSSES)}")
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel is {self.kernel!r}; valid: {', '.join(KERNELS)}")
        if self.unlisted not in ("absent", "unknown"):
            raise ValueError(f"unlisted is {self.unlisted!r}; valid: 'absent', 'unknown'")
        if self.penalties is None:
            return PENALTIES
        return [self.penalties] if isinstance(self.penalties, Real) else self.penalties  # type: ignore[list-item]

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits [M, C]; [M] for a label vector. A label is predicted above 0."""
        check_is_fitted(self)
        X = validate_data(
            self, X, accept_sparse=self._accepts(), dtype=[np.float64, np.float32], reset=False
        )
        logits = np.asarray(X @ self.coef_.T + self.intercept_)
        if self.gaussian_ is not None:
            rows = X.toarray() if sparse.issparse(X) else X
            logits = (logits + self.gaussian_.scores(rows)) / 2
        return logits[:, 0] if self._one_label else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities that labels are present, [M, C]; of both values, [M, 2], for a vector."""
        logits = self.decision_function(X)
        if self._one_label:
            return np.stack([expit(-logits), expit(logits)], axis=1)
        return expit(logits)

    def predict(self, X: Any) -> np.ndarray:
        """The labels, int64 [M, C] in {0, 1}; for a vector the values, [M]."""
        decided = (self.decision_function(X) > 0).astype(np.int64)
        return self.classes_[decided] if self._one_label else decided

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """The share of the known labels that are predicted right.

        `pumlc.metrics.make_scorers` has mean average precision and F1.
        """
        predicted = self.predict(X)
        weights = np.ones(len(predicted)) if sample_weight is None else np.asarray(sample_weight)
        if self._one_label:
            y = np.asarray(y)
            known, right = (y == y)[:, None], (predicted == y)[:, None]
        else:
            labels = read_states(y, unlisted=self.unlisted).labels
            known, right = labels != UNKNOWN, (predicted == 1) == (labels == POSITIVE)
        return float((weights @ (right & known)).sum() / (weights @ known).sum())


def _check_both(states: States, weights: np.ndarray) -> None:
    label, values = states.labels[:, 0], states.values
    assert values is not None
    for sign, value in zip((NEGATIVE, POSITIVE), values, strict=True):
        if not weights[label == sign].any():
            raise ValueError(f"the rows of class {value!r} all have weight 0; two classes needed")
