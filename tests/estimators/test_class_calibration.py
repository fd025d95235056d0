"""Probabilities of classes with many, few, one-sided and no known labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import expit

from pumlc.estimators.calibration import fit_sigmoid
from pumlc.estimators.class_calibration import ENOUGH, calibrate_classes


def drawn(rows=3000, seed=0):
    random = np.random.RandomState(seed)
    scores = random.randn(rows, 4) - [0.5, 1, 1.5, 2]
    probabilities = expit(3 * scores - 0.5)
    truth = np.where(random.rand(rows, 4) < probabilities, 1, -1).astype(np.int8)
    return scores, probabilities, truth


def of(scores, calibration):
    return expit(calibration.slope * scores + calibration.bias)


def test_a_class_with_enough_labels_has_a_sigmoid_of_its_own():
    scores, _, truth = drawn()
    truth[np.random.RandomState(1).rand(*truth.shape) < 0.3] = 0
    found = calibrate_classes(scores, truth)
    assert found.own.all()
    assert found.listed == 1
    for column in range(4):
        known = truth[:, column] != 0
        expected = fit_sigmoid(
            scores[known, column], truth[known, column] == 1, np.ones(known.sum())
        )
        assert (found.slope[column], found.bias[column]) == pytest.approx(expected)


def test_a_class_with_few_labels_shares_the_curve_of_all():
    scores, probabilities, truth = drawn()
    truth[30:, 3] = 0  # at most three of them present
    found = calibrate_classes(scores, truth)
    assert found.own.tolist() == [True, True, True, False]
    error = np.abs(of(scores, found) - probabilities)[:, 3].mean()
    known = truth[:, 3] != 0
    slope, bias = fit_sigmoid(scores[known, 3], truth[known, 3] == 1, np.ones(known.sum()))
    alone = np.abs(expit(slope * scores[:, 3] + bias) - probabilities[:, 3]).mean()
    assert error < 0.5 * alone


@pytest.mark.parametrize("listed", [0.2, 0.5, 1.0])
def test_positives_alone_give_the_probability_of_being_present(listed):
    scores, probabilities, truth = drawn(6000)
    drawn_ones = np.random.RandomState(2).rand(*truth.shape) < listed
    labels = np.where((truth == 1) & drawn_ones, 1, 0)
    found = calibrate_classes(scores, labels)
    assert found.listed == pytest.approx(listed, abs=0.05)
    np.testing.assert_allclose(of(scores, found), probabilities, atol=0.1)
    assert not found.own.any()


def test_a_class_without_a_label_has_the_means_of_the_others():
    scores, _, truth = drawn()
    truth[:, 1] = 0
    found = calibrate_classes(scores, truth)
    others = [0, 2, 3]
    assert found.slope[1] == found.slope[others].mean()
    assert found.bias[1] == found.bias[others].mean()


@given(
    arrays.arrays(np.float64, (40, 3), elements=st.floats(-1e4, 1e4)),
    arrays.arrays(np.int8, (40, 3), elements=st.sampled_from([1, 0, -1])),
)
def test_order_stays_whatever_the_scores(scores, labels):
    labels[0, 0] = 1
    found = calibrate_classes(scores, labels)
    assert np.isfinite(found.slope).all()
    assert np.isfinite(found.bias).all()
    assert (found.slope > 0).all()
    assert 0 <= found.listed <= 1


def test_few_means_fewer_than_enough_of_either_kind():
    scores, _, _ = drawn(100)
    labels = -np.ones((100, 2), np.int8)
    labels[:ENOUGH, 0], labels[: ENOUGH - 1, 1] = 1, 1
    assert calibrate_classes(scores[:, :2], labels).own.tolist() == [True, False]
