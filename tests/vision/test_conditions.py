"""Conditions of a sweep: what labels go through in the cells, by the command."""

import csv
import json

import numpy as np
import pytest
import yaml
from sweep_cases import feature_config, run_tool

from pumlc.errors import UserError
from pumlc.estimators import fit_least_squares
from pumlc.labels import keep_proportion, mislabel, miss_by_visibility
from pumlc.recipes import recipe_file
from pumlc.vision.data.observation import Observation
from pumlc.vision.frozen.probe import ProbeData
from pumlc.vision.sweep.feature_cells import observed_labels

pytestmark = pytest.mark.filterwarnings("ignore:features of test_resnet with random weights")
MISLABELLED = {"noise": {"kind": "mislabel", "rate": 0.2}, "known": 0.5}
MISSED = {"fn50": {"false_negative": 0.5}}
CONDITIONS = {
    "mis20": MISLABELLED,
    "hard": {"noise": {"kind": "hard-to-see", "rate": 0.5}},
}


def config_with(squares_coco, tmp_path, conditions, **changes):
    return {**feature_config(squares_coco, tmp_path), "conditions": conditions, **changes}


def read_rows(file):
    with file.open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def finished(squares_coco, tmp_path_factory, tool):
    """The folder of a sweep over a proportion and two conditions."""
    folder = tmp_path_factory.mktemp("conditions")
    config = config_with(squares_coco, folder, CONDITIONS, proportions=[1.0], seeds=[0, 1])
    config["families"] = {"either": ["bce", "pnu"]}
    run_tool(tool("sweep"), folder, config, "--workers", "2")
    return folder, config


def test_tables_by_condition(finished):
    out = finished[0] / "out"
    rows = read_rows(out / "results.csv")
    assert len(rows) == 2 * 2 * 3 * 4
    assert {(row["condition"], row["proportion"]) for row in rows} == {
        ("100 %", "1.0"),
        ("mis20", "0.5"),
        ("hard", "1.0"),
    }
    report = (out / "table.md").read_text()
    assert "Not in these tables" not in report
    header = next(line for line in report.splitlines() if line.startswith("| method"))
    assert [cell.strip() for cell in header.split("|")[2:-1]] == ["100 %", "hard", "mis20"]
    assert "Ranks. Classes: all" in report
    assert "bce beside the best of the others" in report
    assert "average rank" in report
    assert "mis20" in (out / "table.tex").read_text()
    assert "out: mean over all classes" in (out / "plot.svg").read_text()


def test_what_was_chosen_has_a_row_a_cell(finished):
    out = finished[0] / "out"
    rows, chosen = read_rows(out / "results.csv"), read_rows(out / "chosen.csv")
    keys = [(row["method"], row["condition"], row["seed"]) for row in chosen]
    assert len(set(keys)) == len(keys) == 3 * 3 * 2  # with the family
    for row in chosen:
        candidates = [
            candidate
            for candidate in rows
            if candidate["method"] == (row["member"] or row["method"])
            and all(
                candidate[name] == row[name]
                for name in ("condition", "seed", "learning_rate", "epochs")
            )
        ]
        assert [candidate["all"] for candidate in candidates] == [row["mAP"]]
        assert candidates[0]["validation"] == row["validation"]
    for method in ("bce", "pnu", "either"):  # one setting for all conditions
        settings = {(r["learning_rate"], r["epochs"]) for r in chosen if r["method"] == method}
        assert len(settings) == 1


def test_labels_of_a_cell_are_those_of_the_condition(finished):
    (file,) = (finished[0] / "out").glob("probe_data.*.pt")
    data = ProbeData.load(file)
    assert data.classes == ["red", "green", "blue"]
    cell = json.loads((finished[0] / "out" / "cells" / "pnu-mis20-1.json").read_text())
    assert cell["settings"]["condition"]["noise"]["kind"] == "mislabel"
    proportion = json.loads((finished[0] / "out" / "cells" / "pnu-1-1.json").read_text())
    assert "condition" not in proportion["settings"]  # as before there were any
    noise = cell["settings"]["condition"]["noise"]
    seen = observed_labels(data, observation(MISLABELLED), 1)
    expected = keep_proportion(mislabel(data.train_labels, noise["rate"], seed=1), 0.5, seed=1)
    np.testing.assert_array_equal(seen, expected)
    seen = observed_labels(data, observation(CONDITIONS["hard"]), 1)
    scores = fit_least_squares(data.train.numpy(), data.train_labels).loo_scores
    expected = miss_by_visibility(data.train_labels, scores, 0.5, seed=1)
    np.testing.assert_array_equal(seen, expected)


def observation(settings):
    from pumlc.engine.config import from_plain

    return from_plain(Observation, settings)


