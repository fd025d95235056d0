"""The sweep: cells, resuming, the choice by validation, tables, and the tool itself."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from pumlc.cli import console
from pumlc.engine.command_line import parse
from pumlc.sweep.grid import (
    Cell,
    FailedCells,
    choose,
    chosen_settings,
    family_rows,
    grid,
    markdown,
    plot,
    run_cells,
    stopped_early,
    summary,
)
from pumlc.sweep.process import in_a_process
from pumlc.vision.sweep.config import SweepConfig
from pumlc.vision.sweep.fine_tuned_cells import fine_tune_cells

CELLS_MODULE = "pumlc.vision.sweep.feature_cells"
CELLS = grid(["a", "b"], [0.1, 1.0], [0, 1])


def settings(cell):
    return {"method": cell.method}


def fake_rows(cell):
    return [
        {"learning_rate": rate, "epochs": 1, "validation": rate * sign, "all": 10.0 * cell.seed}
        for rate in (0.1, 0.2)
        for sign in ((1 if cell.proportion < 1 else -1),)
    ]


def test_a_whole_table_of_a_seed_comes_first():
    assert len(set(CELLS)) == 8
    assert [cell.seed for cell in CELLS] == [0] * 4 + [1] * 4


def test_runs_only_what_is_missing(tmp_path):
    ran = []

    def run(cell):
        ran.append(cell)
        if len(ran) == 4:
            raise KeyboardInterrupt
        return fake_rows(cell)

    with pytest.raises(KeyboardInterrupt):
        run_cells(CELLS, tmp_path, settings, run)
    finished = {path.stem for path in (tmp_path / "cells").glob("*.json")}
    assert CELLS[3].name not in finished
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 1 + 3 * 2
    rows = run_cells(CELLS, tmp_path, settings, run)
    assert sorted(c.name for c in ran) == sorted([c.name for c in CELLS] + [CELLS[3].name])
    assert len(rows) == 16
    assert rows == run_cells(CELLS, tmp_path, settings, lambda cell: pytest.fail("ran again"))


def test_refuses_cells_of_other_settings(tmp_path):
    run_cells(CELLS[:1], tmp_path, settings, fake_rows)
    with pytest.raises(ValueError, match="other settings"):
        run_cells(CELLS[:1], tmp_path, lambda cell: {"method": "changed"}, fake_rows)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_cell_stops_no_other(tmp_path, capsys, workers):
    def run(cell):
        if cell.method == "b" and cell.seed == 0:
            raise (ValueError if cell.proportion < 1 else RuntimeError)("a bad number")
        return fake_rows(cell)

    with pytest.raises(FailedCells, match="2 of 8 cells failed:\n  b-0.1-0: a bad number") as info:
        run_cells(CELLS, tmp_path, settings, run, workers=workers)
    assert "b-1-0 failed: a bad number: " in capsys.readouterr().out
    with (tmp_path / "results.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(info.value.rows) == 12
    assert len(run_cells(CELLS, tmp_path, settings, fake_rows)) == 16


@pytest.mark.parametrize(
    "content", ["{}", '{"settings": 1}', "[]", '{"settings": {"method": "a"}, "rows": [{"l', "\0"]
)
def test_refuses_a_damaged_cell(tmp_path, content):
    run_cells(CELLS[:1], tmp_path, settings, fake_rows)
    file = tmp_path / "cells" / f"{CELLS[0].name}.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=f"{file.name} is damaged.*delete it"):
        run_cells(CELLS[:1], tmp_path, settings, fake_rows)


def test_chooses_by_validation_within_the_group(tmp_path):
    rows = run_cells(CELLS, tmp_path, settings, fake_rows)
    chosen = choose(rows, ["method", "proportion"])
    assert {(row["proportion"], row["learning_rate"]) for row in chosen} == {(0.1, 0.2), (1.0, 0.1)}
    assert len(choose(rows, ["method"])) == 8
    blind = [{**row, "all": None if row["learning_rate"] == 0.2 else 99.0} for row in rows]
    again = choose(blind, ["method", "proportion"])
    assert [r["learning_rate"] for r in again] == [r["learning_rate"] for r in chosen]


def test_a_candidate_that_lacks_a_cell_is_not_compared():
    def row(method, proportion, validation):
        row = {"method": method, "proportion": proportion, "learning_rate": 0.1, "epochs": 1}
        return {**row, "validation": validation, "all": 0.0}

    rows = [row("a", 0.1, 40.0), row("a", 1.0, 80.0), row("b", 1.0, 70.0)]
    chosen = choose(family_rows(rows, {"f": ["a", "b"]}), ["method"])
    assert [r["member"] for r in chosen] == ["a", "a"]


def test_chooses_by_the_validation_that_is_named():
    rows = [
        {"method": "a", "learning_rate": rate, "epochs": 1, "validation": v, "validation_listed": w}
        for rate, v, w in ((0.1, 5.0, 1.0), (0.2, 3.0, 2.0))
    ]
    assert choose(rows, ["method"])[0]["learning_rate"] == 0.1
    assert choose(rows, ["method"], "validation_listed")[0]["learning_rate"] == 0.2
    assert " 2.00 " in chosen_settings(rows[1:], "validation_listed")


@pytest.mark.parametrize(
    ("rate", "epochs", "edge"),
    [
        (0.1, 4, "lowest rate"),
        (0.4, 8, "highest rate, most epochs"),
        (0.2, 2, "fewest epochs"),
        (0.2, 4, ""),
    ],
)
def test_a_choice_at_the_edge_of_the_candidates_is_said_to_be_one(rate, epochs, edge):
    rows = [
        {"method": "a", "learning_rate": r, "epochs": e, "validation": (r, e) == (rate, epochs)}
        for r in (0.1, 0.2, 0.4)
        for e in (2, 4, 8)
    ]
    *_, line = chosen_settings(rows).splitlines()
    assert line.split("|")[-2].strip() == edge


def test_a_run_stops_where_its_own_validation_is_best():
    best = {(0.1, 0): 2, (0.1, 1): 8, (0.2, 0): 4, (0.2, 1): 4}  # rate, seed -> epochs
    rows = [
        {
            "method": "a",
            "proportion": 0.5,
            "seed": seed,
            "learning_rate": rate,
            "epochs": epochs,
            "validation": 10 * rate + (epochs == stop),
            "all": float(epochs),
        }
        for (rate, seed), stop in best.items()
        for epochs in (2, 4, 8)
    ]
    stopped = stopped_early(rows)
    assert {(r["learning_rate"], r["seed"]): r["stopped_after"] for r in stopped} == best
    chosen = choose(stopped, ["method"])
    assert [(r["learning_rate"], r["all"]) for r in chosen] == [(0.2, 4.0), (0.2, 4.0)]
    assert "| 0.2           | 4      | 3.00           | highest rate |" in chosen_settings(stopped)
    equal = [{**row, "validation": 1.0} for row in reversed(rows)]
    assert {r["stopped_after"] for r in stopped_early(equal)} == {2}
    blind = [{**row, "validation": None} for row in rows]
    assert len(stopped_early(blind)) == 4


def test_what_has_no_alternative_is_no_edge():
    rows = [
        {"method": "a", "learning_rate": 0.1, "epochs": e, "validation": -e, "all": 0.0}
        for e in (1, 2)
    ]
    *_, line = chosen_settings(rows).splitlines()
    assert line.split("|")[-2].strip() == ""


def test_a_candidate_without_validation_is_the_last_choice():
    rows = [
        {"method": "a", "learning_rate": rate, "epochs": 1, "validation": value, "all": 0.0}
        for rate, value in ((0.1, None), (0.2, 3.0))
    ]
    assert choose(rows, ["method"])[0]["learning_rate"] == 0.2
    assert "no known label" not in chosen_settings(rows)
    assert "no known label to choose by" in chosen_settings(rows[:1])


def test_of_a_family_validation_chooses_the_method():
    def row(method, proportion, validation, value):
        row = {"method": method, "proportion": proportion, "learning_rate": 0.1, "epochs": 1}
        return {**row, "validation": validation, "all": value}

    rows = [row("a", 0.1, 5.0, 1.0), row("a", 1.0, 5.0, 2.0), row("other", 0.1, 9.0, 9.0)]
    rows += [row("b", 0.1, 7.0, 3.0), row("b", 1.0, 2.0, 4.0)]
    family = family_rows(rows, {"f": ["a", "b"]})
    assert [r["member"] for r in family] == ["a", "a", "b", "b"]
    assert {r["method"] for r in family} == {"f"}
    each = choose(rows + family, ["method", "proportion"])
    assert [(r["member"], r["all"]) for r in each if r["method"] == "f"] == [("b", 3), ("a", 2)]
    one = choose(rows + family, ["method"])
    assert [(r["member"], r["all"]) for r in one if r["method"] == "f"] == [("a", 1), ("a", 2)]
    assert "| f: a  " in chosen_settings(rows + family)
    assert [r for r in one if "member" not in r] == choose(rows, ["method"])


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


def fail():
    raise OSError("no disk")


def test_a_process_of_its_own():
    first, second = (in_a_process(os.getpid, preload=CELLS_MODULE) for _ in range(2))
    assert len({first, second, os.getpid()}) == 3
    assert not alive(first)
    assert not alive(second)
    with pytest.raises(OSError, match="no disk"):
        in_a_process(fail, preload=CELLS_MODULE)
    with pytest.raises(ValueError, match="exit code -6 .killed"):
        in_a_process(os.abort, preload=CELLS_MODULE)


def write_pid(path):
    path.write_text(str(os.getpid()))
    time.sleep(1)


def test_a_sweep_that_is_killed_leaves_no_process(tmp_path):
    command = "import test_sweep; from pathlib import Path; from pumlc.sweep import process; "
    command += (
        f"process.in_a_process(test_sweep.write_pid, Path({str(tmp_path / 'pid')!r}), preload='os')"
    )
    parent = subprocess.Popen([sys.executable, "-c", command], cwd=Path(__file__).parent)
    wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not alive(pid))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_summary_and_table():
    rows = [
        {"method": "a", "proportion": 0.1, "all": value, "seed": seed}
        for seed, value in enumerate((1.0, 3.0))
    ] + [{"method": "b", "proportion": 1.0, "all": 5.0, "seed": 0}]
    found = summary(rows, "all")
    assert found["a"][0.1] == (2.0, pytest.approx(math.sqrt(2)), 2)
    assert math.isnan(found["b"][1.0][1])
    lines = markdown(rows, "all").splitlines()
    assert lines[0].split("|")[1:4] == [" method ", " 10 %       ", " 100 % "]
    assert "2.0 +- 1.4" in lines[2]
    assert " - " in lines[3]
    assert " 5.0 " in lines[3]


def test_a_metric_that_some_rows_lack(tmp_path):
    rows = [
        {"method": "a", "proportion": 0.1, "all": 1.0},
        {"method": "b", "proportion": 0.1, "all": 1.0, "listed": 5.0},
        {"method": "b", "proportion": 1.0, "all": 1.0, "listed": None},
    ]
    assert summary(rows, "listed")["a"] == {}
    lines = markdown(rows, "listed").splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["-", "5.0"]
    plot(rows, "listed", tmp_path / "plot.svg", "title")


def test_name_of_a_cell():
    assert Cell("a", 1.0, 3).name == "a-1-3"


def feature_config(squares_coco, tmp_path) -> dict:
    return {
        "methods": {
            "bce": {"loss": {"name": "bce", "parameters": {"unknown": "ignore"}}},
            "pnu": {"loss": {"name": "pnu", "mixup_weight": 1.0}},
        },
        "proportions": [0.5, 1.0],
        "seeds": [0],
        "features": {
            "data": {"name": "coco", "root": str(squares_coco), "image_size": 32},
            "model": {"backbone": "test_resnet"},
            "cache": str(tmp_path / "features"),
            "probe": {"learning_rates": [1e-3, 1e-2], "epochs": [1, 3], "batch_size": 16},
        },
    }


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


def run_tool(tool, tmp_path, config, *arguments):
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    out = ["--out", str(tmp_path / "out")]
    tool.main(["--config", str(tmp_path / "sweep.yaml"), *out, *arguments])


def test_the_table_of_a_sweep_with_failed_cells(squares_coco, tmp_path, tool, capsys):
    config = feature_config(squares_coco, tmp_path)
    loss = {"name": "pu", "parameters": {"gamma": 0, "alpha": 2}}
    config["methods"]["bad"] = {"loss": loss, "per_epoch": {"gamma": -1}}
    with pytest.raises(SystemExit) as end:
        console.run(lambda: run_tool(tool("sweep"), tmp_path, config, "--workers", "2"))
    assert end.value.code == 2
    assert "2 of 6 cells failed:\n  bad-0.5-0: gamma" in capsys.readouterr().err
    report = (tmp_path / "out" / "table.md").read_text()
    assert "2 cells failed" in report
    assert "pnu" in report


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("methods.bad", {"loss": {"name": "pu", "parameters": {"gamma": -1, "alpha": 2}}}, "gamma"),
        (
            "methods.bad",
            {"loss": {"name": "pu", "parameters": {"gamma": "known", "alpha": 2}}},
            r"methods\.bad\.loss\.parameters",
        ),
        ("methods.bad", {"loss": {"name": "softmax"}}, "softmax is a loss of texts"),
        ("seeds", [0, -1], r"seeds must be in \[0, 2\*\*32\), got -1"),
        ("features.probe.learning_rates", [0.1, 0.0], "above 0"),
        ("features.probe.validation", 0.001, "leaves none on one side"),
        ("features.probe.validation", 0.999, "leaves none on one side"),
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
    expected = markdown(choose(rows, ["method"], "validation_listed"), "listed")
    assert expected in report.split("Classes: listed; one learning rate and number")[1]
    stopped = stopped_early(rows, "validation_listed")
    expected = markdown(choose(stopped, ["method"], "validation_listed"), "listed")
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


def test_families_need_a_validation_part(fine_tune, tmp_path):
    sweep, config = fine_tune
    config["families"] = {"f": ["pnu"]}
    config["fine_tune"]["validation"] = 0.0
    with pytest.raises(ValueError, match="families must be left out with fine_tune.validation 0"):
        run_tool(sweep, tmp_path, config)


def test_a_validation_part_that_cannot_be_scored_costs_no_cell(fine_tune, tmp_path, capsys):
    sweep, config = fine_tune
    config["fine_tune"]["classes"] = ["red"]
    tool = tmp_path / "tools" / "evaluate.py"
    tool.write_text("import sys\nif 'validation' in sys.argv: sys.exit('no negative')\n" + EVALUATE)
    run_tool(sweep, tmp_path, config)
    assert "pnu-0.5-0: no validation of the listed classes: " in capsys.readouterr().out
    report = (tmp_path / "out" / "table.md").read_text()
    assert "44.0" in report
    assert "by validation_listed" not in report  # the validation of all classes chose
    assert "| 61.00 " in report


def test_out_that_is_a_file_is_refused_before_the_work(squares_coco, tmp_path, tool):
    config = feature_config(squares_coco, tmp_path)
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="--out .*out must be a folder"):
        run_tool(tool("sweep"), tmp_path, config)
    with pytest.raises(ValueError, match="--out .*sub must be a folder"):
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


TRAIN = """
import json, os, pathlib, sys, yaml
content = yaml.safe_load(pathlib.Path(sys.argv[2]).read_text())
folder = pathlib.Path(sys.argv[4])
print("step 1")
if content["loss"]["name"] == "bce":
    print("error: no picture\\nbye")
    sys.exit(2)
