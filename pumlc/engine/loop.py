"""The training loop. It knows a task by the protocol `pumlc.engine.task.Task` alone."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import chain, islice
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object, set_seed
from torch import Tensor
from tqdm import tqdm

from pumlc.engine.agreement import Agreement
from pumlc.engine.checkpoint import Checkpoint, load_into, load_weights
from pumlc.engine.config import TrainConfig
from pumlc.engine.ema import ExponentialMovingAverage, start_share
from pumlc.engine.mean_weights import holding_mean
from pumlc.engine.means import Means
from pumlc.engine.optimizer import (
    clip_gradient,
    create_optimizer,
    create_schedule,
    resume_optimizer,
)
from pumlc.engine.processes import share_buffers, tracker_name, without_known_warnings
from pumlc.engine.randomness import random_state, set_random_state
from pumlc.engine.run import RunFolder
from pumlc.engine.selection import (
    LARGEST_START_SHARE,
    MEAN,
    MEAN_OF,
    HeldOutScores,
    select_weights,
    without_selection,
)
from pumlc.engine.step_lines import StepLines
from pumlc.engine.stopping import StopSignals, TrainingStoppedError
from pumlc.engine.task import Task
from pumlc.errors import UserError
from pumlc.progress import working


class Trainer:
    """Runs a task for ``config.epochs`` epochs, saving after each one and every few minutes.

    SIGTERM and Ctrl-C let it finish the step, save and raise `TrainingStoppedError`.

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
        with without_known_warnings():
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
        self.stop = StopSignals(launched=accelerator.num_processes > 1)
        self.agreement = Agreement(accelerator, config, self.stop, self.steps_per_epoch)
        self.epoch = self.position = 0  # finished epochs, and steps of the current one
        self.seconds = 0.0
        self.scores = HeldOutScores()
        self._means = Means()  # over the steps of the current epoch
        self._random: dict[str, Any] | None = None  # where an interrupted epoch goes on
        self._ticked = 0.0  # when seconds were counted
        shown = accelerator.is_main_process and not sys.stderr.isatty()  # a terminal has a bar
        self._lines = StepLines(config.log_every, shown=shown)
        accelerator.gradient_accumulation_steps = config.accumulate  # its backward divides by it

    def train(self) -> None:
        """Train from the current step (0, or where `resume` left off) to the end.

        Raises:
            UserError: the loss is not finite. The weights are those before that step; of training
                on a GPU, which goes on until the loss is read, they are of no use.
            TrainingStoppedError: a signal asked for it; on all processes, after the same step.
        """
        self._warn_of_a_long_average()
        self._start_tracker()
        self.agreement.saved = time.monotonic()
        with self.stop.caught():
            while self.epoch < self.config.epochs:
                self._train_epoch()
        if self.accelerator.is_main_process:
            selected = select_weights(self.run.index()).line()
            if selected is not None:
                print(selected, flush=True)
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def _train_epoch(self) -> None:
        """Train the current epoch to its end, validate and save."""
        seconds, first = self.seconds, self.position
        with without_known_warnings():
            means = self._run_epoch()
        self.epoch, self.position = self.epoch + 1, 0
        self._means, self._random = Means(), None
        rows = (self.steps_per_epoch - first) * self._global_batch()
        row = {
            "epoch": self.epoch,
            "step": self.epoch * self.steps_per_epoch,
            "seconds": round(self.seconds, 1),
            "rows_per_second": float(f"{rows / max(self.seconds - seconds, 1e-9):.4g}"),
            "learning_rate": self.schedule.get_last_lr()[0],
            **means,
            **self._validate_and_save(),
        }
        if self.accelerator.is_main_process:
            if self.epoch == self.config.epochs:
                row.update(select_weights(self.run.index()).columns())
            self.run.add_metrics(row)
        self._save()
        self._print(", ".join(f"{name} {_short(value)}" for name, value in row.items()))
        if self.accelerator.trackers:
            self.accelerator.log(row, step=self.epoch)
        if self.epoch < self.config.epochs:  # what has come since the last step
            self._stop_if_asked(self.agreement.reach({}, row["step"])[1])

    def _global_batch(self) -> int:
        config = self.config
        return config.batch_size * config.accumulate * self.accelerator.num_processes

    def resume(self) -> None:
        """Continue from the checkpoint: the run ends in the weights it would have ended in.

        A run that was killed before its first one starts again, which ends in the same. With more
        epochs than the run had, the schedule is that of the longer run from here on.

        Raises:
            UserError: the checkpoint is damaged.
        """
        folder = self.checkpoint.folder()
        if folder is None:
            self._print("nothing was saved: starting again")
            return
        state = self.checkpoint.load()
        missing = sorted({"epoch", "seconds", "best", "metrics", "task"} - state.keys())
        if missing:
            raise UserError(f"{folder}: a checkpoint of another version, without {missing[0]}")
        load_into(self.task.model, folder / "model.safetensors")
        if self.ema is not None:
            self.ema.load_state_dict(load_weights(folder / "ema.safetensors"), state["ema_step"])
        resume_optimizer(state["optimizer"], self.schedule, state["schedule"]["last_epoch"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.scores.load(state)
        self.run.metrics = state["metrics"]
        if self.epoch < self.config.epochs:  # the run did not end there
            if self.accelerator.is_main_process:
                self.run.forget_weights(MEAN)
            self.run.metrics = [without_selection(row) for row in state["metrics"]]
        self.task.load_state_dict(state["task"])
        # None at the end of an epoch; earlier versions saved only there, without this entry
        position = state.get("position")
        if position is not None:
            own = position["processes"][self.accelerator.process_index]
            self.position, self._random = position["step"], own["random"]
            self._means.load(own["means"])
        self._print(f"resumed {self._place()}")

    def _run_epoch(self) -> dict[str, float]:
        # all randomness of an epoch follows from seed, epoch and rank
        set_seed((1_000_003 * self.config.seed + self.epoch) % 2**31, device_specific=True)
        self.network.train()
        self._ticked = time.perf_counter()
        with self._lines.epoch():
            for batches in self._steps():
                self._take_step(batches)
        self._tick()
        return self._means.shared(self.accelerator)

    def _take_step(self, batches: Iterable[Any]) -> None:
        """One step of the optimizer, with its line, its checkpoint or its stop where due."""
        place = f"epoch {self.epoch + 1} step {self.position + 1}/{self.steps_per_epoch}"
        self._lines.begin(place)
        self.optimizer.zero_grad()
        step = self.epoch * self.steps_per_epoch + self.position
        losses = self._gradient(batches, step)
        due, stop = self._agree(losses, step)
        norm = clip_gradient(self.network, self.config.clip_norm, self.accelerator)
        self.optimizer.step()
        self._means.add(losses)
        if not self.accelerator.optimizer_step_was_skipped:
            self._means.add({"gradient_norm": norm})
            self.schedule.step()
            if self.ema is not None:
                self.ema.update(self.task.model)
        self.position += 1
        if self._lines.end(self.position) and not sys.stderr.isatty():
            shown = ", ".join(f"{k} {_short(float(value))}" for k, value in losses.items())
            self._print(f"{place}: {shown}")
        if self.accelerator.num_processes == 1:  # nobody waits for it: as late as possible
            due, stop = self.agreement.alone()
            if due or stop:
                self.agreement.reach(losses, step)  # nothing broken is saved
        if due or stop:
            self._save()
        self._stop_if_asked(stop)

    def _steps(self) -> Iterator[Iterator[Any]]:
        """The batches of each step of the epoch, from `position` on."""
        batches = iter(self.task.batches(self.epoch, self.accelerator, self.position))
        with tqdm(
            initial=self.position,
            total=self.steps_per_epoch,
            desc=f"epoch {self.epoch + 1}/{self.config.epochs}",
            leave=False,
            disable=not (sys.stderr.isatty() and self.accelerator.is_main_process),
        ) as bar:
            for first in batches:
                if self._random is not None:  # after the random numbers of making the batches
                    set_random_state(self._random, self.accelerator.device)
                    self._random = None
                yield chain([first], islice(batches, self.config.accumulate - 1))
                bar.update()

    def _gradient(self, batches: Iterable[Any], step: int) -> dict[str, Tensor | float]:
        """Leave the mean of the gradients of some batches behind; the means of their losses."""
        count = self.config.accumulate
        means: dict[str, Tensor | float] = {}
        for number, batch in enumerate(batches, 1):
            # gradients of several processes are exchanged once a step, with the last batch
            last = number == count
            with nullcontext() if last else self.accelerator.no_sync(self.network):
                losses = self.task.training_step(self.network, batch, self.accelerator, step)
            for name, value in losses.items():
                means[name] = means.get(name, 0.0) + value / count
        return means

    def _agree(self, losses: Mapping[str, Tensor | float], step: int) -> tuple[bool, int]:
        """Whether a checkpoint is due and the signal to stop, where the loss is read."""
        self.agreement.note(losses, step)
        position = self.position + 1
        if position % self.agreement.every and position < self.steps_per_epoch:
            return False, 0
        return self.agreement.reach(losses, step)

    def _stop_if_asked(self, number: int) -> None:
        if number:
            # a launcher ends all processes when one ends: not before the main one has saved
            self.accelerator.wait_for_everyone()
            raise TrainingStoppedError(number, self._place())

    def _place(self) -> str:
        if not self.position:
            return f"after epoch {self.epoch}"
        return f"in epoch {self.epoch + 1} after step {self.position}/{self.steps_per_epoch}"

    def _tick(self) -> None:
        """Count the seconds since the last call, or since the epoch began."""
        now = time.perf_counter()
        self.seconds, self._ticked = self.seconds + now - self._ticked, now

    def _validate_and_save(self) -> dict[str, float]:
        """Validate raw and averaged weights; save ``last*`` and, if improved, ``best*``."""
        last_epoch = self.epoch == self.config.epochs
        share_buffers(
            self.task.model, {} if self.ema is None else self.ema.average, self.accelerator
        )
        look = last_epoch or self.epoch % self.config.validate_every == 0
        row = self._validate("", look, last_epoch)
        if self.ema is not None:
            with self.ema.applied_to(self.task.model):
                row.update(self._validate("-ema", look, last_epoch))
        return row | self._save_mean() if last_epoch else row

    def _save_mean(self) -> dict[str, float]:
        """Save the mean of the best and the last weights, if the selection asks for it."""
        found: list[Any] = [None]
        if self.accelerator.is_main_process:
            found = [select_weights(self.run.index()).mean_of]
        (mean_of,) = broadcast_object_list(found)
        if mean_of is None:
            return {}
        files = [self.run.weights / f"{name}.safetensors" for name in mean_of]
        with holding_mean(self.task.model, files, self.accelerator):
            validation = self.task.validate(self.accelerator)
            assert validation is not None  # without one there would be no error
            entry = {"epoch": self.epoch, MEAN_OF: mean_of, **validation.entry()}
            self._save_weights(MEAN, entry)
        return {f"validation-{MEAN}/{key}": value for key, value in validation.metrics.items()}

    def _validate(self, suffix: str, look: bool, last_epoch: bool) -> dict[str, float]:
        validation = self.task.validate(self.accelerator) if look else None
        entry: dict[str, Any] = {"epoch": self.epoch, "score": None}
        if suffix:
            entry["start_share"] = self.start_share
        if validation is not None:
            entry.update(validation.entry())
            best, resamples = f"best{suffix}", validation.resamples
            improved = self.scores.improve(best, validation.score, resamples)
            if last_epoch:  # before the best are saved: of equal entries the weights are one file
                entry.update(self.scores.compare(f"last{suffix}", resamples))
            if improved:
                self._save_weights(best, entry)
        if last_epoch:
            self._save_weights(f"last{suffix}", entry)
        if validation is None:
            return {}
        return {f"validation{suffix}/{key}": value for key, value in validation.metrics.items()}

    def _save_weights(self, name: str, entry: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            file = self.run.weights / f"{name}.safetensors"
            state = self.task.model.state_dict()
            with working(f"saving the weights {name}"):
                described = self.checkpoint.save_weights(file, state, entry)
            self.run.add_to_index(name, described)

    def _save(self) -> None:
        """Write a checkpoint of this moment: between two epochs, or after a step of one."""
        position = None
        if self.position:
            self._tick()
            own = {"random": random_state(self.accelerator.device), "means": self._means.state()}
            # only the buffers of the main process: they decide nothing in training, and all
            # processes take them over at the end of an epoch
            processes = gather_object([own])
            position = {"step": self.position, "processes": processes}
        task = self.task.state_dict()
        if self.accelerator.is_main_process:
            with working("saving a checkpoint"):
                self._write_checkpoint(position, task)
        self.agreement.saved = time.monotonic()

    def _write_checkpoint(
        self, position: dict[str, Any] | None, task: Mapping[str, Tensor]
    ) -> None:
        weights = {"model": self.task.model.state_dict()}
        scaler = self.accelerator.scaler
        state = {
            "epoch": self.epoch,
            "position": position,
            "seconds": self.seconds,
            **self.scores.state(),
            "metrics": self.run.metrics,
            "optimizer": self.optimizer.state_dict(),
            "schedule": {"last_epoch": self.schedule.last_epoch},  # the rest is of the config
            "scaler": None if scaler is None else scaler.state_dict(),
            "task": dict(task),
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


def _short(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
