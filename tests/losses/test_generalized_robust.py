"""The generalized robust loss against a loop over its formula, and the losses at its limits."""

import math
from typing import Any

import pytest
import torch

from pumlc.errors import UserError
from pumlc.losses import LOSSES, binary_cross_entropy_loss, generalized_robust_loss

BEGIN: dict[str, Any] = {"slope": 0.0, "intercept": -2.0, "mean": 0.5, "deviation": 2.0}
END: dict[str, Any] = {"slope": 2.0, "intercept": -2.0, "mean": 0.8, "deviation": 0.5}


def random_batch(rows=6, classes=4):
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(-1, 2, (rows, classes), generator=generator)


def robust(probability, q):
    return -probability.log() if q == 0 else (1 - probability**q) / q


@pytest.mark.parametrize("numbers", [BEGIN, END], ids=["begin", "end"])
@pytest.mark.parametrize(("q_positive", "q_negative"), [(0.01, 1.0), (0.0, 0.0), (0.5, 0.2)])
def test_it_is_its_formula(numbers, q_positive, q_negative):
    logits, targets = random_batch()
    expected = torch.zeros((), dtype=torch.float64)
    for i in range(6):
        for c in range(4):
            p, label = logits[i, c].sigmoid(), int(targets[i, c])
            absent, present = robust(1 - p, q_negative), robust(p, q_positive)
            if label == 1:
                expected = expected - p.log()
            elif label == -1:
                expected = expected + absent
            else:
                constant = p.detach()
                k = 1 / (1 + torch.exp(-(numbers["slope"] * constant + numbers["intercept"])))
                distance = (constant - numbers["mean"]) / numbers["deviation"]
                v = torch.exp(-(distance**2) / 2)
                expected = expected + v * (k * present + (1 - k) * absent)
    loss = generalized_robust_loss(
        logits, targets, **numbers, q_positive=q_positive, q_negative=q_negative
    )
    torch.testing.assert_close(loss, expected / 6)
    torch.testing.assert_close(
        torch.autograd.grad(loss, logits), torch.autograd.grad(expected / 6, logits)
    )


def test_without_pseudo_labels_it_is_cross_entropy_that_takes_unknown_labels_for_negative():
    logits, targets = random_batch()
    numbers: dict[str, Any] = {"slope": 0.0, "intercept": -800.0, "mean": 0.5, "deviation": 1e8}
    torch.testing.assert_close(
        generalized_robust_loss(logits, targets, **numbers, q_positive=0.0, q_negative=0.0),
        binary_cross_entropy_loss(logits, targets, unknown="negative"),
    )


def test_a_small_q_is_near_cross_entropy():
    logits, targets = random_batch()
    near, limit = (
        generalized_robust_loss(logits, targets, **END, q_positive=q, q_negative=q)
        for q in (1e-9, 0.0)
    )
    torch.testing.assert_close(near, limit, rtol=1e-7, atol=0)


@pytest.mark.parametrize("logit", [-1e4, -80.0, 80.0, 1e4])
@pytest.mark.parametrize("label", [1, 0, -1])
def test_value_and_gradient_are_finite_at_the_ends(logit, label):
    logits = torch.tensor([[logit]], requires_grad=True)
    targets = torch.tensor([[label]])
    for q in (0.0, 0.01, 1.0):
        loss = generalized_robust_loss(logits, targets, **END, q_positive=q, q_negative=q)
        assert math.isfinite(loss)
        assert torch.autograd.grad(loss, logits)[0].isfinite().all()


@pytest.mark.parametrize(
    ("name", "number", "valid"),
    [
        ("slope", math.inf, "a finite number"),
        ("intercept", math.nan, "a finite number"),
        ("mean", -math.inf, "a finite number"),
        ("deviation", 0.0, "a finite number above 0"),
        ("deviation", math.nan, "a finite number above 0"),
        ("q_positive", 1.5, r"in \[0, 1\]"),
        ("q_negative", -0.1, r"in \[0, 1\]"),
    ],
)
def test_numbers_out_of_range_are_refused(name, number, valid):
    logits, targets = random_batch()
    numbers = {**END, "q_positive": 0.01, "q_negative": 1.0, name: number}
    with pytest.raises(ValueError, match=f"{name} must be {valid}; got {number}"):
        generalized_robust_loss(logits, targets, **numbers)
    with pytest.raises(UserError, match=f"{name} must be a number"):  # before anything is loaded
        LOSSES["generalized_robust"].check(numbers)
