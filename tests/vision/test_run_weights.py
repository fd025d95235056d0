"""A run that starts from the network of another one."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pumlc.cli.train import main
from pumlc.engine.config import TrainConfig
from pumlc.engine.processes import create_accelerator
from pumlc.errors import UserError
from pumlc.vision.config import DataConfig, FeaturesConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.data.split import training_data
from pumlc.vision.frozen.task import FrozenTask
from pumlc.vision.models.build import build_for_training
from pumlc.vision.models.classifier import create_classifier
from pumlc.vision.models.run_weights import run_weights, run_weights_file
from pumlc.vision.scoring import score_images
from pumlc.vision.task import VisionTask

CLASSES = ("red", "green", "blue")
FIRST = "backbone.conv1.0.weight"


def run_of(squares_coco, out: Path, *more: str) -> Path:
    main(
        [
            *("--data.name", "coco", "--data.root", str(squares_coco), "--data.image_size", "32"),
            *("--data.validation", "0.25", "--data.augmentation", "flip", "--train.epochs", "1"),
            *("--train.batch_size", "16", "--train.learning_rate", "0.01", "--loss.name", "bce"),
            *("--loss.parameters", "{unknown: negative}", "--out", str(out)),
            *("--model.backbone", "test_resnet", *more),
        ]
    )
    return out


def saved_by(run: Path) -> dict[str, torch.Tensor]:
    """The weights that are taken of a run."""
    file = run_weights_file(str(run))
    assert file is not None
    return load_file(file)


@pytest.fixture(scope="module")
def plain(squares_coco, tmp_path_factory) -> Path:
    return run_of(squares_coco, tmp_path_factory.mktemp("runs") / "plain")


@pytest.fixture(scope="module")
def converted(squares_coco, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "converted"
    return run_of(squares_coco, out, "--model.local_global", "true")


def started(weights: Path, classes=CLASSES, **model: Any):
    config = VisionConfig(
        data=DataConfig(name="coco", root="x", image_size=32),
        model=ModelConfig(backbone="test_resnet", weights=str(weights), **model),
        loss=LossConfig(name="bce", parameters={"unknown": "negative"}),
        train=TrainConfig(epochs=1, batch_size=4, learning_rate=0.1),
    )
    return build_for_training(config, classes, torch.zeros(4, len(classes)).numpy())


@pytest.mark.parametrize("local_global", [False, True])
def test_network_and_head_are_those_of_the_run(plain, converted, local_global):
    run = converted if local_global else plain
    model = started(run, local_global=local_global)
    saved = saved_by(run)
    assert model.state_dict().keys() == saved.keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, saved[name]), name
    assert model.starting_weights == str(run_weights_file(str(run)))


def test_a_file_of_the_run_may_be_named(plain):
    file = plain / "weights" / "last.safetensors"
    assert run_weights_file(str(file)) == file
    torch.testing.assert_close(started(file).state_dict(), load_file(file), rtol=0, atol=0)


def test_branches_are_added_to_the_network_of_a_plain_run(plain):
    torch.manual_seed(0)
    model = started(plain, local_global=True)
    images = torch.randn(2, 3, 32, 32)
    expected = started(plain).eval()(images)
    assert model.converted
    torch.testing.assert_close(model.eval()(images), expected, rtol=1e-2, atol=1e-2)


def test_a_run_with_branches_is_no_plain_network(converted):
    with pytest.raises(UserError, match="local-global branches.*valid: model.local_global true"):
        started(converted)


def test_other_classes_have_a_new_head(plain):
    with pytest.warns(UserWarning, match="its classes, its pooling or its head"):
        model = started(plain, ("red", "blue", "green"))
    saved = saved_by(plain)
    assert torch.equal(model.state_dict()[FIRST], saved[FIRST])
    assert not torch.equal(model.state_dict()["head.weight"], saved["head.weight"])


def test_another_pooling_has_a_new_head(plain):
    with pytest.warns(UserWarning, match="its classes, its pooling or its head"):
        assert not started(plain, pooling="max").has_trained_head


def task_from(plain, squares_coco, **train: Any) -> VisionTask:
    return VisionTask(
        VisionConfig(
            data=DataConfig(name="coco", root=str(squares_coco), image_size=32, validation=0.25),
            model=ModelConfig(backbone="test_resnet", weights=str(plain)),
            loss=LossConfig(name="bce", parameters={"unknown": "negative"}),
            train=TrainConfig(
                **{"epochs": 1, "batch_size": 16, "learning_rate": 0.1, "ema_decay": None, **train}
            ),
        )
    )


def test_a_network_that_ends_below_the_head_it_started_from_says_so(plain, squares_coco):
    accelerator = create_accelerator()
    task = task_from(plain, squares_coco)
    task.start(accelerator)
    index = json.loads((plain / "weights" / "index.json").read_text())
    file = run_weights_file(str(plain))
    assert file is not None
    saved = index[file.stem]["score"]
    assert float(task.state_dict()["start_score"]) == pytest.approx(saved, abs=1e-6)
    task.batches(0, accelerator)  # the only epoch
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task.validate(accelerator)  # as good as at the start
    resumed = task_from(plain, squares_coco, ema_decay=0.9)
    resumed.load_state_dict(task.state_dict())
    resumed.batches(0, accelerator)
    with torch.no_grad():
        next(resumed.model.head.parameters()).neg_()  # the opposite order
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed.validate(accelerator)  # the averaged weights may still be good
    with pytest.warns(UserWarning, match=f"ends below the head .* against {saved:.2f} on the 24"):
        resumed.validate(accelerator)


def test_another_backbone_is_refused(plain):
    with pytest.raises(UserError, match=r"\w+.safetensors does not hold the weights of this back"):
        create_classifier("resnet18", 3, local_global=False, head="linear", weights=str(plain))


def test_a_transformer_keeps_the_positions_of_its_size(squares_coco, tmp_path):
    run = run_of(squares_coco, tmp_path / "vit", "--model.backbone", "test_vit")
    model = create_classifier(
        "test_vit", 3, local_global=False, head="linear", weights=str(run), image_size=32
    )
    saved = saved_by(run)
    assert torch.equal(model.backbone.pos_embed, saved["backbone.pos_embed"])


def test_a_run_goes_on_from_a_run_by_the_command(squares_coco, plain, tmp_path):
    out = run_of(squares_coco, tmp_path / "next", "--model.weights", str(plain))
    content = json.loads((out / "run.json").read_text())
    assert content["starting_weights"] == str(run_weights_file(str(plain)))


def test_heads_on_the_features_of_a_run(squares_coco, plain, tmp_path):
    config = VisionConfig(
        data=DataConfig(name="coco", root=str(squares_coco), image_size=32),
        model=ModelConfig(backbone="test_resnet", weights=str(plain)),
        loss=LossConfig(name="auto"),
        train=TrainConfig(epochs=1, batch_size=4, learning_rate=0.1),
        heads="least_squares",
        features=FeaturesConfig(cache=str(tmp_path)),
    )
    with pytest.warns(UserWarning, match="its network knows their labels"):
        task = FrozenTask(config)
    saved = saved_by(plain)
    assert torch.equal(task.model.state_dict()[FIRST], saved[FIRST])


@pytest.fixture(scope="module")
def heads(squares_coco, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    main(
        [
            *("--config", "frozen", "--data.name", "coco", "--data.root", str(squares_coco)),
            *("--data.image_size", "32", "--model.backbone", "test_resnet"),
            *("--model.weights", "none", "--heads", "least_squares"),
            *("--features.cache", str(folder / "cache"), "--out", str(folder / "run")),
        ]
    )
    return folder / "run"


def started_with(weights: Path, loss: str):
    config = VisionConfig(
        data=DataConfig(name="coco", root="x", image_size=32),
        model=ModelConfig(backbone="test_resnet", weights=str(weights)),
        loss=LossConfig(name=loss, parameters={"unknown": "negative"}),
        train=TrainConfig(epochs=1, batch_size=4, learning_rate=0.1),
    )
    return build_for_training(config, CLASSES, torch.zeros(4, 3).numpy())


def test_a_loss_of_plus_and_minus_one_starts_from_scores_of_that_size(heads, squares_coco):
    data = DataConfig(name="coco", root=str(squares_coco), image_size=32)
    train = training_data(data, seed=0).train
    scores, log_odds = (
        score_images(started_with(heads, loss).eval(), train, create_accelerator(), batch_size=16)
        for loss in ("squared", "bce")
    )
    # least squares with an intercept: on average the scores are the targets +1 and -1
    np.testing.assert_allclose(scores.mean(0), train.labels.mean(0), atol=0.05)
    assert np.abs(log_odds.mean(0) - train.labels.mean(0)).min() > 0.2
    for own, other in zip(scores.T, log_odds.T, strict=True):
        slope, bias = np.polyfit(own, other, 1)
        assert slope > 0
        np.testing.assert_allclose(slope * own + bias, other, atol=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [1, 2],
        {"slope": [1, 2], "bias": [1, 2]},
        {"slope": [1, 0, 1], "bias": [1, 1, 1]},
        {"slope": [1, 1, 1], "bias": [1, 1, float("nan")]},
        {"slope": [1, 1, "1"], "bias": [1, 1, 1]},
        {"slope": [1, 1, 10**400], "bias": [1, 1, 1]},
    ],
)
def test_a_wrong_entry_of_a_foreign_run_is_one_line(heads, tmp_path, wrong):
    run = tmp_path / "run"
    shutil.copytree(heads, run)
    file = run / "weights" / "index.json"
    index = json.loads(file.read_text())
    index["last"]["heads"]["log_odds"] = wrong
    file.write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"last.safetensors: .*heads.log_odds; valid: slope and"):
        started_with(run, "squared")


@pytest.mark.parametrize("weights", [None, "auto", "pip", "x.safetensors", "a/b/c.pth"])
def test_other_weights_are_of_no_run(weights):
    assert run_weights(weights) is None
