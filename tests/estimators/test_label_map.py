"""The linear map to descriptions of labels, against the definition."""

import numpy as np
import pytest
import scipy.sparse as sp

from pumlc.estimators.kernel_ridge import KernelProblem
from pumlc.estimators.label_map import described_targets


def test_the_two_steps_solve_the_bilinear_problem():
    random = np.random.default_rng(0)
    x, e = random.normal(size=(9, 3)), random.normal(size=(5, 2))
    y = (random.random((9, 5)) < 0.4).astype(float)
    targets = described_targets(sp.csr_array(y), e, 0.7)
    assert targets.dtype == np.float32
    mapped = np.linalg.solve(x.T @ x + 0.3 * np.eye(3), x.T @ targets)
    # the stationary point of Romera-Paredes & Torr: (X'X + a) W (E'E + c) = X' Y E
    left = (x.T @ x + 0.3 * np.eye(3)) @ mapped @ (e.T @ e + 0.7 * np.eye(2))
    np.testing.assert_allclose(left, x.T @ y @ e, rtol=1e-4, atol=1e-5)


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="2 labels, but 3 descriptions"):
        described_targets(np.ones((4, 2)), np.ones((3, 5)), 1.0)
    with pytest.raises(ValueError, match="penalty is 0"):
        described_targets(np.ones((4, 2)), np.ones((2, 5)), 0)


@pytest.mark.parametrize("anchors", [None, np.array([0, 2, 3, 5, 7])])
def test_further_targets_are_left_out_exactly(anchors):
    random = np.random.default_rng(1)
    x, groups = random.normal(size=(8, 2)), np.array([0, 1, 2, 0, 3, 4, 5, 4])
    targets = random.normal(size=(8, 3)).astype(np.float32)
    places = np.arange(8) if anchors is None else anchors

    def kernel(rows):
        return np.exp(-((x[rows][:, None] - x[places][None]) ** 2).sum(2))

    zero = sp.csr_array((8, 1), dtype=np.float32)
    problem = KernelProblem(kernel, zero, groups=groups, anchors=anchors)
    coefficients, without = problem.solve(0.5).further(targets)
    k = kernel(np.arange(8))
    for group in np.unique(groups):
        kept, out = groups != group, groups == group
        if anchors is None:
            alpha = np.linalg.solve(k[np.ix_(kept, kept)] + 0.5 * np.eye(kept.sum()), targets[kept])
            expected = k[np.ix_(out, kept)] @ alpha
        else:
            own = k[anchors]
            own = own + 1e-6 * np.diag(own).mean() * np.eye(len(anchors))
            normal = k[kept].T @ k[kept] + 0.5 * own
            expected = k[out] @ np.linalg.solve(normal, k[kept].T @ targets[kept])
        np.testing.assert_allclose(without[out], expected, rtol=1e-3, atol=1e-4)
    assert coefficients.shape == (len(places), 3)
