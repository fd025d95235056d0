"""Soft top-k: a differentiable operator that selects k labels of a row, and its loss."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.losses.checks import check_logits, values_can_be_checked
from pumlc.losses.excluded import check_excluded
from pumlc.losses.numerics import (
    at_least_float32,
    group_count,
    group_max,
    group_share,
    group_sum,
    log_sum_exp,
    lowest,
)
from pumlc.losses.positives import check_positives, positive_mask

MAX_STEPS = 40
CENTRE_STEPS = 2


def soft_topk(
    scores: Tensor,
    *,
    k: int | Tensor,
    alpha: float,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Probability of each label to be among the top k of its row; a row's probabilities sum to k.

    .. math::

        p_{il} = \sigma(\alpha (s_{il} + t_i)) \qquad t_i:\ \sum_l p_{il} = k_i

    The gradient goes through t as well: dt/ds is minus the softmax of log(p (1 - p)). Couples the
    labels of a row.

    Args:
        scores: s, [B, L], any floating dtype.
        k: labels to select, 1 <= k < L; or integers [B], one per row, where k = 0 selects nothing
            and k >= L everything (without gradient).
        alpha: sharpness, > 0; the larger, the nearer to a hard choice.
        process_group: ranks that hold different labels (L may differ) of the same rows.

    Returns:
        Probabilities, [B, L], float32 at least.

    Raises:
        ValueError: shapes, dtypes or values are not as above.

    Source: DEXML (arXiv 2310.10636), soft top-k operator.

    Example:
        >>> soft_topk(torch.tensor([[2.0, 1.0, 0.0, -1.0]]), k=2, alpha=4.0)
        tensor([[0.9975, 0.8808, 0.1192, 0.0025]])
    """
    scores = _checked_scores(scores, k, alpha, process_group)
    return torch.sigmoid(alpha * (scores + _threshold(scores, k, alpha, process_group)))