def test_only_some_methods(finished, tool, capsys):
    folder, config = finished
    before = {path: path.stat().st_mtime_ns for path in (folder / "out" / "cells").iterdir()}
    run_tool(tool("sweep"), folder, config, "--only", "pnu")
    report = capsys.readouterr().out
    assert "| pnu" in report
    assert "bce" not in report
    assert "| either: pnu" in report
    assert "Not in these tables: 6 finished cells of other methods" in report
    assert before == {path: path.stat().st_mtime_ns for path in before}  # none was run again
    with pytest.raises(UserError, match="--only: no method 'pun'; did you mean 'pnu'"):
        run_tool(tool("sweep"), folder, config, "--only", "bce,pun")
    run_tool(tool("sweep"), folder, config)  # as other tests read it


def test_positives_alone_are_chosen_by_unknown_as_absent(squares_coco, tmp_path, tool):
    conditions = {"single": {"protocol": "single-positive"}}
    config = config_with(squares_coco, tmp_path, conditions, proportions=[], seeds=[0])
    squares = {"loss": {"name": "squared", "parameters": {"unknown": "ignore"}}}
    config["methods"]["squares"] = {**squares, "heads": "closed-form"}
    run_tool(tool("sweep"), tmp_path, config)
    rows = read_rows(tmp_path / "out" / "results.csv")
    assert {row["method"] for row in rows} == {"bce", "pnu", "squares"}
    assert all(0 < float(row["validation"]) < 100 for row in rows)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"a-b": {}}, "conditions must be names that begin with a letter, .*got 'a-b'"),
        ({"10 %": {}}, "conditions must be names that begin with a letter"),
        ({"a": {"known": 0.0}}, r"conditions\.a\.known must be in \(0, 1\]"),
        ({"a": {"noise": {"kind": "mislabel"}}}, "noise.rate must be a number"),
        ({"a": {"knwon": 0.1}}, "no setting 'conditions.a.knwon'; did you mean"),
        ({"a": {"protocol": "positive-list"}}, r"conditions\.a\.protocol must be another protocol"),
        ({}, "proportions, conditions must be at least one of either"),
        ({"a": {"false_negative": {"rd": 0.5}}}, "no class 'rd'; did you mean 'red'"),
    ],
)
def test_conditions_that_are_refused(squares_coco, tmp_path, tool, conditions, message):
    config = config_with(squares_coco, tmp_path, conditions, proportions=[])
    with pytest.raises(ValueError, match=message):
        run_tool(tool("sweep"), tmp_path, config)


def test_training_can_take_negatives_for_unknown(squares_coco, tmp_path, tool):
    config = config_with(squares_coco, tmp_path, MISSED, proportions=[])
    unknown_is_negative = {"loss": {"name": "bce", "parameters": {"unknown": "negative"}}}
    splc = {"loss": {"name": "splc", "parameters": {"threshold": 0.6, "gamma": 2, "margin": 1}}}
    doubting = {"negatives": "unknown"}
    config["methods"] = {
        "all": {"loss": {"name": "bce", "parameters": {"unknown": "ignore"}}},
        "same": {**unknown_is_negative, **doubting},
        "splc": splc,
        "splc_doubting": {**splc, **doubting},
    }
    run_tool(tool("sweep"), tmp_path, config)
    rows = {name: [] for name in config["methods"]}
    for row in read_rows(tmp_path / "out" / "results.csv"):
        rows[row["method"]].append({**row, "method": None})
    assert rows["all"] == rows["same"]  # validation keeps the negatives
    assert rows["splc"] != rows["splc_doubting"]
    cells = tmp_path / "out" / "cells"
    found = [json.loads((cells / f"{name}-fn50-0.json").read_text()) for name in ("all", "same")]
    assert ["negatives" in cell["settings"]["method"] for cell in found] == [False, True]


def test_another_set_by_its_label_file(squares_coco, squares_csv, tmp_path, tool):
    """The noise sweep of the package names VOC; two options replace it."""
    config = yaml.safe_load(recipe_file("sweeps/noise").read_text())
    config["features"]["model"] = {"backbone": "test_resnet"}
    config["features"]["cache"] = str(tmp_path / "features")
    config["features"]["data"]["image_size"] = 32
    config["conditions"] = {"mis20": config["conditions"]["mis20"]}
    other = ["--features.data.labels", str(squares_csv), "--features.data.root", str(squares_coco)]
    unlisted = ["--features.data.unlisted", "negative", "--seeds", "[0]"]
    run_tool(tool("sweep"), tmp_path, config, *other, *unlisted, "--only", "soft_squares,asl")
    rows = read_rows(tmp_path / "out" / "chosen.csv")
    assert {row["method"] for row in rows} == {"soft_squares", "asl"}
    assert all(float(row["mAP"]) > 50 for row in rows)
    (file,) = (tmp_path / "out").glob("probe_data.*.pt")
    assert sorted(ProbeData.load(file).classes) == ["blue", "green", "red"]
