"""Gradient caching against the plain step: every gradient, with dropout, on both sides."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_texts import WORDS
from torch import nn

from pumlc.text.data.tokens import tokenize
from pumlc.text.models.embedding import encode_rows, length_sorted_chunks
from pumlc.text.models.encoder import DualEncoder
from pumlc.text.models.head import Head
from pumlc.text.models.pretrained import load_encoder
from pumlc.text.training import gradcache
from pumlc.text.training.gradcache import Side, cached_backward

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False], ids=["shared", "separate"])
def model(request, bert_folder):
    encoder = load_encoder(str(bert_folder), Head(projection=8))
    return DualEncoder(encoder, shared=request.param).train()


@pytest.fixture
def data(tokenizer):
    """Seven documents, eleven labels, both of ragged lengths, and who has which."""
    random = np.random.RandomState(0)
    documents = [" ".join(random.choice(WORDS, n)) for n in (5, 1, 8, 2, 2, 7, 4)]
    labels = [" ".join(random.choice(WORDS, n)) for n in (1, 1, 2, 3, 1, 2, 4, 1, 1, 2, 3)]
    positives = torch.from_numpy(random.random_sample((7, 11)) < 0.2)
    positives[:, 3] = True
    tokens = [tokenize(texts, tokenizer, max_length=16) for texts in (documents, labels)]
    return *tokens, positives


def sides(model, data, chunk_size):
    made = []
    for encoder, tokens in zip((model.documents, model.labels), data[:2], strict=True):
        chunks = length_sorted_chunks(tokens, np.arange(len(tokens)), chunk_size)
        made.append(Side(lambda rows, e=encoder, t=tokens: encode_rows(e, t, rows, CPU), chunks))
    return made


def contrastive(made, positives):
    """A loss in which every document meets every label; chunks are out of order."""
    rows, columns = (torch.from_numpy(np.concatenate(side.chunks)) for side in made)
    wanted = positives[rows][:, columns].float()

    def loss(documents, labels):
        scores = documents @ labels.T / 0.05
        return -(wanted * F.log_softmax(scores, dim=1)).sum(1).mean()

    return loss


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def plain_step(model, made, loss, backward=torch.Tensor.backward):
    """Everything in one graph, encoded in the same chunks and so with the same dropout."""
    model.zero_grad()
    torch.manual_seed(5)
    value = loss(*(torch.cat([side.encode(chunk) for chunk in side.chunks]) for side in made))
    backward(value)
    return value.detach(), gradients(model), torch.get_rng_state()


def cached_step(model, made, loss, backward=torch.Tensor.backward):
    model.zero_grad()
    torch.manual_seed(5)
    value = cached_backward(made, loss, device=CPU, backward=backward)
    return value, gradients(model), torch.get_rng_state()


def assert_equal_steps(plain, cached, atol=1e-6, rtol=1e-4):
    torch.testing.assert_close(cached[0], plain[0])
    assert plain[1].keys() == cached[1].keys()
    for name, gradient in plain[1].items():
        torch.testing.assert_close(
            cached[1][name], gradient, atol=atol, rtol=rtol, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert torch.equal(plain[2], cached[2])


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_every_gradient_equals_the_plain_step(model, data, chunk_size):
    made = sides(model, data, chunk_size)
    loss = contrastive(made, data[2])
    plain = plain_step(model, made, loss)
    assert len(plain[1]) == len(list(model.parameters()))
    assert all(gradient.abs().max() > 0 for gradient in plain[1].values() if gradient.numel() > 16)
    assert_equal_steps(plain, cached_step(model, made, loss))


def test_without_replay_of_dropout_gradients_are_wrong(model, data, monkeypatch):
    made = sides(model, data, 3)
    loss = contrastive(made, data[2])
    plain = plain_step(model, made, loss)
    from contextlib import nullcontext

    monkeypatch.setattr(gradcache._RandomState, "replayed", lambda self: nullcontext())
    with pytest.raises(AssertionError):
        assert_equal_steps(plain, cached_step(model, made, loss))


def test_inside_a_callers_autocast(model, data):
    """The casts of the pass without a graph must not serve the pass with one."""
    made = sides(model, data, 4)
    loss = contrastive(made, data[2])
    with torch.autocast("cpu", torch.bfloat16):
        plain = plain_step(model, made, loss)
    with torch.autocast("cpu", torch.bfloat16):
        cached = cached_step(model, made, loss)
    # bfloat16 rounds; a weight whose cast was reused would have no gradient at all
    assert_equal_steps(plain, cached, atol=2e-2, rtol=5e-2)


def test_scaled_loss(model, data):
    made = sides(model, data, 4)
    loss = contrastive(made, data[2])
    value, expected, _ = plain_step(model, made, loss)
    scaled = cached_step(model, made, loss, backward=lambda total: (1024 * total).backward())
    torch.testing.assert_close(scaled[0], value)
    for name, gradient in expected.items():
        torch.testing.assert_close(scaled[1][name] / 1024, gradient, atol=1e-6, rtol=1e-4)


def test_gradients_are_added_and_no_graph_is_left(data, bert_folder):
    model = DualEncoder(load_encoder(str(bert_folder), Head()), shared=True).eval()
    made = sides(model, data, 4)
    loss = contrastive(made, data[2])
    first = cached_step(model, made, loss)
    assert not first[0].requires_grad
    cached_backward(made, loss, device=CPU)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, 2 * first[1][name])


def test_one_graph_lives_at_a_time():
    """Memory: at no moment are two chunks' graphs alive."""
    alive = []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, values):
            alive.append(1)
            return values * 2

        @staticmethod
        def backward(ctx, *gradients):
            alive.pop()
            return gradients[0] * 2

    weight = torch.ones(2, requires_grad=True)
    most = []

    def encode(chunk):
        encoded = Watched.apply(chunk * weight)
        if not torch.is_grad_enabled():
            alive.pop()
        most.append(len(alive))
        return encoded

    rows = torch.arange(12.0).view(6, 2)
    cached_backward([Side(encode, rows.split(1))] * 2, lambda a, b: (a * b).sum(), device=CPU)
    assert max(most) == 1
    assert most.count(1) == 12


