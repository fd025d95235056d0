"""Label files in commands: inspect, convert, and runs whose data.labels they are."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import csr_array

from pumlc.cli import main
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.vision.config import DataConfig
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.label_table import CODE
from pumlc.vision.data.partition import hold_out
from pumlc.vision.data.split import read_split, training_data
from pumlc.vision.run_data import other_place

MESSY = """split,image,labels,negatives
train,a.jpg,cat,dog
train,b.jpg,Cat|dog,
test,./a.jpg,dog,
train,gone.jpg,cat,
train,broken.jpg,cat,
train,same.jpg,,
train,c.jpg,cats,cats
"""


def pictures(folder: Path) -> Path:
    folder.mkdir()
    random = np.random.RandomState(0)
    for name in ("a", "b", "c"):
        pixels = random.randint(0, 255, (40, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.jpg")
    (folder / "same.jpg").write_bytes((folder / "b.jpg").read_bytes())
    (folder / "broken.jpg").write_bytes((folder / "b.jpg").read_bytes()[:200])
    return folder


def pumlc(capsys, *arguments: object) -> str:
    main.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def test_inspect_names_every_problem_in_one_pass_and_mends_what_it_can(tmp_path, capsys):
    root, file = pictures(tmp_path / "pictures"), tmp_path / "l.csv"
    file.write_text(MESSY)
    out = pumlc(capsys, "inspect", file, "--root", root, "--json", "--fix", tmp_path / "new.csv")
    result = json.loads(out.splitlines()[-1])
    assert set(result) == {"format", "classes", "splits", "problems"}
    assert result["format"] == "csv"
    assert result["splits"]["train"] == {
        **{"pictures": 5, "present": 5, "absent": 1, "unknown": 9, "uncertain": 0},
    }
    kinds = {problem["kind"] for problem in result["problems"]}
    assert kinds >= {
        *("label", "repeated", "missing", "broken picture", "identical pictures"),
        *("similar classes", "picture without a label"),
    }
    fixed, _ = read_table(tmp_path / "new.csv")
    assert fixed.paths == ("a.jpg", "b.jpg", "same.jpg")
    assert fixed.classes == ("cat", "dog")
    # of a.jpg each row says another thing; what a row of the split test does not list is absent
    assert fixed.codes()[0].tolist() == [CODE["unknown"], CODE["unknown"]]
    clean = pumlc(capsys, "inspect", tmp_path / "new.csv", "--root", root, "--json")
    assert not any(p["refuses_training"] for p in json.loads(clean.splitlines()[-1])["problems"])


def test_inspect_finds_repeated_rows_without_the_pictures(tmp_path, capsys):
    file = tmp_path / "l.csv"
    rows = ["train,a.jpg,x", "train,b.jpg,x|y", "train,./a.jpg,y", "test,b.jpg,y"]
    file.write_text("\n".join(["split,image,labels", *rows]) + "\n")
    main.main(["inspect", str(file), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["problems"]
    (repeated,) = (each["message"] for each in found if each["kind"] == "repeated")
    assert "line 4" in repeated  # b.jpg of test may be in another folder than that of train
    assert "line 2" in repeated


def test_inspect_strict_is_an_exit_status(tmp_path, capsys):
    (tmp_path / "l.csv").write_text(MESSY)
    with pytest.raises(SystemExit) as end:
        main.main(["inspect", str(tmp_path / "l.csv"), "--strict"])
    assert end.value.code == 1
    main.main(["inspect", str(tmp_path / "l.csv")])


def test_inspect_decode_is_what_root_does(tmp_path, capsys):
    (tmp_path / "l.csv").write_text("split,image,labels\ntrain,a.jpg,cat\n")
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    said = pumlc(capsys, "inspect", tmp_path / "l.csv", "--root", tmp_path, "--json")
    assert "broken picture" in said
    decoded = pumlc(capsys, "inspect", tmp_path / "l.csv", "--root", tmp_path, "--json", "--decode")
    assert decoded == said
    for options, message in (([], "--root says"), (["--root", ".", "--quick"], "--quick leaves")):
        with pytest.raises(SystemExit):
            main.main(["inspect", str(tmp_path / "l.csv"), "--decode", *options])
        assert message in capsys.readouterr().err


def test_convert_refuses_what_is_lost_unless_it_is_said(tmp_path, capsys):
    file = tmp_path / "l.csv"
    file.write_text("split,image,labels\ntrain,a.jpg,cat\ntrain,b.jpg,dog\n")
    with pytest.raises(SystemExit):
        main.main(["convert", str(file), str(tmp_path / "l.json"), "--to", "coco"])
    assert "--unknown: coco cannot hold unknown labels" in capsys.readouterr().err
    pumlc(capsys, "convert", file, tmp_path / "l.json", "--to", "coco", "--unknown", "absent")
    assert read_table(tmp_path / "l.json")[0].counts()["absent"].tolist() == [1, 1]


def test_the_policy_of_uncertain_is_that_of_training_alone(tmp_path):
    root = pictures(tmp_path / "pictures")
    file = tmp_path / "l.csv"
    file.write_text("split,image,labels,uncertain\ntrain,a.jpg,cat|,dog\ntest,b.jpg,cat,dog\n")
    config = DataConfig(labels=str(file), root=str(root), uncertain={"dog": "absent"})
    np.testing.assert_array_equal(read_split(config, "train").labels, [[1, -1]])
    np.testing.assert_array_equal(read_split(config, "test").labels, [[1, 0]])
    with pytest.raises(UserError, match="no class 'dgo'; did you mean 'dog'"):
        read_split(
            DataConfig(labels=str(file), root=str(root), uncertain={"dgo": "absent"}), "train"
        )


def test_a_label_file_takes_the_place_of_a_recipes_csv(tmp_path):
    config = DataConfig(name="csv", csv="other.csv", labels="l.csv", root=str(tmp_path))
    assert (config.name, config.csv) == ("labels", None)


def grouped_file(folder: Path) -> Path:
    """90 pictures of 30 patients, three a patient."""
    rows = ["image,labels"]
    for row in range(90):
        path = folder / "pictures" / f"p{row // 3}" / "study" / f"{row}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        names = "|".join(
            n for n, every in (("cat", 2), ("dog", 5), ("emu", 10)) if row % every == 0
        )
        rows.append(f"p{row // 3}/study/{row}.jpg,{names}")
    (folder / "l.csv").write_text("\n".join(rows) + "\n")
    return folder / "l.csv"


def test_held_out_parts_have_whole_groups_and_their_share_of_labels(tmp_path):
    file = grouped_file(tmp_path)
    config = DataConfig(
        labels=str(file),
        root=str(tmp_path / "pictures"),
        test=0.2,
        group="path:1",
        validation=0.25,
    )
    data, test = training_data(config, seed=3), read_split(config, "test")
    assert data.validation is not None
    parts = [data.train, data.validation, test]
    patients = [{path.split(b"/")[0] for path in part.paths} for part in parts]
    assert len(set.union(*patients)) == sum(map(len, patients)) == 30
    assert len(test) == 18
    assert abs(len(data.validation) - 18) <= 3
    share = test.class_counts()["positive"] / np.array([45, 18, 9])
    assert (abs(share - 0.2) < 0.12).all()
    again = read_split(config, "test")
    np.testing.assert_array_equal(test.paths, again.paths)


def test_a_file_without_a_test_split_says_what_to_do(tmp_path):
    file = grouped_file(tmp_path)
    config = DataConfig(labels=str(file), root=str(tmp_path / "pictures"))
    with pytest.raises(UserError, match=r"no row of split 'test'; .* train; data\.test 0\.2"):
        read_split(config, "test")


def test_many_rare_classes_have_their_share_together():
    random = np.random.RandomState(0)
    rows, columns = np.repeat(np.arange(4000), 2), random.randint(0, 800, 8000)
    labels = csr_array((np.ones(8000, np.int8), (rows, columns)), shape=(5000, 800))
    held = hold_out(labels, 0.02, groups=None, seed=0, what="data.test")
    assert len(held) == 100
    positives = csr_array(labels)[held].nnz / labels.nnz
    assert abs(positives - 0.02) < 0.006


def test_hold_out_refuses_an_empty_side(tmp_path):
    labels = read_table(grouped_file(tmp_path))[0].sparse_labels()
    with pytest.raises(UserError, match=r"0\.5 of 90 pictures in 1 groups.*share between 0 and 1"):
        hold_out(labels, 0.5, groups=np.zeros(90), seed=0, what="data.test")


def stratified_file(folder: Path) -> Path:
    """200 pictures; four of them show the rare class."""
    (folder / "pictures").mkdir(parents=True)
    random = np.random.RandomState(0)
    rows = ["image,labels,negatives"]
    for row in range(200):
        pixels = random.randint(0, 255, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{row}.png")
        shown = [n for n, every in (("cat", 2), ("dog", 5), ("emu", 50)) if row % every == 0]
        absent = [n for n in ("cat", "dog", "emu") if n not in shown]
        rows.append(f"{row}.png,{'|'.join(shown)},{'|'.join(absent)}")
    (folder / "l.csv").write_text("\n".join(rows) + "\n")
    return folder / "l.csv"


def test_the_validation_part_has_its_share_of_rare_labels_without_groups_too(tmp_path):
    file = stratified_file(tmp_path)
    config = DataConfig(labels=str(file), root=str(tmp_path / "pictures"), validation=0.5)
    for seed in range(5):
        data = training_data(config, seed=seed)
        assert data.validation is not None
        assert data.validation.class_counts()["positive"].tolist() == [50, 20, 2]
    parts = [training_data(config, seed=seed).validation for seed in (0, 0, 1)]
    # whatever is hidden of the labels
    parts[1] = training_data(replace(config, known=0.3), seed=0).validation
    paths = [[] if part is None else part.paths.tolist() for part in parts]
    assert paths[0] == paths[1] != paths[2]


def test_the_split_of_a_run_is_exported_and_read_again(tmp_path, capsys):
    file = stratified_file(tmp_path)
    where = ["--data.labels", file, "--data.root", tmp_path / "pictures"]
    small = ["--data.image_size", "32", "--model.backbone", "test_resnet", "--train.epochs", "1"]
    parts = ["--data.test", "0.2", "--data.validation", "0.25", "--data.known", "0.5"]
    run = tmp_path / "run"
    pumlc(
        capsys, "train", "--config", "csv_lite0_cpu", *where, *small, *parts,
        "--model.weights", "null", "--model.trainable", "null", "--out", run,
    )  # fmt: skip
    pumlc(capsys, "convert", run, tmp_path / "split.csv", "--to", "csv")
    found, whole = read_table(tmp_path / "split.csv")[0], read_table(file)[0]
    assert found.paths == whole.paths
    np.testing.assert_array_equal(found.codes(), whole.codes())
    facts = json.loads((run / "run.json").read_text())
    counts = {name: len(found.rows_of(name)) for name in found.split_names()}
    assert counts["train"] == facts["train_pictures"]
    assert counts["val"] == facts["validation_pictures"]
    assert sum(counts.values()) == 200
    # the file with its splits is the same data for another run
    again = DataConfig(labels=str(tmp_path / "split.csv"), root=str(tmp_path / "pictures"))
    first = DataConfig(labels=str(file), root=str(tmp_path / "pictures"), test=0.2, validation=0.25)
    seed = facts["config"]["train"]["seed"]
    one, expected = training_data(again, seed=seed), training_data(first, seed=seed)
    assert one.validation is not None
    assert expected.validation is not None
    assert one.train.paths.tolist() == expected.train.paths.tolist()
    assert one.validation.paths.tolist() == expected.validation.paths.tolist()


def test_an_export_of_changed_data_is_refused(tmp_path, capsys):
    file = stratified_file(tmp_path)
    where = ["--data.labels", file, "--data.root", tmp_path / "pictures"]
    small = ["--data.image_size", "32", "--model.backbone", "test_resnet", "--train.epochs", "1"]
    run = tmp_path / "run"
    pumlc(
        capsys, "train", "--config", "csv_lite0_cpu", *where, *small,
        "--model.weights", "null", "--model.trainable", "null", "--out", run,
    )  # fmt: skip
    file.write_text(file.read_text().replace("\n0.png,cat|dog|emu,", "\n0.png,cat|dog,emu"))
    with pytest.raises(SystemExit):
        main.main(["convert", str(run), str(tmp_path / "split.csv"), "--to", "csv"])
    assert "are not those that" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main.main(["convert", str(run), str(tmp_path / "o"), "--to", "csv", "--format", "csv"])
    assert "is a run, which has this setting itself" in capsys.readouterr().err


def test_a_file_in_the_place_of_the_run_folder_is_named(tmp_path):
    (tmp_path / "labels.csv").write_text("image,labels\n")
    with pytest.raises(UserError, match="labels.csv is a file; name a new folder for the run"):
        RunFolder(tmp_path / "labels.csv").start({}, {}, 1)


@pytest.mark.parametrize("settings", [{"labels": "gone.csv"}, {"name": "csv", "csv": "gone.csv"}])
def test_a_label_file_that_has_moved_is_named_with_its_setting(settings, tmp_path):
    here = tmp_path / "here.csv"
    here.write_text("image,labels\n")
    data, name = DataConfig(root=str(tmp_path), **settings), list(settings)[-1]
    with pytest.raises(UserError, match=rf"gone.csv: no such file.* name it with data.{name}"):
        other_place(data, None, None)
    assert other_place(data, None, None, labels=str(here)).labels == str(here)
