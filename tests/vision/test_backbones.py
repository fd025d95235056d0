"""One option takes another backbone: a recipe's settings, trained, loaded, evaluated, exported."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator

import pumlc
from pumlc.engine.config import from_plain, plain
from pumlc.engine.run import RunFolder
from pumlc.engine.training import train_run
from pumlc.errors import UserError
from pumlc.vision.config import VisionConfig
from pumlc.vision.evaluation import OPTIONS, evaluate_run, report
from pumlc.vision.export import export_onnx, largest_difference
from pumlc.vision.models import weights as weights_module
from pumlc.vision.task import VisionTask
from pumlc.vision.tasks import create_task

RECIPE = Path(__file__).parents[2] / "configs" / "csv_lite0_cpu.yaml"
BACKBONES = {"resnet18": 64, "vit_tiny_patch16_224": 64, "convnext_atto": 64}


@pytest.fixture
def no_hub(monkeypatch):
    """A machine without a connection, and without a wait for one."""
    monkeypatch.setattr(weights_module, "_reachable", lambda url: False)


def config_of(squares_csv, backbone: str, size: int) -> VisionConfig:
    """The recipe on the squares, with the backbone as its one other setting of the model."""
    content = yaml.safe_load(RECIPE.read_text())
    content["data"].update(csv=str(squares_csv), root=str(squares_csv.parent), image_size=size)
    content["train"].update(epochs=1, min_steps=0, batch_size=16)
    content["model"]["backbone"] = backbone
    return from_plain(VisionConfig, content)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_recipe_with_another_backbone(squares_csv, tmp_path, no_hub, backbone):
    size = BACKBONES[backbone]
    config = config_of(squares_csv, backbone, size)
    run = RunFolder(tmp_path / "run")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_run(config, VisionTask, run)
    messages = [str(w.message) for w in caught]
    assert [m for m in messages if "starts from random weights" in m and "model.weights" in m]
    facts = run.read()
    assert facts["starting_weights"] == "random"
    without = backbone != "resnet18"
    assert bool([m for m in messages if "model.local_global" in m]) == without
    assert facts["local_global_convolutions"] == (0 if without else 16)

    predictor = pumlc.load(run.path, device="cpu")
    picture = np.random.RandomState(0).randint(0, 256, (size, size, 3)).astype(np.uint8)
    probabilities = predictor.predict([picture, picture[:, ::-1].copy()]).probabilities
    assert probabilities.shape == (2, 3)
    result = evaluate_run(run.path, Accelerator(cpu=True), split="test")
    assert set(result["weights"]) == set(run.index())
    for entry in result["weights"].values():
        assert 0 < entry["mAP"]["sklearn"] <= 100
    assert "averaged over" in report(result)

    pytest.importorskip("onnxscript")
    export_onnx(predictor.model, tmp_path / "m.onnx", class_names=predictor.labels)
    images = torch.randn(3, 3, size, size)
    assert largest_difference(tmp_path / "m.onnx", predictor.model, images) < 1e-4


@pytest.mark.parametrize("heads", ["none", "least_squares"])
def test_a_size_that_a_network_cannot_take_is_refused_before_training(
    squares_csv, tmp_path, no_hub, heads
):
    content = plain(config_of(squares_csv, "levit_128s", 64))
    content["model"].update(weights=None, local_global=False)
    if heads != "none":
        loss = {"name": "auto", "parameters": {}, "mixup_weight": 0.0}
        content.update(heads=heads, loss=loss, features={"cache": str(tmp_path / "cache")})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UserError, match=r"take pictures of 64 x 64 pixels \(data.image_size\)"):
            train_run(from_plain(VisionConfig, content), create_task, RunFolder(tmp_path / "run"))


def test_loading_a_run_asks_no_network(squares_csv, tmp_path, no_hub, monkeypatch):
    import timm

    run = RunFolder(tmp_path / "run")
    with pytest.warns(UserWarning, match="random weights"):
        train_run(config_of(squares_csv, "test_resnet", 32), VisionTask, run)
    create_model = timm.create_model

    def offline(name, *, pretrained, **options):
        assert not pretrained
        return create_model(name, pretrained=pretrained, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    assert pumlc.load(run.path, device="cpu").labels


def test_the_options_that_image_runs_alone_have():
    import inspect

    taken = {
        *inspect.signature(evaluate_run).parameters,
        *inspect.signature(report).parameters,
    }
    assert taken >= OPTIONS
    assert not OPTIONS & {"split", "weights", "root", "batch_size", "workers"}
