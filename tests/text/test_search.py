"""Exact search against sorting the whole matrix."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from pumlc.text.retrieval import search as search_module
from pumlc.text.retrieval.search import faiss_search, search


def oracle(queries, labels, k, excluded=None):
    """Sort every row by (score down, id up), drop the excluded, fill up."""
    ids = np.full((len(queries), k), -1)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    for row, query in enumerate(queries):
        ranked = sorted(
            (-float(query @ label), column)
            for column, label in enumerate(labels)
            if excluded is None or not excluded[row, column]
        )
        for rank, (score, column) in enumerate(ranked[:k]):
            ids[row, rank], scores[row, rank] = column, -score
    return ids, scores


def embeddings(random, count, dimension, values):
    """Small integers, so that ties are many and every product is exact."""
    return torch.from_numpy(random.randint(-values, values + 1, (count, dimension))).float()


SIZES = ("QUERY_BLOCK", "LABEL_BLOCK", "GROUP", "LANES")


@pytest.fixture(
    params=[(3, 7, 2, 1), (2, 16, 4, 2), (1000, 1000, 32, 32), (4, 1, 1, 1), (5, 40, 2, 5)]
)
def blocks(request, monkeypatch):
    """Ragged blocks and groups of several sizes."""
    for name, value in zip(SIZES, request.param, strict=True):
        monkeypatch.setattr(search_module, name, value)


@pytest.mark.parametrize("values", [1, 3])
@pytest.mark.parametrize("k", [1, 2, 5, 200])
def test_equals_sorting_everything(blocks, k, values):
    random = np.random.RandomState(k)
    queries, labels = embeddings(random, 9, 3, values), embeddings(random, 101, 3, values)
    for found, expected in zip(search(queries, labels, k), oracle(queries, labels, k), strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("k", [1, 4, 40])
@pytest.mark.parametrize("density", [0.2, 0.9, 1.0])
def test_excluded_pairs_never_come_back(blocks, k, density):
    random = np.random.RandomState(0)
    queries, labels = embeddings(random, 8, 3, 2), embeddings(random, 37, 3, 2)
    excluded = sp.csr_array(random.random_sample((8, 37)) < density)
    ids, scores = search(queries, labels, k, excluded=excluded)
    expected_ids, expected_scores = oracle(queries, labels, k, excluded.toarray())
    assert np.array_equal(ids, expected_ids)
    assert np.array_equal(scores, expected_scores)


@given(
    st.integers(0, 12),
    st.integers(0, 40),
    st.integers(1, 50),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_any_shape(rows, columns, k, query_block, label_block, group, lanes):
    random = np.random.RandomState(rows + 100 * columns)
    queries, labels = embeddings(random, rows, 2, 2), embeddings(random, columns, 2, 2)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(SIZES, (query_block, label_block, group, lanes), strict=True):
            patch.setattr(search_module, name, value)
        ids, scores = search(queries, labels, k)
    expected_ids, expected_scores = oracle(queries, labels, k)
    assert np.array_equal(ids, expected_ids)
    assert np.array_equal(scores, expected_scores)


def test_real_valued_scores_of_either_sign_come_sorted():
    random = np.random.RandomState(1)
    queries = torch.from_numpy(random.standard_normal((50, 16)).astype(np.float32))
    labels = torch.from_numpy(random.standard_normal((3000, 16)).astype(np.float32))
    ids, scores = search(queries, labels, 20)
    exact = (queries @ labels.T).numpy()
    assert (scores < 0).any() or (exact < 0).any()
    assert np.array_equal(ids, np.argsort(-exact, axis=1, kind="stable")[:, :20])
    assert np.allclose(scores, np.take_along_axis(exact, ids, 1), atol=1e-5)
    negative_ids, negative_scores = search(queries, -labels.abs() * queries[:1].sign(), 3)
    assert (negative_scores[0] < 0).all()
    assert (np.diff(negative_scores, axis=1) <= 0).all()
    assert (negative_ids >= 0).all()


def test_zero_and_minus_zero_tie():
    labels = torch.tensor([[-0.0], [0.0], [-0.0]])
    assert search(torch.tensor([[1.0]]), labels, 3)[0].tolist() == [[0, 1, 2]]


def test_many_labels_that_tie_are_not_listed(monkeypatch):
    """A list of all that reach the k-th best would be longer than the products."""
    packed = []
    pack = search_module._pack
    monkeypatch.setattr(
        search_module, "_pack", lambda s, ids: packed.append(s.numel()) or pack(s, ids)
    )
    labels = torch.cat([torch.ones(60_000, 1), torch.rand(5_000, 1)])
    ids, _ = search_module.search(torch.ones(512, 1), labels, 40)
    assert (ids == np.arange(40)).all()
    assert max(packed) <= 64 * search_module.LABEL_BLOCK


def test_labels_in_rising_order(blocks):
    """Every label beats all before it, so that what was found earlier bounds nothing."""
    labels = torch.arange(500.0)[:, None]
    ids, scores = search(torch.tensor([[1.0], [2.0]]), labels, 7)
    assert ids.tolist() == [list(range(499, 492, -1))] * 2
    assert scores[1].tolist() == [2.0 * label for label in ids[1]]


def test_no_labels_and_no_queries():
    ids, scores = search(torch.ones(2, 4), torch.empty(0, 4), 3)
    assert ids.tolist() == [[-1] * 3] * 2
    assert np.isneginf(scores).all()
    assert search(torch.empty(0, 4), torch.ones(5, 4), 3)[0].shape == (0, 3)


def test_half_precision_embeddings_are_ranked_by_their_float32_products():
    random = np.random.RandomState(2)
    queries = torch.from_numpy(random.standard_normal((20, 32)).astype(np.float32))
    labels = torch.from_numpy(random.standard_normal((500, 32)).astype(np.float32))
    for dtype in (torch.bfloat16, torch.float16):
        ids, scores = search(queries.to(dtype), labels.to(dtype), 10)
        expected = search(queries.to(dtype).float(), labels.to(dtype).float(), 10)
        assert np.array_equal(ids, expected[0])
        assert np.array_equal(scores, expected[1])
        # the products themselves would have been rounded to few distinct values
        assert len(np.unique(scores)) > 190


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_equals_cpu():
    random = np.random.RandomState(3)
    queries, labels = embeddings(random, 100, 8, 3), embeddings(random, 50_000, 8, 3)
    expected = search(queries, labels, 30)
    for place in (labels, labels.cuda()):
        found = search(queries.cuda(), place, 30)
        assert np.array_equal(found[0], expected[0])
        assert np.array_equal(found[1], expected[1])


def test_bad_input():
    queries, labels = torch.ones(3, 4), torch.ones(5, 4)
    with pytest.raises(ValueError, match=r"\[3, 4\] and \[5, 3\]"):
        search(queries, torch.ones(5, 3), 1)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        search(queries, labels, 0)
    with pytest.raises(ValueError, match=r"excluded must be \[3, 5\], got \[5, 3\]"):
        search(queries, labels, 1, excluded=sp.csr_array((5, 3)))
    assert search(queries, labels * 1e38, 1)[0].tolist() == [[0]] * 3  # their sums overflow
    labels[3, 1] = torch.nan
    with pytest.raises(ValueError, match="labels: row 3 is not finite"):
        search(queries, labels, 1)


def test_nothing_of_the_caller_changes():
    queries, labels = torch.ones(3, 4, requires_grad=True), torch.ones(5, 4)
    before = queries.detach().clone(), labels.clone()
    search(queries, labels, 2, excluded=sp.csr_array(np.eye(3, 5)))
    assert torch.equal(queries, before[0])
    assert torch.equal(labels, before[1])
    assert torch.is_grad_enabled()


def test_faiss_finds_the_same_labels():
    pytest.importorskip("faiss")
    random = np.random.RandomState(4)
    queries = torch.from_numpy(random.standard_normal((30, 16)).astype(np.float32))
    labels = torch.from_numpy(random.standard_normal((400, 16)).astype(np.float32))
    excluded = sp.csr_array(random.random_sample((30, 400)) < 0.05)
    for pairs in (None, excluded):
        ids, scores = faiss_search(queries, labels, 10, excluded=pairs)
        expected_ids, expected_scores = search(queries, labels, 10, excluded=pairs)
        assert np.array_equal(ids, expected_ids)
        assert np.allclose(scores, expected_scores, atol=1e-5)
    ids, scores = faiss_search(queries, labels[:4], 6)
    assert (ids[:, 4:] == -1).all()
    assert np.isneginf(scores[:, 4:]).all()


def test_faiss_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ValueError, match="pip install faiss-cpu"):
        faiss_search(torch.ones(1, 2), torch.ones(1, 2), 1)
