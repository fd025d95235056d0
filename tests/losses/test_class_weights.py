"""Weights of classes: the gradient is that of the weighted sum over classes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pumlc.losses import (
    asymmetric_loss,
    binary_cross_entropy_loss,
    pu_loss,
    pu_mixup_loss,
    weigh_classes,
)

ROWS, CLASSES = 6, 4

LOSSES = {
    "bce": lambda s, y: binary_cross_entropy_loss(s, y, unknown="negative"),
    "pu": lambda s, y: pu_loss(s, y, gamma=0.55, alpha=1.0),
    "asl": lambda s, y: asymmetric_loss(
        s, y, gamma_positive=1, gamma_negative=4, margin=0.05, unknown="negative"
    ),
    "mixup": lambda s, y: pu_mixup_loss(
        s, y, 0.5 * s[: ROWS // 2], permutation=torch.tensor([2, 0, 1]), lam=0.3
    ),
}


@pytest.mark.parametrize("name", LOSSES)
@given(
    weights=st.lists(st.floats(0, 9), min_size=CLASSES, max_size=CLASSES), seed=st.integers(0, 99)
)
def test_the_gradient_is_that_of_the_weighted_sum_over_classes(name, weights, seed):
    torch.manual_seed(seed)
    loss, w = LOSSES[name], torch.tensor(weights, dtype=torch.float64)
    targets = torch.randint(-1, 2, (ROWS, CLASSES))
    logits = torch.randn(ROWS, CLASSES, dtype=torch.float64, requires_grad=True)
    value = loss(weigh_classes(logits, w), targets)
    (found,) = torch.autograd.grad(value, logits)
    each = [loss(logits[:, c : c + 1], targets[:, c : c + 1]) for c in range(CLASSES)]
    (expected,) = torch.autograd.grad((w * torch.stack(each)).sum(), logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(value, loss(logits, targets))  # the unweighted one


def test_half_precision_keeps_its_type():
    logits = torch.zeros(2, 3, dtype=torch.bfloat16, requires_grad=True)
    weighed = weigh_classes(logits, torch.tensor([1.0, 2.0, 0.5]))
    weighed.sum().backward()
    assert weighed.dtype == torch.bfloat16
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1, 2, 0.5]] * 2


@pytest.mark.parametrize("weights", [torch.ones(2), torch.ones(1, 3), torch.ones(3).int()])
def test_weights_that_do_not_fit(weights):
    with pytest.raises(ValueError, match=r"weights must be floats \[C\] = \[3\]"):
        weigh_classes(torch.zeros(2, 3), weights)
