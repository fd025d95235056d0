"""What a network refuses or warns of before it is trained, heads on features do too."""

import json
from pathlib import Path

import pytest

from pumlc.engine.config import TrainConfig
from pumlc.errors import PumlcWarning, UserError
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.frozen.task import FrozenTask
from pumlc.vision.task import VisionTask

CLASSES = ("cat", "Cat", "dog")
Rows = list[tuple[str, str]]


def csv(root: Path, rows: Rows, name: str = "csv") -> DataConfig:
    lines = [f"{split},{n}.jpg,{labels}" for n, (split, labels) in enumerate(rows)]
    (root / "l.csv").write_text("split,image,labels\n" + "\n".join(lines) + "\n")
    for n in range(len(rows)):
        (root / f"{n}.jpg").touch()
    place = {"csv": str(root / "l.csv")} if name == "csv" else {"labels": str(root / "l.csv")}
    return DataConfig(name=name, root=str(root), unlisted="negative", image_size=32, **place)


def label_file(root: Path, rows: Rows) -> DataConfig:
    return csv(root, rows, "labels")


def coco(root: Path, rows: Rows) -> DataConfig:
    (root / "annotations").mkdir()
    for split in ("train", "val"):
        own = [
            (n, labels)
            for n, (name, labels) in enumerate(rows)
            if (name == "train") == (split == "train")
        ]
        content = {
            "images": [{"id": n, "file_name": f"{n}.jpg"} for n, _ in own],
            "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES)],
            "annotations": [
                {"image_id": n, "category_id": CLASSES.index(name)}
                for n, labels in own
                for name in labels.split("|")
                if name
            ],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        for n, _ in own:
            (root / split).mkdir(exist_ok=True)
            (root / split / f"{n}.jpg").touch()
    return DataConfig(name="coco", root=str(root), image_size=32)


FORMS = {"csv": csv, "labels": label_file, "coco": coco}
GOOD = [("train", "cat|Cat"), ("train", "dog"), ("test", "cat|Cat"), ("test", "dog")]


def network(data: DataConfig) -> VisionTask:
    loss = LossConfig(name="bce", parameters={"unknown": "negative"})
    train = TrainConfig(epochs=1, batch_size=2, learning_rate=1e-3)
    model = ModelConfig(backbone="test_resnet")
    return VisionTask(VisionConfig(data=data, model=model, loss=loss, train=train))


def heads(data: DataConfig) -> FrozenTask:
    model, loss = ModelConfig(backbone="test_resnet", weights=None), LossConfig(name="auto")
    train = TrainConfig(epochs=1, batch_size=2, learning_rate=1)
    return FrozenTask(
        VisionConfig(data=data, model=model, loss=loss, train=train, heads="least_squares")
    )


kinds = pytest.mark.parametrize("task", [network, heads])
forms = pytest.mark.parametrize("form", FORMS)


@kinds
@forms
def test_classes_that_are_probably_one(task, form, tmp_path):
    data = FORMS[form](tmp_path, GOOD)
    with pytest.warns(PumlcWarning, match="'[Cc]at' / '[Cc]at' differ only in case"):
        task(data)


@kinds
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("train", ""), ("test", "dog")], "training part has no positive label"),
        ([*GOOD, ("val", "")], r"validation part .*has no known positive"),
        ([*GOOD, ("val", "cat|Cat|dog")], r"split validation: .*without a negative label"),
        ([("train", "dog|cat"), ("train", ""), ("test", "cat|dog")], "without a negative label"),
        ([("train", "dog"), ("train", ""), ("test", "")], "without a positive label"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "labels"])
def test_parts_that_nothing_can_be_learned_or_measured_of(task, form, rows, message, tmp_path):
    with pytest.raises(UserError, match=message):
        task(FORMS[form](tmp_path, rows))


@kinds
@pytest.mark.filterwarnings("ignore:.*differ only", "ignore:features of")
@forms
def test_a_class_that_only_test_rows_have(task, form, tmp_path):
    rows = [("train", "cat"), ("train", "cat|Cat"), ("test", "dog|cat"), ("test", "Cat")]
    with pytest.warns(PumlcWarning, match="no positive training label of 'dog'"):
        task(FORMS[form](tmp_path, rows))
