"""The generalized robust loss (GR): soft pseudo-labels, and losses that forgive wrong ones."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import NEGATIVE, POSITIVE
from pumlc.losses.checks import check_number, check_targets
from pumlc.losses.numerics import at_least_float32, mean_over_rows


def generalized_robust_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    slope: float,
    intercept: float,
    mean: float,
    deviation: float,
    q_positive: float,
    q_negative: float,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""GR loss: an unknown label is present with a probability that grows with the model's own.

    .. math::

        L = \tfrac1B \sum_{ic} \begin{cases}
            -\log p & \text{positive} \\
            v\, [k\, \ell_{q_+}(p) + (1 - k)\, \ell_{q_-}(1 - p)] & \text{unknown} \\
            \ell_{q_-}(1 - p) & \text{negative} \end{cases}
        \qquad p = \sigma(s), \quad \ell_q(p) = \frac{1 - p^q}{q}

        k = \sigma(w p + b), \qquad v = \exp\left(-\frac{(p - \mu)^2}{2 \sigma^2}\right)

    with w = slope, b = intercept, mu = mean and sigma = deviation. The loss of q is cross entropy
    for q = 0 and the absolute error for q = 1, which forgives wrong labels. k is the soft
    pseudo-label. v leaves out the labels whose p is far from mu: first few, later the easy ones.
    k and v are constants to the gradient, as in the paper's released code. The paper has no known
    negatives; here they are unknown labels with k = 0 and v = 1. Couples nothing.

    When to use: one known positive to a row and nothing else. The paper changes w, b, mu and sigma
    linearly in the course of training, for example w from 0 to 2 with b = -2, mu from 0.5 to 0.8
    and sigma from 2 to 0.5, with q_positive 0.01 and q_negative 1.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: labels in {1, 0, -1}, [B, C], signed integers.
        slope: w, a finite number; 0: all unknown labels are present with the same probability.
        intercept: b, a finite number.
        mean: mu, a finite number.
        deviation: sigma, > 0.
        q_positive: q of an unknown label that is present, in [0, 1].
        q_negative: q of a label that is absent, in [0, 1].
        process_group: ranks that hold different rows.

    Returns:
        Scalar, without a unit but for q = 0 (nats): summed over labels, mean over rows.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, a number is out of its range.

    Source: Chen et al., "Boosting Single Positive Multi-label Classification with Generalized
    Robust Loss" (IJCAI 2024, arXiv 2405.03501), and its code.

    Example:
        >>> logits = torch.tensor([[2.0, -1.0, 0.0]])
        >>> numbers = dict(slope=2.0, intercept=-2.0, mean=0.8, deviation=0.5)
        >>> targets = torch.tensor([[1, 0, -1]])
        >>> generalized_robust_loss(logits, targets, **numbers, q_positive=0.01, q_negative=1.0)
        tensor(0.8908)
    """
    check_targets(logits, targets)
    for name, number in (("slope", slope), ("intercept", intercept), ("mean", mean)):
        if not math.isfinite(number):
            raise ValueError(f"{name} must be a finite number; got {number}")
    if not 0 < deviation < math.inf:
        raise ValueError(f"deviation must be a finite number above 0; got {deviation}")
    check_number("q_positive", q_positive, 0, 1)
    check_number("q_negative", q_negative, 0, 1)
    logits = at_least_float32(logits)
    p = logits.detach().sigmoid()
    known = F.logsigmoid(logits)
    present = _robust(known, q_positive)
    absent = _robust(F.logsigmoid(-logits), q_negative)
    k = (slope * p + intercept).sigmoid()
    v = (-((p - mean) ** 2) / (2 * deviation**2)).exp()
    losses = torch.where(targets == NEGATIVE, absent, v * torch.lerp(absent, present, k))
    return mean_over_rows(torch.where(targets == POSITIVE, -known, losses), process_group)


def _robust(log_p: Tensor, q: float) -> Tensor:
    """(1 - p^q) / q, and its limit -log p at q = 0."""
    return -log_p if q == 0 else -torch.expm1(q * log_p) / q
