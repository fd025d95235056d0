"""Steps of several batches, and where the loss is read."""

import csv
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from noisy_task import Noisy, outcome, trainer_of
from two_processes import run_in_two_processes

from pumlc.engine.agreement import Agreement
from pumlc.engine.batches import EpochBatches
from pumlc.engine.checkpoint import load_weights
from pumlc.engine.config import TrainConfig
from pumlc.engine.loop import Trainer
from pumlc.engine.processes import create_accelerator, end_processes
from pumlc.engine.run import RunFolder
from pumlc.engine.stopping import StopSignals
from pumlc.errors import UserError

ROWS = 26


class Rows(Noisy):
    """A regression without randomness over rows in `EpochBatches`: its loss is a mean over rows."""

    def __init__(self, batch_size: int, accumulate: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
        self.inputs = torch.randn(ROWS, 3)
        self.size = {"batch_size": batch_size, "accumulate": accumulate}

    def _batches(self, world_size: int, rank: int = 0) -> EpochBatches:
        return EpochBatches(ROWS, seed=3, rank=rank, world_size=world_size, **self.size)

    def steps_per_epoch(self, world_size):
        return self._batches(world_size).steps

    def batches(self, epoch, accelerator, first=0):
        batches = self._batches(accelerator.num_processes, accelerator.process_index)
        batches.epoch, batches.first = epoch, first
        for pairs in batches:
            self.served += 1
            yield self.inputs[[row for _, row in pairs]]

    def training_step(self, network, batch, accelerator, step):
        self.before_step(step)
        loss = (network(batch) - batch.sum(dim=1, keepdim=True)).square().mean()
        accelerator.backward(loss)
        return {"loss": loss.detach()}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        assert not state


def trained(folder, accelerator, batch_size, accumulate):
    task = Rows(batch_size, accumulate)
    size = {"batch_size": batch_size, "accumulate": accumulate}
    trainer_of(folder, task, accelerator, **size).train()
    return task


def rows_of(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("batch_size", "accumulate"), [(2, 4), (4, 2), (1, 8)])
def test_small_batches_make_the_step_of_a_large_one(tmp_path, batch_size, accumulate):
    accelerator = create_accelerator()
    trained(tmp_path / "large", accelerator, 8, 1)
    task = trained(tmp_path / "small", accelerator, batch_size, accumulate)
    assert task.served == 3 * 3 * accumulate  # 26 rows are three steps of eight
    large, small = (
        load_weights(tmp_path / name / "weights" / "last.safetensors")
        for name in ("large", "small")
    )
    for name, value in large.items():
        torch.testing.assert_close(small[name], value, rtol=1e-5, atol=1e-6)
    for one, other in zip(rows_of(tmp_path / "large"), rows_of(tmp_path / "small"), strict=True):
        assert one["step"] == other["step"]
        for name in ("loss", "gradient_norm"):  # the loss is the mean over all rows of a step
            assert float(other[name]) == pytest.approx(float(one[name]), rel=1e-4)


@given(
    rows=st.integers(24, 70),
    batch=st.integers(1, 3),
    accumulate=st.integers(1, 4),
    world=st.integers(1, 2),
    first=st.integers(0, 2),
)
def test_the_rows_of_a_step_are_those_of_one_large_batch(rows, batch, accumulate, world, first):
    large = EpochBatches(rows, batch * accumulate * world, seed=5)
    ranks = [
        EpochBatches(rows, batch, seed=5, rank=rank, world_size=world, accumulate=accumulate)
        for rank in range(world)
    ]
    for batches in (large, *ranks):
        batches.epoch, batches.first = 1, min(first, batches.steps)
    own = [list(batches) for batches in ranks]
    for number, expected in enumerate(large):
        part = slice(number * accumulate, (number + 1) * accumulate)
        assert sorted(expected) == sorted(sum((sum(rank[part], []) for rank in own), []))
    assert len(own[0]) == len(list(large)) * accumulate


def test_too_few_rows_for_a_step():
    with pytest.raises(UserError, match=r"batch_size 4 x 1 process\(es\) x train.accumulate 3"):
        EpochBatches(11, 4, seed=0, accumulate=3)


def test_a_run_of_accumulated_steps_goes_on_where_it_was_cut(tmp_path):
    accelerator, size = create_accelerator(), {"batch_size": 2, "accumulate": 4}
    trained(tmp_path / "whole", accelerator, **size)
    task = Rows(**size)

    def cut(step):
        if step == 4:
            raise KeyboardInterrupt

    task.before_step = cut
    settings: dict[str, Any] = {**size, "checkpoint_minutes": 0}
    with pytest.raises(KeyboardInterrupt):
        trainer_of(tmp_path / "cut", task, accelerator, **settings).train()
    again = Rows(**size)
    trainer_of(tmp_path / "cut", again, accelerator, resume=True, **settings).train()
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")
    assert again.served == (9 - 4) * 4


def rank_main(rank: int, folder: Path) -> None:
    accelerator = create_accelerator()
    trained(folder, accelerator, 2, 2)
    end_processes(accelerator)


def test_two_processes_accumulate_the_same_step(tmp_path):
    trained(tmp_path / "large", create_accelerator(), 8, 1)
    run_in_two_processes(rank_main, tmp_path / "two")
    large, two = (
        load_weights(tmp_path / name / "weights" / "last.safetensors") for name in ("large", "two")
    )
    for name, value in large.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6)


