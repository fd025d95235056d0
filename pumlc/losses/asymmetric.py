"""Asymmetric loss (ASL) and its partial-label form with selected unknowns (CSL)."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import POSITIVE, UNKNOWN
from pumlc.losses.baselines import Unknown, negative_mask
from pumlc.losses.checks import check_choice, check_number, check_targets
from pumlc.losses.numerics import at_least_float32, mean_over_rows


def asymmetric_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_positive: float,
    gamma_negative: float,
    margin: float,
    unknown: Unknown,
    detach_weight: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Asymmetric loss: focal loss with a stronger focus on hard negatives; easy ones drop out.

    .. math::

        L = -\tfrac1B \sum_{ic} \begin{cases}
            (1 - p)^{\gamma_+} \log p & \text{positive} \\
            p_m^{\gamma_-} \log(1 - p_m), \; p_m = \max(p - m, 0) & \text{negative}
            \end{cases} \qquad p = \sigma(s)

    With ``margin=0`` and equal exponents it is ``focal_loss`` without alpha. Couples nothing.

    When to use: all labels are known, positives are rare and some negatives mislabelled.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers.
        gamma_positive: exponent for positives, >= 0. Published: 0 or 1.
        gamma_negative: exponent for negatives, >= 0. Published: 4.
        margin: m, probability below which a negative counts nothing, in [0, 1]. Published: 0.05.
        unknown: an UNKNOWN label is left out ("ignore") or a negative ("negative").
        detach_weight: True sends no gradient through the powers (an option of the released code).
        process_group: ranks that hold different rows.

    Returns:
        Scalar, in nats: summed over labels, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, an option is not valid.

    Source: Ben-Baruch et al., "Asymmetric Loss for Multi-Label Classification" (ICCV 2021).

    Example:
        >>> logits = torch.tensor([[2.0, -1.0], [-1.0, 0.5]])
        >>> targets = torch.tensor([[1, 0], [-1, 1]])
        >>> asymmetric_loss(
        ...     logits, targets, gamma_positive=0, gamma_negative=4, margin=0.05, unknown="negative"
        ... )
        tensor(0.3011)
    """
    check_targets(logits, targets)
    logits = at_least_float32(logits)
    losses = torch.where(
        targets == POSITIVE,
        positive_losses(logits, gamma_positive, detach_weight),
        negative_losses(logits, gamma_negative, margin, detach_weight),
    )
    known = (targets == POSITIVE) | negative_mask(targets, unknown)
    return mean_over_rows(losses.masked_fill(~known, 0.0), process_group)


