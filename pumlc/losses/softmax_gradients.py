"""The decoupled softmax with its gradients, where that of all labels is never held."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.losses.checks import check_logits
from pumlc.losses.label_chunks import check_chunks, find_pairs, first_pass, second_pass
from pumlc.losses.numerics import at_least_float32
from pumlc.losses.positives import check_positives


@torch.no_grad()
def decoupled_softmax_gradients(
    queries: Tensor,
    labels: Any,
    positives: Tensor,
    *,
    temperature: float,
    chunk_size: int,
    take: Callable[[slice, Tensor], object],
    excluded: Any = None,
    process_group: ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    r"""`chunked_decoupled_softmax_loss` and its gradients, without a graph.

    The gradient of the labels is handed out a chunk at a time. A chunk is not read again
    afterwards, so ``take`` may change its labels: an update of all labels then needs no gradient
    of all labels.

    When to use: a learned vector for each of very many labels.

    Args:
        queries: embeddings, [B, D], any floating dtype.
        labels: embeddings, [L, D]: a tensor, or anything with a length whose slices are tensors.
        positives: [B, L], see there.
        temperature: divides the scores, > 0.
        chunk_size: labels to a chunk, >= 1.
        take: called with each slice of the labels and its gradient [chunk, D], float32 at least, in
            order. It is not called where the loss is not finite.
        excluded: see there.
        process_group: ranks that hold different labels (L may differ) and the same queries.

    Returns:
        the loss, a scalar, in nats, and the gradient of the queries [B, D], float32 at least; on a
        rank the part that comes from its labels. Where the loss is not finite, so is the gradient.

    Raises:
        ValueError: shapes do not agree, dtypes or values are not as above.

    Source: as `chunked_decoupled_softmax_loss`.

    Example:
        >>> queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> labels = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> positives = torch.tensor([[1, 0, 0], [0, 1, 1]])
        >>> def descend(rows, gradient):
        ...     labels[rows] -= gradient
        >>> loss, by_queries = decoupled_softmax_gradients(
        ...     queries, labels, positives, temperature=0.1, chunk_size=2, take=descend
        ... )
        >>> loss
        tensor(0.0092)
    """
    check_logits(queries, "queries")
    check_positives(positives, len(queries), len(labels))
    check_chunks(temperature, chunk_size)
    pairs = find_pairs(positives, excluded, len(queries), len(labels), queries.device)
    scaled = at_least_float32(queries) / temperature
    with torch.autocast(queries.device.type, enabled=False):
        losses, forces = first_pass(scaled, labels, chunk_size, pairs, process_group)
        loss = losses.sum()
        if not loss.isfinite():
            return loss, torch.full_like(scaled, torch.nan)
        by_scaled = second_pass(scaled, labels, chunk_size, pairs, forces, take)
    return loss, by_scaled / temperature
