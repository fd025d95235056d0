"""The losses everything else is compared with: squared, binary cross entropy, focal, Hill."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import NEGATIVE, POSITIVE
from pumlc.losses.checks import check_choice, check_number, check_targets
from pumlc.losses.excluded import check_excluded
from pumlc.losses.numerics import at_least_float32, mean_over_rows

Unknown = Literal["ignore", "negative"]


def negative_mask(targets: Tensor, unknown: Unknown) -> Tensor:
    """Labels that count as negative: the known ones, or all but the positives."""
    check_choice("unknown", unknown, ("ignore", "negative"))
    return targets == NEGATIVE if unknown == "ignore" else targets != POSITIVE


def binary_cross_entropy_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    unknown: Unknown,
    smoothing: float = 0.0,
    excluded: Tensor | None = None,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Binary cross entropy over the known labels, or with every unknown one taken as negative.

    .. math::

        L = -\tfrac1B \sum_{ic} \big[ z_{ic} \log\sigma(s_{ic})
            + (1 - z_{ic}) \log\sigma(-s_{ic}) \big]

    with z = 1 - smoothing for positives and z = smoothing for negatives; an UNKNOWN label is left
    out ("ignore") or a negative ("negative"). Couples nothing.

    When to use: all labels are known, or as the baseline that every method for missing labels has
    to beat.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers.
        unknown: what an UNKNOWN label is.
        smoothing: label smoothing, in [0, 0.5]; epsilon / 2 of Cole et al.
        excluded: bool [B, C] or None, pairs that take no part, positive or not; B stays.
        process_group: ranks that hold different rows.

    Returns:
        Scalar, in nats: summed over labels, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, an option is not valid.

    Source: Cole et al., "Multi-Label Learning from Single Positive Labels" (CVPR 2021): "negative"
    is L_AN, with smoothing L_AN-LS.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, -1.0], [-1.0, 0.5]])
        >>> targets = torch.tensor([[1, 0], [-1, 1]])
        >>> binary_cross_entropy_loss(logits, targets, unknown="ignore")
        tensor(0.4571)
        >>> binary_cross_entropy_loss(logits, targets, unknown="negative")
        tensor(0.6138)
    """
    check_targets(logits, targets)
    check_number("smoothing", smoothing, 0, 0.5)
    check_excluded(excluded, *logits.shape)
    logits = at_least_float32(logits)
    positive, negative = targets == POSITIVE, negative_mask(targets, unknown)
    known = positive | negative
    if excluded is not None:
        known, logits = known & ~excluded, logits.masked_fill(excluded, 0.0)
    z = positive.to(logits.dtype) * (1.0 - 2.0 * smoothing) + smoothing
    losses = F.binary_cross_entropy_with_logits(logits, z, reduction="none")
    return mean_over_rows(losses.masked_fill(~known, 0.0), process_group)


