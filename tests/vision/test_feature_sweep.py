"""A sweep of linear heads on frozen features, by the command."""

import csv
import json
import shutil
import sys

import pytest
import yaml
from sweep_cases import feature_config, run_tool

from pumlc.cli import console
from pumlc.sweep.cells import FailedCells
from pumlc.sweep.choose import choose, stopped_early
from pumlc.sweep.tables import markdown
from pumlc.vision.sweep.report import CANDIDATES, EPOCHS

pytestmark = pytest.mark.filterwarnings("ignore:features of test_resnet with random weights")


def test_the_tool_on_features(squares_coco, tmp_path, tool, capsys):
    file = tmp_path / "sweep.yaml"
    config = {**feature_config(squares_coco, tmp_path), "families": {"either": ["bce", "pnu"]}}
    file.write_text(yaml.safe_dump(config))
    out = tmp_path / "out"
    sweep = tool("sweep")
    sweep.main(["--config", str(file), "--out", str(out)])
    with (out / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 * 1 * 4
    assert all(0 <= float(row["all"]) <= 100 for row in rows)
    report = (out / "table.md").read_text()
    assert "100 %" in report
    assert "| either: " in report
    assert (out / "plot.svg").stat().st_size > 1000
    cells = sorted((out / "cells").glob("*.json"))
    before = [path.read_text() for path in cells]
    cells[0].unlink()
    capsys.readouterr()
    sweep.main(["--config", str(file), "--out", str(out)])
    assert "1/1 bce-0.5-0" in capsys.readouterr().out
    assert [path.read_text() for path in cells] == before  # bitwise what it was


OWN_LOSSES = """
from pumlc.errors import UserError
from pumlc.losses import binary_cross_entropy_loss


def bce(logits, targets):
    return binary_cross_entropy_loss(logits, targets, unknown="ignore")


def broken(logits, targets):
    return {}["oops"]


def refusing(logits, targets):
    raise UserError("no label for me")
"""
LESS, MORE = {"gamma": -1.0}, {"gama": 1.0}


def own_losses(tmp_path, monkeypatch, name):
    """Losses in the current folder, from where workers import them too."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{name}.py").write_text(OWN_LOSSES)


def test_the_table_of_a_sweep_with_failed_cells(squares_coco, tmp_path, tool, monkeypatch, capsys):
    own_losses(tmp_path, monkeypatch, "failing_head_losses")
    config = feature_config(squares_coco, tmp_path)
    for name in ("broken", "refusing"):
        config["methods"][name] = {"loss": {"name": f"failing_head_losses:{name}"}}
    with pytest.raises(SystemExit) as end:
        console.run(lambda: run_tool(tool("sweep"), tmp_path, config, "--workers", "2"))
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "4 of 8 cells failed:" in error
    assert "\n  refusing-0.5-0: no label for me\n" in error
    assert "\n  broken-0.5-0: KeyError: 'oops' (its traceback is shown above)\n" in error
    assert error.count('return {}["oops"]') == 2
    report = (tmp_path / "out" / "table.md").read_text()
    assert "4 cells failed" in report
    assert "pnu" in report


def test_heads_are_trained_with_a_loss_of_ones_own(squares_coco, tmp_path, tool, monkeypatch):
    own_losses(tmp_path, monkeypatch, "head_losses")
    config = feature_config(squares_coco, tmp_path)
    config["methods"]["own"] = {"loss": {"name": "head_losses:bce"}}
    run_tool(tool("sweep"), tmp_path, config)
    with (tmp_path / "out" / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    own, shipped = (
        [{**row, "method": None} for row in rows if row["method"] == name]
        for name in ("own", "bce")
    )
    assert len(own) == 8
    assert own == shipped


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("methods.bad", {"loss": {"name": "pu", "parameters": {"gamma": -1, "alpha": 2}}}, "gamma"),
        (
            "methods.bad",
            {"loss": {"name": "pu", "parameters": {"gamma": "known", "alpha": 2}}},
            r"loss\.parameters\.gamma must be a number of at least 0 for pu, got 'known'",
        ),
        (
            "methods.bad",
            {"loss": {"name": "pu", "parameters": {"gamma": 1, "alpha": 2}}, "per_epoch": LESS},
            r"methods\.bad\.loss\.parameters\.gamma must be .*got -1.0",
        ),
        (
            "methods.bad",
            {"loss": {"name": "pu", "parameters": {"gamma": 1, "alpha": 2}}, "first_epoch": MORE},
            r"methods\.bad\.loss\.parameters: pu has no parameter 'gama'; did you mean 'gamma'",
        ),
        (
            "methods.bad",
            {"loss": {"name": "no_such_module_at_all:loss"}},
            r"methods\.bad\.loss\.name: .*no module 'no_such_module_at_all'",
        ),
        ("methods.bad", {"loss": {"name": "softmax"}}, "softmax is a loss for texts"),
        ("seeds", [0, -1], r"seeds must be in \[0, 2\*\*32\), got -1"),
        ("features.probe.learning_rates", [0.1, 0.0], "above 0"),
        ("features.probe.validation", 0.001, "leaves the held-out part or the rest empty"),
        ("features.probe.validation", 0.999, "leaves the held-out part or the rest empty"),
    ],
)
def test_what_every_cell_would_refuse_is_refused_before_features(
    squares_coco, tmp_path, tool, path, value, message
):
    config = feature_config(squares_coco, tmp_path)
    *groups, name = path.split(".")
    group = config
    for key in groups:
        group = group[key]
    group[name] = value
    with pytest.raises(ValueError, match=message) as info:
        run_tool(tool("sweep"), tmp_path, config)
    assert not isinstance(info.value, FailedCells)
    assert not list((tmp_path / "features").glob("*.npy"))


def test_listed_classes_choose_for_themselves(squares_coco, tmp_path, tool):
    config = feature_config(squares_coco, tmp_path)
    config["features"]["probe"]["classes"] = ["red"]
    run_tool(tool("sweep"), tmp_path, config)
    with (tmp_path / "out" / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert any(row["validation"] != row["validation_listed"] for row in rows)
    report = (tmp_path / "out" / "table.md").read_text()
    assert "What was chosen, by validation_listed; one learning rate and number" in report
    for row in rows:  # text, as the file has it
        row.update({"learning_rate": float(row["learning_rate"]), "epochs": int(row["epochs"])})
        for name in ("proportion", "validation", "validation_listed", "listed", "all"):
            row[name] = float(row[name])
    expected = markdown(choose(rows, ["method"], "validation_listed", CANDIDATES), "listed")
    assert expected in report.split("Classes: listed; one learning rate and number")[1]
    stopped = stopped_early(rows, "validation_listed", CANDIDATES, EPOCHS)
    expected = markdown(choose(stopped, ["method"], "validation_listed", CANDIDATES), "listed")
    assert expected in report.split("Classes: listed; one learning rate, every run")[1]


def test_cells_of_other_labels_are_refused(squares_csv, tmp_path, tool):
    config = feature_config(squares_csv.parent, tmp_path)
    config["features"]["data"].update(name="csv", csv=str(squares_csv), unlisted="negative")
    run_tool(tool("sweep"), tmp_path, config)
    text = squares_csv.read_text()
    squares_csv.write_text(
        text.replace("red", "tmp").replace("green", "red").replace("tmp", "green")
    )
    try:
        with pytest.raises(ValueError, match="other settings"):
            run_tool(tool("sweep"), tmp_path, config)
    finally:
        squares_csv.write_text(text)  # other tests share the file


@pytest.mark.parametrize(
    ("families", "message"),
    [
        ({"bce": ["pnu"]}, "families must be names that no method has, got 'bce'"),
        ({"f": []}, "families.f must be at least one method"),
        ({"f": ["pnu", "asl"]}, r"families.f must be among bce, pnu, got \['asl'\]"),
    ],
)
def test_families_are_of_methods(squares_coco, tmp_path, tool, families, message):
    config = {**feature_config(squares_coco, tmp_path), "families": families}
    with pytest.raises(ValueError, match=message):
        run_tool(tool("sweep"), tmp_path, config)


def test_out_that_is_a_file_is_refused_before_the_work(squares_coco, tmp_path, tool):
    config = feature_config(squares_coco, tmp_path)
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="out must be a folder"):
        run_tool(tool("sweep"), tmp_path, config)
    with pytest.raises(ValueError, match="sub must be a folder"):
        run_tool(tool("sweep"), tmp_path, config, "--out", str(tmp_path / "out" / "sub"))
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize(
    ("trained", "classes", "message"),
    [
        (
            "all",
            ["red", "cow"],
            r"features\.probe\.classes: .* has no 'cow'; valid: .*blue, mauve",
        ),
        (
            "frequent",
            ["mauve"],
            r"probe\.classes: \['mauve'\] are left out by probe\.trained frequent",
        ),
    ],
)
def test_classes_are_checked_before_features_are_extracted(
    squares_coco, tmp_path, tool, trained, classes, message
):
    root = tmp_path / "coco"
    shutil.copytree(squares_coco, root)
    for file in (root / "annotations").iterdir():
        content = json.loads(file.read_text())
        content["categories"].append({"id": 9, "name": "mauve"})  # of no picture
        file.write_text(json.dumps(content))
    config = feature_config(root, tmp_path)
    config["features"]["probe"].update(trained=trained, classes=classes)
    with pytest.raises(ValueError, match=message):
        run_tool(tool("sweep"), tmp_path, config)
    assert not (tmp_path / "features").exists()


def test_held_out_labels_without_a_negative(squares_csv, tmp_path, tool):
    config = feature_config(squares_csv.parent, tmp_path)
    config["features"]["data"].update(name="csv", csv=str(squares_csv))
    with pytest.raises(ValueError, match="train: .*without a negative.*data.unlisted negative"):
        run_tool(tool("sweep"), tmp_path, config)


def test_cells_run_by_jobs(squares_coco, tmp_path, tool, monkeypatch, capfd):
    config = feature_config(squares_coco, tmp_path)
    run_tool(tool("sweep"), tmp_path, config)
    expected = (tmp_path / "out" / "results.csv").read_text()
    shutil.rmtree(tmp_path / "out")
    config["launcher"] = {"name": "joblib", "jobs": 2, "settings": {"backend": "loky"}}
    run_tool(tool("sweep"), tmp_path, config)
    assert (tmp_path / "out" / "results.csv").read_text() == expected
    assert "bce-1-0" in capfd.readouterr().out


def test_cells_that_fail_in_jobs(squares_coco, tmp_path, tool, monkeypatch):
    own_losses(tmp_path, monkeypatch, "failing_losses_of_jobs")
    config = feature_config(squares_coco, tmp_path)
    config["methods"]["refusing"] = {"loss": {"name": "failing_losses_of_jobs:refusing"}}
    config["launcher"] = {"name": "joblib", "settings": {"backend": "threading"}}
    with pytest.raises(FailedCells, match="2 of 6 cells failed:\n  refusing-0.5-0: no label"):
        run_tool(tool("sweep"), tmp_path, config)
