"""The approximate index against the exact search."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("faiss")

import pumlc
from pumlc.errors import UserError
from pumlc.text.retrieval.approximate import RECALL, ApproximateIndex, found_share
from pumlc.text.retrieval.search import search


@pytest.fixture(scope="module")
def vectors():
    """4,000 labels around 50 centres, of several lengths, and 100 queries around the same."""
    random = np.random.RandomState(0)
    centres = random.randn(50, 16)
    labels = centres[random.randint(0, 50, 4000)] + 0.5 * random.randn(4000, 16)
    labels *= random.uniform(0.5, 1.5, (4000, 1))
    queries = centres[random.randint(0, 50, 100)] + 0.5 * random.randn(100, 16)
    return labels.astype(np.float32), queries.astype(np.float32)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")


def exact(queries, labels, k):
    return search(torch.from_numpy(queries), torch.from_numpy(labels), k)


def test_it_finds_nearly_all_and_looks_at_few_cells(vectors):
    labels, queries = vectors
    index = ApproximateIndex.build(labels, queries)
    assert index.recall >= RECALL
    assert index.probes < index.index.nlist  # it would be exact
    ids, scores = index.search(queries, 10)
    best, _ = exact(queries, labels, 10)
    assert found_share(ids, best) == index.recall
    products = np.take_along_axis(queries @ labels.T, ids, axis=1)
    np.testing.assert_allclose(scores, products, atol=0.02)  # labels are rounded to two bytes
    assert (np.diff(scores, axis=1) <= 0).all()


def test_labels_that_a_byte_cannot_tell_apart_are_found_in_few_cells(vectors):
    random = np.random.RandomState(1)
    centres = random.randn(20, 16)
    labels = centres[random.randint(0, 20, 4000)] + 0.05 * random.randn(4000, 16)
    queries = centres[random.randint(0, 20, 100)] + 0.05 * random.randn(100, 16)
    labels, queries = labels.astype(np.float32), queries.astype(np.float32)
    labels[:20] *= 40  # one byte has to reach so far, in each dimension
    index = ApproximateIndex.build(labels, queries)
    assert index.recall >= RECALL
    assert index.probes < index.index.nlist
    best, _ = exact(queries, labels, 10)
    index.index.nprobe = index.index.nlist
    assert found_share(index.index.search(queries, 10)[1], best) < RECALL  # bytes alone, all cells


def test_numbers_too_large_for_two_bytes_are_kept(vectors):
    labels, queries = (1e5 * each for each in vectors)
    index = ApproximateIndex.build(labels, queries)
    assert index.vectors.dtype == np.float32
    assert index.recall >= RECALL


@pytest.mark.parametrize("count", [1, 3, 100])
def test_few_labels_are_all_found(vectors, count):
    labels, queries = vectors[0][:count], vectors[1]
    index = ApproximateIndex.build(labels, queries)
    ids, scores = index.search(queries, 5)
    assert (np.sort(ids[:, : min(5, count)], axis=1) >= 0).all()
    assert (ids[:, count:] == -1).all()
    assert np.isneginf(scores[:, count:]).all()
    with pytest.raises(UserError, match="at least one label"):
        ApproximateIndex.build(labels[:0], queries)


def test_what_is_saved_is_what_was_built(vectors, tmp_path, monkeypatch):
    labels, queries = vectors
    built = ApproximateIndex.build(labels, queries)
    built.save(tmp_path / "index", "a key")
    assert (tmp_path / "index" / "labels.faiss").stat().st_size < 2 * labels.size  # one byte each
    opened = ApproximateIndex.open(tmp_path / "index", "a key")
    assert opened is not None
    for first, second in zip(built.search(queries, 7), opened.search(queries, 7), strict=True):
        np.testing.assert_array_equal(first, second)
    assert opened.recall == built.recall
    assert (opened.probes, opened.candidates) == (built.probes, built.candidates)
    assert ApproximateIndex.open(tmp_path / "index", "another") is None
    assert ApproximateIndex.open(tmp_path / "nowhere", "a key") is None
    vectors_file = tmp_path / "index" / "labels.npy"
    content = vectors_file.read_bytes()
    for broken in (content[:100], content[:-50], b"", b"no array"):
        vectors_file.write_bytes(broken)
        with pytest.raises(
            UserError, match=r"labels\.npy: damaged; delete .*index to build it again"
        ):
            ApproximateIndex.open(tmp_path / "index", "a key")
    vectors_file.unlink()  # as an earlier version left it
    assert ApproximateIndex.open(tmp_path / "index", "a key") is None
    vectors_file.write_bytes(content)
    foreign = tmp_path / "foreign"  # the other file is mapped into memory
    shutil.copytree(tmp_path / "index", foreign)
    with (foreign / "labels.faiss").open("ab") as file:
        file.write(b"more")
    monkeypatch.setattr("faiss.read_index", None)  # it is not even read
    assert ApproximateIndex.open(foreign, "a key") is None


def test_predict_builds_it_once(make, accelerator, tmp_path, tool, capsys, monkeypatch):
    from pumlc.engine.config import plain
    from pumlc.engine.loop import Trainer
    from pumlc.engine.run import RunFolder

    task = make()
    run = RunFolder(tmp_path / "run")
    run.start(plain(task.config), task.facts(), 1)
    task.write_files(run.path)
    Trainer(task, task.config.train, run, accelerator).train()
    texts = tmp_path / "texts.txt"
    texts.write_text("red car\nblue bird\n")
    outputs = []
    for name, options in (
        ("exact", []),
        ("first", ["--index", "ivf"]),
        ("second", ["--index=ivf"]),
    ):
        out = tmp_path / f"{name}.csv"
        tool("predict").main([str(run.path), str(texts), "--top", "3", "--out", str(out), *options])
        outputs.append([row["label"] for row in csv.DictReader(out.open())])
        said = capsys.readouterr().err
        assert ("of the 10 best labels of the exact search" in said) == bool(options)
        if name == "first":
            monkeypatch.setattr(ApproximateIndex, "build", None)  # the second takes the saved one
    assert outputs[1] == outputs[2]
    assert len(set(outputs[0]) & set(outputs[1])) >= 4
    predictor = pumlc.load(run.path)
    predictor.use_labels(["red car", "blue bird"])
    with pytest.raises(TypeError):  # other labels: it would be built again
        predictor.predict(["red car"], approximate=True)
