"""Rates of errors by class, doubted positives, and the choice whether to doubt them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumlc.estimators import fit_least_squares, fit_noisy_labels
from pumlc.estimators.asymptotes import BOTH, BY_CLASS, Errors, fit_curve
from pumlc.estimators.doubt import doubted_targets
from pumlc.estimators.gaussian import GaussianMap
from pumlc.estimators.noisy_labels import _choice, unexplained
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
    targets = doubted_targets(scores, labels)
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
    targets = doubted_targets(scores, labels)
    assert (targets[labels != POSITIVE] == labels[labels != POSITIVE]).all()
    assert (np.abs(targets) <= 1).all()
    np.testing.assert_allclose(doubted_targets(scale * scores + shift, labels), targets, atol=0.01)


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
    scores, labels = mixture(rates, rows=150)
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
        for factor in (0.97, 1.03):
            beside = curve.invented.copy()
            beside[c] *= factor
            assert log_posterior(beside) < best


def test_labels_without_errors_stay_as_they_are():
    scores, labels = mixture([0.0] * 3)
    assert (doubted_targets(scores, labels) == labels).all()


@pytest.mark.parametrize("sign", [POSITIVE, NEGATIVE])
def test_labels_of_one_sign_stay_as_they_are(sign):
    labels = np.full((5, 2), sign, np.int8)
    assert (doubted_targets(np.zeros((5, 2)), labels) == labels).all()


def linear_problem(seed=0):
    random = np.random.RandomState(seed)
    directions = random.randn(20, 4)
    features = random.randn(1500, 20)
    logits = features @ directions - 5  # a class has 13 % of the rows
    labels = np.where(logits + 0.5 * random.randn(*logits.shape) > 0, 1, -1).astype(np.int8)
    return features[:500], labels[:500], features[500:], labels[500:]


def quality(heads, features, labels):
    return 100 * average_precision(heads.scores(features), labels).mean()


def test_false_positives_harm_less():
    train, labels, test, test_labels = linear_problem()
    noisy = flip(labels, false_negative=0.1, false_positive=0.1, seed=0)
    heads = fit_noisy_labels(train, noisy)
    assert heads.chosen != "given"
    plain = fit_least_squares(train, noisy)
    assert quality(heads, test, test_labels) > quality(plain, test, test_labels) + 2


def test_labels_in_which_no_error_is_found_are_fitted_as_they_are():
    train, labels, test, _ = linear_problem()
    heads = fit_noisy_labels(train, labels)
    assert (heads.chosen, heads.unexplained) == ("given", {})
    plain = fit_least_squares(train, labels)
    mapped = GaussianMap.build(train)
    gaussian = fit_least_squares(mapped.rows(train), labels, standardize=False)
    expected = (plain.scores(test) + gaussian.scores(mapped.rows(test))) / 2
    np.testing.assert_allclose(heads.scores(test), expected, atol=1e-6)
    expected = (plain.loo_scores + gaussian.loo_scores) / 2
    np.testing.assert_allclose(heads.loo_scores, expected, atol=1e-6)
    assert heads.penalty == plain.penalty


def test_boundaries_that_are_not_linear_are_found():
    random = np.random.RandomState(0)
    features = random.randn(600, 3)
    labels = np.where(np.abs(features) > 1, 1, -1).astype(np.int8)
    train, test = features[:300], features[300:]
    known = np.where(random.rand(300, 3) < 0.2, 0, labels[:300]).astype(np.int8)
    plain, heads = fit_least_squares(train, known), fit_noisy_labels(train, known)
    assert quality(heads, test, labels[300:]) > quality(plain, test, labels[300:]) + 10


def test_given_labels_are_kept_only_if_they_are_clearly_better():
    given = np.full(100, 0.5)
    noise = np.random.RandomState(0).randn(100)
    noise -= noise.mean()

    def chosen(difference):  # its standard error is about 0.01
        return _choice(
            {"given": given, "doubted": given + difference + 0.1 * noise, "worse": given + 1}
        )

    assert [chosen(d) for d in (-0.1, 0.0, 0.015, 0.03)] == ["doubted"] * 3 + ["given"]


def test_the_criterion_is_measured_on_rows_that_took_no_part(monkeypatch):
    """Each fold is fitted without its rows, and equal rows are in the same fold."""
    train, labels, _, _ = linear_problem()
    train, labels = np.repeat(train[:150], 2, axis=0), np.repeat(labels[:150], 2, axis=0)
    noisy = flip(labels, false_negative=0.0, false_positive=0.15, seed=0)
    fitted = []

    def record(features, *arguments, **options):
        fitted.append(features)
        return fit_least_squares(features, *arguments, **options)

    monkeypatch.setattr("pumlc.estimators.noisy_labels.fit_least_squares", record)
    heads = fit_noisy_labels(train, noisy, folds=3)
    assert heads.unexplained
    parts = [each for each in fitted if len(each) < len(train)]
    assert len({each.tobytes() for each in parts if each.shape[1] == 20}) == 3
    for part in parts:  # products of matrices may round equal rows differently
        np.testing.assert_allclose(part[::2], part[1::2], rtol=0, atol=1e-5)
    assert {len(part) for part in parts} == {200}


def test_the_criterion_does_not_mind_noise_that_ignores_the_row():
    """It prefers the better of two scores, whatever the rates."""
    random = np.random.RandomState(0)
    labels = np.where(random.rand(20_000, 2) < 0.3, 1, -1).astype(np.int8)
    better, worse = (labels + spread * random.randn(*labels.shape) for spread in (1.0, 1.3))
    for rates in ((0.0, 0.0), (0.4, 0.0), (0.0, 0.2), (0.3, 0.2)):
        noisy = flip(labels, false_negative=rates[0], false_positive=rates[1], seed=0)
        assert (unexplained(better, noisy) < unexplained(worse, noisy)).all()


def test_landmarks_give_nearly_the_kernel():
    features = np.random.RandomState(0).randn(300, 6)
    exact, few = (GaussianMap.build(features, count).rows(features) for count in (300, 150))
    units = (features - features.mean(0)) / features.std(0)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    kernel = np.exp(-((units[:, None] - units[None]) ** 2).sum(-1))
    np.testing.assert_allclose(exact @ exact.T, kernel, atol=1e-3)
    assert np.abs(few @ few.T - kernel).mean() < 0.01


def test_labels_of_one_sign_are_fitted():
    heads = fit_noisy_labels(np.random.RandomState(0).randn(6, 2), np.ones((6, 1), np.int8))
    assert heads.chosen == "given"
    assert np.isfinite(heads.loo_scores).all()
