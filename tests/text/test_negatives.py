"""Candidate labels of a step, and the loss over them."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from pumlc.losses import LOSSES, decoupled_softmax_loss
from pumlc.text.config import LossConfig
from pumlc.text.training.negatives import candidate_labels, draw_negatives, entries_among
from pumlc.text.training.objective import Objective


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 8))
def test_drawn_negatives_are_of_the_rows_shortlist_each_once(seed, rows, per_row):
    random = np.random.default_rng(seed)
    shortlists = np.array([random.permutation(50)[:6] for _ in range(rows)])
    sizes = random.integers(0, 7, rows)
    shortlists[np.arange(6) >= sizes[:, None]] = -1
    drawn = draw_negatives(shortlists, per_row, random)
    start = 0
    for row, size in zip(shortlists, sizes, strict=True):
        own = drawn[start : start + min(per_row, size)]
        assert len(set(own.tolist())) == len(own)
        assert set(own.tolist()) <= set(row[:size].tolist())
        start += len(own)
    assert start == len(drawn)


def test_every_place_of_a_shortlist_is_drawn():
    """No off-by-one: the first and the last entry come up as often as the others."""
    random = np.random.default_rng(0)
    counts = np.bincount(
        np.concatenate([draw_negatives(np.arange(10)[None], 2, random) for _ in range(2000)])
    )
    assert counts.sum() == 4000
    assert counts.min() > 330
    assert counts.max() < 470


@given(st.integers(0, 2**32 - 1), st.integers(0, 8))
def test_candidates_hold_every_positive_and_mark_it(seed, at_least):
    random = np.random.RandomState(seed)
    positives = sp.csr_array(random.random_sample((4, 8)) < 0.2)
    negatives = random.choice(8, random.randint(0, 8))
    labels = candidate_labels(positives, negatives, at_least)
    assert len(labels) >= at_least
    assert np.array_equal(labels, np.unique(labels))
    assert set(positives.indices) | set(negatives) <= set(labels)
    extra = len(labels) - len(set(positives.indices) | set(negatives))
    assert extra == max(0, at_least - (len(labels) - extra))
    assert np.array_equal(
        entries_among(positives, labels).toarray(), positives.toarray()[:, labels]
    )


def test_a_positive_at_either_end_of_the_labels_of_a_shard():
    """The released code loses the last label of every shard."""
    positives = sp.csr_array(np.eye(6, dtype=bool))
    for shard in (slice(0, 2), slice(2, 4), slice(4, 6)):
        found = entries_among(positives, np.arange(6)[shard]).toarray()
        assert np.array_equal(found, np.eye(6, dtype=bool)[:, shard])
    assert entries_among(positives, np.array([], np.int64)).shape == (6, 0)


PARAMETERS = {
    "softmax": {},
    "decoupled_softmax": {},
    "soft_topk": {"k": 2, "alpha": 2.0},
    "bce": {"unknown": "negative"},
    "pu": {"gamma": 0.5, "alpha": 1.0},
}


@pytest.fixture
def embeddings():
    random = np.random.RandomState(0)
    documents, labels = (
        torch.from_numpy(random.standard_normal(shape).astype(np.float32)).requires_grad_()
        for shape in ((6, 4), (9, 4))
    )
    return documents, labels, sp.csr_array(random.random_sample((6, 9)) < 0.3)


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_loss_is_that_of_the_scaled_inner_products(embeddings, name):
    documents, labels, positives = embeddings
    config = LossConfig(name=name, temperature=0.7, bias=-0.3, parameters=PARAMETERS[name])
    value = Objective(config)(documents, labels, positives, process_group=None)
    dense = torch.from_numpy(positives.toarray())
    expected = LOSSES[name](
        documents @ labels.T / 0.7 - 0.3, dense.to(torch.int8), **PARAMETERS[name]
    )
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_scores_in_chunks_give_the_same_loss_and_gradients(embeddings, chunk):
    documents, labels, positives = embeddings
    config = LossConfig(name="decoupled_softmax", temperature=0.3, score_chunk=chunk)
    chunked = Objective(config)(documents, labels, positives, process_group=None)
    dense = torch.from_numpy(positives.toarray())
    expected = decoupled_softmax_loss(documents @ labels.T / 0.3, dense)
    torch.testing.assert_close(chunked, expected)
    for own, other in zip(
        torch.autograd.grad(chunked, [documents, labels]),
        torch.autograd.grad(expected, [documents, labels]),
        strict=True,
    ):
        torch.testing.assert_close(own, other)
