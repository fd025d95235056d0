"""The two passes of the decoupled softmax over chunks of labels, which never hold all scores."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.losses.excluded import excluded_pairs, without_excluded
from pumlc.losses.numerics import group_sum, log_sum_exp, lowest
from pumlc.losses.positives import positive_entries


class Pairs(NamedTuple):
    """Pairs of row and label that the scores alone do not tell.

    Attributes:
        rows: of the positives, [N].
        columns: of the positives, [N]; -1 for one that does not count.
        excluded: dense mask [B, L] or None, see `pumlc.losses.excluded.excluded_pairs`.
        excluded_rows: [M] or None.
        excluded_columns: [M] or None.
    """

    rows: Tensor
    columns: Tensor
    excluded: Tensor | None
    excluded_rows: Tensor | None
    excluded_columns: Tensor | None


class Forces(NamedTuple):
    """What the gradient of every score follows from.

    Attributes:
        log_negatives: log-sum-exp of the scores of a row's negatives, [B].
        pull: of each positive, minus the derivative of the loss by its score, [N].
        push: of each row, the derivative of the loss by ``log_negatives``, [B].
    """

    log_negatives: Tensor
    pull: Tensor
    push: Tensor


class _Chunk(NamedTuple):
    """Scores [B, chunk] of a chunk, positives and excluded pairs at the lowest number.

    Every positive goes through every chunk, with a position in the flattened scores even where it
    is not of that chunk: so no shape depends on values.
    """

    labels: slice
    embeddings: Tensor
    scores: Tensor
    positions: Tensor
    inside: Tensor
    positive_scores: Tensor


def check_chunks(temperature: float, chunk_size: int) -> None:
    """Raise ``ValueError`` unless scores can be divided by one and computed in the other."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite; got {temperature}")
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1; got {chunk_size}")


def find_pairs(
    positives: Tensor, excluded: Any, num_rows: int, num_labels: int, device: torch.device
) -> Pairs:
    """The pairs of positives [B, L], of any form, and excluded pairs, of any form or None."""
    excluded_ones = excluded_pairs(excluded, num_rows, num_labels, device)
    rows, columns = positive_entries(positives)
    return Pairs(rows, without_excluded(rows, columns, num_labels, *excluded_ones), *excluded_ones)


def first_pass(
    queries: Tensor, labels: Any, chunk_size: int, pairs: Pairs, process_group: ProcessGroup | None
) -> tuple[Tensor, Forces]:
    r"""Losses of the rows, [B], divided by B, and the forces.

    With n, the log-sum-exp of a row's negatives, and w = 1 / (B times its number of positives), a
    positive of score s has the loss :math:`w \log(1 + e^{n - s})` and the pull
    :math:`w\,\sigma(n - s)`. The push of a row is the sum of its pulls.

    Args:
        queries: [B, D], divided by the temperature, float32 or float64.
        labels: [L, D], a tensor or anything with a length whose slices are tensors.
        chunk_size: labels to a chunk.
        pairs: positives and excluded pairs.
        process_group: ranks that hold other labels.
    """
    rows, columns = pairs.rows, pairs.columns
    log_negatives, positive_scores = _reduce(queries, labels, chunk_size, pairs)
    log_negatives = log_sum_exp(log_negatives.unsqueeze(0), 0, process_group)
    counted = (columns >= 0).to(queries.dtype)
    per_row = torch.zeros_like(log_negatives)
    num_positives = group_sum(per_row.index_add(0, rows, counted), process_group)
    weights = counted / (num_positives.clamp(min=1) * len(queries))[rows]
    margins = log_negatives[rows] - positive_scores
    losses = per_row.index_add(0, rows, weights * -F.logsigmoid(-margins))
    pull = weights * margins.sigmoid()
    push = group_sum(per_row.index_add(0, rows, pull), process_group)
    return group_sum(losses, process_group), Forces(log_negatives, pull, push)


def second_pass(
    queries: Tensor,
    labels: Any,
    chunk_size: int,
    pairs: Pairs,
    forces: Forces,
    take: Callable[[slice, Tensor], object],
) -> Tensor:
    """Gradient by the queries, [B, D]; that by the labels is handed out chunk by chunk.

    Args:
        queries: as in `first_pass`, as are the next three.
        labels: a chunk of them is not read again once its gradient is handed out.
        chunk_size: labels to a chunk.
        pairs: positives and excluded pairs.
        forces: of the first pass.
        take: called with each chunk and its gradient [chunk, D].
    """
    by_queries = torch.zeros_like(queries)
    for chunk in _chunks(queries, labels, chunk_size, pairs):
        by_scores = chunk.scores.sub_(forces.log_negatives.unsqueeze(1)).exp_()
        by_scores.mul_(forces.push.unsqueeze(1))
        pulled = torch.where(chunk.inside, -forces.pull, 0.0)
        by_scores.view(-1).scatter_add_(0, chunk.positions, pulled)
        by_queries.addmm_(by_scores, chunk.embeddings)
        take(chunk.labels, by_scores.T @ queries)
    return by_queries


def _reduce(queries, labels, chunk_size, pairs) -> tuple[Tensor, Tensor]:
    """Log-sum-exp of the negatives, [B], and the scores of the positives, [N]."""
    largest = queries.new_full((len(queries),), torch.finfo(queries.dtype).min)
    total = torch.zeros_like(largest)
    positive_scores = queries.new_zeros(pairs.rows.shape)
    for chunk in _chunks(queries, labels, chunk_size, pairs):
        positive_scores = torch.where(chunk.inside, chunk.positive_scores, positive_scores)
        previous, largest = largest, torch.maximum(largest, chunk.scores.amax(1))
        terms = chunk.scores.sub_(largest.unsqueeze(1)).exp_()
        total = total * (previous - largest).exp() + terms.sum(1)
    return largest + total.log(), positive_scores


def _chunks(queries, labels, chunk_size, pairs) -> Iterator[_Chunk]:
    for start in range(0, len(labels), chunk_size):
        chunk = slice(start, min(start + chunk_size, len(labels)))
        embeddings = labels[chunk].to(queries.dtype)
        scores = queries @ embeddings.T
        positions, inside = _positions(pairs.rows, pairs.columns, chunk)
        positive_scores = scores.view(-1)[positions]
        _leave_out(scores, positions, inside)
        if pairs.excluded is not None:
            scores.masked_fill_(pairs.excluded[:, chunk], lowest(scores.dtype))
        elif pairs.excluded_rows is not None:
            _leave_out(scores, *_positions(pairs.excluded_rows, pairs.excluded_columns, chunk))
        yield _Chunk(chunk, embeddings, scores, positions, inside, positive_scores)


def _positions(rows, columns, chunk) -> tuple[Tensor, Tensor]:
    """Where pairs are in the flattened scores of a chunk, and whether they are in it at all."""
    width = chunk.stop - chunk.start
    local = columns - chunk.start
    inside = (local >= 0) & (local < width)
    return rows * width + local.clamp(0, width - 1), inside


def _leave_out(scores, positions, inside) -> None:
    """Set the scores of the pairs of a chunk to the lowest number."""
    values = scores.new_full(positions.shape, math.inf)
    values.masked_fill_(inside, lowest(scores.dtype))
    scores.view(-1).scatter_reduce_(0, positions, values, "amin")
