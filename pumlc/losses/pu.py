"""Positive-unlabeled learning: the variational loss of PU-MLC and its mixup term."""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import POSITIVE
from pumlc.losses.checks import check_choice, check_logits, check_number, check_targets
from pumlc.losses.excluded import check_excluded
from pumlc.losses.numerics import at_least_float32, group_count, group_sum
from pumlc.losses.variational import variational_loss
from pumlc.losses.variational_fast import fast_variational_loss


def pu_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    alpha: float,
    absent: Literal["keep", "skip"] = "keep",
    temperature_floor: float = 0.1,
    epsilon: float = 0.0,
    excluded: Tensor | None = None,
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
        logits: s, [B, C], any floating dtype.
        targets: labels y in {1, 0, -1}, [B, C], signed integers.
        gamma: exponent of the re-balance factor, >= 0. Published for 10 % known labels: 0.55
            (COCO), 0.85 (VOC 2007).
        alpha: temperature over the class's standard deviation, >= 0. Published: 1 (COCO), 2 (VOC).
        absent: a class without a positive has its first term ("keep", published) or none ("skip").
        temperature_floor: lower bound of t_c, in [0, 1]; 0 is the published loss. Where the mean m
            of the class's logits is positive, the bound is multiplied by 1 + m: otherwise a class
            that looks positive in every row would saturate and never come down. One row has no
            spread: there t_c = 1.
        epsilon: added to q inside both logarithms; 2e-10 is what the released code adds. It fades
            the gradient of confidently wrong positives.
        excluded: bool [B, C] or None, pairs that take no part, positive or not: B, n_c, t_c and
            the means of a class are those of the other rows. Given on all ranks or on none.
        process_group: ranks that hold different rows, the same classes.

    Returns:
        Scalar, in nats: summed over classes. Differentiable once; with ``excluded``, of False
        alone too, any number of times.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, a number is out of its range.

    Source: PU-MLC (arXiv 2306.16016), L_var; Chen et al., "A Variational Approach for Learning from
    Positive and Unlabeled Data" (NeurIPS 2020).

    Example:
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
    check_excluded(excluded, *logits.shape)
    logits = at_least_float32(logits)
    options: dict[str, Any] = {
        "gamma": gamma,
        "alpha": alpha,
        "skip_absent": absent == "skip",
        "temperature_floor": temperature_floor,
        "epsilon": epsilon,
        "process_group": process_group,
    }
    if excluded is None:
        return fast_variational_loss(logits, targets, **options)
    return variational_loss(logits, targets, excluded=excluded, **options)


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
        logits: s, of the whole batch, [B, C], B >= 2.
        targets: labels in {1, 0, -1}, [B, C], signed integers.
        mixed_logits: logits of the mixed images, [B // 2, C].
        permutation: order of the first half, integers [B // 2].
        lam: weight of the first half, in [0, 1]. Published: drawn from Beta(0.3, 0.3) each step.
        detach_target: True stops the gradient through the soft targets (published: it flows).
        process_group: ranks that hold different rows; the mean is over all their pairs.

    Returns:
        Scalar: summed over classes, mean over pairs.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, a number is out of its range.

    Source: PU-MLC (arXiv 2306.16016), L_reg.

    Example:
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