def test_pictures_a_second_are_in_metrics(tmp_path):
    trained(tmp_path, create_accelerator(), 2, 4)
    for row in rows_of(tmp_path):
        assert float(row["rows_per_second"]) > 0


def agreement_of(every: int) -> Agreement:
    config = TrainConfig(epochs=1, batch_size=1, learning_rate=1.0)
    agreement = Agreement(Accelerator(cpu=True), config, StopSignals(), 10)
    agreement.every = every
    return agreement


def test_a_loss_is_read_late_and_the_first_broken_step_is_named():
    """As on a GPU, where each reading would wait for the queue."""
    agreement = agreement_of(4)
    for step, value in enumerate([1.0, np.inf, 2.0, np.nan]):
        agreement.note({"loss": torch.tensor(value)}, step)
    with pytest.raises(UserError, match=r"not finite at step 1 \(epoch 1\).* Read after step 3"):
        agreement.reach({"loss": torch.tensor(np.nan)}, 3)


def test_a_processor_reads_each_loss_and_a_gpu_every_few():
    config = TrainConfig(epochs=1, batch_size=1, learning_rate=1.0, log_every=7)
    accelerator = types.SimpleNamespace(device=torch.device("cpu"), num_processes=1)
    assert Agreement(accelerator, config, StopSignals(), 1).every == 1  # pyright: ignore
    accelerator.device = torch.device("meta")
    assert Agreement(accelerator, config, StopSignals(), 1).every == 7  # pyright: ignore
    config.checkpoint_minutes = 0
    assert Agreement(accelerator, config, StopSignals(), 1).every == 1  # pyright: ignore


def test_no_broken_loss_is_saved_where_it_is_read_late(tmp_path):
    """A signal comes between the broken step and the next reading."""
    task = Rows(8, 1)
    run = RunFolder(tmp_path)
    run.start({}, {}, 1)
    config = TrainConfig(epochs=2, batch_size=8, learning_rate=0.05)
    trainer = Trainer(task, config, run, create_accelerator())
    trainer.agreement.every = 100
    real = task.training_step

    def broken(network, batch, accelerator, step):
        losses = real(network, batch, accelerator, step)
        if step != 1:
            return losses
        trainer.stop.received = 15
        return {"loss": losses["loss"] * np.nan}

    task.training_step = broken
    with pytest.raises(UserError, match="not finite at step 1"):
        trainer.train()
    assert not run.has_saved()
