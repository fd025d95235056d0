"""The curve on top of calibrated logits: its function, its knots, and when there is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.special import expit, logit

from pumlc.estimators.class_calibration import calibrate_classes
from pumlc.estimators.logit_curve import STRAIGHT, LogitCurve, fit_logit_curve

STEPS = st.lists(st.floats(0.01, 5), min_size=1, max_size=10)


def bent(logits):
    """A truth that no sigmoid has: steep for low logits, flat for high ones."""
    return np.where(logits < -1, 2.5 * (logits + 1) - 1, 0.4 * (logits + 1) - 1)


def drawn(truth, rows=2000, seed=0):
    """Logits [N, 3] and labels whose log-odds are truth(logits)."""
    random = np.random.RandomState(seed)
    logits = 2 * random.randn(rows, 3) - [0, 1, 2]
    return logits, random.rand(rows, 3) < expit(truth(logits))


def fitted(logits, present):
    rows = np.repeat(np.arange(len(logits)), logits.shape[1])
    return fit_logit_curve(logits.ravel(), present.ravel(), rows)


@given(st.data(), STEPS)
def test_one_rising_function_in_three_forms(data, steps):
    at = np.cumsum(steps) - 5
    more = data.draw(st.lists(st.floats(0.01, 5), min_size=len(at), max_size=len(at)))
    curve = LogitCurve(at, np.cumsum(more) - 3)
    points = np.sort(np.r_[np.linspace(-20, 40, 301), at])
    values = curve(points)
    assert (np.diff(values)[np.diff(points) > 1e-9] > 0).all()
    np.testing.assert_allclose(curve.inverse()(values), points, atol=1e-9)
    np.testing.assert_allclose(curve(at), curve.to, atol=1e-12)
    assert curve(at[0] - 3) == pytest.approx(curve.to[0] - 3)
    assert curve(at[-1] + 3) == pytest.approx(curve.to[-1] + 3)
    offset, changes = curve.bends()
    bends = points + offset + np.maximum(points[:, None] - at, 0) @ changes
    np.testing.assert_allclose(bends, values, rtol=1e-9, atol=1e-8)


def test_no_knots_change_nothing():
    logits = np.array([[-1.0, 2.0]])
    assert STRAIGHT(logits) is logits
    assert STRAIGHT.inverse()(3.0) == 3.0


def test_a_bent_truth_is_found():
    logits, present = drawn(bent)
    curve = fitted(logits, present)
    assert 2 <= len(curve.at) <= 16
    unseen, _ = drawn(bent, seed=1)
    truth = expit(bent(unseen))
    error = np.abs(expit(curve(unseen)) - truth).mean()
    assert error < 0.03
    assert error < 0.3 * np.abs(expit(unseen) - truth).mean()


@pytest.mark.parametrize("seed", range(5))
def test_where_a_sigmoid_is_right_there_is_no_curve(seed):
    assert fitted(*drawn(lambda logits: logits, seed=seed)) is STRAIGHT


def test_few_labels_have_no_curve():
    logits, present = drawn(bent, rows=100)
    assert min(present.sum(), (~present).sum()) < 100
    assert fitted(logits, present) is STRAIGHT
    assert fitted(logits, np.zeros_like(present)) is STRAIGHT


def test_knots_are_the_means_of_blocks():
    """Against a loop over the sorted labels: every block has its share of present ones."""
    logits, present = drawn(bent)
    curve = fitted(logits, present)
    order = np.argsort(logits.ravel())
    x, y = logits.ravel()[order], present.ravel()[order]
    least = max(50, np.ceil(min(y.sum(), (~y).sum()) / 16))
    start = 0
    for k in range(len(curve.at) - 1):
        for end in range(start + 1, len(x) + 1):
            mean, share = expit(x[start:end]).mean(), (y[start:end].sum() + 0.5) / (1 + end - start)
            if np.allclose([logit(mean), logit(share)], [curve.at[k], curve.to[k]], atol=1e-9):
                break
        else:
            pytest.fail(f"knot {k} is no block")
        assert min(y[start:end].sum(), (~y[start:end]).sum()) >= least
        start = end
    mean, share = expit(x[start:]).mean(), (y[start:].sum() + 0.5) / (1 + len(x) - start)
    assert (curve.at[-1], curve.to[-1]) == pytest.approx((logit(mean), logit(share)))


def test_classes_get_the_curve_beside_slope_and_bias():
    logits, present = drawn(bent, rows=4000)
    labels = np.where(present, 1, -1).astype(np.int8)
    labels[np.random.RandomState(2).rand(*labels.shape) < 0.2] = 0
    found = calibrate_classes(5 * logits + 1, labels)
    calibrated = found.slope * (5 * logits + 1) + found.bias
    truth = expit(bent(logits))
    with_curve = np.abs(expit(found.curve(calibrated)) - truth).mean()
    assert with_curve < 0.7 * np.abs(expit(calibrated) - truth).mean()
    stored = csr_array(labels)
    values = (5 * logits + 1)[labels != 0]
    scores = csr_array((values, stored.indices, stored.indptr), shape=labels.shape)
    sparse = calibrate_classes(scores, stored, alone=np.zeros(3, bool))
    np.testing.assert_allclose(sparse.curve, found.curve)
    kept = found.as_json()["curve"]
    assert kept == {"at": found.curve.at.tolist(), "to": found.curve.to.tolist()}


def test_positives_alone_have_no_curve():
    logits, present = drawn(bent, rows=4000)
    labels = np.where(present, 1, -1).astype(np.int8)
    labels[:, 0] = np.maximum(labels[:, 0], 0)
    assert calibrate_classes(logits, labels).curve is STRAIGHT
