"""Heads on frozen features as cells of a sweep: known labels choose, the test split measures."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pumlc.errors import UserError
from pumlc.estimators import (
    fit_least_squares,
    fit_moved_positives,
    fit_noisy_labels,
    fit_soft_positives,
)
from pumlc.estimators.fitted_labels import fitted_labels
from pumlc.files import complete_file
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.metrics import average_precision, resample_counts, resampled_average_precision
from pumlc.vision.frozen.config import Method, ProbeConfig
from pumlc.vision.frozen.features import SplitFeatures
from pumlc.vision.frozen.heads import Heads, standardisation
from pumlc.vision.frozen.procedures import HEADS, without_errors

NUM_RESAMPLES = 200
"""Resamples of the test pictures on which a cell is measured, for intervals over pictures."""

_MATRICES = ("train", "train_labels", "test", "test_labels")


@dataclass(frozen=True)
class ProbeData:
    """The data that cells train on and are measured on.

    Attributes:
        train: standardised features [N, D] of the training split.
        train_labels: [N, C] complete labels; a cell hides or flips its part of them itself.
        test: features [M, D] of the test split, standardised by the training split.
        test_labels: [M, C].
        averages: name of an average -> the columns that it averages.
        classes: names of the columns.
    """

    train: Tensor
    train_labels: np.ndarray
    test: Tensor
    test_labels: np.ndarray
    averages: dict[str, list[int]]
    classes: list[str]

    def save(self, file: Path) -> None:
        """Write a file that `load` maps into memory."""
        content = {name: torch.as_tensor(getattr(self, name)) for name in _MATRICES}
        with complete_file(file, binary=True) as stream:
            torch.save({**content, "averages": self.averages, "classes": self.classes}, stream)

    @staticmethod
    def load(file: Path) -> "ProbeData":
        """Read a file of `save`; processes that read it share its memory."""
        content = torch.load(file, mmap=True, weights_only=True)
        content.update({n: content[n].numpy() for n in _MATRICES if n.endswith("labels")})
        return ProbeData(**content)


def probe_data(train: SplitFeatures, test: SplitFeatures, config: ProbeConfig) -> ProbeData:
    """Standardise by the training pictures, and list the classes to average over.

    Args:
        train: features and complete labels of the training split.
        test: the same of the test split.
        config: which classes are trained and averaged.

    Raises:
        UserError: the held-out part or the rest would be empty, ``config.classes`` has a class that
            is unknown or not trained, or no class is frequent.
    """
    num_held_out = round(config.validation * len(train.labels))
    if not 0 < num_held_out < len(train.labels):
        raise UserError(
            f"probe.validation {config.validation} of {len(train.labels)} pictures leaves the "
            "held-out part or the rest empty"
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
    _check_classes(config, train.classes, names)
    averages = {
        "all": list(range(len(columns))),
        "frequent": [i for i, c in enumerate(columns) if c in frequent],
    }
    if config.classes:
        averages["listed"] = [names.index(name) for name in config.classes]
    standardised = standardisation(train.features)
    return ProbeData(
        standardised(train.features),
        train.labels[:, columns],
        standardised(test.features),
        test.labels[:, columns],
        averages,
        names,
    )


def _check_classes(config: ProbeConfig, classes: tuple[str, ...], trained: list[str]) -> None:
    """Refuse names in ``config.classes`` that are not among the trained classes."""
    left_out = sorted(set(config.classes) & set(classes) - set(trained))
    if left_out:
        kept = {
            "test": "a positive in test",
            "frequent": f"at least {config.min_positives} positives in train and in test",
        }[config.trained]
        raise UserError(
            f"probe.classes: {left_out} are left out by probe.trained {config.trained}, which "
            f"takes the classes with {kept}; valid: {', '.join(trained)}"
        )
    unknown = sorted(set(config.classes) - set(trained))
    if unknown:
        raise UserError(f"probe.classes: {unknown} are not among the {len(trained)} classes")


def probe_cell(
    data: ProbeData,
    method: Method,
    config: ProbeConfig,
    observed: np.ndarray,
    seed: int,
) -> list[dict[str, Any]]:
    """Train on the observed labels; a row for every learning rate and number of epochs.

    ``validation`` is the mAP over the known labels of the held-out part (``validation_listed``: of
    the listed classes alone). A class that is never known to be absent, as where a protocol keeps
    positives alone, counts as absent there where it is unknown. The other columns are measured
    on the test split. All are in percent. Neither complete labels nor test labels decide anything
    here, but with ``trained`` "test" or "frequent" `probe_data` has chosen the classes by them.

    Args:
        data: features and complete labels.
        method: the loss.
        config: how heads are trained.
        observed: the training labels that the cell may see, [N, C].
        seed: decides held-out part, order and mixtures.
    """
    if method.heads == "closed-form":
        return [_closed_form_row(data, method, observed, seed)]
    rows, judged = [], fitted_labels(observed)
    parts = [trained_heads(data, method, config, observed, seed)]
    if config.refit:
        parts.append(trained_heads(data, method, config, observed, seed, all_rows=True))
    for moments in zip(*parts, strict=True):
        (epoch, trained), (_, final) = moments[0], moments[-1]
        validation_labels = judged[trained.held_out]
        candidates = zip(
            trained.heads.candidates,
            trained.heads.logits(data.train[trained.held_out]),
            final.heads.logits(data.test),
            strict=True,
        )
        for (rate, decay), validation_logits, test_logits in candidates:
            settings = {"learning_rate": rate, "weight_decay": decay, "epochs": epoch}
            figures = _figures(data, validation_logits, validation_labels, test_logits)
            rows.append({**settings, **figures})
    return rows


def _figures(
    data: ProbeData,
    validation_scores: np.ndarray,
    validation_labels: np.ndarray,
    test_scores: np.ndarray,
) -> dict[str, Any]:
    """The measured columns of a row; ``resamples`` has each average on resampled test pictures."""
    known = average_precision(validation_scores, validation_labels)
    figures: dict[str, Any] = {"validation": _mean_percent(known)}
    if "listed" in data.averages:
        figures["validation_listed"] = _mean_percent(known[data.averages["listed"]])
    each = average_precision(test_scores, data.test_labels)
    for name, columns in data.averages.items():
        figures[name] = _mean_percent(each[columns])
    counts = resample_counts(len(test_scores), NUM_RESAMPLES)
    resampled = resampled_average_precision(test_scores, data.test_labels, counts)
    figures["resamples"] = {
        name: [_rounded(_mean_percent(each[columns])) for each in resampled]
        for name, columns in data.averages.items()
    }
    return figures


def _rounded(percent: float | None) -> float | None:
    return None if percent is None else round(percent, 4)


def _closed_form_row(
    data: ProbeData, method: Method, observed: np.ndarray, seed: int
) -> dict[str, Any]:
    """The one row of closed-form heads, for which leave-one-out chooses only the penalty."""
    labels = observed
    if method.procedure == "confident-learning":
        labels = without_errors(data.train, observed, seed)
    unknown = (labels == UNKNOWN) & (
        # a class that is never known to be absent has no other negatives
        ~(labels == NEGATIVE).any(axis=0) | (method.loss.parameters["unknown"] == "negative")
    )
    labels = np.where(unknown, NEGATIVE, labels).astype(np.int8)
    fit = {
        "given": fit_least_squares,
        "moved": functools.partial(fit_moved_positives, share=0.6),
        "soft": fit_soft_positives,
        "doubted": fit_noisy_labels,
    }[method.positives]
    heads = fit(data.train.numpy(), labels)
    judged = fitted_labels(observed)
    figures = _figures(data, heads.loo_scores, judged, heads.scores(data.test.numpy()))
    settings = {"learning_rate": 0.0, "weight_decay": 0.0, "epochs": 0}
    return {**settings, "penalty": heads.penalty, **figures}


class Trained(NamedTuple):
    """Heads after a number of epochs.

    Attributes:
        heads: one for each learning rate.
        held_out: the rows that were not trained on.
    """

    heads: Heads
    held_out: np.ndarray


def trained_heads(
    data: ProbeData,
    method: Method,
    config: ProbeConfig,
    observed: np.ndarray,
    seed: int,
    *,
    all_rows: bool = False,
) -> Iterator[tuple[int, Trained]]:
    """Train as `probe_cell` does, and give the heads after each number of epochs of the config.

    For the arguments see `probe_cell`; with ``all_rows`` nothing is held out.
    """
    order = np.random.RandomState(seed).permutation(len(observed))
    num_held_out = 0 if all_rows else round(config.validation * len(observed))
    held_out, fitted = order[:num_held_out], np.sort(order[num_held_out:])
    labels = torch.from_numpy(observed[fitted])
    if method.negatives == "unknown":
        labels = labels.masked_fill(labels == NEGATIVE, UNKNOWN)
    features = data.train[fitted]
    if method.procedure == "confident-learning":
        labels = torch.from_numpy(without_errors(features, labels.numpy(), seed))
    heads = HEADS[method.procedure](
        features.shape[1], labels, config.learning_rates, method, seed, config.weight_decays
    )
    for epoch in range(1, max(config.epochs) + 1):
        heads.train_epoch(features, config.batch_size, epoch)
        if epoch in config.epochs:
            yield epoch, Trained(heads, held_out)


def _mean_percent(values: np.ndarray) -> float | None:
    """Mean over the classes that have a value, in percent; None if none has."""
    known = values[~np.isnan(values)]
    return 100 * float(known.mean()) if len(known) else None
