"""The entry points in tools/ on a text run."""

import csv
import io
import json

import pytest

import pumlc
from pumlc.text.data.corpus import load_corpus


@pytest.fixture(scope="module")
def run(corpus_folder, bert_folder, tmp_path_factory):
    """Two epochs of softmax in bf16 with warm-up and clipping, by tools/train.py."""
    folder = tmp_path_factory.mktemp("tools")
    config = folder / "text.yaml"
    config.write_text(
        f"""
task: text
data: {{root: {corpus_folder}, document_length: 16, label_length: 8, token_cache: {folder}}}
encoder: {{model: {bert_folder}, document_chunk: 8, label_chunk: 8}}
loss: {{name: softmax, temperature: 0.05}}
train: {{epochs: 2, batch_size: 24, learning_rate: 1e-3, optimizer: adamw, schedule: linear,
         warmup: 0.3, clip_norm: 0.5, precision: bf16}}
"""
    )
    return config, folder / "run"


@pytest.fixture
def trained(run, tool):
    config, out = run
    if not out.exists():
        tool("train").main(["--config", str(config), "--out", str(out), "--train.seed", "1"])
    return out


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("red car runs\nblue bird\n\ngreen fish swims\n")
    return path


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_evaluate_in_half_precision_and_with_faiss(trained, tool, capsys):
    entries = {}
    for options in ((), ("--precision", "bf16"), ("--index", "faiss")):
        if "faiss" in options:
            pytest.importorskip("faiss")
        tool("evaluate").main([str(trained), *options])
        output = capsys.readouterr().out.splitlines()
        result = json.loads(output[-1])
        assert result["N"] == 40
        assert (result["preferred"], result["preferred_by"]) == ("last", "last epoch")
        figure = f"nDCG@5 {result['weights']['last']['all']['nDCG@5']:.2f}"
        assert output[-2] == f"no validation part, last epoch: last, {figure}"
        assert result["index"] == ("faiss" if "faiss" in options else "exact")
        entries[options] = result["weights"]["last"]["all"]
    plain = entries[()]
    assert 0 <= plain["P@1"] <= 100
    assert entries["--index", "faiss"] == pytest.approx(plain)
    assert entries["--precision", "bf16"]["R@10"] == pytest.approx(plain["R@10"], abs=5)


def test_evaluation_refuses_options_of_images(trained, tool):
    for option in ("--per-class", "--oracle"):
        with pytest.raises(ValueError, match=f"{option} does not apply to .*another task"):
            tool("evaluate").main([str(trained), option])


@pytest.mark.parametrize("index", ["exact", "faiss"])
def test_search_of_rounded_embeddings(trained, texts, tool, capsys, index, monkeypatch):
    """The embeddings that are compared are bfloat16, and nearly the same comes out."""
    if index == "faiss":
        pytest.importorskip("faiss")
    from pumlc.text.retrieval import ranking

    name = {"exact": "search", "faiss": "faiss_search"}[index]
    seen, find = [], getattr(ranking, name)

    def watch(queries, labels, *rest, **keywords):
        seen.extend(str(x.dtype).removeprefix("torch.") for x in (queries, labels))
        return find(queries, labels, *rest, **keywords)

    monkeypatch.setattr(ranking, name, watch)
    found = {}
    for options in ([], ["--search-precision", "bf16"]):
        tool("evaluate").main([str(trained), "--index", index, *options])
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        found[result["search_precision"]] = result["weights"]["last"]["all"]["R@10"]
    assert seen == ["float32"] * 4 + ["bfloat16"] * 4
    assert found["bf16"] == pytest.approx(found["fp32"], abs=5)


def test_prediction_with_rounded_embeddings(trained, texts, tool, capsys):
    scores = []
    for options in ([], ["--search-precision", "bf16"]):
        tool("predict").main([str(trained), str(texts), "--top", "1", *options])
        scores.append([float(row["score"]) for row in rows_of(capsys.readouterr().out)])
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], abs=2e-2)


def test_documents_are_encoded_in_chunks_of_the_run_by_default(trained, tool, monkeypatch):
    from pumlc.text.models import embedding

    sizes = []
    encode = embedding.embed

    def watch(*arguments, chunk_size, **options):
        sizes.append(chunk_size)
        return encode(*arguments, chunk_size=chunk_size, **options)

    monkeypatch.setattr(embedding, "embed", watch)
    for options in ([], ["--batch-size", "5"]):
        tool("evaluate").main([str(trained), *options])
    assert sizes == [8, 8, 5, 8]


def test_predict_writes_what_the_predictor_returns(trained, texts, tool, tmp_path, capsys):
    tool("predict").main([str(trained), str(texts), "--top", "4", "--out", str(tmp_path / "p.csv")])
    rows = rows_of((tmp_path / "p.csv").read_text())
    lines = texts.read_text().splitlines()
    scores, labels = pumlc.load(trained).predict(lines, top=4)
    assert [row["line"] for row in rows] == [str(line) for line in (1, 2, 3, 4) for _ in range(4)]
    assert [row["label"] for row in rows] == [name for names in labels for name in names]
    written = [float(row["score"]) for row in rows]
    assert written == pytest.approx(scores.ravel().tolist(), abs=1e-5)
    capsys.readouterr()
    tool("predict").main([str(trained), str(texts), str(texts)])
    assert len(rows_of(capsys.readouterr().out)) == 2 * 4 * 10


