"""Runs whose labels are too many for a matrix: scored, measured and audited by known labels."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.sparse import csr_array

from pumlc.engine.config import TrainConfig
from pumlc.engine.processes import create_accelerator
from pumlc.engine.run import RunFolder
from pumlc.engine.training import train_run
from pumlc.labels import SparseLabels, dense, known_cells, sparse
from pumlc.labels.known_cells import measured_cells
from pumlc.vision.audit.duplicates import duplicate_rows
from pumlc.vision.audit.gallery import review_of
from pumlc.vision.audit.run import AuditResult, audit_run
from pumlc.vision.audit.suspects import suspect_rows
from pumlc.vision.config import DataConfig, FeaturesConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.evaluation import evaluate_run
from pumlc.vision.frozen.task import FrozenTask
from pumlc.vision.guarantee import Guarantee, guaranteed_thresholds
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.task import VisionTask


@pytest.fixture(scope="module")
def labels_file(squares_coco, tmp_path_factory) -> Path:
    """Six of ten labels of the colours, and of one class present ones alone."""
    random = np.random.RandomState(3)
    file = tmp_path_factory.mktemp("known") / "labels.csv"
    lines = ["split,image,labels,negatives,unknown"]
    for split, folder in (("train", "train"), ("test", "val")):
        content = json.loads(
            (squares_coco / "annotations" / f"instances_{folder}.json").read_text()
        )
        names = {each["id"]: each["name"] for each in content["categories"]}
        for image in content["images"]:
            there = {
                names[each["category_id"]]
                for each in content["annotations"]
                if each["image_id"] == image["id"]
            }
            states = {name: (1 if name in there else -1) for name in names.values()}
            states["lone"] = int("red" in there)
            states = {name: state * int(random.rand() < 0.6) for name, state in states.items()}
            cells = [
                "|".join(n for n, is_ in states.items() if is_ == state) for state in (1, -1, 0)
            ]
            lines.append(f"{split},{folder}/{image['file_name']},{','.join(cells)}")
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def decided_file(labels_file) -> Path:
    """The same with a class of few absent labels, as of people who decide on suspects."""
    random, file = np.random.RandomState(4), labels_file.with_name("decided.csv")
    header, *lines = labels_file.read_text().splitlines()
    rows = [header]
    for line in lines:
        split, image, present, absent, unknown = line.split(",")
        if "red" in present:
            present += "|checked"
        elif random.rand() < 0.15:
            absent += "|checked" if absent else "checked"
        rows.append(",".join([split, image, present, absent, unknown]))
    file.write_text("\n".join(rows) + "\n")
    return file


@pytest.fixture
def sparsely(monkeypatch):
    """Every label matrix is too large, and none is made dense."""
    monkeypatch.setattr(sparse, "DENSE_LIMIT", 0)
    monkeypatch.setattr(LabelledImages, "labels", property(_refused))


def _refused(images: LabelledImages) -> np.ndarray:
    raise AssertionError(f"{len(images)} rows of labels were made dense")


def settings(labels_file: Path, root: Path, **changes: Any) -> VisionConfig:
    return VisionConfig(
        data=DataConfig(labels=str(labels_file), root=str(root), image_size=32, validation=0.25),
        model=ModelConfig(backbone="test_efficientnet"),
        loss=LossConfig(name="bce", parameters={"unknown": "ignore"}),
        train=TrainConfig(epochs=1, batch_size=18, learning_rate=1e-3, workers=0),
        **changes,
    )


def assert_alike(found: Any, expected: Any, place: str = "", *, rel: float = 2e-3) -> None:
    """Equal, up to rounding and to the scale at which curves of all classes are fitted."""
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert found.keys() == expected.keys(), place
        for key, value in expected.items():
            assert_alike(found[key], value, f"{place}/{key}", rel=rel)
    elif isinstance(expected, float) and not math.isnan(expected):
        assert found == pytest.approx(expected, rel=rel, abs=rel / 2), place
    elif isinstance(expected, list):
        assert isinstance(found, list)
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_alike(one, other, f"{place}/{number}", rel=rel)
    else:
        assert found == expected, place


def test_a_sparse_run_is_measured_and_audited_as_a_dense_one(
    labels_file, squares_coco, tmp_path, request, monkeypatch
):
    config = settings(labels_file, squares_coco)
    train_run(config, VisionTask, RunFolder(tmp_path / "run"))
    expected = {split: _evaluated(tmp_path / "run", split) for split in ("test", "validation")}
    stored = RunFolder(tmp_path / "run").index()
    request.getfixturevalue("sparsely")
    train_run(config, VisionTask, RunFolder(tmp_path / "sparse"))
    found = RunFolder(tmp_path / "sparse").index()
    assert {name: entry["score"] for name, entry in found.items()} == {
        name: entry["score"] for name, entry in stored.items()
    }
    # the rest by the calibration and thresholds of one run: curves of few labels are loosely fitted
    shutil.copy(tmp_path / "run/weights/index.json", tmp_path / "sparse/weights/index.json")
    for split, result in expected.items():
        found = _evaluated(tmp_path / "sparse", split)
        assert_alike(found, result, rel=1e-9)
        assert found["weights"]["best"]["mAP"] == result["weights"]["best"]["mAP"]
    assert expected["test"]["unknown_labels"] > 20
    assert expected["validation"]["classes_unknown_as_negative"] == 1
    audits = _audits(tmp_path, monkeypatch, top=5)
    for one, other in zip(audits["sparse"].parts, audits["run"].parts, strict=True):
        assert suspect_rows(one) == suspect_rows(other)
        assert len(suspect_rows(one)) == 15
    assert audits["sparse"].figures == audits["run"].figures
    review = review_of(audits["sparse"].parts, title="", command="")
    assert review.typical
    for column, places in review.typical.items():
        assert all(column in review.items[place].present for place in places)


def test_an_audit_by_folds_ranks_as_that_of_a_matrix(
    labels_file, squares_coco, tmp_path, request, monkeypatch
):
    """The heads of the sparse audit are linear: orders differ a little, kinds and numbers not."""
    monkeypatch.setattr("pumlc.vision.audit.run.RANDOM", "")
    config = settings(labels_file, squares_coco)
    train_run(config, VisionTask, RunFolder(tmp_path / "run"))
    request.getfixturevalue("sparsely")
    train_run(config, VisionTask, RunFolder(tmp_path / "sparse"))
    audits = _audits(tmp_path, monkeypatch, top=20, folds=5)
    for one, other in zip(audits["sparse"].parts, audits["run"].parts, strict=True):
        for given, suspects in one.suspects.items():
            pairs = set(zip(suspects.rows.tolist(), suspects.columns.tolist(), strict=True))
            expected = other.suspects[given]
            wanted = set(zip(expected.rows.tolist(), expected.columns.tolist(), strict=True))
            assert len(pairs & wanted) > len(wanted) / 2
    assert duplicate_rows(audits["sparse"].parts) == duplicate_rows(audits["run"].parts)


def _evaluated(run: Path, split: str) -> dict[str, Any]:
    result = evaluate_run(run, create_accelerator(), split=split, oracle=True)
    return {name: value for name, value in result.items() if name != "run"}


def test_what_is_measured_of_positives_alone():
    labels = np.array([[1, 1, 0], [0, -1, 0], [1, 0, -1], [0, 1, 1]], np.int8)
    held = SparseLabels.of(csr_array(labels), np.zeros(4, np.int8))
    cells = measured_cells(held)
    assert cells.alone.tolist() == [True, False, False]
    assert dense(cells.labels.toarray()).tolist() == [
        [1, 1, 0],
        [-1, -1, 0],
        [1, 0, -1],
        [-1, 1, 1],
    ]


def test_of_very_many_positives_alone_some_pictures_are_measured(monkeypatch):
    monkeypatch.setattr(known_cells, "SAMPLED_CELLS", 20)
    labels = csr_array((np.ones(30, np.int8), (np.arange(30), np.zeros(30, int))), shape=(90, 2))
    labels = csr_array(labels + csr_array(([-1, 1], ([3, 4], [1, 1])), shape=(90, 2)))
    cells = measured_cells(
        SparseLabels.of(csr_array(labels.astype(np.int8)), np.zeros(90, np.int8))
    )
    column = cells.labels.toarray()[:, 0]
    assert len(cells.sampled) == 20
    assert (column[cells.sampled] == np.where(cells.sampled < 30, 1, -1)).all()
    assert np.count_nonzero(column) == 20
    assert cells.labels.toarray()[[3, 4], 1].tolist() == [-1, 1]
    part = cells.subset(np.arange(1, 90, 2))
    assert (np.arange(1, 90, 2)[part.sampled] == cells.sampled[cells.sampled % 2 == 1]).all()


def _audits(folder: Path, monkeypatch, **options: Any) -> dict[str, AuditResult]:
    """The audit of the run with a matrix, and that of the sparse one."""
    audits = {}
    for name in ("run", "sparse"):
        with monkeypatch.context() as patch:
            if name == "run":
                patch.setattr(LabelledImages, "labels", property(lambda i: dense(i.matrix)))
                patch.setattr(sparse, "DENSE_LIMIT", 2**28)
            audits[name] = audit_run(folder / name, create_accelerator(), **options)
    return audits


def test_heads_on_features_are_those_of_a_matrix(
    labels_file, squares_coco, tmp_path, request, monkeypatch
):
    model = ModelConfig(backbone="test_resnet", weights=None)
    features = FeaturesConfig(cache=str(tmp_path / "cache"))
    config = replace(
        settings(labels_file, squares_coco),
        model=model,
        heads="auto",
        features=features,
        loss=LossConfig(name="auto"),
    )
    train_run(config, FrozenTask, RunFolder(tmp_path / "run"))
    expected = {split: _evaluated(tmp_path / "run", split) for split in ("test", "validation")}
    promised = _promised(tmp_path / "run", recall=0.8)
    request.getfixturevalue("sparsely")
    train_run(config, FrozenTask, RunFolder(tmp_path / "sparse"))
    found = RunFolder(tmp_path / "sparse").index()["last"]
    stored = RunFolder(tmp_path / "run").index()["last"]
    assert_alike(found["extras"], stored["extras"])
    assert_alike(found["heads"]["penalty"], stored["heads"]["penalty"])
    for split, result in expected.items():
        assert_alike(_evaluated(tmp_path / "sparse", split), result)
    found = _promised(tmp_path / "sparse", recall=0.8)
    assert np.isfinite(promised.thresholds).all()
    np.testing.assert_allclose(found.thresholds, promised.thresholds, rtol=2e-2)
    np.testing.assert_array_equal(found.known, promised.known)
    audits = _audits(tmp_path, monkeypatch, top=7)
    assert min(len(each.suspects["unknown"].rows) for each in audits["run"].parts) == 7
    for one, other in zip(audits["sparse"].parts, audits["run"].parts, strict=True):
        for given, suspects in other.suspects.items():
            found = one.suspects[given]
            assert len(suspects.rows) == 7
            np.testing.assert_allclose(found.probabilities, suspects.probabilities, atol=1e-3)
            clear = suspects.probabilities < 1 - 1e-9  # those of 1 are ties
            np.testing.assert_array_equal(found.rows[clear], suspects.rows[clear])
            np.testing.assert_array_equal(found.columns[clear], suspects.columns[clear])
    assert_alike(audits["sparse"].figures, audits["run"].figures)


def test_few_absences_that_people_chose_count_as_in_a_matrix(
    decided_file, squares_coco, tmp_path, request, monkeypatch
):
    """By the network's validation, the heads, their promises and the audit."""
    config = settings(decided_file, squares_coco)
    features = FeaturesConfig(cache=str(tmp_path / "cache"))
    frozen = replace(
        config,
        model=ModelConfig(backbone="test_resnet", weights=None),
        heads="auto",
        features=features,
        loss=LossConfig(name="auto"),
    )
    promises = []
    for name in ("run", "sparse"):
        if name == "sparse":
            request.getfixturevalue("sparsely")
        train_run(config, VisionTask, RunFolder(tmp_path / f"network-{name}"))
        train_run(frozen, FrozenTask, RunFolder(tmp_path / name))
        promises.append(_promised(tmp_path / name, recall=0.6))
    scores = [
        RunFolder(tmp_path / f"network-{name}").index()["last"]["score"]
        for name in ("run", "sparse")
    ]
    assert scores[0] == scores[1]
    entries = [RunFolder(tmp_path / name).index()["last"] for name in ("run", "sparse")]
    assert "1 in a few pictures only" in entries[0]["heads"]["why"]
    # a matrix also says whether a kernel would pay
    assert entries[0]["heads"]["why"].startswith(entries[1]["heads"]["why"])
    assert_alike(entries[1]["heads"]["penalty"], entries[0]["heads"]["penalty"])
    files = [tmp_path / name / "weights/last.safetensors" for name in ("run", "sparse")]
    heads = [load_file(file)["head.weight"] for file in files]
    directions = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in heads]
    np.testing.assert_allclose(directions[1], directions[0], atol=1e-4)
    np.testing.assert_array_equal(promises[1].known, promises[0].known)
    audits = _audits(tmp_path, monkeypatch, top=1000)
    for one, other in zip(audits["sparse"].parts, audits["run"].parts, strict=True):
        for given in ("negative", "positive"):
            cells = [
                sorted(zip(s.rows.tolist(), s.columns.tolist(), strict=True))
                for s in (one.suspects[given], other.suspects[given])
            ]
            assert cells[0] == cells[1]


