"""Sparse labels: the same as dense ones in all that is asked of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.sparse import csr_array

from pumlc.errors import UserError
from pumlc.estimators.fitted_labels import chosen_negatives_as_unlisted
from pumlc.labels import (
    SparseLabels,
    SparseManifest,
    dense,
    flip,
    keep_proportion,
    read_manifest,
    write_manifest,
)
from pumlc.labels.sparse import has_label, label_row, label_rows, positives_of
from pumlc.labels.sparse_manifest import compare_sparse, sparse_mask_hash
from pumlc.labels.sparse_protocols import (
    flip_known,
    keep_fixed_per_known_class,
    keep_known_proportion,
    keep_single_known_positive,
)


def sparse(labels: np.ndarray, silent: np.ndarray) -> SparseLabels:
    """Stored: all that is not what the row's silence says; zeros too."""
    rows, columns = np.nonzero(labels != silent[:, None])
    ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(labels)))])
    stored = csr_array((labels[rows, columns], columns, ends), shape=labels.shape)
    return SparseLabels.of(stored, silent)


matrices = arrays.arrays(
    np.int8,
    st.tuples(st.integers(1, 7), st.integers(1, 5)),
    elements=st.sampled_from([1, 0, -1]),
)
pairs = matrices.flatmap(
    lambda m: st.tuples(
        st.just(m), arrays.arrays(np.int8, len(m), elements=st.sampled_from([0, -1]))
    )
)


def rarely_absent(labels: np.ndarray) -> np.ndarray:
    """The same labels where the first class is as people leave it who decide on suspects."""
    rest = labels[:, 1:]
    few = np.array([1, 1, 1, -1, 0, 0], np.int8)
    return np.concatenate([few[np.arange(len(labels)) % 6, None], rest], axis=1)


complete = arrays.arrays(np.int8, (6, 4), elements=st.sampled_from([1, -1]))


@given(pairs, st.randoms(use_true_random=False))
def test_every_question_has_the_dense_answer(pair, random):
    labels, silent = pair
    held = sparse(labels, silent)
    np.testing.assert_array_equal(dense(held), labels)
    np.testing.assert_array_equal(held.known().toarray(), labels)
    assert (held.known().data != 0).all()
    assert held.number_known() == (labels != 0).sum()
    np.testing.assert_array_equal(positives_of(held).toarray(), labels == 1)
    for name, value in (("positive", 1), ("negative", -1), ("unknown", 0)):
        np.testing.assert_array_equal(held.counts()[name], (labels == value).sum(axis=0))
        assert has_label(held, value) == (labels == value).any()
    rows = np.array([random.randrange(len(labels)) for _ in range(4)])
    np.testing.assert_array_equal(dense(label_rows(held, rows)), labels[rows])
    np.testing.assert_array_equal(label_row(held, int(rows[0])), labels[rows[0]])
    places, new = [0, int(rows[1])], np.ones((2, labels.shape[1]), np.int8)
    inserted = np.insert(labels, places, new, axis=0)
    np.testing.assert_array_equal(dense(held.insert(places, new)), inserted)


@given(pairs)
def test_what_is_said_by_silence_is_not_stored(pair):
    labels, silent = pair
    assert sparse(labels, silent).stored.nnz == (labels != silent[:, None]).sum()


@given(complete, st.integers(0, 3), st.sampled_from([0, -1]))
def test_masks_and_flips_of_complete_labels_are_the_published_ones(labels, seed, silence):
    held = sparse(labels, np.full(len(labels), silence, np.int8))
    np.testing.assert_array_equal(
        dense(keep_known_proportion(held, 0.4, seed=seed)), keep_proportion(labels, 0.4, seed=seed)
    )
    rates = {"false_negative": np.array([0.5, 0.1, 0.0, 1.0]), "false_positive": 0.3}
    np.testing.assert_array_equal(
        dense(flip_known(held, **rates, seed=seed)), flip(labels, **rates, seed=seed)
    )


