"""Positive-unlabeled learning: the variational loss of PU-MLC and its mixup term."""

import math
from functools import reduce
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import POSITIVE, UNKNOWN
from pumlc.losses.checks import check_choice, check_logits, check_number, check_targets
from pumlc.losses.numerics import at_least_float32, group_count, group_max, group_sum


def pu_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    alpha: float,
    absent: Literal["keep", "skip"] = "keep",
    temperature_floor: float = 0.1,
    epsilon: float = 0.0,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Variational positive-unlabeled loss with adaptive temperature and re-balance factor.

    .. math::

        t_c = \min(\alpha\,\mathrm{std}_i(s_{ic}),\, 1) \qquad
        q_{ic} = \sigma(s_{ic} / t_c) \qquad
        w_c = \big(\tfrac1B \sum_i q_{ic}\big)^\gamma

        L = \sum_c \Big[ w_c \log \tfrac1B \sum_i q_{ic}
            - \tfrac1{n_c} \sum_{i:\, y_{ic} = 1} \log q_{ic} \Big]

    Only positives are labels: UNKNOWN and NEGATIVE are both unlabeled, and the whole batch stands
    for the unlabeled data. ``t`` and ``w`` are constants to the gradient. The value is therefore no
    measure of progress: a class without a positive can only lower it.

    Couples the rows of the batch, class by class. With ``process_group`` every statistic is that of
    the batch of all ranks together.

    When to use: few or no negatives can be trusted and the class priors are not known (with
    priors: ``non_negative_pu_loss``). Add ``pu_mixup_loss`` with weight 1 for PU-MLC. With extreme
    label sets use that it is a sum over classes: values and gradients of chunks or shards of the
    labels add up, and L / n times the loss of n sampled ones of L labels is an unbiased estimate.

    Args:
        logits: scores s, [B, C], any floating dtype.
        targets: labels y in {1, 0, -1}, [B, C], signed integers.
        gamma: exponent of the re-balance factor, >= 0. Published for 10 % known labels: 0.55
            (COCO), 0.85 (VOC 2007).
        alpha: temperature over the class's standard deviation, >= 0. Published: 1 (COCO), 2 (VOC).
        absent: "keep" (published) leaves a class without a positive its first term, "skip" none.
        temperature_floor: lower bound of t_c, in [0, 1]; multiplied by 1 + m where the mean m of
            the class's logits is positive, lest a class that looks positive in every row saturate
            and never come down. 0 is the published loss. One row has no spread: there t_c = 1.
        epsilon: added to q inside both logarithms; 2e-10 is what the released code adds. It fades
            the gradient of confidently wrong positives.
        process_group: ranks that hold different rows, the same classes.

    Returns:
        Scalar, in nats: summed over classes. Differentiable once.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, a number is out of its range.

    Source: PU-MLC (arXiv 2306.16016), L_var; Chen et al., "A Variational Approach for Learning from
    Positive and Unlabeled Data" (NeurIPS 2020).

    >>> logits = torch.tensor([[2.0, -1.0], [-1.0, 0.5], [0.0, -2.0]])
    >>> targets = torch.tensor([[1, 0], [0, 1], [0, -1]])
    >>> pu_loss(logits, targets, gamma=0.55, alpha=1.0)
    tensor(-0.4275)
    """
    check_targets(logits, targets)
    check_number("gamma", gamma, 0, math.inf)
    check_number("alpha", alpha, 0, math.inf)
    check_number("temperature_floor", temperature_floor, 0, 1)
    check_number("epsilon", epsilon, 0, 1)
    check_choice("absent", absent, ("keep", "skip"))
    return _VariationalLoss.apply(
        at_least_float32(logits),
        targets,
        gamma,
        alpha,
        absent == "skip",
        temperature_floor,
        epsilon,
        process_group,
    )


class _VariationalLoss(torch.autograd.Function):
    """The value and, in the same pass, the gradient, a block of classes at a time.

    The loss is a sum over classes and its gradient is known in closed form. So nothing but the
    gradient has the shape [B, C], and a block is small enough to stay in a processor's cache.
    """

    @staticmethod
    def forward(ctx, logits, targets, *options):
        gradient = torch.empty_like(logits)
        ctx.save_for_backward(gradient)
        width = _classes_of_a_block(logits, process_group=options[-1])
        scratch = [logits.new_empty(len(logits), width) for _ in range(2)]
        if width == logits.shape[1]:
            return _variational_terms(logits, targets, gradient, scratch, *options)
        blocks = zip(*(x.split(width, dim=1) for x in (logits, targets, gradient)), strict=True)
        terms = [_variational_terms(s, y, g, scratch, *options) for s, y, g in blocks]
        return reduce(torch.add, terms)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients):
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None, None, None, None, None, None


def _classes_of_a_block(logits: Tensor, process_group: ProcessGroup | None) -> int:
    """A megabyte a thread; all where launching costs more than memory traffic."""
    num_rows, num_classes = logits.shape
    if not logits.is_cpu or process_group is not None or torch.compiler.is_compiling():
        return num_classes
    return min(num_classes, max(1, 2**18 * torch.get_num_threads() // num_rows))


def _variational_terms(
    logits,
    targets,
    gradient,
    scratch,
    gamma,
    alpha,
    skip_absent,
    temperature_floor,
    epsilon,
    process_group,
) -> Tensor:
    """Loss of some classes, scalar; its gradient by their logits is written to ``gradient``."""
    if logits.shape != scratch[0].shape:
        scratch = [matrix[:, : logits.shape[1]] for matrix in scratch]
    num_rows = group_count(len(logits), logits, process_group)
    mean = group_sum(logits.sum(0), process_group) / num_rows
    squares = torch.sub(logits, mean, out=gradient).square_()
    deviation = (group_sum(squares.sum(0), process_group) / num_rows).sqrt_()
    temperature = _temperature(mean, deviation, num_rows, alpha, temperature_floor)
    scaled = torch.div(logits, temperature, out=scratch[0])
    # Where every q of a class would underflow, the scores are lifted until the largest is -40:
    # there sigmoid is exp to 1e-17 and the logarithm of the mean only shifts.
    sunk = group_max(scaled.amax(0), process_group).add(40.0).clamp_(max=0.0)
    q = torch.sub(scaled, sunk, out=gradient).sigmoid_()
    log_q = torch.neg(q, out=scratch[1]).add_(1.0)
    torch.minimum(q, log_q, out=log_q).neg_().log1p_().add_(scaled.clamp_(max=0.0))
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


def _add_epsilon(log_q, epsilon) -> tuple[Tensor, Tensor]:
    """log(q + epsilon), and q / (q + epsilon), by which its derivative is smaller."""
    log_sum = torch.logaddexp(log_q, log_q.new_full((), math.log(epsilon)))
    return log_sum, (log_q - log_sum).exp_()


def _temperature(mean, deviation, num_rows, alpha, floor) -> Tensor:
    """Temperature of each class, [C]: ``alpha`` standard deviations, between the floor and 1."""
    floor = floor + (num_rows == 1)  # one row has no spread to go by
    lowest = mean.clamp(min=0.0).mul_(floor).add_(floor)
    return deviation.mul(alpha).maximum(lowest).clamp_(max=1.0)


def pu_mixup_loss(
    logits: Tensor,
    targets: Tensor,
    mixed_logits: Tensor,
    *,
    permutation: Tensor,
    lam: float,
    detach_target: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Mixup consistency of PU-MLC, in log space.

    The first half of the batch, permuted, is mixed with the second half:
    ``mixed = lam * images[:h][permutation] + (1 - lam) * images[-h:]``, ``h = B // 2`` (of an odd
    batch the middle row takes no part).

    .. math::

        y_{ic} = 1 \text{ if positive, else } \sigma(s_{ic}) \qquad
        L = \sum_c \tfrac1h \sum_{j=1}^{h} \big(\log(\lambda y_{\pi(j)c} + (1-\lambda) y_{j'c})
            - \log \sigma(s^{mix}_{jc})\big)^2

    where pi(j) is a row of the first half and j' the j-th of the second. No temperature enters.
    Couples the two rows of a pair.

    Args:
        logits: scores s of the whole batch, [B, C], B >= 2.
        targets: labels in {1, 0, -1}, [B, C], signed integers.
        mixed_logits: scores of the mixed images, [B // 2, C].
        permutation: order of the first half, integers [B // 2].
        lam: weight of the first half, in [0, 1]. Published: drawn from Beta(0.3, 0.3) each step.
        detach_target: True stops the gradient through the soft targets (published: it flows).
        process_group: ranks that hold different rows; the mean is over all their pairs.

    Returns:
        Scalar: summed over classes, mean over pairs.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, a number is out of its range.

    Source: PU-MLC (arXiv 2306.16016), L_reg.

    >>> logits = torch.tensor([[2.0, -1.0], [-1.0, 0.5]])
    >>> targets = torch.tensor([[1, 0], [0, 1]])
    >>> mixed_logits = torch.tensor([[0.5, 0.0]])
    >>> pu_mixup_loss(logits, targets, mixed_logits, permutation=torch.tensor([0]), lam=0.3)
    tensor(0.2575)
    """
    check_targets(logits, targets)
    check_logits(mixed_logits, "mixed_logits")
    check_number("lam", lam, 0, 1)
    half = len(logits) // 2
    if mixed_logits.shape != (half, logits.shape[1]):
        raise ValueError(
            f"mixed_logits must have the shape [B // 2, C] = {[half, logits.shape[1]]}; "
            f"got {list(mixed_logits.shape)}"
        )
    if (
        not isinstance(permutation, Tensor)
        or permutation.shape != (half,)
        or permutation.dtype not in (torch.int32, torch.int64)
    ):
        is_tensor = isinstance(permutation, Tensor)
        got = f"{permutation.dtype} {list(permutation.shape)}" if is_tensor else repr(permutation)
        raise ValueError(f"permutation must be a tensor of B // 2 = {half} integers; got {got}")
    log_y = F.logsigmoid(at_least_float32(logits)).masked_fill(targets == POSITIVE, 0.0)
    if detach_target:
        log_y = log_y.detach()
    first, second = log_y[:half][permutation], log_y[-half:]
    if 0 < lam < 1:
        target = torch.logaddexp(first + math.log(lam), second + math.log1p(-lam))
    else:
        target = first if lam else second
    error = target - F.logsigmoid(at_least_float32(mixed_logits))
    total = group_sum(error.square().sum(), process_group)
    return total / group_count(half, total, process_group)
