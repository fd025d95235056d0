"""Labels ranked for documents, and the metrics of that."""

from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator

from pumlc.engine.batches import gather_rows, own_rows
from pumlc.engine.selection import FEWEST
from pumlc.metrics import (
    ndcg_at_k,
    ndcg_of_rows,
    precision_at_k,
    propensity_precision_at_k,
    recall_at_k,
    resample_counts,
)
from pumlc.progress import ShowProgress
from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.retrieval.search import Index, faiss_search, search

Precision = Literal["fp32", "bf16"]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
TOP = (1, 3, 5)
DEEP = (10, 100)
DEPTH = max(DEEP)
_RESAMPLES = 100
"""Resamples of the held-out documents, for the standard error by which weights are selected."""


def rank_labels(
    queries: np.ndarray,
    labels: np.ndarray,
    k: int,
    accelerator: Accelerator,
    *,
    excluded: SparseMatrix | None = None,
    index: Index = "exact",
    precision: Precision = "fp32",
    progress: ShowProgress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k best labels of each document; each process ranks a shard of the documents.

    Args:
        queries: float32 [N, D], the same on every process.
        labels: float32 [L, D], the same on every process.
        k: labels wanted.
        excluded: sparse [N, L]: pairs left out.
        index: exact, or faiss.
        precision: bf16 rounds the embeddings to bfloat16 before the search.
        progress: of the exact search, see there.

    Returns:
        ids int64 [N, k] and scores float32 [N, k], on every process; see
        `pumlc.text.retrieval.search.search`.
    """
    own = np.array(own_rows(len(queries), accelerator), np.int64)
    find = partial(search, progress=progress) if index == "exact" else faiss_search
    ids, scores = find(
        torch.from_numpy(queries[own]).to(accelerator.device, PRECISIONS[precision]),
        torch.from_numpy(labels).to(PRECISIONS[precision]),
        k,
        excluded=None if excluded is None else excluded[own],
    )
    count = len(queries)
    return gather_rows(ids, count, accelerator), gather_rows(scores, count, accelerator)


def retrieval_metrics(
    ids: np.ndarray, truth: SparseMatrix, inverse_propensities: np.ndarray | None = None
) -> dict[str, float]:
    """P@1/3/5, nDCG@1/3/5, R@10/100 and, with propensities, PSP@1/3/5, in percent.

    Every row counts: one without a true label adds 0 to a mean.

    Args:
        ids: [N, 100], best first; -1 where there is none.
        truth: bool CSR [N, L].
        inverse_propensities: [L] or None.
    """
    metrics = {f"P@{k}": precision_at_k(ids, truth, k) for k in TOP}
    metrics |= {f"nDCG@{k}": ndcg_at_k(ids, truth, k) for k in TOP}
    if inverse_propensities is not None:
        for k in TOP:
            metrics[f"PSP@{k}"] = propensity_precision_at_k(ids, truth, k, inverse_propensities)
    return metrics | {f"R@{k}": recall_at_k(ids, truth, k) for k in DEEP}


def resampled_ndcg(ids: np.ndarray, truth: SparseMatrix, k: int) -> np.ndarray:
    """nDCG@k on resamples of the rows, always the same ones.

    Args:
        ids: [N, >= k], best first; -1 where there is none.
        truth: bool CSR [N, L].
        k: how many places count.

    Returns:
        percent [R]; nan everywhere if there are fewer than `FEWEST` rows.
    """
    if len(ids) < FEWEST:
        return np.full(_RESAMPLES, np.nan)
    counts = resample_counts(len(ids), _RESAMPLES)
    return 100 * (counts @ ndcg_of_rows(ids, truth, k)) / len(ids)


def only_labels(truth: SparseMatrix, kept: np.ndarray) -> tuple[np.ndarray, Any]:
    """Rows with a true label among ``kept``, and their truth without the other labels.

    Args:
        truth: bool CSR [N, L].
        kept: bool [L].

    Returns:
        row numbers [n] and bool CSR [n, L].
    """
    part = truth.copy()
    part.data = kept[part.indices]
    part.eliminate_zeros()
    rows = np.flatnonzero(np.diff(part.indptr))
    return rows, part[rows]


def hits_of(ids: np.ndarray, truth: SparseMatrix) -> np.ndarray:
    """bool [N, k]: whether a document has a label; False for -1."""
    rows = np.repeat(np.arange(len(ids)), ids.shape[1])
    flat = np.maximum(ids.ravel(), 0)
    found: Any = truth[rows, flat]
    return np.asarray(found).reshape(ids.shape).astype(bool) & (ids >= 0)
