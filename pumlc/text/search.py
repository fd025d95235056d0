"""Exact search: for each query the labels with the largest inner products."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from pumlc.text.data import SparseMatrix

Index = Literal["exact", "faiss"]
QUERY_BLOCK = 1024
LABEL_BLOCK = 16384
GROUP = 32
_LOW = 0xFFFFFFFF


def search(
    queries: Tensor, labels: Tensor, k: int, *, excluded: SparseMatrix | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""The ``k`` labels with the largest :math:`\langle q_i, y_l \rangle` for each query.

    Exact, by blocks: memory grows with neither N x L nor, beyond the inputs and the result, N or L.
    Embeddings may be float32, bfloat16 or float16 (half the memory); products are always summed and
    ranked in float32. Blocks move to the device of ``queries``, so that labels may stay on the CPU.

    Args:
        queries: [N, D].
        labels: [L, D]; L may be 0.
        k: number of labels wanted, at least 1; it may be larger than L.
        excluded: sparse [N, L] or None: pairs that are left out.

    Returns:
        ids int64 [N, k] and scores float32 [N, k], best first. Equal scores are ordered by id, the
        lower first. Where fewer than k labels are left, id -1 and score -inf fill the row.

    Raises:
        ValueError: shapes that do not fit, ``k < 1``, or an embedding that is not finite.

    Example:
        >>> labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> search(torch.tensor([[2.0, 1.0]]), labels, 4)[0].tolist()
        [[0, 2, 1, -1]]
    """
    _check(queries, labels, k, excluded)
    pairs = None if excluded is None else sp.csr_array(excluded)
    ids = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(queries), QUERY_BLOCK):
        rows = slice(start, start + QUERY_BLOCK)
        left_out = None if pairs is None else sp.csc_array(pairs[rows])
        with torch.no_grad(), torch.autocast(queries.device.type, enabled=False):
            best = _best_keys(queries[rows].float(), labels, k, left_out)
        ids[rows, : best.shape[1]] = _id_of(best).cpu().numpy()
        scores[rows, : best.shape[1]] = _score_of(best).cpu().numpy()
    ids[scores == -np.inf] = -1
    return ids, scores


