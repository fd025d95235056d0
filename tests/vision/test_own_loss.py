"""A loss of one's own, package.module:function: training imports it, nothing else ever does."""

import json
import sys

import numpy as np
import pytest
from accelerate import Accelerator

import pumlc
from pumlc.engine.config import TrainConfig
from pumlc.engine.run import RunFolder
from pumlc.engine.training import train_run
from pumlc.errors import UserError
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.evaluation import evaluate_run, report
from pumlc.vision.export import export_onnx
from pumlc.vision.task import VisionTask

MODULE = """
import torch.nn.functional as F


def squared(logits, targets, *, weight):
    known = targets != 0
    wanted = (targets > 0).to(logits.dtype)
    return weight * F.mse_loss(logits.sigmoid()[known], wanted[known])


def by_row(logits, targets):
    return logits.mean(1)
"""


@pytest.fixture
def own_loss(tmp_path, monkeypatch):
    """The module own_losses in the current folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "own_losses.py").write_text(MODULE)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    sys.modules.pop("own_losses", None)


def settings(root, name="own_losses:squared", **parameters) -> VisionConfig:
    return VisionConfig(
        data=DataConfig(name="coco", root=str(root), image_size=32, validation=0.25),
        model=ModelConfig(backbone="test_resnet"),
        loss=LossConfig(name=name, parameters=parameters),
        train=TrainConfig(epochs=1, batch_size=16, learning_rate=1e-2),
    )


def test_it_trains_and_is_needed_by_nothing_else(own_loss, squares_coco, tmp_path, monkeypatch):
    config = settings(squares_coco, weight=2.0)
    assert "own_losses" not in sys.modules  # not for the settings
    run = RunFolder(tmp_path / "run")
    train_run(config, VisionTask, run)
    assert "own_losses" in sys.modules
    assert json.loads((run.path / "run.json").read_text())["config"]["loss"]["name"] == (
        "own_losses:squared"
    )

    del sys.modules["own_losses"]
    (own_loss / "own_losses.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setattr(sys, "path", [*sys.path, str(own_loss)])
    predictor = pumlc.load(run.path, device="cpu")
    probabilities = predictor.predict([np.zeros((32, 32, 3), np.uint8)]).probabilities
    assert probabilities.shape == (1, 3)
    result = evaluate_run(run.path, Accelerator(cpu=True))
    assert result["weights"]["last"]["mAP"]["sklearn"] > 0
    assert "| last " in report(result)
    pytest.importorskip("onnxscript")
    export_onnx(predictor.model, tmp_path / "model.onnx", class_names=predictor.labels)
    assert "own_losses" not in sys.modules


def test_a_value_that_is_no_number_is_refused(own_loss, squares_coco):
    task = VisionTask(settings(squares_coco, "own_losses:by_row"))
    accelerator = Accelerator(cpu=True)
    batch = next(iter(task.batches(0, accelerator)))
    with pytest.raises(UserError, match=r"own_losses:by_row must .*one floating.*float32 \[16\]"):
        task.training_step(task.model, batch, accelerator, 0)


@pytest.mark.parametrize("name", ["own_losses:missing", "no_such_module:squared"])
def test_one_that_is_not_there_is_refused_before_the_data_are_read(own_loss, name):
    with pytest.raises(UserError, match=r"loss\.name"):
        VisionTask(settings("no/such/folder", name))


@pytest.mark.parametrize("name", ["own losses:f", ":f", "module:", "a:b:c", "../a:f", "a..b:f"])
def test_names_of_another_form_are_refused_by_the_settings(name):
    with pytest.raises(UserError, match=r"loss\.name must be package\.module:function"):
        LossConfig(name=name)