facts = {"config": content, "options": sys.argv[5:], "threads": os.environ.get("OMP_NUM_THREADS")}
(folder / "run.json").write_text(json.dumps(facts))
(folder / "weights").mkdir()
(folder / "weights" / "index.json").write_text('{"best": {"score": 61.0, "epoch": 1}}')
"""
EVALUATE = """
import json, pathlib, sys
entry = {"mAP": {"sklearn": 55.0}}
held_out = sys.argv[-2:] == ["--split", "validation"]
if "--classes" in sys.argv:
    entry["mAP_of_classes"] = {"sklearn": 33.0 if held_out else 44.0}
result = {"weights": {sys.argv[sys.argv.index("--weights") + 1]: entry}}
name = "metrics-validation.json" if held_out else "metrics.json"
(pathlib.Path(sys.argv[1]) / name).write_text(json.dumps(result))
"""


@pytest.fixture
def fine_tune(squares_coco, tmp_path, tool, monkeypatch):
    """The tool beside quick stand-ins for the two it calls, and a config of one good method."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "train.py").write_text(TRAIN)
    (tmp_path / "tools" / "evaluate.py").write_text(EVALUATE)
    sweep = tool("sweep")
    monkeypatch.setattr(sweep, "__file__", str(tmp_path / "tools" / "sweep.py"))
    base = {
        "data": {"name": "coco", "root": str(squares_coco), "known": 1.0},
        "model": {"backbone": "test_resnet"},
        "loss": {"name": "bce", "parameters": {"unknown": "ignore"}},
        "train": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3},
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    config = feature_config(squares_coco, tmp_path)
    del config["features"], config["methods"]["bce"]
    config.update(fine_tune={"base": str(tmp_path / "base.yaml")}, proportions=[0.5])
    return sweep, config


