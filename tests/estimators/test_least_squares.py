"""Closed forms against refits that leave the rows out in fact."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pumlc.estimators import design, problem
from pumlc.estimators.design import fit_design, identical_rows
from pumlc.estimators.least_squares import choose_penalty, fit_least_squares
from pumlc.labels import keep_proportion


def ridge(phi, targets, weights, penalty):
    """Coefficients of one class, by the normal equations."""
    matrix = (phi * weights[:, None]).T @ phi + penalty * np.eye(phi.shape[1])
    return np.linalg.solve(matrix, phi.T @ (weights * targets))


def refitted(features, labels, penalty, *, weights, groups, standardize=True):
    """Scores and leave-one-out scores [N, C]: one fit for each class and group."""
    design = fit_design(features, weights[:, 0], standardize=standardize)
    phi = design.rows(features, slice(None))
    scores, left_out = np.empty(labels.shape), np.empty(labels.shape)
    for c in range(labels.shape[1]):
        own = weights[:, c] * (labels[:, c] != 0)
        scores[:, c] = phi @ ridge(phi, labels[:, c], own, penalty)
        for group in np.unique(groups):
            member = groups == group
            theta = ridge(phi, labels[:, c], own * ~member, penalty)
            left_out[member, c] = phi[member] @ theta
    return scores, left_out


def small_problem(seed, rows, width, classes, known):
    random = np.random.default_rng(seed)
    normal = random.normal(size=(rows, width))
    features = normal * random.uniform(0.1, 10, width) + 3
    signal = normal @ random.normal(size=(width, classes))
    labels = np.where(signal + random.normal(size=signal.shape) > 0.3, 1, -1)
    labels[random.uniform(size=labels.shape) >= known] = 0
    return features, labels.astype(np.int8), random


SIZES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "rows": st.integers(4, 24),
        "width": st.integers(1, 16),
        "classes": st.integers(1, 3),
        "known": st.sampled_from([0.3, 0.7, 1.0]),
    }
)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.sampled_from([0.01, 1.0, 30.0]))
def test_leave_one_out_is_a_refit_without_the_row(sizes, penalty):
    features, labels, _ = small_problem(**sizes)
    heads = fit_least_squares(features, labels, penalties=[penalty])
    ones, rows = np.ones(labels.shape), np.arange(len(labels))
    scores, left_out = refitted(features, labels, penalty, weights=ones, groups=rows)
    np.testing.assert_allclose(heads.scores(features), scores, atol=1e-8)
    np.testing.assert_allclose(heads.loo_scores, left_out, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.sampled_from([0.05, 2.0]))
def test_groups_and_weights_are_left_out_as_one_block(sizes, penalty):
    features, labels, random = small_problem(**sizes)
    groups = random.integers(0, max(2, len(labels) // 3), len(labels))
    row_weights = random.uniform(0.5, 3, len(labels)) * (random.uniform(size=len(labels)) < 0.8)
    row_weights[0] = 1.0
    class_weights = random.uniform(0.2, 4, (labels.shape[1], 2))
    weights = row_weights[:, None] * np.where(labels == 1, class_weights[:, 1], class_weights[:, 0])
    heads = fit_least_squares(
        features,
        labels,
        penalties=[penalty],
        row_weights=row_weights,
        class_weights=class_weights,
        groups=groups,
    )
    phi = fit_design(features, row_weights, standardize=True).rows(features, slice(None))
    for c in range(labels.shape[1]):
        own = weights[:, c] * (labels[:, c] != 0)
        theta = ridge(phi, labels[:, c], own, penalty)
        np.testing.assert_allclose(heads.scores(features)[:, c], phi @ theta, atol=1e-8)
        for group in np.unique(groups):
            member = groups == group
            theta = ridge(phi, labels[:, c], own * ~member, penalty)
            expected = phi[member] @ theta
            np.testing.assert_allclose(heads.loo_scores[member, c], expected, atol=1e-7)


def test_errors_are_those_of_the_leave_one_out_scores_and_choose_the_penalty():
    features, labels, _ = small_problem(3, 40, 8, 4, 0.6)
    penalties = (0.1, 1.0, 10.0, 100.0)
    heads = fit_least_squares(features, labels, penalties=penalties)
    known = labels != 0
    for place, penalty in enumerate(penalties):
        left_out = fit_least_squares(features, labels, penalties=[penalty]).loo_scores
        squares = np.where(known, (left_out - labels) ** 2, 0).sum(0) / known.sum(0)
        np.testing.assert_allclose(heads.errors[place], squares)
    relative = (heads.errors / heads.errors.min(0)).mean(1)
    best = int(np.argmin(relative))
    low, high = penalties[max(best - 1, 0)], penalties[min(best + 1, 3)]
    assert low < heads.penalty < high


def test_the_penalty_is_the_vertex_of_the_parabola_over_its_logarithm():
    penalties = tuple(10.0 ** np.arange(-3, 4))
    vertex = 0.3
    errors = (1 + (np.log10(penalties) - vertex) ** 2)[:, None] * [1.0, 7.0]
    assert np.log10(choose_penalty(penalties, errors)) == pytest.approx(vertex)
    rising = np.arange(1.0, 8.0)[:, None]
    assert choose_penalty(penalties, rising) == 1e-3  # at an edge there is no parabola
    assert choose_penalty(penalties, np.full((7, 2), np.nan)) == 1.0


def test_blocks_of_rows_do_not_change_the_fit(monkeypatch):
    features, labels, random = small_problem(5, 60, 6, 5, 0.8)
    labels[:, 0] = np.abs(labels[:, 0]) * labels[:, 0]
    groups = np.where(random.uniform(size=60) < 0.5, random.integers(0, 8, 60), np.arange(60) + 10)
    whole = fit_least_squares(features, labels, groups=groups)
    monkeypatch.setattr(problem, "BLOCK_ENTRIES", 7 * 9)  # 9 rows
    monkeypatch.setattr(design, "BLOCK_ENTRIES", 7 * 9)
    monkeypatch.setattr(problem, "_GRAM_ENTRIES", 2 * 7**2)  # two classes in one pass
    monkeypatch.setattr("pumlc.estimators.least_squares._KEPT_ENTRIES", 0)
    for given_groups in (groups, None):
        blocks = fit_least_squares(features, labels, groups=given_groups)
        expected = whole if given_groups is not None else fit_least_squares(features, labels)
        assert blocks.penalty == pytest.approx(expected.penalty, rel=1e-9)
        np.testing.assert_allclose(blocks.loo_scores, expected.loo_scores, atol=1e-9)
        np.testing.assert_allclose(blocks.coefficients, expected.coefficients, atol=1e-9)


def test_ranks_with_a_part_of_the_rows_each_fit_what_one_fits_on_all():
    features, labels, random = small_problem(6, 50, 5, 4, 1.0)
    labels[random.uniform(size=50) < 0.4, 3] = 0
    weights = random.uniform(0.5, 2, 50)
    alone = fit_least_squares(features, labels, row_weights=weights)
    barrier, parts, results = threading.Barrier(2), {}, {}

    def work(rank, rows):
        def total(array):
            parts[rank] = array
            barrier.wait()
            summed = parts[0] + parts[1]
            barrier.wait()
            return summed

        results[rank] = fit_least_squares(
            features[rows], labels[rows], row_weights=weights[rows], reduce=total
        )

    halves = [slice(0, 20), slice(20, 50)]
    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(halves)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rank, rows in enumerate(halves):
        result = results[rank]
        assert result.penalty == pytest.approx(alone.penalty)
        np.testing.assert_allclose(result.coefficients, alone.coefficients, atol=1e-8)
        np.testing.assert_allclose(result.loo_scores, alone.loo_scores[rows], atol=1e-8)


@pytest.mark.parametrize(("rows", "width"), [(12, 30), (40, 9)])
def test_sparse_features_give_what_dense_ones_give(rows, width):
    features, labels, random = small_problem(7, rows, width, 3, 0.7)
    features *= random.uniform(size=features.shape) < 0.3
    weights = random.uniform(0.5, 2, len(labels))
    options = {"row_weights": weights, "standardize": False}
    dense = fit_least_squares(features, labels, **options)
    thin = fit_least_squares(sparse.csr_array(features), labels, **options)
    assert thin.penalty == pytest.approx(dense.penalty)
    np.testing.assert_allclose(thin.loo_scores, dense.loo_scores, atol=1e-8)
    np.testing.assert_allclose(
        thin.scores(sparse.csr_array(features)), dense.scores(features), atol=1e-8
    )
    with pytest.raises(ValueError, match="cannot be centred"):
        fit_least_squares(sparse.csr_array(features), labels)


def test_single_precision_from_a_memory_map(tmp_path):
    features, labels, _ = small_problem(8, 300, 20, 3, 0.9)
    file = tmp_path / "features.npy"
    np.save(file, features.astype(np.float32))
    mapped = np.load(file, mmap_mode="r")
    single, double = fit_least_squares(mapped, labels), fit_least_squares(features, labels)
    assert single.loo_scores.dtype == single.coefficients.dtype == np.float32
    np.testing.assert_allclose(single.loo_scores, double.loo_scores, atol=1e-4)


def test_an_integer_weight_is_that_many_copies():
    features, labels, random = small_problem(9, 30, 6, 3, 0.8)
    counts = random.integers(0, 4, 30)
    weighted = fit_least_squares(features, labels, row_weights=counts)
    copied = fit_least_squares(features.repeat(counts, axis=0), labels.repeat(counts, axis=0))
    assert weighted.penalty == pytest.approx(copied.penalty)
    np.testing.assert_allclose(weighted.coefficients, copied.coefficients, atol=1e-9)
    expected = copied.loo_scores[np.cumsum(counts)[counts > 0] - 1]
    np.testing.assert_allclose(weighted.loo_scores[counts > 0], expected, atol=1e-8)


def test_identical_rows_are_found_dense_and_sparse():
    features = np.array([[0.0, 1.0], [2.0, 3.0], [-0.0, 1.0], [2.0, 3.0], [1.0, 0.0]])
    for given_features in (features, sparse.csr_array(features)):
        assert identical_rows(given_features).tolist() == [0, 1, 0, 1, 4]


def test_classes_that_are_known_in_the_same_rows_share_a_decomposition(monkeypatch):
    features, labels, _ = small_problem(10, 40, 5, 6, 1.0)
    labels[:10, 4:] = 0
    calls = []
    decompose = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda matrix: calls.append(1) or decompose(matrix))
    fit_least_squares(features, labels)
    assert len(calls) == 2


def test_constant_features_and_classes_of_one_sign_are_finite():
    features, labels, _ = small_problem(11, 20, 4, 3, 1.0)
    features[:, 0] = 0.1
    labels[:, 1] = -1
    labels[:, 2] = 0
    heads = fit_least_squares(features, labels)
    assert np.isfinite(heads.coefficients).all()
    assert not heads.coefficients[0].any()
    assert not heads.scores(features)[:, 2].any()
    assert np.isnan(heads.errors[:, 1:]).all()
    assert not np.isnan(heads.errors[:, 0]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalties": []}, "at least one"),
        ({"penalties": [0.0]}, "above 0"),
        ({"row_weights": [1.0]}, r"shape \(1,\), not \[4\]"),
        ({"row_weights": [1.0, -1.0, 1.0, 1.0]}, "not negative"),
        ({"row_weights": [0.0] * 4}, "all row weights are zero"),
        ({"class_weights": [[1.0, 1.0]] * 2}, r"\[1, 2\]"),
        ({"groups": [1, 2]}, "groups have 2 rows, labels 4"),
    ],
)
def test_what_does_not_fit_is_named(options, message):
    features, labels = np.arange(8.0).reshape(4, 2), np.array([[1], [-1], [1], [0]])
    with pytest.raises(ValueError, match=message):
        fit_least_squares(features, labels, **options)
    with pytest.raises(ValueError, match="features have 3 rows, labels 4"):
        fit_least_squares(features[:3], labels)


def test_the_order_of_the_scores_survives_noise_that_does_not_look_at_the_picture():
    """What the square loss promises: flips make the fit an affine map of the clean one."""
    random = np.random.default_rng(0)
    features = random.normal(size=(4000, 6))
    clean = np.where(features @ random.normal(size=6) > 0.5, 1, -1)[:, None]
    flips = random.uniform(size=clean.shape)
    noisy = np.where(flips < np.where(clean == 1, 0.4, 0.1), -clean, clean)
    true = fit_least_squares(features, clean).scores(features)[:, 0]
    fitted = fit_least_squares(features, noisy).scores(features)[:, 0]
    assert np.corrcoef(true, fitted)[0, 1] > 0.99
    assert np.polyfit(true, fitted, 1)[0] == pytest.approx(1 - 0.4 - 0.1, abs=0.05)


def test_hidden_labels_play_no_part():
    features, labels, _ = small_problem(12, 30, 5, 3, 1.0)
    hidden = keep_proportion(labels, 0.5, seed=0)
    changed = np.where(hidden == 0, -labels, labels).astype(np.int8)
    first = fit_least_squares(features, hidden)
    second = fit_least_squares(features, keep_proportion(changed, 0.5, seed=0))
    np.testing.assert_array_equal(first.loo_scores, second.loo_scores)
