"""The promise of a threshold is kept, over draws of the known positives."""

from math import comb

import numpy as np
import pytest

from pumlc.metrics import positives_needed, recall_thresholds


@pytest.mark.parametrize(("recall", "confidence"), [(0.9, 0.95), (0.5, 0.9), (0.8, 0.99)])
@pytest.mark.parametrize("number", [40, 100, 333])
def test_the_place_of_the_threshold_is_that_of_a_loop(recall, confidence, number):
    def at_least(k):
        return sum(
            comb(number, i) * (1 - recall) ** i * recall ** (number - i)
            for i in range(k, number + 1)
        )

    k = max((k for k in range(1, number + 1) if at_least(k) >= confidence), default=0)
    scores = np.random.RandomState(0).permutation(number).astype(float)[:, None]
    found = recall_thresholds(scores, np.ones((number, 1)), recall=recall, confidence=confidence)
    assert found[0] == k - 1 if k else np.isnan(found[0])
    assert bool(k) == (number >= positives_needed(recall=recall, confidence=confidence))


@pytest.mark.parametrize("number", [29, 60, 200])
def test_the_promise_is_kept_over_draws(number):
    random = np.random.RandomState(number)
    scores = random.rand(number, 2000)  # of positives: a threshold t finds the share 1 - t
    thresholds = recall_thresholds(scores, np.ones(scores.shape), recall=0.9, confidence=0.95)
    kept = (1 - thresholds >= 0.9).mean()
    assert kept >= 0.95 - 0.015  # three standard deviations of 2,000 draws
    assert kept <= 0.999  # and no more is given away than one place of the order


def test_only_known_positives_count():
    random = np.random.RandomState(0)
    scores, targets = random.rand(200, 3), random.choice([-1, 0, 1], (200, 3))
    targets[:, 2] = np.where(np.arange(200) < 28, 1, -1)
    promise = {"recall": 0.9, "confidence": 0.95}
    found = recall_thresholds(scores, targets, **promise)
    for column in (0, 1):
        own = scores[targets[:, column] == 1, column][:, None]
        assert found[column] == recall_thresholds(own, np.ones(own.shape), **promise)[0]
    assert np.isnan(found[2])  # 28 are one too few


def test_refusals():
    with pytest.raises(ValueError, match="recall is 1"):
        positives_needed(recall=1, confidence=0.9)
    with pytest.raises(ValueError, match="confidence is 0"):
        recall_thresholds([[0.5]], [[1]], recall=0.9, confidence=0)
    with pytest.raises(ValueError, match="scores have shape"):
        recall_thresholds([[0.5]], [[1, 1]], recall=0.9, confidence=0.9)
