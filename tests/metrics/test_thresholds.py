"""Fitted thresholds against a search over every possible one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN, convention
from pumlc.metrics import (
    expected_thresholds,
    fit_thresholds,
    oracle_thresholds,
    precision_recall_f1,
)


def example(num_rows=200, num_classes=6, unknown=0.3, seed=0):
    """Every class has its own scale, so that one threshold cannot suit all."""
    random = np.random.default_rng(seed)
    targets = np.where(random.random((num_rows, num_classes)) < 0.2, POSITIVE, NEGATIVE)
    logits = targets + random.normal(0, 1.5, targets.shape) + np.linspace(-3, 3, num_classes)
    targets[random.random(targets.shape) < unknown] = UNKNOWN
    targets[0] = POSITIVE
    return 1 / (1 + np.exp(-logits)), targets


def f1(probabilities, targets, threshold):
    predicted = (probabilities >= threshold) & (targets != UNKNOWN)
    hits = (predicted & (targets == POSITIVE)).sum()
    return 2 * hits / (predicted.sum() + (targets == POSITIVE).sum())


def best_f1(probabilities, targets):
    return max(f1(probabilities, targets, t) for t in np.unique(probabilities))


@st.composite
def columns(draw):
    size = draw(st.integers(2, 9))
    values = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    probabilities = draw(hnp.arrays(np.float32, size, elements=values))
    targets = draw(hnp.arrays(np.int8, size, elements=st.sampled_from([1, 0, -1])))
    targets[0], targets[1] = POSITIVE, NEGATIVE
    return probabilities[:, None], targets[:, None]


@settings(deadline=None)
@given(data=columns())
def test_no_threshold_is_better(data):
    probabilities, targets = data
    threshold = fit_thresholds(probabilities, targets, per_class=False)
    assert f1(probabilities, targets, threshold) == best_f1(probabilities, targets)
    assert fit_thresholds(probabilities, targets, per_class=True) == [threshold]


@pytest.mark.parametrize("per_class", [True, False])
def test_a_matrix_of_many_blocks(per_class, monkeypatch):
    probabilities, targets = example(num_rows=101)
    whole = fit_thresholds(probabilities, targets, per_class=per_class)
    monkeypatch.setattr(convention, "BLOCK_ENTRIES", 30)  # 5 rows a block, a ragged last one
    np.testing.assert_array_equal(
        fit_thresholds(probabilities, targets, per_class=per_class), whole
    )
    probabilities[17, 3] = 1.5
    with pytest.raises(ValueError, match="row 17, column 3 is 1.5"):
        fit_thresholds(probabilities, targets, per_class=per_class)


def test_global_and_per_class():
    probabilities, targets = example()
    threshold = fit_thresholds(probabilities, targets, per_class=False)
    assert f1(probabilities, targets, threshold) == best_f1(probabilities, targets)
    thresholds = fit_thresholds(probabilities, targets, per_class=True)
    for column, value in enumerate(np.asarray(thresholds)):
        column = probabilities[:, column], targets[:, column]
        assert f1(*column, value) == best_f1(*column)
    one = precision_recall_f1(probabilities, targets, threshold=threshold)
    each = precision_recall_f1(probabilities, targets, threshold=thresholds)
    assert each["CF1_macro"] > one["CF1_macro"]
    half = precision_recall_f1(probabilities, targets, threshold=0.5)
    assert one["OF1"] > half["OF1"]


def test_unknown_entries_have_no_say():
    probabilities, targets = example()
    other = np.where(targets == UNKNOWN, 1 - probabilities, probabilities)
    for per_class in (True, False):
        np.testing.assert_array_equal(
            fit_thresholds(probabilities, targets, per_class=per_class),
            fit_thresholds(other, targets, per_class=per_class),
        )


def test_a_class_without_positives_takes_the_global_threshold():
    probabilities, targets = example()
    targets[:, 2] = NEGATIVE
    targets[:, 4] = UNKNOWN
    threshold = fit_thresholds(probabilities, targets, per_class=False)
    thresholds = np.asarray(fit_thresholds(probabilities, targets, per_class=True))
    assert (thresholds == threshold).tolist() == [False, False, True, False, True, False]


def test_half_way_between_the_classes():
    probabilities, targets = [[0.75], [0.5], [0.25], [0.0]], [[1], [1], [-1], [-1]]
    assert fit_thresholds(probabilities, targets, per_class=False) == 0.375


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_neighbouring_numbers_are_told_apart(dtype):
    """Between two adjacent numbers there is no third: the threshold is the upper one, exactly."""
    upper = dtype(0.7)
    probabilities = np.array([[np.nextafter(upper, dtype(0))], [upper]])
    for values in (probabilities, probabilities[::-1]):
        targets = np.where(values == upper, POSITIVE, NEGATIVE)
        threshold = fit_thresholds(values, targets, per_class=False)
        assert threshold == upper
        assert precision_recall_f1(values, targets, threshold=threshold)["OF1"] == 100.0


def test_oracle_is_the_same_fit_under_its_own_name():
    probabilities, targets = example()
    np.testing.assert_array_equal(
        oracle_thresholds(probabilities, targets, per_class=True),
        fit_thresholds(probabilities, targets, per_class=True),
    )


@pytest.mark.parametrize(
    ("probabilities", "targets", "message"),
    [
        ([[1.5]], [[1]], "row 0, column 0 is 1.5, outside"),
        ([[0.5], [0.2]], [[-1], [0]], "no known positive"),
        ([[0.5], [0.2]], [[1], [0]], "no -1"),
        ([[0.5]], [[1, 1]], "shape"),
    ],
)
def test_errors(probabilities, targets, message):
    with pytest.raises(ValueError, match=message):
        fit_thresholds(probabilities, targets, per_class=True)


def test_expected_thresholds_have_the_best_expected_f1():
    probabilities = np.random.RandomState(0).rand(30, 3) ** 3
    probabilities[:, 2] = 0
    found = expected_thresholds(probabilities)
    for column in range(2):
        values = probabilities[:, column]
        best = max(
            2 * values[values >= t].sum() / ((values >= t).sum() + values.sum()) for t in values
        )
        chosen = values >= found[column]
        reached = 2 * values[chosen].sum() / (chosen.sum() + values.sum())
        assert reached == pytest.approx(best)
    assert found[2] == 0.5
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        expected_thresholds([[1.5]])