def test_the_tool_fine_tunes(fine_tune, tmp_path, monkeypatch):
    sweep, config = fine_tune
    config["fine_tune"]["options"] = ["--train.ema_decay=0.9"]
    config["seeds"] = [0, 1, 2]
    runs = tmp_path / "out" / "runs"
    (runs / "pnu-0.5-0").mkdir(parents=True)  # its cell file was deleted
    (runs / "pnu-0.5-0" / "old").write_text("")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    run_tool(sweep, tmp_path, config, "--workers", "3")
    assert sorted(path.name for path in runs.iterdir()) == [f"pnu-0.5-{s}" for s in (0, 1, 2)]
    assert not (runs / "pnu-0.5-0" / "old").exists()
    facts = json.loads((runs / "pnu-0.5-1" / "run.json").read_text())
    assert (facts["options"], facts["threads"]) == (["--train.ema_decay=0.9"], "2")
    content = facts["config"]
    assert (content["data"]["known"], content["data"]["label_seed"]) == (0.5, 1)
    assert (content["data"]["validation"], content["train"]["seed"]) == (0.2, 1)
    assert content["loss"]["name"] == "pnu"
    assert "step 1" in (runs / "pnu-0.5-1" / "log.txt").read_text()
    assert "55.0" in (tmp_path / "out" / "table.md").read_text()
    config["fine_tune"]["classes"] = ["red"]
    with pytest.raises(ValueError, match="other settings"):
        run_tool(sweep, tmp_path, config)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    run_tool(sweep, tmp_path, config, "--workers", "3", "--out", str(tmp_path / "other"))
    facts = json.loads((tmp_path / "other" / "runs" / "pnu-0.5-1" / "run.json").read_text())
    assert facts["threads"] == "5"
    report = (tmp_path / "other" / "table.md").read_text()
    assert "44.0" in report
    assert " 33.00 " in report.split("by validation_listed")[1]


