"""A training run from its settings to its folder."""

import math
from contextlib import nullcontext
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed

from pumlc.engine.config import TrainConfig, plain
from pumlc.engine.loop import Trainer
from pumlc.engine.processes import create_accelerator, lost_processes_named, tracker_name
from pumlc.engine.run import RunFolder
from pumlc.engine.task import OwnTrainer, Task, TrainsItself
from pumlc.errors import UserError


def train_run(config: Any, task_class: Any, run: RunFolder, *, resume: bool = False) -> Accelerator:
    """Train what a config describes into a run folder, or go on with it.

    Args:
        config: settings of a branch: a dataclass with ``train``.
        task_class: makes the task from the config and the folder of a run that goes on, else None.
        run: the folder; created, unless the run goes on.
        resume: continue from the checkpoint of the folder.

    Returns:
        the accelerator, whose processes the caller ends (`pumlc.engine.processes.end_processes`).

    Raises:
        RunExistsError: the folder holds a run already.
        UserError: see the task; or the run that goes on had other data or another number of
            processes; or another process of it has ended, or does not answer.
        TrainingStoppedError: SIGTERM or Ctrl-C; all steps are saved.
    """
    with lost_processes_named():
        return _train_run(config, task_class, run, resume)


def _train_run(config: Any, task_class: Any, run: RunFolder, resume: bool) -> Accelerator:
    accelerator = create_accelerator(
        config.train.precision,
        tracker=tracker_name(config.train),
        folder=run.path,
        timeout_minutes=config.train.timeout_minutes,
    )
    if resume and run.read()["world_size"] != accelerator.num_processes:
        raise UserError(
            f"{run.path} ran on {run.read()['world_size']} process(es), this is "
            f"{accelerator.num_processes}; resume on as many"
        )
    set_seed(config.train.seed)
    task: Task = task_class(config, run.path if resume else None)
    if config.train.min_steps and not isinstance(task, TrainsItself):
        # before anything asks how long the run is
        steps = task.steps_per_epoch(accelerator.num_processes)
        if _lengthen(config.train, steps) and not resume and accelerator.is_main_process:
            length = f"{config.train.epochs} epochs of {steps} steps"
            print(f"{length}, for train.min_steps {config.train.min_steps}")
    trainer = _create_trainer(task, config, run, accelerator)  # refuses before a folder is there
    facts = task.facts()
    if resume and facts.get("data") != run.read().get("data", facts.get("data")):
        raise UserError(f"{run.path}: its data are not those that the run started with")
    with run.held() if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process and resume:
            run.extend(config.train.epochs)
        elif accelerator.is_main_process:
            run.start(plain(config), facts, accelerator.num_processes)
            shown = (f"{name} {value}" for name, value in facts.items() if type(value) is int)
            print(", ".join(shown))
        if accelerator.is_main_process:  # also if it goes on: it may have been killed before
            task.write_files(run.path)
        accelerator.wait_for_everyone()
        if resume:
            trainer.resume()
        trainer.train()
        accelerator.wait_for_everyone()  # nobody reads what the main process still writes
    return accelerator


def _lengthen(train: TrainConfig, steps_per_epoch: int) -> bool:
    """Have as many epochs as `TrainConfig.min_steps` takes, if these are more; whether they are."""
    epochs = math.ceil(train.min_steps / steps_per_epoch)
    longer = epochs > train.epochs
    if longer:
        train.epochs = epochs
    return longer


def _create_trainer(task: Task, config: Any, run: RunFolder, accelerator: Any) -> OwnTrainer:
    """The loop of steps and epochs, unless the task is trained in another way."""
    if isinstance(task, TrainsItself):
        return task.create_trainer(run, accelerator)
    return Trainer(task, config.train, run, accelerator)
