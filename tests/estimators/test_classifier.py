"""What the estimator takes, what it gives, and how it stands in scikit-learn's pipelines."""

import pickle
from typing import Any

import numpy as np
import pytest
import sklearn
from scipy import sparse
from scipy.special import expit
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pumlc.estimators import PartialLabelClassifier, fit_least_squares
from pumlc.estimators.calibration import fit_sigmoid
from pumlc.metrics import average_precision, fit_thresholds, make_scorers


@pytest.fixture(scope="module")
def data():
    """Features, complete Y, and Y with 40 % hidden."""
    random = np.random.default_rng(0)
    X = random.normal(size=(160, 12))
    Y = (X @ random.normal(size=(12, 4)) + random.normal(size=(160, 4)) > 1).astype(float)
    hidden = Y.copy()
    hidden[random.uniform(size=Y.shape) < 0.4] = np.nan
    return X, Y, hidden


def test_logits_are_calibrated_scores_of_the_closed_form(data):
    X, _, Y = data
    heads = PartialLabelClassifier(penalties=[3.0]).fit(X, Y)
    labels = np.where(np.isnan(Y), 0, np.where(Y == 1, 1, -1)).astype(np.int8)
    plain = fit_least_squares(X, labels, penalties=[3.0])
    for c in range(4):
        known = labels[:, c] != 0
        scores, positive = plain.loo_scores[known, c], labels[known, c] == 1
        slope, bias = fit_sigmoid(scores, positive, np.ones(known.sum()))
        expected = slope * plain.scores(X)[:, c] + bias
        np.testing.assert_allclose(heads.decision_function(X)[:, c], expected)
        expected = slope * plain.loo_scores[:, c] + bias
        np.testing.assert_allclose(heads.loo_scores_[:, c], expected)
    np.testing.assert_allclose(heads.predict_proba(X), expit(heads.decision_function(X)))
    np.testing.assert_array_equal(heads.predict(X), heads.decision_function(X) > 0)
    thresholds = fit_thresholds(expit(heads.loo_scores_), labels, per_class=True)
    np.testing.assert_array_equal(heads.thresholds_, thresholds)


def test_leave_one_out_scores_rank_as_refits_without_the_row_do(data):
    X, _, Y = data
    heads = PartialLabelClassifier(penalties=[3.0]).fit(X, Y)
    for row in range(0, 160, 40):
        rest = np.arange(160) != row
        alone = PartialLabelClassifier(penalties=[3.0]).fit(X[rest], Y[rest])
        found = alone.decision_function(X[[row]])[0]
        np.testing.assert_allclose(heads.loo_scores_[row], found, atol=0.2)


def test_a_matrix_of_this_packages_labels_is_refused_with_the_line_that_converts_it(data):
    X, _, hidden = data
    Y = np.where(np.isnan(hidden), 0, np.where(hidden == 1, 1, -1))
    with pytest.raises(ValueError, match="Y holds -1") as caught:
        PartialLabelClassifier().fit(X, Y)
    assert "If -1 means unknown" in str(caught.value)
    line = str(caught.value).split("become these by ")[1]
    np.testing.assert_array_equal(eval(line, {"np": np, "Y": Y}), hidden)
    with pytest.raises(ValueError, match=r"np\.where\(y == 1"):
        PartialLabelClassifier().fit(X, Y[:, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda Y: np.where(Y == 1, 3, Y), "Y .* holds 3.0; write 1"),
        (lambda Y: np.where(np.arange(4) == 2, np.nan, Y), "1 of 4 labels .* column 2"),
        (lambda Y: np.where(np.isnan(Y), 2, Y).astype(int), "cross_val_predict turns nan into 2"),
        (lambda Y: Y[:-1], "inconsistent numbers of samples"),
        (lambda Y: Y[:, :, None], "shape"),
        (lambda Y: np.full(len(Y), np.nan), "no known label"),
        (lambda Y: np.ones(len(Y)), "1 class only"),
    ],
)
def test_what_y_may_not_be(data, change, message):
    X, _, Y = data
    with pytest.raises(ValueError, match=message):
        PartialLabelClassifier().fit(X, change(Y))


def test_invalid_settings_are_named(data):
    X, Y, _ = data
    with pytest.raises(ValueError, match="valid: auto, least_squares"):
        PartialLabelClassifier("squares").fit(X, Y)
    with pytest.raises(ValueError, match="valid: 'absent', 'unknown'"):
        PartialLabelClassifier(unlisted="nothing").fit(X, Y)  # pyright: ignore[reportArgumentType]


def test_sparse_labels_say_what_dense_ones_say(data):
    X, Y, hidden = data
    rows, columns = np.nonzero(~np.isnan(hidden))
    stored = sparse.csr_array((hidden[rows, columns], (rows, columns)), shape=hidden.shape)
    assert stored.nnz == (~np.isnan(hidden)).sum()  # zeros are stored: known to be absent
    dense = PartialLabelClassifier().fit(X, hidden)
    thin = PartialLabelClassifier(unlisted="unknown").fit(X, stored)
    np.testing.assert_allclose(thin.loo_scores_, dense.loo_scores_)
    complete = PartialLabelClassifier().fit(X, sparse.csr_array(Y))
    np.testing.assert_allclose(complete.loo_scores_, PartialLabelClassifier().fit(X, Y).loo_scores_)