def faiss_search(
    queries: Tensor, labels: Tensor, k: int, *, excluded: SparseMatrix | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`search` by ``faiss.IndexFlatIP``; equal scores come in the order that faiss finds them.

    Raises:
        ValueError: as `search`, or faiss is not installed.
    """
    try:
        import faiss  # type: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("the faiss index needs: pip install faiss-cpu") from None
    _check(queries, labels, k, excluded)
    index = faiss.IndexFlatIP(labels.shape[1])
    index.add(labels.float().cpu().numpy())
    pairs = (
        sp.csr_array((len(queries), len(labels))) if excluded is None else sp.csr_array(excluded)
    )
    spare = int(np.diff(pairs.indptr).max(initial=0))
    scores, ids = index.search(queries.float().cpu().numpy(), k + spare)
    if spare:
        for row in range(len(ids)):
            left_out = np.isin(ids[row], pairs.indices[pairs.indptr[row] : pairs.indptr[row + 1]])
            ids[row, left_out] = -1
            order = np.argsort(ids[row] == -1, kind="stable")
            ids[row], scores[row] = ids[row][order], scores[row][order]
    ids, scores = ids[:, :k].astype(np.int64), scores[:, :k].astype(np.float32)
    return ids, np.where(ids < 0, np.float32(-np.inf), scores)


def _best_keys(block: Tensor, labels: Tensor, k: int, left_out: SparseMatrix | None) -> Tensor:
    """Keys (see `_pack`) of the k best labels of a block of queries, [B, at most k], best first."""
    best = torch.empty((len(block), 0), dtype=torch.int64, device=block.device)
    for first, products in _products(block, labels, left_out):
        worst = _score_of(best[:, -1:]) if best.shape[1] == k else None
        keys = torch.cat([best, _largest_keys(products, first, k, worst)], dim=1)
        best = keys.topk(min(k, keys.shape[1]), dim=1).values
    return best


def _products(
    block: Tensor, labels: Tensor, left_out: SparseMatrix | None
) -> Iterator[tuple[int, Tensor]]:
    """Yield ``(first label, float32 products [B, block of labels])``; left-out pairs are -inf."""
    for first in range(0, len(labels), LABEL_BLOCK):
        part = labels[first : first + LABEL_BLOCK].to(block.device, torch.float32)
        products = block @ part.T
        if left_out is not None:
            inside = left_out[:, first : first + LABEL_BLOCK].tocoo()
            place = (torch.from_numpy(x).long().to(block.device) for x in (inside.row, inside.col))
            products[tuple(place)] = -torch.inf
        yield first, products


def _largest_keys(products: Tensor, first: int, k: int, worst: Tensor | None) -> Tensor:
    """Keys of the k largest products of each row, in any order and among some others.

    Sorting whole rows costs more than the products themselves. The k-th largest maximum of groups
    of neighbouring labels is a lower bound of the k-th largest product, and few products reach it.

    Args:
        products: [B, labels of the block].
        first: id of the first label of the block.
        k: number wanted.
        worst: [B, 1] the k-th largest product of the earlier blocks, a lower bound too; None while
            there are fewer.

    Returns:
        [B, n]; missing keys are those of -inf.
    """
    rows, width = products.shape
    if worst is None and width < k * GROUP:
        return _pack(products, torch.arange(first, first + width, device=products.device))
    if width % GROUP:
        products = F.pad(products, (0, -width % GROUP), value=-torch.inf)
    grouped = products.view(rows, -1, GROUP)
    maxima = grouped.amax(dim=2)
    least = products.new_full((rows, 1), -torch.inf) if worst is None else worst
    if maxima.shape[1] >= k:
        least = torch.maximum(least, maxima.topk(k, dim=1).values[:, -1:])
    row, group = (maxima >= least).nonzero(as_tuple=True)
    values = grouped[row, group]
    found, member = (values >= least[row]).nonzero(as_tuple=True)
    row, ids = row[found], first + group[found] * GROUP + member
    counts = torch.bincount(row, minlength=rows)
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    keys = _pack(products.new_full((rows, int(counts.max())), -torch.inf), counts.new_tensor(_LOW))
    keys[row, place] = _pack(values[found, member], ids)
    return keys


def _pack(scores: Tensor, ids: Tensor) -> Tensor:
    """One int64 for a float32 score and an id: larger score first, then lower id."""
    bits = (scores + 0.0).view(torch.int32)  # + 0.0: -0.0 equals 0.0
    # as integers, floats are ordered by magnitude: turn the negative ones round
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.long() << 32) | (_LOW - ids)


def _id_of(keys: Tensor) -> Tensor:
    return _LOW - (keys & _LOW)


def _score_of(keys: Tensor) -> Tensor:
    ordered = (keys >> 32).int()
    return (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32)


def _check(queries: Tensor, labels: Tensor, k: int, excluded: SparseMatrix | None) -> None:
    if queries.ndim != 2 or labels.ndim != 2 or queries.shape[1] != labels.shape[1]:
        raise ValueError(
            f"queries and labels must be [N, D] and [L, D], got {list(queries.shape)} and "
            f"{list(labels.shape)}"
        )
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if excluded is not None and excluded.shape != (len(queries), len(labels)):
        raise ValueError(
            f"excluded must be [{len(queries)}, {len(labels)}], got {list(excluded.shape)}"
        )
    for name, embeddings in (("queries", queries), ("labels", labels)):
        # a row of finite values has a finite sum, and [N] numbers are fewer than [N, D]
        finite = embeddings.sum(dim=1, dtype=torch.float32).isfinite()
        if not finite.all():
            raise ValueError(f"{name}: row {int(finite.int().argmin())} is not finite")
