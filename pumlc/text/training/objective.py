"""The loss of a text run: embeddings and positives in, a scalar out, on any number of ranks."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.losses import LOSSES, chunked_decoupled_softmax_loss, soft_topk_loss
from pumlc.losses.numerics import group_max, group_sum, lowest
from pumlc.text.config import LossConfig
from pumlc.text.data.readers import SparseMatrix
from pumlc.text.training.chunked import apart_decoupled_softmax_loss

# these couple the labels of a row, which the ranks divide; the others are sums over labels
COUPLE_LABELS = ("softmax", "decoupled_softmax", "soft_topk")
# below the lowest score of a row by this many 1 / alpha: a probability too small for float32
BELOW = 60.0


def contrastive_loss(
    documents: Tensor,
    labels: Tensor,
    positives: SparseMatrix,
    config: LossConfig,
    *,
    process_group: ProcessGroup | None,
    excluded: SparseMatrix | None = None,
) -> Tensor:
    r"""Loss of the scores :math:`s_{il} = \langle x_i, y_l \rangle / \tau + b`.

    The losses that couple labels do not change with b.

    Args:
        documents: float32 [B, D], the same on all ranks.
        labels: float32 [l, D], the labels of this rank.
        positives: bool CSR [B, l].
        config: which loss, its temperature, bias and parameters.
        process_group: ranks that hold different labels.
        excluded: bool CSR [B, l] or None, on all ranks alike: pairs, none of them positive, that
            take no part, as if the row did not have this label at all.

    Returns:
        Scalar: on every rank that of all labels; backward gives each rank its slice.
    """
    if config.score_chunk is not None:
        sizes = {"temperature": config.temperature, "chunk_size": config.score_chunk}
        if excluded is not None:
            return apart_decoupled_softmax_loss(
                documents, labels, positives, excluded, **sizes, process_group=process_group
            )
        sparse = _torch_csr(positives, documents.device)
        return chunked_decoupled_softmax_loss(
            documents, labels, sparse, **sizes, process_group=process_group
        )
    with torch.autocast(documents.device.type, enabled=False):
        scores = documents @ labels.T / config.temperature + config.bias
    dense = _dense(positives, scores)
    if excluded is not None:
        return _apart_loss(scores, dense, _dense(excluded, scores), config, process_group)
    loss = LOSSES[config.name]
    if config.name in COUPLE_LABELS:
        return loss(scores, dense, **config.parameters, process_group=process_group)
    return group_sum(loss(scores, dense.to(torch.int8), **config.parameters), process_group)


def _apart_loss(
    scores: Tensor,
    positives: Tensor,
    excluded: Tensor,
    config: LossConfig,
    process_group: ProcessGroup | None,
) -> Tensor:
    """The loss of dense scores without the excluded pairs."""
    parameters: dict[str, Any] = dict(config.parameters)
    if config.name == "soft_topk":
        return _apart_soft_topk(scores, positives, excluded, process_group, **parameters)
    if config.name in COUPLE_LABELS:
        # a term of the sums over exponentials that is 0, and its gradient with it
        kept = scores.masked_fill(excluded, lowest(scores.dtype))
        return LOSSES[config.name](kept, positives, **parameters, process_group=process_group)
    if config.name == "bce":
        other = NEGATIVE if parameters["unknown"] == "negative" else UNKNOWN
        targets = torch.where(positives, POSITIVE, other).masked_fill(excluded, UNKNOWN)
        value = LOSSES["bce"](scores, targets.to(torch.int8), **parameters | {"unknown": "ignore"})
    else:
        value = _apart_by_label(scores, positives, excluded, config)
    return group_sum(value, process_group)


def _apart_soft_topk(
    scores: Tensor,
    positives: Tensor,
    excluded: Tensor,
    process_group: ProcessGroup | None,
    *,
    k: int,
    alpha: float,
) -> Tensor:
    """Soft top-k among the labels that are left to a row; with k or fewer, all are selected."""
    lowest_kept = -group_max(-scores.masked_fill(excluded, math.inf).amin(1), process_group)
    # just far enough below: the search for the threshold starts from the spread of the scores
    floor = torch.where(lowest_kept.isfinite(), lowest_kept, 0.0) - BELOW / alpha
    kept = torch.where(excluded, floor.unsqueeze(1), scores)
    return soft_topk_loss(kept, positives, k=k, alpha=alpha, process_group=process_group)


def _apart_by_label(
    scores: Tensor, positives: Tensor, excluded: Tensor, config: LossConfig
) -> Tensor:
    """A loss that is a sum over labels of statistics of their rows, each over the rows it keeps.

    Labels that keep equally many rows go together.
    """
    counts = excluded.sum(0)
    parts = []
    for count in counts.unique().tolist():
        if count == len(scores):
            continue
        columns = (counts == count).nonzero()[:, 0]
        own, targets = scores[:, columns], positives[:, columns].to(torch.int8)
        if count:
            order = excluded[:, columns].int().argsort(stable=True, dim=0)
            rows = order[: len(scores) - count]
            own, targets = own.gather(0, rows), targets.gather(0, rows)
        parts.append(LOSSES[config.name](own, targets, **config.parameters))
    return torch.stack(parts).sum() if parts else scores.sum() * 0.0


def _dense(matrix: SparseMatrix, like: Tensor) -> Tensor:
    return torch.from_numpy(matrix.toarray()).to(like.device)


def _torch_csr(matrix: SparseMatrix, device: torch.device) -> Tensor:
    with warnings.catch_warnings():
        # PyTorch announces with every process that its CSR tensors are in beta
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr).long(),
            torch.from_numpy(matrix.indices).long(),
            torch.ones(matrix.nnz, dtype=torch.bool),
            matrix.shape,
            check_invariants=True,
        ).to(device)
