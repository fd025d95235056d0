"""Every label protocol of the config is the library function it names."""

import dataclasses
import json

import numpy as np
import pytest

from pumlc.labels import (
    NEGATIVE,
    POSITIVE,
    UNKNOWN,
    LabelManifest,
    drop_proportion,
    keep_fixed_per_class,
    keep_proportion,
    keep_proportion_torch,
    keep_single_positive,
)
from pumlc.vision.config import DataConfig
from pumlc.vision.data.observe import observe
from pumlc.vision.data.readers.voc import VOC_CLASSES
from pumlc.vision.data.split import training_data

LABELS = np.random.RandomState(0).choice([1, -1], size=(40, 6)).astype(np.int8)
PROTOCOLS = {
    "proportion": lambda: keep_proportion(LABELS, 0.4, seed=3),
    "dualcoop": lambda: keep_proportion_torch(LABELS, 0.4, seed=3),
    "csl-rps": lambda: drop_proportion(LABELS, 0.6, seed=3),
    "csl-fpc": lambda: keep_fixed_per_class(LABELS, 2, seed=3),
    "single-positive": lambda: keep_single_positive(LABELS, seed=3),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_by_config(protocol):
    count = 2 if protocol == "csl-fpc" else None
    config = DataConfig(
        name="voc2007",
        root="unused",
        known=1.0 if protocol in ("csl-fpc", "single-positive") else 0.4,
        protocol=protocol,
        known_per_class=count,
        label_seed=3,
    )
    before = LABELS.copy()
    labels, manifest = observe(LABELS, config, seed=config.label_seed)
    np.testing.assert_array_equal(LABELS, before)
    np.testing.assert_array_equal(labels, PROTOCOLS[protocol]())
    assert (labels == UNKNOWN).any()
    assert manifest.protocol == protocol
    assert manifest.parameters.get("known_per_class") == count


@pytest.mark.parametrize(
    ("protocol", "count"), [("csl-fpc", None), ("csl-fpc", 0), ("proportion", 5)]
)
def test_a_count_goes_with_its_protocol(protocol, count):
    with pytest.raises(ValueError, match="known_per_class"):
        DataConfig(name="voc2007", root="x", protocol=protocol, known_per_class=count)


@pytest.mark.parametrize("protocol", ["proportion", "dualcoop", "csl-rps", "csl-fpc"])
def test_noise_has_its_rate_among_the_known_labels(protocol):
    """Drawn alike, the mask of a seed would keep just what its noise flipped."""
    labels = np.random.RandomState(0).choice([1, -1], size=(20_000, 5)).astype(np.int8)
    fixed = protocol == "csl-fpc"
    config = DataConfig(
        name="voc2007",
        root="unused",
        protocol=protocol,
        known=1.0 if fixed else 0.1,
        known_per_class=1000 if fixed else None,
        false_negative=0.05,
        false_positive=0.05,
    )
    seen, _ = observe(labels, config, seed=config.label_seed)
    known = seen != UNKNOWN
    # 10,000 known labels: five standard deviations
    assert (seen[known] != labels[known]).mean() == pytest.approx(0.05, abs=0.011)


def test_noise_by_class():
    config = DataConfig(
        name="voc2007", root="unused", false_negative={"c": 1.0}, false_positive={"a": 1.0}
    )
    labels, manifest = observe(LABELS, config, tuple("abcdef"), seed=config.label_seed)
    expected = LABELS.copy()
    expected[expected[:, 2] == POSITIVE, 2] = NEGATIVE
    expected[expected[:, 0] == NEGATIVE, 0] = POSITIVE
    np.testing.assert_array_equal(labels, expected)
    assert manifest.parameters["false_negative"] == {"c": 1.0}
    with pytest.raises(ValueError, match="data.false_negative: no class 'c'; did you mean 'cat'"):
        observe(LABELS, config, ("cat", "dog"), seed=config.label_seed)
    with pytest.raises(ValueError, match=r"data.false_positive .*in \[0, 1\]"):
        dataclasses.replace(config, false_positive={"a": 1.5})


@pytest.mark.parametrize(("protocol", "count"), [("csl-fpc", 3), ("single-positive", None)])
def test_a_proportion_that_the_protocol_would_ignore(protocol, count):
    with pytest.raises(ValueError, match=f"data.known .*1 with data.protocol {protocol}"):
        DataConfig(name="voc2007", root="x", known=0.5, protocol=protocol, known_per_class=count)


def test_what_the_validation_rows_of_a_csv_file_lost_is_recorded(tmp_path):
    lines = ["split,image,labels,negatives"]
    for index in range(60):
        (tmp_path / f"{index}.jpg").touch()
        lines.append(f"{'val' if index % 3 == 0 else 'train'},{index}.jpg,a,b")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    config = DataConfig(name="csv", csv=str(tmp_path / "labels.csv"), root=str(tmp_path), known=0.5)
    data = training_data(config, seed=0)
    assert data.validation is not None
    assert isinstance(data.validation_manifest, LabelManifest)
    assert (data.validation.labels == UNKNOWN).any()
    truth = data.validation_manifest.restore(data.validation.labels)
    np.testing.assert_array_equal(truth, [[POSITIVE, NEGATIVE]] * 20)


CLASSES = ("cat", "dog", "bird")


def coco_of(root, pictures):
    """COCO files of pictures (name -> positive classes) below ``root``, and the settings of them.

    Nothing is decoded: the pictures are empty files.
    """
    images, annotations = [], []
    for number, (name, present) in enumerate(pictures.items()):
        (root / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "train" / name).touch()
        images.append({"id": number, "file_name": name})
        annotations += [{"image_id": number, "category_id": CLASSES.index(c)} for c in present]
    content = {
        "images": images,
        "annotations": [{"id": n, **a} for n, a in enumerate(annotations)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES)],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))

    def settings(lines, **more):
        (root / "list.txt").write_text(lines)
        file = str(root / "list.txt")
        config = DataConfig(
            name="coco", root=str(root), protocol="positive-list", positive_list=file
        )
        return dataclasses.replace(config, **more)

    return settings


