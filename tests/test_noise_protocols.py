"""Each noise protocol keeps its law: what moves, where to, how often."""

import warnings

import numpy as np
import pytest

from pumlc.errors import PumlcWarning
from pumlc.labels import flip
from pumlc.labels.noise_protocols import (
    mislabel,
    miss_all_but_one,
    miss_by_visibility,
    pair_flip,
    subtract_and_add,
    symmetric_noise,
)

RATE = 0.3


@pytest.fixture(scope="module")
def single():
    """60,000 rows with one positive each: where it went can be read off."""
    random = np.random.RandomState(0)
    labels = np.full((60_000, 4), -1, np.int8)
    labels[np.arange(len(labels)), random.choice(4, len(labels), p=[0.4, 0.3, 0.2, 0.1])] = 1
    return labels


def transitions(before, after):
    """[C, C] share of the positives of class i that are class j afterwards."""
    assert (after == 1).sum(1).tolist() == (before == 1).sum(1).tolist()
    counts = np.zeros((4, 4))
    np.add.at(counts, (before.argmax(1), after.argmax(1)), 1)
    return counts / counts.sum(1, keepdims=True)


def test_mislabelling_prefers_frequent_classes(single):
    found = transitions(single, mislabel(single, RATE, seed=1))
    counts = (single == 1).sum(0)
    expected = RATE * counts / (counts.sum() - counts)[:, None]
    np.fill_diagonal(expected, 1 - RATE)
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_symmetric_noise_takes_all_classes_alike(single):
    expected = np.full((4, 4), RATE / 3)
    np.fill_diagonal(expected, 1 - RATE)
    found = transitions(single, symmetric_noise(single, RATE, seed=1))
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_pair_flip_has_one_target(single):
    found = transitions(single, pair_flip(single, RATE, seed=1))
    expected = (1 - RATE) * np.eye(4) + RATE * np.roll(np.eye(4), 1, axis=1)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert (found[expected == 0] == 0).all()


@pytest.mark.parametrize("change", [mislabel, symmetric_noise, pair_flip])
def test_class_changes(change, single):
    few = single[:500]
    assert (change(few, 0.0, seed=0) == few).all()
    assert (change(few, 1.0, seed=0)[few == 1] == -1).all()
    assert (change(few, RATE, seed=0) == change(few, RATE, seed=0)).all()
    assert (change(few, RATE, seed=0) != change(few, RATE, seed=1)).any()
    moved, more = ((change(few, rate, seed=0) != few).any(1) for rate in (0.2, 0.6))
    assert (more | ~moved).all()  # a higher rate releases none
    hidden = np.where(np.arange(500)[:, None] % 2, few, 0).astype(np.int8)
    assert (change(hidden, 1.0, seed=0)[::2] == 0).all()


def test_two_labels_that_become_one_class_are_one():
    noisy = pair_flip([[1, 1, -1]], 1.0, seed=0)
    assert noisy.tolist() == [[-1, 1, 1]]  # the first moves onto the second, which moves on


@pytest.mark.parametrize("change", [mislabel, symmetric_noise, pair_flip])
def test_a_label_that_nobody_gave_is_not_invented(change):
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.int8)
    with pytest.warns(PumlcWarning, match="but no -1"):
        assert (change(labels, 1.0, seed=0) == -labels).all()


def test_one_positive_is_left():
    labels = np.where(np.random.RandomState(0).rand(30_000, 3) < [0.9, 0.5, 0.2], 1, -1)
    labels[::7, 1] = 0
    noisy = miss_all_but_one(labels, seed=0)
    positive, left = labels == 1, noisy == 1
    assert (left <= positive).all()
    assert (left.sum(1) == positive.any(1)).all()
    assert ((noisy == -1) == ((labels == -1) | (positive & ~left))).all()
    of_three = left[positive.all(1)].mean(0)  # 2,300 rows: five standard deviations
    np.testing.assert_allclose(of_three, 1 / 3, atol=0.05)


def test_shares_of_positives_are_exact(single):
    labels = single[:1000]
    for subtracted, added in ((0.3, 0.0), (0.0, 0.5), (0.25, 0.25), (1.0, 2.0)):
        noisy = subtract_and_add(labels, subtracted=subtracted, added=added, seed=3)
        assert ((labels == 1) & (noisy == -1)).sum() == round(1000 * subtracted)
        assert ((labels == -1) & (noisy == 1)).sum() == round(1000 * added)


def test_invented_positives_are_spread_over_all_classes(single):
    noisy = subtract_and_add(single, added=1.0, seed=0)
    invented = ((single == -1) & (noisy == 1)).sum(0)
    expected = 60_000 * (single == -1).sum(0) / (single == -1).sum()
    np.testing.assert_allclose(invented, expected, rtol=0.05)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8])
def test_what_is_hard_to_see_is_missing(rate):
    random = np.random.RandomState(0)
    labels = np.where(random.rand(40_000, 2) < [0.5, 0.1], 1, -1).astype(np.int8)
    visibility = random.rand(40_000, 2) * [1, 100]
    noisy = miss_by_visibility(labels, visibility, rate, seed=0)
    assert (noisy[labels == -1] == -1).all()
    for column in range(2):
        rows = np.flatnonzero(labels[:, column] == 1)
        order = rows[visibility[rows, column].argsort()]
        missing = noisy[order, column] == -1
        assert abs(missing.mean() - rate) < 0.02
        lower, upper = np.array_split(missing, 2)
        slope = min(rate, 1 - rate)
        assert abs(lower.mean() - upper.mean() - slope) < 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mislabel([[1, -1]], 1.5, seed=0), "rate is 1.5"),
        (lambda: mislabel([[1, -1]], 0.5, seed=0), "two classes with a positive"),
        (lambda: pair_flip([[1]], 0.5, seed=0), "two classes"),
        (lambda: subtract_and_add([[1, 1]], added=1.0, seed=0), "only 0 are negative"),
        (lambda: subtract_and_add([[1, 1]], subtracted=-1.0, seed=0), "subtracted is -1"),
        (lambda: miss_by_visibility([[1, 1]], [[0.5]], 0.5, seed=0), "visibility has shape"),
        (lambda: miss_by_visibility([[1]], [[np.nan]], 0.5, seed=0), "nan"),
        (lambda: symmetric_noise([[2, 1]], 0.5, seed=0), "2"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_noise_warns_of_labels_without_a_negative():
    listed = np.array([[1, 0, 0], [0, 1, 1]])  # 0 meant as negative, most likely
    noises = [
        lambda: flip(listed, false_negative=0.2, false_positive=0.0, seed=0),
        lambda: flip(listed, false_negative=0.0, false_positive=[0.0, 0.1, 0.0], seed=0),
        lambda: mislabel(listed, 0.2, seed=0),
        lambda: pair_flip(listed, 0.2, seed=0),
        lambda: symmetric_noise(listed, 0.2, seed=0),
        lambda: subtract_and_add(listed, subtracted=0.2, seed=0),
        lambda: miss_all_but_one(listed, seed=0),
        lambda: miss_by_visibility(listed, np.zeros((2, 3)), 0.2, seed=0),
    ]
    for noise in noises:
        with pytest.warns(
            PumlcWarning, match=r"no -1 \(negative\).* np.where\(labels == 1, 1, -1\)"
        ):
            noise()
    with warnings.catch_warnings():
        warnings.simplefilter("error", PumlcWarning)
        flip(listed, false_negative=0.0, false_positive=0.0, seed=0)
        flip(np.where(listed == 1, 1, -1), false_negative=0.5, false_positive=0.5, seed=0)
