"""Positive-negative-unlabeled learning: the variational PU risk for both sides of a label."""

import math

import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from pumlc.labels import NEGATIVE, POSITIVE
from pumlc.losses.checks import check_number, check_targets
from pumlc.losses.numerics import at_least_float32, group_count, group_sum, log_sum_exp


def pnu_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    likelihood: float = 1.0,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    r"""Variational loss of the positives plus that of the known negatives and their likelihood.

    .. math::

        L = \sum_c \Big[ \log \tfrac1B \sum_i q_{ic}
                - \tfrac1{n^+_c} \sum_{i:\, y_{ic} = 1} \log q_{ic} \Big]
            + k_c \Big[ \log \tfrac1B \sum_i (1 - q_{ic})
                - \tfrac1{n^-_c} \sum_{i:\, y_{ic} = -1} \log (1 - q_{ic}) \Big]
            + k_c \tfrac{w}{B} \Big[ - \sum_{i:\, y_{ic} = 1} \log q_{ic}
                - \sum_{i:\, y_{ic} = -1} \log (1 - q_{ic}) \Big]

        q_{ic} = \sigma(s_{ic}) \qquad k_c = (n^+_c + n^-_c) / B \qquad w = likelihood

    The first two brackets are each the variational PU loss, the second with the two sides
    exchanged: the whole batch stands for the unlabeled data. Either alone leaves its q a free
    factor; both together are least at q = P(y = 1 | x), with no class prior given. The third is
    binary cross entropy over the known labels. ``k`` is the share of the class's labels that are
    known: few known labels leave PU learning, all of them give both sides the same weight. What a
    class has no label for is left out: the first bracket without a positive, the other two without
    a negative. The value is at least -sum_c log(B / n+) + k log(B / n-).

    Couples the batch, class by class. With ``process_group`` every statistic is that of the batch
    of all ranks together.

    When to use: some labels are known, negatives among them, and the rest is missing, at random
    within each side. With positives alone it is the PU loss without its two numbers.

    Relations: gamma = 0 and a large alpha make ``pu_loss(..., absent="skip")`` the first bracket;
    ``binary_cross_entropy_loss(..., unknown="ignore")`` is the third with k = w = 1.

    Args:
        logits: scores s, [B, C], any floating dtype.
        targets: labels y in {1, 0, -1}, [B, C], signed integers.
        likelihood: weight w of the third bracket, >= 0. 0 where positives and negatives are known
            at different rates: its minimum is then another one, the others' is not.
        process_group: ranks that hold different rows, the same classes.

    Returns:
        Scalar, in nats: summed over classes.

    Raises:
        ValueError: shapes differ, dtypes, labels or the weight are not as above.

    Source: this package, docs/partial_labels.md; the first bracket is L_var of Chen et al., "A
    Variational Approach for Learning from Positive and Unlabeled Data" (NeurIPS 2020).

    >>> import torch
    >>> logits = torch.tensor([[2.0, -1.0], [-1.0, 0.5], [0.0, -2.0]])
    >>> targets = torch.tensor([[1, 0], [0, 1], [0, -1]])
    >>> pnu_loss(logits, targets)
    tensor(-1.1407)
    """
    check_targets(logits, targets)
    check_number("likelihood", likelihood, 0, math.inf)
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
    share_known = (counts[0] + counts[1]) / num_rows
    of_known = -(sums[0] + sums[1]).masked_fill(counts[1] == 0, 0.0) / num_rows
    return (brackets[0] + share_known * (brackets[1] + likelihood * of_known)).sum()