FIVE = {
    "1.jpg": ["cat", "dog"],
    "2.jpg": ["bird"],
    "a/3.jpg": ["cat"],
    "b/3.jpg": ["dog", "bird"],
    "5.jpg": [],
}


def test_a_positive_list_defines_labels_and_pictures(tmp_path):
    """By path, by file name, a left-out picture, one without positives, a false positive."""
    settings = coco_of(tmp_path, FIVE)
    config = settings("train/b/3.jpg,2 1\n5.jpg,\n./train/a/3.jpg,1\n1.jpg,1\n")
    data = training_data(config, seed=0)
    assert data.train.paths.tolist() == [b"1.jpg", b"a/3.jpg", b"b/3.jpg", b"5.jpg"]
    np.testing.assert_array_equal(data.train.labels, [[0, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0]])
    assert data.train.labels.dtype == np.int8
    assert data.rows.tolist() == [0, 2, 3, 4]
    assert data.validation is None
    manifest = data.manifest
    assert isinstance(manifest, LabelManifest)
    assert (manifest.protocol, manifest.parameters) == (
        "positive-list",
        {"positive_list": str(tmp_path / "list.txt")},
    )
    observed = np.full((5, 3), UNKNOWN, np.int8)
    observed[data.rows] = data.train.labels
    truth = manifest.restore(observed)
    np.testing.assert_array_equal(
        truth, [[1, 1, -1], [-1, -1, 1], [1, -1, -1], [-1, 1, 1], [-1, -1, -1]]
    )
    wrong = (observed == POSITIVE) & (truth == NEGATIVE)
    assert np.argwhere(wrong).tolist() == [[2, 1]]
    assert manifest.changed()[wrong].all()
    kept = [[0, 1], [3, 1], [3, 2]]
    assert np.argwhere(~manifest.changed()).tolist() == kept


def test_the_held_out_part_is_one_of_the_listed_pictures(tmp_path):
    settings = coco_of(tmp_path, {f"{n}.jpg": ["cat", "dog"] for n in range(40)})
    listed = list(range(39, 0, -2))
    config = settings("".join(f"{n}.jpg,{n // 2 % 2}\n" for n in listed), validation=0.25)
    data = training_data(config, seed=1)
    assert data.validation is not None
    assert data.validation_rows is not None
    assert (len(data.train), len(data.validation)) == (15, 5)
    assert sorted([*data.rows, *data.validation_rows]) == sorted(listed)
    for rows, part in ((data.rows, data.train), (data.validation_rows, data.validation)):
        assert part.paths.tolist() == [f"{n}.jpg".encode() for n in rows]
        expected = [[1, 0, 0] if n // 2 % 2 == 0 else [0, 1, 0] for n in rows]
        np.testing.assert_array_equal(part.labels, expected)
    with pytest.raises(
        ValueError, match="data.validation 0.01 of 20 pictures leaves the held-out part"
    ):
        training_data(dataclasses.replace(config, validation=0.01), seed=1)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1.jpg,0\n3.jpg,1\n", "list.txt, line 2: several .*'3.jpg'.*train/a/3.jpg.*train/b/3.jpg"),
        (
            "9.jpg,0\n1.jpg,0\n8.jpg,1\n",
            "list.txt: 2 of its names are not pictures of the training split of .*instances_train"
            ".json, the first is '9.jpg' in line 1; valid: names like 'train/1.jpg' or '1.jpg'",
        ),
        ("a/3.jpg,0\n", "list.txt: 1 of its names"),
        ("1.jpg,0\ntrain/1.jpg,1\n", "line 2: picture 'train/1.jpg' is listed already, in line 1"),
        ("1.jpg,3\n", r"line 1: '3' is no class index in \[0, 3\)"),
    ],
)
def test_positive_lists_that_do_not_fit_the_pictures(tmp_path, lines, message):
    settings = coco_of(tmp_path, FIVE)
    with pytest.raises(ValueError, match=message):
        training_data(settings(lines), seed=0)