def test_settings_of_two_cells_share_nothing(fine_tune, tmp_path):
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(fine_tune[1]))
    config, _ = parse(SweepConfig, ["--config", str(tmp_path / "sweep.yaml")], program="sweep")
    settings, _ = fine_tune_cells(config, tmp_path, tmp_path)
    first = settings(Cell("pnu", 0.1, 1))
    settings(Cell("pnu", 0.5, 2))
    assert (first["config"]["data"]["known"], first["config"]["train"]["seed"]) == (0.1, 1)


def test_a_failing_process_is_reported(fine_tune, tmp_path):
    sweep, config = fine_tune
    config["methods"]["bad"] = {"loss": {"name": "bce", "parameters": {"unknown": "ignore"}}}
    with pytest.raises(FailedCells, match="bad-0.5-0: train.py ended with status 2, error: no p"):
        run_tool(sweep, tmp_path, config)
    assert "55.0" in (tmp_path / "out" / "table.md").read_text()
    assert not (tmp_path / "out" / "runs" / "bad-0.5-0").exists()
    (log,) = (tmp_path / "out" / "runs").glob("bad-0.5-0.*/log.txt")
    assert "bye" in log.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("data: [", "not YAML"),
        ("- a", "without settings: data, model, train"),
        ("{data: {name: coco}, train: , model: {backbone: x}}", "without settings: train"),
    ],
)
def test_a_base_that_is_no_config(fine_tune, tmp_path, content, message):
    sweep, config = fine_tune
    (tmp_path / "base.yaml").unlink()
    if content is not None:
        (tmp_path / "base.yaml").write_text(content)
    with pytest.raises(ValueError, match=rf"fine_tune\.base .*base.yaml: .*{message}"):
        run_tool(sweep, tmp_path, config)


