"""Losses that drop an assumed negative where the model contradicts it: SPLC and large-loss."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import POSITIVE, UNKNOWN
from pumlc.losses.baselines import focal_margin
from pumlc.losses.checks import check_choice, check_number, check_targets
from pumlc.losses.numerics import (
    at_least_float32,
    floor_of_share,
    group_gather,
    group_sum,
    mean_over_rows,
)


def splc_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    threshold: float,
    gamma: float,
    margin: float,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Self-paced loss correction: a confident unknown label is trained as a positive.

    .. math::

        L = \tfrac1B \sum_{ic} \begin{cases}
            \ell^+ & \text{positive, or unknown with } p > \tau \\
            \ell^- & \text{negative, or unknown with } p \le \tau \end{cases}

        \ell^+ = -(1 - p_m)^\gamma \log p_m \qquad \ell^- = -p^\gamma \log(1 - p) \qquad
        p = \sigma(s),\; p_m = \sigma(s - m)

    Couples nothing.

    When to use: positives alone are known, and the model is good enough to recognise others.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers. NEGATIVE labels are not corrected.
        threshold: tau, in [0, 1]. Published: 0.6, and 1 (no correction) in the first epoch.
        gamma: focusing exponent, >= 0. Published: 2.
        margin: m, subtracted from the logits of positives, >= 0. Published: 1.
        process_group: ranks that hold different rows.

    Returns:
        Scalar, in nats: summed over labels, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, a number is out of its range.

    Source: Zhang et al., "Simple and Robust Loss Design for Multi-Label Learning with Missing
    Labels" (arXiv 2112.07368): SPLC with the focal margin loss.

    Example:
        >>> logits = torch.tensor([[2.0, -1.0, 3.0]])
        >>> targets = torch.tensor([[1, 0, 0]])
        >>> splc_loss(logits, targets, threshold=1.0, gamma=2.0, margin=1.0)
        tensor(2.8116)
        >>> splc_loss(logits, targets, threshold=0.6, gamma=2.0, margin=1.0)
        tensor(0.0471)
    """
    check_targets(logits, targets)
    check_number("threshold", threshold, 0, 1)
    logits = at_least_float32(logits)
    positive = targets == POSITIVE
    corrected = (targets == UNKNOWN) & (logits.detach().sigmoid() > threshold)
    positive_losses = focal_margin(logits, gamma=gamma, margin=margin)
    negative_losses = focal_margin(-logits, gamma=gamma, margin=0.0)
    losses = torch.where(positive | corrected, positive_losses, negative_losses)
    return mean_over_rows(losses, process_group)


def large_loss_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    rate: float,
    mode: Literal["reject", "correct"],
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Binary cross entropy with unknown labels as negatives, save those with the largest losses.

    .. math::

        L = \tfrac1B \sum_{ic} \begin{cases}
            -\log\sigma(s) & \text{positive} \\
            0 \text{ ("reject") or } -\log\sigma(s) \text{ ("correct")} & \text{selected} \\
            -\log\sigma(-s) & \text{otherwise} \end{cases}

    The share ``rate`` of the batch's unknown labels that has the largest losses is selected; see
    ``large_loss_entries``. Couples the rows and classes of the batch through that selection.

    When to use: as ``splc_loss``, where a share of missing positives is easier to guess than a
    threshold.

    Variants: LL-R is mode="reject" and LL-Ct mode="correct", both with rate = delta * (epoch - 1);
    LL-Cp is mode="correct" with rate = delta, and the caller makes ``large_loss_entries`` positive
    in its labels for good.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers. Only UNKNOWN can be selected.
        rate: share of the unknown labels, in [0, 1); 0 is plain binary cross entropy.
        mode: what becomes of the selected ones.
        process_group: ranks that hold different rows.

    Returns:
        Scalar, in nats: summed over labels, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, an option is not valid.

    Source: Kim et al., "Large Loss Matters in Weakly Supervised Multi-Label Classification"
    (CVPR 2022).

    Example:
        >>> logits = torch.tensor([[2.0, -1.0, 3.0]])
        >>> targets = torch.tensor([[1, 0, 0]])
        >>> large_loss_loss(logits, targets, rate=0.0, mode="reject")
        tensor(3.4888)
        >>> large_loss_loss(logits, targets, rate=0.5, mode="reject")
        tensor(0.4402)
        >>> large_loss_loss(logits, targets, rate=0.5, mode="correct")
        tensor(0.4888)
    """
    check_choice("mode", mode, ("reject", "correct"))
    selected = large_loss_entries(logits, targets, rate=rate, process_group=process_group)
    logits = at_least_float32(logits)
    positive = targets == POSITIVE
    if mode == "correct":
        positive = positive | selected
    losses = -F.logsigmoid(torch.where(positive, logits, -logits))
    if mode == "reject":
        losses = losses.masked_fill(selected, 0.0)
    return mean_over_rows(losses, process_group)


def large_loss_entries(
    logits: Tensor,
    targets: Tensor,
    *,
    rate: float,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """The share ``rate`` of the batch's UNKNOWN labels with the largest losses as negatives.

    Of n unknown labels floor(rate * n) are selected; fewer where equal losses straddle the border,
    so that the choice depends on values alone.

    Args:
        logits: [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers.
        rate: in [0, 1).
        process_group: ranks that hold different rows of one batch.

    Returns:
        Mask, bool [B, C].

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, a number is out of its range.

    Example:
        >>> logits = torch.tensor([[2.0, -1.0, 3.0]])
        >>> large_loss_entries(logits, torch.tensor([[1, 0, 0]]), rate=0.5)
        tensor([[False, False,  True]])
    """
    check_targets(logits, targets)
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be in [0, 1); got {rate}")
    unknown = targets == UNKNOWN
    # The loss of a negative grows with its logit: the logits give the order.
    candidates = logits.detach().masked_fill(~unknown, -torch.inf)
    ordered = group_gather(candidates.flatten(), process_group).sort(descending=True).values
    num_unknown = group_sum(unknown.sum(), process_group)
    num_selected = floor_of_share(rate, num_unknown)
    return unknown & (logits.detach() > ordered.take(num_selected))
