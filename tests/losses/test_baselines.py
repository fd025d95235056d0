"""Every baseline against its paper's formula, entry by entry, and against other implementations."""

import inspect
import math
from typing import Any

import pytest
import torch
from timm.loss.asymmetric_loss import AsymmetricLossMultiLabel
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from pumlc.losses import (
    asymmetric_loss,
    asymmetric_pseudo_labels,
    binary_cross_entropy_loss,
    entropy_maximization_loss,
    focal_loss,
    hill_loss,
    large_loss_entries,
    large_loss_loss,
    partial_asymmetric_loss,
    role_loss,
    splc_loss,
    squared_loss,
)


def random_batch(rows=6, classes=5, seed=0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    targets = torch.randint(-1, 2, (rows, classes), generator=generator)
    assert set(targets.unique().tolist()) == {-1, 0, 1}
    return logits.requires_grad_(), targets


def by_entry(formula, logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over entries of ``formula(probability, logit, target, row, column)``, mean over rows."""
    loss = torch.zeros((), dtype=torch.float64)
    for i in range(logits.shape[0]):
        for c in range(logits.shape[1]):
            s = logits[i, c]
            loss = loss + formula(torch.sigmoid(s), s, int(targets[i, c]), i, c)
    return loss / len(logits)


def assert_same(ours: Tensor, naive: Tensor, logits: Tensor) -> None:
    torch.testing.assert_close(ours, naive)
    torch.testing.assert_close(
        torch.autograd.grad(ours, logits, retain_graph=True),
        torch.autograd.grad(naive, logits, retain_graph=True),
    )


def known_sign(target: int, unknown: str) -> int:
    """1, -1, or 0 for an entry that is left out."""
    return -1 if target == 0 and unknown == "negative" else target


either_unknown = pytest.mark.parametrize("unknown", ["ignore", "negative"])


@either_unknown
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy(unknown, smoothing):
    def formula(p, s, target, i, c):
        z = {1: 1 - smoothing, -1: smoothing, 0: None}[known_sign(target, unknown)]
        return 0.0 if z is None else -(z * p.log() + (1 - z) * (1 - p).log())

    logits, targets = random_batch()
    ours = binary_cross_entropy_loss(logits, targets, unknown=unknown, smoothing=smoothing)
    assert_same(ours, by_entry(formula, logits, targets), logits)


@either_unknown
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.5, None), (0.0, 0.5)])
def test_focal(unknown, gamma, alpha):
    def formula(p, s, target, i, c):
        sign = known_sign(target, unknown)
        if sign == 0:
            return 0.0
        q, weight = (p, alpha) if sign == 1 else (1 - p, None if alpha is None else 1 - alpha)
        return -(1 if weight is None else weight) * (1 - q) ** gamma * q.log()

    logits, targets = random_batch()
    ours = focal_loss(logits, targets, gamma=gamma, alpha=alpha, unknown=unknown)
    assert_same(ours, by_entry(formula, logits, targets), logits)


def test_focal_equals_torchvision():
    logits, targets = random_batch()
    theirs = sigmoid_focal_loss(
        logits, (targets == 1).double(), alpha=0.25, gamma=2.0, reduction="sum"
    )
    ours = focal_loss(logits, targets, gamma=2.0, alpha=0.25, unknown="negative")
    assert_same(ours, theirs / len(logits), logits)


def asymmetric_formula(p, sign, gamma_positive, gamma_negative, margin):
    if sign == 1:
        return -((1 - p) ** gamma_positive) * p.log()
    p_m = (p - margin).clamp(min=0)
    return -(p_m**gamma_negative) * (1 - p_m).log()


@either_unknown
@pytest.mark.parametrize(
    ("gamma_positive", "gamma_negative", "margin"), [(0, 4, 0.05), (1, 2, 0.3), (1, 3, 0.0)]
)
def test_asymmetric(unknown, gamma_positive, gamma_negative, margin):
    def formula(p, s, target, i, c):
        sign = known_sign(target, unknown)
        if sign == 0:
            return 0.0
        return asymmetric_formula(p, sign, gamma_positive, gamma_negative, margin)

    logits, targets = random_batch()
    ours = asymmetric_loss(
        logits,
        targets,
        gamma_positive=gamma_positive,
        gamma_negative=gamma_negative,
        margin=margin,
        unknown=unknown,
    )
    assert_same(ours, by_entry(formula, logits, targets), logits)


@pytest.mark.parametrize("detach_weight", [False, True])
def test_asymmetric_equals_timm(detach_weight):
    logits, targets = random_batch()
    options: dict[str, Any] = {}
    if "reduction" in inspect.signature(AsymmetricLossMultiLabel).parameters:
        options["reduction"] = "sum"  # older versions of timm have no other
    theirs = AsymmetricLossMultiLabel(
        gamma_neg=4,
        gamma_pos=1,
        clip=0.05,
        disable_torch_grad_focal_loss=detach_weight,
        **options,
    )
    logits = logits.detach().float().requires_grad_()
    ours = asymmetric_loss(
        logits,
        targets,
        gamma_positive=1,
        gamma_negative=4,
        margin=0.05,
        unknown="negative",
        detach_weight=detach_weight,
    )
    assert_same(ours, theirs(logits, (targets == 1).float()) / len(logits), logits)


def test_asymmetric_without_margin_is_focal():
    logits, targets = random_batch()
    ours = asymmetric_loss(
        logits, targets, gamma_positive=2, gamma_negative=2, margin=0.0, unknown="ignore"
    )
    assert_same(ours, focal_loss(logits, targets, gamma=2, alpha=None, unknown="ignore"), logits)


@pytest.mark.parametrize("mode", ["negative", "ignore", "selective"])
def test_partial_asymmetric(mode):
    prior = torch.tensor([0.0, 0.6, 0.1, 0.2, 0.9])
    top_k = 2

    def formula(p, s, target, i, c):
        if target == 0:
            unknown = sorted(
                (logits[i, d].item() for d in range(5) if targets[i, d] == 0), reverse=True
            )
            likely = s.item() in unknown[:top_k] or prior[c] > 0.5
            if mode == "ignore" or (mode == "selective" and likely):
                return 0.0
        return asymmetric_formula(p, target, 0.5, {-1: 1, 0: 3, 1: 0}[target], 0.05)

    logits, targets = random_batch()
    selection = {"likelihood_top_k": top_k, "prior": prior, "prior_threshold": 0.5}
    ours = partial_asymmetric_loss(
        logits,
        targets,
        mode=mode,
        gamma_positive=0.5,
        gamma_negative=1,
        gamma_unknown=3,
        margin=0.05,
        **(selection if mode == "selective" else {}),
    )
    assert_same(ours, by_entry(formula, logits, targets), logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "selective"}, "must be given with mode='selective'"),
        ({"mode": "ignore", "likelihood_top_k": 1}, "and with no other mode"),
        ({"mode": "selective", "likelihood_top_k": 6}, r"likelihood_top_k must be in \[0, 5\]"),
        ({"mode": "selective", "prior": torch.ones(5)}, "must be given together"),
        (
            {"mode": "selective", "prior": torch.ones(4), "prior_threshold": 0.1},
            r"prior must have the shape \[5\]",
        ),
        ({"mode": "drop"}, "mode must be one of"),
    ],
)
def test_partial_asymmetric_refuses(options, message):
    logits, targets = random_batch()
    gammas = {"gamma_positive": 0, "gamma_negative": 1, "gamma_unknown": 1, "margin": 0}
    with pytest.raises(ValueError, match=message):
        partial_asymmetric_loss(logits, targets, **gammas, **options)


@either_unknown
def test_hill(unknown):
    def formula(p, s, target, i, c):
        sign = known_sign(target, unknown)
        if sign == 0:
            return 0.0
        p_m = torch.sigmoid(s - 1.0)
        return -((1 - p_m) ** 2) * p_m.log() if sign == 1 else (1.5 - p) * p**2

    logits, targets = random_batch()
    ours = hill_loss(logits, targets, gamma=2, margin=1, turning=1.5, unknown=unknown)
    assert_same(ours, by_entry(formula, logits, targets), logits)


def test_hill_stops_pushing_beyond_the_top():
    logits = torch.linspace(-6, 12, 200).unsqueeze(1).requires_grad_()
    targets = torch.full_like(logits, -1, dtype=torch.int8)
    loss = hill_loss(logits, targets, gamma=2, margin=1, turning=1.2, unknown="ignore")
    (gradient,) = torch.autograd.grad(loss, logits)
    beyond = logits.detach().sigmoid() > 0.8  # 2 / 3 * 1.2
    assert torch.equal(gradient < 0, beyond)


@pytest.mark.parametrize("threshold", [0.6, 1.0])
def test_splc(threshold):
    def formula(p, s, target, i, c):
        if target == 1 or (target == 0 and p > threshold):
            p_m = torch.sigmoid(s - 0.5)
            return -((1 - p_m) ** 2) * p_m.log()
        return -(p**2) * (1 - p).log()

    logits, targets = random_batch()
    assert ((targets != 1) & (logits.sigmoid() > 0.6)).any()
    ours = splc_loss(logits, targets, threshold=threshold, gamma=2, margin=0.5)
    assert_same(ours, by_entry(formula, logits, targets), logits)


@pytest.mark.parametrize("mode", ["reject", "correct"])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.99])
def test_large_loss(mode, rate):
    logits, targets = random_batch()
    losses = sorted(
        (-math.log(1 - torch.sigmoid(s).item()) for s in logits[targets == 0]), reverse=True
    )
    num_selected = int(rate * len(losses))
    largest = losses[:num_selected]

    def formula(p, s, target, i, c):
        negative_loss = -(1 - p).log()
        selected = target == 0 and any(
            negative_loss.item() == pytest.approx(x, rel=1e-9) for x in largest
        )
        if target == 1 or (selected and mode == "correct"):
            return -p.log()
        return 0.0 if selected else negative_loss

    ours = large_loss_loss(logits, targets, rate=rate, mode=mode)
    assert_same(ours, by_entry(formula, logits, targets), logits)
    assert large_loss_entries(logits, targets, rate=rate).sum() == num_selected


def test_large_loss_never_takes_an_observed_label():
    logits = torch.full((2, 3), 9.0)
    targets = torch.tensor([[1, 1, 1], [-1, -1, -1]])
    assert not large_loss_entries(logits, targets, rate=0.9).any()
    bce = binary_cross_entropy_loss(logits, targets, unknown="negative")
    for mode in ("reject", "correct"):
        torch.testing.assert_close(large_loss_loss(logits, targets, rate=0.9, mode=mode), bce)
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\)"):
        large_loss_entries(logits, targets, rate=1.0)


def test_permanent_correction_is_large_loss_then_positive_labels():
    logits, targets = random_batch()
    entries = large_loss_entries(logits, targets, rate=0.3)
    permanent = targets.masked_fill(entries, 1)
    corrected = large_loss_loss(logits, targets, rate=0.3, mode="correct")
    later = binary_cross_entropy_loss(logits, permanent, unknown="negative")
    torch.testing.assert_close(later, corrected)


@pytest.mark.parametrize("soft", [False, True])
def test_entropy_maximization(soft):
    logits, targets = random_batch()
    pseudo = torch.rand(
        targets.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )

    def formula(p, s, target, i, c):
        if target == 1:
            return -p.log()
        if target == 0:
            return 0.2 * (p * p.log() + (1 - p) * (1 - p).log())
        y = pseudo[i, c] if soft else 0.0
        return -0.4 * (y * p.log() + (1 - y) * (1 - p).log())

    ours = entropy_maximization_loss(
        logits, targets, alpha=0.2, beta=0.4, pseudo_probabilities=pseudo if soft else None
    )
    assert_same(ours, by_entry(formula, logits, targets), logits)


def test_asymmetric_pseudo_labels():
    logits, targets = random_batch(rows=20)
    probabilities = logits.detach().sigmoid()
    changed = asymmetric_pseudo_labels(probabilities, targets, proportion=0.4)
    for c in range(5):
        unknown = [i for i in range(20) if targets[i, c] == 0]
        lowest = sorted(unknown, key=lambda i: probabilities[i, c].item())
        expected = targets[:, c].clone()
        expected[lowest[: int(0.4 * len(unknown))]] = -1
        assert torch.equal(changed[:, c], expected)
    assert (changed != targets).any()


def test_role():
    logits, targets = random_batch()
    estimates = random_batch(seed=1)[0]

    def one_side(learner, teacher):
        y = teacher.detach().sigmoid()

        def formula(p, s, target, i, c):
            loss = -(y[i, c] * p.log() + (1 - y[i, c]) * (1 - p).log())
            return loss - p.log() if target == 1 else loss

        expected = learner.sigmoid().sum(1).mean()
        return by_entry(formula, learner, targets) + (expected - 1.5) ** 2 / 5

    naive = (one_side(logits, estimates) + one_side(estimates, logits)) / 2
    ours = role_loss(logits, targets, estimate_logits=estimates, expected_positives=1.5)
    assert_same(ours, naive, logits)
    assert_same(ours, naive, estimates)


@pytest.mark.parametrize("percent", [29, 57, 58, 99])
def test_a_share_of_a_hundred_labels_is_not_one_short(percent):
    """0.29 * 100 is 28.999... in binary."""
    logits, targets = torch.linspace(-1, 1, 100)[None], torch.zeros(1, 100, dtype=torch.int8)
    assert large_loss_entries(logits, targets, rate=percent / 100).sum() == percent
    changed = asymmetric_pseudo_labels(logits.sigmoid().T, targets.T, proportion=percent / 100)
    assert (changed == -1).sum() == percent


@pytest.mark.parametrize("unknown", ["ignore", "negative"])
def test_squared_loss_is_its_formula(unknown):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(-1, 2, (6, 4), generator=generator)
    expected, slopes = 0.0, torch.zeros(6, 4, dtype=torch.float64)
    for i in range(6):
        for c in range(4):
            label = int(targets[i, c])
            if label == 0 and unknown == "ignore":
                continue
            error = float(logits[i, c]) - (1 if label == 1 else -1)
            expected, slopes[i, c] = expected + error**2 / 6, 2 * error / 6
    loss = squared_loss(logits, targets, unknown=unknown)
    assert loss.item() == pytest.approx(expected)
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], slopes)
