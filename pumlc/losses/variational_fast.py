"""The variational loss with its gradient by hand: faster, and in less memory.

`pumlc.losses.variational.variational_loss` is the definition. The tests hold both forms equal in
value and gradient, and ``benchmarks/losses.py`` prints what this one gains.
"""

import math
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import UNKNOWN
from pumlc.losses.numerics import group_count, group_max, group_sum, refuse_second_derivative
from pumlc.losses.variational import class_temperature


def fast_variational_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    alpha: float,
    skip_absent: bool,
    temperature_floor: float,
    epsilon: float,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """`pumlc.losses.variational.variational_loss` where no pair is excluded.

    Args:
        logits: [B, C], float32 or float64.
        targets: labels in {1, 0, -1}, [B, C].
        gamma: see `pumlc.losses.pu_loss`, as are the other numbers.
        alpha: see there.
        skip_absent: ``absent == "skip"``.
        temperature_floor: see there.
        epsilon: see there.
        process_group: ranks that hold different rows, the same classes.

    Returns:
        Scalar: summed over classes. Differentiable once.
    """
    return _VariationalLoss.apply(
        logits, targets, gamma, alpha, skip_absent, temperature_floor, epsilon, process_group
    )


class _VariationalLoss(torch.autograd.Function):
    """The value and, in the same pass, the gradient, a block of classes at a time.

    The loss is a sum over classes and its gradient is known in closed form. So nothing but the
    gradient has the shape [B, C], and a block is small enough to stay in a processor's cache.
    """

    @staticmethod
    def forward(
        ctx, logits, targets, gamma, alpha, skip_absent, temperature_floor, epsilon, process_group
    ):
        options = {
            "gamma": gamma,
            "alpha": alpha,
            "skip_absent": skip_absent,
            "temperature_floor": temperature_floor,
            "epsilon": epsilon,
            "process_group": process_group,
        }
        gradient = torch.empty_like(logits)
        ctx.save_for_backward(gradient)
        width = _block_width(logits, process_group)
        scratch = [logits.new_empty(len(logits), width) for _ in range(2)]
        if width == logits.shape[1]:
            return _block_loss(logits, targets, gradient, scratch, **options)
        blocks = zip(*(x.split(width, dim=1) for x in (logits, targets, gradient)), strict=True)
        terms = [_block_loss(s, y, g, scratch, **options) for s, y, g in blocks]
        return reduce(torch.add, terms)

    @staticmethod
    def backward(ctx, *gradients):
        refuse_second_derivative(
            "pu_loss with excluded=torch.zeros_like(targets, dtype=torch.bool) is, more slowly"
        )
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None, None, None, None, None, None


def _block_width(logits: Tensor, process_group: ProcessGroup | None) -> int:
    """Classes to a block: a megabyte a thread, or all where launching costs more than memory."""
    num_rows, num_classes = logits.shape
    if not logits.is_cpu or process_group is not None or torch.compiler.is_compiling():
        return num_classes
    return min(num_classes, max(1, 2**18 * torch.get_num_threads() // num_rows))


def _block_loss(
    logits: Tensor,
    targets: Tensor,
    gradient: Tensor,
    scratch: list[Tensor],
    *,
    gamma: float,
    skip_absent: bool,
    epsilon: float,
    process_group: ProcessGroup | None,
    **temperature_options: Any,
) -> Tensor:
    """Loss of some classes, scalar; its gradient by their logits is written to ``gradient``."""
    if logits.shape != scratch[0].shape:
        scratch = [matrix[:, : logits.shape[1]] for matrix in scratch]
    num_rows = group_count(len(logits), logits, process_group)
    temperature = _temperature(logits, gradient, num_rows, process_group, **temperature_options)
    q, log_q, sunk = _q_and_log_q(logits, temperature, gradient, scratch, process_group)
    total = group_sum(q.sum(0), process_group)
    log_mean_q = (total / num_rows).log_().add_(sunk)
    if epsilon:
        log_q, kept = _add_epsilon(log_q, epsilon)
        log_mean_q, mean_kept = _add_epsilon(log_mean_q, epsilon)

    positive = scratch[0].copy_(targets.clamp(min=UNKNOWN))  # POSITIVE is the one label above
    num_positives = group_sum(positive.sum(0), process_group)
    per_positive = num_positives.clamp(min=1).reciprocal_()
    sum_positives = group_sum(log_q.mul_(positive).sum(0), process_group)
    rebalance = (gamma * log_mean_q).exp_()
    if skip_absent:
        rebalance = rebalance.masked_fill(num_positives == 0, 0.0)
    loss = (rebalance * log_mean_q - per_positive * sum_positives).sum()

    # d loss / d log q = rebalance * q / total - positive / num_positives,
    # d log q / d scaled = 1 - q
    if epsilon:
        positive.mul_(kept)
        rebalance.mul_(mean_kept)
    slope = torch.mul(q, rebalance / (total * temperature), out=scratch[1])
    slope.addcmul_(positive, per_positive / temperature, value=-1)
    torch.addcmul(slope, slope, q, value=-1, out=gradient)
    return loss


def _temperature(logits, buffer, num_rows, process_group, *, alpha, temperature_floor) -> Tensor:
    """Temperature of each class, [C]; ``buffer`` [B, C] is overwritten."""
    mean = group_sum(logits.sum(0), process_group) / num_rows
    squares = torch.sub(logits, mean, out=buffer).square_()
    deviation = (group_sum(squares.sum(0), process_group) / num_rows).sqrt_()
    return class_temperature(mean, deviation, num_rows, alpha, temperature_floor)


def _q_and_log_q(
    logits, temperature, gradient, scratch, process_group
) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities q of the lifted logits in ``gradient``, log q in ``scratch[1]``, the lift [C].

    Where every q of a class would underflow, the logits are lifted until the largest is -40: there
    sigmoid is exp to 1e-17 and the logarithm of the mean only shifts.
    """
    scaled = torch.div(logits, temperature, out=scratch[0])
    sunk = group_max(scaled.amax(0), process_group).add(40.0).clamp_(max=0.0)
    q = torch.sub(scaled, sunk, out=gradient).sigmoid_()
    log_q = torch.neg(q, out=scratch[1]).add_(1.0)
    torch.minimum(q, log_q, out=log_q).neg_().log1p_().add_(scaled.clamp_(max=0.0))
    return q, log_q, sunk


def _add_epsilon(log_q, epsilon) -> tuple[Tensor, Tensor]:
    """log(q + epsilon), and q / (q + epsilon), by which its derivative is smaller."""
    log_sum = torch.logaddexp(log_q, log_q.new_full((), math.log(epsilon)))
    return log_sum, (log_q - log_sum).exp_()
