"""Joint runs: labels with and without training documents in one ranking."""

import csv
import json

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from small_texts import LABELS, UNSEEN

import pumlc
from pumlc.errors import UserError
from pumlc.text.frozen.words import Words
from pumlc.text.joint.comparisons import Comparisons, DocumentTexts, LabelTexts
from pumlc.text.joint.fit import documents_of_group
from pumlc.text.joint.fusion import text_columns
from pumlc.text.joint.pairs import Pairs, list_pairs, ranked

SETTINGS = """
task: text
data: {{root: {root}, document_length: 16, label_length: 8, token_cache: {folder}/tokens}}
encoder: {{model: {model}}}
heads: joint
joint: {{shortlist: 5, cost: 5.0}}
loss: {{name: least_squares, temperature: 1.0}}
train: {{epochs: 1, batch_size: 24, learning_rate: 1.0}}
"""


@pytest.fixture(scope="module")
def config(corpus_folder, bert_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("joint")
    path = folder / "joint.yaml"
    path.write_text(SETTINGS.format(root=corpus_folder, model=bert_folder, folder=folder))
    return path


@pytest.fixture
def trained(config, tool):
    out = config.parent / "run"
    if not out.exists():
        tool("train").main(["--config", str(config), "--out", str(out)])
    return out


def test_labels_without_a_document_are_ranked_among_all(trained, tool, capsys):
    tool("evaluate").main([str(trained)])
    entry = json.loads(capsys.readouterr().out.splitlines()[-1])["weights"]["last"]
    assert entry["all"]["P@1"] > 90
    assert entry["zero_shot"]["R@10"] > 80  # least squares alone finds none: see its own tests
    assert entry["zero_shot_among_unseen"]["P@1"] > 45  # by chance 33
    assert entry["decisions"]["F1"] > 60


def test_old_and_new_labels_are_mixed_without_a_warning(trained, tool, tmp_path, capsys):
    unseen, new = LABELS[UNSEEN[0]], "red runs"
    (tmp_path / "texts.txt").write_text(f"{unseen} swims\n{LABELS[0]} swims\nred runs swims\n")
    (tmp_path / "labels.txt").write_text("\n".join([LABELS[0], unseen, new, LABELS[1]]) + "\n")
    out = tmp_path / "out.csv"
    files = [str(tmp_path / "texts.txt"), "--labels", str(tmp_path / "labels.txt")]
    tool("predict").main([str(trained), *files, "--top", "2", "--out", str(out)])
    assert "warning" not in capsys.readouterr().err
    rows = list(csv.DictReader(out.open()))
    assert [row["label"] for row in rows[::2]] == [unseen, LABELS[0], new]


def test_an_empty_text_has_no_new_label(trained):
    predictor = pumlc.load(trained)
    predictor.use_labels([LABELS[0], "orange boat", "purple tree"])
    scores, labels = predictor.predict(["", "orange boat swims"])
    assert labels[0] == [LABELS[0]]  # all texts are equally near: none of them is the nearest
    assert scores[0, 0] < 0.5
    assert labels[1][0] == "orange boat"


def test_a_label_of_the_run_is_known_by_its_text(trained):
    predictor = pumlc.load(trained)
    text = [f"{LABELS[0]} and {LABELS[UNSEEN[1]]}"]
    scores, labels = predictor.predict(text, top=len(LABELS))
    expected = dict(zip(labels[0], scores[0].tolist(), strict=False))
    predictor.use_labels([f" {label} " for label in LABELS])
    scores, labels = predictor.predict(text, top=len(LABELS))
    found = {label.strip(): score for label, score in zip(labels[0], scores[0], strict=False)}
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_score_does_not_depend_on_the_labels_that_are_chosen_among(trained):
    predictor = pumlc.load(trained)
    texts = [f"{LABELS[UNSEEN[1]]} and {LABELS[0]}", f"{LABELS[1]} swims"]
    whole = [
        dict(zip(labels, scores.tolist(), strict=False))
        for scores, labels in zip(*predictor.predict(texts, top=len(LABELS)), strict=True)
    ]
    few = [LABELS[UNSEEN[1]], LABELS[1], LABELS[0]]
    predictor.use_labels(few)
    scores, labels = predictor.predict(texts, top=5)
    assert scores.shape == (2, 3)
    for expected, row, names in zip(whole, scores, labels, strict=True):
        assert sorted(names) == sorted(few)
        for name, score in zip(names, row.tolist(), strict=True):
            if name in expected:  # it was on a shortlist
                assert score == pytest.approx(expected[name], rel=1e-5), name
    # a new label that fits neither text is not the surest of all because it stands alone
    predictor.use_labels(["green fish"])
    scores, labels = predictor.predict(texts, top=5)
    assert labels == [["green fish"]] * 2
    assert scores.max() < max(max(each.values()) for each in whole) / 2


def test_no_texts_and_wrong_arguments(trained):
    predictor = pumlc.load(trained)
    scores, labels = predictor.predict([], top=3)
    assert scores.shape == (0, 3)
    assert labels == []
    with pytest.raises(UserError, match="search_precision bf16"):
        predictor.predict(["red"], precision="bf16")
    with pytest.raises(ValueError, match="top must be at least 1"):
        predictor.predict(["red"], top=0)


def test_damaged_weights_are_refused(trained, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    run = tmp_path / "run"
    shutil.copytree(trained, run)
    file = run / "weights" / "last.safetensors"
    weights = load_file(file)
    weights["joint.text_weights"] = weights["joint.text_weights"][1:].clone()
    save_file(weights, file)
    entry = json.loads((run / "weights" / "index.json").read_text())
    entry["last"].pop("checksum", None)
    (run / "weights" / "index.json").write_text(json.dumps(entry))
    with pytest.raises(UserError, match=r"joint\.text_weights must be \[21\]"):
        pumlc.load(run)


def test_audit_ranks_labels_that_no_document_has(trained, tool, tmp_path):
    tool("audit").main([str(trained), "--split", "test", "--top", "10", "--out", str(tmp_path)])
    assert (tmp_path / "suspects.csv").read_text().startswith("part,")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kernel.words", "false"], "kernel.words must be true with joint"),
        (["--kernel.rare_labels", "0.5"], "kernel.rare_labels must be 0 with joint"),
        (["--joint.cost", "-1"], "joint.cost must be at least 0"),
    ],
)
def test_settings_that_contradict_are_refused(config, tool, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        tool("train").main(["--config", str(config), "--out", str(tmp_path / "x"), *options])


def random_pairs(random, documents=4, labels=6):
    shape = documents, labels
    fitted = random.random(shape).astype(np.float32)
    fitted[:, :2] = -np.inf
    values = random.integers(0, 4, (5, *shape)).astype(np.float32)
    truth = sp.csr_array(random.random(shape) < 0.3)
    return list_pairs(
        np.arange(documents), fitted, values, fitted == -np.inf, depth=2, given=truth
    ), truth


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_columns_of_a_pair_do_not_depend_on_what_was_given(seed):
    pairs, truth = random_pairs(np.random.default_rng(seed))
    assert ((pairs.listed) | truth.toarray()[pairs.rows, pairs.labels]).all()
    columns = text_columns(pairs)
    for place in range(len(pairs)):
        own = pairs.values[(pairs.rows == pairs.rows[place]) & pairs.listed]
        value = pairs.values[place]
        naive = [value, value**2, own.max(0) - value, np.log1p((own > value).sum(0))]
        np.testing.assert_allclose(columns[place], np.concatenate(naive), rtol=1e-6)


def test_ranking_of_pairs_is_that_of_a_matrix():
    pairs, _ = random_pairs(np.random.default_rng(0))
    scores = np.random.default_rng(1).random(len(pairs))
    matrix = np.full((4, 6), -np.inf)
    matrix[pairs.rows[pairs.listed], pairs.labels[pairs.listed]] = scores[pairs.listed]
    ids, best = ranked(pairs, scores, pairs.listed, 4, 3)
    np.testing.assert_array_equal(ids, np.argsort(-matrix, axis=1, kind="stable")[:, :3])
    np.testing.assert_allclose(best, -np.sort(-matrix, axis=1)[:, :3], rtol=1e-6)


def test_joined_pairs_are_ordered_by_document():
    first, _ = random_pairs(np.random.default_rng(0))
    later = Pairs(*(np.array(x) for x in vars(first).values()))
    later.rows[:] += 4
    joined = Pairs.joined([later, first])
    assert (np.diff(joined.rows) >= 0).all()
    assert len(joined) == 2 * len(first)


def test_comparisons_against_plain_loops():
    texts, labels = ["customs tariff on bananas", "a fish"], ["tariffs", "fish farm", "banana"]
    letters, words = Words.fit([*texts, *labels], None, 4), Words.fit(texts, None)
    random = np.random.default_rng(0)
    embeddings, mapped, own = random.random((2, 3)), random.random((2, 3)), random.random((3, 3))
    documents = DocumentTexts(embeddings, mapped, letters.vectors(texts), words.vectors(texts))
    found = Comparisons(LabelTexts(own, letters.vectors(labels), words.vectors(labels)))(documents)
    x, y = letters.vectors(texts).toarray(), letters.vectors(labels).toarray()
    for row in range(2):
        for label in range(3):
            naive = [
                x[row] @ y[label],
                ((x[row] > 0) * y[label] ** 2).sum(),
                (words.vectors(texts)[[row]] @ words.vectors(labels)[[label]].T).toarray()[0, 0],
                embeddings[row] @ own[label],
                mapped[row] @ own[label],
            ]
            np.testing.assert_allclose(found[:, row, label], naive, rtol=1e-5)
    assert found[0, 0, 2] > 0.2  # banana and bananas share pieces
    assert found[2, 0, 2] == 0  # but no word


def test_labels_of_a_group():
    truth = sp.csr_array(np.array([[1, 0], [1, 1], [0, 1]], bool))
    assert documents_of_group(truth, np.array([5, 5, 2])).toarray().tolist() == [[2, 1]] * 2 + [
        [0, 1]
    ]
