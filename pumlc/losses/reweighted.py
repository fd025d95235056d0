"""Binary cross entropy, reweighted for labels that are wrong at known rates."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import POSITIVE
from pumlc.losses.baselines import Unknown, negative_mask
from pumlc.losses.checks import check_targets, values_can_be_checked
from pumlc.losses.numerics import at_least_float32, mean_over_rows


def reweighted_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    missed: float | Tensor = 0.0,
    invented: float | Tensor = 0.0,
    unknown: Unknown,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Binary cross entropy, each label weighted by how much likelier it is true than given.

    .. math::

        L = -\tfrac1B \sum_{ic} w_{ic} \log\sigma(\pm s_{ic}) \qquad
        w = \frac{P(Y = \bar y \mid x)}{P(\bar Y = \bar y \mid x)} = \begin{cases}
            p \,/\, [(1 - a) p + b (1 - p)] & \text{positive} \\
            (1 - p) \,/\, [a p + (1 - b) (1 - p)] & \text{negative} \end{cases}
        \qquad p = \sigma(s)

    with a = missed and b = invented. The weight is a constant to the gradient. Rates of 0 give
    binary cross entropy. An UNKNOWN label is left out ("ignore") or a negative ("negative").
    Couples nothing.

    When to use: labels wrong at rates that are known or estimated
    (`pumlc.estimators.class_transitions`), whatever the row.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: noisy labels in {1, 0, -1}, [B, C], signed integers.
        missed: a, the rate at which present classes are called absent, in [0, 1); one, or [C].
        invented: b, the rate at which absent classes are called present, in [0, 1); one, or [C].
        unknown: what an UNKNOWN label is.
        process_group: ranks that hold different rows.

    Returns:
        Scalar, in nats: summed over labels, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, a rate is out of its range.

    Source: Liu & Tao, "Classification with Noisy Labels by Importance Reweighting" (TPAMI 2016), as
    the T-estimator of Li et al. (NeurIPS 2022) uses it.

    Example:
        >>> logits = torch.tensor([[2.0, -1.0], [-1.0, 0.5]])
        >>> targets = torch.tensor([[1, 0], [-1, 1]])
        >>> reweighted_loss(logits, targets, missed=0.2, invented=0.1, unknown="ignore")
        tensor(0.5143)
        >>> reweighted_loss(logits, targets, unknown="ignore")
        tensor(0.4571)
    """
    check_targets(logits, targets)
    logits = at_least_float32(logits)
    a, b = (
        _rate(name, rate, logits) for name, rate in (("missed", missed), ("invented", invented))
    )
    positive, negative = targets == POSITIVE, negative_mask(targets, unknown)
    # p / [(1 - a) p + b (1 - p)] = 1 / [1 - a + b exp(-s)], which is exact for any logit
    constant = logits.detach()
    odds = torch.where(positive, b * (-constant).exp(), a * constant.exp())
    odds = torch.where(torch.where(positive, b, a) == 0, 0.0, odds)  # 0 times infinity
    weights = 1 / (1 - torch.where(positive, a, b) + odds)
    losses = -weights * F.logsigmoid(torch.where(positive, logits, -logits))
    return mean_over_rows(losses.masked_fill(~(positive | negative), 0.0), process_group)


def _rate(name: str, rate: float | Tensor, logits: Tensor) -> Tensor:
    """A rate as [] or [C], of the type of the logits."""
    found = torch.as_tensor(rate, dtype=logits.dtype, device=logits.device)
    if found.shape not in ((), (logits.shape[1],)):
        raise ValueError(
            f"{name} must be one rate or [{logits.shape[1]}]; got shape {list(found.shape)}"
        )
    if values_can_be_checked(found) and not bool(((found >= 0) & (found < 1)).all()):
        raise ValueError(f"{name} must be in [0, 1); got {rate}")
    return found
