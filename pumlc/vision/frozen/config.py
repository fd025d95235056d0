"""Settings of heads on frozen features."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from pumlc.engine.config import plain, require
from pumlc.vision.config import LossConfig

_LATER = ("negatives", "procedure", "forget_rate", "relabel_threshold", "warmup_epochs", "start")
"""Settings of a method that came after the first sweeps."""


@dataclass(kw_only=True)
class Method:
    """A loss and how its numbers move during training."""

    loss: LossConfig
    """the loss; the parameter value "known" becomes each class's share of positives among the known
    training labels (the prior of nnPU)"""
    first_epoch: dict[str, float] = field(default_factory=dict)
    """parameters that have another value in the first epoch (SPLC: threshold 1)"""
    per_epoch: dict[str, float] = field(default_factory=dict)
    """growth of parameters with every epoch after the first (LL-R: rate)"""
    negatives: Literal["given", "unknown"] = "given"
    """unknown: training takes negative labels for unknown ones, as methods for missing labels do;
    the held-out part keeps them"""
    procedure: Literal[
        "plain", "confident-learning", "co-teaching", "label-wise", "transitions"
    ] = "plain"
    """what is done around the loss. confident-learning: labels that cross-fitted heads contradict
    are hidden before training; co-teaching: two heads choose small-loss labels for each other;
    label-wise: labels are kept, changed or weighted by their losses, as in BalanceMix; transitions:
    rates of errors per class are estimated, for loss reweighted"""
    forget_rate: float = 0.2
    """co-teaching: part of the labels left out, reached after ten epochs"""
    relabel_threshold: float = 0.975
    """label-wise: probability at which a label that is not clean is changed"""
    warmup_epochs: int = 10
    """label-wise, transitions: epochs of the plain loss first; on few pictures an epoch of heads is
    only a few steps"""
    heads: Literal["adam", "closed-form"] = "adam"
    """closed-form: least squares of loss squared, fitted on all rows. Leave-one-out chooses the
    penalty, and validation measures the leave-one-out scores of all rows"""
    positives: Literal["given", "moved", "soft", "doubted"] = "given"
    """closed-form: the target of given positives. moved: six tenths of the way to the score of
    heads fitted without them; soft: by their probability to be true; doubted: the same if it
    predicts the labels of other rows better, and a Gaussian kernel beside; docs/noise.md"""

    start: Literal["backbone", "heads"] = "backbone"
    """fine_tune: what the network starts from. heads: least squares on its features of the same
    labels, without the held-out part (linear probing, then fine-tuning)"""

    def __post_init__(self) -> None:
        name, start = self.loss.name, self.loss.parameters
        closed = self.heads == "closed-form"
        require(not closed or name == "squared", "loss.name", name, "squared for closed-form heads")
        plain = self.positives == "given"
        require(closed or plain, "positives", self.positives, "given but for closed-form heads")
        trusted = self.negatives == "given"
        require(not closed or trusted, "negatives", self.negatives, "given for closed-form heads")
        self._check_procedure(closed)
        for parameter in self.per_epoch:
            require(
                type(start.get(parameter)) in (int, float),
                f"loss.parameters.{parameter} of {name}",
                start.get(parameter),
                "a number to start from, since per_epoch lets it grow",
            )

    def _check_procedure(self, closed: bool) -> None:
        procedure, loss = self.procedure, self.loss.name
        fits = not closed or procedure in ("plain", "confident-learning")
        valid = "plain or confident-learning for closed-form heads"
        require(fits, "procedure", procedure, valid)
        needed = {"co-teaching": "bce", "label-wise": "bce", "transitions": "reweighted"}
        wanted = needed.get(procedure, loss)
        require(loss == wanted, "loss.name", loss, f"{wanted} for procedure {procedure}")
        require(0 <= self.forget_rate < 1, "forget_rate", self.forget_rate, "in [0, 1)")
        threshold = self.relabel_threshold
        require(0.5 <= threshold <= 1, "relabel_threshold", threshold, "in [0.5, 1]")
        require(self.warmup_epochs >= 1, "warmup_epochs", self.warmup_epochs, "at least 1")

    def parameters(self, epoch: int) -> dict[str, Any]:
        """The keyword arguments of the loss in an epoch, counted from 1; "known" stays."""
        values: dict[str, Any] = dict(self.loss.parameters)
        for name, growth in self.per_epoch.items():
            values[name] = float(values[name]) + growth * (epoch - 1)
        if epoch == 1:
            values.update(self.first_epoch)
        return values

    def recorded(self) -> dict[str, Any]:
        """The settings that a cell's file keeps.

        Those of `_LATER` are left out at their defaults, so that results of a version that did not
        know them still count.
        """
        defaults = {item.name: item.default for item in dataclasses.fields(self)}
        content = plain(self)
        for name in _LATER:
            if content[name] == defaults[name]:
                del content[name]
        return content


@dataclass(kw_only=True)
class ProbeConfig:
    """How heads are trained, the same for every method."""

    learning_rates: list[float]
    """Adam's learning rates to choose from"""
    epochs: list[int]
    """numbers of epochs to choose from"""
    batch_size: int
    """pictures per step; the statistics of a coupled loss are those of one batch"""
    weight_decays: list[float] = field(default_factory=lambda: [0.0])
    """decoupled weight decays (AdamW) of the heads to choose from; biases have none"""
    validation: float = 0.2
    """part of the training pictures held out; their known labels choose among the candidates"""
    refit: bool = False
    """train again on all rows, in the same way, before measuring on the test split"""
    min_positives: int = 5
    """a class is frequent if it has this many positives in the complete train labels and in test"""
    trained: Literal["all", "test", "frequent"] = "all"
    """classes that are trained and measured: all, those with a positive in test, or frequent ones.
    The last two use complete labels, which a real annotator would not have"""
    classes: list[str] = field(default_factory=list)
    """also average over these classes"""

    def __post_init__(self) -> None:
        rates = self.learning_rates
        require(min(rates, default=0) > 0, "probe.learning_rates", rates, "at least one, above 0")
        require(min(self.epochs, default=0) >= 1, "probe.epochs", self.epochs, "at least 1")
        decays = self.weight_decays
        require(min(decays, default=-1) >= 0, "probe.weight_decays", decays, "at least one, from 0")
        for name in ("learning_rates", "weight_decays", "epochs", "classes"):
            values = getattr(self, name)
            require(len(set(values)) == len(values), f"probe.{name}", values, "different values")
        require(self.batch_size >= 2, "probe.batch_size", self.batch_size, "at least 2")
        require(0 < self.validation < 1, "probe.validation", self.validation, "in (0, 1)")
