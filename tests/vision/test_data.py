"""Readers: what they read and what they refuse, with file, row and what is valid."""

import json
import warnings

import numpy as np
import pytest

from pumlc.errors import UserError
from pumlc.vision.data.readers.coco import read_coco
from pumlc.vision.data.readers.voc import VOC_CLASSES, read_voc


def write_pictures(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"never decoded here")


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
    file = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    for annotation in content["annotations"]:  # of a file made at home
        del annotation["id"]
    file.write_text(json.dumps(content))
    again = read_coco(tmp_path, "train", name="coco")
    np.testing.assert_array_equal(again.labels, images.labels)


@pytest.mark.parametrize(
    ("images", "annotations", "expected"),
    [
        ([1, 1], [], "image id '1' occurs twice"),
        ([1], [(1, 5)], "category_id 5, which is not among the 2 of the file: 3, 9"),
        ([1], [(2, 3)], "image_id 2, which is not among"),
        ([], [], "the split is empty"),
    ],
)
def test_coco_refusals(tmp_path, images, annotations, expected):
    coco(tmp_path, images, annotations)
    with pytest.raises(ValueError, match=expected):
        read_coco(tmp_path, "train", name="coco")


IMAGE, CATEGORY = {"id": 1, "file_name": "1.jpg"}, {"id": 3, "name": "cat"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"images": [{"id": 1}]}, r"images\[0\] needs 'file_name' of type str, got \{'id': 1\}"),
        ({"images": [IMAGE, {"file_name": "2.jpg"}]}, r"images\[1\] needs 'id'"),
        ({"images": ["1.jpg"]}, r"images\[0\] needs 'id' .*, got 1.jpg"),
        ({"images": [IMAGE, {**IMAGE, "id": 2}]}, "image file_name '1.jpg' occurs twice"),
        (
            {"images": [IMAGE, {"id": 2, "file_name": "./1.jpg"}]},
            "image file_name '1.jpg' occurs twice",
        ),
        ({"categories": [{"id": 3}]}, r"categories\[0\] needs 'name'"),
        ({"categories": [{"name": "cat"}]}, r"categories\[0\] needs 'id' of type int or float"),
        ({"categories": [CATEGORY, {**CATEGORY, "id": 4}]}, "category name 'cat' occurs twice"),
        ({"categories": [CATEGORY, {**CATEGORY, "name": "dog"}]}, "category id '3' occurs twice"),
        ({"annotations": [{"image_id": 1}]}, r"annotations\[0\] needs 'category_id'"),
        ({"annotations": None}, "no list 'annotations'; needed: images, annotations, categories"),
        ({"categories": {"3": "cat"}}, "no list 'categories'"),
    ],
)
def test_coco_malformed(tmp_path, changed, expected):
    coco(tmp_path, [1], [])
    file = tmp_path / "annotations" / "instances_train.json"
    content = {"images": [IMAGE], "categories": [CATEGORY], "annotations": [], **changed}
    given = {part: entries for part, entries in content.items() if entries is not None}
    file.write_text(json.dumps(given))
    with pytest.raises(ValueError, match=rf"instances_train\.json: .*{expected}"):
        read_coco(tmp_path, "train", name="coco")


@pytest.mark.parametrize(("first", "second"), [(1, 1.0), (1, True), (1.0, True), (0, False)])
def test_coco_ids_that_are_equal_in_python_are_one(tmp_path, first, second):
    coco(tmp_path, [1], [])
    file = tmp_path / "annotations" / "instances_train.json"
    images = [{"id": first, "file_name": "1.jpg"}, {"id": second, "file_name": "2.jpg"}]
    categories = [{"id": first, "name": "cat"}, {"id": second, "name": "dog"}]
    for changed, what in (({"images": images}, "image"), ({"categories": categories}, "category")):
        content = {"images": [IMAGE], "categories": [CATEGORY], "annotations": [], **changed}
        file.write_text(json.dumps(content))
        with pytest.raises(UserError, match=rf"{what} id '{int(first)}' occurs twice"):
            read_coco(tmp_path, "train", name="coco")


