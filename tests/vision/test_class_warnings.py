"""Classes that nothing can be learned or measured of are named before anything is trained."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from pumlc.labels import PackedLabels, compare
from pumlc.vision.data.class_warnings import warn_of_classes
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.split import TrainingData


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
