"""Pictures that cannot be read: an error, or skipped, listed and left out everywhere alike."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file

from pumlc.errors import UserError
from pumlc.vision.config import DataConfig, ModelConfig
from pumlc.vision.data.bad_pictures import (
    LIST_FILE,
    BadPictures,
    BadRow,
    read_bad_rows,
    restored,
    write_bad_rows,
)
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.loader import TrainingPictures, decode
from pumlc.vision.data.transforms import evaluation_transform
from pumlc.vision.frozen.features import frozen_features

TRANSFORM = evaluation_transform({"input_size": (3, 8, 8), "mean": (0,) * 3, "std": (1,) * 3})
SETTINGS = [
    *("--data.name", "csv", "--data.validation", "0.25", "--data.image_size", "32"),
    *("--data.unlisted", "negative", "--data.known", "0.7", "--model.backbone", "test_resnet"),
    *("--loss.name", "bce", "--loss.parameters", '{"unknown": "ignore"}'),
    *("--train.batch_size", "4", "--train.learning_rate", "1e-3"),
]
ROOT = Path(__file__).parent.parent.parent
BROKEN = ("p4.png", "p7.png", "p30.png")
SKIP = ["--data.bad_pictures", "skip", "--data.bad_share", "0.2"]


@pytest.fixture
def data(tmp_path):
    """24 training and 12 test pictures, one of each part broken."""
    random = np.random.RandomState(0)
    lines = ["split,image,labels"]
    for n in range(36):
        labels = "|".join(name for k, name in enumerate("abc") if n % (k + 2) == 0)
        lines.append(f"{'train' if n < 24 else 'test'},p{n}.png,{labels}")
        picture = Image.fromarray(random.randint(0, 255, (32, 32, 3), np.uint8))
        picture.save(tmp_path / f"p{n}.png")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def break_pictures(data, names=BROKEN):
    for name in names:
        (data / name).write_bytes((data / name).read_bytes()[:100])


def places(data):
    return ["--data.csv", str(data / "labels.csv"), "--data.root", str(data)]


def train(tool, data, out, *options):
    tool("train").main([*SETTINGS, *places(data), "--out", str(data / out), *options])
    return data / out


def without(data, *names):
    lines = (data / "labels.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split(",")[1] not in names]
    assert len(kept) == len(lines) - len(names)
    (data / "labels.csv").write_text("".join(kept))


@pytest.mark.filterwarnings("ignore:skipped")
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_skips_and_lists_them(data, tool, capsys, workers):
    break_pictures(data)
    run = train(tool, data, "run", "--train.epochs", "2", "--train.workers", workers,
                *SKIP)  # fmt: skip
    rows = {row.image: row for row in read_bad_rows(run)}
    assert set(rows) <= {"p4.png", "p7.png"}
    assert rows["p4.png"].row == 4
    assert rows["p4.png"].present == (0, 2)
    assert rows["p4.png"].absent == (1,)  # also what the protocol hid
    assert "cannot be decoded" in rows["p4.png"].reason
    capsys.readouterr()
    tool("evaluate").main([str(run)])
    output = capsys.readouterr().out
    result = json.loads(output.strip().splitlines()[-1])
    assert result["N"] == 11
    assert [bad["image"] for bad in result["bad_pictures"]] == ["p30.png"]
    assert "test: 1 pictures could not be read and are left out (p30.png)" in output
    tool("audit").main([str(run), "--top", "1000"])
    audit = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    named = [bad["image"] for part in audit["bad_pictures"].values() for bad in part]
    assert sorted(named) == ["p4.png", "p7.png"]
    with (run / "audit.csv").open() as file:
        suspects = {row["image"].rpartition("/")[2] for row in csv.DictReader(file)}
    assert suspects == {f"p{n}.png" for n in range(24)} - {"p4.png", "p7.png"}


@pytest.mark.filterwarnings("ignore:skipped")
def test_figures_are_those_of_the_data_without_them(data, tool, capsys):
    run = train(tool, data, "run", "--train.epochs", "1")
    break_pictures(data, ["p30.png"])
    with pytest.raises(UserError, match=r"p30\.png \(.*labels.csv, line 32\): the picture cannot"):
        tool("evaluate").main([str(run)])
    capsys.readouterr()
    tool("evaluate").main([str(run), "--data.bad_pictures", "skip"])
    skipped = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    without(data, "p30.png")
    tool("evaluate").main([str(run)])
    removed = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert skipped.pop("bad_pictures") != removed.pop("bad_pictures") == []
    assert skipped == removed


def stop_in_epoch(monkeypatch, number):
    from pumlc.engine.loop import Trainer

    plain = Trainer._run_epoch

    def run_epoch(self):
        if self.epoch == number - 1:
            raise KeyboardInterrupt
        return plain(self)

    monkeypatch.setattr(Trainer, "_run_epoch", run_epoch)


@pytest.mark.filterwarnings("ignore:skipped")
@pytest.mark.parametrize("protocol", ["--data.known=0.7", "--data.protocol=single-positive"])
def test_a_row_that_was_skipped_may_be_removed_before_a_resume(data, tool, protocol):
    known = "--data.known=1" if "protocol" in protocol else "--data.known=0.7"
    options = [
        *("--train.epochs", "3", *SKIP),
        *(known, protocol, '--loss.parameters={"unknown": "negative"}'),
    ]
    break_pictures(data)
    whole = train(tool, data, "whole", *options)
    with pytest.MonkeyPatch.context() as patch:
        stop_in_epoch(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(tool, data, "run", *options)
    run = data / "run"
    listed = read_bad_rows(run)
    gone = [row.image for row in listed]
    assert "p4.png" in gone
    without(data, *gone)
    for name in gone:
        (data / name).unlink()
    tool("train").main(["--out", str(run), "--resume"])
    left, right = (load_file(each / "weights" / "last.safetensors") for each in (whole, run))
    assert all(np.array_equal(left[name], right[name]) for name in left)
    assert read_bad_rows(run) == listed
    without(data, "p1.png")  # which was not skipped
    with pytest.raises(UserError, match="its data are not those that the run started with"):
        tool("train").main(["--out", str(run), "--resume"])


def test_a_picture_that_stopped_a_run_is_listed_and_may_be_removed(data, tool):
    from pumlc.engine.loop import Trainer

    plain = Trainer._run_epoch

    def run_epoch(self):
        if self.epoch == 1:
            break_pictures(data, ["p4.png"])
        return plain(self)

    options = ["--train.epochs", "3", "--data.validation", "0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_run_epoch", run_epoch)
        with pytest.raises(UserError, match="p4.png"):
            train(tool, data, "run", *options)
    run = data / "run"
    assert [row.image for row in read_bad_rows(run)] == ["p4.png"]
    with pytest.raises(UserError, match="p4.png"):
        tool("train").main(["--out", str(run), "--resume"])
    shutil.copytree(run, data / "other")
    with pytest.warns(UserWarning, match="skipped: .*p4.png"):
        tool("train").main(["--out", str(data / "other"), "--resume", "--data.bad_pictures=skip"])
    without(data, "p4.png")
    with pytest.warns(UserWarning, match=r"skipped: .*p4.png: its row was taken out of .*csv"):
        tool("train").main(["--out", str(run), "--resume"])


def test_two_processes_skip_the_same_pictures(data):
    break_pictures(data)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", "-m", "pumlc", "train", *SETTINGS, *places(data), *SKIP]
    command += ["--out", str(data / "run"), "--train.epochs", "2", "--train.batch_size", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert {row.image for row in read_bad_rows(data / "run")} == {"p4.png", "p7.png"}


@pytest.mark.filterwarnings("ignore:skipped")
def test_features_leave_out_the_rows(data, tmp_path):
    config = DataConfig(
        name="csv", root=str(data), csv=str(data / "labels.csv"), bad_pictures="skip"
    )
    with pytest.warns(UserWarning, match="random weights"):
        whole = frozen_features(config, ModelConfig(backbone="test_resnet"), "test", tmp_path / "a")
    break_pictures(data)
    for _ in range(2):  # computed, and read from the cache
        with pytest.warns(UserWarning, match="skipped: .*p30.png"):
            part = frozen_features(
                config, ModelConfig(backbone="test_resnet"), "test", tmp_path / "b"
            )
        rest = np.arange(12) != 6
        np.testing.assert_array_equal(part.features, whole.features[rest])
        np.testing.assert_array_equal(part.labels, whole.labels[rest])


def part_of(folder, count, **changes):
    paths = np.array([f"p{n}.png".encode() for n in range(count)])
    labels = np.random.RandomState(0).randint(-1, 2, (count, 3)).astype(np.int8)
    return LabelledImages("labels.csv", folder, paths, labels, ("a", "b", "c"), **changes)


def test_too_many_of_them_stop_a_command(tmp_path):
    bad = BadPictures(part_of(tmp_path, 20, bad_pictures="skip", bad_share=0.1))
    for row in (3, 4, 3):
        with (
            pytest.warns(UserWarning, match="skipped: broken")
            if row not in bad.reasons
            else (pytest.MonkeyPatch.context())
        ):
            bad.add(row, "broken")
    with pytest.raises(UserError, match=r"more than data.bad_share 0.1 of 20 .* last: worse"):
        bad.add(5, "worse")
    few = BadPictures(part_of(tmp_path, 3, bad_pictures="skip", bad_share=0.1))
    with pytest.warns(UserWarning, match="skipped"):
        few.add(0, "broken")  # one is always allowed
    alone = BadPictures(part_of(tmp_path, 1, bad_pictures="skip"))
    with pytest.raises(UserError, match="cannot be read"):
        alone.add(0, "broken")


def test_the_next_picture_takes_the_place(data):
    break_pictures(data, ["p4.png", "p5.png"])
    images = part_of(data, 24, bad_pictures="skip")
    item, bad = TrainingPictures(images, TRANSFORM, seed=0).read((0, 4))
    assert item is not None
    assert list(bad) == [4, 5]
    assert item["row"] == 6
    assert item["labels"].tolist() == images.labels[6].tolist()
    assert item["image"].equal(decode(images, 6, TRANSFORM))


@settings(max_examples=60)
@given(st.data())
def test_rows_that_were_removed_come_back_to_their_places(data):
    count = data.draw(st.integers(2, 12))
    images = part_of(Path("x"), count)
    listed = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1))
    gone = data.draw(st.sets(st.sampled_from(sorted(listed)))) if listed else set()
    rows = [
        BadRow(
            "train",
            row,
            images.paths.tolist()[row].decode(),
            tuple(np.flatnonzero(images.labels[row] == 1).tolist()),
            tuple(np.flatnonzero(images.labels[row] == -1).tolist()),
            "broken",
        )
        for row in data.draw(st.permutations(sorted(listed)))
    ]
    here = images.subset(np.setdiff1d(np.arange(count), list(gone)))
    shortest = max(len(path) for path in here.paths)
    found = restored(
        LabelledImages(
            "x", Path("x"), here.paths.astype(f"S{shortest}"), here.labels, here.classes
        ),
        rows,
    )
    assert found.paths.tolist() == images.paths.tolist()
    np.testing.assert_array_equal(found.labels, images.labels)
    assert found.removed == {images.paths.tolist()[row] for row in gone}


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[1]",
        '[{"split": "train"}]',
        '[{"split": "train", "row": true, "image": "a", "present": [], "absent": [], '
        '"reason": ""}]',
        '[{"split": "train", "row": 0, "image": "a", "present": [-1], "absent": [], "reason": ""}]',
        "[",
    ],
)
def test_a_list_of_someone_else(tmp_path, content):
    (tmp_path / LIST_FILE).write_text(content)
    with pytest.raises(UserError, match=LIST_FILE):
        read_bad_rows(tmp_path)
    huge = BadRow("train", 10**12, "z.png", (10**9,), (), "x")
    write_bad_rows(tmp_path, [huge])
    assert read_bad_rows(tmp_path) == [huge]
    assert len(restored(part_of(tmp_path, 2), [huge])) == 3
