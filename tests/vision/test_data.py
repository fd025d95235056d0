"""Readers: what they read and what they refuse, with file, row and what is valid."""

import json

import numpy as np
import pytest

from pumlc.vision.csv_file import read_csv
from pumlc.vision.data import VOC_CLASSES, read_coco, read_voc


def write_pictures(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"never decoded here")


@pytest.fixture
def csv_root(tmp_path):
    write_pictures(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    return tmp_path


def long_csv(root, text):
    (root / "labels.csv").write_text(text)
    return root / "labels.csv"


def test_csv_long_form(csv_root):
    file = long_csv(
        csv_root,
        "split,image,labels,negatives\ntrain,b.jpg,dog|cat,\ntrain,a.jpg,,cat\ntest,c.jpg,bird,\n",
    )
    images = read_csv(file, csv_root, "train", unlisted="unknown")
    assert images.classes == ("bird", "cat", "dog")
    np.testing.assert_array_equal(images.labels, [[0, 1, 1], [0, -1, 0]])
    assert images.path(0) == csv_root / "b.jpg"
    images = read_csv(file, csv_root, "test", unlisted="negative")
    np.testing.assert_array_equal(images.labels, [[1, -1, -1]])


def test_csv_wide_form(csv_root):
    file = long_csv(csv_root, "split,image,cat,dog\ntrain,a.jpg,1,\ntrain,b.jpg,-1,0\n")
    images = read_csv(file, csv_root, "train", unlisted="unknown")
    assert images.classes == ("cat", "dog")
    np.testing.assert_array_equal(images.labels, [[1, 0], [-1, 0]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image,labels\na.jpg,cat\n", "no column 'split'"),
        (
            "split,image,labels\ntrain,a.jpg,cat\ntrain,a.jpg,dog\n",
            "'a.jpg' is in line 2 and again in line 3",
        ),
        ("split,image,labels\ntest,a.jpg,cat\n", r"no row of split 'train'.*\['test'\]"),
        (
            "split,image,labels\ntrain,a.jpg,cat\ntrain,z.jpg,cat\n",
            r"1 of 2 pictures.*line 3: .*z\.jpg",
        ),
        ("split,image,labels\ntrain,a.jpg,cat\ntest,a.jpg,dog\n", "again in line 3; .* one split"),
        ("split,image,labels\ntrain,,cat\n", "line 2: the cell image is empty"),
        ("", r"no column 'split' in the first line; got \[\]"),
        ("split;image;labels\ntrain;a.jpg;cat\n", r"got \['split;image;labels'\]"),
        (
            "split,image,labels\ntrain,a.jpg,cat\ntrain,b.jpg,cat;dog\ntrain,c.jpg,dog\n",
            r"class 'cat;dog' looks like the classes \['cat', 'dog'\]; .* separated by |",
        ),
        ("split,image,labels\ntrain,a.jpg,cat\ntrain,b.jpg\n", "line 3: 2 cells"),
        ("split,image,cat\ntrain,a.jpg,2\n", "line 2, column 'cat': label '2'; valid: 1, 0"),
        ("split,image,labels,negatives\ntrain,a.jpg,cat,cat\n", "line 2: .*in labels and in neg"),
        ("split,image,labels\ntrain,a.jpg,\n", "no classes"),
        ("split,image,labels\ntrain,a.jpg,cat,dog\n", "line 2: 4 cells, the header has 3"),
        ("split,image,cat,cat\ntrain,a.jpg,1,1\n", "column 'cat' occurs twice"),
    ],
)
def test_csv_refusals(csv_root, text, expected):
    with pytest.raises(ValueError, match=expected):
        read_csv(long_csv(csv_root, text), csv_root, "train", unlisted="unknown")


def test_csv_of_another_encoding_or_kind(csv_root):
    for content, expected in (
        ("split,image,labels\ntrain,a.jpg,ch\u00eane\n".encode("latin-1"), "not UTF-8 .* save"),
        ("split,image,labels\ntrain,a.jpg,cat\n".encode("utf-16"), "not UTF-8 .* save"),
        (b"split,image,labels\ntrain,a.jpg," + b"x" * 200_000, "line 2: not CSV .*larger than"),
    ):
        (csv_root / "labels.csv").write_bytes(content)
        with pytest.raises(ValueError, match=rf"labels\.csv, .*{expected}"):
            read_csv(csv_root / "labels.csv", csv_root, "train", unlisted="unknown")
    with pytest.raises(ValueError, match="must name a CSV file: .* is no file"):
        read_csv(csv_root, csv_root, "train", unlisted="unknown")


def test_csv_takes_a_byte_order_mark_blanks_and_absolute_paths(csv_root):
    text = f"\ufeffsplit, image, labels\ntrain, a.jpg, cat | dog\n\ntrain, {csv_root}/b.jpg,\n"
    (csv_root / "labels.csv").write_text(text, encoding="utf-8")
    images = read_csv(csv_root / "labels.csv", csv_root, "train", unlisted="unknown")
    assert [images.path(row) for row in range(2)] == [csv_root / "a.jpg", csv_root / "b.jpg"]
    np.testing.assert_array_equal(images.labels, [[1, 1], [0, 0]])


def test_csv_unknown_class_names_the_line_and_the_nearest(csv_root):
    file = long_csv(csv_root, "split,image,labels\ntrain,a.jpg,cat\ntrain,b.jpg,dgo\n")
    with pytest.raises(ValueError, match="line 3: unknown class 'dgo'; did you mean 'dog'"):
        read_csv(file, csv_root, "train", unlisted="unknown", classes=["cat", "dog"])


def coco(root, images, annotations, split="train"):
    write_pictures(root / split, [f"{i}.jpg" for i in images])
    (root / "annotations").mkdir(exist_ok=True)
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in images],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c} for n, (i, c) in enumerate(annotations)
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def test_coco_keeps_the_order_of_the_file(tmp_path):
    coco(tmp_path, [30, 4, 17], [(4, 3), (30, 9), (30, 9)])
    images = read_coco(tmp_path, "train", name="coco")
    assert [images.path(r).name for r in range(3)] == ["30.jpg", "4.jpg", "17.jpg"]
    assert images.classes == ("cat", "dog")
    np.testing.assert_array_equal(images.labels, [[-1, 1], [1, -1], [-1, -1]])
    annotated = read_coco(tmp_path, "train", name="coco", unannotated="drop")
    assert len(annotated) == 2


