"""Contrastive losses over a label set: softmax and decoupled softmax, dense and in chunks."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.losses.checks import check_logits
from pumlc.losses.excluded import check_excluded
from pumlc.losses.label_chunks import (
    Forces,
    Pairs,
    check_chunks,
    find_pairs,
    first_pass,
    second_pass,
)
from pumlc.losses.numerics import (
    at_least_float32,
    group_max,
    group_share,
    group_sum,
    log_sum_exp,
    lowest,
    refuse_second_derivative,
)
from pumlc.losses.positives import check_positives, positive_mask


def softmax_loss(
    scores: Tensor,
    positives: Tensor,
    *,
    excluded: Tensor | None = None,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Softmax cross entropy with several positives to a row.

    .. math::

        L = -\tfrac1B \sum_i \sum_{p \in P_i} \log\frac{e^{s_{ip}}}{\sum_l e^{s_{il}}}

    Couples the labels of a row; rows are independent. Positives compete with each other: at the
    optimum each of the n positives of a row has probability 1/n. ``decoupled_softmax_loss`` does
    not have this effect.

    When to use: rows with one positive, or where only the best one has to be found.

    Args:
        scores: s, already divided by a temperature, [B, L], any floating dtype.
        positives: [B, L], bool, 0/1 integers or torch sparse CSR. A label listed twice counts once;
            a row without positives contributes 0 to the mean over all B rows.
        excluded: bool [B, L] or None, pairs that take no part, as if the row did not have this
            label at all; a positive that is excluded is no positive. Given on all ranks or on none.
        process_group: ranks that hold different labels (L may differ) of the same rows.

    Returns:
        Scalar, in nats: summed over a row's positives, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or values are not as above.

    Source: DEXML (arXiv 2310.10636). As published: a sum over positives, not a mean.

    Example:
        >>> scores = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
        >>> softmax_loss(scores, torch.tensor([[1, 0, 1], [0, 1, 0]]))
        tensor(0.9551)
    """
    check_logits(scores, "scores")
    check_positives(positives, *scores.shape)
    scores, mask = _without_excluded_scores(scores, positives, excluded)
    # relative to the row's largest score, so that no two large numbers are subtracted below
    scores = scores - group_max(scores.amax(1), process_group).unsqueeze(1)
    log_total = log_sum_exp(scores, 1, process_group)
    num_positives = group_sum(mask.sum(1), process_group)
    sum_positives = group_sum(scores.masked_fill(~mask, 0.0).sum(1), process_group)
    return (num_positives * log_total - sum_positives).mean()


