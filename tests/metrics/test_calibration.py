"""The reliability curve and the calibration error, against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumlc.metrics import expected_calibration_error, reliability_curve


def plain(probabilities, targets, bins):
    pairs = sorted(
        (float(p), t == 1)
        for row, labels in zip(probabilities, targets, strict=True)
        for p, t in zip(row, labels, strict=True)
        if t != 0
    )
    groups, start = [], 0
    for b in range(bins):
        end = max(start, (b + 1) * len(pairs) // bins)
        while 0 < end < len(pairs) and pairs[end][0] == pairs[end - 1][0]:
            end += 1
        if end > start:
            groups.append(pairs[start:end])
        start = end
    return groups


@given(seed=st.integers(0, 500), bins=st.integers(1, 20), values=st.sampled_from([3, 20, 1000]))
def test_bins_are_those_of_a_loop(seed, bins, values):
    random = np.random.RandomState(seed)
    probabilities = random.randint(0, values + 1, (9, 4)) / values
    targets = random.choice([-1, 0, 1], (9, 4), p=[0.6, 0.2, 0.2])
    targets[0, 0] = 1
    groups = plain(probabilities, targets, bins)
    curve = reliability_curve(probabilities, targets, bins=bins)
    np.testing.assert_array_equal(curve.counts, [len(group) for group in groups])
    np.testing.assert_allclose(curve.probabilities, [np.mean([p for p, _ in g]) for g in groups])
    np.testing.assert_allclose(curve.shares, [np.mean([t for _, t in g]) for g in groups])
    error = sum(abs(sum(t - p for p, t in g)) for g in groups) / curve.counts.sum()
    found = expected_calibration_error(probabilities, targets, bins=bins)
    assert found == pytest.approx(100 * error)


def test_right_probabilities_have_a_small_error_and_wrong_ones_a_large_one():
    random = np.random.RandomState(0)
    probabilities = random.rand(20_000, 1)
    targets = np.where(random.rand(20_000, 1) < probabilities, 1, -1)
    assert expected_calibration_error(probabilities, targets) < 1.5
    assert expected_calibration_error(probabilities**3, targets) > 15


def test_refusals():
    with pytest.raises(ValueError, match="no known label"):
        reliability_curve([[0.5]], [[0]])
    with pytest.raises(ValueError, match="bins is 0"):
        reliability_curve([[0.5]], [[1]], bins=0)
    with pytest.raises(ValueError, match="probabilit"):
        reliability_curve([[1.5]], [[1]])
