"""Linear and Gaussian heads against refits without the row, and the choice between them."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit

from pumlc.audit.left_out import left_out_scores
from pumlc.estimators import PartialLabelClassifier, fit_kernel_heads, fit_noisy_labels, gaussian
from pumlc.estimators.calibration import fit_sigmoid
from pumlc.estimators.gaussian import GaussianMap, Mapped
from pumlc.metrics import average_precision


def ring(rows=300, seed=0, noise=0.1):
    """Two classes that no plane divides, and one that a plane does."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 4))
    signal = np.stack([np.hypot(x[:, 0], x[:, 1]) - 1, np.abs(x[:, 2]) - 0.7, x[:, 3]], axis=1)
    return x, np.where(signal + noise * random.normal(size=signal.shape) > 0, 1, -1)


def hidden(labels, share, seed=0):
    kept = np.random.default_rng(seed).uniform(size=labels.shape) >= share
    return np.where(kept, labels, 0).astype(np.int8)


def kernels(features, row_weights):
    """Linear and Gaussian kernel matrix, [N, N], each with its intercept, by their definitions."""
    weights = row_weights / row_weights.sum()
    x = features - weights @ features
    x /= np.sqrt(weights @ x**2)
    linear = x @ x.T / x.shape[1]
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    return linear + 1, np.exp(-((units[:, None] - units) ** 2).sum(-1)) + 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(8, 30), st.booleans(), st.booleans())
def test_leave_one_out_is_a_refit_without_the_row_and_its_group(seed, rows, grouped, weighted):
    random = np.random.default_rng(seed)
    features, labels = ring(rows, seed)
    labels = hidden(labels, 0.3, seed)
    groups = random.integers(0, rows // 2, rows) if grouped else np.arange(rows)
    weights = random.uniform(0.5, 3, rows) if weighted else np.ones(rows)
    penalty = 0.3
    heads = fit_kernel_heads(
        *(features, labels),
        kernel="both",
        penalties=[penalty],
        row_weights=weights,
        groups=groups,
    )
    expected = np.zeros(labels.shape)
    for kernel in kernels(features, weights):
        for row in range(rows):
            for c in range(labels.shape[1]):
                rest = (labels[:, c] != 0) & (groups != groups[row])
                system = kernel[np.ix_(rest, rest)] + np.diag(penalty / weights[rest])
                expected[row, c] += kernel[row, rest] @ np.linalg.solve(system, labels[rest, c]) / 2
    np.testing.assert_allclose(heads.loo_scores, expected, atol=1e-4)


def test_scores_of_new_rows_are_those_of_the_two_fits():
    """The folded form, that of the mapped rows, and that of a refit are one function."""
    features, labels = ring()
    heads = fit_kernel_heads(features[:200], hidden(labels[:200], 0.4), landmarks=60)
    assert heads.gaussian is not None
    assert heads.kernel is not None
    mapped = heads.gaussian.scores(heads.kernel.rows(features[200:]))
    slow = (heads.linear.scores(features[200:]) + mapped) / 2
    np.testing.assert_allclose(heads.scores(features[200:]), slow, atol=1e-6)


def test_rows_that_are_read_in_blocks_give_the_same_heads(tmp_path, monkeypatch):
    features, labels = ring()
    file = tmp_path / "features.npy"
    np.save(file, features.astype(np.float32))
    kept = fit_kernel_heads(np.load(file), labels, kernel="both", landmarks=50)
    monkeypatch.setattr(gaussian, "_STORED_ENTRIES", 0)
    monkeypatch.setattr("pumlc.estimators.problem.BLOCK_ENTRIES", 1000)
    mapped = np.load(file, mmap_mode="r")
    assert isinstance(GaussianMap.build(mapped).of(mapped), Mapped)
    again = fit_kernel_heads(mapped, labels, kernel="both", landmarks=50)
    np.testing.assert_allclose(again.loo_scores, kept.loo_scores, atol=1e-4)
    np.testing.assert_allclose(again.scores(features), kept.scores(features), atol=1e-4)


def test_the_kernel_is_taken_where_left_out_rows_want_it():
    features, labels = ring()
    taken = fit_kernel_heads(features, hidden(labels, 0.3))
    assert taken.gaussian is not None
    linear = np.repeat(labels[:, 2:], 3, axis=1)
    left = fit_kernel_heads(features, hidden(linear, 0.3))
    assert left.gaussian is None
    assert left.gain is not None
    np.testing.assert_array_equal(left.loo_scores, left.linear.loo_scores)
    assert fit_kernel_heads(sparse.csr_array(features), labels, standardize=False).gain is None


@pytest.mark.parametrize("seed", [0, 2])
def test_a_lower_squared_error_alone_is_no_reason(seed):
    """A kernel comes closer to 1 and -1 than a plane does, even where the plane ranks better."""
    random = np.random.RandomState(seed)
    directions, features = random.randn(20, 4), random.randn(1400, 20)
    labels = np.where(features @ directions + 2 * random.randn(1400, 4) > 2, 1, -1)
    heads = fit_kernel_heads(features[:400], labels[:400], kernel="both")
    gain = (labels[:400] - heads.linear.loo_scores) ** 2 - (labels[:400] - heads.loo_scores) ** 2
    each = gain.sum(axis=1)
    assert each.sum() > 2 * np.sqrt(len(each)) * each.std()
    linear, both = (
        average_precision(one.scores(features[400:]), labels[400:]).mean()
        for one in (heads.linear, heads)
    )
    assert both < linear - 0.004
    assert fit_kernel_heads(features[:400], labels[:400]).gaussian is None


def test_the_gain_is_that_of_the_left_out_cross_entropies():
    features, labels = ring(60)
    labels, groups = hidden(labels, 0.3), np.arange(60) // 2
    weights, classes = np.linspace(0.5, 2, 60), np.array([[1.0, 2.0], [0.5, 1.0], [1.0, 1.0]])
    options = {"groups": groups, "row_weights": weights, "class_weights": classes}
    gain = fit_kernel_heads(features, labels, **options).gain
    both = fit_kernel_heads(features, labels, kernel="both", **options)
    total, changes, errors = 0.0, np.zeros(30), np.zeros(2)
    for c, label in enumerate(labels.T):
        known = np.flatnonzero(label)
        weight = weights[known] * classes[c, (label[known] + 1) // 2]
        of_both = []
        for scores in (both.linear.loo_scores[known, c], both.loo_scores[known, c]):
            slope, bias = fit_sigmoid(scores, label[known] == 1, weight)
            probabilities = expit(label[known] * (slope * scores + bias))
            of_both.append(-weight * np.log(probabilities))
        total += weight.sum()
        errors += np.sum(of_both, axis=1)
        for i, row in enumerate(known):
            changes[groups[row]] += of_both[0][i] - of_both[1][i]
    assert gain is not None
    expected = [*(errors / total), np.sqrt(30) * changes.std(ddof=1) / total]
    np.testing.assert_allclose(list(gain), expected, rtol=1e-6)


def test_rows_of_weight_zero_are_no_landmarks():
    features, labels = ring(40)
    weights = np.r_[np.ones(30), np.zeros(10)]
    heads = fit_kernel_heads(features, labels, kernel="both", landmarks=20, row_weights=weights)
    alone = fit_kernel_heads(features[:30], labels[:30], kernel="both", landmarks=20)
    np.testing.assert_allclose(heads.scores(features), alone.scores(features), atol=1e-5)


def test_audit_and_doubt_fit_the_same_heads():
    features, labels = ring(120, noise=0)
    heads = fit_kernel_heads(features, labels, kernel="both")
    np.testing.assert_allclose(left_out_scores(features, labels), heads.loo_scores, atol=1e-5)
    doubting = fit_noisy_labels(features, labels)
    assert doubting.chosen == "given"
    np.testing.assert_allclose(doubting.scores(features), heads.scores(features), atol=1e-6)


def test_the_estimator_is_calibrated_and_survives_pickle():
    features, labels = ring()
    Y = np.where(labels == 1, 1.0, 0.0)
    plain = fit_kernel_heads(features, labels)
    heads = pickle.loads(pickle.dumps(PartialLabelClassifier().fit(features, Y)))
    assert heads.gaussian_ is not None
    for c in range(3):
        for found, scores in (
            (heads.loo_scores_, plain.loo_scores),
            (heads.decision_function(features), plain.scores(features)),
        ):
            slope, bias = np.polyfit(scores[:, c], found[:, c], 1)
            np.testing.assert_allclose(slope * scores[:, c] + bias, found[:, c], atol=1e-6)
    linear = PartialLabelClassifier(kernel="linear").fit(features, Y)
    assert heads.score(features, Y) > linear.score(features, Y) + 0.1
    np.testing.assert_allclose(
        heads.decision_function(sparse.csr_array(features)), heads.decision_function(features)
    )


@pytest.mark.parametrize("kernel", ["gauss", None])
def test_another_kernel_is_refused(kernel):
    features, labels = ring(10)
    with pytest.raises(ValueError, match="valid: auto, linear, both"):
        fit_kernel_heads(features, labels, kernel=kernel)
    with pytest.raises(ValueError, match="valid: auto, linear, both"):
        PartialLabelClassifier(kernel=kernel).fit(features, labels > 0)


def test_a_kernel_of_sparse_features_is_refused():
    features, labels = ring(10)
    with pytest.raises(ValueError, match="the features are sparse"):
        fit_kernel_heads(sparse.csr_array(features), labels, kernel="both", standardize=False)
