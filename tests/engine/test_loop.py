"""Schedules, order of rows, stopping on a loss that is not finite, checkpoints."""

import csv
import errno
import os

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st

from pumlc.engine.batches import EpochBatches
from pumlc.engine.checkpoint import Checkpoint, load_into, load_weights, save_weights
from pumlc.engine.config import TrainConfig
from pumlc.engine.loop import Trainer
from pumlc.engine.optimizer import create_optimizer, create_schedule
from pumlc.engine.processes import create_accelerator, tracker_name
from pumlc.engine.run import RunExistsError, RunFolder
from pumlc.errors import UserError


def learning_rates(steps_per_epoch, **settings):
    config = TrainConfig(batch_size=1, learning_rate=1e-4, **settings)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    schedule = create_schedule(optimizer, config, steps_per_epoch)
    rates = []
    for _ in range(config.epochs * steps_per_epoch):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(rates)


def test_published_schedule_stops_at_two_thirds_of_the_peak():
    rates = learning_rates(100, epochs=41, schedule_epochs=80, warmup=0.2)
    assert np.argmax(rates) == pytest.approx(16 * 100, abs=2)
    assert rates.max() == pytest.approx(1e-4)
    assert rates[-1] == pytest.approx(6.7e-5, rel=0.02)


def test_linear_schedule_warms_up_and_ends_at_zero():
    rates = learning_rates(10, epochs=10, schedule="linear", warmup=0.2)
    assert np.argmax(rates) in (19, 20)
    assert rates[-1] == pytest.approx(1e-4 / 80, rel=1e-6)
    assert (np.diff(rates[:20]) > 0).all()
    assert (np.diff(rates[20:]) < 0).all()


def test_constant_schedule_and_no_warm_up():
    assert np.ptp(learning_rates(10, epochs=2, schedule="constant")) == 0
    assert np.isfinite(learning_rates(10, epochs=2, warmup=0.0)).all()


@given(
    rows=st.integers(8, 60),
    batch=st.integers(1, 4),
    world=st.integers(1, 2),
    seed=st.integers(0, 9),
)
def test_processes_share_the_same_global_batches(rows, batch, world, seed):
    def global_batches(batch_size, world_size):
        ranks = [
            list(EpochBatches(rows, batch_size, seed=seed, rank=r, world_size=world_size))
            for r in range(world_size)
        ]
        return [sorted(sum(step, [])) for step in zip(*ranks, strict=True)]

    together = global_batches(batch * world, 1)
    assert together == global_batches(batch, world)
    seen = [row for step in together for _, row in step]
    assert len(seen) == len(set(seen)) == rows // (batch * world) * batch * world


def test_order_changes_with_the_epoch_and_repeats_with_the_seed():
    batches = EpochBatches(50, 5, seed=1)
    first = list(batches)
    batches.epoch = 1
    assert list(batches) != first
    batches.epoch = 0
    assert list(batches) == first


def test_too_few_rows_for_a_batch():
    with pytest.raises(ValueError, match="3 training rows do not fill one batch"):
        EpochBatches(3, 4, seed=0)


@pytest.mark.parametrize(("warmup", "epochs"), [(0.5, 2), (0.2, 5), (0.1, 10), (1 / 3, 3)])
def test_one_cycle_with_a_warm_up_of_one_step(warmup, epochs):
    """PyTorch divides by the last step of the warm-up, which then is step 0."""
    rates = learning_rates(1, epochs=epochs, schedule="one-cycle", warmup=warmup)
    assert rates[0] == pytest.approx(1e-4 / 25)
    assert (np.diff(rates[1:]) < 0).all()


class Line:
    """The smallest task: a slope fitted by hand-made batches."""

    def __init__(self, bad_step=None):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(1, 1)
        self.bad_step = bad_step
        self.seen = 0

    def facts(self):
        return {}

    def write_files(self, folder):
        pass

    def start(self, accelerator):
        pass

    def steps_per_epoch(self, world_size):
        return 4

    def batches(self, epoch, accelerator, first=0):
        return [torch.full((2, 1), float(i)) for i in range(first, 4)]

    def training_step(self, network, batch, accelerator, step):
        loss = (network(batch) - 2 * batch).square().mean()
        if step == self.bad_step:
            loss = loss * float("nan")
        accelerator.backward(loss)
        self.seen += 1
        return {"loss": loss.item()}

    def state_dict(self):
        return {"seen": torch.tensor(self.seen)}

    def load_state_dict(self, state):
        self.seen = int(state["seen"])

    def validate(self, accelerator):
        return None


