"""The soft top-k operator: right sums for any number of labels, right gradients, and its loss."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pumlc.losses import soft_topk, soft_topk_loss


def random_scores(rows=3, labels=9, scale=2.0) -> Tensor:
    generator = torch.Generator().manual_seed(labels)
    return scale * torch.randn(rows, labels, generator=generator, dtype=torch.float64)


def naive_soft_topk(row: list[float], k: float, alpha: float) -> list[float]:
    """The operator for one row, by plain bisection in Python floats."""

    def probabilities(t):
        return [1 / (1 + math.exp(-max(min(alpha * (s + t), 700), -700))) for s in row]

    low, high = -max(row) - 800 / alpha, -min(row) + 800 / alpha
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(probabilities(middle)) < k else (low, middle)
    return probabilities(low)


@pytest.mark.parametrize("alpha", [0.3, 2.0, 20.0])
@pytest.mark.parametrize("k", [1, 4, 8])
def test_equals_plain_bisection(k, alpha):
    scores = random_scores()
    expected = [naive_soft_topk(row.tolist(), k, alpha) for row in scores]
    ours = soft_topk(scores, k=k, alpha=alpha)
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64))
    assert (ours.sum(1) - k).abs().max() < 1e-9


@pytest.mark.parametrize("num_labels", [131_073, 501_070, 1_305_265])
@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_sums_to_k_over_a_million_labels(num_labels, spread):
    """Equal scores and a bracket of +-10 / alpha give 5.95, 22.7 and 59.3 in place of 5."""
    scores = spread * torch.randn(1, num_labels, generator=torch.Generator().manual_seed(0))
    selected = soft_topk(scores, k=5, alpha=2.0).double().sum().item()
    assert selected == pytest.approx(5, rel=1e-5)
    k = torch.tensor([1, 700])
    of_rows = soft_topk(scores.expand(2, -1), k=k, alpha=2.0).double().sum(1)
    torch.testing.assert_close(of_rows, k.double(), rtol=1e-5, atol=0)


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=30),
    alpha=st.floats(0.01, 50.0),
    data=st.data(),
)
def test_sums_to_k_for_any_scores(scores, alpha, data):
    k = data.draw(st.integers(1, len(scores) - 1))
    row = torch.tensor([scores], dtype=torch.float64)
    # what one unit in the last place of the largest score can do to the sum
    resolution = alpha * 1e4 * 2.3e-16 * len(scores)
    selected = soft_topk(row, k=k, alpha=alpha).sum().item()
    assert selected == pytest.approx(k, abs=1e-8 + 4 * resolution)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.floats(-50, 50), k=st.integers(1, 7))
def test_shift_and_order(seed, shift, k):
    scores = torch.randn(1, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    p = soft_topk(scores, k=k, alpha=3.0)
    torch.testing.assert_close(soft_topk(scores + shift, k=k, alpha=3.0), p, atol=1e-9, rtol=1e-7)
    assert torch.equal(p.argsort(), scores.argsort())
    complement = 1 - soft_topk(-scores, k=8 - k, alpha=3.0)
    torch.testing.assert_close(complement, p, atol=1e-9, rtol=1e-7)


def test_sharp_limit_is_the_hard_choice():
    scores = torch.tensor([[3.0, 1.0, 2.0, -1.0]])
    p = soft_topk(scores, k=2, alpha=100.0)
    torch.testing.assert_close(p, torch.tensor([[1.0, 0.0, 1.0, 0.0]]))


@pytest.mark.parametrize("alpha", [0.5, 5.0])
def test_gradient_is_the_derivative(alpha):
    scores = random_scores().requires_grad_()
    k = torch.tensor([1, 5, 8])
    assert torch.autograd.gradcheck(lambda s: soft_topk(s, k=k, alpha=alpha), scores)


@pytest.mark.parametrize("gap", [3.0, 30.0, 300.0])
def test_the_middle_of_a_plateau(gap):
    """Between two groups of scores any t gives a sum of k, to rounding; only the middle is right.

    There the positive that is left out has p = exp(-alpha * gap), and it and the label in its place
    share the gradient alpha / |P|.
    """
    scores = torch.tensor([[gap + 90, gap, -gap, -gap - 90]], requires_grad=True)
    loss = soft_topk_loss(scores, torch.tensor([[1, 0, 1, 0]]), k=2, alpha=3.0)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert loss.item() == pytest.approx(3.0 * gap / 2, rel=1e-3)
    expected = torch.tensor([[0.0, 0.75, -0.75, 0.0]])
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-3)


def test_one_k_for_each_row():
    scores = random_scores(rows=4)
    k = torch.tensor([1, 3, 0, 9])
    p = soft_topk(scores, k=k, alpha=2.0)
    torch.testing.assert_close(p.sum(1), k.double())
    for row in (0, 1):
        torch.testing.assert_close(p[[row]], soft_topk(scores[[row]], k=int(k[row]), alpha=2.0))
    assert torch.equal(p[2], torch.zeros(9, dtype=torch.float64))
    assert torch.equal(p[3], torch.ones(9, dtype=torch.float64))


def test_loss_equals_the_naive_loop():
    scores = random_scores(rows=4)
    positives = torch.zeros(4, 9, dtype=torch.bool)
    positives[0, 2] = positives[1, 0] = positives[1, 8] = positives[3, 1:4] = True
    expected = 0.0
    for row, chosen in zip(scores, positives, strict=True):
        p = naive_soft_topk(row.tolist(), 3, 1.5)
        found = [math.log(p[label]) for label in range(9) if chosen[label]]
        expected -= sum(found) / max(len(found), 1) / 4
    loss = soft_topk_loss(scores, positives, k=3, alpha=1.5)
    assert loss.item() == pytest.approx(expected)


def test_k_of_the_number_of_positives():
    scores = random_scores(rows=4).requires_grad_()
    positives = torch.zeros(4, 9, dtype=torch.bool)
    positives[0, :2], positives[1, :] = True, True  # rows 2 and 3 have none
    k = positives.sum(1)
    loss = soft_topk_loss(scores, positives, k=k, alpha=2.0)
    alone = soft_topk_loss(scores[[0]], positives[[0]], k=2, alpha=2.0)
    torch.testing.assert_close(loss, alone / 4)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert torch.isfinite(gradient).all()
    assert (gradient[1:] == 0).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"k": 0}, r"k must be in \[1, 8\]"),
        ({"k": 9}, r"k must be in \[1, 8\]"),
        ({"k": torch.tensor([1, 2])}, "3 integers, one per row"),
        ({"k": torch.ones(3)}, "3 integers, one per row"),
        ({"k": torch.tensor([1, -1, 2])}, "got -1 in row 1"),
        ({"alpha": 0.0}, "alpha must be positive"),
    ],
)
def test_refuses_wrong_numbers(wrong, message):
    arguments: dict[str, Any] = {"k": 2, "alpha": 1.0, **wrong}
    with pytest.raises(ValueError, match=message):
        soft_topk(random_scores(), **arguments)
