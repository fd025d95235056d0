"""Cross-validation with unknown labels: a loop over the folds is the oracle."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit
from sklearn.model_selection import cross_val_predict as of_scikit_learn
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pumlc.estimators import PartialLabelClassifier, cross_val_predict


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 4))
    Y = (X[:, :3] + random.normal(size=(60, 3)) > 0).astype(float)
    Y[random.random(Y.shape) < 0.4] = np.nan
    return X, Y


@pytest.mark.parametrize("method", ["decision_function", "predict_proba", "predict"])
def test_each_row_is_predicted_by_a_fit_without_its_fold(data, method):
    X, Y = data
    pipeline = make_pipeline(StandardScaler(), PartialLabelClassifier())
    folds = KFold(4, shuffle=True, random_state=3)
    found = cross_val_predict(pipeline, X, Y, cv=folds, method=method)
    for fitted, left_out in folds.split(X):
        expected = getattr(pipeline.fit(X[fitted], Y[fitted]), method)(X[left_out])
        np.testing.assert_array_equal(found[left_out], expected)


def test_without_nan_it_is_scikit_learns(data):
    X, Y = data[0], np.nan_to_num(data[1])
    heads = PartialLabelClassifier()
    expected = of_scikit_learn(heads, X, Y, cv=KFold(5), method="predict_proba")
    found = cross_val_predict(heads, X, Y, method="predict_proba")
    np.testing.assert_array_equal(found, expected)


def test_groups_and_sparse_matrices(data):
    X, Y = data
    groups = np.arange(60) % 7
    heads = PartialLabelClassifier(standardize=False)
    dense = cross_val_predict(heads, X, Y, groups=groups)
    given = cross_val_predict(heads, X, Y, groups=groups, cv=GroupKFold(5))
    np.testing.assert_array_equal(given, dense)
    assert not np.allclose(dense, cross_val_predict(heads, X, Y))
    from_sparse = cross_val_predict(heads, sparse.csr_array(X), sparse.csr_array(Y), groups=groups)
    centred = cross_val_predict(heads, X - X.mean(0), Y, groups=groups)
    assert np.corrcoef(from_sparse.ravel(), centred.ravel())[0, 1] > 0.9


def test_folds_that_repeat_or_skip_rows_are_refused(data):
    with pytest.raises(ValueError, match="does not leave each row out once"):
        cross_val_predict(PartialLabelClassifier(), *data, cv=ShuffleSplit(5, random_state=0))
