"""The promise of a threshold is kept, over draws of the known positives."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binom

from pumlc.metrics import (
    labels_needed,
    positives_needed,
    precision_thresholds,
    recall_thresholds,
)


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


def test_precision_is_kept_as_often_as_promised():
    """Labels drawn anew 400 times from a population whose precision above each score is known."""
    random = np.random.RandomState(0)
    edges = np.linspace(0, 1, 2001)
    kept, served = 0, 0
    for _ in range(400):
        scores = random.rand(400)
        present = random.rand(400) < scores  # precision above t is the mean of s over (t, 1)
        found = precision_thresholds(
            scores[:, None], np.where(present, 1, -1)[:, None], precision=0.8, confidence=0.9
        )[0]
        if np.isfinite(found):
            served += 1
            kept += edges[edges >= found].mean() >= 0.8 - 1e-3
    assert served > 200
    assert kept >= 0.9 * served


@given(
    hnp.arrays(np.float64, 120, elements=st.floats(0, 1)),
    hnp.arrays(np.int8, 120, elements=st.sampled_from([1, 1, 1, 0, -1])),
)
def test_a_precise_threshold_passes_the_test_that_it_names(scores, targets):
    found = precision_thresholds(scores[:, None], targets[:, None], precision=0.5, confidence=0.9)
    if np.isfinite(found[0]):
        above = (scores >= found[0]) & (targets != 0)
        hits, number = int((targets[above] == 1).sum()), int(above.sum())
        # the level may have been passed on, but is never more than 10 %
        assert binom.sf(hits - 1, number, 0.5) <= 0.1 + 1e-9


def test_precision_needs_known_labels_of_both_kinds():
    scores = np.arange(100.0)[:, None].repeat(3, 1)
    targets = np.ones((100, 3), np.int8)
    targets[:20, 1] = -1
    targets[:, 2] = np.where(np.arange(100) % 2, 1, -1)
    found = precision_thresholds(scores, targets, precision=0.9, confidence=0.95)
    assert np.isnan(found).tolist() == [True, False, True]
    needed = labels_needed(100, precision=0.9, confidence=0.95)
    # two tests share 5 %: 0.9^36 < 2.5 %, and the next one has 72 labels, none of them absent
    assert needed == 36
    assert 27 < found[1] < 28
    for name in ("precision", "confidence"):
        with pytest.raises(ValueError, match="not between 0 and 1"):
            precision_thresholds(
                scores, targets, **{"precision": 0.9, "confidence": 0.95, name: 1.0}
            )


def test_all_thresholds_together_err_no_more_often_than_promised():
    """Where every threshold has just less than the precision, to name one is an error."""
    random = np.random.RandomState(0)
    scores = random.rand(600, 500)
    targets = np.where(random.rand(600, 500) < 0.799, 1, -1)
    found = precision_thresholds(scores, targets, precision=0.8, confidence=0.9)
    assert np.isfinite(found).mean() <= 0.12
