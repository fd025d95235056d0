"""Pairs that take no part: every loss is what it would be if the row did not have the label."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from loss_cases import EXCLUDING, make_excluded_inputs
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pumlc import losses
from pumlc.losses import excluded as excluded_module
from pumlc.losses import positives as forms_of_positives

every_case = pytest.mark.parametrize("case", EXCLUDING, ids=str)


def naive_pu(logits, targets, excluded, parameters) -> Tensor:
    """Class by class, row by row, over the rows that the class keeps; float64."""
    total = logits.sum() * 0.0
    floor, epsilon = parameters.get("temperature_floor", 0.1), parameters.get("epsilon", 0.0)
    for c in range(logits.shape[1]):
        rows = [i for i in range(len(logits)) if not excluded[i, c]]
        if not rows:
            continue
        numbers = [logits[i, c].item() for i in rows]
        mean = sum(numbers) / len(rows)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in numbers) / len(rows))
        t = min(max(parameters["alpha"] * deviation, floor * (1 + max(mean, 0.0))), 1.0)
        t = 1.0 if len(rows) == 1 else t
        q = {i: torch.sigmoid(logits[i, c] / t) + epsilon for i in rows}
        mean_q = torch.stack(list(q.values())).sum() / len(rows)
        positives = [i for i in rows if targets[i, c] == 1]
        if positives or parameters.get("absent", "keep") == "keep":
            total = total + mean_q.item() ** parameters["gamma"] * mean_q.log()
        for i in positives:
            total = total - q[i].log() / len(positives)
    return total


def naive_bce(logits, targets, excluded, parameters) -> Tensor:
    """Pair by pair."""
    smoothing = parameters.get("smoothing", 0.0)
    total = logits.sum() * 0.0
    for i in range(len(logits)):
        for c in range(logits.shape[1]):
            label = int(targets[i, c])
            if excluded[i, c] or (label == 0 and parameters["unknown"] == "ignore"):
                continue
            z = 1 - smoothing if label == 1 else smoothing
            total = total - z * F.logsigmoid(logits[i, c]) - (1 - z) * F.logsigmoid(-logits[i, c])
    return total / len(logits)


def naive_contrastive(name, scores, positives, excluded, parameters) -> Tensor:
    """Each row alone, with the columns that it keeps and no others."""
    total = scores.sum() * 0.0
    for row, kept in enumerate(~excluded):
        if not kept.any() or parameters.get("k", 0) >= kept.sum():
            continue
        own, chosen = scores[row, kept][None], positives[row, kept][None]
        total = total + losses.LOSSES[name](own, chosen, **parameters)
    return total / len(scores)


def naive(case, logits, second, excluded) -> Tensor:
    name = case.name.split("/")[0]
    if name == "pu":
        return naive_pu(logits, second, excluded, case.parameters)
    if name == "bce":
        return naive_bce(logits, second, excluded, case.parameters)
    return naive_contrastive(name, logits, second, excluded, case.parameters)


@every_case
def test_equals_the_naive_loop(case):
    logits, second, excluded = make_excluded_inputs(case)
    logits.requires_grad_()
    ours = case.loss(logits, second, excluded=excluded)
    expected = naive(case, logits, second, excluded)
    torch.testing.assert_close(ours, expected)
    (gradient,) = torch.autograd.grad(ours, logits)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])
    assert (gradient[excluded] == 0).all()
    # negative control: the mask is what makes the difference
    plain = case.loss(logits, second)
    assert (plain - ours).abs() > 1e-3
    assert not torch.allclose(torch.autograd.grad(plain, logits)[0], gradient, atol=1e-4)


@every_case
def test_nothing_excluded_is_the_plain_loss(case):
    logits, second, excluded = make_excluded_inputs(case)
    logits.requires_grad_()
    plain = case.loss(logits, second)
    masked = case.loss(logits, second, excluded=torch.zeros_like(excluded))
    torch.testing.assert_close(masked, plain)
    torch.testing.assert_close(
        torch.autograd.grad(masked, logits), torch.autograd.grad(plain, logits)
    )


@every_case
def test_everything_excluded_is_0_without_a_gradient(case):
    logits, second, excluded = make_excluded_inputs(case)
    logits.requires_grad_()
    value = case.loss(logits, second, excluded=torch.ones_like(excluded))
    assert value.item() == 0
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient == 0).all()


@every_case
def test_an_excluded_positive_is_no_positive(case):
    logits, second, excluded = make_excluded_inputs(case)
    logits.requires_grad_()
    claimed = second.clone()
    claimed[excluded] = 1
    assert not torch.equal(claimed, second)
    ours = case.loss(logits, second, excluded=excluded)
    other = case.loss(logits, claimed, excluded=excluded)
    torch.testing.assert_close(other, ours)
    torch.testing.assert_close(
        torch.autograd.grad(other, logits), torch.autograd.grad(ours, logits)
    )


@every_case
@pytest.mark.parametrize("level", [1e4, -1e4, math.nan, math.inf])
def test_the_logits_of_excluded_pairs_may_be_anything(case, level):
    logits, second, excluded = make_excluded_inputs(case)
    strange = logits.masked_fill(excluded, level).requires_grad_()
    value = case.loss(strange, second, excluded=excluded)
    torch.testing.assert_close(value, case.loss(logits, second, excluded=excluded))
    (gradient,) = torch.autograd.grad(value, strange)
    assert torch.isfinite(gradient).all()


@every_case
@pytest.mark.parametrize("level", [1e4, -1e4])
def test_finite_for_huge_logits(case, level):
    if case.parameters.get("temperature_floor") == 0:
        pytest.skip("as published: equal logits have the temperature 0")
    logits, second, excluded = make_excluded_inputs(case)
    huge = (level * logits.sign()).half().requires_grad_()
    value = case.loss(huge, second, excluded=excluded)
    assert torch.isfinite(value)
    assert torch.isfinite(torch.autograd.grad(value, huge)[0]).all()


@every_case
def test_compiles_without_a_graph_break(case):
    torch.compiler.reset()
    logits, second, excluded = make_excluded_inputs(case)
    logits = logits.float().requires_grad_()
    compiled = torch.compile(case.loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        compiled(logits, second, excluded=excluded), case.loss(logits, second, excluded=excluded)
    )


@every_case
def test_never_waits_for_the_device(case):
    logits, second, excluded = make_excluded_inputs(case)
    logits = logits.to("meta").requires_grad_()
    case.loss(logits, second.to("meta"), excluded=excluded.to("meta")).backward()
    assert logits.grad is not None


@every_case
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda mask: mask[:, :-1], "excluded must have the shape"),
        (lambda mask: mask.int(), "excluded must be bool.*got torch.int32"),
        (lambda mask: mask.tolist(), "excluded must be a dense bool tensor; got list"),
    ],
)
def test_refuses_another_mask(case, wrong, message):
    logits, second, excluded = make_excluded_inputs(case)
    with pytest.raises(ValueError, match=message):
        case.loss(logits, second, excluded=wrong(excluded))


def test_no_probability_goes_to_an_excluded_label():
    """With an excluded label far above the others soft top-k still selects k of the rest."""
    scores = torch.tensor([[50.0, 1.0, 0.5, -1.0, -2.0]])
    excluded = torch.tensor([[True, False, False, False, False]])
    positives = torch.tensor([[0, 1, 1, 0, 0]])
    value = losses.soft_topk_loss(scores, positives, k=2, alpha=4.0, excluded=excluded)
    expected = losses.soft_topk_loss(scores[:, 1:], positives[:, 1:], k=2, alpha=4.0)
    torch.testing.assert_close(value, expected)
    assert losses.soft_topk_loss(scores, positives, k=2, alpha=4.0) > value + 0.1


def test_rows_with_k_labels_left_or_fewer_contribute_0():
    scores = torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    positives = torch.tensor([[1, 0, 1, 0, 0, 0]] * 3)
    excluded = torch.zeros(3, 6, dtype=torch.bool)
    excluded[1, 3:] = excluded[2, 2:] = True  # three and two labels are left
    value = losses.soft_topk_loss(scores, positives, k=3, alpha=2.0, excluded=excluded)
    alone = losses.soft_topk_loss(scores[:1], positives[:1], k=3, alpha=2.0)
    torch.testing.assert_close(value, alone / 3)
    (gradient,) = torch.autograd.grad(value, scores)
    assert (gradient[1:] == 0).all()


def chunked_problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Embeddings, positives and a mask: row 2 keeps nothing, row 4 no negative, label 5 no row."""
    random = np.random.RandomState(0)
    queries, labels = (torch.from_numpy(random.standard_normal((n, 4))) for n in (6, 13))
    excluded = torch.from_numpy(random.random_sample((6, 13)) < 0.25)
    positives = torch.from_numpy(random.random_sample((6, 13)) < 0.3)
    excluded[2], excluded[:, 5], positives[4] = True, True, True
    excluded[0, 12], excluded[3, 0] = True, True
    assert (positives & excluded).sum() > 3
    return queries.requires_grad_(), labels.requires_grad_(), positives, excluded


