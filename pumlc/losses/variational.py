"""The class-wise variational loss of positives and unlabeled data, as the formulas are read."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import POSITIVE
from pumlc.losses.numerics import group_sum, log_sum_exp, lowest


def variational_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    alpha: float,
    skip_absent: bool,
    temperature_floor: float,
    epsilon: float,
    excluded: Tensor | None = None,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """The definition of `pumlc.losses.pu_loss`, left to automatic differentiation.

    Args:
        logits: [B, C], float32 or float64.
        targets: labels in {1, 0, -1}, [B, C].
        gamma: see `pumlc.losses.pu_loss`, as are the other numbers.
        alpha: see there.
        skip_absent: ``absent == "skip"``.
        temperature_floor: see there.
        epsilon: see there.
        excluded: bool [B, C] or None, pairs that take no part.
        process_group: ranks that hold different rows, the same classes.

    Returns:
        Scalar: summed over the classes that have a row.
    """
    kept = torch.ones_like(targets, dtype=torch.bool) if excluded is None else ~excluded
    positive = (targets == POSITIVE) & kept
    num_kept = group_sum(kept.sum(0), process_group)
    num_rows = num_kept.clamp(min=1).to(logits.dtype)
    num_positives = group_sum(positive.sum(0), process_group)

    logits = logits.masked_fill(~kept, 0.0)
    temperature = _temperature_of_logits(
        logits.detach(), kept, num_rows, alpha, temperature_floor, process_group
    )
    log_q = F.logsigmoid(logits / temperature)
    log_total = log_sum_exp(log_q.masked_fill(~kept, lowest(logits.dtype)), 0, process_group)
    log_mean_q = log_total - num_rows.log()
    if epsilon:
        log_epsilon = logits.new_tensor(epsilon).log()
        log_q = torch.logaddexp(log_q, log_epsilon)
        log_mean_q = torch.logaddexp(log_mean_q, log_epsilon)
    sum_positives = group_sum(log_q.masked_fill(~positive, 0.0).sum(0), process_group)

    rebalance = (gamma * log_mean_q.detach()).exp()
    if skip_absent:
        rebalance = rebalance.masked_fill(num_positives == 0, 0.0)
    losses = rebalance * log_mean_q - sum_positives / num_positives.clamp(min=1)
    return losses.masked_fill(num_kept == 0, 0.0).sum()


def _temperature_of_logits(logits, kept, num_rows, alpha, floor, process_group) -> Tensor:
    """Temperature of each class from the rows it keeps, [C]."""
    mean = group_sum(logits.sum(0), process_group) / num_rows
    squares = (logits - mean).square().masked_fill(~kept, 0.0)
    deviation = (group_sum(squares.sum(0), process_group) / num_rows).sqrt()
    return class_temperature(mean, deviation, num_rows, alpha, floor)


def class_temperature(
    mean: Tensor, deviation: Tensor, num_rows: int | Tensor, alpha: float, floor: float
) -> Tensor:
    """Temperature of each class: ``alpha`` standard deviations, between the floor and 1.

    Args:
        mean: of the class's logits, [C].
        deviation: their standard deviation, [C].
        num_rows: how many they are, one number or [C].
        alpha: temperature over standard deviation.
        floor: lower bound, multiplied by 1 + mean where the mean is positive. One row has no
            spread: its temperature is 1.

    Returns:
        [C].
    """
    floors = floor + (num_rows == 1)
    bound = mean.clamp(min=0.0).mul_(floors).add_(floors)
    return deviation.mul(alpha).maximum(bound).clamp_(max=1.0)
