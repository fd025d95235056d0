"""The estimator among scikit-learn's own tools."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from pumlc.estimators import PartialLabelClassifier, fit_least_squares, fit_noisy_labels
from pumlc.estimators.states import read_states


@parametrize_with_checks(
    [
        PartialLabelClassifier(),
        PartialLabelClassifier(penalties=1.0),
        PartialLabelClassifier(kernel="both"),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


class NAType:
    """As pandas' NA: comparing it says nothing, and it is no number."""

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    def __float__(self):
        raise TypeError("float() argument must be a number, not 'NAType'")

    __hash__ = object.__hash__


@pytest.mark.parametrize("values", [(1, 0), (True, False)])
def test_missing_entries_of_pandas_are_unknown(values):
    """`Int64` and `boolean` columns become arrays of objects with NA."""
    nan_for = {1: 1.0, 0: 0.0}
    Y = np.array([[values[0], NAType()], [NAType(), values[1]], [values[1], values[0]]], object)
    plain = [
        [nan_for.get(y, np.nan) if not isinstance(y, NAType) else np.nan for y in r] for r in Y
    ]
    found = read_states(Y, unlisted="absent").labels
    np.testing.assert_array_equal(found, read_states(plain, unlisted="absent").labels)
    np.testing.assert_array_equal(read_states(Y[:, 0], unlisted="absent").labels, found[:, :1])


@pytest.mark.parametrize("fit", [fit_noisy_labels, fit_least_squares])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_named(fit, wrong):
    X = np.random.default_rng(0).normal(size=(20, 3))
    X[7, 2] = wrong
    with pytest.raises(ValueError, match=f"features: row 7, column 2 is {wrong}"):
        fit(X, np.where(X[:, :2] > 0, 1, -1))
    X[7, 2] = 1e200  # finite, though its square is not
    assert np.isfinite(fit(X, np.where(X[:, :2] > 0, 1, -1)).scores(X)).all()


def test_noisy_labels_refuse_sparse_features():
    X = sparse.random_array((20, 3), density=0.5, format="csr")
    with pytest.raises(ValueError, match=r"give dense ones: features.toarray\(\)"):
        fit_noisy_labels(X, np.ones((20, 2), int))  # pyright: ignore[reportArgumentType]
