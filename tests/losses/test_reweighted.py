"""The reweighted loss against a loop over its formula, and what the weights are for."""

from typing import Any

import pytest
import torch

from pumlc.losses import binary_cross_entropy_loss, reweighted_loss


def random_batch(rows=6, classes=4):
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(-1, 2, (rows, classes), generator=generator)


@pytest.mark.parametrize("unknown", ["ignore", "negative"])
@pytest.mark.parametrize("of_classes", [False, True])
def test_it_is_its_formula(unknown, of_classes):
    logits, targets = random_batch()
    missed: Any = torch.tensor([0.3, 0.0, 0.6, 0.1]) if of_classes else 0.3
    invented: Any = torch.tensor([0.1, 0.2, 0.0, 0.0]) if of_classes else 0.1
    expected = torch.zeros((), dtype=torch.float64)
    for i in range(6):
        for c in range(4):
            a = float(missed[c]) if of_classes else missed
            b = float(invented[c]) if of_classes else invented
            p, label = logits[i, c].sigmoid(), int(targets[i, c])
            if label == 1:
                weight = p / ((1 - a) * p + b * (1 - p))
                expected = expected - weight.detach() * p.log()
            elif label == -1 or unknown == "negative":
                weight = (1 - p) / (a * p + (1 - b) * (1 - p))
                expected = expected - weight.detach() * (1 - p).log()
    loss = reweighted_loss(logits, targets, missed=missed, invented=invented, unknown=unknown)
    torch.testing.assert_close(loss, expected / 6)
    torch.testing.assert_close(
        torch.autograd.grad(loss, logits), torch.autograd.grad(expected / 6, logits)
    )


def test_without_errors_it_is_binary_cross_entropy():
    logits, targets = random_batch()
    torch.testing.assert_close(
        reweighted_loss(logits, targets, unknown="ignore"),
        binary_cross_entropy_loss(logits, targets, unknown="ignore"),
    )


@pytest.mark.parametrize("probability", [0.05, 0.4, 0.9])
def test_the_expected_gradient_under_noise_is_zero_at_the_true_probability(probability):
    """One row, labels at the true odds, flipped at the rates: the clean logit stays the best."""
    missed, invented, logit = 0.4, 0.1, torch.tensor([[probability]]).logit()
    logit.requires_grad_()
    given = (1 - missed) * probability + invented * (1 - probability)
    both = [
        share
        * reweighted_loss(
            logit, torch.tensor([[label]]), missed=missed, invented=invented, unknown="ignore"
        )
        for label, share in ((1, given), (-1, 1 - given))
    ]
    slope = torch.autograd.grad(both[0] + both[1], logit)[0]
    torch.testing.assert_close(slope, torch.zeros(1, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("logit", [-1e4, 1e4])
@pytest.mark.parametrize("label", [1, -1])
def test_logits_of_any_size(logit, label):
    logits = torch.tensor([[logit]], requires_grad=True)
    tried: list[dict[str, Any]] = [{}, *({"missed": 0.3, "invented": b} for b in (0.0, 0.1))]
    for rates in tried:
        loss = reweighted_loss(logits, torch.tensor([[label]]), unknown="ignore", **rates)
        assert torch.isfinite(loss)
        assert torch.isfinite(torch.autograd.grad(loss, logits)[0]).all()


@pytest.mark.parametrize(
    ("rate", "message"),
    [(1.0, r"missed must be in \[0, 1\); got 1.0"), (torch.zeros(3), r"one rate or \[4\]")],
)
def test_rates_that_are_refused(rate, message):
    logits, targets = random_batch()
    with pytest.raises(ValueError, match=message):
        reweighted_loss(logits, targets, missed=rate, unknown="ignore")
