"""The PU losses against the released code's values, naive loops, and their hard cases."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pumlc.losses import pu_loss, pu_mixup_loss
from pumlc.losses.variational import variational_loss
from pumlc.losses.variational_fast import fast_variational_loss


def golden_tensors(golden, case) -> dict[str, Any]:
    fields = {k.split("/")[1]: v for k, v in golden.items() if k.startswith(case + "/")}
    return {k: torch.from_numpy(v) if v.ndim else float(v) for k, v in fields.items()}


@pytest.mark.parametrize("case", ["vpu_small", "vpu_coco10", "vpu_voc"])
def test_released_values(golden, case):
    g = golden_tensors(golden, case)
    logits = g["logits"].requires_grad_()
    loss = pu_loss(logits, g["targets"], gamma=g["gamma"], alpha=g["alpha"])
    loss.backward()
    assert loss.item() == pytest.approx(g["loss"], rel=1e-5)
    torch.testing.assert_close(logits.grad, g["grad"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", ["vpu_confident", "vpu_flat"])
def test_released_values_with_the_released_accidents(golden, case):
    g = golden_tensors(golden, case)
    logits = g["logits"].requires_grad_()
    loss = pu_loss(
        logits,
        g["targets"],
        gamma=g["gamma"],
        alpha=g["alpha"],
        epsilon=2e-10,
        temperature_floor=0.0,
    )
    loss.backward()
    assert loss.item() == pytest.approx(g["loss"], rel=1e-4)
    torch.testing.assert_close(logits.grad, g["grad"], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("case", ["mix_even", "mix_odd"])
def test_released_mixup_values(golden, case):
    g = golden_tensors(golden, case)
    images, weight = g["images"].flatten(1), g["weight"].requires_grad_()
    half = len(images) // 2
    mixed = g["lam"] * images[:half][g["perm"]] + (1 - g["lam"]) * images[half:]
    loss = pu_mixup_loss(
        images @ weight.T + g["bias"],
        g["targets"],
        mixed @ weight.T + g["bias"],
        permutation=g["perm"],
        lam=g["lam"],
    )
    loss.backward()
    assert loss.item() == pytest.approx(g["loss"], rel=1e-5)
    torch.testing.assert_close(weight.grad, g["grad_weight"], atol=1e-5, rtol=1e-4)


def naive_pu_loss(
    logits, targets, *, gamma, alpha, absent="keep", temperature_floor=0.1, epsilon=0.0
) -> Tensor:
    """The formulas of the docstring, class by class and row by row; float64, autograd."""
    num_rows, num_classes = logits.shape
    loss = torch.zeros((), dtype=torch.float64)
    for c in range(num_classes):
        column = [logits[i, c] for i in range(num_rows)]
        numbers = [score.item() for score in column]
        mean = sum(numbers) / num_rows
        deviation = math.sqrt(sum((x - mean) ** 2 for x in numbers) / num_rows)
        t = min(max(alpha * deviation, temperature_floor * (1 + max(mean, 0))), 1.0)
        t = 1.0 if num_rows == 1 else t
        q = [torch.sigmoid(score / t) + epsilon for score in column]
        mean_q = torch.stack(q).sum() / num_rows
        positives = [i for i in range(num_rows) if targets[i, c] == 1]
        if positives or absent == "keep":
            loss = loss + mean_q.item() ** gamma * mean_q.log()
        for i in positives:
            loss = loss - q[i].log() / len(positives)
    return loss


def random_batch(
    rows, classes, *, scale=2.0, shift=-0.5, known=0.3, seed=0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, classes, generator=generator, dtype=torch.float64) + shift
    targets = (torch.rand(rows, classes, generator=generator) < known).to(torch.int8)
    targets[(torch.rand(rows, classes, generator=generator) < 0.2) & (targets == 0)] = -1
    targets[:, 0].clamp_(max=0)
    return logits, targets


@pytest.mark.parametrize("absent", ["keep", "skip"])
@pytest.mark.parametrize(
    ("rows", "scale", "shift", "options"),
    [
        (9, 2.0, -0.5, {"gamma": 0.55, "alpha": 1.0}),
        (9, 0.3, -0.5, {"gamma": 0.85, "alpha": 2.0}),
        (9, 0.01, 2.0, {"gamma": 0.85, "alpha": 2.0}),
        (9, 0.01, 2.0, {"gamma": 0.5, "alpha": 1.0, "temperature_floor": 0.3}),
        (9, 0.3, -3.0, {"gamma": 0.55, "alpha": 1.0, "temperature_floor": 0.0}),
        (9, 2.0, -1.0, {"gamma": 0.0, "alpha": 0.5, "epsilon": 1e-3}),
        (1, 2.0, 0.0, {"gamma": 0.55, "alpha": 1.0}),
        (2, 2.0, 0.0, {"gamma": 0.55, "alpha": 1.0}),
    ],
)
def test_equals_the_naive_loop(rows, scale, shift, options, absent):
    logits, targets = random_batch(rows, 6, scale=scale, shift=shift)
    logits.requires_grad_()
    options = {**options, "absent": absent}
    ours = pu_loss(logits, targets, **options)
    naive = naive_pu_loss(logits, targets, **options)
    torch.testing.assert_close(ours, naive)
    (gradient,) = torch.autograd.grad(ours, logits)
    torch.testing.assert_close(gradient, torch.autograd.grad(naive, logits)[0])
    wrong = naive_pu_loss(logits, targets, **{**options, "gamma": options["gamma"] + 0.1})
    by_wrong = torch.autograd.grad(wrong, logits)[0]
    assert not torch.allclose(by_wrong, gradient, rtol=1e-4, atol=0)


OPTIONS = {"gamma": 0.55, "alpha": 1.0, "temperature_floor": 0.1, "epsilon": 0.0}


@pytest.mark.parametrize("skip_absent", [True, False])
@pytest.mark.parametrize("shape", [(1, 5), (9, 6), (512, 100)])
@pytest.mark.parametrize(
    "changes", [{}, {"gamma": 0.0, "alpha": 0.3}, {"epsilon": 1e-3}, {"temperature_floor": 0.7}]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_fast_form_is_the_definition(shape, changes, skip_absent, dtype):
    logits, targets = random_batch(*shape)
    logits = logits.to(dtype).requires_grad_()
    options: dict[str, Any] = {**OPTIONS, **changes, "skip_absent": skip_absent}
    fast = fast_variational_loss(logits, targets, **options)
    definition = variational_loss(logits, targets, **options)
    torch.testing.assert_close(fast, definition)
    by_fast, by_definition = (torch.autograd.grad(v, logits)[0] for v in (fast, definition))
    torch.testing.assert_close(by_fast, by_definition)
    other = variational_loss(logits, targets, **{**options, "alpha": 0.0})
    by_other = torch.autograd.grad(other, logits)[0]
    assert shape[0] == 1 or not torch.allclose(by_other, by_fast, rtol=1e-3)


@pytest.mark.parametrize("level", [1e4, -1e4, 0.0, -300.0])
def test_the_fast_form_is_the_definition_at_huge_logits(level):
    logits = torch.full((6, 3), level)
    logits[::2, 1] *= -1
    logits.requires_grad_()
    targets = torch.zeros(6, 3, dtype=torch.int8)
    targets[0], targets[3, 1] = 1, 1
    options: dict[str, Any] = {**OPTIONS, "skip_absent": False}
    values = [f(logits, targets, **options) for f in (fast_variational_loss, variational_loss)]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(value, logits) for value in values))


def test_blocks_of_classes_add_up():
    # 20,000 rows a thread make blocks of 6 classes; the last one is ragged
    logits, targets = random_batch(20_000 * torch.get_num_threads(), 20)
    logits.requires_grad_()
    whole = pu_loss(logits, targets, gamma=0.55, alpha=1.0)
    alone = [pu_loss(logits[:, [c]], targets[:, [c]], gamma=0.55, alpha=1.0) for c in range(20)]
    total = torch.stack(alone).sum()
    torch.testing.assert_close(whole, total)
    torch.testing.assert_close(
        torch.autograd.grad(whole, logits), torch.autograd.grad(total, logits)
    )


def test_extreme_labels_in_chunks_and_samples():
    """The loss is a sum over classes: chunks of labels add up, a sample of them estimates it."""
    generator = torch.Generator().manual_seed(0)
    texts = torch.randn(6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randn(40, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    _, targets = random_batch(6, 40)
    options: dict[str, Any] = {"gamma": 0.55, "alpha": 1.0}
    whole = pu_loss(texts @ labels.T, targets, **options)
    whole.backward()
    by_texts, by_labels = texts.grad, labels.grad
    texts.grad = labels.grad = None
    value = 0.0
    for chunk in torch.arange(40).split(7):
        part = pu_loss(texts @ labels[chunk].T, targets[:, chunk], **options)
        part.backward()
        value += part.item()
    assert value == pytest.approx(whole.item())
    torch.testing.assert_close((texts.grad, labels.grad), (by_texts, by_labels))
    samples = torch.randperm(40, generator=generator).split(8)
    estimates = [
        40 / 8 * pu_loss(texts @ labels[sample].T, targets[:, sample], **options).item()
        for sample in samples
    ]
    assert sum(estimates) / len(estimates) == pytest.approx(whole.item())


def gradient_of(logits: Tensor, targets: Tensor, **options) -> Tensor:
    logits = logits.clone().requires_grad_()
    options = {"gamma": 0.55, "alpha": 1.0, **options}
    (gradient,) = torch.autograd.grad(pu_loss(logits, targets, **options), logits)
    assert torch.isfinite(gradient).all()
    return gradient


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0, 3.0, -0.3, -3.0])
@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_nearly_constant_logits_have_a_useful_gradient(level, noise):
    targets = torch.zeros(8, 2, dtype=torch.int64)
    targets[:2, 0] = 1
    logits = level + noise * torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    gradient = gradient_of(logits, targets)
    assert (gradient[:2, 0] < -1e-4).all()  # positives are pulled up
    assert (gradient[2:, 0] > 0).all()  # the others are pushed down
    assert gradient.abs().max() < 10  # 1 / temperature_floor bounds the steepness
    if level >= 0:  # a class without a positive that looks positive is pushed down
        assert (gradient[:, 1] > 1e-4).all()


def test_one_row_has_a_useful_gradient():
    logits = torch.tensor([[0.0, 0.0, 3.0, -3.0]])
    gradient = gradient_of(logits, torch.tensor([[1, 0, 0, 1]]))[0]
    assert gradient[0] < -0.1
    assert gradient[1] > 0.1
    assert gradient[2] > 0.01
    assert gradient[3] < -0.5


def test_confidently_wrong_positives_keep_their_gradient():
    logits = torch.tensor([[-1e4], [1.0], [-2.0], [0.0]])
    targets = torch.tensor([[1], [1], [0], [0]])
    assert gradient_of(logits, targets)[0, 0] == pytest.approx(-0.5)
    faded = gradient_of(logits, targets, epsilon=2e-10)[0, 0]
    assert abs(faded) < 1e-6  # what the released code does


def test_a_batch_without_positives_is_pushed_down():
    logits, _ = random_batch(8, 4)
    targets = torch.zeros(8, 4, dtype=torch.int8)
    assert (gradient_of(logits, targets) > 0).all()
    assert (gradient_of(logits, targets, absent="skip") == 0).all()


def test_the_flat_golden_case_is_tame(golden):
    g = golden_tensors(golden, "vpu_flat")
    gradient = gradient_of(g["logits"], g["targets"], gamma=g["gamma"], alpha=g["alpha"])
    assert gradient.abs().max() <= 10
    assert g["grad"].abs().max() > 15
    assert (gradient[g["targets"] == 1] < -1e-3).all()


def test_a_second_derivative_is_refused_and_not_taken_for_zero():
    logits, targets = random_batch(4, 3)
    logits.requires_grad_()
    loss = pu_loss(logits, targets, gamma=0.5, alpha=1.0)
    with pytest.raises(RuntimeError, match="create_graph=True; pu_loss with excluded="):
        torch.autograd.grad(loss, logits, create_graph=True)
    nothing = torch.zeros_like(targets, dtype=torch.bool)
    loss = pu_loss(logits, targets, gamma=0.5, alpha=1.0, excluded=nothing)
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    gradient.square().sum().backward()
    assert (logits.grad != 0).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"gamma": -0.1},
        {"alpha": -1.0},
        {"alpha": math.nan},
        {"temperature_floor": 1.5},
        {"epsilon": -1e-10},
        {"absent": "drop"},
    ],
)
def test_refuses_wrong_numbers(wrong):
    logits, targets = random_batch(3, 2)
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be .*got"):
        pu_loss(logits, targets, **{"gamma": 0.5, "alpha": 1.0, **wrong})


def naive_mixup_loss(logits, targets, mixed_logits, permutation, lam) -> Tensor:
    half = len(logits) // 2
    loss = torch.zeros((), dtype=torch.float64)
    for j in range(half):
        first, second = int(permutation[j]), len(logits) - half + j
        for c in range(logits.shape[1]):
            y = [
                torch.ones((), dtype=torch.float64)
                if targets[i, c] == 1
                else torch.sigmoid(logits[i, c])
                for i in (first, second)
            ]
            target = (lam * y[0] + (1 - lam) * y[1]).log()
            loss = loss + (target - torch.sigmoid(mixed_logits[j, c]).log()) ** 2 / half
    return loss


@pytest.mark.parametrize("lam", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("rows", [6, 7])
def test_mixup_equals_the_naive_loop(rows, lam):
    logits, targets = random_batch(rows, 4)
    mixed_logits, _ = random_batch(3, 4, seed=1)
    permutation = torch.tensor([2, 0, 1])
    inputs = logits.requires_grad_(), mixed_logits.requires_grad_()
    ours = pu_mixup_loss(logits, targets, mixed_logits, permutation=permutation, lam=lam)
    naive = naive_mixup_loss(logits, targets, mixed_logits, permutation, lam)
    torch.testing.assert_close(ours, naive)
    gradients = torch.autograd.grad(ours, inputs)
    torch.testing.assert_close(gradients, torch.autograd.grad(naive, inputs))
    assert torch.equal(gradients[0][3:-3], torch.zeros(rows - 6, 4, dtype=torch.float64))
    other = naive_mixup_loss(logits, targets, mixed_logits, permutation.flip(0), lam)
    assert lam == 0 or not torch.allclose(other, naive, rtol=1e-3)


def test_mixup_can_detach_its_target():
    logits, targets = random_batch(6, 4)
    mixed_logits, _ = random_batch(3, 4, seed=1)
    inputs = logits.requires_grad_(), mixed_logits.requires_grad_()
    options = {"permutation": torch.arange(3), "lam": 0.4}
    kept = pu_mixup_loss(logits, targets, mixed_logits, **options)
    detached = pu_mixup_loss(logits, targets, mixed_logits, detach_target=True, **options)
    assert torch.equal(kept, detached)
    by_logits, by_mixed = torch.autograd.grad(detached, inputs, allow_unused=True)
    assert by_logits is None
    torch.testing.assert_close(by_mixed, torch.autograd.grad(kept, inputs)[1])


@pytest.mark.parametrize("level", [1e4, -1e4])
def test_mixup_is_finite_for_huge_logits(level):
    logits = torch.full((4, 2), level, requires_grad=True)
    mixed = torch.full((2, 2), -level, requires_grad=True)
    targets = torch.zeros(4, 2, dtype=torch.int8)
    loss = pu_mixup_loss(logits, targets, mixed, permutation=torch.arange(2), lam=0.5)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, (logits, mixed)))


def test_mixup_gradient_and_compilation():
    logits, targets = random_batch(4, 3)
    mixed, _ = random_batch(2, 3, seed=1)

    def loss(logits, mixed):
        return pu_mixup_loss(logits, targets, mixed, permutation=torch.tensor([1, 0]), lam=0.3)

    inputs = logits.requires_grad_(), mixed.requires_grad_()
    assert torch.autograd.gradcheck(loss, inputs)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), loss(*inputs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixed_logits": torch.zeros(2, 4)}, "mixed_logits must have the shape"),
        ({"permutation": torch.arange(2)}, "permutation must be"),
        ({"permutation": torch.zeros(3)}, "permutation must be"),
        ({"lam": 1.5}, "lam must be in"),
    ],
)
def test_mixup_refuses_wrong_input(change, message):
    logits, targets = random_batch(6, 4)
    good = {"mixed_logits": logits[:3], "permutation": torch.arange(3), "lam": 0.5}
    arguments: dict[str, Any] = {**good, **change}
    with pytest.raises(ValueError, match=message):
        pu_mixup_loss(logits, targets, **arguments)
