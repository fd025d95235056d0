"""Exact search: for each query the labels with the largest inner products."""

from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from pumlc.errors import UserError
from pumlc.progress import ShowProgress
from pumlc.text.data.matrix import SparseMatrix

Index = Literal["exact", "faiss"]
QUERY_BLOCK = 512
LABEL_BLOCK = 65536
GROUP = 32
LANES = 32
_LOW = 0xFFFFFFFF


def search(
    queries: Tensor,
    labels: Tensor,
    k: int,
    *,
    excluded: SparseMatrix | None = None,
    progress: ShowProgress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    r"""The ``k`` labels with the largest :math:`\langle q_i, y_l \rangle` for each query.

    Exact, by blocks: beyond inputs and result, memory grows with neither L nor N x L. Embeddings
    may be float32, bfloat16 or float16 (half the memory); products are always summed and ranked in
    float32. Labels may stay on the CPU: each goes to the device of ``queries`` once.

    Args:
        queries: [N, D].
        labels: [L, D]; L may be 0.
        k: number of labels wanted, at least 1; it may be larger than L.
        excluded: sparse [N, L] or None: pairs that are left out.
        progress: called with "search", and the blocks of queries and labels that are compared.

    Returns:
        ids int64 [N, k] and scores float32 [N, k], best first. Equal scores are ordered by id, the
        lower first. Where fewer than k labels are left, id -1 and score -inf fill the row.

    Raises:
        ValueError: shapes do not fit, or ``k < 1``.
        UserError: an embedding is not finite.

    Example:
        >>> labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> search(torch.tensor([[2.0, 1.0]]), labels, 4)[0].tolist()
        [[0, 2, 1, -1]]
    """
    _check(queries, labels, k, excluded)
    blocks = queries.split(QUERY_BLOCK) if len(queries) else ()
    best = [queries.new_empty((len(block), 0), dtype=torch.int64) for block in blocks]
    pairs = None if excluded is None else sp.csc_array(excluded)
    done, total = 0, len(blocks) * -(-len(labels) // LABEL_BLOCK)
    with torch.no_grad(), torch.autocast(queries.device.type, enabled=False):
        for first in range(0, len(labels), LABEL_BLOCK):
            part = labels[first : first + LABEL_BLOCK].to(queries.device, torch.float32)
            width = len(part)
            if width % (GROUP * LANES):
                # whole tiles (see `_largest_keys`): padding the products would copy all of them
                part = F.pad(part, (0, 0, 0, -width % (GROUP * LANES)))
            left_out = None if pairs is None else pairs[:, first : first + LABEL_BLOCK].tocsr()
            for number, block in enumerate(blocks):
                products = block.float() @ part.T
                products[:, width:] = -torch.inf
                if left_out is not None:
                    _leave_out(products, left_out[QUERY_BLOCK * number :][: len(block)])
                best[number] = _merge(best[number], products, first, k)
                done += 1
                if progress is not None:
                    progress("search", done, total)
    ids = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    for number, keys in enumerate(best):
        rows = slice(QUERY_BLOCK * number, QUERY_BLOCK * number + len(keys))
        ids[rows, : keys.shape[1]] = _id_of(keys).cpu().numpy()
        scores[rows, : keys.shape[1]] = _score_of(keys).cpu().numpy()
    ids[scores == -np.inf] = -1
    return ids, scores


def faiss_search(
    queries: Tensor, labels: Tensor, k: int, *, excluded: SparseMatrix | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`search` by ``faiss.IndexFlatIP``; equal scores come in the order that faiss finds them.

    Raises:
        ValueError: as `search`.
        UserError: as `search`, or faiss is not installed.
    """
    try:
        import faiss  # type: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("the faiss index needs: pip install faiss-cpu") from error
    _check(queries, labels, k, excluded)
    index = faiss.IndexFlatIP(labels.shape[1])
    index.add(labels.detach().float().cpu().numpy())
    pairs = (
        sp.csr_array((len(queries), len(labels))) if excluded is None else sp.csr_array(excluded)
    )
    spare = int(np.diff(pairs.indptr).max(initial=0))
    scores, ids = index.search(queries.detach().float().cpu().numpy(), k + spare)
    if spare:
        for row in range(len(ids)):
            left_out = np.isin(ids[row], pairs.indices[pairs.indptr[row] : pairs.indptr[row + 1]])
            ids[row, left_out] = -1
            order = np.argsort(ids[row] == -1, kind="stable")
            ids[row], scores[row] = ids[row][order], scores[row][order]
    ids, scores = ids[:, :k].astype(np.int64), scores[:, :k].astype(np.float32)
    return ids, np.where(ids < 0, np.float32(-np.inf), scores)


def _leave_out(products: Tensor, pairs: SparseMatrix) -> None:
    """Set the products of the given pairs to -inf, in place."""
    pairs = pairs.tocoo()
    row, column = (torch.from_numpy(x).long().to(products.device) for x in pairs.coords)
    products[row, column] = -torch.inf


def _merge(best: Tensor, products: Tensor, first: int, k: int) -> Tensor:
    """Keys (see `_pack`) of the k best labels of a block of queries, [B, at most k], best first.

    ``best`` are the keys of the earlier labels; ``first`` is the label id of the first column.
    """
    worst = _score_of(best[:, -1:]) if best.shape[1] == k else None
    keys = torch.cat([best, _largest_keys(products, first, k, worst)], dim=1)
    return keys.topk(min(k, keys.shape[1]), dim=1).values


def _largest_keys(products: Tensor, first: int, k: int, worst: Tensor | None) -> Tensor:
    """Keys of the k largest products of each row and of some others, in any order.

    Sorting whole rows costs more than the products themselves. The k-th largest maximum of groups
    of labels is a lower bound of the k-th largest product, and few products reach it.

    Args:
        products: [B, labels of the block, in whole tiles of GROUP * LANES].
        first: id of the first label of the block.
        k: number wanted.
        worst: [B, 1], the k-th largest product of the earlier blocks, also a lower bound; None
            while there are fewer.

    Returns:
        [B, n]; missing keys are those of -inf.
    """
    rows, width = products.shape
    if worst is None and width < k * GROUP:
        return _pack(products, torch.arange(first, first + width, device=products.device))
    tile = GROUP * LANES
    # a group is every LANES-th label of a tile: the maximum of whole vectors is fast
    grouped = products.view(rows, -1, GROUP, LANES)
    maxima = grouped.amax(dim=2)
    reached, least = _reached(maxima, k, worst)
    if 2 * int(torch.count_nonzero(reached)) > reached.numel():
        # many labels score alike: their list would be longer than the products themselves
        ids = torch.arange(first, first + width, device=products.device)
        parts = products.split(64)
        return torch.cat([_pack(part, ids).topk(min(k, width), dim=1).values for part in parts])
    row, number, lane = reached.nonzero(as_tuple=True)
    values = grouped[row, number, :, lane]
    group, member = (values >= least[row]).nonzero(as_tuple=True)
    row, ids = row[group], first + number[group] * tile + member * LANES + lane[group]
    counts = torch.bincount(row, minlength=rows)
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    keys = _pack(products.new_full((rows, int(counts.max())), -torch.inf), counts.new_tensor(_LOW))
    keys[row, place] = _pack(values[group, member], ids)
    return keys


def _reached(maxima: Tensor, k: int, worst: Tensor | None) -> tuple[Tensor, Tensor]:
    """Which groups may hold one of the k best labels, and what each of these labels reaches.

    Shapes: maxima of groups [B, tiles, LANES] -> boolean of the same shape, and [B, 1].
    """
    if worst is None:
        worst = maxima.new_full((len(maxima), 1), -torch.inf)
    else:
        reached = maxima >= worst[:, :, None]
        # usually few groups reach the worst of the earlier blocks: the maxima need no sorting
        if torch.count_nonzero(reached) <= 2 * k * len(maxima):
            return reached, worst
    flat = maxima.flatten(1)
    if flat.shape[1] >= k:
        worst = torch.maximum(worst, _kth_largest(flat, k))
    return maxima >= worst[:, :, None], worst


def _kth_largest(values: Tensor, k: int) -> Tensor:
    """[B, 1] of values [B, n], n at least k."""
    if values.is_cuda:
        return values.topk(k, dim=1).values[:, -1:]
    place = values.shape[1] - k
    # several times as fast as topk on a CPU
    return torch.from_numpy(np.partition(values.numpy(), place, axis=1)[:, place : place + 1])


def _pack(scores: Tensor, ids: Tensor) -> Tensor:
    """One int64 for a float32 score and an id: larger score first, then lower id."""
    bits = (scores + 0.0).view(torch.int32)  # + 0.0: -0.0 equals 0.0
    # as integers, floats are ordered by magnitude: reverse the order of the negative ones
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
        # a finite sum means finite values: only rows without one are looked at whole
        sums = embeddings.detach().sum(dim=1, dtype=torch.float32)
        for row in (~sums.isfinite()).nonzero()[:, 0].tolist():
            if not embeddings[row].isfinite().all():
                raise UserError(f"{name}: row {row} is not finite; did the training diverge?")
