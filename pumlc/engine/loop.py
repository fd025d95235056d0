"""The training loop. It knows a task by the protocol `pumlc.engine.task.Task` alone."""

import math
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed
from torch import Tensor
from tqdm import tqdm

from pumlc.engine.checkpoint import Checkpoint, load_into, load_weights, save_weights
from pumlc.engine.config import TrainConfig
from pumlc.engine.ema import ExponentialMovingAverage, start_share
from pumlc.engine.means import Means
from pumlc.engine.optimizer import create_optimizer, create_schedule
from pumlc.engine.run import LARGEST_START_SHARE, RunFolder
from pumlc.engine.task import Task
from pumlc.errors import UserError


def end_processes(accelerator: Accelerator) -> None:
    """Leave the process group, together: a rank that exits while another one still uses the group
    may be aborted by the threads of gloo."""
    accelerator.wait_for_everyone()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def tracker_name(config: TrainConfig) -> str | None:
    """Where the rows of metrics.csv go too, None for nowhere."""
    name = "tensorboard" if config.tensorboard else config.tracker
    return None if name == "none" else name


def create_accelerator(
    precision: Literal["no", "fp16", "bf16"] = "no",
    *,
    tracker: str | None = None,
    folder: Path | None = None,
) -> Accelerator:
    """An accelerator for ``torchrun``, ``accelerate launch`` or a single process.

    Args:
        precision: automatic mixed precision.
        tracker: tensorboard, wandb or mlflow, see `tracker_name`.
        folder: the run folder, for what a tracker writes.

    Raises:
        UserError: the tracker is not installed.
    """
    if tracker is not None and find_spec(tracker) is None:
        raise UserError(f"train.tracker {tracker} needs the package {tracker} (pumlc[track])")
    # buffers are not broadcast in every step, only before they are used: `Trainer._share_buffers`
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False)
    # without ``cpu`` several processes on a machine without accelerator would not find each other
    no_device = not torch.accelerator.is_available()
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=no_device,
        kwargs_handlers=[ddp],
        log_with=tracker,
        project_dir=folder,
    )
    if precision == "fp16" and accelerator.device.type == "cpu" and accelerator.is_main_process:
        warnings.warn("precision fp16 needs a GPU: without one float32 is used", stacklevel=2)
    return accelerator