def test_coco_warns_of_a_category_that_only_groups_others(tmp_path):
    """As exporters write one; a supercategory that has annotations is a class as any other."""
    coco(tmp_path, [1, 2], [(1, 3)])
    file = tmp_path / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    for category in content["categories"]:
        category["supercategory"] = "animals"
    content["categories"].append({"id": 0, "name": "animals", "supercategory": "none"})
    file.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match=r"'animals' \(supercategory of 2 others\) has no annot"):
        images = read_coco(tmp_path, "train", name="coco")
    assert images.classes == ("animals", "cat", "dog")
    content["annotations"].append({"image_id": 2, "category_id": 0})
    file.write_text(json.dumps(content))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_coco(tmp_path, "train", name="coco")


@pytest.mark.parametrize("name", ["\ud800.jpg", "a\0.jpg"])
def test_coco_names_that_no_file_can_have(tmp_path, name):
    coco(tmp_path, [1], [])
    file = tmp_path / "annotations" / "instances_train.json"
    images = [IMAGE, {"id": 2, "file_name": name}]
    file.write_text(json.dumps({"images": images, "categories": [CATEGORY], "annotations": []}))
    with pytest.raises(
        UserError, match=r"instances_train\.json: row 1: .* is no name of a picture"
    ):
        read_coco(tmp_path, "train", name="coco")


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "a" * 300 + "/1.jpg", "../" * 2000 + "1.jpg"])
def test_names_that_are_too_long_for_a_file_are_missing_pictures(tmp_path, name):
    coco(tmp_path, [1], [])
    file = tmp_path / "annotations" / "instances_train.json"
    images = [{"id": 2, "file_name": name}]
    file.write_text(json.dumps({"images": images, "categories": [CATEGORY], "annotations": []}))
    with pytest.raises(UserError, match="1 of 1 pictures are missing, the first is row 0"):
        read_coco(tmp_path, "train", name="coco")


def test_coco_not_json(tmp_path):
    coco(tmp_path, [1], [])
    file = tmp_path / "annotations" / "instances_train.json"
    for text, expected in (("{", "not JSON"), ("[]", "no list 'images'")):
        file.write_text(text)
        with pytest.raises(ValueError, match=rf"instances_train\.json: .*{expected}"):
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
    sets = voc / "VOC2007" / "ImageSets" / "Main"
    (sets / "cat_trainval.txt").write_text("000002 1\n000001 1\n000002 -1\n")
    with pytest.raises(ValueError, match=r"cat_trainval\.txt, line 3: image '000002' is listed al"):
        read_voc(voc, "train")
    (sets / "cat_trainval.txt").write_bytes("000002 1\n000001 1\nch\u00eane 1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"cat_trainval\.txt, line 3: not UTF-8"):
        read_voc(voc, "train")
    class_files(voc, ("1", "1"))
    (sets / "trainval.txt").write_text("\ufeff000002\n000001\n")
    assert len(read_voc(voc, "train")) == 2
    (voc / "VOC2007" / "JPEGImages" / "000001.jpg").unlink()
    with pytest.raises(ValueError, match=r"missing, the first is row 1: .*000001\.jpg"):
        read_voc(voc, "train")
    with pytest.raises(ValueError, match="is not a VOCdevkit folder with VOC2012"):
        read_voc(tmp_path, "train", name="voc2012")


@pytest.mark.parametrize("missing", ["aeroplane", "cat", "tvmonitor"])
def test_voc_names_the_class_file_that_is_missing(voc, missing):
    class_files(voc, ("1", "1"))
    (voc / "VOC2007" / "ImageSets" / "Main" / f"{missing}_trainval.txt").unlink()
    with pytest.raises(ValueError, match=rf"incomplete: .*{missing}_trainval\.txt does not exist"):
        read_voc(voc, "train")


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
