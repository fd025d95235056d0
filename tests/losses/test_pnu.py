"""The PNU loss against a naive loop, its limits, its bound and its minimiser."""

import math
from functools import partial

import pytest
import torch
from loss_cases import CASES, make_inputs
from torch import Tensor

from pumlc.losses import asymmetric_loss, pnu_loss, pu_loss

CASE = next(case for case in CASES if case.name == "pnu")


def naive_pnu(logits: Tensor, targets: Tensor, supervised: float, rejection: float | None) -> float:
    rows, columns = logits.shape
    total = 0.0
    all_positive, all_known = int((targets == 1).sum()), int((targets != 0).sum())
    for c in range(columns):
        q = [1 / (1 + math.exp(-float(logits[i, c]))) for i in range(rows)]
        positive = [i for i in range(rows) if targets[i, c] == 1]
        negative = [i for i in range(rows) if targets[i, c] == -1]
        unlabeled = [i for i in range(rows) if targets[i, c] == 0]
        if positive:
            total += math.log(sum(q) / rows)
            total -= sum(math.log(q[i]) for i in positive) / len(positive)
        share = (len(positive) + len(negative)) / rows
        if negative:
            total += share * math.log(sum(1 - v for v in q) / rows)
            total -= share * sum(math.log(1 - q[i]) for i in negative) / len(negative)
        prior = len(positive) + 20 * all_positive / max(all_known, 1)
        prior /= len(positive) + len(negative) + 20
        taken = list(unlabeled)
        rejected = len(taken) if rejection is None else round(rejection * prior * len(taken))
        for _ in range(min(rejected, len(unlabeled))):
            taken.remove(max(taken, key=lambda i: q[i]))
        if not negative + taken:
            continue
        third = -sum(math.log(q[i]) for i in positive)
        for i in negative + taken:
            shifted = max(q[i] - 0.05, 0.0)
            third -= shifted**4 * math.log(1 - shifted)
        total += supervised * (len(positive + negative + taken) / rows) * third / rows
    return total


@pytest.mark.parametrize("rejection", [1.0, 2.0, None])
@pytest.mark.parametrize("supervised", [0.0, 1.0, 10.0])
@pytest.mark.parametrize(("rows", "columns"), [(7, 6), (16, 3), (40, 4), (1, 5)])
def test_equals_the_naive_loop(rows, columns, supervised, rejection):
    logits, targets = make_inputs(CASE, rows, columns)
    options = {"supervised": supervised, "rejection": rejection}
    value = float(pnu_loss(logits, targets, **options))
    assert value == pytest.approx(naive_pnu(logits, targets, **options), rel=1e-10)


def test_unlabeled_rows_with_low_scores_are_negatives_of_the_third_bracket():
    """One known positive and three known negatives of 24 rows: prior 1 / 4, 10 of 20 rejected."""
    targets = torch.zeros(24, 1, dtype=torch.int8)
    targets[0], targets[1:4] = 1, -1
    logits = torch.linspace(-2.0, 2.0, 24, dtype=torch.float64).flip(0)[:, None]
    weights = []
    for supervised in (10.0, 0.0):
        leaf = logits.clone().requires_grad_()
        pnu_loss(leaf, targets, supervised=supervised).backward()
        weights.append(leaf.grad)
    of_third = (weights[0] - weights[1])[4:, 0]
    assert (of_third[:10] == 0).all()
    assert (of_third[10:15] > 0).all()


def test_equal_scores_are_all_rejected_together():
    targets = torch.zeros(24, 1, dtype=torch.int8)
    targets[0], targets[1:4] = 1, -1
    equal = torch.zeros(24, 1, dtype=torch.float64)
    known_only = pnu_loss(equal, targets, rejection=None)
    torch.testing.assert_close(pnu_loss(equal, targets), known_only)
    equal[4:9] = -1.0  # below the border
    known_only = pnu_loss(equal, targets, rejection=None)
    assert pnu_loss(equal, targets) > known_only


@pytest.mark.parametrize("option", ["supervised", "gamma_negative", "margin", "rejection"])
@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_number_out_of_range(option, value):
    logits, targets = make_inputs(CASE, 4, 2)
    with pytest.raises(ValueError, match=option):
        pnu_loss(logits, targets, **{option: value})


@pytest.mark.parametrize("rejection", [2.0, math.inf, None])
def test_with_every_label_known_the_asymmetric_loss_is_the_third_bracket(rejection):
    logits, targets = make_inputs(CASE, 16, 5)
    targets = targets + (targets == 0).to(targets.dtype)
    loss = partial(pnu_loss, logits, targets, rejection=rejection)
    third = loss(supervised=2.0) - loss(supervised=0.0)
    asymmetric = asymmetric_loss(
        logits, targets, gamma_positive=0, gamma_negative=4, margin=0.05, unknown="ignore"
    )
    torch.testing.assert_close(third, 2 * asymmetric)


def test_without_negatives_it_is_the_pu_loss_without_its_two_numbers():
    logits, targets = make_inputs(CASE, 16, 5)
    targets = targets.clamp(min=0)
    published = pu_loss(logits, targets, gamma=0.0, alpha=1e9, absent="skip")
    torch.testing.assert_close(pnu_loss(logits, targets), published)


def test_with_every_label_known_the_sides_weigh_the_same():
    logits, targets = make_inputs(CASE, 16, 5)
    targets = targets + (targets == 0).to(targets.dtype)
    two_sides = partial(pnu_loss, supervised=0.0)
    torch.testing.assert_close(two_sides(-logits, -targets), two_sides(logits, targets))
    targets[0] = 0  # a negative control: a hidden row makes them differ
    assert (two_sides(-logits, -targets) - two_sides(logits, targets)).abs() > 1e-3


def test_never_below_its_bound():
    generator = torch.Generator().manual_seed(0)
    _, targets = make_inputs(CASE, 9, 4)
    counts = [(targets == side).sum(0).double() for side in (1, -1)]
    share = (counts[0] + counts[1]) / 9
    bound = -sum(
        float((weight * (9 / count).log())[count > 0].sum())
        for count, weight in ((counts[0], torch.ones(4).double()), (counts[1], share))
    )
    for scale in (0.1, 1.0, 10.0, 1000.0):
        logits = scale * torch.randn(9, 4, generator=generator, dtype=torch.float64)
        assert float(pnu_loss(logits, targets)) >= bound
    # reached where the scores separate what is known from all the rest, for positives alone
    only = targets.clamp(min=0)
    perfect = torch.where(only == 1, 0.0, -1e4).double()
    reached = -float((9 / counts[0])[counts[0] > 0].log().sum())
    assert float(pnu_loss(perfect, only)) == pytest.approx(reached)


def test_least_at_the_true_probability():
    """Two points, 30 and 70 rows, P(y = 1) 0.8 and 0.2; every 2nd label of each side is known."""
    positive = [24, 14]
    point = torch.tensor([0] * 30 + [1] * 70)
    targets = torch.zeros(100, 1, dtype=torch.int8)
    for start, size, count in ((0, 30, positive[0]), (30, 70, positive[1])):
        known_negatives = (size - count) / 2
        assert known_negatives == int(known_negatives)
        targets[start : start + count // 2] = 1
        targets[start + count : start + count + int(known_negatives)] = -1
    scores = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = pnu_loss(scores[point], targets, supervised=0.0)
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = torch.tensor([[0.8], [0.2]], dtype=torch.float64)
    torch.testing.assert_close(scores.detach().sigmoid(), expected, atol=1e-4, rtol=0)
