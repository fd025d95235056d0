"""Non-negative positive-unlabeled risk with a given class prior."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import POSITIVE
from pumlc.losses.checks import check_choice, check_number, check_targets, values_can_be_checked
from pumlc.losses.numerics import at_least_float32, group_sum


def non_negative_pu_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    prior: float | Tensor,
    surrogate: Literal["sigmoid", "logistic"],
    unlabeled: Literal["all", "rest"],
    beta: float = 0.0,
    gamma: float = 1.0,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""nnPU: the risk over all data from positives and unlabeled data, kept from going negative.

    .. math::

        L = \sum_c \pi_c R^{p+}_c + \max(-\beta,\; R^{u-}_c - \pi_c R^{p-}_c)

        R^{p\pm}_c = \operatorname{mean}_{i\,\text{positive}} \ell(\pm s_{ic}) \qquad
        R^{u-}_c = \operatorname{mean}_{i\,\text{unlabeled}} \ell(-s_{ic})

    with l(z) = sigmoid(-z) or log(1 + exp(-z)). Where the second term is below -beta the
    gradient is that of -gamma times this term alone: a step back. Only positives are labels:
    NEGATIVE and UNKNOWN are both unlabeled. A mean over nothing is 0. Couples the rows of the
    batch, class by class. Unlike ``pu_loss`` it must be told the prior.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers.
        prior: pi, share of the positives in all data, in [0, 1]; one number or [C].
        surrogate: l. The paper's experiments use "sigmoid".
        unlabeled: "all" rows of the batch, right for labels that were hidden in one data set, or
            the "rest" without the known positives, right for a second sample from all data.
        beta: tolerance, >= 0.
        gamma: size of the step back, in [0, 1].
        process_group: ranks that hold different rows, the same classes.

    Returns:
        Scalar: summed over classes.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, an option is not valid.

    Source: Kiryo et al., "Positive-Unlabeled Learning with Non-Negative Risk Estimator"
    (NeurIPS 2017), eq. 6 and algorithm 1.

    Example:
        >>> logits = torch.tensor([[2.0], [-1.0], [0.5]])
        >>> targets = torch.tensor([[1], [0], [0]])
        >>> non_negative_pu_loss(logits, targets, prior=0.4, surrogate="sigmoid", unlabeled="all")
        tensor(0.2861)
    """
    check_targets(logits, targets)
    check_choice("surrogate", surrogate, ("sigmoid", "logistic"))
    check_choice("unlabeled", unlabeled, ("all", "rest"))
    check_number("beta", beta, 0, math.inf)
    check_number("gamma", gamma, 0, 1)
    _check_prior(prior, logits.shape[1])
    logits = at_least_float32(logits)
    positive = targets == POSITIVE
    loss = torch.sigmoid if surrogate == "sigmoid" else F.softplus  # of minus the margin
    as_positive, as_negative = loss(-logits), loss(logits)
    unlabeled_mask = torch.ones_like(positive) if unlabeled == "all" else ~positive

    positive_risk = prior * _class_mean(as_positive, positive, process_group)
    negative_risk = _class_mean(as_negative, unlabeled_mask, process_group)
    negative_risk = negative_risk - prior * _class_mean(as_negative, positive, process_group)

    too_low = negative_risk < -beta
    value = positive_risk + negative_risk.clamp(min=-beta)
    descended = torch.where(too_low, -gamma * negative_risk, positive_risk + negative_risk)
    return (descended + (value - descended).detach()).sum()


def _class_mean(losses, rows, process_group) -> Tensor:
    """Mean of each class over the rows chosen for it, [C]; 0 where none is."""
    total = group_sum(losses.masked_fill(~rows, 0.0).sum(0), process_group)
    return total / group_sum(rows.sum(0), process_group).clamp(min=1)


def _check_prior(prior: float | Tensor, num_classes: int) -> None:
    if not isinstance(prior, Tensor):
        check_number("prior", prior, 0, 1)
    elif prior.shape != (num_classes,):
        raise ValueError(f"prior must be a number or [{num_classes}]; got {list(prior.shape)}")
    elif values_can_be_checked(prior) and not ((prior >= 0) & (prior <= 1)).all():
        raise ValueError(f"prior must be in [0, 1]; got {prior.min()} to {prior.max()}")
