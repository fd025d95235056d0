"""Classes that nothing can be learned or measured of are named before anything is trained."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from pumlc.errors import PumlcWarning, UserError
from pumlc.labels import PackedLabels, compare
from pumlc.vision.config import DataConfig
from pumlc.vision.data.class_warnings import warn_of_classes
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.split import TrainingData
from pumlc.vision.run_data import refuse_unfit_test
from pumlc.vision.scoring import validate_logits


def data(train, validation=None, *, own_split=False):
    """Training data of these labels, [N, C] each."""

    def part(labels):
        labels = np.array(labels, np.int8)
        names = np.array([f"{row}.jpg".encode() for row in range(len(labels))])
        classes = tuple(f"class{column}" for column in range(labels.shape[1]))
        return LabelledImages("labels.csv", Path("."), names, labels, classes)

    images = part(train)
    true = PackedLabels.pack(images.labels)
    manifest = compare(true, images.labels, protocol="none", seed=0, parameters={})
    held_out = None if validation is None else part(validation)
    rows = None if own_split or validation is None else np.arange(len(validation))
    return TrainingData(images, held_out, np.arange(len(train)), rows, manifest)


def warned(parts):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_classes(parts)
    assert all(Path(w.filename) == Path(__file__) for w in caught)  # in the name of the caller
    return [str(w.message) for w in caught]


def test_a_class_without_a_positive_training_label():
    (message,) = warned(data([[1, -1, 0], [1, 0, 0]]))
    assert message.startswith("labels.csv: no positive training label of 'class1', 'class2': ")
    assert not warned(data([[1, -1], [-1, 1]]))


def test_a_class_without_a_held_out_positive():
    (message,) = warned(data([[1, 1], [1, 1]], [[1, 0]]))
    assert message.startswith("labels.csv: no held-out positive label of 'class1': ")
    assert message.endswith("hold out more: data.validation")
    (message,) = warned(data([[1, 1], [1, 1]], [[1, 0]], own_split=True))
    assert message.endswith("put more rows into that split")
    assert not warned(data([[1, 1], [1, 1]], [[1, 0], [0, 1]]))


def test_a_class_that_is_not_trained_is_not_named_twice():
    (message,) = warned(data([[1, 0]], [[1, 0]]))
    assert "training label" in message


@pytest.mark.parametrize(("count", "more"), [(5, ""), (6, " and 1 more"), (300, " and 295 more")])
def test_many_classes_are_counted(count, more):
    (message,) = warned(data([[1] + [0] * count]))
    assert message.count("'class") == 5
    assert more in message


def csv_file(folder, test_rows, name="labels.csv"):
    for row in range(4):
        (folder / f"{row}.jpg").touch()
    rows = ["train,0.jpg,a,b", "train,1.jpg,b,a", *test_rows]
    (folder / name).write_text("split,image,labels,negatives\n" + "\n".join(rows) + "\n")
    return DataConfig(name="csv", root=str(folder), csv=str(folder / name), unlisted_test="unknown")


def test_what_an_evaluation_would_refuse_is_refused_before_training(tmp_path):
    unfit = refuse_unfit_test
    unfit(csv_file(tmp_path, ["test,2.jpg,a,b"]), ("a", "b"))
    unfit(csv_file(tmp_path, []), ("a", "b"))  # without a split test there is nothing to refuse
    with pytest.raises(UserError, match="split test: .* without a negative label"):
        unfit(csv_file(tmp_path, ["test,2.jpg,a,", "test,3.jpg,b,"]), ("a", "b"))
    with pytest.raises(UserError, match="split test: .* without a positive label"):
        unfit(csv_file(tmp_path, ["test,2.jpg,,a"]), ("a", "b"))
    for classes, different in ((("b", "a"), "their order"), (("a", "b", "c"), r"\['c'\]")):
        with pytest.raises(UserError, match=f"split test has other classes .*: {different}"):
            unfit(csv_file(tmp_path, ["test,2.jpg,a,b"]), classes)


def test_a_test_split_that_cannot_be_read_is_said_before_training(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text("[")
    with pytest.warns(PumlcWarning, match=r"split test cannot be read, .*instances_val\.json"):
        refuse_unfit_test(DataConfig(name="coco", root=str(tmp_path)), ("a", "b"))


def test_thresholds_that_could_not_be_fitted_are_known():
    labels = np.array([[1, -1, 1], [-1, -1, 0], [0, 0, -1]], np.int8)
    logits = np.array([[2.0, 1, 1], [-1, 1, 0], [0, -2, -3]])
    thresholds = validate_logits(logits, labels).extras["thresholds"]
    assert thresholds["global_in"] == [1]
    assert thresholds["per_class"][1] == thresholds["global"]