@given(pairs, st.integers(0, 3))
def test_one_draw_for_each_known_label(pair, seed):
    labels, silent = pair
    random, expected = np.random.RandomState(seed), np.zeros_like(labels)
    for row, column in np.argwhere(labels):
        if random.random_sample() < 0.5:
            expected[row, column] = labels[row, column]
    kept = keep_known_proportion(sparse(labels, silent), 0.5, seed=seed)
    np.testing.assert_array_equal(dense(kept), expected)


@given(pairs, st.integers(0, 3))
def test_single_positives_and_fixed_numbers_keep_what_they_say(pair, seed):
    labels, silent = pair
    held = sparse(labels, silent)
    single = dense(keep_single_known_positive(held, seed=seed))
    assert ((single == 1).sum(axis=1) == (labels == 1).any(axis=1)).all()
    assert ((single == 0) | (labels == 1)).all()
    fixed = dense(keep_fixed_per_known_class(held, 2, seed=seed))
    assert ((fixed == 0) | (fixed == labels)).all()
    for sign in (1, -1):
        expected = np.minimum((labels == sign).sum(axis=0), 2)
        np.testing.assert_array_equal((fixed == sign).sum(axis=0), expected)


def test_a_single_positive_is_each_of_them_equally_often():
    held = sparse(np.tile(np.array([1, 0, 1, -1, 1], np.int8), (3000, 1)), np.zeros(3000, np.int8))
    counts = dense(keep_single_known_positive(held, seed=0)).sum(axis=0)
    assert counts[[1, 3]].tolist() == [0, 0]
    assert (abs(counts[[0, 2, 4]] - 1000) < 100).all()


@given(pairs)
def test_the_manifest_gives_the_truth_back(tmp_path_factory, pair):
    labels, silent = pair
    file = Path(tmp_path_factory.mktemp("m")) / "m.npz"
    held = sparse(labels, silent)
    seen = keep_known_proportion(held, 0.5, seed=1)
    made = {"protocol": "p", "seed": 1, "parameters": {"known": 0.5}}
    write_manifest(file, compare_sparse(held, seen, **made))
    manifest = read_manifest(file)
    assert isinstance(manifest, SparseManifest)
    assert manifest.changes
    assert (manifest.shape, manifest.mask_hash) == (labels.shape, sparse_mask_hash(seen))
    np.testing.assert_array_equal(dense(manifest.restore(seen)), labels)
    if dense(seen).any():
        with pytest.raises(UserError, match="the data set has changed"):
            manifest.restore(keep_known_proportion(held, 0.0, seed=0))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("indices", lambda a: a + 5),
        ("indices", lambda a: a[::-1]),
        ("indptr", lambda a: a[:-1]),
        ("indptr", lambda a: a - 1),
        ("data", lambda a: a * 3),
        ("data", lambda a: a.astype(np.int64)),
        ("silent", lambda a: a[:-1]),
        ("silent", lambda a: a - np.int8(127)),
        ("changes", lambda a: np.array([True])),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path, name, change):
    labels = np.array([[1, -1, 1], [1, 0, 1]], np.int8)
    held = sparse(labels, np.zeros(2, np.int8))
    file = tmp_path / "m.npz"
    write_manifest(file, compare_sparse(held, held, protocol="p", seed=0, parameters={}))
    with np.load(file) as archive:
        parts = dict(archive)
    np.savez(file, **{**parts, name: change(parts[name])})
    with pytest.raises(UserError, match="no label manifest"):
        read_manifest(file)


@given(pairs)
def test_a_few_chosen_absences_become_unlisted_as_in_a_matrix(pair):
    """Where a row is silent of absent labels too."""
    labels, silent = pair
    for each in (labels, rarely_absent(labels)):
        found = chosen_negatives_as_unlisted(sparse(each, silent))
        np.testing.assert_array_equal(dense(found), chosen_negatives_as_unlisted(each))
        np.testing.assert_array_equal(found.silent, silent)


def test_the_rule_finds_a_class_among_silent_rows():
    labels = rarely_absent(-np.ones((60, 3), np.int8))
    silent = np.where(np.arange(60) % 6 == 3, -1, 0).astype(np.int8)
    found = dense(chosen_negatives_as_unlisted(sparse(labels, silent)))
    assert (found[:, 0] == -1).sum() == 0
    assert (found[:, 1:] == -1).all()
