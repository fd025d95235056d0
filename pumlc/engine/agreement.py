"""What all processes of a run know alike: a broken loss, a due checkpoint, a signal to stop."""

import time
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor

from pumlc.engine.config import TrainConfig
from pumlc.engine.stopping import StopSignals
from pumlc.errors import UserError

_NONE = 2**62
"""The step of the first broken loss while there is none."""


class Agreement:
    """Notes each loss where it is, and reads the notes of all processes from time to time.

    Reading waits for all work that a GPU has queued. There the notes are read where a line is
    printed, before a checkpoint and at the end of an epoch; on a processor, where it costs nothing,
    in every step.

    Args:
        accelerator: devices and processes.
        config: how often lines are printed and checkpoints written.
        stop: the signals that this process has received.
        steps_per_epoch: for the message.

    Attributes:
        saved: when the last checkpoint was written, in seconds of `time.monotonic`.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        config: TrainConfig,
        stop: StopSignals,
        steps_per_epoch: int,
    ) -> None:
        self.accelerator, self.config, self.stop = accelerator, config, stop
        self.steps = steps_per_epoch
        self.saved = time.monotonic()
        each = accelerator.device.type == "cpu" or config.checkpoint_minutes == 0
        self.every = 1 if each else config.log_every
        self._first = torch.tensor(_NONE, device=accelerator.device)

    def note(self, losses: Mapping[str, Tensor | float], step: int) -> None:
        """Remember, on the device, whether the loss of a step is finite."""
        loss = torch.as_tensor(losses["loss"], device=self.accelerator.device).detach()
        self._first = torch.where(torch.isfinite(loss), self._first, self._first.clamp(max=step))

    def alone(self) -> tuple[bool, int]:
        """Whether a checkpoint is due and the signal to stop, 0 for none, of this process."""
        due = time.monotonic() - self.saved >= 60 * self.config.checkpoint_minutes
        return due, self.stop.received or 0

    def reach(self, losses: Mapping[str, Tensor | float], step: int) -> tuple[bool, int]:
        """The same, of any process: all of them call it after the same step.

        Args:
            losses: of the step, for the message.
            step: the last one that was noted.

        Raises:
            UserError: the loss of any process was not finite. All of them raise, or the others
                would wait for this one for ever.
        """
        due, stop = self.alone()
        first = self._first
        if self.accelerator.num_processes > 1:
            # one exchange for all three
            notes = torch.tensor([_NONE, -int(due), -stop], device=first.device)
            notes[0] = first
            torch.distributed.all_reduce(notes, torch.distributed.ReduceOp.MIN)
            first, due, stop = notes[0], bool(notes[1]), -int(notes[2])
        broken = int(first)
        if broken < _NONE:
            read = {name: float(value) for name, value in losses.items()}
            since = "No step was taken with it" if broken == step else f"Read after step {step}"
            raise UserError(
                f"the loss is not finite at step {broken} (epoch {broken // self.steps + 1}): "
                f"{read} on process {self.accelerator.process_index}. {since}; the last checkpoint "
                "is of an earlier step. Usual causes: train.learning_rate too large, "
                "train.precision fp16, a broken picture or label"
            )
        return due, stop
