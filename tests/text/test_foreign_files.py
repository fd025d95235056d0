"""Files of others: matrices that claim more than they hold, run folders that are damaged."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
from small_texts import fresh_accelerator, text_config, train, write_corpus

import pumlc
from pumlc.errors import UserError
from pumlc.text.data.readers import read_corpus
from pumlc.text.models.head import Head
from pumlc.text.models.pretrained import load_encoder, load_tokenizer
from pumlc.text.task import TextTask


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write_corpus(folder)
    return folder


def parts_of(path):
    with np.load(path) as archive:
        return dict(archive)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "dia", "bsr"])
@pytest.mark.parametrize("shape", [[120, 2**40], [2**40, 27], [2**62, 2**62], [-1, 27]])
def test_a_matrix_that_claims_a_shape_is_refused_before_it_is_built(data, form, shape, monkeypatch):
    import scipy.sparse as sp

    path = data / "Y.trn.npz"
    sp.save_npz(path, sp.load_npz(path).asformat(form))
    parts: dict[str, Any] = parts_of(path) | {"shape": np.array(shape)}
    np.savez(path, **parts)
    monkeypatch.setattr(sp, "load_npz", lambda *_: pytest.fail("the matrix was built"))
    with pytest.raises(UserError, match=rf"Y\.trn\.npz has {shape[0]} rows|has {shape[1]} columns"):
        read_corpus(data, "xmc")


def npy(shape, content):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    return header.getvalue() + content


@pytest.mark.parametrize("member", ["data.npy", "shape.npy"])
def test_an_array_that_claims_more_than_the_file_holds(data, member):
    path = data / "Y.trn.npz"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {member: npy((2**45,), bytes(16))}).items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match=rf"not a sparse matrix.*{member} claims the shape"):
        read_corpus(data, "xmc")


def test_a_matrix_of_python_objects_is_not_unpickled(data):
    path = data / "Y.trn.npz"
    parts: dict[str, Any] = parts_of(path) | {"data": np.array([{}], object)}
    np.savez(path, **parts)
    with pytest.raises(UserError, match=r"data\.npy holds Python objects"):
        read_corpus(data, "xmc")


@pytest.fixture(scope="module")
def finished(corpus_folder, bert_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    torch.manual_seed(0)
    config = text_config(corpus_folder, bert_folder, folder / "cache", train__epochs="1")
    return train(TextTask(config), folder / "run", fresh_accelerator()).path


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


EVIL = {
    "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M", "AutoTokenizer": ["evil.T", None]},
    "model_type": "evil",
    "tokenizer_class": "EvilTokenizer",
}


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_run_folder_is_refused_in_one_line_and_not_asked_for(run, file, monkeypatch):
    edit(run / "encoder" / file, **EVIL)
    (run / "encoder" / "evil.py").write_text("raise SystemExit('it was run')")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it was asked"))
    with pytest.raises(UserError, match=rf"{file}: auto_map asks to run code") as caught:
        pumlc.load(run)
    assert "\n" not in str(caught.value)


def test_code_of_a_model_to_train_is_refused_in_one_line(bert_folder, tmp_path, monkeypatch):
    folder = shutil.copytree(bert_folder, tmp_path / "bert")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it was asked"))
    edit(folder / "config.json", **EVIL)
    for pretrained in (True, False):
        with pytest.raises(UserError, match="config.json asks with auto_map to run code") as caught:
            load_encoder(str(folder), Head(), pretrained=pretrained)
        assert "\n" not in str(caught.value)
    load_tokenizer(str(folder))  # tokenizer.json says it all: read without code and question


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_of_the_hub_is_not_asked_for(run, bert_folder, tmp_path, key):
    folder = shutil.copytree(bert_folder, tmp_path / "bert")
    for file in (run / "encoder" / "config.json", folder / "config.json"):
        edit(file, **{key: "someone/kernel"})
    assert pumlc.load(run).predict(["red car"], top=1).labels
    for pretrained in (True, False):
        found: Any = load_encoder(str(folder), Head(), pretrained=pretrained).backbone.config
        assert "someone" not in str(found._attn_implementation)


def test_a_model_that_transformers_knows_needs_none_of_its_own_code(
    corpus_folder, bert_folder, tmp_path
):
    """Its run folder does not name code either, or loading would refuse it."""
    folder = shutil.copytree(bert_folder, tmp_path / "bert")
    names = {"AutoConfig": "evil.C", "AutoModel": "evil.M"}
    edit(folder / "config.json", auto_map=names)
    config = text_config(corpus_folder, folder, tmp_path / "cache", train__epochs="1")
    path = train(TextTask(config), tmp_path / "run", fresh_accelerator()).path
    assert "auto_map" not in (path / "encoder" / "config.json").read_text()
    assert pumlc.load(path).predict(["red car"], top=1).labels


OFFLINE_SPY = """
import socket, sys
def refuse(host, *rest, **options):
    print("asked", host)
    raise socket.gaierror("no network")
