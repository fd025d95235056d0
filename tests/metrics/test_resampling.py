"""Average precision on resamples against repeated rows, and the interval over seeds and rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from pumlc.metrics import (
    average_precision,
    interval_over_seeds_and_rows,
    mean_average_precision,
    paired_interval,
    resample_counts,
    resampled_average_precision,
    resampled_mean_average_precision,
)


@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 4))
def test_a_row_drawn_twice_counts_twice(seed, num_rows, num_classes):
    random = np.random.RandomState(seed)
    scores = random.randn(num_rows, num_classes).round(1)  # with ties
    targets = random.randint(-1, 2, (num_rows, num_classes))
    targets[0] = -1  # else {0, 1} alone is refused
    counts = resample_counts(num_rows, 6, seed=seed)
    counts[:, 0] += 1
    found = resampled_average_precision(scores, targets, counts)
    for drawn, values in zip(counts, found, strict=True):
        rows = np.repeat(np.arange(num_rows), drawn)
        expected = average_precision(scores[rows], targets[rows])
        np.testing.assert_allclose(values, expected, rtol=1e-12)


@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 4))
def test_the_mean_over_classes_of_dense_and_stored_labels(seed, num_rows, num_classes):
    random = np.random.RandomState(seed)
    scores = random.randn(num_rows, num_classes)
    targets = random.randint(-1, 2, (num_rows, num_classes)).astype(np.int8)
    targets[0] = -1
    counts = resample_counts(num_rows, 5, seed=seed)
    counts[:, 0] += 1
    found = resampled_mean_average_precision(scores, targets, counts)
    for drawn, value in zip(counts, found, strict=True):
        rows = np.repeat(np.arange(num_rows), drawn)
        expected = mean_average_precision(scores[rows], targets[rows], definition="sklearn")
        np.testing.assert_allclose(value, expected, rtol=1e-12)
    stored = csr_array(targets)
    same = csr_array((scores[targets != 0], stored.indices, stored.indptr), shape=stored.shape)
    of_stored = resampled_mean_average_precision(same, stored, counts)
    np.testing.assert_array_equal(of_stored, found)


def test_resamples_are_draws_with_replacement_and_the_same_for_the_same_seed():
    counts = resample_counts(50, 2000)
    assert (counts.sum(axis=1) == 50).all()
    assert abs((counts == 0).mean() - (1 - 1 / 50) ** 50) < 0.01
    np.testing.assert_array_equal(counts[:3], resample_counts(50, 3))
    assert (counts != resample_counts(50, 2000, seed=1)).any()


def test_counts_of_another_split_are_refused():
    with pytest.raises(ValueError, match=r"counts have shape \(2, 4\); expected \[resamples, 3\]"):
        resampled_average_precision(np.ones((3, 1)), [[1], [-1], [1]], resample_counts(4, 2))


def test_without_variance_of_rows_it_is_the_paired_interval():
    gaps = np.array([1.0, 2.0, 4.0])
    found = interval_over_seeds_and_rows(gaps, np.full((3, 9), 7.0))
    np.testing.assert_allclose(found, paired_interval(gaps))


def test_the_interval_covers_the_mean_as_often_as_it_says():
    """Differences with an effect of the seed, one of the row and one of both."""
    random, inside, num_tries = np.random.RandomState(0), 0, 400
    for seed in range(num_tries):
        of_seeds, of_rows = random.randn(3, 1), 4 * random.randn(1, 60)
        table = of_seeds + of_rows + 2 * random.randn(3, 60)
        counts = resample_counts(60, 100, seed=seed)
        low, high = interval_over_seeds_and_rows(table.mean(axis=1), table @ counts.T / 60)
        inside += low <= 0 <= high
    assert 0.93 <= inside / num_tries <= 1.0  # the part of both counts twice: rather too wide


@pytest.mark.parametrize("resampled", [np.empty((2, 0)), np.full((2, 5), np.nan), np.ones((2, 5))])
def test_nothing_varies(resampled):
    assert np.isnan(interval_over_seeds_and_rows(np.array([1.0, 1.0]), resampled)).all()
