"""Learned vectors in place of label texts, from the step to the predictor."""

import json
import shutil

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from safetensors.torch import load_file
from small_texts import (
    LABELS,
    UNSEEN,
    fresh_accelerator,
    gradients,
    text_config,
    train,
    train_killed_and_resumed,
)

import pumlc
from pumlc.engine.loop import Trainer
from pumlc.engine.run import RunFolder
from pumlc.losses import decoupled_softmax_loss
from pumlc.text.data.tokens import tokenize
from pumlc.text.evaluation import evaluate_run
from pumlc.text.models.label_vectors import LabelVectors
from pumlc.text.task import TextTask

SEEN = np.setdiff1d(np.arange(len(LABELS)), UNSEEN)
BATCH = np.array([49, 3, 0, 77])


def encoded(encoder, texts, tokenizer) -> torch.Tensor:
    tokens = tokenize(texts, tokenizer, max_length=16)
    return encoder(**tokens.batch(np.arange(len(tokens))))


@pytest.fixture
def started(make, accelerator):
    """A task with label vectors as it is before the first epoch."""

    def build(*model, **changes):
        task = make(*model, encoder__label_vectors="true", **changes)
        task.start(accelerator)
        return task

    return build


def disturb(module: torch.nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def label_matrix(task: TextTask) -> torch.Tensor:
    """Vectors where training has the label, the texts as they are now where not."""
    matrix = torch.empty(len(LABELS), 16)
    assert task.model.label_vectors is not None
    matrix[SEEN] = task.model.label_vectors.weight.detach()
    with torch.no_grad():
        task.model.eval()
        matrix[UNSEEN] = encoded(task.model.labels, [LABELS[i] for i in UNSEEN], task.tokenizer)
    return matrix


def test_they_start_at_the_texts_of_the_labels_that_training_has(started, make, accelerator):
    task = started()
    assert task.model.label_vectors.ids.tolist() == SEEN.tolist()
    expected = make()._embeddings(BATCH, accelerator)
    found = task._embeddings(BATCH, accelerator)
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-6)


def test_validation_and_mining_rank_by_vectors_and_the_texts_of_other_labels(started, accelerator):
    task = started(negatives__kind="mined", negatives__per_document="2", negatives__shortlist="3")
    disturb(task.model)
    torch.testing.assert_close(
        torch.from_numpy(task._embeddings(BATCH, accelerator)[1]), label_matrix(task)
    )
    list(task.batches(0, accelerator))
    rows = task.corpus.train
    texts = [task.corpus.source.texts[row] for row in rows]
    with torch.no_grad():
        scores = encoded(task.model.documents, texts, task.tokenizer) @ label_matrix(task).T
    known = torch.from_numpy(task.corpus.source.positives[rows].toarray())
    best = scores.masked_fill(known, -torch.inf).topk(3).indices
    assert (best == torch.from_numpy(task.shortlists)).float().mean() > 0.98  # ties apart


@pytest.mark.parametrize("cached", ["true", "false"])
def test_the_step_scores_documents_against_vectors_and_the_texts_of_other_labels(
    started, steady_bert_folder, accelerator, cached
):
    task = started(steady_bert_folder, encoder__gradient_cache=cached)
    next(iter(task.batches(0, accelerator)))
    texts = label_matrix(task)
    disturb(task.model)  # the texts stay as they were
    losses, found = gradients(task, accelerator, BATCH)
    source = task.corpus.source
    documents = encoded(task.model.documents, [source.texts[row] for row in BATCH], task.tokenizer)
    vectors = task.model.label_vectors.weight
    labels = texts.index_copy(0, torch.from_numpy(SEEN), vectors)
    truth = torch.from_numpy(source.positives[BATCH].toarray())
    loss = decoupled_softmax_loss(documents @ labels.T / 0.05, truth)
    assert losses["loss"] == pytest.approx(loss.item(), rel=1e-5)
    task.model.zero_grad()
    loss.backward()
    assert vectors.grad.abs().max() > 1e-3
    for name, parameter in task.model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-5, rtol=1e-3)


def test_the_texts_of_other_labels_are_looked_at_with_the_shortlists(started, accelerator):
    task = started(negatives__kind="mined", negatives__refresh="2")
    next(iter(task.batches(0, accelerator)))
    first, shortlists = task.unseen_texts, task.shortlists
    disturb(task.model)
    batch = next(iter(task.batches(1, accelerator)))[:3]
    assert task.unseen_texts is first
    assert task.shortlists is shortlists
    assert np.isfinite(gradients(task, accelerator, batch)[0]["loss"])
    next(iter(task.batches(2, accelerator)))
    torch.testing.assert_close(task.unseen_texts, label_matrix(task)[UNSEEN])
    assert not np.array_equal(task.shortlists, shortlists)


def test_all_labels_may_have_one():
    vectors = LabelVectors(3, 2, 1.0)
    vectors.start(np.arange(3), np.arange(6, dtype=np.float32).reshape(3, 2))
    none = torch.empty(0, 2)
    assert vectors(np.arange(3), none).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert vectors(np.array([0, 2]), none).tolist() == [[0, 1], [4, 5]]