def test_labels_that_list_the_present_alone_rank(data):
    X, Y, _ = data
    listed = np.where(np.random.default_rng(1).uniform(size=Y.shape) < 0.5, Y, 0)
    heads = PartialLabelClassifier(unlisted="unknown").fit(X, listed)
    labels = np.where(Y == 1, 1, -1)
    chance = (Y == 1).mean()
    assert average_precision(heads.loo_scores_, labels).mean() > chance + 0.3
    # the same fit as with everything unlisted absent: no label is known to be absent
    absent = PartialLabelClassifier().fit(X, listed)
    np.testing.assert_allclose(heads.loo_scores_, absent.loo_scores_)


def test_a_label_vector_keeps_its_values_and_may_have_nan(data):
    X, Y, hidden = data
    names = np.where(Y[:, 0] == 1, "yes", "no")
    heads = PartialLabelClassifier().fit(X, names)
    assert heads.classes_.tolist() == ["no", "yes"]
    assert set(heads.predict(X)) == {"no", "yes"}
    assert heads.decision_function(X).shape == (160,)
    np.testing.assert_allclose(heads.predict_proba(X).sum(1), 1)
    partly = PartialLabelClassifier().fit(X, hidden[:, 0])
    one = PartialLabelClassifier().fit(X, hidden[:, :1])
    np.testing.assert_allclose(partly.decision_function(X), one.decision_function(X)[:, 0])
    known = ~np.isnan(hidden[:, 0])
    right = partly.predict(X)[known] == hidden[known, 0]
    assert partly.score(X, hidden[:, 0]) == pytest.approx(right.mean())


def test_score_is_the_share_of_known_labels_that_are_right(data):
    X, _, Y = data
    heads = PartialLabelClassifier().fit(X, Y)
    known = ~np.isnan(Y)
    assert heads.score(X, Y) == pytest.approx((heads.predict(X) == Y)[known].mean())


def test_it_is_a_classifier_that_is_cloned_and_pickled(data):
    X, _, Y = data
    heads = PartialLabelClassifier("least_squares", penalties=2.0).fit(X, Y)
    assert is_classifier(heads)
    copy: Any = clone(heads)
    assert copy.get_params() == heads.get_params()
    again = pickle.loads(pickle.dumps(heads))
    np.testing.assert_array_equal(again.predict_proba(X), heads.predict_proba(X))


def test_pipelines_searches_and_cross_validation(data):
    X, complete, Y = data
    pipeline = make_pipeline(StandardScaler(), PartialLabelClassifier())
    folds = KFold(4)
    name = "partiallabelclassifier__penalties"
    search = GridSearchCV(
        pipeline,
        {name: [0.1, 1e4]},
        scoring=make_scorers(),
        refit="mAP",  # pyright: ignore[reportArgumentType]
        cv=folds,
    )
    search.fit(X, Y)
    assert search.best_params_ == {name: 0.1}
    assert np.isfinite(search.cv_results_["mean_test_CF1"]).all()
    predicted = cross_val_predict(pipeline, X, Y, cv=folds)
    assert np.asarray(predicted).shape == Y.shape
    values = cross_val_score(pipeline, X, Y, cv=folds, scoring=make_scorers()["mAP"])
    assert (values > 60).all()
    logits: Any = cross_val_predict(pipeline, X, complete, cv=4, method="decision_function")
    assert average_precision(logits, np.where(complete == 1, 1, -1)).mean() > 0.6
    with pytest.raises(ValueError, match="take pumlc.estimators.cross_val_predict"):
        cross_val_predict(pipeline, X, Y, cv=folds, method="predict_proba")


def test_weights_and_groups_are_routed(data):
    X, _, Y = data
    weights, groups = np.linspace(0.5, 2, len(X)), np.arange(len(X)) // 2
    with sklearn.config_context(enable_metadata_routing=True):
        heads = PartialLabelClassifier().set_fit_request(sample_weight=True, groups=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        routed: Any = make_pipeline(scaler, heads)
        routed.fit(X, Y, sample_weight=weights, groups=groups)
    direct = PartialLabelClassifier().fit(
        StandardScaler().fit_transform(X), Y, sample_weight=weights, groups=groups
    )
    np.testing.assert_allclose(routed[-1].loo_scores_, direct.loo_scores_)


def test_copies_of_a_row_are_left_out_together(data):
    X, _, Y = data
    twice = PartialLabelClassifier(penalties=1.0).fit(np.tile(X, (2, 1)), np.tile(Y, (2, 1)))
    heavy = PartialLabelClassifier(penalties=1.0).fit(X, Y, sample_weight=np.full(len(X), 2))
    np.testing.assert_allclose(twice.loo_scores_[:160], heavy.loo_scores_)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_sigmoid_finds_the_probabilities_that_made_the_labels(scale):
    random = np.random.default_rng(0)
    scores = scale * random.normal(size=200_000)
    positive = random.uniform(size=len(scores)) < expit(2 * scores / scale - 1.5)
    slope, bias = fit_sigmoid(scores, positive, np.ones(len(scores)))
    assert slope * scale == pytest.approx(2, rel=0.02)
    assert bias == pytest.approx(-1.5, rel=0.02)


@pytest.mark.parametrize(
    ("scores", "positive"),
    [
        ([3.0, 2, 1, 0], [0, 0, 1, 1]),  # the wrong way round
        ([1.0, 1, 1, 1], [0, 1, 1, 1]),
        ([0.0, 1, 2, 3], [0, 0, 1, 1]),  # separable
        ([0.0, 1, 2, 3], [0, 0, 0, 0]),
    ],
)
def test_the_sigmoid_keeps_the_order_and_stays_finite(scores, positive):
    positive = np.array(positive) == 1
    slope, bias = fit_sigmoid(np.array(scores), positive, np.ones(4))
    probabilities = expit(slope * np.array(scores) + bias)
    assert slope > 0
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert probabilities.mean() == pytest.approx((positive.sum() + 1) / 6, abs=0.25)