def test_records_are_predicted_by_their_texts(trained, texts, tool, tmp_path, capsys):
    lines = texts.read_text().splitlines()
    records = [{"text": line, "labels": ["x"]} for line in lines]
    del records[0]["labels"]  # nobody knows them yet
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    with (tmp_path / "test.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["labels", "text"], *(["x|y", line] for line in lines)])
    tool("predict").main([str(trained), str(texts)])
    expected = capsys.readouterr().out
    for name in ("test.jsonl", "test.csv"):
        tool("predict").main([str(trained), str(tmp_path / name)])
        assert capsys.readouterr().out == expected


def test_predict_among_new_labels_changes_no_weight(trained, texts, tool, tmp_path, capsys):
    new = tmp_path / "new_labels.txt"
    new.write_text("orange boat\nred car\n")
    before = (trained / "weights" / "last.safetensors").read_bytes()
    tool("predict").main([str(trained), str(texts), "--labels", str(new)])
    rows = rows_of(capsys.readouterr().out)
    assert {row["label"] for row in rows} == {"orange boat", "red car"}
    assert len(rows) == 4 * 2
    assert rows[0]["label"] == "red car"
    assert (trained / "weights" / "last.safetensors").read_bytes() == before


def test_predict_says_what_is_wrong(trained, texts, tool, tmp_path):
    predict = tool("predict").main
    out = tmp_path / "p.csv"
    blank = tmp_path / "blank.txt"
    blank.write_text("red car\n\n")
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    for arguments, message in (
        ([str(tmp_path / "none.txt")], r"none\.txt: no such file"),
        ([str(texts), "--labels", str(blank)], r"blank\.txt, line 2: empty label"),
        ([str(texts), "--labels", str(empty)], r"empty\.txt: no label in this file"),
        ([str(texts), "--top", "0"], "--top must be at least 1, got 0"),
        ([str(texts), "--weights", "worst"], "no weights 'worst'; saved: last"),
    ):
        with pytest.raises(ValueError, match=message):
            predict([str(trained), *arguments, "--out", str(out)])
        assert list(tmp_path.glob("p.csv*")) == []


def test_an_audit_of_documents(trained, tool, tmp_path, capsys):
    out = tmp_path / "audit"
    tool("audit").main([str(trained), "--top", "6", "--out", str(out)])
    assert str(out / "review.html") in capsys.readouterr().out
    rows = rows_of((out / "suspects.csv").read_text())
    assert [(row["given"], int(row["rank"])) for row in rows] == [
        (given, rank) for given in ("unknown", "present") for rank in range(1, 7)
    ]
    predictor = pumlc.load(trained)
    documents = load_corpus(predictor.config.data, seed=predictor.config.train.seed).source
    truth = documents.positives.toarray()
    scores = {}
    every = len(documents.label_texts)
    for row, (values, names) in enumerate(
        zip(*predictor.predict(documents.texts, top=every), strict=True)
    ):
        for value, name in zip(values, names, strict=True):
            scores[row, documents.label_texts.index(name)] = float(value)
    given = [-score for pair, score in scores.items() if truth[pair]]
    lacking = [score for pair, score in scores.items() if not truth[pair]]
    for state, values in (("present", given), ("unknown", lacking)):
        own = [row for row in rows if row["given"] == state]
        for row in own:
            pair = int(row["image"]) - 1, documents.label_texts.index(row["class"])
            assert truth[pair] == (state == "present")
            score = scores[pair] if state == "unknown" else -scores[pair]
            assert float(row["suspicion"]) == pytest.approx(score, abs=1e-4)
        assert float(own[0]["suspicion"]) == pytest.approx(max(values), abs=1e-4)
    assert documents.texts[int(rows[0]["image"]) - 1] in (out / "review.html").read_text()
    for option in ("--data.csv", "--workers"):
        with pytest.raises(ValueError, match=f"{option} is for image runs"):
            tool("audit").main([str(trained), option, "3"])
    texts = tmp_path / "texts.txt"
    texts.write_text("red car\n")
    with pytest.raises(ValueError, match="--batch-size is for image runs"):
        tool("predict").main([str(trained), str(texts), "--batch-size", "3"])


def test_an_audit_by_fits_that_leave_each_document_out(trained, tool, tmp_path, capsys):
    """Of a run that was trained: least squares on the encoder that it started from."""
    out = tmp_path / "audit"
    tool("audit").main([str(trained), "--folds", "5", "--top", "6", "--out", str(out)])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["weights"] == "leave-one-out"
    rows = rows_of((out / "suspects.csv").read_text())
    assert [row["given"] for row in rows] == ["unknown"] * 6 + ["present"] * 6
    with pytest.raises(ValueError, match="split must be train with folds, got 'test'"):
        tool("audit").main([str(trained), "--folds", "5", "--split", "test"])


def test_long_work_says_how_far_it_is(trained, texts, tool, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pumlc.progress.SILENT", 0.0)
    monkeypatch.setattr("pumlc.progress.INTERVAL", 0.0)
    monkeypatch.setattr("pumlc.text.retrieval.search.LABEL_BLOCK", 10)  # of 27 labels
    tool("evaluate").main([str(trained)])
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("documents: 40/40, ")]
    assert [line for line in lines if line.startswith("labels: ")]
    assert [line for line in lines if line.startswith("search: 3/3, ")]
    for command in (["predict", str(texts), "--top", "2"], ["audit", "--split", "test"]):
        tool(command[0]).main([str(trained), *command[1:]])
        said = capsys.readouterr().err
        assert "labels: " in said
        assert "search: 3/3, " in said
    tool("export").main([str(trained), "--out", str(tmp_path / "model.onnx")])
    assert "labels: " in capsys.readouterr().err