def trainer_in(folder, task, resume=False, **settings):
    config = TrainConfig(**{"epochs": 3, "batch_size": 2, "learning_rate": 0.1, **settings})
    run = RunFolder(folder)
    if not resume:
        run.start({}, {}, 1)
    trainer = Trainer(task, config, run, create_accelerator())
    if resume:
        trainer.resume()
    return trainer


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path):
    task = Line(bad_step=0)
    before = [p.clone() for p in task.model.parameters()]
    with pytest.raises(ValueError, match="not finite at step 0"):
        trainer_in(tmp_path, task).train()
    for parameter, old in zip(task.model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def test_resume_ends_in_the_same_weights_bitwise(tmp_path):
    settings = {"ema_decay": 0.9, "epochs": 4, "clip_norm": 1.0}
    whole = Line()
    trainer_in(tmp_path / "whole", whole, **settings).train()
    with pytest.raises(ValueError, match="not finite at step 10"):
        trainer_in(tmp_path / "cut", Line(bad_step=10), **settings).train()
    again = Line()  # 2 whole epochs of 4 steps are kept of the 10 taken
    trainer_in(tmp_path / "cut", again, resume=True, **settings).train()
    assert again.seen == whole.seen == 16
    for name in ("last", "last-ema"):
        one = load_weights(tmp_path / "whole" / "weights" / f"{name}.safetensors")
        other = load_weights(tmp_path / "cut" / "weights" / f"{name}.safetensors")
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert (tmp_path / "cut" / "metrics.csv").read_text().count("\n") == 5


def test_a_run_killed_in_its_first_epoch_starts_again(tmp_path):
    whole, again = Line(), Line()
    trainer_in(tmp_path / "whole", whole).train()
    with pytest.raises(ValueError, match="not finite at step 2"):
        trainer_in(tmp_path / "cut", Line(bad_step=2)).train()
    trainer_in(tmp_path / "cut", again, resume=True).train()
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_run_that_saved_something_is_not_replaced(tmp_path):
    trainer_in(tmp_path, Line(), epochs=1).train()
    with pytest.raises(RunExistsError, match="already holds a run"):
        trainer_in(tmp_path, Line())


def test_a_run_that_saved_nothing_is_replaced(tmp_path):
    with pytest.raises(ValueError, match="not finite"):
        trainer_in(tmp_path, Line(bad_step=1)).train()
    RunFolder(tmp_path).start({"second": True}, {}, 1)
    assert RunFolder(tmp_path).read()["config"] == {"second": True}


def test_weights_outside_of_the_folder_are_not_found(tmp_path):
    run = tmp_path / "run"
    trainer_in(run, Line(), epochs=1).train()
    os.rename(run / "weights" / "last.safetensors", tmp_path / "outside.safetensors")
    with pytest.raises(UserError, match="no weights '../../outside'; saved: none"):
        RunFolder(run).weights_file("../../outside")


def rows_of(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_the_norm_of_the_gradient_is_recorded_before_clipping(tmp_path, clip_norm):
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)
    norms = []
    for value in range(4):
        batch = torch.full((2, 1), float(value))
        gradients = torch.autograd.grad(
            (model(batch) - 2 * batch).square().mean(), list(model.parameters())
        )
        norms.append(torch.cat([g.flatten() for g in gradients]).norm().item())
    settings = {"epochs": 1, "learning_rate": 1e-30, "clip_norm": clip_norm}
    trainer_in(tmp_path, Line(), **settings).train()
    assert float(rows_of(tmp_path)[0]["gradient_norm"]) == pytest.approx(np.mean(norms))


def test_losses_that_stay_on_the_device_give_the_same_means(tmp_path):
    class OnDevice(Line):
        def training_step(self, network, batch, accelerator, step):
            loss = super().training_step(network, batch, accelerator, step)["loss"]
            return {"loss": torch.tensor(loss)}

    for name, task in (("read", Line()), ("device", OnDevice())):
        trainer_in(tmp_path / name, task).train()
    losses = [[row["loss"] for row in rows_of(tmp_path / name)] for name in ("read", "device")]
    assert losses[0] == losses[1]


def test_an_average_longer_than_the_run_is_not_preferred(tmp_path, capsys):
    trainer_in(tmp_path / "long", Line(), ema_decay=0.9997).train()  # 0.9997 ** 12 = 0.996
    printed = capsys.readouterr().out
    assert "train.ema_decay 0.9997" in printed
    assert "100% of the average" in printed
    assert "train.ema_warmup" in printed
    run = RunFolder(tmp_path / "long")
    assert set(run.index()) == {"last", "last-ema"}
    assert run.preferred_weights() == "last"
    run.add_to_index("best-ema", {**run.index()["last-ema"], "score": 2.0})
    run.add_to_index("best", {**run.index()["last"], "score": 1.0})
    assert run.preferred_weights() == "best"
    trainer_in(tmp_path / "short", Line(), ema_decay=0.5).train()
    assert "ema_decay" not in capsys.readouterr().out
    assert RunFolder(tmp_path / "short").preferred_weights() == "last-ema"


def test_an_interrupted_write_of_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*w.safetensors'"):
        save_weights(tmp_path / "w.safetensors", {"a": torch.ones(1)})
    assert list(tmp_path.iterdir()) == []


def test_rows_go_to_tensorboard(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = TrainConfig(epochs=2, batch_size=2, learning_rate=0.1, tensorboard=True)
    run = RunFolder(tmp_path)
    run.start({}, {}, 1)
    accelerator = create_accelerator(tracker=tracker_name(config), folder=run.path)
    Trainer(Line(), config, run, accelerator).train()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
    assert "gradient_norm" in events.Tags()["scalars"]


def test_a_tracker_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("pumlc.engine.processes.find_spec", lambda name: None)
    with pytest.raises(UserError, match="train.tracker mlflow needs the package mlflow"):
        create_accelerator(tracker="mlflow")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{}", "no config"), (b"[]", "no config"), (b"{", "not JSON"), (b"\xff", "not UTF-8")],
)
def test_what_is_no_run(tmp_path, content, message):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"run.json.*{message}"):
        RunFolder(tmp_path).read()


def test_checkpoint_survives_a_kill_between_its_two_renames(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    with pytest.raises(ValueError, match="no checkpoint"):
        checkpoint.load()
    checkpoint.save({"model": {"w": torch.ones(2)}}, {"epoch": 1})
    checkpoint.path.rename(tmp_path / "checkpoint.previous")  # the state at such a moment
    assert checkpoint.load() == {"epoch": 1}
    checkpoint.save({"model": {"w": torch.ones(2)}}, {"epoch": 2})
    assert checkpoint.load() == {"epoch": 2}
    (checkpoint.path / "state.pt").write_bytes(b"not a file of torch")
    with pytest.raises(ValueError, match="cannot be read"):
        checkpoint.load()


def test_weights_of_another_model_are_refused_with_names(tmp_path):
    file = tmp_path / "w.safetensors"
    save_weights(file, torch.nn.Linear(2, 3).state_dict())
    with pytest.raises(ValueError, match=r"weight: \[3, 2\] in the file, \[3, 4\] in the model"):
        load_into(torch.nn.Linear(4, 3), file)
    file.write_bytes(b"half a file")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_weights(file)
    with pytest.raises(ValueError, match="no such weights file"):
        load_weights(tmp_path / "nothing.safetensors")


def test_tied_weights_are_saved(tmp_path):
    layer = torch.nn.Linear(2, 2)
    save_weights(tmp_path / "w.safetensors", {"a": layer.weight, "b": layer.weight})
    state = load_weights(tmp_path / "w.safetensors")
    assert torch.equal(state["a"], state["b"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in fp16")
def test_fp16_without_a_gpu_is_said_to_be_none():
    AcceleratorState._reset_state()
    try:
        with pytest.warns(UserWarning, match="fp16 needs a GPU"):
            create_accelerator("fp16")
    finally:
        AcceleratorState._reset_state()


def test_two_kills_leave_the_only_checkpoint(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save({}, {"epoch": 1})
    os.replace(checkpoint.path, tmp_path / "checkpoint.previous")  # killed between two renames
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            checkpoint.save({}, {"epoch": 2})
    assert checkpoint.load() == {"epoch": 1}


def test_a_checkpoint_of_another_version(tmp_path):
    trainer = trainer_in(tmp_path, Line())
    trainer.checkpoint.save({"model": trainer.task.model.state_dict()}, {"epoch": 1})
    with pytest.raises(ValueError, match="a checkpoint of another version, without best"):
        trainer.resume()


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_a_module_may_have_its_own_rate(kind):
    class Faster(torch.nn.Linear):
        rate_factor = 5.0

    own = Faster(2, 1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), own)
    options = {"optimizer": kind, "learning_rate": 0.1, "weight_decay": 0.3}
    config = TrainConfig(epochs=1, batch_size=1, **options)
    groups = create_optimizer(model, config).param_groups
    rates = {p: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert rates == {
        **dict.fromkeys(model[0].parameters(), (0.1, 0.3)),
        **dict.fromkeys(own.parameters(), (0.5, 0.0)),
    }
    assert len(create_optimizer(own, config).param_groups) == 2  # no empty one


def test_a_cycle_of_one_step_has_the_full_rate():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    config = TrainConfig(epochs=1, batch_size=1, learning_rate=0.3)
    create_schedule(optimizer, config, 1)
    assert optimizer.param_groups[0]["lr"] == 0.3


def test_weights_are_readable_by_others(tmp_path):
    save_weights(tmp_path / "w.safetensors", {"a": torch.ones(1)})
    (tmp_path / "plain").write_text("")
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize(("interval", "lines"), [(10.0, 0), (0.0, 12)])
def test_slow_steps_have_a_line_each(tmp_path, capsys, monkeypatch, interval, lines):
    monkeypatch.setattr("pumlc.engine.step_lines.INTERVAL", interval)
    trainer_in(tmp_path, Line(), log_every=100).train()
    assert capsys.readouterr().out.count(" step ") - 3 == lines  # one line an epoch has it too