def test_a_side_that_the_loss_ignores_and_a_side_without_chunks():
    weight = torch.ones(2, 2, requires_grad=True)
    side = Side(lambda chunk: chunk @ weight, [torch.ones(3, 2)])
    cached_backward([side, side], lambda a, b: a.sum(), device=CPU)
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.full((2, 2), 3.0))
    with pytest.raises(ValueError, match="side 1 has no chunk"):
        cached_backward([side, Side(side.encode, [])], lambda a, b: a.sum(), device=CPU)


def test_the_random_state_of_any_accelerator_is_replayed(monkeypatch):
    """A device whose random numbers count up stands for one that is neither CPU nor CUDA."""

    class Counter:
        state = 0

        def get_rng_state(self):
            return self.state

        def set_rng_state(self, state):
            self.state = state

    module, drawn = Counter(), []
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    weight = torch.ones(2, 2, requires_grad=True)

    def encode(chunk):
        drawn.append(module.state)
        module.state += 1
        return chunk @ weight

    def loss(embeddings):
        module.state = 9
        return embeddings.sum()

    side = Side(encode, torch.ones(4, 2).split(1))
    cached_backward([side], loss, device=torch.device("xpu"))
    assert drawn == [0, 1, 2, 3] * 2
    assert module.state == 9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_dropout_on_a_gpu_is_replayed():
    device = torch.device("cuda")
    network = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 4)).to(device)
    rows = torch.randn(10, 8, device=device)
    made = [Side(network, rows.split(3))]

    def loss(embeddings):
        return (embeddings @ embeddings.T).logsumexp(1).mean()

    results = []
    for step in (
        lambda: loss(torch.cat([network(chunk) for chunk in made[0].chunks])).backward(),
        lambda: cached_backward(made, loss, device=device),
    ):
        network.zero_grad()
        torch.manual_seed(1)
        step()
        results.append((gradients(network), torch.cuda.get_rng_state(device)))
    for name, gradient in results[0][0].items():
        torch.testing.assert_close(results[1][0][name], gradient)
    assert torch.equal(results[0][1], results[1][1])
