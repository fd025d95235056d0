"""Given positives that count as far as they are likely to be true."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumlc.estimators import fit_least_squares, fit_soft_positives
from pumlc.estimators.calibration import fit_sigmoid
from pumlc.estimators.soft_positives import false_share, soft_targets
from pumlc.labels import flip
from pumlc.metrics import average_precision


def scores_and_labels(seed=0, rows=200):
    random = np.random.RandomState(seed)
    labels = random.choice([1, 0, -1], (rows, 3), p=[0.3, 0.1, 0.6]).astype(np.int8)
    return 0.3 * labels + random.randn(rows, 3), labels


def naive_share(positive, negative):
    shares = []
    for step in range(19):
        quantile = 0.1 + 0.05 * step
        threshold = np.quantile(negative, quantile)
        shares.append(sum(score <= threshold for score in positive) / len(positive) / quantile)
    return min(1.0, *shares)


def test_the_targets_are_the_formula():
    scores, labels = scores_and_labels()
    expected = labels.astype(float)
    for c in range(3):
        positive, negative = (
            [scores[i, c] for i in range(len(labels)) if labels[i, c] == sign] for sign in (1, -1)
        )
        share = naive_share(positive, negative)
        assert 0.05 < share < 0.95
        known = labels[:, c] != 0
        slope, bias = fit_sigmoid(scores[known, c], labels[known, c] == 1, np.ones(known.sum()))
        for i in np.flatnonzero(labels[:, c] == 1):
            p = 1 / (1 + math.exp(-slope * scores[i, c] - bias))
            weight = min(1.0, share * len(positive) / len(negative) * (1 - p) / p)
            expected[i, c] = 1 - 2 * weight
    np.testing.assert_allclose(soft_targets(scores, labels), expected)
    assert (expected[labels == 1] < 1).any()


@given(st.integers(0, 10**6), st.floats(0.2, 5), st.floats(-9, 9))
def test_scale_and_place_of_the_scores_do_not_matter(seed, scale, shift):
    scores, labels = scores_and_labels(seed, rows=60)
    changed = soft_targets(scale * scores + shift, labels)
    np.testing.assert_allclose(changed, soft_targets(scores, labels), atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_the_share_of_a_mixture_is_found(share):
    random = np.random.RandomState(0)
    false = random.rand(40_000) < share
    positive = random.randn(40_000) + np.where(false, 0, 3)
    assert false_share(positive, random.randn(40_000)) == pytest.approx(share, abs=0.02)


def test_positives_that_score_high_stay_as_they_are():
    labels = np.where(np.random.RandomState(0).rand(100, 2) < 0.4, 1, -1).astype(np.int8)
    assert (soft_targets(labels * 2.0, labels) == labels).all()


def test_a_class_with_hardly_a_positive_stays_as_it_is():
    scores, labels = scores_and_labels()
    labels[labels[:, 0] == 1, 0] = -1
    labels[:2, 0] = 1
    targets = soft_targets(scores, labels)
    assert (targets[:, 0] == labels[:, 0]).all()
    assert (targets[:, 1] != labels[:, 1]).any()


def test_false_positives_harm_less():
    random = np.random.RandomState(0)
    directions = random.randn(20, 4)
    features = random.randn(1500, 20)
    logits = features @ directions - 5  # a class has 13 % of the rows
    labels = np.where(logits + 0.5 * random.randn(*logits.shape) > 0, 1, -1).astype(np.int8)
    train, test = slice(500), slice(500, None)
    noisy = flip(labels[train], false_negative=0.0, false_positive=0.1, seed=0)

    def quality(fit, given):
        found = fit(features[train], given).scores(features[test])
        return 100 * average_precision(found, labels[test]).mean()

    assert quality(fit_soft_positives, noisy) > quality(fit_least_squares, noisy) + 0.5
    clean = labels[train]
    assert quality(fit_soft_positives, clean) > quality(fit_least_squares, clean) - 1
