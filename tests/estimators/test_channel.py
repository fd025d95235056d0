"""Rates of errors by class, and given positives that count by their probability to be true."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumlc.estimators import fit_channel_positives, fit_least_squares
from pumlc.estimators.asymptotes import BOTH, BY_CLASS, Errors, fit_curve
from pumlc.estimators.channel import channel_targets
from pumlc.labels import NEGATIVE, POSITIVE, flip
from pumlc.metrics import average_precision


def mixture(invented, *, rows=1500, seed=0, unknown=0.0):
    """Scores that say a class's labels with a logistic noise, and labels with invented ones."""
    random = np.random.RandomState(seed)
    shape = rows, len(invented)
    scores = random.randn(*shape) - 1
    present = random.rand(*shape) < 1 / (1 + np.exp(-5 * scores))
    labels = np.where(present | (random.rand(*shape) < invented), 1, -1).astype(np.int8)
    labels[random.rand(*shape) < unknown] = 0
    return scores, labels


def test_the_targets_are_the_formula():
    scores, labels = mixture([0.15, 0.3, 0.02], unknown=0.2)
    curve = fit_curve(scores, labels, errors=BY_CLASS)
    targets = channel_targets(scores, labels)
    doubted = 0
    for i in range(len(labels)):
        for c, label in enumerate(labels[i]):
            expected = label
            if label == 1:
                p = 1 / (1 + math.exp(-curve.slope[c] * scores[i, c] - curve.bias[c]))
                false, true = curve.invented[c] * (1 - p), (1 - curve.missed) * p
                expected = 1 - 2 * false / (false + true)
                doubted += expected < 0
            assert targets[i, c] == pytest.approx(expected)
    assert doubted > 50


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.floats(0.2, 5), st.floats(-9, 9))
def test_scale_and_place_of_the_scores_do_not_matter(seed, scale, shift):
    scores, labels = mixture([0.2, 0.2], rows=300, seed=seed, unknown=0.1)
    targets = channel_targets(scores, labels)
    assert (targets[labels != POSITIVE] == labels[labels != POSITIVE]).all()
    assert (np.abs(targets) <= 1).all()
    np.testing.assert_allclose(channel_targets(scale * scores + shift, labels), targets, atol=0.01)


def test_rates_that_differ_between_classes_are_found():
    rates = np.array([0.02, 0.3, 0.1, 0.02, 0.3, 0.1])
    scores, labels = mixture(rates, rows=3000)
    curve = fit_curve(scores, labels, errors=BY_CLASS)
    np.testing.assert_allclose(curve.invented, rates, atol=0.03)
    assert np.ptp(fit_curve(scores, labels, errors=BOTH).invented) == 0


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_rates_that_are_equal_stay_equal(rate, seed):
    scores, labels = mixture([rate] * 12, seed=seed)
    curve = fit_curve(scores, labels, errors=BY_CLASS)
    np.testing.assert_allclose(curve.invented, np.full(12, rate), atol=0.01)
    assert np.ptp(curve.invented) == 0


def test_rates_by_class_are_the_best_of_the_posterior():
    """Of a naive loop over the labels, at the optimum and beside it."""
    rates = np.array([0.05, 0.3, 0.15])
    scores, labels = mixture(rates, rows=400)
    curve = fit_curve(scores, labels, errors=[Errors(invented=True, by_class=True)])
    counts = [((labels[:, c] == 1).sum(), (labels[:, c] == -1).sum()) for c in range(3)]
    odds = np.array([math.log(p + 0.5) - math.log(n + 0.5) for p, n in counts])
    odds = (odds - odds.mean()) / odds.std()

    def log_posterior(invented):
        total = 0.0
        for i in range(len(labels)):
            for c in range(3):
                p = 1 / (1 + math.exp(-curve.slope[c] * scores[i, c] - curve.bias[c]))
                called = invented[c] + (1 - invented[c]) * p
                total += math.log(called if labels[i, c] == 1 else 1 - called)
        logits = np.log(invented / (1 - invented))
        # of all v0, v1, u_c that give these log-odds, the most likely a priori
        design = np.column_stack([np.ones(3), odds, np.eye(3)])
        precision = np.diag([1e-9, 1.0, 1.0, 1.0, 1.0])
        inverse = np.linalg.inv(precision)
        least = logits @ np.linalg.solve(design @ inverse @ design.T, logits)
        return total - least / 2

    best = log_posterior(curve.invented)
    for c in range(3):
        for factor in (0.9, 1.1):
            beside = curve.invented.copy()
            beside[c] *= factor
            assert log_posterior(beside) < best


def test_labels_without_errors_stay_as_they_are():
    scores, labels = mixture([0.0] * 3)
    assert (channel_targets(scores, labels) == labels).all()


@pytest.mark.parametrize("sign", [POSITIVE, NEGATIVE])
def test_labels_of_one_sign_stay_as_they_are(sign):
    labels = np.full((5, 2), sign, np.int8)
    assert (channel_targets(np.zeros((5, 2)), labels) == labels).all()


def test_false_positives_harm_less():
    random = np.random.RandomState(0)
    directions = random.randn(20, 4)
    features = random.randn(1500, 20)
    logits = features @ directions - 5  # a class has 13 % of the rows
    labels = np.where(logits + 0.5 * random.randn(*logits.shape) > 0, 1, -1).astype(np.int8)
    train, test = slice(500), slice(500, None)
    noisy = flip(labels[train], false_negative=0.1, false_positive=0.1, seed=0)

    def quality(fit, given):
        found = fit(features[train], given).scores(features[test])
        return 100 * average_precision(found, labels[test]).mean()

    assert quality(fit_channel_positives, noisy) > quality(fit_least_squares, noisy) + 1
    clean = labels[train]
    assert quality(fit_channel_positives, clean) > quality(fit_least_squares, clean) - 0.1
