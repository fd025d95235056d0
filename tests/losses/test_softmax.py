"""Softmax losses: released values, naive loops, sparse positives, and chunks against dense."""

import math
import warnings

import numpy as np
import pytest
import torch
from loss_cases import traced_nonzero
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pumlc.losses import (
    chunked_decoupled_softmax_loss,
    decoupled_softmax_loss,
    soft_topk_loss,
    softmax_loss,
)


def csr(row_starts, columns, values, shape) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.as_tensor(row_starts),
            torch.as_tensor(columns),
            torch.as_tensor(values),
            shape,
            check_invariants=False,  # duplicates and any column pass, as they do by default
        )


def random_problem(rows=5, labels=13, dim=4) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings and positives: row 0 has none, row 1 has all, column 12 is the last one's."""
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    embeddings = torch.randn(labels, dim, generator=generator, dtype=torch.float64)
    positives = torch.rand(rows, labels, generator=generator) < 0.2
    positives[0], positives[1] = False, True
    positives[2:, -1] = True
    assert positives[2:].sum(1).max() > 1
    return queries.requires_grad_(), embeddings.requires_grad_(), positives


@pytest.mark.parametrize("loss_name", ["softmax", "decoupled_softmax", "chunked", "topk"])
@pytest.mark.parametrize("case", ["dex_a", "dex_b"])
def test_released_values(golden, case, loss_name):
    g = {k.split("/")[1]: v for k, v in golden.items() if k.startswith(case + "/")}
    x, y = (torch.from_numpy(g[name]).requires_grad_() for name in ("x", "y"))
    tau = float(g["tau"])
    positives = csr(g["indptr"], g["indices"], np.ones(len(g["indices"])), (len(x), len(y)))
    scores = x @ y.T / tau
    if loss_name == "chunked":
        loss = chunked_decoupled_softmax_loss(x, y, positives, temperature=tau, chunk_size=7)
    elif loss_name == "topk":
        loss = soft_topk_loss(scores, positives, k=int(g["topk_k"]), alpha=float(g["topk_alpha"]))
    else:
        loss = {"softmax": softmax_loss, "decoupled_softmax": decoupled_softmax_loss}[loss_name](
            scores, positives
        )
    field = "decoupled_softmax" if loss_name == "chunked" else loss_name
    loss.backward()
    assert loss.item() == pytest.approx(float(g[field]), rel=1e-5)
    for tensor, name in ((x, f"{field}_gx"), (y, f"{field}_gy")):
        torch.testing.assert_close(tensor.grad, torch.from_numpy(g[name]), rtol=1e-4, atol=1e-5)


