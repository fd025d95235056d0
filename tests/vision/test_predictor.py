"""The predictor of image runs: what it takes; tools/predict.py: which labels it calls present."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from scipy.special import expit, logit

import pumlc
from pumlc.errors import UserError
from pumlc.vision.evaluation import evaluate_run, report

ROOT = Path(__file__).parent.parent.parent
PER_CLASS = {"red": 0.2, "green": 0.5, "blue": 0.8}


def with_curve(curve):
    return {"slope": [1, 1, 1], "bias": [0, 0, 0], "curve": curve}


@pytest.fixture(scope="module")
def trained(squares_coco, tmp_path_factory):
    """One epoch with a validation part."""
    out = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["--data.name", "coco", "--data.root", str(squares_coco), "--out", str(out)]
    arguments += ["--data.image_size", "32", "--data.validation", "0.25", "--train.epochs", "1"]
    arguments += ["--model.backbone", "test_resnet", "--train.batch_size", "16"]
    arguments += ["--train.learning_rate", "5e-3", "--loss.name", "bce"]
    arguments += ["--loss.parameters.unknown", "ignore"]
    command = [sys.executable, "tools/train.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def run_with(trained, tmp_path):
    """A copy of the run with the thresholds of the test, or without any."""

    def copy(thresholds: dict | None, **more: dict) -> Path:
        run = tmp_path / "copied"
        shutil.copytree(trained, run)
        file = run / "weights" / "index.json"
        index = json.loads(file.read_text())
        for entry in index.values():
            entry["extras"] = {} if thresholds is None else {"thresholds": thresholds, **more}
        file.write_text(json.dumps(index))
        return run

    return copy


@pytest.fixture
def paths(squares_coco):
    return sorted((squares_coco / "val").iterdir())[:5]


def test_one_picture_in_the_place_of_a_list_is_refused(trained, paths):
    predictor = pumlc.load(trained, device="cpu")
    for one, got in (
        (str(paths[0]), "got '.*png'"),
        (paths[0], r"got .*Path\('.*png'\)"),
        (Image.open(paths[0]), "got <PIL"),
        (np.zeros((32, 32, 3), np.uint8), r"got an array \[32, 32, 3\]"),
    ):
        with pytest.raises(ValueError, match=rf"must be a list.*\[picture\] for one\), {got}"):
            predictor.predict(one)


def test_any_iterable_of_pictures(trained, paths):
    predictor = pumlc.load(trained, device="cpu")
    expected = predictor.predict(paths).scores
    assert expected.shape == (5, 3)
    for images in (
        (path for path in paths),
        map(str, paths),
        (Image.open(path) for path in paths),
        np.stack([np.asarray(Image.open(path)) for path in paths]),
    ):
        scores = predictor.predict(images, batch_size=2).scores
        assert scores == pytest.approx(expected, abs=1e-6)
    assert predictor.predict(iter([])).scores.shape == (0, 3)


@pytest.mark.parametrize(
    ("stored", "options", "expected", "line"),
    [
        (True, [], PER_CLASS, "per class, fitted on the validation part"),
        (True, ["--threshold", "fitted"], PER_CLASS, "per class, fitted on the validation part"),
        (True, ["--threshold", "0.3"], dict.fromkeys(PER_CLASS, 0.3), "0.3"),
        (False, [], dict.fromkeys(PER_CLASS, 0.5), "0.5, since no validation part was held out"),
        (False, ["--threshold", "0"], dict.fromkeys(PER_CLASS, 0.0), "0"),
    ],
)
def test_present_is_the_score_at_the_threshold(
    run_with, paths, tool, monkeypatch, capsys, stored, options, expected, line
):
    grid = np.array([0.1, 0.2, 0.3, 0.6, 0.9])[:, None].repeat(3, 1)
    monkeypatch.setattr(
        "pumlc.vision.predictor.VisionPredictor.predict",
        lambda self, images, **_: (grid[: len(list(images))], self.labels),
    )
    run = run_with({"global": 0.9, "per_class": list(PER_CLASS.values())} if stored else None)
    tool("predict").main([str(run), *map(str, paths), "--weights", "best", *options])
    printed = capsys.readouterr()
    assert printed.err == f"threshold of present: {line} (weights: best)\n"
    rows = list(csv.DictReader(printed.out.splitlines()))
    assert list(rows[0]) == ["path", "label", "score", "present"]
    assert len(rows) == 15
    for row in rows:
        assert row["present"] == str(int(float(row["score"]) >= expected[row["label"]]))


def test_classes_with_the_threshold_of_all_classes_are_named(run_with, paths, tool, capsys):
    run = run_with({"global": 0.4, "per_class": [0.4, 0.4, 0.5], "global_in": [0, 1]})
    tool("predict").main([str(run), str(paths[0])])
    told = capsys.readouterr().err
    assert "the common one for 'red', 'green', which had too few labels to fit one" in told
    assert "'red', 'green' had too few labels to fit one" in report(
        evaluate_run(run, Accelerator(cpu=True))
    )


def test_probabilities_are_calibrated_everywhere(run_with, paths):
    """Predictor, evaluation and its note go by what the run stores, and by the sigmoid without."""
    thresholds = {"global": 0.4, "per_class": [0.4, 0.4, 0.5]}
    stored = {"slope": [0.5, 2, 3], "bias": [1, 0, -1]}
    plain, run = run_with(None), None
    logits = logit(pumlc.load(plain).predict(paths).probabilities.astype(np.float64))
    shutil.rmtree(plain)
    run = run_with(thresholds, calibration=stored)
    found = pumlc.load(run).predict(paths).probabilities
    np.testing.assert_allclose(found, expit(np.array([0.5, 2, 3]) * logits + [1, 0, -1]), atol=1e-4)
    result = evaluate_run(run, Accelerator(cpu=True), weights=["best"])
    entry = result["weights"]["best"]
    assert entry["calibrated_on"] == "validation"
    assert entry["ECE"] != entry["ECE_uncalibrated"]
    assert f"off by {entry['ECE']:.1f} % on average (ECE); they are calibrated" in report(result)
    shutil.rmtree(run)
    stored["curve"] = {"at": [-1, 0.5], "to": [-3, 0]}
    bent = pumlc.load(run_with(thresholds, calibration=stored)).predict(paths).probabilities
    straight = np.array([0.5, 2, 3]) * logits + [1, 0, -1]
    by_hand = np.interp(straight, [-1, 0.5], [-3, 0])
    by_hand = np.where(straight < -1, straight - 2, by_hand)
    by_hand = np.where(straight > 0.5, straight - 0.5, by_hand)
    np.testing.assert_allclose(bent, expit(by_hand), atol=1e-4)


def test_a_run_stores_a_calibration_that_helps(trained):
    index = json.loads((trained / "weights" / "index.json").read_text())
    stored = index["best"]["extras"]["calibration"]
    assert len(stored["slope"]) == len(stored["bias"]) == 3
    entry = evaluate_run(trained, Accelerator(cpu=True), split="validation", weights=["best"])
    figures = entry["weights"]["best"]
    assert figures["ECE"] < figures["ECE_uncalibrated"]


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"slope": [1, 1], "bias": [0, 0, 0]}, "a mapping of slope and bias, 3 numbers each"),
        ({"slope": [1, 1, "1"], "bias": [0, 0, 0]}, "3 numbers each"),
        ({"slope": [1, 1, 1], "bias": [0, 0, float("nan")]}, "3 numbers each"),
        ({"slope": [1, 1, 1], "bias": [0, 0, 10**400]}, "3 numbers each"),
        ([1], "3 numbers each"),
        ({"slope": [1, -1, 1], "bias": [0, 0, 0]}, "slope must be above 0, got -1"),
        (with_curve([0, 1]), "curve must be a mapping of at and to"),
        (with_curve({"at": [0, 1], "to": [0]}), "as many rising numbers each"),
        (with_curve({"at": [0, 1], "to": [1, 1]}), "as many rising numbers each"),
        (with_curve({"at": [0, float("inf")], "to": [0, 1]}), "as many rising numbers each"),
        (with_curve({"at": [0, "1"], "to": [0, 1]}), "as many rising numbers each"),
        (with_curve({"at": [0, 10**400], "to": [0, 1]}), "as many rising numbers each"),
    ],
)
def test_a_calibration_from_anyone_is_checked(run_with, stored, message):
    run = run_with({"global": 0.4, "per_class": [0.4, 0.4, 0.5]}, calibration=stored)
    with pytest.raises(ValueError, match=f"calibration of '.*{message}"):
        pumlc.load(run)


def test_an_invalid_threshold(run_with, paths, tool):
    predict, run = tool("predict").main, str(run_with(None))
    with pytest.raises(ValueError, match="--threshold fitted: last has no fitted thresholds.*held"):
        predict([run, str(paths[0]), "--threshold", "fitted"])
    for value in ("1.5", "-1", "nan", "high"):
        message = rf"--threshold must be 'fitted' or a number in \[0, 1\], got '{value}'"
        with pytest.raises(ValueError, match=message):
            predict([run, str(paths[0]), f"--threshold={value}"])


def test_out_that_cannot_be_a_file_is_refused_before_the_work(paths, tool, tmp_path):
    for out, message in (
        (tmp_path / "missing" / "p.csv", "--out .*p.csv: there is no folder .*missing"),
        (tmp_path, f"--out {tmp_path} is a folder; name a file"),
    ):
        with pytest.raises(ValueError, match=message):
            tool("predict").main([str(tmp_path / "no_run"), str(paths[0]), "--out", str(out)])


def test_predicting_loads_no_training_code():
    code = (
        "import sys, pumlc.vision.predictor\n"
        "unwanted = ('pumlc.losses', 'pumlc.engine.loop', 'pumlc.engine.training',\n"
        "            'pumlc.vision.task', 'pumlc.vision.data.split', 'pycocotools')\n"
        "assert not set(unwanted) & set(sys.modules), set(unwanted) & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("part", ["data", "models", "scoring.py"])
def test_what_the_task_stands_on_does_not_import_it(part):
    place = ROOT / "pumlc" / "vision" / part
    for path in [place] if place.is_file() else place.rglob("*.py"):
        assert "pumlc.vision.task" not in path.read_text(), path


def test_weights_of_a_training_that_diverged_are_refused(run_with, paths):
    from safetensors.torch import load_file, save_file

    run = run_with(None)
    file = run / "weights" / "last.safetensors"
    # copies: the tensors may be mapped from the file that is written below
    state = {name: value.clone() for name, value in load_file(file).items()}
    state["head.bias"][0] = float("nan")
    save_file(state, file)
    with pytest.raises(UserError, match=r"head.bias has numbers that are not finite"):
        pumlc.load(run, "last", "cpu")
    # finite weights whose logits are not
    state["head.bias"][0] = 0.0
    state["head.weight"] = torch.full_like(state["head.weight"], 3e38)
    save_file(state, file)
    with pytest.raises(UserError, match="weights 'last' give logits that are not finite"):
        pumlc.load(run, "last", "cpu").predict(paths)
    with pytest.raises(UserError, match="weights 'last' give logits that are not finite"):
        evaluate_run(run, Accelerator(cpu=True), weights=["last"])


def test_what_an_evaluation_returns_is_plain_json(run_with):
    """Also where there is no number: None, not nan."""
    run = run_with(None)
    result = evaluate_run(run, Accelerator(cpu=True), weights=["last"], classes=["red"])
    json.dumps(result, allow_nan=False)
    text = report(result, per_class=True)
    assert "mAP of the named classes" in text
    assert "unknown labels" not in text  # there are none
    assert re.search(r"\| last +\| 1 .*\| 33 ", text)
    assert "--" not in re.sub(r"\|-+", "", text)
    result["untrained_classes"] = ["red"]
    assert "no positive training label of 'red': the mAP" in report(result)
    result["weights"]["last"]["mAP_of_classes"]["sklearn"] = None
    assert re.search(r"\| - +\|", report(result))


def test_a_run_folder_cannot_make_the_package_download(run_with):
    run = run_with(None)
    content = json.loads((run / "run.json").read_text())
    content["config"]["model"]["backbone"] = "hf-hub:someone/model"
    (run / "run.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"model\.backbone must be a name of timm's own list"):
        pumlc.load(run, device="cpu")


def test_the_screen_shows_the_decisions_of_the_weights_to_quote(run_with):
    run = run_with({"global": 0.4, "per_class": [0.3, 0.4, 0.5]})
    result = evaluate_run(run, Accelerator(cpu=True), oracle=True)
    rows = [line for line in report(result).splitlines() if "threshold" in line]
    assert len(rows) == 5
    assert all(row.startswith(f"| {result['preferred']} ") for row in rows)
    both = [line for line in report({**result, "preferred": "last"}).splitlines() if "mAP" in line]
    assert len(both) == 2  # the header of the weights and the sentence
    del result["preferred"]
    assert "averaged over" not in report(result)
