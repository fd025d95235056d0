"""Exported encoders give the scores of the run, in this package and elsewhere."""

import json
import warnings

import numpy as np
import pytest
import torch
import yaml

import pumlc
from pumlc.cli.card import main as card
from pumlc.engine.config import plain
from pumlc.engine.loop import Trainer
from pumlc.engine.run import RunFolder
from pumlc.errors import PumlcWarning, UserError
from pumlc.text.data.tokens import tokenize
from pumlc.text.models.embedding import embed
from pumlc.text.models.pretrained import load_encoder, load_tokenizer
from pumlc.text.models.sentence_transformers import read_head

TEXTS = ["red car runs", "blue bird", "a green fish swims " * 9]


def trained(make, accelerator, folder, **settings):
    task = make(**settings)
    run = RunFolder(folder)
    run.start(plain(task.config), task.facts(), 1)
    task.write_files(run.path)
    Trainer(task, task.config.train, run, accelerator).train()
    return run.path


def scores_of(predictor, texts):
    """Scores of the run, in the order of its labels."""
    found = predictor.predict(texts, top=len(predictor.labels))
    place = {label: column for column, label in enumerate(predictor.labels)}
    table = np.empty(found.scores.shape)
    for row, names in enumerate(found.labels):
        table[row, [place[name] for name in names]] = found.scores[row]
    return table


@pytest.mark.parametrize(
    "settings",
    [{}, {"encoder__projection": "8"}, {"encoder__pooling": "cls", "encoder__normalize": "false"}],
    ids=["mean", "projection", "cls"],
)
def test_a_folder_for_sentence_transformers_and_back(make, accelerator, tmp_path, tool, settings):
    run = trained(make, accelerator, tmp_path / "run", **settings)
    out = tmp_path / "exported"
    tool("export").main([str(run), "--out", str(out)])
    predictor = pumlc.load(run, device="cpu")
    tokenizer, head = load_tokenizer(str(out)), read_head(str(out))
    assert head == predictor.model.documents.head
    assert head is not None
    encoder = load_encoder(str(out), head).eval()
    length = predictor.config.data.document_length
    assert json.loads((out / "sentence_bert_config.json").read_text())["max_seq_length"] == length
    tokens = tokenize(TEXTS, tokenizer, max_length=length)
    rows, device = np.arange(len(TEXTS)), torch.device("cpu")
    documents = embed(encoder, tokens, rows, chunk_size=8, device=device)
    labels = np.load(out / "label_embeddings.npy")
    assert json.loads((out / "labels.json").read_text()) == list(predictor.labels)
    np.testing.assert_allclose(documents @ labels.T, scores_of(predictor, TEXTS), atol=1e-5)
    with pytest.raises(UserError, match="is there already"):
        tool("export").main([str(run), "--out", str(out)])


def test_the_folder_of_a_card_has_the_scores_of_the_run(make, accelerator, tmp_path, capsys):
    run = trained(make, accelerator, tmp_path / "run", data__validation="0.2")
    out = tmp_path / "folder"
    card([str(run), "--out", str(out)])
    predictor = pumlc.load(run, device="cpu")
    head = read_head(str(out))
    assert head is not None
    encoder = load_encoder(str(out), head).eval()
    length = predictor.config.data.document_length
    tokens = tokenize(TEXTS, load_tokenizer(str(out)), max_length=length)
    rows, device = np.arange(len(TEXTS)), torch.device("cpu")
    documents = embed(encoder, tokens, rows, chunk_size=8, device=device)
    scores = documents @ np.load(out / "label_embeddings.npy").T
    np.testing.assert_allclose(scores, scores_of(predictor, TEXTS), atol=1e-5)
    text = (out / "README.md").read_text()
    assert yaml.safe_load(text.split("---")[1])["library_name"] == "sentence-transformers"
    assert predictor.decisions is not None
    assert f"probability {predictor.decisions.threshold:.3f} on" in text.replace("\n", " ")
    assert "Not measured yet" in text
    capsys.readouterr()
    card([str(run)])
    assert "pumlc.load" in capsys.readouterr().out
    with pytest.raises(UserError, match="^--calibrated: it is for image runs"):
        card([str(run), "--calibrated"])


