"""Runs whose labels are too many for a matrix: the same as with one, without ever making it."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from scipy.sparse import csr_array
from torch import Tensor

from pumlc.engine.config import TrainConfig
from pumlc.engine.run import RunFolder
from pumlc.engine.training import train_run
from pumlc.errors import UserError
from pumlc.labels import SparseLabels, SparseManifest, dense, sparse
from pumlc.vision.audit.parts import training_parts
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.data.bad_pictures import BadRow
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.label_matrix import label_matrix
from pumlc.vision.data.label_table import LabelTable
from pumlc.vision.data.noise import NoiseConfig
from pumlc.vision.data.observation import Observation
from pumlc.vision.data.observe import observe_sparse
from pumlc.vision.data.partition import hold_out
from pumlc.vision.data.seen import fingerprint
from pumlc.vision.data.split import read_split, training_data
from pumlc.vision.models.class_vectors import label_graph
from pumlc.vision.task import VisionTask


@pytest.fixture
def sparsely(monkeypatch):
    monkeypatch.setattr(sparse, "DENSE_LIMIT", 0)


def settings(root: Path, **data: object) -> VisionConfig:
    """The labels of a COCO file are complete: what is not annotated is absent."""
    return VisionConfig(
        data=DataConfig(
            labels=str(root / "annotations" / "instances_train.json"),
            root=str(root / "train"),
            image_size=32,
            validation=0.25,
            **{"known": 0.6, **data},
        ),
        model=ModelConfig(backbone="test_efficientnet"),
        loss=LossConfig(name="pu", parameters={"gamma": 0.85, "alpha": 2.0}, mixup_weight=1.0),
        train=TrainConfig(epochs=1, batch_size=18, learning_rate=1e-3, ema_decay=0.9, workers=0),
    )


def weights_of(config: VisionConfig, folder: Path) -> dict[str, dict[str, Tensor]]:
    run = RunFolder(folder)
    train_run(config, VisionTask, run)
    return {file.name: load_file(file) for file in run.weights.glob("*.safetensors")}


def test_a_sparse_run_ends_in_the_weights_of_a_dense_one(squares_coco, tmp_path, monkeypatch):
    config = settings(squares_coco)
    expected = weights_of(config, tmp_path / "dense")
    monkeypatch.setattr(sparse, "DENSE_LIMIT", 0)
    with monkeypatch.context() as patch:
        patch.setattr(LabelledImages, "labels", property(_of_a_small_part))
        found = weights_of(config, tmp_path / "sparse")
    assert expected.keys() == found.keys()
    for name, weights in expected.items():
        for key, value in weights.items():
            assert value.equal(found[name][key]), (name, key)
    seed = config.train.seed
    parts = training_parts(tmp_path / "sparse", config.data, seed)
    monkeypatch.setattr(sparse, "DENSE_LIMIT", 2**28)
    for part, other in zip(
        parts, training_parts(tmp_path / "dense", config.data, seed), strict=True
    ):
        assert part.true_labels is not None
        assert other.true_labels is not None
        np.testing.assert_array_equal(dense(part.true_labels), other.true_labels)


def _of_a_small_part(images: LabelledImages) -> np.ndarray:
    """A run makes a part dense that it scores, never its training part (of 72 pictures here)."""
    assert len(images) < 50, "the training part was made dense"
    return dense(images.matrix)


@pytest.mark.parametrize(
    "data",
    [
        {"known": 1.0},
        {"known": 0.3, "protocol": "csl-rps"},
        {"known": 1.0, "protocol": "single-positive"},
        {"known": 1.0, "protocol": "csl-fpc", "known_per_class": 3},
        {"known": 0.5, "false_negative": 0.2, "false_positive": {"0": 0.3}},
        {"known": 1.0, "noise": NoiseConfig(kind="uniform", rate=0.3)},
    ],
)
def test_what_training_sees_is_known_to_the_manifest(squares_coco, sparsely, data):
    names = training_data(settings(squares_coco).data, seed=0).train.classes
    if isinstance(data.get("false_positive"), dict):
        data = {**data, "false_positive": {names[0]: 0.3}}
    config = settings(squares_coco, **data).data
    seen = training_data(config, seed=0)
    complete = training_data(replace(config, **_nothing_hidden()), seed=0)
    assert isinstance(seen.train.matrix, SparseLabels)
    assert isinstance(seen.manifest, SparseManifest)
    truth, observed = dense(seen.manifest.truth), dense(seen.train.matrix)
    np.testing.assert_array_equal(truth, read_split(config, "train").labels)
    if "noise" in data or "false_negative" in data:
        assert (observed == -truth[seen.rows]).any()
    else:
        assert ((observed == 0) | (observed == truth[seen.rows])).all()
    assert seen.train.counts() == {
        name: int((observed == value).sum())
        for name, value in (("positive", 1), ("negative", -1), ("unknown", 0))
    }
    assert fingerprint(seen.train) == fingerprint(training_data(config, seed=0).train)
    assert (fingerprint(seen.train) == fingerprint(complete.train)) == (data == {"known": 1.0})


def _nothing_hidden() -> dict[str, object]:
    plain = Observation()
    names = ("known", "protocol", "known_per_class", "noise", "false_negative", "false_positive")
    return {name: getattr(plain, name) for name in names}


def test_noise_that_needs_a_matrix_says_so(squares_coco, sparsely):
    config = settings(squares_coco, noise=NoiseConfig(kind="mislabel", rate=0.1)).data
    with pytest.raises(UserError, match="too many for a matrix.*valid for so many: flip, uniform"):
        training_data(config, seed=0)


def test_a_silence_that_means_absent_is_not_written_out_beyond_measure(monkeypatch):
    labels = SparseLabels.of(
        csr_array((50_000, 50_000), dtype=np.int8), np.full(50_000, -1, np.int8)
    )
    with pytest.raises(UserError, match="2,500,000,000 .*data.values '{unlisted: unknown}'"):
        observe_sparse(labels, Observation(known=0.5), (), seed=0)
    assert observe_sparse(labels, Observation(), (), seed=0)[0] is labels


def test_a_row_that_a_run_has_skipped_is_put_back(squares_coco, sparsely):
    config = settings(squares_coco, known=1.0).data
    whole = training_data(config, seed=0)
    gone = BadRow("train", 3, "gone.jpg", (1,), (0,), "broken")
    with_it = training_data(config, seed=0, skipped=[gone])
    row = int(np.flatnonzero(with_it.rows == 3)[0]) if 3 in with_it.rows else None
    part = with_it.train if row is not None else with_it.validation
    assert part is not None
    found = {path: part.row_labels(place) for place, path in enumerate(part.paths)}
    assert found[b"gone.jpg"][:2].tolist() == [-1, 1]
    assert with_it.manifest.shape[0] == whole.manifest.shape[0] + 1


def test_the_label_graph_is_counted_from_sparse_labels():
    random = np.random.RandomState(0)
    labels = random.randint(-1, 2, (40, 5)).astype(np.int8)
    held = SparseLabels.of(csr_array(labels), np.zeros(40, np.int8))
    assert label_graph(held).equal(label_graph(labels))


def test_a_table_of_four_billion_labels_takes_what_is_listed():
    number, width, each = 200_000, 20_000, 5
    random = np.random.RandomState(0)
    columns = random.randint(0, width // each, (number, each)) + np.arange(each) * (width // each)
    codes = random.randint(1, 3, number * each).astype(np.uint8)
    ends = np.arange(number + 1, dtype=np.int64) * each
    listed = csr_array((codes, columns.ravel().astype(np.int32), ends), shape=(number, width))
    table = LabelTable(
        "made",
        "csv",
        ("a.jpg",) * number,
        tuple(map(str, range(width))),
        listed,
        np.full(number, 3, np.uint8),
    )
    tracemalloc.start()
    try:
        labels = label_matrix(table)
        assert isinstance(labels, SparseLabels)
        observed, manifest = observe_sparse(labels, Observation(known=0.1), (), seed=0)
        assert manifest.truth is labels
        names = np.zeros(number, "S1")
        images = LabelledImages("made", Path("."), names, observed, table.classes)
        held = hold_out(observed.stored[:20_000], 0.1, groups=None, seed=0, what="data.test")
        part = images.subset(held)
        assert part.row_labels(0).shape == (width,)
        assert abs(sum(images.counts().values()) - number * width) == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150e6, peak
