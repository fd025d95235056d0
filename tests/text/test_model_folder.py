"""Damaged and missing models: one line that names the folder."""

import copy
import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import save_file
from small_texts import write_sentence_transformers
from transformers import AutoModel

from pumlc.errors import UserError
from pumlc.text.models.head import Head
from pumlc.text.models.pretrained import check_vocabulary, load_encoder, load_tokenizer
from pumlc.text.models.sentence_transformers import read_head


@pytest.fixture
def st_folder(bert_folder, tmp_path):
    """A copy of the BERT folder to be damaged."""
    return shutil.copytree(bert_folder, tmp_path / "st")


def damage_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_weights, "incomplete"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"0" * 99), "header"),
        (
            lambda folder: damage_config(folder, intermediate_size=64),
            r"do not fit config.json: encoder.layer.0.*.bias is \[32\], not \[64\]",
        ),
        (
            lambda folder: damage_config(folder, num_hidden_layers=3),
            "do not fit config.json: there is no encoder.layer.2",
        ),
        (lambda folder: damage_config(folder, hidden_size="wide"), "hidden_size"),
    ],
)
def test_a_damaged_model_folder_is_one_line(st_folder, damage, message):
    damage(st_folder)
    with pytest.raises(ValueError, match=f"no encoder in {st_folder}: .*{message}") as caught:
        load_encoder(str(st_folder), Head())
    assert "\n" not in str(caught.value)


def test_settings_that_are_no_json_are_one_line(st_folder):
    (st_folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=f"{st_folder}/config.json: not JSON") as caught:
        load_encoder(str(st_folder), Head())
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_pooler_loads(bert_folder, st_folder):
    AutoModel.from_pretrained(bert_folder, add_pooling_layer=False).save_pretrained(st_folder)
    found, expected = (
        load_encoder(str(folder), Head()).state_dict() for folder in (st_folder, bert_folder)
    )
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_model_folder_without_its_vocabulary(st_folder):
    """transformers makes a tokenizer of it, to which every word is unknown."""
    for path in (*st_folder.glob("token*"), *st_folder.glob("vocab*")):
        path.unlink()
    with pytest.raises(ValueError, match=r"special tokens only; is tokenizer.json .*missing"):
        load_tokenizer(str(st_folder))


def test_a_tokenizer_of_another_model(bert_folder, tokenizer):
    encoder = load_encoder(str(bert_folder), Head())
    check_vocabulary(encoder, tokenizer)
    larger = copy.deepcopy(tokenizer)
    larger.add_tokens(["orange"])
    with pytest.raises(ValueError, match="ids up to 19, the encoder embeds 19 tokens"):
        check_vocabulary(encoder, larger)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", '[{"type": "x.Transformer"}]', "needs type and path, got {'type'"),
        ("modules.json", '["x"]', "needs type and path, got x"),
        ("modules.json", '{"0": 1}', "modules.json must list modules"),
        ("modules.json", "[", "modules.json: not JSON"),
        ("2_Dense/config.json", "{}", "2_Dense/config.json: out_features must be .*got None"),
        ("2_Dense/config.json", "[3]", "2_Dense/config.json must be an object"),
    ],
)
def test_damaged_sentence_transformers_directories(st_folder, file, content, message):
    dense = {"out_features": 3}
    write_sentence_transformers(st_folder, {"Pooling": {"pooling_mode": "mean"}, "Dense": dense})
    (st_folder / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_head(str(st_folder))


@pytest.mark.parametrize("save", [lambda path: path.write_bytes(b"x" * 50), None])
def test_damaged_dense_weights(st_folder, save):
    write_sentence_transformers(st_folder, {"Dense": {"out_features": 3}})
    path = st_folder / "1_Dense" / "model.safetensors"
    if save is None:
        save_file({"bias": torch.zeros(3)}, path)
    else:
        save(path)
    with pytest.raises(ValueError, match="no weights in 1_Dense: .*(header|linear.weight)"):
        load_encoder(str(st_folder), read_head(str(st_folder)) or Head())


@pytest.mark.parametrize("path", ["/no/such/folder", "./folder", "a/b/c"])
def test_a_wrong_path_is_not_looked_for_on_the_hub(path):
    for read in (load_tokenizer, read_head, lambda source: load_encoder(source, Head())):
        with pytest.raises(ValueError, match=f"'{path}' is neither a directory nor a name on"):
            read(path)


def test_a_name_that_the_hub_does_not_have_is_one_line(monkeypatch):
    def refuse(*_, **__):
        raise OSError("none is not a valid model identifier\nIf this is a private repository ...")

    for name in ("AutoTokenizer", "AutoConfig"):
        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", refuse)
    for read in (load_tokenizer, lambda source: load_encoder(source, Head())):
        with pytest.raises(ValueError, match="in no-one/none: none is not a valid") as caught:
            read("no-one/none")
        assert "\n" not in str(caught.value)