@pytest.mark.parametrize(
    "settings",
    [{}, {"encoder__projection": "8"}, {"encoder__pooling": "cls", "encoder__normalize": "false"}],
    ids=["mean", "projection", "cls"],
)
def test_sentence_transformers_reads_the_folder_and_writes_one_for_us(
    make, accelerator, tmp_path, tool, settings
):
    library = pytest.importorskip("sentence_transformers")
    run = trained(make, accelerator, tmp_path / "run", **settings)
    out, back = tmp_path / "exported", str(tmp_path / "back")
    tool("export").main([str(run), "--out", str(out)])
    theirs = library.SentenceTransformer(str(out), device="cpu")
    documents = theirs.encode(TEXTS)
    labels = np.load(out / "label_embeddings.npy")
    predictor = pumlc.load(run, device="cpu")
    np.testing.assert_allclose(documents @ labels.T, scores_of(predictor, TEXTS), atol=1e-5)
    theirs.save(back)
    head = read_head(back)
    assert head == predictor.model.documents.head
    tokens = tokenize(TEXTS, load_tokenizer(back), max_length=predictor.config.data.document_length)
    assert head is not None
    encoder = load_encoder(back, head).eval()
    rows, device = np.arange(len(TEXTS)), torch.device("cpu")
    ours = embed(encoder, tokens, rows, chunk_size=8, device=device)
    np.testing.assert_allclose(ours, documents, atol=1e-5)


def test_onnx_with_its_tokenizer_gives_the_scores_of_the_run(
    make, accelerator, tmp_path, tool, capsys
):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from tokenizers import Tokenizer

    run = trained(
        make, accelerator, tmp_path / "run", encoder__label_vectors="true", data__validation="0.2"
    )
    out = tmp_path / "model.onnx"
    tool("export").main([str(run), "--out", str(out)])
    assert "27 labels; scores differ by at most" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(str(out))
    about = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    predictor = pumlc.load(run, device="cpu")
    assert about["labels"] == list(predictor.labels)
    assert about["decisions"] == predictor.decisions.to_json()
    tokenizer = Tokenizer.from_str(about["tokenizer"])
    for texts in (TEXTS, TEXTS[:1]):  # another batch, another length
        rows = tokenizer.encode_batch(texts)
        tokens = {
            "input_ids": np.array([row.ids for row in rows]),
            "attention_mask": np.array([row.attention_mask for row in rows]),
        }
        (scores,) = session.run(["scores"], tokens)
        np.testing.assert_allclose(scores, scores_of(predictor, texts), atol=1e-4)


def test_heads_on_an_encoder_that_saw_the_labels_are_warned_of(make, accelerator, tmp_path, tool):
    """Leave-one-out hides a label from the heads, and not from the encoder."""
    run = trained(make, accelerator, tmp_path / "run")
    out = tmp_path / "exported"
    tool("export").main([str(run), "--out", str(out)])
    root = pumlc.load(run, device="cpu").config.data.root
    (tmp_path / "frozen.yaml").write_text(
        f"task: text\ndata: {{root: {root}, document_length: 16, token_cache: {tmp_path}/tokens}}\n"
        f"encoder: {{model: {out}}}\nheads: least_squares\n"
        "loss: {name: least_squares, temperature: 1.0}\n"
        "train: {epochs: 1, batch_size: 8, learning_rate: 1.0}\n"
    )
    command = ["--config", str(tmp_path / "frozen.yaml")]
    with pytest.raises(UserError, match="is a run folder; pumlc export writes the encoder"):
        tool("train").main(
            [*command, "--encoder.model", str(run), "--out", str(tmp_path / "of_run")]
        )
    with pytest.warns(PumlcWarning, match="was trained on documents of"):
        tool("train").main([*command, "--out", str(tmp_path / "heads")])
    (out / "training_data.json").write_text('{"train": "of other data"}')
    with warnings.catch_warnings():
        warnings.simplefilter("error", PumlcWarning)
        tool("train").main([*command, "--out", str(tmp_path / "others")])
