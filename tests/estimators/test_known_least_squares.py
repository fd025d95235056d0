"""Heads on known labels alone: those of the dense fit."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from pumlc.estimators import fit_least_squares
from pumlc.estimators.fitted_labels import fitted_labels
from pumlc.estimators.known_least_squares import fit_known_least_squares
from pumlc.labels import SparseLabels, known_cells
from pumlc.labels.known_cells import measured_cells


def problem(number: int = 90, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Features with equal rows; labels of six classes: some unknown, whole, few and alone."""
    random = np.random.RandomState(0)
    features = random.randn(number, width).astype(np.float32)
    features[5] = features[9] = features[2]
    truth = np.sign(features @ random.randn(width, 6) + random.randn(number, 6))
    labels = np.where(random.rand(number, 6) < 0.5, truth, 0).astype(np.int8)
    labels[:, 1], labels[:, 4] = truth[:, 1], truth[:, 4]
    labels[8:, 2] = 0  # fewer rows than features
    labels[:, 3] = labels[:, 3] == 1
    labels[:, 5] = 0
    return features, labels


@pytest.mark.parametrize("sampled", [10**6, 45])
def test_heads_and_left_out_scores_are_those_of_the_dense_fit(sampled, monkeypatch):
    monkeypatch.setattr(known_cells, "SAMPLED_CELLS", sampled)
    features, labels = problem()
    held = SparseLabels.of(csr_array(labels), np.zeros(len(labels), np.int8))
    cells = measured_cells(held)
    assert (len(cells.sampled) < len(labels)) == (sampled == 45)
    expected = fit_least_squares(features, fitted_labels(labels), penalties=[0.3])
    found = fit_known_least_squares(features, held, cells, penalties=[0.3])
    np.testing.assert_allclose(found.coefficients, expected.coefficients, atol=1e-5)
    np.testing.assert_allclose(found.intercept, expected.intercept, atol=1e-5)
    stored = cells.labels.toarray() != 0
    single = np.ones(len(labels), bool)
    if sampled == 45:  # there a row is left out by itself
        single[[2, 5, 9]] = False
    where = stored & single[:, None]
    assert where[:, 3].sum() > 35
    scores = found.loo_scores.toarray()
    np.testing.assert_allclose(scores[where], expected.loo_scores[where], atol=1e-4)


def test_the_penalty_is_that_of_the_dense_fit():
    features, labels = problem()
    held = SparseLabels.of(csr_array(labels), np.zeros(len(labels), np.int8))
    found = fit_known_least_squares(features, held, measured_cells(held))
    expected = fit_least_squares(features, fitted_labels(labels))
    assert found.penalty == pytest.approx(expected.penalty, rel=1e-3)


def test_groups_are_left_out_as_in_the_dense_fit():
    features, labels = problem()
    groups = np.arange(len(labels)) // 4
    held = SparseLabels.of(csr_array(labels), np.zeros(len(labels), np.int8))
    cells = measured_cells(held)
    given: dict[str, Any] = {"penalties": [0.3], "groups": groups}
    found = fit_known_least_squares(features, held, cells, **given).loo_scores.toarray()
    expected = fit_least_squares(features, fitted_labels(labels), **given).loo_scores
    stored = cells.labels.toarray() != 0
    np.testing.assert_allclose(found[stored], expected[stored], atol=1e-4)
    alone = fit_known_least_squares(features, held, cells, penalties=[0.3]).loo_scores.toarray()
    assert not np.allclose(alone[stored], found[stored], atol=1e-2)