def sparse_forms(excluded: Tensor) -> dict[str, object]:
    """Both sparse forms, each with a stored zero at a pair that is not excluded."""
    stored = excluded.clone()
    stored[1, torch.nonzero(~excluded[1])[0]] = True
    rows, columns = stored.nonzero(as_tuple=True)
    values = excluded[rows, columns].to(torch.int8)
    scipy_matrix = sp.csr_array(
        (values.numpy(), (rows.numpy(), columns.numpy())), shape=tuple(excluded.shape)
    )
    assert scipy_matrix.nnz == excluded.sum() + 1
    torch_matrix = torch.sparse_csr_tensor(
        torch.from_numpy(scipy_matrix.indptr),
        torch.from_numpy(scipy_matrix.indices),
        torch.from_numpy(scipy_matrix.data),
        tuple(excluded.shape),
        check_invariants=False,
    )
    return {"scipy": scipy_matrix, "scipy coo": scipy_matrix.tocoo(), "torch": torch_matrix}


@pytest.mark.parametrize("chunk_size", [1, 4, 13, 100])
@pytest.mark.parametrize("form", ["dense", "scipy", "scipy coo", "torch"])
@pytest.mark.parametrize("sparse_positives", [True, False])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_chunks_equal_dense(chunk_size, form, sparse_positives):
    queries, labels, positives, excluded = chunked_problem()
    inputs = queries, labels
    dense = losses.decoupled_softmax_loss(queries @ labels.T / 0.5, positives, excluded=excluded)
    given = excluded if form == "dense" else sparse_forms(excluded)[form]
    chunked = losses.chunked_decoupled_softmax_loss(
        queries,
        labels,
        positives.to_sparse_csr() if sparse_positives else positives,
        temperature=0.5,
        chunk_size=chunk_size,
        excluded=given,
    )
    torch.testing.assert_close(chunked, dense)
    torch.testing.assert_close(
        torch.autograd.grad(3.0 * chunked, inputs), torch.autograd.grad(3.0 * dense, inputs)
    )