def test_they_learn_at_their_own_rate(make, accelerator, tmp_path):
    task = make(
        encoder__label_vectors="true",
        encoder__label_vector_rate="20",
        train__schedule="one-cycle",
    )
    trainer = Trainer(task, task.config.train, RunFolder(tmp_path), accelerator)
    encoder, vectors = trainer.optimizer.param_groups
    assert vectors["params"] == [task.model.label_vectors.weight]
    assert vectors["lr"] == pytest.approx(20 * encoder["lr"])
    assert (encoder["max_lr"], vectors["max_lr"]) == pytest.approx((3e-3, 20 * 3e-3))


@pytest.fixture(scope="module")
def finished(corpus_folder, bert_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    changes = {
        "encoder__label_vectors": "true",
        "train__epochs": "8",
        "train__ema_decay": "0.5",
        "data__validation": "0.2",
    }
    task = TextTask(text_config(corpus_folder, bert_folder, folder / "cache", **changes))
    return train(task, folder / "run", fresh_accelerator()).path


def test_evaluation_and_prediction_use_them(finished, corpus_folder, accelerator):
    result = evaluate_run(finished, accelerator, weights=["last-ema"])
    entry = result["weights"]["last-ema"]
    assert entry["all"]["P@1"] > 60  # chance: about 7
    predictor = pumlc.load(finished, "last-ema", "cpu")
    texts = (corpus_folder / "raw" / "tst_X.txt").read_text().splitlines()
    truth = sp.load_npz(corpus_folder / "Y.tst.npz").toarray()
    scores, labels = predictor.predict(texts, top=len(LABELS))
    hits = [truth[row, LABELS.index(names[0])] for row, names in enumerate(labels)]
    assert 100 * np.mean(hits) == pytest.approx(entry["all"]["P@1"])

    model = predictor.model
    with torch.no_grad():
        embedded = encoded(model.labels, LABELS, predictor.tokenizer)
        embedded[SEEN] = model.label_vectors.weight
        expected = encoded(model.documents, texts, predictor.tokenizer) @ embedded.T
    places = np.array([[LABELS.index(name) for name in names] for names in labels])
    np.testing.assert_allclose(
        scores, np.take_along_axis(expected.numpy(), places, axis=1), atol=1e-5
    )


def test_other_labels_are_texts_and_known_ones_keep_their_vectors(finished):
    predictor = pumlc.load(finished, "last", "cpu")
    text = ["red car and a blue bird"]
    scores, labels = predictor.predict(text, top=len(LABELS))
    known = dict(zip(labels[0], scores[0].tolist(), strict=True))
    predictor.use_labels(["red bird", " red car", "purple car"])
    scores, labels = predictor.predict(text, top=3)
    found = {name.strip(): score for name, score in zip(labels[0], scores[0], strict=True)}
    assert LABELS.index("red bird") in SEEN
    assert LABELS.index("red car") in SEEN
    for name in ("red bird", "red car"):
        assert found[name] == pytest.approx(known[name], abs=1e-5)
    with torch.no_grad():
        embedded = [
            encoded(predictor.model.documents, [x], predictor.tokenizer)
            for x in (*text, "purple car")
        ]
    assert found["purple car"] == pytest.approx((embedded[0] @ embedded[1].T).item(), abs=1e-5)


def test_fewer_labels_than_the_weights_know(finished, tmp_path):
    copied = shutil.copytree(finished, tmp_path / "copy")
    (copied / "labels.json").write_text(json.dumps(LABELS[:10]))
    with pytest.raises(ValueError, match=r"labels\.json has 10 labels, fewer than the weights"):
        pumlc.load(copied)


def test_equal_texts_each_keep_their_own_vector():
    vectors = LabelVectors(3, 2, 1.0)
    vectors.start(np.array([0, 2, 3]), np.eye(3, 2, dtype=np.float32))
    trained = ["a", "b", "a", "c"]
    assert vectors.rows_of(trained, trained).tolist() == [0, -1, 1, 2]
    assert vectors.rows_of(["c", "a ", "x", "b"], trained).tolist() == [2, 0, -1, -1]


def test_a_run_with_them_resumes_to_the_same_weights(make, accelerator, tmp_path):
    settings = {"train__epochs": "3", "encoder__label_vectors": "true", "train__ema_decay": "0.9"}
    whole = train(make(**settings), tmp_path / "whole", accelerator)
    cut = train_killed_and_resumed(lambda: make(**settings), tmp_path / "cut", accelerator)
    for name in ("last", "last-ema"):
        expected = load_file(whole.weights / f"{name}.safetensors")
        found = load_file(cut.weights / f"{name}.safetensors")
        assert "label_vectors.weight" in expected
        assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder__shared": "false"}, "encoder.shared must be true with label_vectors"),
        ({"encoder__label_vector_rate": "0"}, "encoder.label_vector_rate must be above 0"),
    ],
)
def test_settings_that_do_not_go_together(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(encoder__label_vectors="true", **changes)