def partial_asymmetric_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    mode: Literal["negative", "ignore", "selective"],
    gamma_positive: float,
    gamma_negative: float,
    gamma_unknown: float,
    margin: float,
    likelihood_top_k: int = 0,
    prior: Tensor | None = None,
    prior_threshold: float | None = None,
    detach_weight: bool = False,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Asymmetric loss with an exponent of its own for unknown labels; some or all are left out.

    .. math::

        L = -\tfrac1B \sum_{ic} \begin{cases}
            (1 - p)^{\gamma_+} \log p & \text{positive} \\
            p_m^{\gamma_-} \log(1 - p_m) & \text{negative} \\
            \omega_{ic}\, p_m^{\gamma_u} \log(1 - p_m) & \text{unknown} \end{cases}

    with p and p_m as in ``asymmetric_loss`` and omega = 1 ("negative"), 0 ("ignore") or, for
    "selective", 0 where the label is likely to be positive: one of the ``likelihood_top_k`` highest
    logits among the unknown labels of the row (ties included), or a class whose prior is above the
    threshold. omega is a constant to the gradient. Couples the labels of a row in "selective" mode.

    When to use: some labels of each kind are known, most are not.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers.
        mode: what becomes of unknown labels.
        gamma_positive: exponent for positives, >= 0.
        gamma_negative: exponent for negatives, >= 0.
        gamma_unknown: exponent for unknown labels, >= 0.
        margin: m, probability below which a negative counts nothing, in [0, 1].
        likelihood_top_k: for "selective", in [0, C].
        prior: for "selective", share of the positives of each class, [C].
        prior_threshold: for "selective" with ``prior``, in [0, 1].
        detach_weight: True sends no gradient through the powers.
        process_group: ranks that hold different rows.

    Returns:
        Scalar, in nats: summed over labels, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, an option is not valid.

    Source: Ben-Baruch et al., "Multi-label Classification with Partial Annotations using
    Class-aware Selective Loss" (CVPR 2022).

    Example:
        >>> logits = torch.tensor([[2.0, -1.0, 1.0]])
        >>> targets = torch.tensor([[1, 0, 0]])
        >>> gammas = {"gamma_positive": 0, "gamma_negative": 1, "gamma_unknown": 2, "margin": 0.0}
        >>> partial_asymmetric_loss(logits, targets, mode="negative", **gammas)
        tensor(0.8515)
        >>> partial_asymmetric_loss(logits, targets, mode="selective", likelihood_top_k=1, **gammas)
        tensor(0.1496)
    """
    check_targets(logits, targets)
    check_choice("mode", mode, ("negative", "ignore", "selective"))
    check_number("gamma_unknown", gamma_unknown, 0, math.inf)
    _check_selection(logits, mode, likelihood_top_k, prior, prior_threshold)
    logits = at_least_float32(logits)
    losses = torch.where(
        targets == POSITIVE,
        positive_losses(logits, gamma_positive, detach_weight),
        negative_losses(logits, gamma_negative, margin, detach_weight),
    )
    unknown = targets == UNKNOWN
    if mode == "ignore":
        losses = losses.masked_fill(unknown, 0.0)
    else:
        unknown_losses = negative_losses(logits, gamma_unknown, margin, detach_weight)
        losses = torch.where(unknown, unknown_losses, losses)
    if mode == "selective":
        likely = unknown & _likely(logits.detach(), unknown, likelihood_top_k)
        if prior is not None and prior_threshold is not None:
            likely = likely | (unknown & (prior > prior_threshold))
        losses = losses.masked_fill(likely, 0.0)
    return mean_over_rows(losses, process_group)


def positive_losses(logits, gamma, detach_weight) -> Tensor:
    """-(1 - p)^gamma log p, elementwise."""
    check_number("gamma_positive", gamma, 0, math.inf)
    weight = (gamma * F.logsigmoid(-logits)).exp()
    return -(weight.detach() if detach_weight else weight) * F.logsigmoid(logits)


def negative_losses(logits, gamma, margin, detach_weight) -> Tensor:
    """-p_m^gamma log(1 - p_m), elementwise, with p_m = max(p - margin, 0)."""
    check_number("gamma of negatives and unknown labels", gamma, 0, math.inf)
    check_number("margin", margin, 0, 1)
    # 1 - p_m = min(1 - p + margin, 1), as logarithms so that nothing rounds to log(0)
    log_margin = math.log(margin) if margin else -math.inf
    log_rest = torch.logaddexp(F.logsigmoid(-logits), torch.full_like(logits, log_margin))
    # not 0: the derivative of a power below 1 is infinite there
    shifted = (logits.sigmoid() - margin).clamp(min=torch.finfo(logits.dtype).tiny)
    weight = shifted**gamma
    return -(weight.detach() if detach_weight else weight) * log_rest.clamp(max=0.0)


def _likely(logits, unknown, top_k) -> Tensor:
    """Entries at least as high as the ``top_k``-th highest unknown one of their row."""
    if top_k == 0:
        return torch.zeros_like(unknown)
    candidates = logits.masked_fill(~unknown, -math.inf)
    return logits >= candidates.topk(top_k, dim=1).values[:, -1:]


def _check_selection(logits, mode, likelihood_top_k, prior, prior_threshold) -> None:
    num_classes = logits.shape[1]
    check_number("likelihood_top_k", likelihood_top_k, 0, num_classes)
    if prior_threshold is not None:
        check_number("prior_threshold", prior_threshold, 0, 1)
    if (prior is None) != (prior_threshold is None):
        raise ValueError("prior and prior_threshold must be given together; got one of them")
    selects = likelihood_top_k > 0 or prior is not None
    if selects != (mode == "selective"):
        raise ValueError(
            "likelihood_top_k or prior must be given with mode='selective' and with no other mode; "
            f"got mode={mode!r}, likelihood_top_k={likelihood_top_k}"
        )
    if prior is not None and (not isinstance(prior, Tensor) or prior.shape != (num_classes,)):
        got = list(prior.shape) if isinstance(prior, Tensor) else repr(prior)
        raise ValueError(f"prior must have the shape [{num_classes}]; got {got}")
