"""Targets that are no labels, and given positives that are doubted."""

import numpy as np
import pytest

from pumlc.estimators import fit_least_squares, fit_moved_positives

RANDOM = np.random.RandomState(0)


def problem(rows, width, classes=4):
    features = RANDOM.randn(rows, width)
    labels = RANDOM.choice([1, 0, -1], (rows, classes)).astype(np.int8)
    return features, labels


def naive(features, labels, targets, penalty):
    """Scores of every row by heads that are solved for without it."""
    mean, spread = features.mean(0), features.std(0)
    phi = np.hstack(
        [(features - mean) / spread / np.sqrt(features.shape[1]), np.ones((len(features), 1))]
    )
    scores = np.zeros(labels.shape)
    for c in range(labels.shape[1]):
        for i in range(len(phi)):
            used = (labels[:, c] != 0) & (np.arange(len(phi)) != i)
            gram = phi[used].T @ phi[used] + penalty * np.eye(phi.shape[1])
            scores[i, c] = phi[i] @ np.linalg.solve(gram, phi[used].T @ targets[used, c])
    return scores


@pytest.mark.parametrize(("rows", "width"), [(40, 5), (12, 30)])  # primal and dual
def test_any_targets_are_fitted_and_left_out(rows, width):
    features, labels = problem(rows, width)
    targets = RANDOM.randn(*labels.shape)
    heads = fit_least_squares(features, labels, targets=targets, penalties=[0.7])
    np.testing.assert_allclose(heads.loo_scores, naive(features, labels, targets, 0.7), atol=1e-8)
    known = np.where(labels != 0, targets, 99.0)  # what is fitted where nothing is known is idle
    again = fit_least_squares(features, labels, targets=known, penalties=[0.7])
    np.testing.assert_allclose(again.coefficients, heads.coefficients, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_positives_alone_are_moved(share):
    features, labels = problem(30, 6)
    first = naive(features, labels, labels.astype(float), 0.5)
    targets = labels.astype(float)
    for i, c in np.argwhere(labels == 1):
        targets[i, c] = 1 + share * (min(max(first[i, c], -1), 1) - 1)
    heads = fit_moved_positives(features, labels, share=share, penalties=[0.5])
    np.testing.assert_allclose(heads.loo_scores, naive(features, labels, targets, 0.5), atol=1e-8)


def test_the_penalty_is_that_of_the_labels():
    features, labels = problem(60, 8)
    plain = fit_least_squares(features, labels)
    assert fit_moved_positives(features, labels, share=0.6).penalty == plain.penalty


def test_refusals():
    features, labels = problem(10, 3)
    with pytest.raises(ValueError, match="share is 1.5"):
        fit_moved_positives(features, labels, share=1.5)
    with pytest.raises(ValueError, match="targets have shape"):
        fit_least_squares(features, labels, targets=np.zeros((10, 3)))
    with pytest.raises(ValueError, match="finite"):
        fit_least_squares(features, labels, targets=np.full((10, 4), np.nan))
