"""Linear heads on frozen features: one cell of a sweep in seconds."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pumlc.engine.config import require
from pumlc.errors import UserError
from pumlc.labels import NEGATIVE, POSITIVE, keep_proportion
from pumlc.losses import LOSSES, pu_mixup_loss
from pumlc.metrics import average_precision
from pumlc.vision.config import LossConfig, check_loss_parameters
from pumlc.vision.frozen.features import SplitFeatures


@dataclass(kw_only=True)
class Method:
    """A loss and how its numbers move during training."""

    loss: LossConfig
    """the loss; the parameter value "known" becomes each class's share of positives among the known
    training labels (the prior of nnPU)"""
    first_epoch: dict[str, float] = field(default_factory=dict)
    """parameters that have another value in the first epoch (SPLC: threshold 1)"""
    per_epoch: dict[str, float] = field(default_factory=dict)
    """parameters that grow by so much with every epoch after the first (LL-R: rate)"""

    def __post_init__(self) -> None:
        name, start = self.loss.name, self.loss.parameters
        try:
            check_loss_parameters(name, {**start, **self.first_epoch, **self.per_epoch})
        except ValueError as error:
            raise UserError(f"first_epoch, per_epoch: {error}") from None
        for parameter in self.per_epoch:
            require(
                type(start.get(parameter)) in (int, float),
                f"loss.parameters.{parameter} of {name}",
                start.get(parameter),
                "a number to start from, since per_epoch lets it grow",
            )


@dataclass(kw_only=True)
class ProbeConfig:
    """How heads are trained, the same for every method."""

    learning_rates: list[float]
    """Adam's learning rates to choose from"""
    epochs: list[int]
    """numbers of epochs to choose from"""
    batch_size: int
    """pictures per step; the statistics of a coupled loss are those of one batch"""
    validation: float = 0.2
    """part of the training pictures held out; their known labels choose rate and epochs"""
    min_positives: int = 5
    """a class is frequent with so many positives in the complete train labels and in test"""
    trained: Literal["all", "test", "frequent"] = "all"
    """classes that are trained and scored: all, those with a positive in test, frequent ones; the
    last two are taken by complete labels, which a real annotator would not have"""
    classes: list[str] = field(default_factory=list)
    """also average over these classes"""

    def __post_init__(self) -> None:
        rates = self.learning_rates
        require(min(rates, default=0) > 0, "probe.learning_rates", rates, "at least one, above 0")
        require(min(self.epochs, default=0) >= 1, "probe.epochs", self.epochs, "at least 1")
        for name in ("learning_rates", "epochs", "classes"):
            values = getattr(self, name)
            require(len(set(values)) == len(values), f"probe.{name}", values, "different values")
        require(self.batch_size >= 2, "probe.batch_size", self.batch_size, "at least 2")
        require(0 < self.validation < 1, "probe.validation", self.validation, "in (0, 1)")


_MATRICES = ("train", "train_labels", "test", "test_labels")


@dataclass(frozen=True)
class ProbeData:
    """Standardised features and complete labels; ``averages`` names columns to average over."""

    train: Tensor
    train_labels: np.ndarray
    test: Tensor
    test_labels: np.ndarray
    averages: dict[str, list[int]]

    def save(self, file: Path) -> None:
        """Write to a file that `load` maps; under another name first, then renamed."""
        content = {name: torch.as_tensor(getattr(self, name)) for name in _MATRICES}
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        torch.save({**content, "averages": self.averages}, temporary)
        os.replace(temporary, file)

    @staticmethod
    def load(file: Path) -> "ProbeData":
        """A file of `save`; processes that load it share its memory."""
        content = torch.load(file, mmap=True, weights_only=True)
        content.update({n: content[n].numpy() for n in _MATRICES if n.endswith("labels")})
        return ProbeData(**content)


