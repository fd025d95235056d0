"""Labels in memory: data sets of Hugging Face and DataFrames, or what is looked at of them."""

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pumlc.vision import read_labels

CLASSES = ["cat", "dog"]


def picture(value: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(content, "PNG")
    return content.getvalue()


class Rows:
    """As much of a data set of Hugging Face as is looked at, without the library."""

    def __init__(self, columns, classes=None):
        self.column_names = list(columns)
        self._rows = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        label = SimpleNamespace(feature=SimpleNamespace(names=classes))
        self.features = {"labels": label} if classes else {}

    def with_format(self, kind):
        assert kind == "arrow"  # pictures stay bytes
        return [SimpleNamespace(to_pylist=lambda row=row: [row]) for row in self._rows]


def real(columns, classes=None):
    """The same by the library, if it is here."""
    datasets = pytest.importorskip("datasets")
    features = {}
    if isinstance(columns["image"][0], dict):
        features["image"] = datasets.Image()
    if classes:
        features["labels"] = datasets.Sequence(datasets.ClassLabel(names=classes))
    data = datasets.Dataset.from_dict(columns)
    return data.cast(datasets.Features({**data.features, **features})) if features else data


@pytest.mark.parametrize("made", [Rows, real])
def test_pictures_in_memory_with_class_labels(made):
    images = [{"bytes": picture(0), "path": "a.png"}, {"bytes": picture(1), "path": None}]
    found = read_labels(made({"image": images, "labels": [[1], []]}, CLASSES))
    assert (found.paths, found.classes) == (("a.png", "1"), ("cat", "dog"))
    np.testing.assert_array_equal(found.labels, [[-1, 1], [-1, -1]])


@pytest.mark.parametrize("made", [Rows, real])
def test_lists_of_names_and_splits(made):
    first = made({"image": ["a.jpg", "b.jpg"], "labels": [["cat"], None]})
    second = made({"image": ["c.jpg"], "labels": [["dog"]]})
    found = read_labels({"train": first, "validation": second})
    assert found.split == ("train", "train", "val")
    np.testing.assert_array_equal(found.labels, [[1, -1], [0, 0], [-1, 1]])


@pytest.mark.parametrize("made", [Rows, real])
def test_a_column_for_each_class(made):
    data = made({"image": ["a.jpg", "b.jpg"], "cat": [1, 0], "dog": [-1, 1]})
    values: Any = {1: "present", 0: "unknown", -1: "absent"}
    np.testing.assert_array_equal(read_labels(data, values=values).labels, [[1, -1], [0, 1]])


def test_a_data_frame_of_pandas():
    pandas = pytest.importorskip("pandas")
    columns = {"image": ["a.jpg", "b.jpg"], "cat": [1.0, 0.0], "dog": [float("nan"), 1.0]}
    np.testing.assert_array_equal(read_labels(pandas.DataFrame(columns)).labels, [[1, 0], [-1, 1]])
    lists = {"image": ["a.jpg", "b.jpg"], "labels": [["cat"], ["dog", "cat"]]}
    found = read_labels(pandas.DataFrame({**lists, "split": ["train", "test"]}))
    assert found.split == ("train", "test")
    np.testing.assert_array_equal(found.labels, [[1, -1], [1, 1]])
