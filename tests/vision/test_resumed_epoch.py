"""Image runs that end within an epoch: the same weights, and no picture is decoded for nothing."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from pumlc.engine.config import TrainConfig
from pumlc.engine.run import RunFolder
from pumlc.engine.training import train_run
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.data import loader
from pumlc.vision.task import VisionTask

KILLED_AT = 6  # of 4 steps an epoch


class Killed(Exception):
    pass


class KilledTask(VisionTask):
    def training_step(self, network, batch, accelerator, step):
        if step == KILLED_AT:
            raise Killed
        return super().training_step(network, batch, accelerator, step)


def settings(root: Path, workers: int) -> VisionConfig:
    """Settings with all that draws random numbers: crops, mixup, dropout."""
    return VisionConfig(
        data=DataConfig(
            name="coco",
            root=str(root),
            image_size=32,
            validation=0.25,
            augmentation="multi-scale-crop",
        ),
        model=ModelConfig(backbone="test_efficientnet"),
        loss=LossConfig(name="pu", parameters={"gamma": 0.85, "alpha": 2.0}, mixup_weight=1.0),
        train=TrainConfig(
            epochs=2,
            batch_size=18,
            learning_rate=1e-3,
            ema_decay=0.9,
            workers=workers,
            checkpoint_minutes=0.0,
        ),
    )


@pytest.fixture(scope="module")
def whole(squares_coco, tmp_path_factory):
    """The weights of a run that nothing interrupts."""
    run = RunFolder(tmp_path_factory.mktemp("whole"))
    train_run(settings(squares_coco, 0), VisionTask, run)
    return {file.name: load_file(file) for file in run.weights.glob("*.safetensors")}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_within_an_epoch(squares_coco, tmp_path, whole, workers, monkeypatch):
    config, run = settings(squares_coco, workers), RunFolder(tmp_path)
    with pytest.raises(Killed):
        train_run(config, KilledTask, run)
    decoded, decode = [], loader.decode
    monkeypatch.setattr(loader, "decode", lambda *a: decoded.append(a) or decode(*a))
    train_run(config, VisionTask, run, resume=True)
    names = ("last", "best", "last-ema", "best-ema")
    assert whole.keys() == {f"{name}.safetensors" for name in names}
    for name, expected in whole.items():
        found = load_file(run.weights / name)
        assert all(found[key].equal(value) for key, value in expected.items()), name
    if not workers:
        training = 2 * 4 * 18 - KILLED_AT * 18
        validation = 2 * 24  # by both sets of weights
        assert len(decoded) == training + validation