def probe_data(train: SplitFeatures, test: SplitFeatures, config: ProbeConfig) -> ProbeData:
    """Standardise by the training pictures and list the classes that results are averaged over.

    Raises:
        UserError: ``config.classes`` has an unknown name; or no class is frequent.
    """
    num_held_out = round(config.validation * len(train.labels))
    if not 0 < num_held_out < len(train.labels):
        raise UserError(
            f"probe.validation {config.validation} of {len(train.labels)} pictures leaves none on "
            "one side"
        )
    enough = [(part.labels == POSITIVE).sum(0) >= config.min_positives for part in (train, test)]
    frequent = np.flatnonzero(enough[0] & enough[1])
    if not len(frequent):
        raise UserError(f"no class has {config.min_positives} positives in train and in test")
    columns = {
        "all": np.arange(len(train.classes)),
        "test": np.flatnonzero((test.labels == POSITIVE).any(0)),
        "frequent": frequent,
    }[config.trained]
    names = [train.classes[c] for c in columns]
    left_out = sorted(set(config.classes) & set(train.classes) - set(names))
    if left_out:
        kept = {
            "test": "a positive in test",
            "frequent": f"at least {config.min_positives} positives in train and in test",
        }[config.trained]
        raise UserError(
            f"probe.classes: {left_out} are left out by probe.trained {config.trained}, which "
            f"takes the classes with {kept}; valid: {', '.join(names)}"
        )
    unknown = sorted(set(config.classes) - set(names))
    if unknown:
        raise UserError(f"probe.classes: {unknown} are not among the {len(names)} classes")
    averages = {
        "all": list(range(len(columns))),
        "frequent": [i for i, c in enumerate(columns) if c in frequent],
    }
    if config.classes:
        averages["listed"] = [names.index(name) for name in config.classes]
    mean, spread = train.features.mean(0), train.features.std(0) + 1e-6
    return ProbeData(
        torch.from_numpy((train.features - mean) / spread),
        train.labels[:, columns],
        torch.from_numpy((test.features - mean) / spread),
        test.labels[:, columns],
        averages,
    )


def probe_cell(
    data: ProbeData,
    method: Method,
    config: ProbeConfig,
    proportion: float,
    seed: int,
    *,
    mask_seed: int | None = None,
) -> list[dict[str, Any]]:
    """Train on the known labels of one mask; a row for every learning rate and number of epochs.

    ``validation`` is the mAP over the known labels of the held-out part (``validation_listed``: of
    the listed classes alone), the other columns are on the test split, in percent. Neither hidden
    labels nor those of the test split decide anything here; but with ``trained`` "test" or
    "frequent" `probe_data` has taken the classes by them.

    Args:
        seed: decides mask (HCP protocol), held-out part, order and mixtures.
        mask_seed: decides the mask in the place of ``seed``, which then decides the rest; None:
            ``seed`` decides both.
    """
    rows = []
    for epoch, trained in trained_heads(data, method, config, proportion, seed, mask_seed):
        scored = zip(
            config.learning_rates,
            trained.heads.scores(data.train[trained.held_out]),
            trained.heads.scores(data.test),
            strict=True,
        )
        for rate, validation_scores, test_scores in scored:
            row = {"learning_rate": rate, "epochs": epoch}
            known = average_precision(validation_scores, trained.observed[trained.held_out])
            row["validation"] = _mean_percent(known)
            if "listed" in data.averages:
                row["validation_listed"] = _mean_percent(known[data.averages["listed"]])
            each = average_precision(test_scores, data.test_labels)
            for name, columns in data.averages.items():
                row[name] = _mean_percent(each[columns])
            rows.append(row)
    return rows


class Trained(NamedTuple):
    """Heads, the labels that were known, [N, C], and the rows that were held out."""

    heads: "Heads"
    observed: np.ndarray
    held_out: np.ndarray