def soft_topk_loss(
    scores: Tensor,
    positives: Tensor,
    *,
    k: int | Tensor,
    alpha: float,
    excluded: Tensor | None = None,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Log-loss of the positives under the soft top-k operator.

    .. math::

        L = -\tfrac1B \sum_i \tfrac1{|P_i|} \sum_{l \in P_i} \log p_{il} \qquad
        p = \text{soft\_topk}(s; k, \alpha)

    When to use: what counts is that the positives are among the first k, not in which order. With
    k the number of positives of each row a perfect row has loss 0. Couples the labels of a row.

    Args:
        scores: s, [B, L], any floating dtype.
        positives: [B, L], bool, 0/1 integers or torch sparse CSR. A label listed twice counts once;
            a row without positives contributes 0 to the mean over all B rows.
        k: 1 <= k < L; or integers [B], one per row; a row with k >= L contributes 0.
        alpha: sharpness, > 0.
        excluded: bool [B, L] or None, pairs that take no part, as if the row did not have this
            label at all; a positive that is excluded is no positive, and a row with k or fewer
            labels left contributes 0. Given on all ranks or on none.
        process_group: ranks that hold different labels (L may differ) of the same rows.

    Returns:
        Scalar, in nats: mean over a row's positives, mean over rows.

    Raises:
        ValueError: shapes, dtypes or values are not as above.

    Source: DEXML (arXiv 2310.10636), soft top-k loss.

    Example:
        >>> scores = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
        >>> soft_topk_loss(scores, torch.tensor([[1, 0, 1, 0]]), k=2, alpha=4.0)
        tensor(1.0647)
    """
    scores = _checked_scores(scores, k, alpha, process_group)
    check_positives(positives, *scores.shape)
    check_excluded(excluded, *scores.shape)
    mask = positive_mask(positives)
    if excluded is not None:
        mask = mask & ~excluded
        scores = scores.masked_fill(excluded, 0.0)
    threshold = _threshold(scores, k, alpha, process_group, excluded)
    log_p = F.logsigmoid(alpha * (scores + threshold))
    num_positives = group_sum(mask.sum(1), process_group).clamp(min=1)
    sum_positives = group_sum(log_p.masked_fill(~mask, 0.0).sum(1), process_group)
    return -(sum_positives / num_positives).mean()


def _checked_scores(scores, k, alpha, process_group) -> Tensor:
    check_logits(scores, "scores")
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha must be positive and finite; got {alpha}")
    num_rows, num_labels = scores.shape
    if isinstance(k, Tensor):
        if k.shape != (num_rows,) or k.is_floating_point() or k.dtype == torch.bool:
            raise ValueError(
                f"k must be an int or {num_rows} integers, one per row; "
                f"got {k.dtype} {list(k.shape)}"
            )
        if values_can_be_checked(k) and k.min() < 0:
            raise ValueError(f"k must not be negative; got {k.min().item()} in row {k.argmin()}")
    elif not isinstance(k, int) or k < 1 or (k >= num_labels and process_group is None):
        raise ValueError(
            f"k must be in [1, {num_labels - 1}] for {num_labels} labels, an int; got {k}"
        )
    return at_least_float32(scores)


def _threshold(scores, k, alpha, process_group, excluded=None) -> Tensor:
    """t of each row, [B, 1], ready to be used with the labels of this rank."""
    if not isinstance(k, Tensor):
        k = torch.full(scores.shape[:1], k, device=scores.device)
    threshold = _Threshold.apply(scores, k.to(scores.dtype), alpha, process_group, excluded)
    return group_share(threshold, process_group).unsqueeze(1)


class _Threshold(torch.autograd.Function):
    """The root t of ``sum sigmoid(alpha * (s + t)) = k``; its gradient by implicit differentiation:

    dt/ds_l = -p_l (1 - p_l) / sum p (1 - p), taken as a softmax of logarithms because the sum
    underflows where every p is near 0 or 1. The sums are over the labels that are not excluded.
    """

    @staticmethod
    def forward(ctx, scores, k, alpha, process_group, excluded):
        num_labels = group_count(scores.shape[1], scores, process_group)
        if excluded is not None:
            num_kept = group_sum((~excluded).sum(1), process_group).to(scores.dtype)
            # a row with no label left has no positive, so that any threshold will do: the search
            # finds that of all labels
            excluded = excluded & (num_kept > 0).unsqueeze(1)
            num_labels = torch.where(num_kept > 0, num_kept, num_labels)
        solvable = k.clamp(min=0.5).minimum(k.new_zeros(()) + num_labels - 0.5)
        bounds = _bounds(scores, excluded, num_labels, process_group)
        scores = _lowered(scores, excluded, alpha)
        threshold = _solve(scores, solvable, num_labels, bounds, alpha, process_group)
        threshold = _centre(scores, solvable, threshold, alpha, process_group)
        ctx.alpha, ctx.process_group = alpha, process_group
        ctx.save_for_backward(scores, threshold)
        threshold = threshold.masked_fill(k <= 0, -math.inf)
        return threshold.masked_fill(k >= num_labels, math.inf)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients):
        scores, threshold = ctx.saved_tensors
        scaled = ctx.alpha * (scores + threshold.unsqueeze(1))
        log_slope = F.logsigmoid(scaled).add_(F.logsigmoid(scaled.neg_()))
        log_total = log_sum_exp(log_slope, 1, ctx.process_group)
        weights = log_slope.sub_(log_total.unsqueeze(1)).exp_()
        return weights.mul_(-gradients[0].unsqueeze(1)), None, None, None, None


def _bounds(scores, excluded, num_labels, process_group) -> tuple[Tensor, Tensor, Tensor]:
    """Largest, smallest and mean score of the labels of each row that are not excluded, [B]."""
    high = low = total = scores
    if excluded is not None:
        high = scores.masked_fill(excluded, lowest(scores.dtype))
        low = scores.masked_fill(excluded, -lowest(scores.dtype))
        total = scores.masked_fill(excluded, 0.0)
    largest = group_max(high.amax(1), process_group)
    smallest = -group_max(-low.amin(1), process_group)
    return largest, smallest, group_sum(total.sum(1), process_group) / num_labels


def _lowered(scores, excluded, alpha) -> Tensor:
    """Scores, those of excluded pairs so low that alpha times them is finite and p is 0."""
    if excluded is None:
        return scores
    return scores.masked_fill(excluded, lowest(scores.dtype) / max(alpha, 1.0))


def _solve(scores, k, num_labels, bounds, alpha, process_group) -> Tensor:
    """Newton steps on logit(mean p), which is linear for equal scores, kept inside a bracket.

    With every score at the largest (smallest) of the row the root would be at the left (right) end
    of the bracket; a step that leaves it, or that is not a number, is replaced by bisection.
    """
    largest, smallest, mean = bounds
    logit = (k / (num_labels - k)).log()
    left, right = logit / alpha - largest, logit / alpha - smallest
    threshold = logit / alpha - mean
    best, smallest_error = threshold, torch.full_like(k, math.inf)
    for _ in range(MAX_STEPS):
        p = (scores + threshold.unsqueeze(1)).mul_(alpha).sigmoid_()
        selected = group_sum(p.sum(1), process_group)
        error = (selected - k).abs()
        best = torch.where(error < smallest_error, threshold, best)
        smallest_error = torch.minimum(error, smallest_error)
        # a look must cost nothing, and ranks must not differ in the number of messages
        if process_group is None and values_can_be_checked(error) and _small(error, k):
            break
        left = torch.where(selected < k, threshold, left)
        right = torch.where(selected < k, right, threshold)
        slope = alpha * (selected - group_sum(p.square_().sum(1), process_group))
        rise = logit - (selected / (num_labels - selected)).log()
        newton = threshold + rise * selected * (num_labels - selected) / (num_labels * slope)
        inside = (newton > left) & (newton < right)
        threshold = torch.where(inside, newton, (left + right) / 2)
    return best


def _centre(scores, k, threshold, alpha, process_group) -> Tensor:
    """Move along the plateau where k labels are near 1, the rest near 0 and any t seems to do.

    There the sum differs from k by less than its rounding error. With n labels above 1/2 the sum is
    n + excess - deficit: the excess is the sum over the labels below 1/2, the deficit what the
    others lack to 1. log(excess / deficit) has the slope 2 alpha on the plateau and a smaller one
    elsewhere, so that a step never goes too far. At the root the step is 0.
    """
    for _ in range(CENTRE_STEPS):
        scaled = (scores + threshold.unsqueeze(1)).mul_(alpha)
        above = scaled > 0
        surplus = group_sum(above.sum(1), process_group) - k
        tails = F.logsigmoid(scaled.abs_().neg_())
        left_out = lowest(tails.dtype)
        excess = log_sum_exp(tails.masked_fill(above, left_out), 1, process_group)
        deficit = log_sum_exp(tails.masked_fill(~above, left_out), 1, process_group)
        excess = torch.logaddexp(excess, surplus.clamp(min=0.0).log())
        deficit = torch.logaddexp(deficit, (-surplus).clamp(min=0.0).log())
        threshold = threshold - (excess - deficit) / (2.0 * alpha)
    return threshold


def _small(error, k) -> bool:
    return bool((error <= 64 * torch.finfo(k.dtype).eps * k).all())
