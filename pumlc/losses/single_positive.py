"""Losses for one known positive to a picture: entropy maximisation (EM) and ROLE."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.losses.checks import check_logits, check_number, check_targets
from pumlc.losses.numerics import (
    at_least_float32,
    floor_of_share,
    group_count,
    group_sum,
    mean_over_rows,
)


def entropy_maximization_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float,
    beta: float,
    pseudo_probabilities: Tensor | None = None,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""EM loss: unknown labels are kept undecided; pseudo-negatives are trained with a low weight.

    .. math::

        L = -\tfrac1B \sum_{ic} \begin{cases}
            \log p & \text{positive} \\
            \alpha\, [-p \log p - (1 - p) \log(1 - p)] & \text{unknown} \\
            \beta\, [\hat y \log p + (1 - \hat y) \log(1 - p)] & \text{negative} \end{cases}
        \qquad p = \sigma(s)

    Couples nothing. The released code advises a decision threshold of 0.75, not 0.5.

    When to use: one or a few known positives to a row and nothing else.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers; NEGATIVE are the pseudo-negatives
            of ``asymmetric_pseudo_labels``, or known ones.
        alpha: weight of the entropy of unknown labels, >= 0.
        beta: weight of negatives, >= 0.
        pseudo_probabilities: y-hat, [B, C] in [0, 1], the probability a pseudo-negative had when it
            was chosen; None: 0 everywhere.
        process_group: ranks that hold different rows.

    Returns:
        Scalar, in nats: summed over labels, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, a number is out of its range.

    Source: Zhou et al., "Acknowledging the Unknown for Multi-label Learning with Single Positive
    Labels" (ECCV 2022).

    Example:
        >>> logits = torch.tensor([[2.0, -1.0, 0.0]])
        >>> targets = torch.tensor([[1, -1, 0]])
        >>> entropy_maximization_loss(logits, targets, alpha=0.2, beta=0.02)
        tensor(-0.0054)
    """
    check_targets(logits, targets)
    check_number("alpha", alpha, 0, math.inf)
    check_number("beta", beta, 0, math.inf)
    logits = at_least_float32(logits)
    log_p, log_rest = F.logsigmoid(logits), F.logsigmoid(-logits)
    p = logits.sigmoid()
    entropy = -(p * log_p + (1.0 - p) * log_rest)
    cross_entropy = -log_rest
    if pseudo_probabilities is not None:
        _check_same_shape("pseudo_probabilities", pseudo_probabilities, logits)
        cross_entropy = -torch.lerp(log_rest, log_p, pseudo_probabilities.to(logits.dtype))
    losses = torch.where(targets == POSITIVE, -log_p, -alpha * entropy)
    losses = torch.where(targets == NEGATIVE, beta * cross_entropy, losses)
    return mean_over_rows(losses, process_group)


def asymmetric_pseudo_labels(
    probabilities: Tensor, targets: Tensor, *, proportion: float
) -> Tensor:
    """Make the UNKNOWN labels with the lowest probabilities of each class NEGATIVE.

    Of n unknown labels of a class floor(proportion * n) change; fewer where equal probabilities
    straddle the border.

    Args:
        probabilities: of the whole training set, [N, C].
        targets: labels in {1, 0, -1}, [N, C], signed integers.
        proportion: in [0, 1).

    Returns:
        New labels, [N, C].

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, a number is out of its range.

    Source: Zhou et al. (ECCV 2022), asymmetric pseudo-labeling.

    Example:
        >>> probabilities = torch.tensor([[0.9], [0.1], [0.3]])
        >>> asymmetric_pseudo_labels(probabilities, torch.tensor([[1], [0], [0]]), proportion=0.5)
        tensor([[ 1],
                [-1],
                [ 0]])
    """
    check_targets(probabilities, targets, "probabilities")
    if not 0 <= proportion < 1:
        raise ValueError(f"proportion must be in [0, 1); got {proportion}")
    unknown = targets == UNKNOWN
    ordered = probabilities.detach().masked_fill(~unknown, torch.inf).sort(dim=0).values
    num_changed = floor_of_share(proportion, unknown.sum(0, keepdim=True))
    lowest = unknown & (probabilities < ordered.gather(0, num_changed))
    return targets.masked_fill(lowest, NEGATIVE)


def role_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    estimate_logits: Tensor,
    expected_positives: float,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Regularised online label estimation: classifier and label estimates teach each other.

    .. math::

        L = \tfrac12 [J(s, e) + J(e, s)] \qquad p = \sigma(s),\; \hat y = \sigma(e)

        J(s, e) = \tfrac1B \sum_i \Big[ -\sum_{c\,\text{positive}} \log p_{ic}
            - \sum_c \big(\hat y_{ic} \log p_{ic} + (1 - \hat y_{ic}) \log(1 - p_{ic})\big) \Big]
            + \tfrac1C \Big( \tfrac1B \sum_{ic} p_{ic} - k \Big)^2

    where the second argument of J is a constant to the gradient. Only positives are labels. It is C
    times the published loss, which averages over classes. The last term couples the rows.

    When to use: one known positive to a row, and the mean number of positives is known.

    Args:
        logits: s, of the classifier, [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers.
        estimate_logits: e, [B, C], the rows of a learned matrix [N, C] that belong to this batch.
        expected_positives: k, mean number of positives of a row, known or guessed.
        process_group: ranks that hold different rows.

    Returns:
        Scalar: summed over labels, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, a number is out of its range.

    Source: Cole et al., "Multi-Label Learning from Single Positive Labels" (CVPR 2021), ROLE.

    Example:
        >>> logits = torch.tensor([[2.0, -1.0]])
        >>> estimate_logits = torch.tensor([[1.0, 0.0]])
        >>> role_loss(
        ...     logits,
        ...     torch.tensor([[1, 0]]),
        ...     estimate_logits=estimate_logits,
        ...     expected_positives=1.0,
        ... )
        tensor(1.5409)
    """
    check_targets(logits, targets)
    check_logits(estimate_logits, "estimate_logits")
    _check_same_shape("estimate_logits", estimate_logits, logits)
    check_number("expected_positives", expected_positives, 0, logits.shape[1])
    logits, estimates = at_least_float32(logits), at_least_float32(estimate_logits)
    positive = targets == POSITIVE
    both = 0.0
    for learner, teacher in ((logits, estimates), (estimates, logits)):
        losses = F.binary_cross_entropy_with_logits(
            learner, teacher.detach().sigmoid(), reduction="none"
        )
        losses = losses - F.logsigmoid(learner).masked_fill(~positive, 0.0)
        num_rows = group_count(len(learner), learner, process_group)
        mean_positives = group_sum(learner.sigmoid().sum(), process_group) / num_rows
        excess = (mean_positives - expected_positives).square() / learner.shape[1]
        both = both + mean_over_rows(losses, process_group) + excess
    return both / 2


def _check_same_shape(name: str, values: Tensor, logits: Tensor) -> None:
    if values.shape != logits.shape:
        raise ValueError(
            f"{name} must have the shape of logits, {list(logits.shape)}; got {list(values.shape)}"
        )
