"""A sweep of networks that are fine-tuned, by the command."""

import json
import shutil
import sys

import pytest
import torch
import yaml
from sweep_cases import feature_config, run_tool

from pumlc.engine.command_line import parse
from pumlc.engine.config import plain
from pumlc.engine.processes import create_accelerator
from pumlc.engine.run import RunFolder
from pumlc.engine.training import train_run
from pumlc.errors import UserError
from pumlc.sweep.cells import Cell, FailedCells
from pumlc.sweep.process import in_a_process
from pumlc.vision.config import VisionConfig
from pumlc.vision.evaluation import evaluate_run
from pumlc.vision.sweep import fine_tuned_cells
from pumlc.vision.sweep.config import SweepConfig
from pumlc.vision.sweep.report import last_epoch_rows
from pumlc.vision.task import VisionTask


def stand_in(function, threads, *arguments, preload, log):
    """Stands for the processes of a cell: a run folder and figures, without a network."""
    with log.open("a") as stream:
        stream.write(f"{function.__name__}\n")
    if function.__name__ == "_train":
        config, folder = arguments
        if config.loss.name == "bce":
            raise UserError("no picture")
        (folder / "weights").mkdir()
        (folder / "weights" / "index.json").write_text('{"best": {"score": 61.0, "epoch": 1}}')
        (folder / "run.json").write_text(json.dumps({"config": plain(config), "threads": threads}))
        return None
    folder, weights, classes, split = arguments
    assert weights == "best"
    entry = {"mAP": {"sklearn": 55.0}}
    if classes:
        entry["mAP_of_classes"] = {"sklearn": 33.0 if split == "validation" else 44.0}
    return entry


@pytest.fixture
def fine_tune(squares_coco, tmp_path, tool, monkeypatch):
    """The command with quick stand-ins for the processes of a cell; a config of one good method."""
    monkeypatch.setattr(fine_tuned_cells, "in_a_process", stand_in)
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
    return tool("sweep"), config


SQUARED = {"name": "squared", "parameters": {"unknown": "ignore"}}


def recorded(runs, name):
    return json.loads((runs / name / "run.json").read_text())


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
    facts = recorded(runs, "pnu-0.5-1")
    content = facts["config"]
    assert (content["train"]["ema_decay"], facts["threads"]) == (0.9, 2)
    assert (content["data"]["known"], content["data"]["label_seed"]) == (0.5, 1)
    assert (content["data"]["validation"], content["train"]["seed"]) == (0.2, 1)
    assert content["loss"]["name"] == "pnu"
    assert content["loss"]["parameters"] == {}  # nothing is left of the loss of the base
    assert (runs / "pnu-0.5-1" / "log.txt").read_text() == "_train\n_evaluate\n"
    assert "55.0" in (tmp_path / "out" / "table.md").read_text()
    config["fine_tune"]["classes"] = ["red"]
    with pytest.raises(ValueError, match="other settings"):
        run_tool(sweep, tmp_path, config)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    run_tool(sweep, tmp_path, config, "--workers", "3", "--out", str(tmp_path / "other"))
    assert recorded(tmp_path / "other" / "runs", "pnu-0.5-1")["threads"] is None
    report = (tmp_path / "other" / "table.md").read_text()
    assert "44.0" in report
    assert " 33.00 " in report.split("by validation_listed")[1]


def tensors(folder):
    return {
        path.name: (folder / "weights" / path.name).read_bytes()
        for path in (folder / "weights").glob("*.safetensors")
    }