def test_a_positive_list_that_is_missing(tmp_path):
    config = coco_of(tmp_path, FIVE)("1.jpg,0\n", positive_list=str(tmp_path / "other.txt"))
    with pytest.raises(ValueError, match="data.positive_list must name .*other.txt does not exist"):
        training_data(config, seed=0)


def test_a_list_that_names_pictures_without_an_annotation(tmp_path):
    settings = coco_of(tmp_path, FIVE)
    message = (
        "list.txt: 1 of its pictures have no annotation, the first is '5.jpg', and "
        "data.unannotated drop has left .*; valid: data.unannotated keep, or a list without them$"
    )
    with pytest.raises(ValueError, match=message):
        training_data(settings("1.jpg,0\n5.jpg,\n", unannotated="drop"), seed=0)
    data = training_data(settings("1.jpg,0\n2.jpg,2\n", unannotated="drop"), seed=0)
    assert data.rows.tolist() == [0, 1]


@pytest.mark.parametrize("lines", ["9.jpg,0\n", "3.jpg,1\n", "1.jpg,3\n"])
def test_other_errors_of_a_list_do_not_speak_of_annotations(tmp_path, lines):
    settings = coco_of(tmp_path, FIVE)
    with pytest.raises(ValueError, match="list.txt") as kept:
        training_data(settings(lines), seed=0)
    with pytest.raises(ValueError, match="list.txt") as dropped:
        training_data(settings(lines, unannotated="drop"), seed=0)
    assert str(dropped.value) == str(kept.value)


def test_a_listed_label_that_the_data_set_does_not_know(tmp_path):
    sets = tmp_path / "VOC2007" / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (tmp_path / "VOC2007" / "JPEGImages").mkdir()
    (tmp_path / "VOC2007" / "JPEGImages" / "000001.jpg").touch()
    (sets / "trainval.txt").write_text("000001\n")
    for name in VOC_CLASSES:
        value = {"cat": "0", "dog": "1"}.get(name, "-1")
        (sets / f"{name}_trainval.txt").write_text(f"000001 {value}\n")
    (tmp_path / "list.txt").write_text("000001.jpg,7 11\n")
    config = DataConfig(
        name="voc2007",
        root=str(tmp_path),
        protocol="positive-list",
        positive_list=str(tmp_path / "list.txt"),
        difficult="unknown",
    )
    message = r"list.txt, line 1: picture '000001.jpg' is listed with class 7 \(cat\)"
    with pytest.raises(ValueError, match=message):
        training_data(config, seed=0)
    labels = training_data(dataclasses.replace(config, difficult="negative"), seed=0).train.labels
    assert np.flatnonzero(labels == POSITIVE).tolist() == [7, 11]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positive_list": None}, "data.positive_list must be a file exactly when"),
        ({"protocol": "proportion"}, "data.positive_list must be .*positive-list, got 'list.txt'"),
        ({"known": 0.5}, "data.known must be 1 with data.protocol positive-list"),
        ({"false_negative": 0.1}, "data.false_negative must be 0 with data.protocol positive-list"),
        ({"false_positive": {"a": 0.1}}, "data.false_positive must be 0 with data.protocol"),
        ({"known_per_class": 3}, "data.known_per_class"),
        ({"name": "csv", "csv": "x.csv"}, "data.name csv, whose rows are already a list"),
    ],
)
def test_what_does_not_go_with_a_positive_list(changes, message):
    settings = {"name": "coco", "root": "x", "protocol": "positive-list"}
    with pytest.raises(ValueError, match=message):
        DataConfig(**{**settings, "positive_list": "list.txt", **changes})