@pytest.mark.parametrize("form", ["dense", "scipy"])
def test_chunked_gradient_is_the_derivative(form):
    queries, labels, positives, excluded = chunked_problem()
    given = excluded if form == "dense" else sp.csr_array(excluded.numpy())
    assert torch.autograd.gradcheck(
        lambda q, y: losses.chunked_decoupled_softmax_loss(
            q, y, positives, temperature=0.7, chunk_size=6, excluded=given
        ),
        (queries, labels),
    )


def test_chunked_with_a_sparse_mask_never_holds_a_matrix_of_all_pairs():
    rows, num_labels, chunk_size = 8, 5000, 50

    class LargestTensor(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result.layout == torch.strided:
                self.numbers = max(self.numbers, result.numel())
            return result

    queries = torch.randn(rows, 2, requires_grad=True)
    labels = torch.randn(num_labels, 2, requires_grad=True)
    shape, diagonal = (rows, num_labels), np.arange(rows)
    values = np.ones(rows, bool)
    positives = sp.csr_array((values, (diagonal, diagonal)), shape=shape)
    excluded = sp.csr_array((values, (diagonal, num_labels - 1 - diagonal)), shape=shape)
    with LargestTensor() as largest:
        losses.chunked_decoupled_softmax_loss(
            queries,
            labels,
            excluded_module._torch_csr(positives),
            temperature=1.0,
            chunk_size=chunk_size,
            excluded=excluded,
        ).backward()
    assert largest.numbers <= max(num_labels * 2, rows * chunk_size)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_chunked_does_not_wait_for_sparse_pairs(monkeypatch):
    monkeypatch.setattr(forms_of_positives, "values_can_be_checked", lambda values: False)

    class Looks(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = func._schema.name
            assert name not in {"aten::_local_scalar_dense", "aten::nonzero"}, name
            return func(*args, **(kwargs or {}))

    queries, labels, positives, excluded = chunked_problem()
    positives, sparse = positives.to_sparse_csr(), sparse_forms(excluded)["torch"]
    for given in (excluded, sparse):
        with Looks():
            losses.chunked_decoupled_softmax_loss(
                queries, labels, positives, temperature=0.5, chunk_size=4, excluded=given
            ).backward()
    with pytest.raises(AssertionError), Looks():
        excluded.nonzero()


def test_chunked_refuses_another_mask():
    queries, labels, positives, excluded = chunked_problem()
    for wrong, message in [
        (sp.csr_array(excluded.numpy()[:, :-1]), "excluded must have the shape"),
        (excluded.float(), "excluded must be bool"),
        (excluded.numpy(), "excluded must be a dense bool tensor; got ndarray"),
    ]:
        with pytest.raises(ValueError, match=message):
            losses.chunked_decoupled_softmax_loss(
                queries, labels, positives, temperature=1.0, chunk_size=4, excluded=wrong
            )