def test_a_cell_is_what_training_alone_gives(fine_tune, tmp_path, monkeypatch):
    sweep, config = fine_tune
    monkeypatch.setattr(fine_tuned_cells, "in_a_process", in_a_process)
    config["seeds"] = [3]
    options = ["--data.image_size", "32", "--data.augmentation", "flip", "--train.workers", "1"]
    config["fine_tune"].update(options=options, classes=["red", "blue"])
    run_tool(sweep, tmp_path, config)
    cell = tmp_path / "out" / "runs" / "pnu-0.5-3"
    changes = ["--data.known=0.5", "--data.label_seed=3", "--data.validation=0.2"]
    changes += ["--train.seed=3", "--loss.name=pnu", "--loss.mixup_weight=1"]
    changes += ["--train.selection=best"]  # the last epoch has columns of its own
    alone, _ = parse(
        VisionConfig,
        ["--config", str(tmp_path / "base.yaml"), *options, *changes, "--loss.parameters={}"],
        program="train",
    )
    train_run(alone, VisionTask, RunFolder(tmp_path / "alone"))
    assert tensors(cell)
    assert tensors(cell) == tensors(tmp_path / "alone")
    result = evaluate_run(tmp_path / "alone", create_accelerator(), classes=["red", "blue"])
    best = result["weights"][result["preferred"]]
    (row,) = json.loads((tmp_path / "out" / "cells" / "pnu-0.5-3.json").read_text())["rows"]
    of_last = result["weights"]["last"]
    assert row["all_last_epoch"] == of_last["mAP"]["sklearn"]
    assert row["listed_last_epoch"] == of_last["mAP_of_classes"]["sklearn"]
    report = (tmp_path / "out" / "table.md").read_text()
    assert "| pnu, last epoch |" in report
    assert row["all"] == best["mAP"]["sklearn"]
    assert row["listed"] == best["mAP_of_classes"]["sklearn"]
    assert row["validation"] == RunFolder(cell).index()[result["preferred"]]["score"]
    assert 0 <= row["validation_listed"] <= 100
    assert "train_pictures 77" in (cell / "log.txt").read_text()
    assert (cell / "metrics.json").is_file()


def test_a_network_may_start_from_heads_on_the_same_labels(fine_tune, tmp_path, monkeypatch):
    sweep, config = fine_tune
    monkeypatch.setattr(fine_tuned_cells, "in_a_process", in_a_process)
    config["seeds"] = [3]
    config["methods"] = {"from_heads": {"loss": SQUARED, "start": "heads"}}
    options = ["--data.image_size=32", "--data.augmentation=flip", "--train.workers=1"]
    options += ["--features.cache", str(tmp_path / "cache"), "--model.weights=none"]
    config["fine_tune"].update(options=options)
    run_tool(sweep, tmp_path, config)
    network = RunFolder(tmp_path / "out" / "runs" / "from_heads-0.5-3")
    heads = RunFolder(network.path / "heads")
    assert heads.index()["last"]["heads"]["heads"] == "least_squares"
    assert network.read()["starting_weights"].endswith("heads/weights/last.safetensors")
    manifests = [(run.path / "label_manifest.npz").read_bytes() for run in (network, heads)]
    assert manifests[0] == manifests[1]
    assert network.read()["config"]["train"] == heads.read()["config"]["train"]
    cell = json.loads((tmp_path / "out" / "cells" / "from_heads-0.5-3.json").read_text())
    assert cell["settings"]["start"] == "heads"
    assert 0 < cell["rows"][0]["all_last_epoch"] <= 100


def test_heads_on_features_start_from_nothing(fine_tune, tmp_path):
    content = feature_config(tmp_path, tmp_path)
    content["methods"]["pnu"]["start"] = "heads"
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="methods.pnu.start must be left out but in fine_tune"):
        parse(SweepConfig, ["--config", str(tmp_path / "sweep.yaml")], program="sweep")


def test_settings_of_two_cells_share_nothing(fine_tune, tmp_path):
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(fine_tune[1]))
    config, _ = parse(SweepConfig, ["--config", str(tmp_path / "sweep.yaml")], program="sweep")
    settings, _ = fine_tuned_cells.fine_tune_cells(config, tmp_path)
    first = settings(Cell("pnu", 0.1, 1))
    settings(Cell("pnu", 0.5, 2))
    assert (first["config"]["data"]["known"], first["config"]["train"]["seed"]) == (0.1, 1)


