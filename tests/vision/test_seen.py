"""What a run has trained on is recognised later: by resume, by the audit, in evaluations."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pumlc.labels import PackedLabels, compare
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.seen import count_seen, write_seen
from pumlc.vision.data.split import TrainingData

SETTINGS = [
    *("--data.name", "csv", "--data.validation", "0.25", "--data.image_size", "32"),
    *("--data.augmentation", "flip", "--model.backbone", "test_resnet", "--loss.name", "bce"),
    *("--loss.parameters.unknown", "negative", "--train.batch_size", "8"),
    *("--train.learning_rate", "1e-2", "--train.epochs", "1"),
]


def rows(train, test):
    """Every third picture shows a, the others b."""
    lines = [
        f"{split},p{n}.png,{'a,b' if n % 3 == 0 else 'b,a'}"
        for split, numbers in (("train", train), ("test", test))
        for n in numbers
    ]
    return "\n".join(["split,image,labels,negatives", *lines]) + "\n"


@pytest.fixture(scope="module")
def trained(tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seen")
    random = np.random.RandomState(0)
    for n in range(40):
        Image.fromarray(random.randint(0, 255, (32, 32, 3), np.uint8)).save(folder / f"p{n}.png")
    (folder / "labels.csv").write_text(rows(range(24), range(24, 40)))
    where = ["--data.csv", str(folder / "labels.csv"), "--data.root", str(folder)]
    tool("train").main([*SETTINGS, *where, "--out", str(folder / "run")])
    return folder


def test_pictures_trained_on_are_named_in_an_evaluation(trained, tool, capsys):
    def evaluate(*options):
        tool("evaluate").main([str(trained / "run"), "--weights", "last", *options])
        output = capsys.readouterr().out.strip().splitlines()
        return json.loads(output[-1])["seen"], "\n".join(output)

    seen, output = evaluate()
    assert seen == {"train": 0, "validation": 0}
    assert "NOT HELD OUT" not in output
    (trained / "other.csv").write_text(rows(range(4), range(40)[4:]))
    seen, output = evaluate("--data.csv", str(trained / "other.csv"))
    assert seen["train"] + seen["validation"] == 20
    assert f"NOT HELD OUT: the run was trained on {seen['train']} of these" in output
    seen, output = evaluate("--split", "validation")
    assert seen == {"train": 0, "validation": 6}
    assert "6 of these pictures chose the weights named best" in output
    seen, output = evaluate("--split", "train")
    assert seen == {"train": 18, "validation": 6}


def test_moved_pictures_are_the_same(trained, tool, capsys, tmp_path):
    shutil.copytree(trained, tmp_path / "moved")
    tool("evaluate").main(
        [str(trained / "run"), "--split", "train", "--data.root", str(tmp_path / "moved")]
    )
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["seen"]["train"] == 18


def test_pictures_of_two_folders_may_have_the_same_names(tmp_path):
    def part(split):
        paths, labels = np.array([b"1.jpg", b"2.jpg"]), np.ones((2, 1), np.int8)
        return LabelledImages("labels.json", tmp_path / split, paths, labels, ("a",))

    train, rows = part("train"), np.arange(2)
    manifest = compare(
        PackedLabels.pack(train.labels), train.labels, protocol="none", seed=0, parameters={}
    )
    data = TrainingData(train, None, rows, None, manifest)
    write_seen(tmp_path / "pictures.npz", data, str(tmp_path))
    for split, count in (("train", 2), ("val", 0)):
        seen = count_seen(tmp_path / "pictures.npz", part(split), str(tmp_path))
        assert seen == {"train": count}


def test_changed_labels_are_refused_by_resume_and_audit(trained, tool, tmp_path):
    run = shutil.copytree(trained / "run", tmp_path / "run")
    content = json.loads((run / "run.json").read_text())
    labels = tmp_path / "labels.csv"
    labels.write_text((trained / "labels.csv").read_text().replace("p1.png,b,a", "p1.png,a,b"))
    content["config"]["data"]["csv"] = str(labels)
    (run / "run.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="its data are not those that the run started with"):
        tool("train").main(["--out", str(run), "--resume"])
    with pytest.raises(ValueError, match="pictures or labels are not those that .* trained on"):
        tool("audit").main([str(run)])


def test_a_run_whose_data_moved_is_audited_elsewhere(trained, tool, tmp_path, monkeypatch):
    run, moved = shutil.copytree(trained / "run", tmp_path / "run"), tmp_path / "moved"
    shutil.copytree(trained, moved)
    content = json.loads((run / "run.json").read_text())
    content["config"]["data"].update(csv="labels.csv", root=".")
    (run / "run.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    audit = tool("audit").main
    with pytest.raises(ValueError, match="labels.csv: no such file or folder"):
        audit([str(run)])
    places = ["--data.root", str(moved), "--data.csv", str(moved / "labels.csv")]
    audit([str(run), *places])
    found = (run / "audit.csv").read_text()
    tool("audit").main([str(trained / "run")])
    expected = (trained / "run" / "audit.csv").read_text()
    assert found == expected.replace(str(trained), str(moved))
    tool("audit").main([str(run), "--split", "test", *places])
    assert f",{moved}/p" in (run / "audit-test.csv").read_text()
    text = (moved / "labels.csv").read_text()
    (moved / "labels.csv").write_text(text.replace("p1.png,b,a", "p1.png,a,b"))
    with pytest.raises(ValueError, match="pictures or labels are not those that .* trained on"):
        audit([str(run), *places])


def test_an_audit_is_refused_where_it_cannot_be_written(trained, tool, tmp_path):
    (tmp_path / "file").touch()
    for out, message in (
        (tmp_path / "file", "is a file; name a folder, or a file that ends in .csv"),
        (tmp_path / "missing" / "a.csv", "there is no folder .*missing"),
        (tmp_path / "missing" / "audit", "there is no folder .*missing"),
    ):
        with pytest.raises(ValueError, match=f"--out {out}.*{message}"):
            tool("audit").main([str(trained / "run"), "--out", str(out)])


def test_an_audit_of_another_split_keeps_the_first(trained, tool, capsys):
    tool("audit").main([str(trained / "run")])
    before = (trained / "run" / "audit.csv").read_text()
    tool("audit").main([str(trained / "run"), "--split", "test"])
    assert (trained / "run" / "audit.csv").read_text() == before
    other = (trained / "run" / "audit-test.csv").read_text()
    first = other.splitlines()[1].split(",")
    assert first[4] in capsys.readouterr().out
