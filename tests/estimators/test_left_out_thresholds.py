"""Thresholds on left-out scores: own ones, and that of all classes for those with few labels."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from pumlc.estimators.calibration import fit_left_out_thresholds, shares_threshold
from pumlc.metrics import fit_thresholds


def labels_of(present: int, absent: int, unknown: int = 0) -> np.ndarray:
    return np.repeat([1, -1, 0], [present, absent, unknown])


@pytest.fixture
def labels():
    columns = [labels_of(20, 40), labels_of(5, 55), labels_of(4, 56), labels_of(57, 3)]
    columns += [labels_of(0, 60), labels_of(10, 0, 50), labels_of(0, 0, 60)]
    return np.stack(columns, axis=1).astype(np.int8)


@pytest.fixture
def probabilities(labels):
    return np.random.RandomState(0).uniform(size=labels.shape).clip(1e-3, 1 - 1e-3)


def test_few_labels_share_the_threshold_of_all_classes(probabilities, labels):
    found = fit_left_out_thresholds(probabilities, labels)
    both, own = [0, 1, 2, 3], [0, 1]
    alone = fit_thresholds(probabilities[:, own], labels[:, own], per_class=True)
    together = fit_thresholds(probabilities[:, both], labels[:, both], per_class=False)
    np.testing.assert_array_equal(found[own], alone)
    np.testing.assert_array_equal(found[[2, 3]], together)
    np.testing.assert_array_equal(found[4:], 0.5)
    assert shares_threshold(labels).tolist() == [False, False, True, True, False, False, False]


def test_stored_labels_give_the_same(probabilities, labels):
    rows, columns = labels.nonzero()
    stored, known = (
        csr_array((each[rows, columns], (rows, columns)), shape=labels.shape)
        for each in (probabilities, labels)
    )
    expected = fit_left_out_thresholds(probabilities, labels)
    np.testing.assert_array_equal(fit_left_out_thresholds(stored, known), expected)


def test_one_present_label_low_in_the_order_does_not_make_all_present(labels, probabilities):
    labels = labels[:, [0, 1]].copy()
    labels[:, 1] = -1
    labels[7, 1] = 1
    probabilities = probabilities[:, [0, 1]] * (labels != 1) + 0.9 * (labels == 1)
    probabilities[7, 1] = 1e-3
    own, shared = fit_left_out_thresholds(probabilities, labels)
    assert own == shared > 0.5
