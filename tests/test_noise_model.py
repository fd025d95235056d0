"""Scores of rows left out, and the estimate of how many labels are wrong."""

import numpy as np
import pytest
from scipy.special import expit

from pumlc.audit.left_out import left_out_scores
from pumlc.audit.noise_model import fit_noise_model
from pumlc.estimators import fit_least_squares
from pumlc.labels import flip


def pictures(rows=150, classes=3, seed=0):
    random = np.random.RandomState(seed)
    features = random.randn(rows, 6).astype(np.float32)
    truth = np.where(features[:, :classes] + 0.3 * random.randn(rows, classes) > 0.5, 1, -1)
    return features, truth.astype(np.int8)


def kernel_matrix(features):
    units = (features - features.mean(axis=0)) / features.std(axis=0)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    return np.exp(-((units[:, None] - units[None]) ** 2).sum(-1))


@pytest.mark.parametrize("negative", [True, False])
def test_scores_are_those_of_fits_without_the_row(negative):
    features, labels = pictures(rows=40)
    if not negative:
        features = np.maximum(features, 0)
    scores = left_out_scores(features, labels)
    # the kernel in its exact form: inner products of a factor of it, each row left out by refitting
    near = features.astype(np.float64) if negative else np.cbrt(features.astype(np.float64))
    values, basis = np.linalg.eigh(kernel_matrix(near))
    mapped = basis * np.sqrt(np.maximum(values, 0))
    expected = 0
    for inputs, standardize in ((mapped, False), (features.astype(np.float64), True)):
        fit = fit_least_squares(inputs, labels, standardize=standardize)
        expected = expected + fit.loo_scores / 2
    np.testing.assert_allclose(scores, expected, atol=2e-3)


@pytest.mark.parametrize("known", [1.0, 0.6])
def test_a_score_does_not_depend_on_its_own_label(known, monkeypatch):
    # the choice of the penalty looks at all labels
    monkeypatch.setattr("pumlc.estimators.least_squares.choose_penalty", lambda *_: 0.3)
    features, labels = pictures(rows=60)
    labels[np.random.RandomState(1).rand(*labels.shape) > known] = 0
    fixed = left_out_scores(features, labels)
    changed = labels.copy()
    changed[7] = -labels[7]
    again = left_out_scores(features, changed)
    np.testing.assert_allclose(again[7], fixed[7], atol=1e-4)
    assert np.abs(again - fixed).max() > 0.03


def test_a_score_does_not_depend_on_the_labels_of_its_group(monkeypatch):
    monkeypatch.setattr("pumlc.estimators.least_squares.choose_penalty", lambda *_: 0.3)
    features, labels = pictures(rows=60)
    groups = np.arange(60) // 3
    changed = labels.copy()
    changed[6:9] *= -1
    fixed, again = (left_out_scores(features, each, groups=groups) for each in (labels, changed))
    np.testing.assert_allclose(again[6:9], fixed[6:9], atol=1e-4)
    fixed, again = (left_out_scores(features, each) for each in (labels, changed))
    assert np.abs(again - fixed)[6:9].max() > 0.03


def test_few_landmarks_do_nearly_as_well(monkeypatch):
    features, truth = pictures(rows=400)
    labels = flip(truth, false_negative=0.2, false_positive=0.05, seed=0)
    full = left_out_scores(features, labels)
    monkeypatch.setattr("pumlc.audit.left_out.affordable_landmarks", lambda labels: (130, 1))
    few = left_out_scores(features, labels)
    assert np.corrcoef(full.ravel(), few.ravel())[0, 1] > 0.99


def drawn(rows=4000, missed=0.0, invented=0.0, seed=0):
    """Labels whose log-odds are linear in the score, then noise."""
    random = np.random.RandomState(seed)
    scores = random.randn(rows, 4) - [0.5, 1, 1.5, 2]
    probabilities = expit(3 * scores - 0.5)
    truth = np.where(random.rand(rows, 4) < probabilities, 1, -1).astype(np.int8)
    labels = flip(truth, false_negative=missed, false_positive=invented, seed=seed)
    return scores, probabilities, truth, labels


def test_no_error_is_found_where_there_is_none():
    for seed in range(5):
        scores, probabilities, _, labels = drawn(seed=seed)
        model = fit_noise_model(scores, labels)
        assert (model.missed, model.invented) == (0, 0)
        assert model.wrong.max() == 0
        np.testing.assert_allclose(model.probabilities, probabilities, atol=0.08)


def test_rates_and_shares_are_those_of_the_noise():
    for seed, missed, invented in ((0, 0.2, 0.05), (1, 0.4, 0.0), (2, 0.0, 0.08)):
        scores, _, truth, labels = drawn(missed=missed, invented=invented, seed=seed)
        model = fit_noise_model(scores, labels)
        assert model.missed == pytest.approx(missed, abs=0.03)
        assert model.invented == pytest.approx(invented, abs=0.02)
        for given in (1, -1):
            chosen = labels == given
            wrong = (truth != labels)[chosen]
            expected = model.wrong[chosen]
            assert expected.sum() == pytest.approx(wrong.sum(), rel=0.2, abs=5)
            for low, high in ((0.2, 0.6), (0.6, 1.0)):
                inside = (expected > low) & (expected <= high)
                if inside.sum() > 100:
                    assert wrong[inside].mean() == pytest.approx(expected[inside].mean(), abs=0.12)


def test_an_unknown_label_is_missing_as_far_as_it_is_probable():
    scores, _, _, labels = drawn(missed=0.2)
    labels[::3] = 0
    model = fit_noise_model(scores, labels)
    np.testing.assert_array_equal(model.wrong[::3], model.probabilities[::3])


def test_a_sample_of_the_absent_labels_gives_the_same(monkeypatch):
    scores, _, _, labels = drawn(missed=0.2, invented=0.05)
    full = fit_noise_model(scores, labels)
    monkeypatch.setattr("pumlc.estimators.asymptotes._ABSENT_SAMPLED", 4000)
    part = fit_noise_model(scores, labels)
    assert part.missed == pytest.approx(full.missed, abs=0.03)
    assert part.invented == pytest.approx(full.invented, abs=0.02)


def test_refusals():
    scores, labels = np.zeros((3, 2)), np.array([[1, -1], [1, 0], [-1, -1]])
    with pytest.raises(ValueError, match=r"scores have shape \(2, 2\)"):
        fit_noise_model(scores[1:], labels)
    with pytest.raises(ValueError, match="present and an absent"):
        fit_noise_model(scores, np.ones((3, 2)))
    with pytest.raises(ValueError, match="not finite"):
        fit_noise_model(scores + np.nan, labels)
    with pytest.raises(ValueError, match="3 features, but 2 rows"):
        left_out_scores(scores, labels[1:])
