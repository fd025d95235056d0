"""What every loss promises, whatever its formula."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import CASES, CHUNKED, make_inputs, traced_nonzero
from torch._dynamo.exc import Unsupported
from torch.utils._python_dispatch import TorchDispatchMode

from pumlc import losses
from pumlc.losses import positives as forms_of_positives

every_case = pytest.mark.parametrize("case", [*CASES, CHUNKED], ids=str)
# The first case of each loss: compiled to the end. The others are traced: a branch that a parameter
# opens shows there.
FIRST_CASES = list({case.name.split("/")[0]: case for case in reversed(CASES)}.values())


def value_and_gradient(case, logits, targets, **options):
    logits = logits.detach().clone().requires_grad_()
    value = case.loss(logits, targets, **options)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


def test_every_registered_loss_has_a_case():
    assert {case.name.split("/")[0] for case in CASES} == set(losses.LOSSES)


def test_one_call_shape():
    for name, loss in losses.LOSSES.items():
        first, second, *rest = inspect.signature(loss.function).parameters.values()
        assert (first.name, second.name) in {("logits", "targets"), ("scores", "positives")}, name
        assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in rest), name
        assert rest[-1].name == "process_group", name
        assert rest[-1].default is None, name


@every_case
def test_gradient_is_the_derivative(case):
    if not case.true_gradient:
        pytest.skip("has parts that are constants to the gradient; checked against a naive loop")
    logits, targets = make_inputs(case)
    assert torch.autograd.gradcheck(
        lambda x: case.loss(x, targets), logits.requires_grad_(), atol=1e-7
    )


@every_case
def test_order_of_rows_and_labels_does_not_matter(case):
    logits, targets = make_inputs(case)
    value, gradient = value_and_gradient(case, logits, targets)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(logits), generator=generator)
    columns = torch.randperm(logits.shape[1], generator=generator)
    permuted = value_and_gradient(case, logits[rows][:, columns], targets[rows][:, columns])
    torch.testing.assert_close(permuted[0], value)
    torch.testing.assert_close(permuted[1], gradient[rows][:, columns])


@every_case
def test_memory_layout_does_not_matter(case):
    logits, targets = make_inputs(case)
    value, gradient = value_and_gradient(case, logits, targets)
    transposed = value_and_gradient(case, logits.T.contiguous().T, targets.T.contiguous().T)
    torch.testing.assert_close(transposed, (value, gradient))


@every_case
def test_repeating_the_batch_does_not_change_the_value(case):
    if case.name.startswith("large_loss"):
        pytest.skip("equal losses straddle the border of the selection")
    logits, targets = make_inputs(case)
    value, gradient = value_and_gradient(case, logits, targets)
    twice = value_and_gradient(case, logits.repeat(2, 1), targets.repeat(2, 1))
    torch.testing.assert_close(twice[0], value)
    torch.testing.assert_close(twice[1], gradient.repeat(2, 1) / 2)


@every_case
def test_nothing_of_the_caller_changes(case):
    logits, targets = make_inputs(case)
    logits.requires_grad_()
    before = logits.detach().clone(), targets.clone(), torch.get_rng_state()
    versions = logits._version, targets._version
    case.loss(logits, targets).backward()
    assert (logits._version, targets._version) == versions
    assert torch.equal(logits, before[0])
    assert torch.equal(targets, before[1])
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.is_grad_enabled()
    with torch.no_grad():
        value = case.loss(logits, targets)
        assert not torch.is_grad_enabled()
    assert not value.requires_grad


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_computes_in_float32_at_least(case, dtype):
    logits, targets = make_inputs(case, dtype=dtype)
    value, gradient = value_and_gradient(case, logits, targets)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert gradient.dtype == dtype
    exact, exact_gradient = value_and_gradient(case, logits.double(), targets)
    torch.testing.assert_close(value.double(), exact, rtol=2e-6, atol=2e-6)
    tolerance = 4 * torch.finfo(dtype).eps + 1e-9
    torch.testing.assert_close(
        gradient.double(), exact_gradient, rtol=4 * tolerance, atol=tolerance
    )


@every_case
def test_autocast_changes_nothing(case):
    logits, targets = make_inputs(case, dtype=torch.float32)
    plain = value_and_gradient(case, logits, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = value_and_gradient(case, logits, targets)
    torch.testing.assert_close(cast, plain, rtol=0, atol=0)


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("level", [0.0, 0.3, -5.0, 1e4, -1e4, "mixed"])
def test_finite_for_constant_and_huge_logits(case, level, dtype):
    logits, targets = make_inputs(case, rows=8)
    huge = 1e4 * logits.sign()
    logits = (huge if level == "mixed" else torch.full_like(logits, level)).to(dtype)
    value, gradient = value_and_gradient(case, logits, targets)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@every_case
@pytest.mark.parametrize("fill", ["one row", "no positive", "all positive"])
def test_finite_for_degenerate_batches(case, fill):
    logits, targets = make_inputs(case, rows=1 if fill == "one row" else 5)
    if fill == "no positive":
        targets = targets & 0
    elif fill == "all positive":
        targets = torch.ones_like(targets)
    value, gradient = value_and_gradient(case, logits, targets)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@every_case
@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("rows", "shape"),
        ("columns", "shape"),
        ("vector", "shape"),
        ("empty", "shape"),
        ("integer logits", "floating point"),
        ("float labels", "float"),
        ("label 2", "got"),
        ("label -2", "got"),
    ],
)
def test_refuses_wrong_input(case, change, names):
    logits, targets = make_inputs(case)
    if change == "rows":
        targets = targets[:-1]
    elif change == "columns":
        targets = targets[:, :-1]
    elif change == "vector":
        logits, targets = logits[0], targets[0]
    elif change == "empty":
        logits, targets = logits[:0], targets[:0]
    elif change == "integer logits":
        logits = logits.long()
    elif change == "float labels":
        targets = targets.float()
    else:
        targets = targets.to(torch.int8)
        targets[2, 3] = int(change.split()[1])
    with pytest.raises(ValueError, match=names) as caught:
        case.loss(logits, targets)
    assert "got" in str(caught.value)


def test_a_wrong_label_is_found_by_row():
    logits, targets = torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.int64)
    targets[1, 2] = 7
    with pytest.raises(ValueError, match="got 7 in row 1, column 2"):
        losses.binary_cross_entropy_loss(logits, targets, unknown="ignore")


@every_case
def test_compiles_without_a_graph_break(case):
    torch.compiler.reset()
    logits, targets = make_inputs(case, dtype=torch.float32)
    backend = "aot_eager" if case in FIRST_CASES else "eager"
    compiled = torch.compile(case.loss, fullgraph=True, backend=backend)
    ours = logits.clone().requires_grad_()
    with traced_nonzero():
        value = compiled(ours, targets)
    value.backward()
    torch.testing.assert_close(
        (value.detach(), ours.grad), value_and_gradient(case, logits, targets)
    )


def test_a_branch_on_values_is_a_graph_break():
    """The negative control of the test above."""
    with pytest.raises(Unsupported):
        torch.compile(lambda x: x if x.sum() > 0 else -x, fullgraph=True)(torch.ones(2))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_never_waits_for_the_device(case):
    """Tensors on the meta device have no values: to look at one is an error."""
    logits, targets = make_inputs(case, dtype=torch.float32)
    logits, targets = logits.to("meta").requires_grad_(), targets.to("meta")
    case.loss(logits, targets).backward()
    assert logits.grad is not None
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        bool(logits.sum() > 0)


class LooksAtValues(TorchDispatchMode):
    """Notes the operations whose result, on an accelerator, the host has to wait for."""

    found: set[str]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        if name in {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"}:
            self.found.add(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("sparse", [True, False])
def test_chunked_softmax_waits_for_dense_positives_alone(sparse, monkeypatch):
    monkeypatch.setattr(forms_of_positives, "values_can_be_checked", lambda values: False)
    queries, labels = torch.randn(3, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    positives = torch.zeros(3, 9, dtype=torch.bool)
    positives[0, 2] = positives[0, 8] = positives[2, 5] = True
    given = positives.to_sparse_csr() if sparse else positives
    with LooksAtValues() as looks:
        looks.found = set()
        losses.chunked_decoupled_softmax_loss(
            queries, labels, given, temperature=0.5, chunk_size=4
        ).backward()
    # dense positives have to be counted
    assert looks.found == (set() if sparse else {"aten::nonzero"})


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 300.0), shift=st.floats(-100.0, 100.0))
@every_case
def test_finite_for_any_logits(case, seed, scale, shift):
    generator = torch.Generator().manual_seed(seed)
    _, targets = make_inputs(case)
    logits = scale * torch.randn(targets.shape, generator=generator) + shift
    value, gradient = value_and_gradient(case, logits, targets)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