@pytest.mark.parametrize(
    ("fine_tune_settings", "message"),
    [
        ({"classes": ["red", "gren"]}, r"fine_tune\.classes: .*no 'gren'; did you mean 'green'\?"),
        ({"options": ["--data.root", "nowhere"]}, "data.root nowhere is not the root of coco"),
        ({"options": ["--data.protocol", "csl-fpc"]}, "data.known must be 1 with .* csl-fpc"),
        ({"options": ["--data.rot", "x"]}, "base with options: .*data.root"),
        (
            {"options": ["--data.false_negative", "{gren: 0.1}"]},
            r"data\.false_negative: no class 'gren'; did you mean 'green'\?",
        ),
        ({"classes": ["a, b"]}, r"fine_tune\.classes must be names without a comma.*'a, b'"),
    ],
)
def test_what_no_cell_could_be_trained_with(fine_tune, tmp_path, fine_tune_settings, message):
    sweep, config = fine_tune
    config["fine_tune"].update(fine_tune_settings)
    with pytest.raises(ValueError, match=message):
        run_tool(sweep, tmp_path, config)
    assert not (tmp_path / "out" / "runs").exists()


def test_every_proportion_is_checked_before_the_first_cell(fine_tune, tmp_path):
    sweep, config = fine_tune
    config["proportions"] = [1.0, 0.5]
    config["fine_tune"]["options"] = ["--data.protocol", "single-positive"]
    with pytest.raises(ValueError, match="data.known must be 1 with .* single-positive"):
        run_tool(sweep, tmp_path, config)
    assert not (tmp_path / "out" / "runs").exists()


