"""A task that draws from every random number generator, for tests of interrupted runs."""

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from pumlc.engine.config import TrainConfig
from pumlc.engine.loop import Trainer
from pumlc.engine.run import RunFolder
from pumlc.engine.task import Validation

STEPS = 4
TIMES = ("seconds", "rows_per_second")


class Noisy:
    """A net with dropout and BatchNorm, whose steps depend on all random numbers before them.

    Args:
        before_step: called with the number of each step.
    """

    def __init__(self, before_step=lambda step: None) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1)
        )
        self.before_step = before_step
        self.served = 0  # batches that were made
        self.prepared: torch.Tensor | None = None

    def facts(self) -> dict[str, Any]:
        return {}

    def write_files(self, folder: Path) -> None:
        pass

    def start(self, accelerator: Accelerator) -> None:
        pass

    def steps_per_epoch(self, world_size: int) -> int:
        return STEPS

    def batches(self, epoch, accelerator, first=0):
        if not first:  # at its beginning an epoch prepares something from the weights
            self.prepared = next(self.model.parameters()).detach().mean()
            torch.rand(3)
        for step in range(first, STEPS):
            self.served += 1
            rank = accelerator.process_index
            generator = torch.Generator().manual_seed(100 * epoch + 10 * step + rank)
            yield torch.randn(6, 3, generator=generator)

    def training_step(self, network, batch, accelerator, step):
        self.before_step(step)
        assert self.prepared is not None
        noise = random.random() + np.random.rand()  # noqa: NPY002
        target = batch.sum(dim=1, keepdim=True) * noise + self.prepared
        loss = (network(batch) - target).square().mean()
        accelerator.backward(loss)
        return {"loss": loss.detach(), "noise": noise}

    def state_dict(self):
        return {} if self.prepared is None else {"prepared": self.prepared}

    def load_state_dict(self, state):
        self.prepared = state["prepared"]

    def validate(self, accelerator):
        with torch.no_grad():
            score = self.model.eval()(torch.ones(2, 3)).sum().item()
        resamples = score * np.array([0.9, 1.0, 1.2])
        return Validation(score, {"score": score}, {"thresholds": [score]}, resamples)


def trainer_of(folder, task, accelerator, *, resume=False, **changes) -> Trainer:
    """A trainer of a new run in ``folder``, or of the one that goes on."""
    settings = {"epochs": 3, "batch_size": 6, "learning_rate": 0.05, "ema_decay": 0.8}
    config = TrainConfig(**{**settings, "clip_norm": 1.0, **changes})
    run = RunFolder(folder)
    if accelerator.is_main_process and not resume:
        run.start({}, {}, 1)
    accelerator.wait_for_everyone()
    trainer = Trainer(task, config, run, accelerator)
    if resume:
        trainer.resume()
    return trainer


def outcome(folder: Path) -> dict[str, Any]:
    """All that a finished run says, apart from its times."""
    weights = {file.name: file.read_bytes() for file in (folder / "weights").iterdir()}
    with (folder / "metrics.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
    return {"metrics": rows, **weights}
