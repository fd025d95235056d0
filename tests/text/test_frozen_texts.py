"""Runs with least squares: the commands on a small corpus, and what they must agree on."""

import csv
import json
import shutil

import numpy as np
import pytest
import scipy.sparse as sp

import pumlc
from pumlc.errors import UserError
from pumlc.text.data.corpus import load_corpus
from pumlc.text.data.text_split import TextSplit
from pumlc.text.frozen.config import KernelConfig
from pumlc.text.frozen.fit import collect_scores, fit_heads
from pumlc.text.frozen.kernel import Documents, Kernel
from pumlc.text.frozen.left_out import read_left_out
from pumlc.text.frozen.words import InnerProducts, Words
from pumlc.text.suspects import suspects_of

SETTINGS = """
task: text
data: {{root: {root}, document_length: 16, label_length: 8, token_cache: {folder}/tokens}}
encoder: {{model: {model}}}
heads: least_squares
loss: {{name: least_squares, temperature: 1.0}}
train: {{epochs: 1, batch_size: 24, learning_rate: 1.0}}
"""


@pytest.fixture(scope="module")
def config(corpus_folder, bert_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen")
    path = folder / "frozen.yaml"
    path.write_text(SETTINGS.format(root=corpus_folder, model=bert_folder, folder=folder))
    return path


@pytest.fixture
def trained(config, tool):
    out = config.parent / "run"
    if not out.exists():
        tool("train").main(["--config", str(config), "--out", str(out)])
    return out


def last_json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_run_is_evaluated_like_any_other(trained, tool, capsys):
    tool("evaluate").main([str(trained), "--per-label"])
    result = last_json(capsys)
    entry = result["weights"]["last"]
    assert (result["preferred"], result["preferred_by"]) == ("last", "leave-one-out")
    assert entry["all"]["P@1"] > 90  # the texts name their labels
    assert entry["zero_shot"]["R@100"] == 0  # labels without a training document have no score
    assert entry["zero_shot_among_unseen"] is None
    assert entry["decisions"]["F1"] > 60
    rows = {row["label"]: row for row in entry["per_label"]}
    assert (
        sum(row["documents"] for row in rows.values())
        == sp.load_npz(next(trained.parent.parent.glob("corpus*")) / "Y.tst.npz").nnz
    )


def test_the_scores_of_training_documents_are_left_out(trained):
    """A fit that has seen a document scores its labels higher."""
    predictor = pumlc.load(trained)
    corpus = load_corpus(predictor.config.data, seed=0)
    documents = corpus.source.rows(corpus.train)
    seen = predictor.score_split(documents).stored
    left_out = read_left_out(trained, documents.truth.shape)
    rows, columns = documents.truth.nonzero()
    assert np.mean(seen[rows, columns] - left_out[rows, columns]) > 0.02


def test_predictions_equal_the_evaluated_ranking(trained, tool, tmp_path, corpus_folder):
    texts = (corpus_folder / "raw" / "tst_X.txt").read_text().splitlines()[:5]
    predictor = pumlc.load(trained)
    scores, labels = predictor.predict(texts, top=3)
    assert scores.shape == (5, 3)
    assert (np.diff(scores, axis=1) <= 0).all()
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    out = tmp_path / "out.csv"
    tool("predict").main(
        [str(trained), str(tmp_path / "texts.txt"), "--top", "3", "--out", str(out)]
    )
    rows = list(csv.DictReader(out.open()))
    assert [row["label"] for row in rows] == [label for own in labels for label in own]
    probabilities = [float(row["probability"]) for row in rows]
    assert all(0 <= p <= 1 for p in probabilities)
    assert {row["present"] for row in rows} == {"0", "1"}


def test_labels_can_be_narrowed_but_not_invented(trained):
    predictor = pumlc.load(trained)
    predictor.use_labels(["red apple", "blue car"])
    assert sorted(predictor.predict(["a red apple"]).labels[0]) == ["blue car", "red apple"]
    with pytest.raises(UserError, match=r"1 of 2 labels have none, the first is 'new thing'"):
        predictor.use_labels(["red apple", "new thing"])


def test_the_audit_finds_hidden_and_added_labels(trained, tool, tmp_path):
    tool("audit").main([str(trained), "--out", str(tmp_path / "audit"), "--top", "5"])
    rows = list(csv.DictReader((tmp_path / "audit" / "suspects.csv").open()))
    assert [row["given"] for row in rows] == ["unknown"] * 5 + ["present"] * 5
    assert (tmp_path / "audit" / "review.html").is_file()
    with pytest.raises(UserError, match="--decisions: .* is no table"):
        tool("audit").main([str(trained), "--decisions", str(tmp_path / "audit" / "suspects.csv")])


def test_a_run_that_was_killed_ends_in_the_same_weights(config, trained, tool, tmp_path):
    out = tmp_path / "again"
    tool("train").main(["--config", str(config), "--out", str(out)])
    (out / "weights" / "last.safetensors").unlink()
    (out / "weights" / "index.json").unlink()
    tool("train").main(["--out", str(out), "--resume"])
    weights = [run / "weights" / "last.safetensors" for run in (trained, out)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_words_alone_need_no_encoder(config, tool, tmp_path):
    out = tmp_path / "words"
    options = ["--kernel.embeddings", "false", "--encoder.model", "nowhere"]
    tool("train").main(["--config", str(config), "--out", str(out), *options])
    assert not (out / "encoder").exists()
    assert pumlc.load(out).predict(["a red apple swims"], top=1).labels == [["red apple"]]


def test_settings_that_contradict_are_refused(config, tool, tmp_path):
    for options, message in (
        (["--heads", "none"], "loss.name must be least_squares where heads is that"),
        (["--encoder.label_vectors", "true"], "encoder.label_vectors must be false"),
        (["--kernel.words", "false", "--kernel.embeddings", "false"], "kernel.embeddings"),
        (["--kernel.penalties", "[]"], "kernel.penalties must be at least one"),
    ):
        with pytest.raises(UserError, match=message):
            tool("train").main(["--config", str(config), "--out", str(tmp_path / "x"), *options])


@pytest.mark.parametrize("damage", ["labels", "word_starts", "terms"])
def test_a_run_folder_of_anyone_is_checked(trained, tmp_path, damage):
    import shutil

    from safetensors.torch import load_file, save_file

    run = tmp_path / "run"
    shutil.copytree(trained, run)
    file = run / "weights" / "last.safetensors"
    state = load_file(file)
    if damage == "terms":
        (run / "words.json").write_text('["one"]')
    elif damage == "labels":
        state["heads.labels"] = state["heads.labels"] + 1000
    else:
        state["heads.word_starts"] = state["heads.word_starts"] + 5
    save_file(state, file)
    with pytest.raises(UserError):
        pumlc.load(run)


def documents(seed, count):
    random = np.random.RandomState(seed)
    words = [[f"word{i}" for i in row] for row in random.randint(0, 12, (count, 6))]
    texts = [" ".join(row) for row in words]
    embeddings = random.randn(count, 5).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return texts, embeddings, random


@pytest.mark.parametrize("anchors", [100, 12])
def test_left_out_scores_are_those_of_fits_without_the_row(anchors):
    """With all rows as anchors, and with some of them."""
    texts, embeddings, random = documents(0, 30)
    truth = sp.csr_array(random.rand(30, 4) < 0.3)
    config = KernelConfig(penalties=[0.3], anchors=anchors)
    own = Documents(embeddings, Words.fit(texts, None).vectors(texts))
    groups = np.arange(30)
    groups[7] = groups[3]
    fitted = fit_heads(
        own, truth, config, groups=groups, label_weights=np.ones(4), excluded=None, seed=0
    )
    assert len(fitted.anchors) == min(30, anchors)
    stored = fitted.left_out.stored.toarray()
    kernel = Kernel(own.rows(fitted.anchors), config)(own).astype(np.float64)
    square = Kernel(own, config)(own).astype(np.float64)
    for row in (0, 3, 7, 29):
        keep = groups != groups[row]
        if anchors >= 30:
            alpha = np.linalg.solve(
                square[np.ix_(keep, keep)] + 0.3 * np.eye(keep.sum()), truth.toarray()[keep]
            )
            expected = square[row, keep] @ alpha
        else:
            inside = kernel[fitted.anchors]
            system = kernel[keep].T @ kernel[keep] + 0.3 * inside
            expected = kernel[row] @ np.linalg.solve(system, kernel[keep].T @ truth.toarray()[keep])
        np.testing.assert_allclose(stored[row], expected, atol=2e-4)


def test_inner_products_are_those_of_the_whole_matrices():
    texts, _, _ = documents(1, 40)
    words = Words.fit(texts, 4)
    vectors = words.vectors(texts)
    np.testing.assert_allclose(
        InnerProducts(vectors[:9])(vectors), (vectors @ vectors[:9].T).toarray(), atol=1e-6
    )
    np.testing.assert_allclose(np.sqrt(vectors.multiply(vectors).sum(axis=1)), 1, rtol=1e-5)


def test_scores_are_kept_of_the_best_and_of_the_given_labels():
    truth = sp.csr_array(np.array([[0, 0, 0, 1], [1, 0, 0, 0]], bool))
    excluded = sp.csr_array(np.array([[0, 1, 0, 0], [0, 0, 0, 0]], bool))
    block = np.array([[0.5, 0.9, 0.1], [0.2, 0.3, 0.1]])
    scores = collect_scores(
        iter([(np.array([0, 1]), block)]), np.array([0, 1, 3]), truth, excluded, depth=2
    )
    assert scores.ids.tolist() == [[0, 3], [1, 0]]
    kept = scores.stored.tocoo()
    assert set(zip(kept.row.tolist(), kept.col.tolist(), strict=True)) == {
        (0, 0), (0, 3), (1, 1), (1, 0),
    }  # fmt: skip


def test_a_given_label_is_compared_with_labels_that_are_as_frequent():
    """The rare label of row 4 scores low because it is rare; that of row 0 is out of line."""
    truth = np.zeros((5, 3), bool)
    truth[:4, 0] = True  # four documents
    truth[4, 1] = truth[3, 2] = True  # one each
    scores = np.zeros((5, 3), np.float32)
    scores[:4, 0] = [0.2, 0.8, 0.9, 0.85]
    scores[4, 1], scores[3, 2] = 0.05, 0.06
    scores[4, 0], scores[0, 1] = 0.7, 0.3
    split = TextSplit(["x"] * 5, ["a", "b", "c"], sp.csr_array(truth))
    suspects = sorted(suspects_of(sp.csr_array(scores), split), key=lambda each: -each.suspicion)
    wrong = [(each.row, each.column) for each in suspects if each.given == "present"]
    assert wrong[0] == (0, 0)
    assert [(e.row, e.column) for e in suspects if e.given == "unknown"] == [(4, 0), (0, 1)]


def test_stored_scores_are_not_those_of_other_documents(trained, corpus_folder, tool, tmp_path):
    """The same number of documents and labels, but other ones in the rows."""
    data = shutil.copytree(corpus_folder, tmp_path / "data")
    lines = (data / "raw" / "trn_X.txt").read_text().splitlines()
    (data / "raw" / "trn_X.txt").write_text("\n".join([*lines[1:], lines[0]]) + "\n")
    pairs = sp.load_npz(data / "Y.trn.npz").tocsr()
    sp.save_npz(data / "Y.trn.npz", sp.vstack([pairs[1:], pairs[:1]]).tocsr())
    with pytest.raises(UserError, match="stored a score for each of its own: give its data as"):
        tool("audit").main(
            [str(trained), "--out", str(tmp_path / "audit"), "--data.root", str(data)]
        )


def test_data_that_have_moved_are_named_with_their_setting(trained, corpus_folder, tool, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    content = json.loads((run / "run.json").read_text())
    content["config"]["data"]["root"] = "gone"
    (run / "run.json").write_text(json.dumps(content))
    for command in ("audit", "evaluate"):
        with pytest.raises(UserError, match="gone: no such file.* name it with data.root"):
            tool(command).main([str(run)])
    tool("evaluate").main([str(run), "--data.root", str(corpus_folder)])