def test_every_loss_is_checked_before_the_first_cell(fine_tune, tmp_path):
    sweep, config = fine_tune
    config["methods"]["bad"] = {"loss": {"name": "bce", "parameters": {"unknown": "ignor"}}}
    with pytest.raises(ValueError, match=r"methods\.bad\.loss.parameters .*'ignor'.*unknown must"):
        run_tool(sweep, tmp_path, config)
    assert not (tmp_path / "out" / "runs").exists()


def test_a_test_split_that_measures_nothing_is_refused_before_the_first_cell(
    squares_csv, fine_tune, tmp_path
):
    sweep, config = fine_tune
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    base["data"] = {"name": "csv", "csv": str(squares_csv), "root": str(squares_csv.parent)}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    config["fine_tune"]["options"] = ["--data.unlisted_test", "unknown"]
    with pytest.raises(ValueError, match="split test: .*without a negative label.*unlisted_test"):
        run_tool(sweep, tmp_path, config)
    assert not (tmp_path / "out" / "runs").exists()


def test_the_test_split_is_opened_before_the_first_cell(squares_coco, fine_tune, tmp_path):
    sweep, config = fine_tune
    root = tmp_path / "coco"
    shutil.copytree(squares_coco, root)
    (root / "annotations" / "instances_val.json").unlink()
    config["fine_tune"]["options"] = ["--data.root", str(root)]
    with pytest.raises(ValueError, match="instances_val"):
        run_tool(sweep, tmp_path, config)
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize(
    "option",
    ["--data.known", "--data.label_seed=3", "--data.validation", "--train.seed=1", "--out=x"]
    + ["--loss.name", "--loss.parameters.gamma=1", "--config", "--data", "--train={}", "--resume"],
)
def test_refuses_options_that_would_replace_the_grid(fine_tune, tmp_path, option):
    sweep, config = fine_tune
    config["fine_tune"]["options"] = ["--data.root", "x", option, "1"]
    with pytest.raises(ValueError, match=f"fine_tune.options must be .*got '{option}'"):
        run_tool(sweep, tmp_path, config)


def test_ctrl_c_is_one_line(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        console.run(main)
    assert (end.value.code, capsys.readouterr().err) == (130, "interrupted\n")
