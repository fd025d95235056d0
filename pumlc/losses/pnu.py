"""Positive-negative-unlabeled learning: the variational PU risk for both sides of a label."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.losses.asymmetric import negative_losses
from pumlc.losses.checks import check_number, check_targets
from pumlc.losses.numerics import (
    at_least_float32,
    group_count,
    group_gather,
    group_sum,
    log_sum_exp,
)

# pseudo-labels with the prior of all classes: a batch holds few known labels of a rare class
_OVERALL_LABELS = 20


def pnu_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    supervised: float = 10.0,
    gamma_negative: float = 4.0,
    margin: float = 0.05,
    rejection: float | None = 2.0,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Variational loss of the positives, that of the known negatives, and ASL with rejection.

    .. math::

        L = \sum_c \Big[ \log \tfrac1B \sum_i q_{ic}
                - \tfrac1{n^+_c} \sum_{i:\, y_{ic} = 1} \log q_{ic} \Big]
            + k_c \Big[ \log \tfrac1B \sum_i (1 - q_{ic})
                - \tfrac1{n^-_c} \sum_{i:\, y_{ic} = -1} \log (1 - q_{ic}) \Big]
            + t_c \tfrac{w}{B} \Big[ - \sum_{i:\, y_{ic} = 1} \log q_{ic}
                - \sum_{i:\, y_{ic} = -1 \text{ or } i \in U_c}
                    r_{ic}^\gamma \log (1 - r_{ic}) \Big]

        q_{ic} = \sigma(s_{ic}) \qquad r = \max(q - m, 0) \qquad k_c = (n^+_c + n^-_c) / B
            \qquad t_c = (n^+_c + n^-_c + |U_c|) / B

    with w = ``supervised``, gamma = ``gamma_negative`` and m = ``margin``. U_c is the class's
    unlabeled rows without the round(``rejection`` pi_c n_u) highest logits of the n_u there are
    (or more, if equal logits straddle the border), and pi_c the share of positives among the known
    labels: (n+ + 20 pi) / (n+ + n- + 20), with that of all classes together, pi, as 20 more labels.

    The first two brackets are each the variational PU loss, the second with the two sides
    exchanged: the whole batch stands for the unlabeled data. Either alone leaves its q a free
    factor; both together are least at q = P(y = 1 | x), with no class prior given. The third is the
    asymmetric loss: it looks at the negatives that are hard to tell from positives. Of the
    unlabeled rows it takes those that are probably negative: pi_c of them are positive if labels
    are missing at random, and by default twice as many stand aside. It makes the ranking better and
    q less of a probability; supervised = 0 leaves it out. ``k`` is the share of the class's labels
    that are known, ``t`` that of the rows which the third bracket takes. What a class has no label
    for is left out: the first bracket without a positive, the second without a known negative, the
    third without a row that it takes for a negative. The value is at least
    -sum_c log(B / n+) + k log(B / n-).

    Couples the batch. With ``process_group`` every statistic is that of the batch of all ranks
    together.

    When to use: some labels are known, negatives among them, and the rest is missing, at random
    within each side. With positives alone it is the PU loss without its two numbers. For a network
    that is trained, not just its head, supervised = 100 and rejection = None with ``pu_mixup_loss``
    at weight 1 did better (docs/results/pnu_fine_tuned.md).

    Relations: gamma = 0 and a large alpha make ``pu_loss(..., absent="skip")`` the first bracket;
    ``asymmetric_loss(..., gamma_positive=0, unknown="ignore")`` is the third with t = w = 1 and
    ``rejection = None``.

    Args:
        logits: s, [B, C], any floating dtype.
        targets: labels y in {1, 0, -1}, [B, C], signed integers.
        supervised: weight w of the third bracket, >= 0.
        gamma_negative: exponent gamma of its negatives, >= 0; ASL's published number.
        margin: m, subtracted from the probability of its negatives, in [0, 1]; likewise ASL's.
        rejection: unlabeled rows that are not taken for negatives, as a multiple of the number of
            positives expected among them, >= 1; None: none is taken.
        process_group: ranks that hold different rows, the same classes.

    Returns:
        Scalar, in nats: summed over classes.

    Raises:
        ValueError: shapes differ, dtypes or labels are not as above, a number is out of its range.

    Source: this package, docs/partial_labels.md; the first bracket is L_var of Chen et al., "A
    Variational Approach for Learning from Positive and Unlabeled Data" (NeurIPS 2020), the third
    is Ben-Baruch et al., "Asymmetric Loss for Multi-Label Classification" (ICCV 2021).

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, -1.0], [-1.0, 0.5], [0.0, -2.0]])
        >>> targets = torch.tensor([[1, 0], [0, 1], [0, -1]])
        >>> pnu_loss(logits, targets)
        tensor(-0.2208)
    """
    check_targets(logits, targets)
    check_number("supervised", supervised, 0, math.inf)
    check_number("gamma_negative", gamma_negative, 0, math.inf)
    check_number("margin", margin, 0, 1)
    if rejection is not None:
        check_number("rejection", rejection, 1, math.inf)
    logits = at_least_float32(logits)
    num_rows = group_count(len(logits), logits, process_group)
    log_num_rows = logits.new_zeros(()).add(num_rows).log()
    brackets, counts, sums = [], [], []
    for margins, known in ((logits, targets == POSITIVE), (-logits, targets == NEGATIVE)):
        log_q = F.logsigmoid(margins)
        count = group_sum(known.sum(0).to(logits.dtype), process_group)
        total = group_sum(log_q.masked_fill(~known, 0.0).sum(0), process_group)
        bracket = log_sum_exp(log_q, 0, process_group) - log_num_rows - total / count.clamp(min=1)
        brackets.append(bracket.masked_fill(count == 0, 0.0))
        counts.append(count)
        sums.append(total)
    negative = (targets == NEGATIVE) | _probably_negative(
        logits, targets, counts, rejection, process_group
    )
    negatives = negative_losses(logits, gamma_negative, margin, False)
    negatives = group_sum(negatives.masked_fill(~negative, 0.0).sum(0), process_group)
    num_negative = group_sum(negative.sum(0), process_group)
    third = ((negatives - sums[0]) / num_rows).masked_fill(num_negative == 0, 0.0)
    share_known = (counts[0] + counts[1]) / num_rows
    share_taken = (counts[0] + num_negative) / num_rows
    return (brackets[0] + share_known * brackets[1] + supervised * share_taken * third).sum()


def _probably_negative(logits, targets, counts, rejection, process_group) -> Tensor:
    """Unlabeled entries without the highest ones of each class."""
    unknown = targets == UNKNOWN
    if rejection is None or math.isinf(rejection):
        return torch.zeros_like(unknown)
    num_positive, num_known = counts[0], counts[0] + counts[1]
    overall = num_positive.sum() / num_known.sum().clamp(min=1)
    prior = (num_positive + _OVERALL_LABELS * overall) / (num_known + _OVERALL_LABELS)
    num_unknown = group_sum(unknown.sum(0), process_group)
    num_rejected = (rejection * prior * num_unknown).round().long().minimum(num_unknown)
    scores = logits.detach()
    candidates = group_gather(scores.masked_fill(~unknown, -math.inf), process_group)
    ordered = candidates.sort(0, descending=True).values
    border = ordered.gather(0, (num_rejected - 1).clamp(min=0)[None])
    return unknown & ((scores < border) | (num_rejected == 0))