def squared_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    unknown: Unknown,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Squared error to +1 for positives and -1 for negatives.

    .. math:: L = \tfrac1B \sum_{ic} (s_{ic} - t_{ic})^2, \qquad t \in \{1, -1\}

    An UNKNOWN label is left out ("ignore") or a negative ("negative"). Couples nothing.

    When to use: wrong labels. The best logit is linear in the labels: where a positive is missing
    with probability a and a negative wrong with probability b, whatever the picture, it is
    :math:`(1 - a - b)` times the clean one plus a constant, so the order within a class stays. The
    logits are no log-odds: their sigmoid is no probability.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers.
        unknown: what an UNKNOWN label is.
        process_group: ranks that hold different rows.

    Returns:
        Scalar: summed over labels, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, an option is not valid.

    Source: Manwani & Sastry, "Noise Tolerance under Risk Minimization" (IEEE Trans. Cybernetics
    2013).

    Example:
        >>> logits = torch.tensor([[2.0, -1.0], [-1.0, 0.5]])
        >>> targets = torch.tensor([[1, 0], [-1, 1]])
        >>> squared_loss(logits, targets, unknown="ignore")
        tensor(0.6250)
        >>> squared_loss(logits * 2, targets, unknown="negative")
        tensor(5.5000)
    """
    check_targets(logits, targets)
    logits = at_least_float32(logits)
    positive, negative = targets == POSITIVE, negative_mask(targets, unknown)
    errors = logits - torch.where(positive, 1.0, -1.0)
    errors = errors.masked_fill(~(positive | negative), 0.0)
    return mean_over_rows(errors.square(), process_group)


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    alpha: float | None,
    unknown: Unknown,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Focal loss: binary cross entropy with little weight on what is already right.

    .. math::

        L = -\tfrac1B \sum_{ic} a_{ic} (1 - q_{ic})^\gamma \log q_{ic} \qquad
        q = \sigma(s) \text{ for positives, } \sigma(-s) \text{ for negatives}

    with a = alpha for positives and 1 - alpha for negatives. ``gamma=0, alpha=None`` is binary
    cross entropy. Couples nothing.

    When to use: many easy negatives.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers.
        gamma: focusing exponent, >= 0. Published: 2.
        alpha: weight of the positives in [0, 1], or None for weight 1 everywhere. Published: 0.25.
        unknown: an UNKNOWN label is left out ("ignore") or a negative ("negative").
        process_group: ranks that hold different rows.

    Returns:
        Scalar, in nats: summed over labels, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, an option is not valid.

    Source: Lin et al., "Focal Loss for Dense Object Detection" (ICCV 2017).

    Example:
        >>> logits = torch.tensor([[2.0, -1.0], [-1.0, 0.5]])
        >>> targets = torch.tensor([[1, 0], [-1, 1]])
        >>> focal_loss(logits, targets, gamma=2.0, alpha=None, unknown="ignore")
        tensor(0.0460)
    """
    check_targets(logits, targets)
    check_number("gamma", gamma, 0, math.inf)
    logits = at_least_float32(logits)
    positive, negative = targets == POSITIVE, negative_mask(targets, unknown)
    signed = torch.where(positive, logits, -logits)
    losses = -(gamma * F.logsigmoid(-signed)).exp() * F.logsigmoid(signed)
    if alpha is not None:
        check_number("alpha", alpha, 0, 1)
        losses = losses * torch.where(positive, alpha, 1.0 - alpha)
    return mean_over_rows(losses.masked_fill(~(positive | negative), 0.0), process_group)


def hill_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float,
    margin: float,
    turning: float,
    unknown: Unknown,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Hill loss: negatives that look like positives are pushed less and less.

    .. math::

        L = \tfrac1B \sum_{ic} \begin{cases}
            -(1 - p_m)^\gamma \log p_m, \; p_m = \sigma(s - m) & \text{positive} \\
            (\lambda - p)\, p^2, \; p = \sigma(s) & \text{negative} \end{cases}

    When to use: missing positives among the negatives ("negative" below). A negative's gradient is
    zero again at p = 2 lambda / 3. Couples nothing.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers.
        gamma: focusing exponent of the positives, >= 0. Published: 2.
        margin: m, subtracted from the logits of positives. Published: 1.
        turning: lambda, at least 1. Published: 1.5.
        unknown: an UNKNOWN label is left out ("ignore") or a negative ("negative").
        process_group: ranks that hold different rows.

    Returns:
        Scalar: summed over labels, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, an option is not valid.

    Source: Zhang et al., "Simple and Robust Loss Design for Multi-Label Learning with Missing
    Labels" (arXiv 2112.07368): Hill loss, with its focal margin loss for the positives.

    Example:
        >>> logits = torch.tensor([[2.0, -1.0], [-1.0, 0.5]])
        >>> targets = torch.tensor([[1, 0], [-1, 1]])
        >>> hill_loss(logits, targets, gamma=2.0, margin=1.0, turning=1.5, unknown="negative")
        tensor(0.2891)
    """
    check_targets(logits, targets)
    check_number("turning", turning, 1, math.inf)
    logits = at_least_float32(logits)
    positive, negative = targets == POSITIVE, negative_mask(targets, unknown)
    p = logits.sigmoid()
    losses = torch.where(
        positive, focal_margin(logits, gamma=gamma, margin=margin), (turning - p) * p.square()
    )
    return mean_over_rows(losses.masked_fill(~(positive | negative), 0.0), process_group)


def focal_margin(logits: Tensor, *, gamma: float, margin: float) -> Tensor:
    """Focal loss of positives whose logits are ``margin`` lower than they are, elementwise."""
    check_number("gamma", gamma, 0, math.inf)
    check_number("margin", margin, 0, math.inf)
    lowered = logits - margin
    return -(gamma * F.logsigmoid(-lowered)).exp() * F.logsigmoid(lowered)
