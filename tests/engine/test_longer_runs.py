"""A run that goes on for more epochs than it had."""

import csv
import json
from dataclasses import dataclass

import pytest
from noisy_task import STEPS, Noisy, outcome, trainer_of

from pumlc.cli.train import main
from pumlc.engine.command_line import parse
from pumlc.engine.config import TrainConfig
from pumlc.engine.processes import create_accelerator
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "constant"},
        {"schedule": "one-cycle", "schedule_epochs": 6},
        {"schedule": "linear", "schedule_epochs": 4, "optimizer": "sgd"},
    ],
)
def test_with_a_schedule_that_is_long_enough_it_is_the_longer_run(tmp_path, settings):
    accelerator = create_accelerator()
    settings = {**settings, "ema_decay": None}  # weights of an average say how long its run was
    trainer_of(tmp_path / "whole", Noisy(), accelerator, epochs=4, **settings).train()
    trainer_of(tmp_path / "more", Noisy(), accelerator, epochs=2, **settings).train()
    more = trainer_of(tmp_path / "more", Noisy(), accelerator, resume=True, epochs=4, **settings)
    more.train()
    assert outcome(tmp_path / "more") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("before", [1 / STEPS, 1, 2])
@pytest.mark.parametrize("schedule", ["one-cycle", "linear"])
def test_a_schedule_that_has_ended_goes_on_as_that_of_the_longer_run(
    tmp_path, monkeypatch, before, schedule
):
    """Also after a run of a single step, whose schedule is another one."""
    accelerator = create_accelerator()

    def rates(folder):
        with (folder / "metrics.csv").open() as file:
            return [float(row["learning_rate"]) for row in csv.DictReader(file)]

    if before < 1:
        monkeypatch.setattr(Noisy, "steps_per_epoch", lambda self, world_size: 1)
        monkeypatch.setattr("noisy_task.STEPS", 1)
    before = max(1, int(before))
    settings = {"schedule": schedule, "warmup": 0.3}
    trainer_of(tmp_path / "whole", Noisy(), accelerator, epochs=5, **settings).train()
    trainer_of(tmp_path / "more", Noisy(), accelerator, epochs=before, **settings).train()
    more = trainer_of(tmp_path / "more", Noisy(), accelerator, resume=True, epochs=5, **settings)
    more.train()
    assert rates(tmp_path / "more")[before:] == rates(tmp_path / "whole")[before:]


def test_the_command(squares_coco, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = [
        *("--data.name", "coco", "--data.root", str(squares_coco), "--data.image_size", "32"),
        *("--data.validation", "0.25", "--data.augmentation", "flip"),
        *("--model.backbone", "test_resnet", "--train.epochs", "1", "--train.batch_size", "8"),
        *("--train.accumulate", "2", "--train.learning_rate", "0.01", "--loss.name", "bce"),
        *("--loss.parameters", "{unknown: negative}", "--out", str(out)),
    ]
    main(arguments)
    go_on = ["--out", str(out), "--resume", "--train.epochs"]
    with pytest.raises(UserError, match=r"--train.epochs must be at least the 1 of .*, got 0"):
        main([*go_on, "0"])
    main([*go_on, "3"])
    content = json.loads((out / "run.json").read_text())
    assert content["config"]["train"]["epochs"] == 3
    assert content["epochs_before"] == [1]
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert int(rows[-1]["step"]) == 3 * (content["train_pictures"] // 16)
    assert RunFolder(out).index()["last"]["epoch"] == 3
    main([*go_on[:-1]])  # nothing is left to do
    assert "done" in capsys.readouterr().out


def test_typed_epochs_replace_the_steps_of_a_recipe(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("train: {epochs: 2, min_steps: 40, batch_size: 8, learning_rate: 0.1}")

    @dataclass(kw_only=True)
    class Settings:
        train: TrainConfig

    def length(*typed):
        config, _ = parse(Settings, ["--config", str(file), *typed], program="train")
        return config.train.epochs, config.train.min_steps

    assert length() == (2, 40)
    assert length("--train.seed", "1") == (2, 40)
    assert length("--train.epochs", "3") == length("--train.epochs=3") == (3, 0)
    assert length("--train.epochs", "3", "--train.min-steps", "9") == (3, 9)


def test_few_data_have_as_many_epochs_as_the_steps_take(squares_coco, tmp_path, capsys):
    data = ["--data.name", "coco", "--data.root", str(squares_coco), "--data.image_size", "32"]
    network = ["--model.backbone", "test_resnet", "--loss.name", "bce"]
    loss = ["--loss.parameters", "{unknown: negative}", "--train.batch_size", "16"]
    length = ["--train.epochs", "2", "--train.learning_rate", "0.01"]
    common = [*data, *network, *loss, *length]
    for steps, epochs in ((12, 2), (13, 3)):  # 96 pictures are 6 steps
        out = tmp_path / str(steps)
        main([*common, "--train.min_steps", str(steps), "--out", str(out)])
        content = json.loads((out / "run.json").read_text())
        assert content["config"]["train"]["epochs"] == epochs
        said = "3 epochs of 6 steps, for train.min_steps 13" in capsys.readouterr().out
        assert said is (epochs > 2)
        with (out / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == epochs
        assert float(rows[-1]["learning_rate"]) < 5e-4  # the schedule ends with the run
    with pytest.raises(UserError, match="train.min_steps must be 0 with train.schedule_epochs"):
        main([*common, *("--train.min_steps", "9", "--train.schedule_epochs", "9", "--out", "x")])
