"""What every format and every reader of pictures has to do alike."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_label_formats import LAYOUTS, put

from pumlc.errors import UserError
from pumlc.vision import read_labels
from pumlc.vision.config import DataConfig
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.loader import Pictures, TrainingPictures
from pumlc.vision.data.split import read_split
from pumlc.vision.data.transforms import evaluation_transform, training_transform

SIZE = {"input_size": (3, 8, 8), "mean": (0,) * 3, "std": (1,) * 3}
BROKEN = b"\xff\xd8\xff\xe0 cut off"
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a picture that can be read."""
    file = tmp_path_factory.mktemp("picture") / "a.jpg"
    Image.fromarray(np.full((12, 12, 3), 90, np.uint8)).save(file)
    return file.read_bytes()


def as_files(folder, layout, contents):
    """A label file of a layout, with a picture for each of its rows, and its settings."""
    _, place, files, expected = LAYOUTS[layout]
    put(folder, files)
    names = list(expected)
    for name, content in zip(names, contents(len(names)), strict=True):
        path = folder / (name if "." in name else f"{name}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return {"labels": str(folder / place), "root": str(folder)}


def as_shard(folder, contents):
    inside = folder / "inside"
    inside.mkdir()
    with tarfile.open(folder / "shard-000.tar", "w") as archive:
        for number, content in enumerate(contents(4)):
            (inside / f"{number}.jpg").write_bytes(content)
            (inside / f"{number}.json").write_text('{"labels": ["cat"]}')
            for name in (f"{number}.jpg", f"{number}.json"):
                archive.add(inside / name, name)
    shutil.rmtree(inside)
    return {"labels": str(folder / "shard-000.tar"), "root": str(folder)}


def as_parquet(folder, contents):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    pictures = [{"bytes": each, "path": f"{n}.jpg"} for n, each in enumerate(contents(4))]
    table = arrow.table({"image": pictures, "labels": [["cat"]] * 4})
    parquet.write_table(table, folder / "train-0.parquet")
    return {"labels": str(folder / "train-0.parquet"), "root": str(folder)}


FORMS: dict[str, Any] = {
    **{f"files, {layout}": layout for layout in LAYOUTS},
    "shard": as_shard,
    "parquet": as_parquet,
}


def settings_of(form, folder, contents) -> dict[str, str]:
    place = FORMS[form]
    if isinstance(place, str):
        return as_files(folder, place, contents)
    return place(folder, contents)


@pytest.mark.parametrize("content", [BROKEN, POSTSCRIPT, b""], ids=["broken", "ps", "empty"])
@pytest.mark.parametrize("form", FORMS)
def test_a_bad_picture_is_named_or_skipped_whatever_holds_it(
    form, content, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    said = settings_of(form, tmp_path, lambda count: [content, *[whole] * (count - 1)])
    split = (read_table(Path(said["labels"]))[0].split_names() or ("train",))[0]
    for policy in ("error", "skip"):
        settings: dict[str, Any] = {**said, "bad_pictures": policy, "bad_share": 0.9}
        config = DataConfig(name="labels", **settings)
        images = read_split(config, split)
        rows = range(len(images))
        pictures = Pictures(images, evaluation_transform(SIZE), rows)
        found = [pictures.read(row) for row in rows]
        assert [row for row in rows if found[row][0] is None] == [0]
        name = images.path(0).name
        assert name in found[0][1][0]
        training = TrainingPictures(images, training_transform(SIZE, "none"), seed=0)
        item, bad = training.read((0, 0))
        assert list(bad) == [0]
        assert (item is not None) == (policy == "skip" and len(images) > 1)
    if len(images) > 1:
        assert found[1][0] is not None


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_of_pictures_that_is_not_there_is_named(form, whole, tmp_path):
    said = settings_of(form, tmp_path, lambda count: [whole] * count)
    said["root"] = str(tmp_path / "elsewhere")
    table = read_table(Path(said["labels"]))[0]
    split = (table.split_names() or ("train",))[0]
    if table.has_inside(0):  # pictures that lie in the label file need no folder
        assert len(read_split(DataConfig(name="labels", **said), split)) == 4
        return
    with pytest.raises(UserError, match=f"^{said['root']}: no such folder; the pictures of "):
        read_split(DataConfig(name="labels", **said), split)
    with pytest.raises(UserError, match=f"^{said['root']}: no such folder; the pictures of "):
        read_labels(said["labels"], root=said["root"])


@pytest.mark.parametrize("form", ["coco", "lvis"])
@pytest.mark.parametrize("what", ["images", "categories"])
@pytest.mark.parametrize(("first", "second"), [(1, 1.0), (1, "1"), (1.0, "1"), (0, 0.0)])
def test_identifiers_that_are_equal_on_paper_are_one(form, what, first, second, tmp_path):
    """Or the labels of one picture would be given to another."""
    lists = {
        "images": [{"id": 1, "file_name": "c.jpg", "neg_category_ids": []}],
        "categories": [{"id": 3, "name": "emu"}],
        "annotations": [],
    }
    lists[what] = [
        {"id": first, "file_name": "a.jpg", "name": "cat", "neg_category_ids": []},
        {"id": second, "file_name": "b.jpg", "name": "dog", "neg_category_ids": []},
    ]
    (tmp_path / "l.json").write_text(json.dumps(lists))
    put(tmp_path / "root", dict.fromkeys(("a.jpg", "b.jpg", "c.jpg"), ""))
    with pytest.raises(UserError, match=r"l\.json.*(twice|the id is there already)"):
        read_labels(tmp_path / "l.json", root=tmp_path / "root", format=form)
