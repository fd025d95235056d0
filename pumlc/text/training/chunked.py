"""The decoupled softmax in chunks of labels, where some pairs take no part."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.utils.checkpoint import checkpoint

from pumlc.losses.numerics import group_share, group_sum, log_sum_exp, lowest
from pumlc.text.data.readers import SparseMatrix


def apart_decoupled_softmax_loss(
    documents: Tensor,
    labels: Tensor,
    positives: SparseMatrix,
    excluded: SparseMatrix,
    *,
    temperature: float,
    chunk_size: int,
    process_group: ProcessGroup | None,
) -> Tensor:
    """`pumlc.losses.chunked_decoupled_softmax_loss` without the excluded pairs.

    In the same memory, somewhat slower: scores are left to automatic differentiation, which
    computes those of a chunk again in the backward pass.

    Args:
        documents: float32 [B, D], the same on all ranks.
        labels: float32 [l, D], the labels of this rank.
        positives: bool CSR [B, l].
        excluded: bool CSR [B, l], none of them positive.
        temperature: divides the scores.
        chunk_size: labels to a chunk.
        process_group: ranks that hold different labels.

    Returns:
        Scalar: on every rank that of all labels; backward gives each rank its slice.
    """
    with torch.autocast(documents.device.type, enabled=False):
        queries = documents / temperature
        parts = list(_log_negatives(queries, labels, positives + excluded, chunk_size))
        log_negatives = log_sum_exp(torch.stack(parts), 0, process_group)
        log_negatives = group_share(log_negatives, process_group)
        rows, columns = _places(positives.tocoo(), documents.device)
        scores = (queries[rows] * labels[columns]).sum(1)
        log_p = F.logsigmoid(scores - log_negatives[rows])
        per_row = torch.zeros_like(log_negatives)
        num_positives = group_sum(per_row.index_add(0, rows, torch.ones_like(log_p)), process_group)
        sum_positives = group_sum(per_row.index_add(0, rows, log_p), process_group)
        return -(sum_positives / num_positives.clamp(min=1)).mean()


def _log_negatives(
    queries: Tensor, labels: Tensor, left_out: SparseMatrix, chunk_size: int
) -> Iterator[Tensor]:
    """Log-sum-exp [B] of the scores of each chunk, the pairs ``left_out`` apart."""

    def of_chunk(queries: Tensor, chunk: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        scores = queries @ chunk.T
        return scores.index_put((rows, columns), scores.new_tensor(lowest(scores.dtype))).logsumexp(
            1
        )

    by_label = left_out.tocsc()
    # split, not slices: the gradient of each slice would be as large as all labels
    for number, chunk in enumerate(labels.split(chunk_size)):
        start = number * chunk_size
        inside = by_label[:, start : start + len(chunk)].tocoo()
        places = _places(inside, queries.device)
        yield checkpoint(
            of_chunk, queries, chunk, *places, use_reentrant=False, preserve_rng_state=False
        )


def _places(matrix: SparseMatrix, device: torch.device) -> tuple[Tensor, Tensor]:
    rows, columns = (torch.from_numpy(x).long().to(device) for x in (matrix.row, matrix.col))
    return rows, columns