@contextmanager
def _without_known_warnings() -> Iterator[None]:
    """Leave out two warnings that every process would print and that nobody can act on.

    accelerate does not know the option's new name yet (torch 2.14), and gradients of 1x1 kernels,
    whose strides have two spellings, are right in either.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        yield


class Trainer:
    """Runs a task for ``config.epochs`` epochs, saving after each one.

    Args:
        task: what to train.
        config: for how long and how.
        run: where results go.
        accelerator: devices and processes; from `create_accelerator`.
    """

    def __init__(
        self, task: Task, config: TrainConfig, run: RunFolder, accelerator: Accelerator
    ) -> None:
        self.task, self.config, self.run, self.accelerator = task, config, run, accelerator
        self.steps_per_epoch = task.steps_per_epoch(accelerator.num_processes)
        optimizer = create_optimizer(task.model, config)
        with _without_known_warnings():
            self.network, self.optimizer = accelerator.prepare(task.model, optimizer)
        self.schedule = create_schedule(optimizer, config, self.steps_per_epoch)
        task.start(accelerator)  # before an average starts from the weights
        self.ema = None
        self.start_share = 0.0  # of the first weights in the average at the end
        if config.ema_decay is not None:
            self.ema = ExponentialMovingAverage(
                task.model, config.ema_decay, warmup=config.ema_warmup
            )
            steps = config.epochs * self.steps_per_epoch
            self.start_share = start_share(config.ema_decay, config.ema_warmup, steps)
        self.checkpoint = Checkpoint(run.path)
        self.epoch = 0
        self.seconds = 0.0
        self.best: dict[str, float] = {}

    def train(self) -> None:
        """Train from the current epoch (0, or where `resume` left off) to the end.

        Raises:
            UserError: the loss is not finite; the weights are those before that step.
        """
        self._warn_of_a_long_average()
        self._start_tracker()
        while self.epoch < self.config.epochs:
            started = time.perf_counter()
            with _without_known_warnings():
                means = self._run_epoch()
            seconds = time.perf_counter() - started
            self.seconds += seconds
            self.epoch += 1
            row = {
                "epoch": self.epoch,
                "step": self.epoch * self.steps_per_epoch,
                "seconds": round(self.seconds, 1),
                "learning_rate": self.schedule.get_last_lr()[0],
                **means,
                **self._validate_and_select(),
            }
            self._save(row)
            global_batch = self.config.batch_size * self.accelerator.num_processes
            shown = {**row, "rows per second": self.steps_per_epoch * global_batch / seconds}
            self._print(", ".join(f"{name} {_short(value)}" for name, value in shown.items()))
            if self.accelerator.trackers:
                self.accelerator.log(shown, step=self.epoch)
        if self.accelerator.trackers:
            for tracker in self.accelerator.trackers:
                tracker.finish()

    def resume(self) -> None:
        """Continue from the checkpoint: the run ends in the weights it would have ended in.

        A run that was killed in its first epoch has none and starts again, which ends in the same.

        Raises:
            UserError: the checkpoint is damaged.
        """
        folder = self.checkpoint.folder()
        if folder is None:
            self._print("no epoch was finished: starting again")
            return
        state = self.checkpoint.load()
        missing = sorted({"epoch", "seconds", "best", "metrics", "task"} - state.keys())
        if missing:
            raise UserError(f"{folder}: a checkpoint of another version, without {missing[0]}")
        load_into(self.task.model, folder / "model.safetensors")
        if self.ema is not None:
            self.ema.load_state_dict(load_weights(folder / "ema.safetensors"), state["ema_step"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.epoch, self.seconds, self.best = state["epoch"], state["seconds"], state["best"]
        self.run.metrics = state["metrics"]
        self.task.load_state_dict(state["task"])
        self._print(f"resumed after epoch {self.epoch}")

    def _run_epoch(self) -> dict[str, float]:
        # all randomness of an epoch follows from seed, epoch and rank: no state of it is saved
        set_seed((1_000_003 * self.config.seed + self.epoch) % 2**31, device_specific=True)
        self.network.train()
        means = Means()
        for number, batch in enumerate(self._progress(), start=1):
            self.optimizer.zero_grad()
            step = self.epoch * self.steps_per_epoch + number - 1
            losses = self.task.training_step(self.network, batch, self.accelerator, step)
            self._stop_unless_finite(losses, step)
            norm = self._clip_gradient()
            self.optimizer.step()
            means.add(losses)
            if not self.accelerator.optimizer_step_was_skipped:
                means.add({"gradient_norm": norm})
                self.schedule.step()
                if self.ema is not None:
                    self.ema.update(self.task.model)
            if not sys.stderr.isatty() and number % self.config.log_every == 0:
                shown = ", ".join(f"{k} {_short(float(value))}" for k, value in losses.items())
                self._print(f"epoch {self.epoch + 1} step {number}/{self.steps_per_epoch}: {shown}")
        return self._shared_means(means.read())

    def _clip_gradient(self) -> Tensor:
        """Clip the gradient if the config says so; return its norm before."""
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        if self.config.clip_norm is not None:
            norm = self.accelerator.clip_grad_norm_(parameters, self.config.clip_norm)
            assert norm is not None
            return norm
        self.accelerator.unscale_gradients()
        return torch.nn.utils.get_total_norm([p.grad for p in parameters])

    def _shared_means(self, means: dict[str, float]) -> dict[str, float]:
        """Means over the processes."""
        if self.accelerator.num_processes > 1:
            values = torch.tensor(list(means.values()), device=self.accelerator.device)
            torch.distributed.all_reduce(values)
            shared = (values / self.accelerator.num_processes).tolist()
            means = dict(zip(means, shared, strict=True))
        return means

    def _progress(self) -> Iterator[Any]:
        return iter(
            tqdm(
                self.task.batches(self.epoch, self.accelerator),
                total=self.steps_per_epoch,
                desc=f"epoch {self.epoch + 1}/{self.config.epochs}",
                leave=False,
                disable=not (sys.stderr.isatty() and self.accelerator.is_main_process),
            )
        )

    def _stop_unless_finite(self, losses: Mapping[str, Tensor | float], step: int) -> None:
        loss = torch.as_tensor(losses["loss"], device=self.accelerator.device)
        finite = torch.isfinite(loss).float()
        if self.accelerator.num_processes > 1:
            # every process must stop, or the others wait for this one for ever
            torch.distributed.all_reduce(finite, torch.distributed.ReduceOp.MIN)
        if not finite.item():
            read = {name: float(value) for name, value in losses.items()}
            raise UserError(
                f"the loss is not finite at step {step} (epoch {self.epoch + 1}): {read} on "
                f"process {self.accelerator.process_index}. No step was taken with it; the last "
                f"checkpoint is that of epoch {self.epoch}. Usual causes: train.learning_rate too "
                "large, train.precision fp16, a broken picture or label"
            )

    def _validate_and_select(self) -> dict[str, float]:
        """Validate raw and averaged weights; save ``last*`` and, if improved, ``best*``."""
        last_epoch = self.epoch == self.config.epochs
        self._share_buffers()
        look = last_epoch or self.epoch % self.config.validate_every == 0
        row = self._validate("", look, last_epoch)
        if self.ema is not None:
            with self.ema.applied_to(self.task.model):
                row.update(self._validate("-ema", look, last_epoch))
        return row

    def _share_buffers(self) -> None:
        """Let all processes score with the buffers that are saved: BatchNorm's statistics are of
        each process's own batches."""
        if self.accelerator.num_processes == 1:
            return
        averages = {} if self.ema is None else self.ema.average
        for name, buffer in self.task.model.named_buffers():
            torch.distributed.broadcast(buffer, 0)
            if name in averages:
                torch.distributed.broadcast(averages[name], 0)

    def _validate(self, suffix: str, look: bool, last_epoch: bool) -> dict[str, float]:
        validation = self.task.validate(self.accelerator) if look else None
        entry: dict[str, Any] = {"epoch": self.epoch, "score": None}
        if suffix:
            entry["start_share"] = self.start_share
        if validation is not None:
            entry.update(
                score=validation.score, metrics=validation.metrics, extras=validation.extras
            )
        if last_epoch:
            self._save_weights(f"last{suffix}", entry)
        if validation is None:
            return {}
        name = f"best{suffix}"
        # of equal scores the later: a small validation part is soon ranked perfectly
        if validation.score >= self.best.get(name, -math.inf):
            self.best[name] = validation.score
            self._save_weights(name, entry)
        return {f"validation{suffix}/{key}": value for key, value in validation.metrics.items()}

    def _save_weights(self, name: str, entry: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            save_weights(self.run.weights / f"{name}.safetensors", self.task.model.state_dict())
            self.run.add_to_index(name, entry)

    def _save(self, row: dict[str, Any]) -> None:
        if not self.accelerator.is_main_process:
            return
        self.run.add_metrics(row)
        weights = {"model": self.task.model.state_dict()}
        scaler = self.accelerator.scaler
        state = {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "best": self.best,
            "metrics": self.run.metrics,
            "optimizer": self.optimizer.state_dict(),
            "schedule": _plain_schedule(self.schedule),
            "scaler": None if scaler is None else scaler.state_dict(),
            "task": self.task.state_dict(),
        }
        if self.ema is not None:
            weights["ema"] = self.ema.state_dict()
            state["ema_step"] = self.ema.step
        self.checkpoint.save(weights, state)

    def _warn_of_a_long_average(self) -> None:
        if self.start_share > LARGEST_START_SHARE:
            self._print(
                f"warning: with train.ema_decay {self.config.ema_decay:g} the weights that the run "
                f"starts from are {self.start_share:.0%} of the average at the end of its "
                f"{self.config.epochs * self.steps_per_epoch} steps; the average is not preferred. "
                "A smaller train.ema_decay, or train.ema_warmup true, shortens its memory"
            )

    def _start_tracker(self) -> None:
        name = tracker_name(self.config)
        if name is not None:
            # tensorboard takes the name for a folder, inside the run folder
            self.accelerator.init_trackers("tensorboard" if name == "tensorboard" else "pumlc")

    def _print(self, text: str) -> None:
        if self.accelerator.is_main_process:
            print(text, flush=True)


def _plain_schedule(schedule: torch.optim.lr_scheduler.LRScheduler) -> dict[str, Any]:
    """The schedule's numbers; its functions are rebuilt from the config."""
    kept = (bool, int, float, str, list, type(None))
    return {name: value for name, value in schedule.state_dict().items() if isinstance(value, kept)}


def _short(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