socket.getaddrinfo = refuse
import pumlc
try:
    pumlc.load("run", device="cpu")
except ValueError as error:
    print(type(error).__name__, error)
"""


def damage_nothing(run):
    pass


def without_encoder(run):
    shutil.rmtree(run / "encoder")


def without_config(run):
    (run / "encoder" / "config.json").unlink()


def another_model(run):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (run / "encoder" / file).write_text("{}")
    names = {"_name_or_path": "attacker/model", "base_model_name_or_path": "attacker/model"}
    (run / "encoder" / "config.json").write_text(json.dumps(names))
    (run / "encoder" / "adapter_config.json").write_text(json.dumps(names | {"peft_type": "LORA"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_nothing, ""),
        (without_encoder, "UserError run is not a whole run of texts: .*encoder/config.json is"),
        (without_config, "UserError run is not a whole run of texts: .*encoder/config.json is"),
        (another_model, "UserError no (tokenizer|encoder) in"),
    ],
)
def test_loading_never_asks_the_network(run, damage, message):
    """Also by a relative path, which looks like a name on the hub."""
    damage(run)
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE_SPY],
        cwd=run.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "asked" not in done.stdout
    assert bool(done.stdout) == bool(message)
    assert re.search(message, done.stdout)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("run.json", {"head": None}, "run.json: head must have activation, .*got None"),
        ("run.json", {"head": {"pooling": "mean"}}, "run.json: head must have"),
        (
            "run.json",
            {"labels_seen_in_training": "9"},
            "labels_seen_in_training must be a whole number",
        ),
        ("run.json", {"labels_seen_in_training": 28}, r"from 0 to labels \(27\), got 28"),
        ("run.json", {"labels": None}, "labels_seen_in_training must be .*None"),
    ],
)
def test_invalid_facts_of_a_run(run, file, changes, message):
    edit(run / file, **changes)
    with pytest.raises(UserError, match=message):
        pumlc.load(run)


@pytest.mark.parametrize(
    ("name", "length", "message"),
    [
        ("document_length", 1, "must be above 2"),
        ("label_length", 10**6, "must be at most"),
    ],
)
def test_lengths_that_do_not_fit_name_file_and_setting(run, name, length, message):
    config = json.loads((run / "run.json").read_text())["config"]
    edit(run / "run.json", config=config | {"data": config["data"] | {name: length}})
    with pytest.raises(UserError, match=f"run.json: data.{name} {message}"):
        pumlc.load(run)


@pytest.mark.parametrize("value", ["1", None, [8], True])
def test_a_length_of_the_tokenizer_that_is_no_number(run, value):
    edit(run / "encoder/tokenizer_config.json", model_max_length=value)
    if value is None:  # transformers has a default for it
        pumlc.load(run)
        return
    with pytest.raises(UserError, match="tokenizer_config.json: model_max_length must be a number"):
        pumlc.load(run)


def test_a_head_of_wrong_values(run):
    head = json.loads((run / "run.json").read_text())["head"]
    for name, value in (("pooling", ["mean"]), ("projection", 2.5), ("normalize", "yes")):
        edit(run / "run.json", head=head | {name: value})
        with pytest.raises(UserError, match=f"run.json: head: {name} must be"):
            pumlc.load(run)


@pytest.mark.parametrize("labels", [["red car", 3], ["red car", " "], ["\ud800"]])
def test_invalid_labels_of_a_run(run, labels):
    (run / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(UserError, match=r"labels\.json: label"):
        pumlc.load(run)