def test_a_condition_takes_the_place_of_all_that_the_base_says_of_labels(fine_tune, tmp_path):
    sweep, config = fine_tune
    config["conditions"] = {"mis20": {"noise": {"kind": "mislabel", "rate": 0.2}}}
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    base["data"]["false_negative"] = 0.3
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    parsed, _ = parse(SweepConfig, ["--config", str(tmp_path / "sweep.yaml")], program="sweep")
    settings, _ = fine_tuned_cells.fine_tune_cells(parsed, tmp_path)
    data = settings(Cell("pnu", 1.0, 3, "mis20"))["config"]["data"]
    assert (data["noise"]["kind"], data["noise"]["rate"], data["known"]) == ("mislabel", 0.2, 1.0)
    assert (data["false_negative"], data["label_seed"]) == (0.0, 3)
    assert settings(Cell("pnu", 0.5, 3))["config"]["data"]["false_negative"] == 0.3
    run_tool(sweep, tmp_path, {**config, "proportions": []})
    written = recorded(tmp_path / "out" / "runs", "pnu-mis20-0")["config"]["data"]
    assert written["noise"]["rate"] == 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"conditions": {"hard": {"noise": {"kind": "hard-to-see", "rate": 0.2}}}},
            r"conditions\.hard\.noise\.visibility must be a file in fine_tune",
        ),
        (
            {"conditions": {"fn20": {"false_negative": 0.2}}, "options": ["--data.noise.rate=0.1"]},
            "fine_tune.options must be settings that the sweep does not decide itself",
        ),
        (
            {"methods": {"ls": {"loss": SQUARED, "heads": "closed-form"}}},
            "methods.ls.heads must be left out in fine_tune",
        ),
    ],
)
def test_what_networks_are_not_trained_with(fine_tune, tmp_path, changes, message):
    sweep, config = fine_tune
    config["fine_tune"]["options"] = changes.get("options", [])
    given = {name: value for name, value in changes.items() if name != "options"}
    with pytest.raises(ValueError, match=message):
        run_tool(sweep, tmp_path, {**config, **given})


def test_a_failing_process_is_reported(fine_tune, tmp_path):
    sweep, config = fine_tune
    config["methods"]["bad"] = {"loss": {"name": "bce", "parameters": {"unknown": "ignore"}}}
    with pytest.raises(FailedCells, match=r"bad-0.5-0: no picture \(.*bad-0.5-0.*log.txt\)"):
        run_tool(sweep, tmp_path, config)
    assert "55.0" in (tmp_path / "out" / "table.md").read_text()
    assert not (tmp_path / "out" / "runs" / "bad-0.5-0").exists()
    (log,) = (tmp_path / "out" / "runs").glob("bad-0.5-0.*/log.txt")
    assert log.read_text() == "_train\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("data: [", "not YAML"),
        ("- a", "missing or empty: data, model, train"),
        ("{data: {name: coco}, train: , model: {backbone: x}}", "missing or empty: train"),
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
        ({"options": ["--data.rot", "x"]}, "base with fine_tune.options: .*data.root"),
        (
            {"options": ["--data.false_negative", "{gren: 0.1}"]},
            r"data\.false_negative: no class 'gren'; did you mean 'green'\?",
        ),
    ],
)
def test_what_no_cell_could_be_trained_with(fine_tune, tmp_path, fine_tune_settings, message):
    sweep, config = fine_tune
    config["fine_tune"].update(fine_tune_settings)
    with pytest.raises(ValueError, match=message):
        run_tool(sweep, tmp_path, config)
    assert not (tmp_path / "out" / "runs").exists()