def trained_heads(
    data: ProbeData,
    method: Method,
    config: ProbeConfig,
    proportion: float,
    seed: int,
    mask_seed: int | None = None,
) -> Iterator[tuple[int, Trained]]:
    """Train as `probe_cell` does; what there is after each number of epochs of the config."""
    mask_seed = seed if mask_seed is None else mask_seed
    observed = keep_proportion(data.train_labels, proportion, seed=mask_seed)
    order = np.random.RandomState(seed).permutation(len(observed))
    num_held_out = round(config.validation * len(observed))
    held_out, fitted = order[:num_held_out], np.sort(order[num_held_out:])
    targets = torch.from_numpy(observed[fitted])
    heads = Heads(data.train.shape[1], targets, config.learning_rates, method, seed)
    for epoch in range(1, max(config.epochs) + 1):
        heads.train_epoch(data.train[fitted], config.batch_size, epoch)
        if epoch in config.epochs:
            yield epoch, Trained(heads, observed, held_out)


class Heads:
    """Linear heads, one for each learning rate, that see the same batches; they start at zero."""

    def __init__(
        self, width: int, targets: Tensor, rates: list[float], method: Method, seed: int
    ) -> None:
        self.targets, self.method = targets, method
        # not initialised by torch, which would draw from the global random state
        self.heads = [nn.utils.skip_init(nn.Linear, width, targets.shape[1]) for _ in rates]
        for head in self.heads:
            for parameter in head.parameters():
                nn.init.zeros_(parameter)
        self.optimizer = torch.optim.Adam(
            [
                {"params": list(head.parameters()), "lr": rate}
                for head, rate in zip(self.heads, rates, strict=True)
            ],
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.random = np.random.RandomState(seed)

    def start_at(self, logits: Tensor) -> None:
        """Let every head begin with these logits, [C], for any picture."""
        with torch.no_grad():
            for head in self.heads:
                dict(head.named_parameters())["bias"].copy_(logits)

    def train_epoch(self, features: Tensor, batch_size: int, epoch: int) -> None:
        """One pass in random order; a rest smaller than a batch joins the last batch."""
        order = torch.randperm(len(features), generator=self.generator)
        steps = max(1, len(order) // batch_size)
        parameters = self._parameters(epoch)
        for step in range(steps):
            end = None if step == steps - 1 else (step + 1) * batch_size
            rows = order[step * batch_size : end]
            loss = self._loss(features[rows], self.targets[rows], parameters)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def scores(self, features: Tensor) -> list[np.ndarray]:
        """Logits of each head, [N, C]."""
        with torch.no_grad():
            return [head(features).numpy() for head in self.heads]

    def _loss(self, features: Tensor, targets: Tensor, parameters: dict[str, Any]) -> Tensor:
        settings, loss = self.method.loss, torch.zeros(())
        mixed, permutation, lam = features, torch.empty(0), 0.0
        if settings.mixup_weight:
            half = len(features) // 2
            permutation = torch.randperm(half, generator=self.generator)
            lam = self.random.beta(settings.mixup_beta, settings.mixup_beta)
            mixed = lam * features[:half][permutation] + (1 - lam) * features[-half:]
        for head in self.heads:
            logits = head(features)
            loss = loss + LOSSES[settings.name](logits, targets, **parameters)
            if settings.mixup_weight:
                term = pu_mixup_loss(logits, targets, head(mixed), permutation=permutation, lam=lam)
                loss = loss + settings.mixup_weight * term
        return loss

    def _parameters(self, epoch: int) -> dict[str, Any]:
        """The loss's keyword arguments in an epoch, counted from 1."""
        values: dict[str, Any] = dict(self.method.loss.parameters)
        for name, growth in self.method.per_epoch.items():
            values[name] = float(values[name]) + growth * (epoch - 1)
        if epoch == 1:
            values.update(self.method.first_epoch)
        return {n: self._known_prior() if v == "known" else v for n, v in values.items()}

    def _known_prior(self) -> Tensor:
        positive = (self.targets == POSITIVE).sum(0).float()
        negative = (self.targets == NEGATIVE).sum(0).float()
        return positive / (positive + negative).clamp(min=1)


def _mean_percent(values: np.ndarray) -> float | None:
    """Mean over the classes that have a value, in percent; None if none has."""
    known = values[~np.isnan(values)]
    return 100 * float(known.mean()) if len(known) else None
