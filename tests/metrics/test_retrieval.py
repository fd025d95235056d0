"""Retrieval metrics against napkinxc and naive loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napkinxc import metrics as napkinxc
from scipy import sparse

from pumlc.metrics import (
    PROPENSITY_PRESETS,
    drop_excluded,
    inverse_propensities,
    ndcg_at_k,
    ndcg_of_rows,
    precision_at_k,
    propensity_precision_at_k,
    recall_at_k,
)

METRICS = {
    "precision": precision_at_k,
    "recall": recall_at_k,
    "ndcg": ndcg_at_k,
    "propensity": lambda ids, positives, k: propensity_precision_at_k(
        ids, positives, k, np.linspace(1, 3, positives.shape[1])
    ),
}
metrics = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())


def random_positives(num_rows, num_labels, density, seed):
    random = np.random.default_rng(seed)
    dense = random.random((num_rows, num_labels)) < density * np.linspace(0.1, 2, num_labels)
    return sparse.csr_matrix(dense.astype(np.float64))


def random_top_ids(positives, k, seed):
    """Distinct labels per row, positives more often than by chance."""
    random = np.random.default_rng(seed)
    scores = random.random(positives.shape) + 0.3 * positives.toarray()
    return np.argsort(-scores, axis=1)[:, :k]


@pytest.mark.parametrize("density", [0.02, 0.3])
@pytest.mark.parametrize("preset", PROPENSITY_PRESETS)
def test_equal_to_napkinxc(density, preset):
    positives = random_positives(150, 60, density, seed=1)
    train = random_positives(400, 60, 0.1, seed=2)
    assert (np.diff(positives.indptr) == 0).any() == (density == 0.02)  # rows without positives
    a, b = PROPENSITY_PRESETS[preset]["a"], PROPENSITY_PRESETS[preset]["b"]
    weights = inverse_propensities(train, a=a, b=b)
    np.testing.assert_allclose(
        weights, napkinxc.Jain_et_al_inverse_propensity(train, A=a, B=b), rtol=1e-12
    )
    ids = random_top_ids(positives, 10, seed=3)
    ranked = ids.tolist()
    expected = {
        precision_at_k: np.asarray(napkinxc.precision_at_k(positives, ranked, k=10)),
        recall_at_k: np.asarray(napkinxc.recall_at_k(positives, ranked, k=10)),
        ndcg_at_k: np.asarray(napkinxc.ndcg_at_k(positives, ranked, k=10)),
    }
    propensity = np.asarray(napkinxc.psprecision_at_k(positives, ranked, weights, k=10))
    assert 0.01 < propensity[4] < 0.99
    for k in (1, 3, 5, 10):
        for metric, values in expected.items():
            assert metric(ids, positives, k) == pytest.approx(100 * values[k - 1], abs=1e-9)
        value = propensity_precision_at_k(ids, positives, k, weights)
        assert value == pytest.approx(100 * propensity[k - 1], abs=1e-9)


def naive(ids, dense, k, weights):
    """All four from their words, one row after another."""
    precision, recall, ndcg, gained, best = [], [], [], 0.0, 0.0
    for row, truth in zip(ids, dense, strict=True):
        relevant = [label >= 0 and bool(truth[label]) for label in row[:k]]
        positives = np.flatnonzero(truth)
        precision.append(sum(relevant) / k)
        recall.append(sum(relevant) / len(positives) if len(positives) else 0.0)
        gain = sum(1 / math.log2(rank + 2) for rank, hit in enumerate(relevant) if hit)
        ideal = sum(1 / math.log2(rank + 2) for rank in range(min(k, len(positives))))
        ndcg.append(gain / ideal if ideal else 0.0)
        gained += sum(weights[label] for label, hit in zip(row, relevant, strict=False) if hit)
        best += sum(sorted(weights[positives], reverse=True)[:k])
    return 100 * np.array([np.mean(precision), np.mean(recall), np.mean(ndcg), gained / best])


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 6))
def test_padding_is_a_miss_at_its_rank(seed, k):
    random = np.random.default_rng(seed)
    positives = random_positives(7, 9, 0.4, seed)
    ids = random_top_ids(positives, 6, seed)
    ids[random.random(ids.shape) < 0.3] = -1
    weights = random.uniform(1, 5, 9)
    expected = naive(ids, positives.toarray(), k, weights)
    values = [
        precision_at_k(ids, positives, k),
        recall_at_k(ids, positives, k),
        ndcg_at_k(ids, positives, k),
        propensity_precision_at_k(ids, positives, k, weights),
    ]
    np.testing.assert_allclose(values, expected, atol=1e-9)
    alone = [ndcg_at_k(ids[[row]], positives[[row]], k) for row in range(7)]
    np.testing.assert_allclose(100 * ndcg_of_rows(ids, positives, k), alone)


@metrics
def test_padding_never_meets_the_last_label_of_the_row_above(metric):
    positives = sparse.csr_array([[0, 0, 1], [1, 0, 0]])
    assert metric([[0], [-1]], positives, 1) == 0.0


@metrics
def test_perfect_and_useless(metric):
    positives = random_positives(40, 30, 0.3, seed=5)
    dense = positives.toarray()
    weights = np.linspace(1, 3, 30)
    k = int(dense.sum(axis=1).min())
    assert k >= 1
    perfect = np.argsort(-dense * weights, axis=1, kind="stable")
    # k labels are too few for the recall of a row with more positives
    depth = 30 if metric is recall_at_k else k
    assert metric(perfect, positives, depth) == pytest.approx(100.0)
    assert metric(perfect[:, ::-1], positives, 1) == 0.0


@metrics
def test_form_of_the_matrix_does_not_matter(metric):
    positives = random_positives(20, 12, 0.3, seed=6)
    ids = random_top_ids(positives, 5, seed=6)
    expected = metric(ids, positives, 3)
    entries, absent = positives.tocoo(), np.argwhere(positives.toarray() == 0)[0]
    untidy = sparse.coo_matrix(  # every entry twice, and a stored zero
        (
            np.concatenate([entries.data, entries.data, [0.0]]),
            (
                np.concatenate([entries.row, entries.row, absent[:1]]),
                np.concatenate([entries.col, entries.col, absent[1:]]),
            ),
        ),
        positives.shape,
    )
    for form in (positives.tocsc(), positives.astype(bool), sparse.csr_array(positives), untidy):
        before = form.toarray()
        assert metric(ids, form, 3) == expected
        np.testing.assert_array_equal(form.toarray(), before)
    assert metric(ids.astype(np.int32), positives, 3) == expected


def test_no_positive_at_all():
    empty = sparse.csr_array((2, 3))
    ids = [[0, 1], [1, 2]]
    assert precision_at_k(ids, empty, 2) == recall_at_k(ids, empty, 2) == 0.0
    assert ndcg_at_k(ids, empty, 2) == 0.0
    assert np.isnan(propensity_precision_at_k(ids, empty, 2, np.ones(3)))


def test_keys_do_not_overflow_at_a_million_squared():
    shape = (3_000_000, 3_000_000)
    positives = sparse.csr_array(([1.0], ([2_999_999], [2_999_998])), shape)
    ids = np.full((3_000_000, 1), -1, np.int32)
    ids[-1] = 2_999_998
    assert recall_at_k(ids, positives, 1) == pytest.approx(100 / 3e6)


def test_excluded_pairs_are_neither_predicted_nor_true():
    positives = random_positives(30, 20, 0.3, seed=8)
    ids = random_top_ids(positives, 12, seed=8)
    excluded = random_positives(30, 20, 0.2, seed=9)
    left_ids, left = drop_excluded(ids, positives, excluded)
    dense, out = positives.toarray() > 0, excluded.toarray() > 0
    np.testing.assert_array_equal(left.toarray(), dense & ~out)
    for row, before, after in zip(range(30), ids, left_ids, strict=True):
        expected = [label for label in before if not out[row, label]]
        assert after.tolist() == expected + [-1] * (12 - len(expected))
    nothing = sparse.csr_array(positives.shape)
    np.testing.assert_array_equal(drop_excluded(ids, positives, nothing)[0], ids)
    with pytest.raises(ValueError, match=r"positives have shape \(30, 20\), excluded \(30, 21\)"):
        drop_excluded(ids, positives, sparse.csr_array((30, 21)))
    with pytest.raises(ValueError, match=r"expected integers \[30, k\]"):
        drop_excluded(ids[:, 0], positives, excluded)


@metrics
@pytest.mark.parametrize(
    ("ids", "k", "message"),
    [
        ([[0, 3], [1, 2]], 2, r"row 0, rank 1 is 3, not a label in \[0, 3\)"),
        ([[0, 1], [-2, 2]], 2, "row 1, rank 0 is -2"),
        ([[0, 1], [2, 2]], 2, "row 1 names label 2 twice"),
        ([[0, 1], [2, 1]], 3, "k is 3, not between 1 and the 2 columns"),
        ([[0, 1], [2, 1]], 0, "k is 0"),
        ([[0, 1]], 1, r"expected integers \[2, k\]"),
        ([[0.0, 1.0], [2.0, 1.0]], 1, "float64"),
    ],
)
def test_errors_name_the_place(metric, ids, k, message):
    positives = sparse.csr_array([[0, 1, 1], [1, 0, 0]])
    with pytest.raises(ValueError, match=message):
        metric(ids, positives, k)


def test_errors_of_the_matrix():
    with pytest.raises(ValueError, match="positives are a list, not a scipy sparse matrix"):
        precision_at_k([[0]], [[1]], 1)
    with pytest.raises(ValueError, match="negative entries"):
        precision_at_k([[0]], sparse.csr_array([[1, -1]]), 1)
    with pytest.raises(ValueError, match="top_ids has no rows"):
        precision_at_k(np.zeros((0, 1), int), sparse.csr_array((0, 4)), 1)
    with pytest.raises(ValueError, match=r"inverse_propensities have shape \(3,\), not \[2\]"):
        propensity_precision_at_k([[0]], sparse.csr_array([[1, 0]]), 1, np.ones(3))


def test_duplicates_beyond_k_do_no_harm():
    assert precision_at_k([[1, 0, 0]], sparse.csr_array([[0, 1]]), 1) == 100.0


def test_a_pair_listed_256_times_in_a_byte_is_one_positive():
    entries = (np.array([128, 128], np.uint8), (np.zeros(2, int), np.ones(2, int)))
    assert precision_at_k([[1]], sparse.coo_array(entries, shape=(1, 2)), 1) == 100