def test_the_base_may_be_a_recipe(fine_tune, squares_coco, tmp_path):
    sweep, config = fine_tune
    config["fine_tune"]["base"] = "voc2007_lite0_cpu"
    options = ["--data.name", "coco", "--data.root", str(squares_coco), "--train.epochs", "2"]
    config["fine_tune"]["options"] = options
    run_tool(sweep, tmp_path, config)
    recorded_config = recorded(tmp_path / "out" / "runs", "pnu-0.5-0")["config"]
    assert recorded_config["model"]["backbone"] == "tf_efficientnet_lite0"
    assert recorded_config["train"]["epochs"] == 2
    config["fine_tune"]["base"] = "voc2007_lite0_cp"
    with pytest.raises(UserError, match=r"fine_tune\.base voc2007_lite0_cp: .*did you mean"):
        run_tool(sweep, tmp_path, config)


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
    with pytest.raises(
        ValueError, match=r"loss\.parameters\.unknown must be .* for bce, got 'ignor'"
    ):
        run_tool(sweep, tmp_path, config)
    assert not (tmp_path / "out" / "runs").exists()
    # what depends on the data
    parameters = {"mode": "selective", "likelihood_top_k": 4, "margin": 0.05}
    parameters |= {f"gamma_{name}": 1.0 for name in ("positive", "negative", "unknown")}
    config["methods"]["bad"] = {"loss": {"name": "partial_asl", "parameters": parameters}}
    with pytest.raises(ValueError, match=r"methods\.bad\.loss\.parameters\.likelihood_top_k must"):
        run_tool(sweep, tmp_path, config)
    assert not (tmp_path / "out" / "runs").exists()


OWN_LOSS = """
def absolute(logits, targets, *, weight):
    return weight * ((logits - targets).abs() * (targets != 0)).sum() / len(logits)
"""


def test_a_loss_of_ones_own_trains_the_networks_of_a_sweep(fine_tune, tmp_path, monkeypatch):
    sweep, config = fine_tune
    monkeypatch.setattr(fine_tuned_cells, "in_a_process", in_a_process)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_network_loss.py").write_text(OWN_LOSS)
    loss = {"name": "own_network_loss:absolute", "parameters": {"weight": 0.5}}
    config["methods"] = {"own": {"loss": loss}}
    config["fine_tune"]["options"] = ["--data.image_size", "32"]
    run_tool(sweep, tmp_path, config)
    run = RunFolder(tmp_path / "out" / "runs" / "own-0.5-0")
    assert run.read()["config"]["loss"]["name"] == "own_network_loss:absolute"
    assert (run.path / "metrics.json").is_file()
    config["methods"]["own"]["loss"]["name"] = "own_network_loss:abolute"
    with pytest.raises(UserError, match=r"methods\.own\.loss\.name: .*did you mean 'absolute'"):
        run_tool(sweep, tmp_path, config)


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


def test_families_need_a_validation_part(fine_tune, tmp_path):
    sweep, config = fine_tune
    config["families"] = {"f": ["pnu"]}
    config["fine_tune"]["validation"] = 0.0
    with pytest.raises(ValueError, match="families must be left out with fine_tune.validation 0"):
        run_tool(sweep, tmp_path, config)


def test_a_validation_part_that_cannot_be_scored_costs_no_cell(
    fine_tune, tmp_path, monkeypatch, capsys
):
    sweep, config = fine_tune
    config["fine_tune"]["classes"] = ["red"]

    def no_validation(function, *arguments, **keywords):
        if arguments[-1] == "validation":
            raise UserError("no negative")
        return stand_in(function, *arguments, **keywords)

    monkeypatch.setattr(fine_tuned_cells, "in_a_process", no_validation)
    run_tool(sweep, tmp_path, config)
    assert "pnu-0.5-0: no validation of the listed classes: " in capsys.readouterr().out
    report = (tmp_path / "out" / "table.md").read_text()
    assert "44.0" in report
    assert "by validation_listed" not in report  # the validation of all classes chose
    assert "| 61.00 " in report


def test_the_last_epoch_is_a_row_of_its_own():
    row = {"method": "bce", "seed": 1, "validation": 50.0, "all": 60.0, "listed": 70.0}
    last = {**row, "all_last_epoch": 55.0, "listed_last_epoch": 65.0}
    (found,) = last_epoch_rows([row, last])
    assert (found["method"], found["all"], found["listed"]) == ("bce, last epoch", 55.0, 65.0)
    assert (found["seed"], found["validation"]) == (1, 50.0)