def _promised(run: Path, **asked: Any) -> Guarantee:
    predictor = VisionPredictor(run, "last")
    return guaranteed_thresholds(predictor, create_accelerator(), confidence=0.6, **asked)


@pytest.mark.parametrize("promise", ["recall", "precision"])
def test_promises_are_those_of_a_matrix(labels_file, squares_coco, tmp_path, request, promise):
    config = settings(labels_file, squares_coco)
    asked = {promise: 0.5}
    train_run(config, VisionTask, RunFolder(tmp_path / "run"))
    expected = _promised(tmp_path / "run", **asked)
    request.getfixturevalue("sparsely")
    train_run(config, VisionTask, RunFolder(tmp_path / "sparse"))
    shutil.copy(tmp_path / "run/weights/index.json", tmp_path / "sparse/weights/index.json")
    found = _promised(tmp_path / "sparse", **asked)
    assert np.isfinite(expected.thresholds).any()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_hidden_labels_are_found_as_in_a_matrix(squares_coco, tmp_path, request, monkeypatch):
    """Complete labels lose the same ones either way, and the manifest knows them."""
    config = settings(squares_coco / "annotations" / "instances_train.json", squares_coco / "train")
    config = replace(config, data=replace(config.data, known=0.6, false_negative=0.2))
    train_run(config, VisionTask, RunFolder(tmp_path / "run"))
    request.getfixturevalue("sparsely")
    train_run(config, VisionTask, RunFolder(tmp_path / "sparse"))
    shutil.copy(tmp_path / "run/weights/index.json", tmp_path / "sparse/weights/index.json")
    audits = _audits(tmp_path, monkeypatch, top=9)
    figures: Any = audits["run"].figures
    assert figures["train"]["unknown"]["wrong"] > 20
    assert figures["train"]["negative"]["wrong"] > 3
    assert_alike(audits["sparse"].figures, figures, rel=1e-9)
    for one, other in zip(audits["sparse"].parts, audits["run"].parts, strict=True):
        assert suspect_rows(one) == suspect_rows(other)
