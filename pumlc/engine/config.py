"""Settings of a training run: their types, their ranges and their plain form."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pumlc.engine.settings import check_groups, setting_paths, unknown_setting
from pumlc.errors import UserError


@dataclass(kw_only=True)
class TrainConfig:
    """How long, how fast and on what schedule."""

    epochs: int
    """number of passes over the training part; the run stops after them"""
    batch_size: int
    """rows per process and batch; losses that couple the batch depend on it"""
    min_steps: int = 0
    """at least this many optimizer steps: of few data, whose epochs are short, there are as many
    epochs as that takes, and run.json has their number. A recipe's number does not count where
    epochs are given on the command line"""
    accumulate: int = 1
    """batches whose mean gradient is one step: of a loss that is a mean over rows, the step of a
    batch so many times as large. BatchNorm and losses that couple the batch (pu) take their
    statistics from each batch alone"""
    learning_rate: float
    """largest learning rate of the schedule"""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """adam: weight decay as L2 penalty (published); adamw: decoupled; sgd: momentum 0.9"""
    weight_decay: float = 0.0
    """weight decay, on every trainable parameter"""
    schedule: Literal["one-cycle", "linear", "constant"] = "one-cycle"
    """one-cycle: warm-up, then cosine to nearly zero; linear: warm-up, then straight to zero"""
    schedule_epochs: int | None = None
    """length of the schedule, if it is longer than the run (published: 80, of which 41 are run)"""
    warmup: float = 0.2
    """part of the schedule that warms up, in [0, 1)"""
    clip_norm: float | None = None
    """largest norm of the gradient; none: no clipping"""
    precision: Literal["no", "fp16", "bf16"] = "no"
    """automatic mixed precision"""
    ema_decay: float | None = None
    """decay of the exponential moving average of the weights per step; none: no average"""
    ema_warmup: bool = False
    """use min(decay, (1 + step) / (10 + step)): a short run is not dominated by its start"""
    validate_every: int = 1
    """epochs between two looks at the validation part"""
    selection: Literal["one-standard-error", "best"] = "one-standard-error"
    """weights to use. one-standard-error: those of the last epoch, unless others score better on
    the validation part by more than one standard error of the difference: then the mean of both,
    and from 2.5 standard errors on the others alone; best: the best there"""
    checkpoint_minutes: float = 10.0
    """minutes between two checkpoints within an epoch; 0: after every step. One is written at the
    end of every epoch, and on SIGTERM and Ctrl-C"""
    timeout_minutes: float = 30.0
    """minutes that a process waits for another one that does not answer, then it ends"""
    workers: int = 0
    """processes that load data; 0 loads in the training process"""
    log_every: int = 20
    """steps between two printed lines where the output is not a terminal; with slow steps there is
    a line after 10 seconds"""
    tracker: Literal["none", "tensorboard", "wandb", "mlflow"] = "none"
    """also send the rows of metrics.csv there (extra: pumlc[track]); tensorboard: into the run"""
    tensorboard: bool = False
    """the same as tracker tensorboard"""
    seed: int = 0
    """seed of weights, order, augmentation and dropout"""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "validate_every", "log_every"):
            require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "at least 1")
        require(self.learning_rate > 0, "train.learning_rate", self.learning_rate, "above 0")
        require(self.weight_decay >= 0, "train.weight_decay", self.weight_decay, "at least 0")
        check_seed("train.seed", self.seed)
        require(0 <= self.warmup < 1, "train.warmup", self.warmup, "in [0, 1)")
        require(self.workers >= 0, "train.workers", self.workers, "at least 0")
        minutes = self.checkpoint_minutes
        require(minutes >= 0, "train.checkpoint_minutes", minutes, "at least 0")
        minutes = self.timeout_minutes
        require(0 < minutes <= 1e6, "train.timeout_minutes", minutes, "above 0, at most 1e6")
        require(self.min_steps >= 0, "train.min_steps", self.min_steps, "at least 0")
        require(
            self.min_steps == 0 or self.schedule_epochs is None,
            "train.min_steps",
            self.min_steps,
            "0 with train.schedule_epochs, which says the number of epochs itself",
        )
        if self.schedule_epochs is not None:
            require(
                self.schedule_epochs >= self.epochs,
                "train.schedule_epochs",
                self.schedule_epochs,
                f"at least train.epochs ({self.epochs}); shorten train.epochs to stop early",
            )
        if self.ema_decay is not None:
            require(0 < self.ema_decay < 1, "train.ema_decay", self.ema_decay, "in (0, 1)")
        require(
            not self.tensorboard or self.tracker in ("none", "tensorboard"),
            "train.tensorboard",
            self.tensorboard,
            f"false with train.tracker {self.tracker}",
        )
        if self.clip_norm is not None:
            require(self.clip_norm > 0, "train.clip_norm", self.clip_norm, "above 0, or null")


def require(holds: bool, option: str, got: Any, valid: str) -> None:
    """Raise UserError in the one form every option of a config uses."""
    if not holds:
        raise UserError(f"{option} must be {valid}, got {got!r}")


def check_seed(option: str, seed: int) -> None:
    """Refuse what numpy's RandomState does not take."""
    require(0 <= seed < 2**32, option, seed, "in [0, 2**32)")


def plain(config: Any) -> Any:
    """A config as dicts, lists, strings and numbers, for YAML and JSON."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {key: plain(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [plain(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def from_plain(config_class: type, content: dict[str, Any]) -> Any:
    """The inverse of `plain`: the config that run.json records. Nothing is imported by name.

    Raises:
        UserError: a setting is unknown to this version of the package, or has another type.
    """
    import jsonargparse  # here: the checks of this module need no parser

    check_groups(content, config_class, "run.json")
    for path in setting_paths(content):
        problem = unknown_setting(path, config_class)
        if problem is not None:
            raise UserError(f"run.json: a setting this version does not take: {problem}")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(config_class, None)
    try:
        return config_class(**vars(parser.instantiate(parser.parse_object(content))))
    except jsonargparse.ArgumentError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"run.json: a setting this version does not take: {reason}") from error
    except UserError as error:
        raise UserError(f"run.json: {error}") from error