def decoupled_softmax_loss(
    scores: Tensor,
    positives: Tensor,
    *,
    excluded: Tensor | None = None,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Softmax of each positive against the negatives alone.

    .. math::

        L = -\tfrac1B \sum_i \tfrac1{|P_i|} \sum_{p \in P_i}
            \log\frac{e^{s_{ip}}}{e^{s_{ip}} + \sum_{l \notin P_i} e^{s_{il}}}

    Couples the labels of a row; rows are independent. Equals ``softmax_loss`` where a row has one
    positive. ``chunked_decoupled_softmax_loss`` is the same loss without the matrix of scores.

    When to use: rows with several positives, all of which are to be ranked before the rest.

    Args:
        scores: s, already divided by a temperature, [B, L], any floating dtype.
        positives: [B, L], bool, 0/1 integers or torch sparse CSR. A label listed twice counts once;
            a row without positives, or without negatives, contributes 0 to the mean over B rows.
        excluded: bool [B, L] or None, pairs that take no part, as if the row did not have this
            label at all; a positive that is excluded is no positive. Given on all ranks or on none.
        process_group: ranks that hold different labels (L may differ) of the same rows.

    Returns:
        Scalar, in nats: mean over a row's positives, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or values are not as above.

    Source: DEXML (arXiv 2310.10636).

    Example:
        >>> scores = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
        >>> decoupled_softmax_loss(scores, torch.tensor([[1, 0, 1], [0, 1, 0]]))
        tensor(0.1575)
    """
    check_logits(scores, "scores")
    check_positives(positives, *scores.shape)
    scores, mask = _without_excluded_scores(scores, positives, excluded)
    negatives = scores.masked_fill(mask, lowest(scores.dtype))
    log_negatives = log_sum_exp(negatives, 1, process_group)
    log_negatives = group_share(log_negatives, process_group).unsqueeze(1)
    log_p = F.logsigmoid(scores - log_negatives).masked_fill(~mask, 0.0)
    num_positives = group_sum(mask.sum(1), process_group).clamp(min=1)
    return -(group_sum(log_p.sum(1), process_group) / num_positives).mean()


def _without_excluded_scores(scores, positives, excluded) -> tuple[Tensor, Tensor]:
    """Scores [B, L], those of excluded pairs too low to count, and the mask of the positives."""
    check_excluded(excluded, *scores.shape)
    scores, mask = at_least_float32(scores), positive_mask(positives)
    if excluded is None:
        return scores, mask
    return scores.masked_fill(excluded, lowest(scores.dtype)), mask & ~excluded


def chunked_decoupled_softmax_loss(
    queries: Tensor,
    labels: Tensor,
    positives: Tensor,
    *,
    temperature: float,
    chunk_size: int,
    excluded: Any = None,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""``decoupled_softmax_loss(queries @ labels.T / temperature, positives)`` in little memory.

    The scores are computed for ``chunk_size`` labels at a time, once forward and once more
    backward: the memory beyond embeddings and gradients is about 2 * B * chunk_size numbers.

    When to use: more labels than fit; it is also the faster one.

    Args:
        queries: embeddings, [B, D], any floating dtype.
        labels: embeddings, [L, D], any floating dtype.
        positives: [B, L], torch sparse CSR, bool or 0/1 integers; see ``decoupled_softmax_loss``.
        temperature: divides the scores, > 0.
        chunk_size: labels to a chunk, >= 1.
        excluded: pairs that take no part, see ``decoupled_softmax_loss``: bool [B, L], torch sparse
            CSR or a matrix of scipy.sparse. A sparse one is never made dense.
        process_group: ranks that hold different labels (L may differ) and the same queries. The
            gradient of the queries on a rank is the part that comes from its labels.

    Returns:
        Scalar, in nats: mean over a row's positives, mean over rows. Differentiable once.

    Raises:
        ValueError: shapes do not agree, dtypes or values are not as above.

    Source: the loss, DEXML (arXiv 2310.10636); the gradient,
    dL/ds = (softmax over negatives) * (sum of the positives' pull) - (the positives' pull).

    Example:
        >>> queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> labels = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> positives = torch.tensor([[1, 0, 0], [0, 1, 1]])
        >>> chunked_decoupled_softmax_loss(
        ...     queries, labels, positives, temperature=0.1, chunk_size=2
        ... )
        tensor(0.0092)
    """
    check_logits(queries, "queries")
    check_logits(labels, "labels")
    if queries.shape[1] != labels.shape[1]:
        raise ValueError(
            "queries [B, D] and labels [L, D] must have the same D; "
            f"got {list(queries.shape)} and {list(labels.shape)}"
        )
    check_positives(positives, len(queries), len(labels))
    check_chunks(temperature, chunk_size)
    pairs = find_pairs(positives, excluded, len(queries), len(labels), queries.device)
    scaled = at_least_float32(queries) / temperature
    return _ChunkedDecoupledSoftmax.apply(scaled, labels, chunk_size, process_group, *pairs)


class _ChunkedDecoupledSoftmax(torch.autograd.Function):
    """Two passes over the labels; between them only numbers per row and per positive are kept."""

    @staticmethod
    def forward(ctx, queries, labels, chunk_size, process_group, *pairs):
        with torch.autocast(queries.device.type, enabled=False):
            losses, forces = first_pass(queries, labels, chunk_size, Pairs(*pairs), process_group)
        ctx.chunk_size = chunk_size
        ctx.save_for_backward(queries, labels, *forces, *pairs)
        return losses.sum()

    @staticmethod
    def backward(ctx, *gradients):
        refuse_second_derivative("decoupled_softmax_loss is")
        queries, labels, log_negatives, pull, push, *pairs = ctx.saved_tensors
        forces = Forces(log_negatives, pull * gradients[0], push * gradients[0])
        by_labels = torch.empty_like(labels)
        with torch.autocast(queries.device.type, enabled=False):
            by_queries = second_pass(
                queries, labels, ctx.chunk_size, Pairs(*pairs), forces, by_labels.__setitem__
            )
        return by_queries, by_labels, *[None] * 7
