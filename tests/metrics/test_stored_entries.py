"""Metrics of CSR arrays that store the known entries: those of the dense matrices, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.metrics import (
    average_precision,
    expected_calibration_error,
    fit_thresholds,
    mean_average_precision,
    precision_recall_f1,
)

DEFINITIONS = ("sklearn", "asl", "voc2007", "voc2012")


@st.composite
def matrices(draw):
    """Probabilities, with ties, and targets with a known label of both signs."""
    shape = draw(st.integers(2, 9)), draw(st.integers(1, 5))
    random = np.random.RandomState(draw(st.integers(0, 10**6)))
    targets = random.choice([POSITIVE, UNKNOWN, NEGATIVE], shape, p=[0.3, 0.4, 0.3])
    targets = targets.astype(np.int8)
    targets[0, 0], targets[1, 0] = POSITIVE, NEGATIVE
    probabilities = random.randint(0, draw(st.sampled_from([4, 1000])), shape) / 1000
    return probabilities.astype(draw(st.sampled_from([np.float32, np.float64]))), targets


def stored(probabilities: np.ndarray, targets: np.ndarray) -> tuple[csr_array, csr_array]:
    """CSR with the known entries, and their probabilities: also those that are 0."""
    known = csr_array(targets)
    row_of = np.repeat(np.arange(len(targets)), np.diff(known.indptr))
    values = probabilities[row_of, known.indices]
    return csr_array((values, known.indices, known.indptr), shape=targets.shape), known


@settings(deadline=None)
@given(matrices())
def test_stored_entries_give_the_figures_of_dense_matrices(data):
    probabilities, targets = data
    sparse = stored(probabilities, targets)
    for definition in DEFINITIONS:
        np.testing.assert_array_equal(
            average_precision(*sparse, definition=definition),
            average_precision(probabilities, targets, definition=definition),
        )
    assert mean_average_precision(*sparse, definition="asl") == mean_average_precision(
        probabilities, targets, definition="asl"
    )
    for per_class in (False, True):
        threshold = fit_thresholds(probabilities, targets, per_class=per_class)
        np.testing.assert_array_equal(fit_thresholds(*sparse, per_class=per_class), threshold)
        assert precision_recall_f1(*sparse, threshold=threshold) == precision_recall_f1(
            probabilities, targets, threshold=threshold
        )
    assert expected_calibration_error(*sparse) == expected_calibration_error(probabilities, targets)


def test_what_stored_entries_cannot_say_is_refused():
    probabilities, targets = np.array([[0.5, 0.2], [0.1, 0.3]]), np.array([[1, 0], [-1, 1]])
    scores, known = stored(probabilities, targets)
    with pytest.raises(ValueError, match="top_k needs the scores of all classes"):
        precision_recall_f1(scores, known, top_k=1)
    with pytest.raises(ValueError, match="store different entries"):
        average_precision(csr_array(probabilities), known)
    with pytest.raises(ValueError, match="both dense, or both CSR"):
        average_precision(probabilities, known)
    with pytest.raises(ValueError, match="no -1"):
        average_precision(*stored(probabilities, np.abs(targets)))
    with pytest.raises(ValueError, match="row 1, column 1 is nan"):
        average_precision(*stored(np.array([[0.5, 0.2], [0.1, np.nan]]), targets))
    with pytest.raises(ValueError, match="outside \\[0, 1\\]"):
        expected_calibration_error(*stored(2 * probabilities + 1, targets))
