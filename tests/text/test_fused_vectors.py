"""Label vectors that are updated while the loss is computed: the steps are those of Adam."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from small_texts import LABELS, UNSEEN, train, train_killed_and_resumed
from torch import Tensor

from pumlc.errors import UserError
from pumlc.losses import chunked_decoupled_softmax_loss
from pumlc.losses.softmax_gradients import decoupled_softmax_gradients
from pumlc.text.models.fused_vectors import (
    FUSED_FROM,
    FusedLabelVectors,
    Moments,
    StackedRows,
    rounded_at_random,
)
from pumlc.text.models.label_vectors import LabelVectors

RATE, BETAS, EPSILON = 0.1, (0.9, 0.999), 1e-8
FUSED = {
    "encoder__label_vectors": "true",
    "encoder__label_vector_update": "fused",
    "loss__score_chunk": "4",
}


def vectors_of(start: Tensor, moments: Moments) -> FusedLabelVectors:
    count, width = start.shape
    vectors = FusedLabelVectors(count, width, 1.0, moments).to(start.dtype)
    vectors.start(np.arange(len(start)), start.numpy())
    vectors.follow(lambda: {"lr": RATE, "betas": BETAS, "eps": EPSILON})
    return vectors


def naive_step(weight, gradient, first, second, step) -> Tensor:
    """Adam, one number at a time; the moments are changed in place."""
    new = weight.clone()
    for row in range(len(weight)):
        for column, g in enumerate(gradient[row].tolist()):
            m = BETAS[0] * float(first[row, column]) + (1 - BETAS[0]) * g
            u = BETAS[1] * float(second[row, column]) + (1 - BETAS[1]) * g * g
            first[row, column], second[row, column] = m, u
            scale = (u / (1 - BETAS[1] ** step)) ** 0.5 + EPSILON
            new[row, column] = weight[row, column] - RATE * m / (1 - BETAS[0] ** step) / scale
    return new


@pytest.mark.parametrize(
    ("moments", "dtype", "exact"),
    [("full", torch.float64, 1e-12), ("compact", torch.float32, 1e-5)],
)
def test_steps_are_those_of_a_naive_loop(moments, dtype, exact):
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 3, generator=random, dtype=dtype)
    vectors = vectors_of(weight, moments)
    first, second = torch.zeros(2, 5, 3, dtype=torch.float64)
    for step in range(1, 5):
        gradient = torch.randn(5, 3, generator=random, dtype=dtype)
        weight = naive_step(weight, gradient, first, second, step)
        for rows in (slice(0, 2), slice(2, 5)):
            vectors.update(rows, gradient[rows])
        vectors.exchange(None)
        torch.testing.assert_close(vectors.weight.detach(), weight, rtol=exact, atol=exact)
        state = vectors.moments_state(None)
        rounding = 2**-7 if moments == "compact" else exact
        for name, moment in (("first", first), ("second", second)):
            torch.testing.assert_close(state[name].double(), moment, rtol=rounding, atol=0)
            moment.copy_(state[name])  # the next step starts from what is kept
        weight = vectors.weight.detach().clone()


@given(st.floats(0, 2.0**100, width=32), st.integers(0, 2**31))
def test_random_rounding_takes_a_neighbour_and_is_right_on_average(value, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(2**16, (20_000,), dtype=torch.int32, generator=generator)
    values = torch.full((20_000,), value)
    rounded = rounded_at_random(values, noise)
    assert torch.equal(rounded.bfloat16().float(), rounded)
    below, above = rounded_at_random(values[:2], torch.tensor([0, 2**16 - 1], dtype=torch.int32))
    assert float(below) <= value <= float(above) or value == float(below)
    gap = float(above - below)
    assert abs(float(rounded.double().mean()) - value) <= 0.03 * gap + 1e-4 * value


def test_random_rounding_keeps_what_bfloat16_has():
    values = torch.tensor([0.0, 1.0, 1.0078125, 2.0**-120])
    noise = torch.full((4,), 2**16 - 1, dtype=torch.int32)
    assert torch.equal(rounded_at_random(values, noise), values)


def test_small_news_add_up_in_compact_second_moments():
    """To the nearest, a thousandth of news would never count."""
    vectors = vectors_of(torch.zeros(4, 64), "compact")
    vectors.update(slice(0, 4), torch.ones(4, 64))
    vectors.exchange(None)
    gradient = torch.full((4, 64), 3.0)
    for _ in range(300):
        vectors.update(slice(0, 4), gradient)
        vectors.exchange(None)
    expected = 9 - 9 * 0.999**300 + 0.001 * 0.999**300
    assert vectors.moments_state(None)["second"].float().mean() == pytest.approx(expected, rel=0.02)


def test_large_parts_are_updated_in_blocks():
    start = torch.zeros(3000, 400)
    vectors = vectors_of(start, "full")
    gradient = torch.randn(3000, 400)
    vectors.update(slice(0, 3000), gradient)
    expected = torch.nn.Parameter(start.clone())
    expected.grad = gradient
    torch.optim.Adam([expected], lr=RATE).step()
    torch.testing.assert_close(vectors.weight.detach(), expected.detach(), atol=1e-6, rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(0, 6), st.integers(1, 20), st.integers(0, 2**31))
def test_a_step_over_chunks_is_that_of_the_loss_with_adam(count, others, chunk, seed):
    random = torch.Generator().manual_seed(seed)

    def drawn(rows: int) -> Tensor:
        return torch.randn(rows, 4, generator=random, dtype=torch.float64)

    queries, start, texts = drawn(3).requires_grad_(), drawn(count), drawn(others)
    positives = torch.rand(3, count + others, generator=random) < 0.3
    vectors = vectors_of(start, "full")
    rows = StackedRows(vectors.weight, texts)

    def update(part: slice, gradient: Tensor) -> None:
        stop = min(part.stop, count)
        if part.start < stop:
            vectors.update(slice(part.start, stop), gradient[: stop - part.start])

    options = {"temperature": 0.5, "chunk_size": chunk}
    sparse = positives.to_sparse_csr()
    loss, by_queries = decoupled_softmax_gradients(queries, rows, sparse, **options, take=update)
    weight = torch.nn.Parameter(start)
    expected = chunked_decoupled_softmax_loss(
        queries, torch.cat([weight, texts]), sparse, **options
    )
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(by_queries, queries.grad)
    torch.optim.Adam([weight], lr=RATE, betas=BETAS, eps=EPSILON).step()
    # Adam divides by the gradient: a number of 1e-16 where 0 is right is a step of 0.1
    assert weight.grad is not None
    clear = weight.grad.abs() > 1e-12
    torch.testing.assert_close(vectors.weight[clear], weight[clear].detach())


def test_a_loss_that_is_not_finite_changes_nothing():
    labels = torch.tensor([[1.0], [torch.inf]])
    positives = torch.tensor([[True, False]])

    def refuse(rows: slice, gradient: Tensor) -> None:
        raise AssertionError

    loss, by_queries = decoupled_softmax_gradients(
        torch.ones(1, 1), labels, positives, temperature=1.0, chunk_size=1, take=refuse
    )
    assert not loss.isfinite()
    assert not by_queries.isfinite().any()


@pytest.mark.parametrize("ema", [{}, {"train__ema_decay": "0.9"}])
def test_a_run_with_full_moments_is_that_of_adam(
    make, steady_bert_folder, accelerator, tmp_path, ema
):
    found = {}
    for update in ("fused", "exact"):
        changes = {**FUSED, "encoder__label_vector_update": update, **ema}
        task = make(steady_bert_folder, **changes, encoder__label_vector_moments="full")
        run = train(task, tmp_path / update, accelerator)
        found[update] = load_file(run.weights / "last.safetensors")
    assert found["fused"].keys() == found["exact"].keys()
    for name, value in found["exact"].items():
        torch.testing.assert_close(found["fused"][name], value, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("moments", ["full", "compact"])
@pytest.mark.parametrize("after", [(1, 0), (1, 2)])
def test_a_run_resumes_to_the_same_weights(make, accelerator, tmp_path, moments, after):
    changes = {
        **FUSED,
        "encoder__label_vector_moments": moments,
        "train__epochs": "3",
        "train__checkpoint_minutes": "0",
        "train__schedule": "one-cycle",
    }
    whole = train(make(**changes), tmp_path / "whole", accelerator)
    cut = train_killed_and_resumed(lambda: make(**changes), tmp_path / "cut", accelerator, after)
    expected = load_file(whole.weights / "last.safetensors")
    found = load_file(cut.weights / "last.safetensors")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_checkpoint_of_other_moments_is_refused(make):
    exact = make(encoder__label_vectors="true", loss__score_chunk="4").state_dict()
    with pytest.raises(UserError, match=r"another encoder\.label_vector_update or"):
        make(**FUSED).load_state_dict(exact)
    full = make(**FUSED, encoder__label_vector_moments="full").state_dict()
    with pytest.raises(UserError, match=r"another encoder\.label_vector_update or"):
        make(**FUSED).load_state_dict(full)


def test_many_vectors_are_fused_by_default(make, monkeypatch):
    own = {"encoder__label_vectors": "true", "loss__score_chunk": "4"}
    numbers = 16 * (len(LABELS) - len(UNSEEN))
    assert numbers < FUSED_FROM
    assert type(make(**own).model.label_vectors) is LabelVectors
    monkeypatch.setattr("pumlc.text.models.build.FUSED_FROM", numbers)
    assert isinstance(make(**own).model.label_vectors, FusedLabelVectors)
    exact = {
        "encoder__label_vector_update": "exact",
        "negatives__kind": "mined",
        "train__optimizer": "sgd",
        "train__precision": "fp16",
    }
    for name, value in exact.items():
        assert type(make(**{**own, name: value}).model.label_vectors) is LabelVectors
    assert type(make(encoder__label_vectors="true").model.label_vectors) is LabelVectors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder__label_vectors": "false"}, r"encoder\.label_vectors must be true with"),
        ({"negatives__kind": "mined"}, r"negatives\.kind must be all with .*, got 'mined'"),
        ({"train__optimizer": "sgd"}, r"train\.optimizer must be adam or adamw with"),
        ({"train__precision": "fp16"}, r"train\.precision must be no or bf16 with"),
    ],
)
def test_settings_that_fused_vectors_cannot_have(make, changes, message):
    with pytest.raises(UserError, match=message):
        make(**{**FUSED, **changes})