def naive_losses(scores: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax and decoupled softmax, one positive of one row at a time."""
    softmax = decoupled = torch.zeros((), dtype=torch.float64)
    for row, chosen in zip(scores, positives, strict=True):
        exponentials = [score.exp() for score in row]
        negatives = [
            e for e, is_positive in zip(exponentials, chosen, strict=True) if not is_positive
        ]
        count = int(chosen.sum())
        for label in range(len(row)):
            if chosen[label]:
                e = exponentials[label]
                softmax = softmax - (e / sum(exponentials)).log() / len(scores)
                decoupled = decoupled - (e / (e + sum(negatives))).log() / count / len(scores)
    return softmax, decoupled


def test_equal_naive_loops():
    queries, embeddings, positives = random_problem()
    scores = (queries @ embeddings.T).detach().requires_grad_()
    for loss, naive in zip(
        (softmax_loss, decoupled_softmax_loss), naive_losses(scores, positives), strict=True
    ):
        ours = loss(scores, positives)
        torch.testing.assert_close(ours, naive)
        torch.testing.assert_close(
            torch.autograd.grad(ours, scores),
            torch.autograd.grad(naive, scores, retain_graph=True),
        )


def test_one_positive_a_row_is_cross_entropy():
    scores = random_problem()[0].detach() @ random_problem()[1].detach().T
    targets = torch.tensor([0, 12, 5, 3, 12])
    positives = torch.nn.functional.one_hot(targets, 13)
    expected = torch.nn.functional.cross_entropy(scores, targets)
    torch.testing.assert_close(softmax_loss(scores, positives), expected)
    torch.testing.assert_close(decoupled_softmax_loss(scores, positives), expected)


def all_losses(queries, embeddings, positives) -> Tensor:
    scores = queries @ embeddings.T
    return torch.stack(
        [
            softmax_loss(scores, positives),
            decoupled_softmax_loss(scores, positives),
            soft_topk_loss(scores, positives, k=3, alpha=1.5),
            chunked_decoupled_softmax_loss(
                queries, embeddings, positives, temperature=1.0, chunk_size=5
            ),
        ]
    )


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
def test_forms_of_positives_agree(index_dtype):
    queries, embeddings, positives = random_problem()
    dense = all_losses(queries, embeddings, positives)
    starts = np.concatenate([[0], positives.sum(1).cumsum(0).numpy()])
    columns = positives.nonzero()[:, 1]
    sparse = csr(
        torch.as_tensor(starts, dtype=index_dtype),
        columns.to(index_dtype),
        torch.ones(len(columns)),
        positives.shape,
    )
    torch.testing.assert_close(all_losses(queries, embeddings, sparse), dense)
    torch.testing.assert_close(all_losses(queries, embeddings, positives.to(torch.uint8)), dense)
    other = all_losses(queries, embeddings, positives.roll(1, 1))
    assert ((other - dense).abs() > 1e-3).all()


def test_duplicates_count_once_and_stored_zeros_not_at_all():
    queries, embeddings, _ = random_problem(rows=3)
    positives = torch.zeros(3, 13, dtype=torch.bool)
    positives[0, 4] = positives[0, 12] = positives[2, 0] = True
    messy = csr([0, 5, 5, 7], [4, 12, 4, 7, 4, 0, 12], [1.0, 1, 2, 0, 0, 1, 0], (3, 13))
    clean, dirty = (all_losses(queries, embeddings, p) for p in (positives, messy))
    torch.testing.assert_close(dirty, clean)
    for a, b in zip(clean, dirty, strict=True):
        inputs = (queries, embeddings)
        torch.testing.assert_close(
            torch.autograd.grad(a, inputs, retain_graph=True),
            torch.autograd.grad(b, inputs, retain_graph=True),
        )


@pytest.mark.parametrize("chunk_size", [1, 4, 5, 13, 100])
def test_chunks_equal_dense(chunk_size):
    queries, embeddings, positives = random_problem()
    dense = decoupled_softmax_loss(queries @ embeddings.T / 0.2, positives)
    chunked = chunked_decoupled_softmax_loss(
        queries, embeddings, positives, temperature=0.2, chunk_size=chunk_size
    )
    torch.testing.assert_close(chunked, dense)
    inputs = (queries, embeddings)
    # not by a factor of 1: the incoming gradient must be used
    torch.testing.assert_close(
        torch.autograd.grad(3.0 * chunked, inputs), torch.autograd.grad(3.0 * dense, inputs)
    )
    positives = positives.clone()
    positives[3, -1] = False  # negative control: the last label of the last chunk counts
    other = chunked_decoupled_softmax_loss(
        queries, embeddings, positives, temperature=0.2, chunk_size=chunk_size
    )
    assert abs(other.item() - dense.item()) > 1e-3


def test_chunked_gradient_is_the_derivative():
    queries, embeddings, positives = random_problem()
    assert torch.autograd.gradcheck(
        lambda q, e: chunked_decoupled_softmax_loss(q, e, positives, temperature=0.7, chunk_size=6),
        (queries, embeddings),
    )


def test_chunked_refuses_a_second_derivative():
    queries, labels = torch.randn(2, 3, requires_grad=True), torch.randn(5, 3)
    positives = torch.eye(2, 5, dtype=torch.bool)
    loss = chunked_decoupled_softmax_loss(queries, labels, positives, temperature=1.0, chunk_size=2)
    with pytest.raises(RuntimeError, match="create_graph=True; decoupled_softmax_loss is"):
        torch.autograd.grad(loss, queries, create_graph=True)


def test_chunked_never_holds_the_scores():
    rows, labels, chunk_size = 8, 5000, 50

    class LargestTensor(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                self.numbers = max(self.numbers, result.numel())
            return result

    queries = torch.randn(rows, 2, requires_grad=True)
    embeddings = torch.randn(labels, 2, requires_grad=True)
    positives = csr(range(rows + 1), range(rows), torch.ones(rows), (rows, labels))
    with LargestTensor() as chunked:
        chunked_decoupled_softmax_loss(
            queries, embeddings, positives, temperature=1.0, chunk_size=chunk_size
        ).backward()
    assert chunked.numbers <= max(labels * 2, rows * chunk_size)
    with LargestTensor() as dense:
        decoupled_softmax_loss(queries @ embeddings.T, positives).backward()
    assert dense.numbers == rows * labels


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_chunked_computes_in_float32(dtype):
    queries, embeddings, positives = random_problem()
    inputs = queries.detach().to(dtype), embeddings.detach().to(dtype)

    def loss_of(inputs):
        return chunked_decoupled_softmax_loss(
            inputs[0], inputs[1], positives, temperature=0.1, chunk_size=5
        )

    low = [x.clone().requires_grad_() for x in inputs]
    high = [x.double().requires_grad_() for x in inputs]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(low)
    loss.backward()
    exact = loss_of(high)
    exact.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=1e-6)
    for ours, reference in zip(low, high, strict=True):
        assert ours.grad is not None
        assert ours.grad.dtype == dtype
        torch.testing.assert_close(
            ours.grad.double(), reference.grad, rtol=4e-2, atol=torch.finfo(dtype).eps
        )


def test_chunked_compiles_without_a_graph_break():
    queries, embeddings, positives = random_problem()  # torch.compile takes no sparse tensor

    def loss(queries, embeddings):
        return chunked_decoupled_softmax_loss(
            queries, embeddings, positives, temperature=1.0, chunk_size=7
        )

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    with traced_nonzero():
        torch.testing.assert_close(compiled(queries, embeddings), loss(queries, embeddings))


@pytest.mark.parametrize("level", [0.0, 150.0, -150.0, 1e4])
def test_far_scores_need_no_stand_in_for_minus_infinity(level):
    """-100 in place of minus infinity makes an easy row at scores near -150 cost 40."""
    scores = torch.full((1, 5), level)
    scores[0, 2] += 20.0
    positives = torch.zeros(1, 5, dtype=torch.bool)
    positives[0, 2] = True
    expected = math.log1p(4 * math.exp(-20))
    for loss in (softmax_loss, decoupled_softmax_loss):
        assert loss(scores, positives).item() == pytest.approx(expected, abs=1e-7)


def test_rows_without_positives_or_negatives():
    scores = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    positives = torch.tensor([[1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 1]], dtype=torch.bool)
    full = decoupled_softmax_loss(scores, positives)
    kept = decoupled_softmax_loss(scores[[0, 3]], positives[[0, 3]])
    torch.testing.assert_close(full, kept / 2)  # both count 0, in a mean over 4 rows
    without = softmax_loss(scores[[0, 1]], positives[[0, 1]])
    torch.testing.assert_close(without, softmax_loss(scores[[0]], positives[[0]]) / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"labels": torch.zeros(13, 3)}, "the same D"),
        ({"labels": torch.zeros(12, 4)}, "positives must have the shape"),
        ({"queries": torch.zeros(5, 4, dtype=torch.int64)}, "queries must be floating"),
    ],
)
def test_chunked_refuses_wrong_input(arguments, message):
    queries, embeddings, positives = random_problem()
    good = {"queries": queries, "labels": embeddings, "temperature": 1.0, "chunk_size": 2}
    with pytest.raises(ValueError, match=message):
        chunked_decoupled_softmax_loss(**{**good, **arguments}, positives=positives)


def test_refuses_a_column_that_is_not_there():
    bad = csr([0, 1, 2], [0, 3], [1.0, 1.0], (2, 3))
    with pytest.raises(ValueError, match=r"column indices .* \[0, 2\]; got 0 to 3"):
        softmax_loss(torch.zeros(2, 3), bad)
