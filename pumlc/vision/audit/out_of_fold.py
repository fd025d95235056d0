"""Logits of every labelled picture, by heads that have not seen its labels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from pumlc.errors import UserError
from pumlc.labels import NEGATIVE, POSITIVE
from pumlc.metrics import average_precision
from pumlc.vision.config import LossConfig
from pumlc.vision.frozen.config import Method
from pumlc.vision.frozen.heads import Heads, standardisation
from pumlc.vision.scoring import labels_as_validated


class OutOfFold(NamedTuple):
    """What `out_of_fold_logits` returns.

    Attributes:
        logits: float32 [N, C].
        learning_rate: that of the chosen heads.
        epochs: the number of epochs of the chosen heads.
        agreement: mAP of the logits by the labels as they are, in percent; it chose the heads.
    """

    logits: np.ndarray
    learning_rate: float
    epochs: int
    agreement: float


def out_of_fold_logits(
    features: np.ndarray,
    labels: np.ndarray,
    loss: LossConfig,
    *,
    folds: int = 5,
    seed: int = 0,
    learning_rates: Sequence[float] = (3e-4, 3e-3, 3e-2),
    epochs: Sequence[int] = (3, 6, 12, 24),
    batch_size: int = 128,
) -> OutOfFold:
    """Cross-fitting: pictures are dealt into folds, linear heads of all others score each fold.

    Heads start at the log-odds of each class, so that their probabilities compare between classes
    after few steps. Learning rate and number of epochs are those whose logits agree best with the
    given labels, by mean average precision over them (in a class with known positives alone unknown
    counts as negative). Memory: N x C x candidates x 4 bytes.

    Args:
        features: [N, D], standardised here; of a network that has not been trained on these labels.
        labels: [N, C] in {1, 0, -1}, as they are: wrong and unknown ones too.
        loss: what heads are trained with.
        folds: between 2 and N.
        seed: deals the pictures, orders the batches.
        learning_rates: candidates; Adam.
        epochs: candidates.
        batch_size: rows per step.

    Raises:
        ValueError: features and labels have different lengths.
        UserError: ``folds`` is out of its range, or there is no positive label.
    """
    if len(features) != len(labels):
        raise ValueError(f"{len(features)} features, but {len(labels)} rows of labels")
    if not 2 <= folds <= len(labels):
        raise UserError(f"folds must be between 2 and the {len(labels)} pictures, got {folds}")
    if not (labels == POSITIVE).any():
        raise UserError("without a positive label heads have nothing to learn")
    judged, _ = labels_as_validated(labels)
    logits_of = {
        (rate, number): np.empty(labels.shape, np.float32)
        for rate in learning_rates
        for number in epochs
    }
    inputs = standardisation(features)(features)
    order = np.random.RandomState(seed).permutation(len(labels))
    for fold in range(folds):
        held_out = order[fold::folds]
        fitted = np.setdiff1d(order, held_out)
        fitted_labels = torch.from_numpy(labels[fitted])
        heads = Heads(inputs.shape[1], fitted_labels, list(learning_rates), Method(loss=loss), seed)
        heads.start_at(_log_odds(judged[fitted]))
        for epoch in range(1, max(epochs) + 1):
            heads.train_epoch(inputs[fitted], batch_size, epoch)
            if epoch in epochs:
                of_rates = heads.logits(inputs[held_out])
                for rate, logits in zip(learning_rates, of_rates, strict=True):
                    logits_of[rate, epoch][held_out] = logits
    agreement = {
        candidate: 100 * float(np.nanmean(average_precision(logits, judged)))
        for candidate, logits in logits_of.items()
    }
    best = max(agreement, key=lambda candidate: agreement[candidate])
    return OutOfFold(logits_of[best], *best, agreement[best])


def _log_odds(labels: np.ndarray) -> torch.Tensor:
    """Log-odds of a known label being positive, [C], with one label of each sign added."""
    positive, negative = ((labels == sign).sum(0) + 1.0 for sign in (POSITIVE, NEGATIVE))
    return torch.from_numpy(np.log(positive / negative)).float()
