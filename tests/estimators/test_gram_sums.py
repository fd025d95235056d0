"""Two gloo processes with uneven parts of the rows fit what one process fits on all of them."""

import numpy as np
import pytest
from gram_worker import FITS, NUM_RANKS, SHARES, fit, work
from torch.multiprocessing.spawn import spawn


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The results of all fits, from one start of two processes."""
    folder = tmp_path_factory.mktemp("gloo")
    spawn(work, args=(str(folder),), nprocs=NUM_RANKS)
    return folder


@pytest.mark.parametrize("name", FITS)
def test_heads_and_left_out_scores_are_those_of_one_process(folder, name):
    whole = fit(name, slice(0, 90), None)
    for rank, rows in enumerate(SHARES):
        coefficients, intercept, scores, penalty = np.load(folder / f"{name}{rank}.npz").values()
        np.testing.assert_allclose(coefficients, whole.coefficients, atol=1e-9)
        np.testing.assert_allclose(intercept, whole.intercept, atol=1e-9)
        np.testing.assert_allclose(scores, whole.loo_scores[rows], atol=1e-9)
        assert penalty == pytest.approx(whole.penalty)
        alone = fit(name, rows, None)
        assert not np.allclose(alone.coefficients, whole.coefficients, atol=1e-3)
