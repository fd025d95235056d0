"""What a download consists of: the checker's answers and its agreement with the documentation."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pumlc.errors import UserError
from pumlc.vision.data.config import DataConfig
from pumlc.vision.data.readers import DATA_SETS, find_data_set
from pumlc.vision.data.split import read_split

ROOT = Path(__file__).parent.parent.parent
DOWNLOADS = {name: entry.download for name, entry in DATA_SETS.items() if entry.download}


def coco2017(root):
    for split in ("train", "val"):
        (root / f"{split}2017").mkdir()
        (root / f"{split}2017" / "1.jpg").write_bytes(b"never decoded here")
        content = {
            "images": [{"id": 1, "file_name": "1.jpg"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 2}],
            "categories": [{"id": 2, "name": "cat"}, {"id": 3, "name": "dog"}],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))


def prepare(*arguments):
    command = [sys.executable, "tools/prepare.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_complete_download_is_counted(tmp_path):
    coco2017(tmp_path)
    done = prepare("coco2017", tmp_path)
    assert done.returncode == 0, done.stderr
    table, remark = done.stdout.split("\n\n")
    cells = [line.split("|")[1:-1] for line in table.splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in cells] == [
        ["train", "1", "118287", "2", "1", "1", "0"],
        ["test", "1", "5000", "2", "1", "1", "0"],
    ]
    assert remark.splitlines() == [
        "A part of the data set: figures on it are not those of the whole.",
        "train: 1 of the 118,287 published pictures",
        "test: 1 of the 5,000 published pictures",
    ]


@pytest.mark.parametrize(("published", "remarked"), [(1, False), (2, True)])
def test_only_a_part_is_remarked_on(tmp_path, tool, capsys, monkeypatch, published, remarked):
    coco2017(tmp_path)
    counts = {"train": published, "test": None}
    download = replace(DOWNLOADS["coco2017"], pictures=counts)
    entry = replace(find_data_set("coco2017"), download=download)
    monkeypatch.setitem(DATA_SETS, "coco2017", entry)
    tool("prepare").main(["coco2017", str(tmp_path)])
    assert ("A part of the data set" in capsys.readouterr().out) == remarked


def test_what_is_missing_is_named_with_its_address(tmp_path):
    coco2017(tmp_path)
    (tmp_path / "val2017" / "1.jpg").unlink()
    done = prepare("coco2017", tmp_path)
    assert done.returncode == 2
    assert "val2017\n      from http://images.cocodataset.org/zips/val2017.zip" in done.stderr
    assert "train2017" not in done.stderr
    assert "https://cocodataset.org" in done.stderr


@pytest.mark.parametrize("name", DOWNLOADS)
def test_nothing_there_means_everything_missing(name, tmp_path):
    assert DOWNLOADS[name].missing_parts(tmp_path) == dict(DOWNLOADS[name].parts)
    split = next(iter(DOWNLOADS[name].pictures))
    with pytest.raises(UserError, match=str(tmp_path)):
        read_split(DataConfig(name=name, root=str(tmp_path)), split)


@pytest.mark.parametrize("name", DOWNLOADS)
def test_documentation_has_every_file_and_address(name):
    text = (ROOT / "docs" / "datasets.md").read_text()
    assert f"`{name}`" in text
    assert DOWNLOADS[name].page in text
    for part, address in DOWNLOADS[name].parts.items():
        assert address.removeprefix("on request: ") in text, part


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown data set 'coco2071'; did you mean 'coco2017'"):
        find_data_set("coco2071")


def test_a_csv_file_of_ones_own(tmp_path, tool, capsys):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"never decoded here")
    file = tmp_path / "labels.csv"
    file.write_text("split,image,labels\ntrain,a.jpg,cat\ntrain,b.jpg,cat|dog\nval,c.jpg,dog\n")
    main = tool("prepare").main
    main(["csv", str(tmp_path), "--csv", str(file)])
    cells = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in cells] == [
        ["train", "2", "-", "2", "3", "0", "1"],
        ["val", "1", "-", "2", "1", "0", "1"],
    ]
    main(["csv", str(tmp_path), "--csv", str(file), "--per-class"])
    _, each = capsys.readouterr().out.split("\n\n")
    cells = [line.split("|")[1:-1] for line in each.splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in cells] == [
        ["cat", "train", "2", "0", "0"],
        ["cat", "val", "0", "0", "1"],
        ["dog", "train", "1", "0", "1"],
        ["dog", "val", "1", "0", "0"],
    ]
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "c.jpg").unlink()
    with pytest.raises(ValueError, match=r"line 3: .*/b\.jpg\n.*line 4: .*/c\.jpg"):
        main(["csv", str(tmp_path), "--csv", str(file)])
    file.write_text("split,image,labels\nvalid,a.jpg,cat\n")
    with pytest.raises(ValueError, match="^[^\n]*line 2: unknown split 'valid'[^\n]*$"):
        main(["csv", str(tmp_path), "--csv", str(file)])
    for arguments in (["csv", "x"], ["voc2007", "x", "--csv", "y.csv"]):
        with pytest.raises(ValueError, match="--csv must be a file exactly when the name is csv"):
            main(arguments)


def test_a_coco_folder_of_ones_own(squares_coco, tmp_path, tool, capsys):
    main = tool("prepare").main
    main(["coco", str(squares_coco)])
    assert [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()[2:]] == [
        "train",
        "test",
    ]
    shutil.copytree(squares_coco, tmp_path / "renamed")
    file = tmp_path / "renamed" / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    content["categories"][0]["name"] = "another"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="train lacks classes of the other splits: another"):
        main(["coco", str(tmp_path / "renamed")])


def test_prepare_warns_of_classes_spelled_twice(tmp_path, tool):
    (tmp_path / "a.jpg").write_bytes(b"never decoded here")
    file = tmp_path / "labels.csv"
    file.write_text("split,image,labels\ntrain,a.jpg,Cat|cat|dog\n")
    with pytest.warns(UserWarning, match=r"^[^\n]*labels\.csv: 'Cat' / 'cat' differ only[^\n]*$"):
        tool("prepare").main(["csv", str(tmp_path), "--csv", str(file)])