@pytest.mark.parametrize(
    ("images", "annotations", "expected"),
    [
        ([1, 1], [], "image id '1' occurs twice"),
        ([1], [(1, 5)], r"category_id 5; the file's categories are \[3, 9\]"),
        ([1], [(2, 3)], "image_id 2, which is not among"),
        ([], [], "the split is empty"),
    ],
)
def test_coco_refusals(tmp_path, images, annotations, expected):
    coco(tmp_path, images, annotations)
    with pytest.raises(ValueError, match=expected):
        read_coco(tmp_path, "train", name="coco")


def test_coco_root_split_and_picture_missing(tmp_path):
    with pytest.raises(ValueError, match="not the root of coco2014"):
        read_coco(tmp_path, "train", name="coco2014")
    with pytest.raises(ValueError, match=r"no split 'dev'; it has \['test', 'train'\]"):
        read_coco(tmp_path, "dev", name="coco2014")
    coco(tmp_path, [1, 2], [])
    (tmp_path / "train" / "2.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 pictures are missing.*row 1: .*2\.jpg"):
        read_coco(tmp_path, "train", name="coco")


@pytest.fixture
def voc(tmp_path):
    sets = tmp_path / "VOC2007" / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "trainval.txt").write_text("000002\n000001")  # without a newline at the end
    write_pictures(tmp_path / "VOC2007" / "JPEGImages", ["000001.jpg", "000002.jpg"])
    return tmp_path


def class_files(root, cat):
    sets = root / "VOC2007" / "ImageSets" / "Main"
    for name in VOC_CLASSES:
        values = cat if name == "cat" else ("-1", "-1")
        lines = [f"000002 {values[0]:>2}", f"000001 {values[1]:>2}"]
        (sets / f"{name}_trainval.txt").write_text("\n".join(lines))


def test_voc_class_files_and_difficult(voc):
    class_files(voc, ("1", "0"))
    cat = VOC_CLASSES.index("cat")
    images = read_voc(voc, "train")
    assert [images.path(r).name for r in range(2)] == ["000002.jpg", "000001.jpg"]
    np.testing.assert_array_equal(images.labels[:, cat], [1, -1])
    assert (np.delete(images.labels, cat, axis=1) == -1).all()
    assert read_voc(voc, "train", difficult="unknown").labels[1, cat] == 0


def test_voc_falls_back_to_xml(voc):
    folder = voc / "VOC2007" / "Annotations"
    folder.mkdir()
    element = "<object><name>{}</name><difficult>{}</difficult></object>"
    objects = element.format("cat", 1) + element.format("dog", 1) + element.format("dog", 0)
    (folder / "000001.xml").write_text(f"<annotation>{objects}</annotation>")
    (folder / "000002.xml").write_text("<annotation></annotation>")
    labels = read_voc(voc, "train", difficult="unknown").labels
    assert labels[1, VOC_CLASSES.index("dog")] == 1
    assert labels[1, VOC_CLASSES.index("cat")] == 0
    assert (labels[0] == -1).all()
    (folder / "000002.xml").write_text(f"<annotation>{element.format('catt', 0)}</annotation>")
    with pytest.raises(ValueError, match="unknown class 'catt'; did you mean 'cat'"):
        read_voc(voc, "train")
    (folder / "000002.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match=r"000002\.xml: not XML"):
        read_voc(voc, "train")


def test_voc_refusals(voc, tmp_path):
    class_files(voc, ("1", "2"))
    with pytest.raises(ValueError, match=r"cat_trainval\.txt, line 2: label '2'; valid: 1, 0, -1"):
        read_voc(voc, "train")
    class_files(voc, ("1", "1"))
    (voc / "VOC2007" / "JPEGImages" / "000001.jpg").unlink()
    with pytest.raises(ValueError, match=r"missing, the first is row 1: .*000001\.jpg"):
        read_voc(voc, "train")
    with pytest.raises(ValueError, match="is not a VOCdevkit folder with VOC2012"):
        read_voc(tmp_path, "train", name="voc2012")


def test_real_voc_subset(shared):
    images = read_voc(shared / "data" / "VOCdevkit", "train")
    assert images.labels.shape == (996, 20)
    assert (images.labels[:, VOC_CLASSES.index("bus")] == 1).sum() == 115
    official = read_voc(shared / "data" / "VOCdevkit", "train", difficult="unknown")
    assert (official.labels[:, VOC_CLASSES.index("bus")] == 0).sum() == 9


def test_real_coco(shared):
    images = read_coco(shared / "data" / "coco", "test", name="coco2017")
    assert images.labels.shape == (316, 80)
    assert images.classes[0] == "person"
    assert (images.labels == 1).sum() == len(
        {
            (a["image_id"], a["category_id"])
            for a in json.loads(
                (shared / "data/coco/annotations/instances_val2017.json").read_text()
            )["annotations"]
        }
    )


def test_real_corel(shared):
    root = shared / "data" / "corel5k"
    images = read_csv(root / "labels.csv", root, "test", unlisted="negative")
    assert len(images) == 499
    assert (images.labels == 1).sum(1).min() >= 1
