"""Suspects and predictions as pre-annotations of Label Studio, and finished tasks as labels."""

import json
import re

import numpy as np
import pytest

from pumlc.cli import main
from pumlc.vision import read_labels

LABELS = (
    "split,image,labels,negatives\ntrain,a.jpg,cat,dog\ntrain,b.jpg,dog,cat\nval,c.jpg,cat|dog,\n"
)
SUSPECTS = """part,given,rank,rank_in_class,image,class,suspicion,probability,wrong,file
train,absent,1,1,a.jpg,dog,0.9,0.9,,a.jpg
train,present,1,1,b.jpg,dog,0.7,0.3,,b.jpg
train,absent,2,1,b.jpg,cat,0.8,0.8,,b.jpg
"""


def convert(*arguments: object) -> None:
    main.main(["convert", *map(str, arguments)])


def finished(file) -> None:
    """Every suggestion is taken as it is."""
    tasks = json.loads(file.read_text())
    for task in tasks:
        task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    file.write_text(json.dumps(tasks))


def test_suspects_become_tasks_and_finished_tasks_labels(tmp_path, capsys):
    (tmp_path / "l.csv").write_text(LABELS)
    (tmp_path / "s.csv").write_text(SUSPECTS)
    out = tmp_path / "tasks.json"
    prefix = "/data/local-files/?d="
    convert(tmp_path / "l.csv", out, "--to", "labelstudio", "--suggest", tmp_path / "s.csv",
            "--prefix", prefix)  # fmt: skip
    assert "2 tasks with suggested labels" in capsys.readouterr().out
    tasks = json.loads(out.read_text())
    assert [task["data"]["image"] for task in tasks] == [f"{prefix}a.jpg", f"{prefix}b.jpg"]
    assert [task["predictions"][0]["score"] for task in tasks] == [0.9, 0.8]
    assert tasks[1]["data"]["note"] == (
        "dog: given present, suspicion 0.70; cat: given absent, suspicion 0.80"
    )
    unknown = read_labels(out)
    assert (unknown.labels == 0).all()  # a suggestion is no label
    finished(out)
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(b"x")
    found = read_labels(out, root=tmp_path)
    assert (found.paths, found.classes, found.split) == (
        ("a.jpg", "b.jpg"), ("cat", "dog"), ("train", "train"),
    )  # fmt: skip
    np.testing.assert_array_equal(found.labels, [[1, 1], [1, -1]])


def test_predictions_become_tasks(tmp_path, capsys):
    file, out = tmp_path / "p.csv", tmp_path / "tasks.json"
    file.write_text(
        "path,label,score,present\nb.jpg,dog,0.9,1\nb.jpg,cat,0.2,0\na.jpg,cat,0.4,0\na.jpg,dog,0.1,0\n"
    )
    convert(file, out, "--to", "labelstudio")
    finished(out)
    found = read_labels(out)
    assert found.paths == ("b.jpg", "a.jpg")
    np.testing.assert_array_equal(found.labels, [[-1, 1], [-1, -1]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SUSPECTS.replace(",dog,0.7", ",dgo,0.7"), "no class 'dgo'; did you mean 'dog'"),
        (SUSPECTS.replace("b.jpg", "x.jpg"), "'x.jpg' is not a picture"),
        (SUSPECTS.replace("0.7,", "1.7,"), "line 3: '1.7' is not a number between 0 and 1"),
        (SUSPECTS.replace("0.7,", "nan,"), "line 3: 'nan' is not a number"),
        (SUSPECTS.replace("train,present", "train,maybe"), "line 3: given is 'maybe'; valid: pres"),
        (SUSPECTS.replace("train,absent,2,", "train,2,"), "line 4: 9 cells, expected 10"),
        (LABELS, "neither suspects .* nor predictions .*; its columns are split, image"),
        (SUSPECTS.splitlines()[0] + "\n", "nothing to suggest"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, capsys, text, message):
    (tmp_path / "l.csv").write_text(LABELS)
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(SystemExit):
        convert(tmp_path / "l.csv", tmp_path / "o.json", "--to", "labelstudio", "--suggest",
                tmp_path / "s.csv")  # fmt: skip
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "o.json").exists()


def test_only_label_studio_takes_suggestions(tmp_path, capsys):
    (tmp_path / "l.csv").write_text(LABELS)
    with pytest.raises(SystemExit):
        convert(tmp_path / "l.csv", tmp_path / "o", "--to", "coco", "--suggest", tmp_path / "s.csv")
    assert "become tasks of labelstudio, got 'coco'" in capsys.readouterr().err
