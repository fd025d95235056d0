"""The training loop. It knows a task by the protocol `pumlc.engine.task.Task` alone."""

import math
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed
from tqdm import tqdm

from pumlc.engine.checkpoint import Checkpoint, load_into, load_weights, save_weights
from pumlc.engine.config import TrainConfig
from pumlc.engine.ema import ExponentialMovingAverage
from pumlc.engine.optimizer import create_optimizer, create_schedule
from pumlc.engine.run import RunFolder
from pumlc.engine.task import Task
from pumlc.errors import UserError


def end_processes(accelerator: Accelerator) -> None:
    """Leave the process group, together: a rank that exits while another one still uses the group
    may be aborted by the threads of gloo."""
    accelerator.wait_for_everyone()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def create_accelerator(precision: Literal["no", "fp16", "bf16"] = "no") -> Accelerator:
    """An accelerator for ``torchrun``, ``accelerate launch`` or a single process."""
    # buffers are not broadcast in every step, only before they are used: `Trainer._share_buffers`
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False)
    # every rank would print them: accelerate does not know the option's new name yet (torch 2.14),
    # and gradients of 1x1 kernels, whose strides have two spellings, are right in either
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # without ``cpu`` several processes on a machine without accelerator would not find each other
    no_device = not torch.accelerator.is_available()
    accelerator = Accelerator(mixed_precision=precision, cpu=no_device, kwargs_handlers=[ddp])
    if precision == "fp16" and accelerator.device.type == "cpu" and accelerator.is_main_process:
        warnings.warn("precision fp16 needs a GPU: without one float32 is used", stacklevel=2)
    return accelerator


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
        self.network, self.optimizer = accelerator.prepare(task.model, optimizer)
        self.schedule = create_schedule(optimizer, config, self.steps_per_epoch)
        task.start(accelerator)  # before an average starts from the weights
        self.ema = None
        if config.ema_decay is not None:
            self.ema = ExponentialMovingAverage(
                task.model, config.ema_decay, warmup=config.ema_warmup
            )
        self.checkpoint = Checkpoint(run.path)
        self.epoch = 0
        self.seconds = 0.0
        self.best: dict[str, float] = {}

    def train(self) -> None:
        """Train from the current epoch (0, or where `resume` left off) to the end.

        Raises:
            UserError: the loss is not finite; the weights are those before that step.
        """
        tracker = self._tensorboard()
        while self.epoch < self.config.epochs:
            started = time.perf_counter()
            means = self._run_epoch()
            self.seconds += time.perf_counter() - started
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
            self._print(", ".join(f"{name} {_short(value)}" for name, value in row.items()))
            if tracker is not None:
                for name, value in row.items():
                    tracker.add_scalar(name, value, self.epoch)
        if tracker is not None:
            tracker.close()

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
        totals: dict[str, float] = defaultdict(float)
        for number, batch in enumerate(self._progress(), start=1):
            self.optimizer.zero_grad()
            step = self.epoch * self.steps_per_epoch + number - 1
            losses = self.task.training_step(self.network, batch, self.accelerator, step)
            self._stop_unless_finite(losses, step)
            if self.config.clip_norm is not None:
                self.accelerator.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
            self.optimizer.step()
            if not self.accelerator.optimizer_step_was_skipped:
                self.schedule.step()
                if self.ema is not None:
                    self.ema.update(self.task.model)
            for name, value in losses.items():
                totals[name] += value
            if not sys.stderr.isatty() and number % self.config.log_every == 0:
                shown = ", ".join(f"{name} {_short(value)}" for name, value in losses.items())
                self._print(f"epoch {self.epoch + 1} step {number}/{self.steps_per_epoch}: {shown}")
        means = {name: total / self.steps_per_epoch for name, total in totals.items()}
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

    def _stop_unless_finite(self, losses: dict[str, float], step: int) -> None:
        finite = torch.tensor(float(math.isfinite(losses["loss"])), device=self.accelerator.device)
        if self.accelerator.num_processes > 1:
            # every process must stop, or the others wait for this one for ever
            torch.distributed.all_reduce(finite, torch.distributed.ReduceOp.MIN)
        if not finite.item():
            raise UserError(
                f"the loss is not finite at step {step} (epoch {self.epoch + 1}): {losses} on "
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

    def _tensorboard(self) -> Any:
        if not (self.config.tensorboard and self.accelerator.is_main_process):
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError("train.tensorboard needs: pip install pumlc[track]") from None
        return SummaryWriter(str(self.run.path / "tensorboard"))

    def _print(self, text: str) -> None:
        if self.accelerator.is_main_process:
            print(text, flush=True)


def _plain_schedule(schedule: torch.optim.lr_scheduler.LRScheduler) -> dict[str, Any]:
    """The schedule's numbers; its functions are rebuilt from the config."""
    kept = (bool, int, float, str, list, type(None))
    return {name: value for name, value in schedule.state_dict().items() if isinstance(value, kept)}


def _short(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
