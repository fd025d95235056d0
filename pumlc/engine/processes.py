"""The processes of a run: how they find each other, wait for each other and end."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn

from pumlc.engine.config import TrainConfig
from pumlc.errors import UserError


def tracker_name(config: TrainConfig) -> str | None:
    """Where the rows of metrics.csv go too, None for nowhere."""
    name = "tensorboard" if config.tensorboard else config.tracker
    return None if name == "none" else name


def create_accelerator(
    precision: Literal["no", "fp16", "bf16"] = "no",
    *,
    tracker: str | None = None,
    folder: Path | None = None,
    timeout_minutes: float = 30.0,
) -> Accelerator:
    """An accelerator for ``torchrun``, ``accelerate launch`` or a single process.

    Args:
        precision: automatic mixed precision.
        tracker: tensorboard, wandb or mlflow, see `tracker_name`.
        folder: the run folder, for what a tracker writes.
        timeout_minutes: how long a process waits for another one that does not answer.

    Raises:
        UserError: the tracker is not installed.
    """
    if tracker is not None and find_spec(tracker) is None:
        raise UserError(f"train.tracker {tracker} needs the package {tracker} (pumlc[track])")
    # buffers are not broadcast in every step, only before they are used: `share_buffers`
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False)
    group = InitProcessGroupKwargs(timeout=timedelta(minutes=timeout_minutes))
    # without ``cpu`` several processes on a machine without accelerator would not find each other
    no_device = not torch.accelerator.is_available()
    accelerator = Accelerator(
        mixed_precision=precision,
        cpu=no_device,
        kwargs_handlers=[ddp, group],
        log_with=tracker,
        project_dir=folder,
    )
    if precision == "fp16" and accelerator.device.type == "cpu" and accelerator.is_main_process:
        warnings.warn("precision fp16 needs a GPU: without one float32 is used", stacklevel=2)
    return accelerator


def lost_process(error: RuntimeError) -> str | None:
    """The reason, in one line, if an exchange failed since another process has ended.

    Args:
        error: what the exchange between the processes raised.

    Returns:
        None: the error is another one.
    """
    # gloo has no exception of its own, but its name is in its messages
    if not isinstance(error, torch.distributed.DistError) and "gloo" not in str(error):
        return None
    return str(error).strip().split("\n")[0]


@contextmanager
def lost_processes_named() -> Iterator[None]:
    """Say in one line that another process of a training is gone, which is no fault of this one.

    Raises:
        UserError: an exchange between the processes failed: one has ended, or does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        reason = lost_process(error)
        if reason is None:
            raise
        raise UserError(
            "another process of this run has ended, or did not answer for train.timeout_minutes: "
            f"see what it says, then resume from the last checkpoint ({reason})"
        ) from error


def end_processes(accelerator: Accelerator) -> None:
    """Leave the process group together.

    A rank that exits while another one still uses the group may be aborted by the threads of gloo.
    """
    accelerator.wait_for_everyone()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@torch.no_grad()
def share_weights(model: nn.Module, accelerator: Accelerator) -> None:
    """Let all processes have the weights and buffers of the main one.

    Args:
        model: the bare model.
        accelerator: the processes.
    """
    if accelerator.num_processes > 1:
        for value in model.state_dict().values():
            shared = value.contiguous()  # weights of convolutions may lie in another order
            torch.distributed.broadcast(shared, 0)
            value.copy_(shared)


def share_buffers(
    model: nn.Module, averages: Mapping[str, Tensor], accelerator: Accelerator
) -> None:
    """Let all processes score with the buffers of the main one, which are saved.

    Until then, BatchNorm's statistics on each process are those of its own batches.

    Args:
        model: the bare model.
        averages: averaged weights and buffers, whose buffers are shared too.
        accelerator: the processes.
    """
    if accelerator.num_processes == 1:
        return
    for name, buffer in model.named_buffers():
        torch.distributed.broadcast(buffer, 0)
        if name in averages:
            torch.distributed.broadcast(averages[name], 0)


@contextmanager
def without_known_warnings() -> Iterator[None]:
    """Leave out two warnings that every process would print and that nobody can act on.

    accelerate does not know the option's new name yet (torch 2.14), and gradients of 1x1 kernels,
    whose strides have two spellings, are right in either.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        yield
