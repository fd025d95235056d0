"""What the training loop knows of what it trains."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from accelerate import Accelerator
from torch import Tensor, nn

from pumlc.engine.run import RunFolder


@dataclass(frozen=True)
class Validation:
    """What a look at the validation part gave.

    Attributes:
        score: larger is better; weights are selected by it.
        metrics: named numbers for metrics.csv.
        extras: stored with the weights (thresholds).
        resamples: [R], the score on resamples of the held-out rows, the same ones in every look;
            nan where a resample has no score, and everywhere if there are fewer than
            `pumlc.engine.selection.FEWEST`. None: the best score selects, whatever its error.
    """

    score: float
    metrics: dict[str, float]
    extras: dict[str, Any] = field(default_factory=dict)
    resamples: np.ndarray | None = None

    def entry(self) -> dict[str, Any]:
        """What is stored with the weights."""
        return {"score": self.score, "metrics": self.metrics, "extras": self.extras}


class Task(Protocol):
    """What is trained: a model, its data and its loss behind a few methods."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        ...

    def facts(self) -> dict[str, Any]:
        """What run.json records of data and model, as plain JSON.

        ``data`` is the fingerprint that a resumed run must find again.
        """
        ...

    def write_files(self, folder: Path) -> None:
        """Write into the run folder what predicting, evaluating and auditing need.

        Called before the first epoch, and again when a run goes on.
        """
        ...

    def start(self, accelerator: Accelerator) -> None:
        """Set weights that need the model on its device; called once, when it is there."""
        ...

    def steps_per_epoch(self, world_size: int) -> int:
        """Number of optimizer steps in an epoch."""
        ...

    def batches(self, epoch: int, accelerator: Accelerator, first: int = 0) -> Iterable[Any]:
        """The batches of this process in ``epoch``, a function of seed, epoch and rank alone.

        A step takes ``train.accumulate`` of them; the last step of an epoch is complete. ``first``
        is the step that they begin with: an interrupted epoch goes on, and `load_state_dict` has
        given back what was prepared at its beginning.
        """
        ...

    def training_step(
        self, network: nn.Module, batch: Any, accelerator: Accelerator, step: int
    ) -> Mapping[str, Tensor | float]:
        """Forward and backward of a batch: adds to the gradients and returns named losses.

        ``network`` is `model`, wrapped for several processes. The returned ``loss`` is what the
        loop checks for being finite. Losses may stay on the device, as detached scalars: the loop
        reads them where it prints a line. The task owns the backward pass: mixup needs a second
        forward pass, gradient caching two. It is that of ``accelerator``, which divides by the
        number of batches of a step.
        """
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """What resuming needs beside the weights, the same on all processes; usually nothing.

        All processes call it together.
        """
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over the state of an interrupted run."""
        ...

    def validate(self, accelerator: Accelerator) -> Validation | None:
        """Score the held-out part of the training data; None if nothing is held out."""
        ...


class OwnTrainer(Protocol):
    """What fills a run folder; `pumlc.engine.loop.Trainer` is the one of steps and epochs."""

    def train(self) -> None:
        """Train to the end and save."""
        ...

    def resume(self) -> None:
        """Take over what an interrupted run has left."""
        ...


@runtime_checkable
class TrainsItself(Protocol):
    """A task that is not trained in steps: it needs `model`, `facts` and `write_files` alone."""

    def create_trainer(self, run: RunFolder, accelerator: Accelerator) -> OwnTrainer:
        """What trains it into a run folder."""
        ...
