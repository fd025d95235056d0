"""The CSV reader: what it reads and what it refuses, with the line and what is valid."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from pumlc.errors import UserError
from pumlc.labels import SparseLabels, sparse
from pumlc.vision.config import DataConfig
from pumlc.vision.data.class_warnings import warn_of_similar_classes
from pumlc.vision.data.loader import decode
from pumlc.vision.data.readers import csv_file
from pumlc.vision.data.readers.csv_file import CsvOptions, CsvReader, read_csv
from pumlc.vision.data.split import training_data
from pumlc.vision.data.transforms import evaluation_transform


@pytest.fixture
def csv_root(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"never decoded here")
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


def test_csv_wide_form_as_pandas_writes_it(csv_root):
    file = long_csv(csv_root, "split,image,cat,dog\ntrain,a.jpg,1.0,-1.0\ntrain,b.jpg,0.0,+1\n")
    images = read_csv(file, csv_root, "train", unlisted="unknown")
    np.testing.assert_array_equal(images.labels, [[1, -1], [0, 1]])


@pytest.mark.parametrize("unlisted", ["unknown", "negative"])
@pytest.mark.parametrize(
    "text",
    [
        "split,image,labels,negatives\ntrain,b.jpg,dog|cat|dog,\ntrain,a.jpg,,cat\n",
        "split,image,cat,dog\ntrain,a.jpg,1.0,-1\ntrain,b.jpg,0,\n",
    ],
)
def test_very_many_labels_are_sparse(csv_root, monkeypatch, text, unlisted):
    file = long_csv(csv_root, text)
    options = {"unlisted": unlisted, "unlisted_wide": unlisted}
    expected = read_csv(file, csv_root, "train", **options).labels
    monkeypatch.setattr(sparse, "DENSE_LIMIT", 0)
    matrix = read_csv(file, csv_root, "train", **options).matrix
    assert isinstance(matrix, SparseLabels)
    np.testing.assert_array_equal(matrix.toarray(), expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(
            (
                f"split,image,labels\ntrain,a.jpg,cat\n{split},b.jpg,cat\n",
                rf"labels\.csv, line 3: unknown split '{split}'; valid: train, test, val",
            )
            for split in ("valid", "trian", "Train", "train ", "")
        ),
        (
            'split,image,labels\ntrain,a.jpg,cat\ntrain,b.jpg,"dog\ntrain,c.jpg,cat\n',
            r"labels\.csv, line 3: not CSV \(unexpected end of data\); is a quote not closed",
        ),
        (
            'split,image,labels\ntrain,a.jpg,"dog\ntrain,b.jpg,"cat\n',
            "line 2: not CSV .* expected .*is a quote",
        ),
        (
            'split,image,labels\ntrain,a.jpg,"dog\ntrain,b.jpg,cat"\n',
            r"line 2: not CSV \(a cell has a line break\)",
        ),
        ('split,image,cat,"d\nog"\ntrain,a.jpg,1,1\n', r"line 1: not CSV \(a cell has a line"),
        ("split,image,labels\ntrain,a.jpg,c\0t\n", "line 2: .*NUL"),
        ("split,image,labels\ntrain,a.jpg\0,cat\n", "line 2: .*NUL"),
        (
            "split,image,labels,negative\ntrain,a.jpg,cat,dog\n",
            "unknown column 'negative' beside .*; did you mean 'negatives'",
        ),
        ("split,image,labels,cat\ntrain,a.jpg,,1\n", "'cat' .*; valid: image, labels, negatives"),
        ("split,image,label\ntrain,a.jpg,cat\n", "column 'label': label 'cat'.* column 'labels'"),
        (",split,image,cat\n0,train,a.jpg,1\n", "column 1 has no name; .*pandas"),
        *(
            (
                f"split,image,labels\ntrain,a.jpg,cat\ntest,{again},cat\n",
                "image 'a.jpg' is in line 2 and again in line 3 as '.*a.jpg'",
            )
            for again in ("./a.jpg", "d/../a.jpg", ".//a.jpg", "ROOT/a.jpg", "LINK/a.jpg")
        ),
        (
            "split,image,labels\ntrain,a.jpg,cat\ntrain,folder,cat\n",
            r"1 of 2 pictures are missing, .* line 3: .*/folder is not a file",
        ),
        *(
            (f"split,image,cat\ntrain,a.jpg,{value}\n", f"label '{value}'; valid: 1, 0 or")
            for value in ("0.5", "1.5", "nan", "yes", "-2.0")
        ),
        (
            "image,labels\na.jpg,cat\n",
            r"no column 'split'.*data.labels .*\.csv in place of data.csv",
        ),
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
    (csv_root / "folder").mkdir()
    (csv_root / "link").symlink_to(csv_root)
    text = text.replace("ROOT", str(csv_root)).replace("LINK", str(csv_root / "link"))
    with pytest.raises(ValueError, match=expected):
        read_csv(long_csv(csv_root, text), csv_root, "train", unlisted="unknown")


def test_csv_of_another_encoding_or_kind(csv_root):
    for content, expected in (
        (
            "split,image,labels\ntrain,a.jpg,ch\u00eane\n".encode("latin-1"),
            "line 2: not UTF-8 .* save",
        ),
        ("split,image,labels\ntrain,a.jpg,cat\n".encode("utf-16"), "line 1: not UTF-8 .* save"),
    ):
        (csv_root / "labels.csv").write_bytes(content)
        with pytest.raises(ValueError, match=rf"labels\.csv, .*{expected}"):
            read_csv(csv_root / "labels.csv", csv_root, "train", unlisted="unknown")
    with pytest.raises(ValueError, match="must name a CSV file: .* is not a file"):
        read_csv(csv_root, csv_root, "train", unlisted="unknown")


def test_csv_takes_a_byte_order_mark_blanks_and_absolute_paths(csv_root):
    text = f"\ufeffsplit, image, labels\ntrain, a.jpg, cat | dog\n\ntrain, {csv_root}/b.jpg,\n"
    (csv_root / "labels.csv").write_text(text, encoding="utf-8")
    images = read_csv(csv_root / "labels.csv", csv_root, "train", unlisted="unknown")
    assert [images.path(row) for row in range(2)] == [csv_root / "a.jpg", csv_root / "b.jpg"]
    np.testing.assert_array_equal(images.labels, [[1, 1], [0, 0]])


def test_csv_cells_of_any_length(csv_root):
    names = [f"tag_number_{number:05d}" for number in range(9000)]
    text = f"split,image,labels,negatives\ntrain,a.jpg,{names[0]},{'|'.join(names[1:])}\n"
    images = read_csv(long_csv(csv_root, text), csv_root, "train", unlisted="unknown")
    np.testing.assert_array_equal(images.labels, [[1] + [-1] * 8999])


def test_csv_class_with_a_comma_beside_its_parts(csv_root):
    """With a bar somewhere in the file a warning, otherwise an error that says how to insist."""
    head = "split,image,labels\n"
    rows = 'train,a.jpg,"Bags, belts"\ntrain,b.jpg,Bags\ntrain,c.jpg,belts\n'
    with pytest.raises(UserError, match=r"write a bar after it: 'Bags, belts\|'"):
        read_csv(long_csv(csv_root, head + rows), csv_root, "train", unlisted="unknown")
    insisting = rows.replace('belts"', 'belts|"')
    with pytest.warns(UserWarning, match=r"'Bags, belts' is one class, beside .*'Bags', 'belts'"):
        images = read_csv(
            long_csv(csv_root, head + insisting), csv_root, "train", unlisted="unknown"
        )
    assert images.classes == ("Bags", "Bags, belts", "belts")
    np.testing.assert_array_equal(images.labels, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])


def test_csv_splits_are_those_that_the_file_has(csv_root):
    file = long_csv(csv_root, "split,image,labels\nval,a.jpg,cat\ntrain,b.jpg,cat\n")
    assert CsvReader().splits(csv_root, CsvOptions(csv=str(file))) == ("train", "val")


def test_csv_unknown_class_names_the_line_and_the_nearest(csv_root):
    file = long_csv(csv_root, "split,image,labels\ntrain,a.jpg,cat\ntrain,b.jpg,dgo\n")
    with pytest.raises(ValueError, match="line 3: unknown class 'dgo'; did you mean 'dog'"):
        read_csv(file, csv_root, "train", unlisted="unknown", classes=["cat", "dog"])


def test_a_picture_that_does_not_decode_names_the_line_of_the_csv_file(tmp_path):
    """Whichever rows the run chose: validation rows are held out by chance."""
    for index in range(9):
        (tmp_path / f"{index}.jpg").write_bytes(b"no picture")
    rows = [f"{'train' if index % 3 else 'test'},{index}.jpg,cat\n" for index in range(9)]
    file = long_csv(tmp_path, "split,image,labels\n\n" + "".join(rows))
    config = DataConfig(name="csv", csv=str(file), root=str(tmp_path), validation=0.5)
    data = training_data(config, seed=1)
    transform = evaluation_transform({"input_size": (3, 8, 8), "mean": (0,) * 3, "std": (1,) * 3})
    for images in (data.train, data.validation, data.train.subset(np.array([2, 0]))):
        assert images is not None
        for row in range(len(images)):
            line = int(images.path(row).stem) + 3
            with pytest.raises(
                ValueError, match=rf"\.jpg \(.*labels\.csv, line {line}\): .*decoded"
            ):
                decode(images, row, transform)
    for change in (lambda: file.write_text("split,image,labels\n"), file.unlink):
        change()
        with pytest.raises(ValueError, match=r"\(row 0 of .*labels\.csv\): .*decoded"):
            decode(data.train, 0, transform)


def test_classes_that_are_probably_one():
    names = ["Cat", "bus", "cat", "catfish", "traffic  light", "traffic-_light", "traffic_light"]
    found = "'Cat' / 'cat', 'traffic  light' / 'traffic-_light' / 'traffic_light' differ only in"
    with pytest.warns(UserWarning, match=f"^labels.csv: {found}"):
        warn_of_similar_classes(Path("labels.csv"), names)
    for names in (["t-shirt", "tshirt"], ["caf\u00e9", "cafe\u0301"]):
        with pytest.warns(UserWarning, match=f"{names[0]}' / '{names[1]}' differ only"):
            warn_of_similar_classes(Path("labels.csv"), names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        different = ["cat", "cats", "traffic light", "cafe", "caf\u00e9"]
        warn_of_similar_classes(Path("labels.csv"), different)


def test_csv_pictures_of_equal_hash_are_not_one_picture(csv_root, monkeypatch):
    monkeypatch.setattr(csv_file, "hash", lambda path: 7, raising=False)
    text = "split,image,labels\ntrain,a.jpg,cat\ntrain,b.jpg,cat\n"
    assert len(read_csv(long_csv(csv_root, text), csv_root, "train", unlisted="unknown")) == 2


def test_real_corel(shared):
    root = shared / "data" / "corel5k"
    images = read_csv(root / "labels.csv", root, "test", unlisted="negative")
    assert len(images) == 499
    assert (images.labels == 1).sum(1).min() >= 1


def test_what_is_not_said_in_a_column_per_class(csv_root):
    file = long_csv(csv_root, "split,image,cat ,dog\ntrain,a.jpg,1,0\ntrain,b.jpg,-1,\n")
    meanings: list[tuple[Literal["unknown", "negative"], int]] = [("unknown", 0), ("negative", -1)]
    for meaning, silent in meanings:
        images = read_csv(file, csv_root, "train", unlisted="negative", unlisted_wide=meaning)
        assert images.classes == ("cat", "dog")
        assert images.labels.tolist() == [[1, silent], [-1, silent]]
