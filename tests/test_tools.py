"""The real entry points on small generated data: train, evaluate, predict, resume."""

import csv
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import pumlc
from pumlc.cli.console import SomeFailedError
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.labels import LabelManifest, keep_proportion, read_manifest
from pumlc.vision.config import DataConfig
from pumlc.vision.data.readers.coco import read_coco
from pumlc.vision.data.split import training_data
from pumlc.vision.evaluation import report
from pumlc.vision.models.class_vectors import label_graph

ROOT = Path(__file__).parent.parent
SMALL = [
    *("--model.backbone", "test_resnet", "--model.local_global", "true"),
    *("--data.image_size", "32", "--data.augmentation", "flip", "--train.batch_size", "16"),
    *("--train.learning_rate", "5e-3", "--loss.name", "pu"),
    *("--loss.parameters.gamma", "0.5", "--loss.parameters.alpha", "1.0"),
    *("--loss.mixup_weight", "1.0"),
]


def coco_arguments(root, out, *more):
    data = ["--data.name", "coco", "--data.root", str(root), "--data.known", "0.5"]
    return [*data, *SMALL, "--out", str(out), *more]


@pytest.fixture(scope="module")
def trained(squares_coco, tmp_path_factory):
    """A run with validation part and averaged weights, trained once for the module."""
    out = tmp_path_factory.mktemp("runs") / "run"
    more = ["--data.validation", "0.25", "--train.epochs", "3", "--train.ema_decay", "0.8"]
    command = [sys.executable, "tools/train.py", *coco_arguments(squares_coco, out, *more)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_run_folder_says_what_was_run(trained, squares_coco):
    content = json.loads((trained / "run.json").read_text())
    assert content["classes"] == ["red", "green", "blue"]
    assert content["world_size"] == 1
    assert torch.__version__.startswith(content["versions"]["torch"])
    assert content["train_pictures"] + content["validation_pictures"] == 96
    assert content["local_global"]
    manifest = read_manifest(trained / "label_manifest.npz")
    assert manifest.mask_hash == content["label_mask"]
    with (trained / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(float(row["validation-ema/mAP"]) > 0 for row in rows)
    index = json.loads((trained / "weights" / "index.json").read_text())
    assert set(index) == {"last", "best", "last-ema", "best-ema"}
    assert len(index["best"]["extras"]["thresholds"]["per_class"]) == 3


def test_evaluate_prints_a_table_and_one_json_object(trained, tool, capsys):
    tool("evaluate").main([str(trained), "--classes", "red,blue"])
    lines = capsys.readouterr().out.strip().splitlines()
    result = json.loads(lines[-1])
    assert result == json.loads((trained / "metrics.json").read_text())
    assert result["N"] == 33
    assert set(result["weights"]) == {"last", "best", "last-ema", "best-ema"}
    last = result["weights"]["last"]
    assert set(last["mAP"]) == {"sklearn", "asl", "voc2007", "voc2012"}
    assert list(last["AP"]) == ["red", "green", "blue"]
    expected = np.mean([last["AP"]["red"], last["AP"]["blue"]])
    assert last["mAP_of_classes"]["sklearn"] == pytest.approx(expected)
    assert "thresholds per class fitted on validation" in last["decisions"]
    assert set(last["decisions"]["threshold 0.5"]) >= {"CP", "CR", "CF1", "OP", "OR", "OF1"}
    assert lines[0].endswith(", split test")
    header, _, row = (line.split("|")[1:-1] for line in lines[2:5])
    assert row[[cell.strip() for cell in header].index("N")].strip() == "33"


def test_the_weights_to_quote_are_named(trained, tool, capsys, tmp_path):
    def evaluate(run, *options):
        tool("evaluate").main([str(run), *options])
        output = capsys.readouterr().out.strip().splitlines()
        return json.loads(output[-1]), output

    preferred = RunFolder(trained).preferred_weights()
    result, output = evaluate(trained)
    assert (result["preferred"], result["preferred_by"]) == (preferred, "validation")
    figure = f"mAP sklearn {result['weights'][preferred]['mAP']['sklearn']:.2f}"
    line = f"chosen by validation: {preferred}, {figure}: the average precision of a class"
    (place,) = (place for place, text in enumerate(output) if text.startswith(line))
    assert output[place - 1].startswith("| last-ema ")  # below the first table
    assert output[place + 1] == ""
    other = next(name for name in result["weights"] if name != preferred)
    result, output = evaluate(trained, "--weights", other)
    assert "preferred" not in result
    assert not any("chosen by" in line for line in output)
    run = RunFolder(shutil.copytree(trained, tmp_path / "run"))
    for name, entry in run.index().items():
        run.add_to_index(name, {**entry, "score": None})
    result, output = evaluate(run.path, "--weights", "last", "last-ema")
    assert result["preferred"] == "last-ema"
    figure = f"mAP sklearn {result['weights']['last-ema']['mAP']['sklearn']:.2f}"
    line = f"no validation part, last epoch: last-ema, {figure}"
    assert any(text.startswith(line) for text in output)


def test_classes_one_by_one_the_worst_first(trained, squares_coco, tool, capsys):
    def shown(text):
        title, _, _, *rows = text.split("\n\n")[-1].splitlines()
        return title, [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]

    tool("evaluate").main([str(trained), "--per-class"])
    text, _, line = capsys.readouterr().out.strip().rpartition("\n")
    result = json.loads(line)
    labels = read_coco(squares_coco, "test", name="coco").labels
    for column, counts in enumerate(result["known_labels"].values()):
        assert counts["positive"] == (labels[:, column] == 1).sum()
        assert counts["negative"] == (labels[:, column] == -1).sum()
    title, rows = shown(text)
    assert title == f"classes, weights {result['preferred']}, known labels of the split test:"
    each = result["weights"][result["preferred"]]["AP"]
    assert rows == [
        [name, *map(str, result["known_labels"][name].values()), f"{value:.2f}"]
        for name, value in sorted(each.items(), key=lambda pair: pair[1])
    ]
    del result["preferred"]
    weights = next(iter(result["weights"]))
    result["weights"][weights]["AP"] |= {"red": 1.0, "green": None, "blue": 2.0}
    title, rows = shown(report(result, per_class=True))
    assert title.startswith(f"classes, weights {weights},")
    assert [row[0] for row in rows] == ["red", "blue", "green"]
    assert rows[-1][-1] == "-"
    assert "classes, weights" not in report(result)


def test_an_oracle_threshold_has_its_name_and_only_on_request(trained, tool, capsys):
    tool("evaluate").main([str(trained), "--weights", "last"])
    decisions = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    decisions = decisions["weights"]["last"]["decisions"]
    assert not any("oracle" in name for name in decisions)
    tool("evaluate").main([str(trained), "--weights", "last", "--oracle"])
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    with_oracle = result["weights"]["last"]["decisions"]
    added = {name for name in with_oracle if name not in decisions}
    assert added == {
        "oracle threshold, fitted on these very labels",
        "oracle thresholds per class, fitted on these very labels",
    }
    honest = decisions["threshold fitted on validation"]["OF1"]
    assert with_oracle["oracle threshold, fitted on these very labels"]["OF1"] >= honest


def test_evaluation_refuses_what_has_no_meaning_for_the_run(trained, tool):
    for arguments, message in (
        (
            ["--data.unlisted", "negative"],
            "data.unlisted is for CSV files; the data set coco defines",
        ),
        (["--index", "exact"], "--index does not apply to .*, which has another task"),
        (["--split", "dev"], r"no split 'dev'; it has \['test', 'train'\]"),
        (["--classes", "red,yellow"], "unknown class 'yellow'; valid: red, green, blue"),
        (
            ["--split", "validation", "--data.positive_list", "list.txt"],
            "trained with data.protocol proportion, not with a list",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            tool("evaluate").main([str(trained), *arguments])


def test_a_split_without_a_negative_is_refused_with_advice_that_fits(
    squares_coco, trained, tool, tmp_path
):
    root = tmp_path / "coco"
    shutil.copytree(squares_coco, root)
    file = root / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    pairs = itertools.product(content["images"], content["categories"])
    content["annotations"] = [
        {"id": number, "image_id": image["id"], "category_id": category["id"]}
        for number, (image, category) in enumerate(pairs)
    ]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="neither AP nor precision can be measured$"):
        tool("evaluate").main([str(trained), "--data.root", str(root)])


def test_evaluation_does_not_depend_on_the_batch_size(trained, tool, capsys):
    scores = []
    for size in ("7", "64"):
        tool("evaluate").main([str(trained), "--weights", "last", "--batch-size", size])
        result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
        scores.append(result["weights"]["last"]["mAP"]["sklearn"])
        assert result["N"] == 33
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_predict_and_load_agree(trained, squares_coco, tool, tmp_path):
    folder = squares_coco / "val"
    tool("predict").main([str(trained), str(folder), "--out", str(tmp_path / "p.csv")])
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 33 * 3
    predictor = pumlc.load(trained)
    paths = sorted(folder.iterdir())
    scores, labels = predictor.predict(paths)
    assert labels == ("red", "green", "blue")
    assert scores.dtype == np.float32
    written = {(row["path"], row["label"]): float(row["score"]) for row in rows}
    for path, row in zip(paths, scores, strict=True):
        for name, score in zip(labels, row, strict=True):
            assert written[str(path), name] == pytest.approx(score, abs=1e-4)
    assert predictor.predict([]).scores.shape == (0, 3)


def test_predict_takes_the_pictures_of_a_folder_alone(trained, squares_coco, tool, tmp_path):
    folder = tmp_path / "album"
    (folder / "inner.jpg").mkdir(parents=True)
    shutil.copy(squares_coco / "val" / "0.png", folder / "inner.jpg" / "a.png")
    (folder / "._a.png").write_bytes(b"what macOS writes beside a.png")
    tool("predict").main([str(trained), str(folder), "--out", str(tmp_path / "p.csv")])
    with (tmp_path / "p.csv").open() as file:
        assert {row["path"] for row in csv.DictReader(file)} == {
            str(folder / "inner.jpg" / "a.png")
        }


@pytest.fixture
def predicted(trained, tool, tmp_path, capsys):
    """Predict a folder or file: the rows' paths and what standard error says."""

    def predict(*sources):
        out = tmp_path / "predicted.csv"
        tool("predict").main([str(trained), *map(str, sources), "--top", "1", "--out", str(out)])
        with out.open() as file:
            return [Path(row["path"]) for row in csv.DictReader(file)], capsys.readouterr().err

    return predict


def test_one_broken_picture_costs_no_other_its_row(trained, squares_coco, tool, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "p.csv"
    folder.mkdir()
    for number in range(6):
        shutil.copy(squares_coco / "val" / f"{number}.png", folder)
    content = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(content[:100])
    (folder / "9.heic").write_bytes(b"not readable here")
    options = ["--batch-size", "4", "--out", str(out)]
    with pytest.raises(SomeFailedError, match="no prediction for 2 pictures") as error:
        tool("predict").main([str(trained), str(folder), *options])
    assert f"{folder / '3.png'}: the picture cannot be decoded" in str(error.value)
    assert f"{folder / '9.heic'}: the picture cannot be decoded" in str(error.value)
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert {Path(row["path"]).name for row in rows} == {f"{i}.png" for i in (0, 1, 2, 4, 5)}
    (folder / "3.png").write_bytes(content)
    (folder / "9.heic").unlink()
    tool("predict").main([str(trained), str(folder), *options])
    with out.open() as file:
        whole = {(row["path"], row["label"]): float(row["score"]) for row in csv.DictReader(file)}
    for row in rows:
        assert float(row["score"]) == pytest.approx(whole[row["path"], row["label"]], abs=2e-6)


def test_hidden_files_and_folders_are_left_out_and_named(squares_coco, predicted, tmp_path):
    folder = tmp_path / "in"
    hidden = ("._a.png", ".ipynb_checkpoints/a.png", "sub/.thumbnails/b.png")
    for place in ("a.png", "sub/b.png", *hidden):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(squares_coco / "val" / "0.png", folder / place)
    paths, said = predicted(folder)
    assert paths == [folder / "a.png", folder / "sub" / "b.png"]
    assert "left out: 3 of a folder" in said
    for place in ("._a.png", ".ipynb_checkpoints", "sub/.thumbnails"):
        assert f"{folder / place}: hidden: its name begins with a dot\n" in said


def test_links_to_folders_are_followed_once(squares_coco, predicted, tmp_path):
    folder, disk = tmp_path / "in", tmp_path / "disk"
    for place in (folder / "here.png", folder / "sub" / "b.png", disk / "there.png"):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(squares_coco / "val" / "0.png", place)
    (folder / "a_disk").symlink_to(disk)
    (folder / "a_second_name").symlink_to(folder / "sub")
    (disk / "circle").symlink_to(folder)
    (folder / "z.png").symlink_to(disk / "there.png")
    assert predicted(folder)[0] == [
        folder / "a_disk" / "there.png",
        folder / "here.png",
        folder / "sub" / "b.png",
        folder / "z.png",
    ]


def test_files_of_a_folder_that_are_not_predicted_are_named(squares_coco, predicted, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.JPE", "b.jfif", "c.ppm"):
        shutil.copy(squares_coco / "val" / "0.png", folder / name)
    (folder / "notes.txt").write_text("mine")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    paths, said = predicted(folder)
    assert [path.name for path in paths] == ["a.JPE", "b.jfif", "c.ppm"]
    assert "left out: 2 of a folder" in said
    assert f"{folder / 'notes.txt'}: its name is not that of a picture (.txt)" in said
    assert f"{folder / 'gone.png'}: a link to nothing" in said


def test_a_name_that_is_not_utf8_is_escaped_and_said_once(squares_coco, predicted, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"caf\xe9.png", b"na\xefve.png", "plain é.png".encode()):
        shutil.copy(squares_coco / "val" / "0.png", os.fsencode(folder) + b"/" + name)
    paths, said = predicted(folder)
    assert {path.name for path in paths} == {r"caf\udce9.png", r"na\udcefve.png", "plain é.png"}
    assert said.count("not UTF-8") == 1
    assert (
        r"note: 2 names of files are not UTF-8; each such byte is written as an escape: caf" in said
    )


def test_class_names_do_not_run_in_a_spreadsheet_or_a_terminal(squares_csv, tool, tmp_path, capsys):
    names = {"red": "=1+1", "green": "-5", "blue": "b\x1b[31m"}
    text = squares_csv.read_text()
    for name, hostile in names.items():
        text = text.replace(name, hostile)
    (tmp_path / "labels.csv").write_text(text)
    data = ["--data.name", "csv", "--data.csv", str(tmp_path / "labels.csv")]
    data += ["--data.root", str(squares_csv.parent), "--train.epochs", "1"]
    run = tmp_path / "run"
    tool("train").main([*data, *SMALL, "--out", str(run)])
    picture = next((squares_csv.parent / "val").iterdir())
    tool("predict").main([str(run), str(picture), "--out", str(tmp_path / "p.csv")])
    with (tmp_path / "p.csv").open(newline="") as file:
        labels = {row["label"] for row in csv.DictReader(file)}
    assert labels == {"'=1+1", "-5", "b\x1b[31m"}
    capsys.readouterr()
    tool("evaluate").main([str(run), "--per-class"])
    assert "\x1b" not in capsys.readouterr().out


def test_predict_refuses_what_is_no_picture(trained, tool, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    predict = tool("predict").main
    with pytest.raises(ValueError, match=r"broken\.jpg: the picture cannot be decoded"):
        predict([str(trained), str(broken), "--out", str(tmp_path / "p.csv")])
    assert not (tmp_path / "p.csv").exists()
    with pytest.raises(ValueError, match="no such file or folder"):
        predict([str(trained), str(tmp_path / "nothing"), "--out", str(tmp_path / "p.csv")])
    with pytest.raises(ValueError, match="--batch-size must be at least 1, got 0"):
        predict([str(trained), str(broken), "--out", "p.csv", "--batch-size", "0"])
    with pytest.raises(ValueError, match="no weights 'worst'; saved: best, best-ema, last"):
        predict([str(trained), str(broken), "--out", "p.csv", "--weights", "worst"])


def test_training_on_a_csv_of_incomplete_tags(squares_csv, tool, tmp_path, capsys):
    arguments = ["--data.name", "csv", "--data.csv", str(squares_csv)]
    arguments += ["--data.root", str(squares_csv.parent), "--train.epochs", "2", *SMALL]
    arguments += ["--data.validation", "0.2", "--out", str(tmp_path / "run")]
    tool("train").main(arguments)
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert content["train_labels"]["negative"] == 0
    assert content["train_labels"]["unknown"] > 0
    capsys.readouterr()
    tool("evaluate").main([str(tmp_path / "run"), "--weights", "last"])
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert result["unknown_labels"] == 0  # what a test row does not list is absent
    evaluate = tool("evaluate").main
    with pytest.raises(ValueError, match=r"split train: .*'negative': 0.*data\.unlisted negative"):
        evaluate([str(tmp_path / "run"), "--split", "train"])
    capsys.readouterr()
    evaluate = tool("evaluate").main
    evaluate([str(tmp_path / "run"), "--split", "train", "--data.unlisted", "negative"])
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (result["N"], result["unknown_labels"]) == (96, 0)


def test_training_learns_the_squares(trained, tool, capsys):
    """Against chance: a run that learned nothing would score about the share of positives."""
    tool("evaluate").main([str(trained), "--weights", "last"])
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert result["weights"]["last"]["mAP"]["sklearn"] > 60


def coco_with_hidden_labels_inverted(root, copy, known):
    """The same data set, but every training label that the mask hides is the opposite."""
    (copy / "annotations").mkdir(parents=True)
    for folder in ("train", "val"):
        (copy / folder).symlink_to(root / folder)
    for split in ("train", "val"):
        name = f"annotations/instances_{split}.json"
        content = json.loads((root / name).read_text())
        if split == "train":
            labels = read_coco(root, "train", name="coco").labels
            hidden = keep_proportion(labels, known) == 0
            present = np.argwhere(np.where(hidden, -labels, labels) == 1)
            content["annotations"] = [
                {
                    "id": number,
                    "image_id": content["images"][row]["id"],
                    "category_id": content["categories"][column]["id"],
                }
                for number, (row, column) in enumerate(present)
            ]
        (copy / name).write_text(json.dumps(content))


def test_hidden_labels_do_not_reach_training(squares_coco, tool, tmp_path):
    """Invert every hidden label in the files: weights, graph, counts, thresholds, choice stay."""
    coco_with_hidden_labels_inverted(squares_coco, tmp_path / "coco", 0.5)
    more = ["--train.epochs", "2", "--train.ema_decay", "0.8", "--data.validation", "0.25"]
    runs = tmp_path / "first", tmp_path / "second"
    for root, run in zip((squares_coco, tmp_path / "coco"), runs, strict=True):
        tool("train").main(coco_arguments(root, run, *more))
    truth = [read_manifest(run / "label_manifest.npz") for run in runs]
    assert isinstance(truth[0], LabelManifest)
    assert isinstance(truth[1], LabelManifest)
    hidden = truth[0].changed()
    assert hidden.mean() == pytest.approx(0.5, abs=0.1)
    np.testing.assert_array_equal(hidden, truth[1].changed())
    assert (truth[0].positive_bits != truth[1].positive_bits).any()  # the files do differ
    index, other = (json.loads((run / "weights" / "index.json").read_text()) for run in runs)
    assert set(index) == {"last", "best", "last-ema", "best-ema"}
    assert index == other  # epoch chosen, validation figures, thresholds
    for name in index:
        first, second = (load_file(run / "weights" / f"{name}.safetensors") for run in runs)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name
    content, again = (json.loads((run / "run.json").read_text()) for run in runs)
    for key in ("train_labels", "label_mask", "train_pictures", "validation_pictures"):
        assert content[key] == again[key]
    graphs = [
        label_graph(
            training_data(DataConfig(name="coco", root=str(root), known=0.5), seed=0).train.labels
        )
        for root in (squares_coco, tmp_path / "coco")
    ]
    assert torch.equal(*graphs)


def test_validation_rows_of_a_csv_file_lose_labels_too(squares_csv, tmp_path):
    text = squares_csv.read_text().replace("test,", "val,")
    (tmp_path / "labels.csv").write_text(text)
    file, root = str(tmp_path / "labels.csv"), str(squares_csv.parent)
    config = DataConfig(name="csv", csv=file, root=root, unlisted="negative", known=0.3)
    validation = training_data(config, seed=0).validation
    assert validation is not None
    assert (validation.labels == 0).mean() == pytest.approx(0.7, abs=0.15)


def test_the_validation_part_has_its_own_rows_of_the_manifest(squares_coco):
    config = DataConfig(name="coco", root=str(squares_coco), known=0.5, validation=0.25)
    everything = read_coco(squares_coco, "train", name="coco")
    observed = keep_proportion(everything.labels, 0.5)
    data = training_data(config, seed=3)
    assert data.validation is not None
    assert data.validation_rows is not None
    assert sorted([*data.rows, *data.validation_rows]) == list(range(96))
    for rows, part in ((data.rows, data.train), (data.validation_rows, data.validation)):
        np.testing.assert_array_equal(part.labels, observed[rows])
        np.testing.assert_array_equal(part.paths, everything.paths[rows])
    assert isinstance(data.manifest, LabelManifest)
    np.testing.assert_array_equal(data.manifest.restore(observed), everything.labels)


def test_a_refused_run_leaves_no_folder(squares_coco, tool, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="96 training rows do not fill one batch"):
        tool("train").main(
            coco_arguments(squares_coco, out, "--train.epochs", "1", "--train.batch_size", "97")
        )
    assert not out.exists()


def test_existing_run_is_not_overwritten(trained, squares_coco, tool):
    with pytest.raises(ValueError, match="already holds a run; continue it with"):
        tool("train").main(coco_arguments(squares_coco, trained, "--train.epochs", "1"))


OWN_LOSS = """
import torch
open("imported", "a").close()

def own(logits, targets):
    return torch.nn.functional.softplus(-logits * targets).sum(1).mean()
"""


def test_a_run_never_imports_its_own_loss_unless_it_is_named(
    squares_coco, tool, tmp_path, monkeypatch
):
    """Also where the run folder is the current folder and has a module of the loss's name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_loss.py").write_text(OWN_LOSS)
    run = tmp_path / "run"
    coco = ["--data.name", "coco", "--data.root", str(squares_coco), "--data.image_size", "32"]
    coco += ["--data.augmentation", "none", "--model.backbone", "test_resnet"]
    train = ["--train.epochs", "1", "--train.batch_size", "16", "--train.learning_rate", "1e-3"]
    tool("train").main([*coco, *train, "--loss.name", "own_loss:own", "--out", str(run)])
    assert RunFolder(run).read()["config"]["loss"]["name"] == "own_loss:own"
    assert (tmp_path / "imported").exists()
    sys.modules.pop("own_loss")
    shutil.copy(tmp_path / "own_loss.py", run)
    (tmp_path / "imported").unlink()
    monkeypatch.chdir(run)
    pumlc.load(".", device="cpu")
    tool("evaluate").main(["."])
    tool("predict").main([".", str(squares_coco / "val" / "0.png"), "--out", "p.csv"])
    with pytest.raises(UserError, match=r"add --loss.name own_loss:own"):
        tool("train").main(["--resume", "--out", "."])
    with pytest.raises(UserError, match=r"--loss.name pu: \. was trained with own_loss:own"):
        tool("train").main(["--resume", "--out", ".", "--loss.name", "pu"])
    assert not (run / "imported").exists()
    tool("train").main(["--resume", "--out", ".", "--loss.name", "own_loss:own"])
    assert (run / "imported").exists()
    sys.modules.pop("own_loss")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train.seed", "9"], r"only --data.root.* may go with it.*'--train.seed'"),
        (["--data.root"], "--data.root: expected one argument"),
        (["--data.known", "1"], "got .'--data.known', '1'."),
    ],
)
def test_resume_takes_no_other_setting(trained, tool, arguments, message):
    with pytest.raises(ValueError, match=message):
        tool("train").main(["--out", str(trained), "--resume", *arguments])


def test_resume_names_the_run(tool):
    with pytest.raises(ValueError, match="It needs --out RUN"):
        tool("train").main(["--resume"])


def test_errors_of_the_user_are_one_line(squares_coco, tmp_path):
    command = [sys.executable, "tools/train.py", "--data.root", "nowhere", "--data.name", "coco"]
    done = subprocess.run(
        [*command, *SMALL, "--train.epochs", "1", "--out", str(tmp_path / "x")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: --data.root nowhere is not")
    assert "Traceback" not in done.stderr


def test_a_killed_run_resumes_to_the_same_weights(squares_coco, tool, tmp_path):
    """Also when its data were moved in between."""
    arguments = ["--train.epochs", "4", "--train.ema_decay", "0.9"]
    tool("train").main(coco_arguments(squares_coco, tmp_path / "whole", *arguments))
    data = tmp_path / "data"
    shutil.copytree(squares_coco, data)
    command = [
        sys.executable,
        str(ROOT / "tools" / "train.py"),
        *coco_arguments(data, tmp_path / "cut", *arguments),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    state = tmp_path / "cut" / "checkpoint" / "state.pt"
    while not state.exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "weights" / "last.safetensors").exists(), "killed too late"
    moved = data.rename(tmp_path / "moved")
    tool("train").main([f"--out={tmp_path / 'cut'}", "--resume", "--data.root", str(moved)])
    for name in ("last", "last-ema"):
        whole = load_file(tmp_path / "whole" / "weights" / f"{name}.safetensors")
        cut = load_file(tmp_path / "cut" / "weights" / f"{name}.safetensors")
        assert whole.keys() == cut.keys()
        assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_the_number_of_workers_changes_no_weight(squares_coco, tool, tmp_path):
    """Mixtures are drawn from the global generator, which a DataLoader draws from too."""
    arguments = ["--train.epochs", "3", "--loss.mixup_weight", "1", "--train.workers"]
    for workers in ("0", "2"):
        tool("train").main(coco_arguments(squares_coco, tmp_path / workers, *arguments, workers))
    one, other = (load_file(tmp_path / w / "weights" / "last.safetensors") for w in ("0", "2"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_folder_that_is_trained_into_is_refused(squares_coco, tool, tmp_path):
    run = tmp_path / "run"
    start = coco_arguments(squares_coco, run, "--train.epochs", "1")
    with RunFolder(run).held(), pytest.raises(ValueError, match="another process is training into"):
        tool("train").main(start)
    tool("train").main(start)
    resume = ["--out", str(run), "--resume"]
    with RunFolder(run).held(), pytest.raises(ValueError, match="another process is training into"):
        tool("train").main(resume)
    tool("train").main(resume)


def test_what_two_processes_store_is_what_the_saved_weights_score(
    squares_coco, tool, tmp_path, capsys
):
    """BatchNorm's statistics are of each process's own batches, and those of one are saved."""
    run = tmp_path / "run"
    settings = ["--train.epochs", "2", "--data.validation", "0.3", "--model.batch_norm", "train"]
    arguments = coco_arguments(squares_coco, run, *settings, "--train.ema_decay", "0.5")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "--standalone", "tools/train.py", *arguments, "--train.batch_size", "8"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    capsys.readouterr()
    tool("evaluate").main([str(run), "--split", "validation"])
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    for name, entry in json.loads((run / "weights" / "index.json").read_text()).items():
        found = result["weights"][name]["mAP"]["sklearn"]
        assert found == pytest.approx(entry["score"], abs=1e-4), name


def test_two_processes_train_and_score_every_picture_once(squares_coco, tool, tmp_path, capsys):
    """Global statistics: two processes of 8 descend as one of 16 does."""
    settings = ["--train.epochs", "1", "--loss.mixup_weight", "0", "--model.batch_norm", "frozen"]
    settings += ["--train.optimizer", "sgd", "--data.augmentation", "none"]
    settings += ["--loss.statistics", "global"]
    one, two = tmp_path / "one", tmp_path / "two"
    tool("train").main(coco_arguments(squares_coco, one, *settings))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    torchrun += ["--standalone"]  # on a free port
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    folder = tmp_path / "pictures"
    shutil.copytree(squares_coco / "val", folder)
    (folder / "broken.png").write_bytes(b"no picture")
    for arguments in (
        [
            "tools/train.py",
            *coco_arguments(squares_coco, two, *settings),
            "--train.batch_size",
            "8",
        ],
        ["tools/predict.py", str(two), str(folder), "--out", str(tmp_path / "two.csv")],
        ["tools/evaluate.py", str(two)],
    ):
        done = subprocess.run(
            [*torchrun, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        if "tools/predict.py" in arguments:
            assert done.returncode == 1
            assert done.stderr.count("no prediction for 1 pictures") == 1
            continue
        assert done.returncode == 0, done.stderr
        for warning in ("broadcast_buffers", "Grad strides"):  # each rank would print it
            assert warning not in done.stderr
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert result["N"] == 33
    assert json.loads((two / "run.json").read_text())["world_size"] == 2
    first, second = (load_file(run / "weights" / "last.safetensors") for run in (one, two))
    for key in first:
        torch.testing.assert_close(first[key], second[key], rtol=1e-3, atol=1e-5)
    capsys.readouterr()
    tool("evaluate").main([str(two)])
    alone = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    here, there = alone["weights"]["last"], result["weights"]["last"]
    with pytest.raises(SomeFailedError, match="no prediction for 1 pictures"):
        tool("predict").main([str(two), str(folder), "--out", str(tmp_path / "one.csv")])
    assert (tmp_path / "two.csv").read_text() == (tmp_path / "one.csv").read_text()
    assert here["mAP"]["sklearn"] == pytest.approx(there["mAP"]["sklearn"], abs=1e-6)
