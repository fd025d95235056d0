"""Linear heads fitted with any loss: cross-fitting chooses the weight decay, then all rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pumlc.errors import UserError
from pumlc.estimators.fitted_labels import fitted_labels
from pumlc.losses import LOSSES, find_loss
from pumlc.metrics import average_precision
from pumlc.vision.config import KNOWN, LossConfig
from pumlc.vision.frozen.heads import known_prior

WEIGHT_DECAYS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
_FOLDS = 5
_MAX_STEPS = 100
_START_DECAY = 1e-2


@dataclass(frozen=True)
class LossHeads:
    """Heads, and the figures that chose them.

    Attributes:
        coefficients: [D, C], for the given features.
        intercept: [C].
        left_out: [N, C] logits; each row is by heads of the chosen decay that were fitted without
            its fold.
        weight_decay: the chosen candidate.
        agreement: for each candidate, mAP of the left-out logits by the known labels, in percent.
    """

    coefficients: np.ndarray
    intercept: np.ndarray
    left_out: np.ndarray
    weight_decay: float
    agreement: tuple[float, ...]


def fit_loss_heads(
    features: np.ndarray,
    labels: np.ndarray,
    loss: LossConfig,
    *,
    seed: int,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
    groups: np.ndarray | None = None,
) -> LossHeads:
    """Minimise loss + decay / 2 * |W|^2 over all rows at once, by L-BFGS to convergence.

    The features are standardised and scaled to a mean squared length of 1; intercepts are not
    decayed. The chosen decay is the one whose left-out logits have the largest mAP over the known
    labels (in a class that is never known to be absent, unknown counts as absent there). A loss
    that couples its batch sees all rows as one batch.

    Args:
        features: [N, D].
        labels: [N, C] in {1, 0, -1}; every class has a known label.
        loss: name and parameters; the mixup term plays no part.
        seed: deals the groups into five folds.
        weight_decays: candidates, above 0.
        groups: [N], equal for rows of one fold; None: each row is a group.

    Raises:
        UserError: there are fewer than five groups, or the heads are not finite.
    """
    numbers = (
        np.arange(len(features)) if groups is None else np.unique(groups, return_inverse=True)[1]
    )
    num_groups = int(numbers.max(initial=-1)) + 1
    if num_groups < _FOLDS:
        raise UserError(
            f"heads fitted with a loss need at least {_FOLDS} pictures (of different groups, where "
            f"there are groups), got {num_groups}"
        )
    mean, spread = features.mean(0), features.std(0)
    spread = np.where(spread > 0, spread, 1) * np.sqrt(features.shape[1])
    inputs = torch.from_numpy(((features - mean) / spread).astype(np.float32))
    targets = torch.from_numpy(labels)
    decays = sorted(set(weight_decays), reverse=True)
    left_out = np.empty((len(decays), *labels.shape), np.float32)
    order = np.random.RandomState(seed).permutation(num_groups)
    for fold in range(_FOLDS):
        chosen = np.isin(numbers, order[fold::_FOLDS])
        held_out, fitted = np.flatnonzero(chosen), np.flatnonzero(~chosen)
        head = _Head(inputs[fitted], targets[fitted], loss)
        for place, decay in enumerate(decays):  # each fit starts at the end of the stronger decay
            head.minimise(decay)
            left_out[place, held_out] = head.logits(inputs[held_out]).numpy()
    judged = fitted_labels(labels)
    agreement = [100 * float(np.nanmean(average_precision(one, judged))) for one in left_out]
    best = int(np.argmax(agreement))
    head = _Head(inputs, targets, loss)
    for decay in decays[: best + 1]:
        head.minimise(decay)
    coefficients = head.weight.detach().numpy() / spread[:, None]
    intercept = head.bias.detach().numpy() - mean @ coefficients
    return LossHeads(
        coefficients.astype(np.float32),
        intercept.astype(np.float32),
        left_out[best],
        decays[best],
        tuple(agreement),
    )


class _Head:
    """One linear layer and its rows.

    Its parameters start at zero. Those of a loss that couples rows start at the heads of binary
    cross entropy: such a loss may order the rows by their logits, and at zero there is no order
    (``pnu`` sets all unlabeled rows aside there, and no line search leaves the place).
    """

    def __init__(self, inputs: Tensor, labels: Tensor, loss: LossConfig) -> None:
        self.inputs, self.name = inputs, loss.name
        self.weight = torch.zeros(inputs.shape[1], labels.shape[1], requires_grad=True)
        self.bias = torch.zeros(labels.shape[1], requires_grad=True)
        found = find_loss(loss.name, imports=True)
        if found.couples == "rows":
            self.loss = LOSSES["bce"]
            self.labels = torch.from_numpy(fitted_labels(labels.numpy()))
            self.parameters: dict[str, Any] = {"unknown": "ignore"}
            self.minimise(_START_DECAY)
        prior = known_prior(labels)
        self.loss, self.labels = found, labels
        self.parameters = {
            name: prior if value == KNOWN else value for name, value in loss.parameters.items()
        }

    def logits(self, inputs: Tensor) -> Tensor:
        return (inputs @ self.weight + self.bias).detach()

    def minimise(self, decay: float) -> None:
        """Minimise the loss with a weight decay, starting from the present parameters."""
        optimizer = torch.optim.LBFGS(
            [self.weight, self.bias],
            max_iter=_MAX_STEPS,
            tolerance_grad=1e-5,
            tolerance_change=1e-7,
            line_search_fn="strong_wolfe",
        )

        def value() -> Tensor:
            optimizer.zero_grad()
            logits = self.inputs @ self.weight + self.bias
            total = self.loss(logits, self.labels, **self.parameters)
            total = total + decay / 2 * self.weight.square().sum()
            total.backward()
            return total

        optimizer.step(value)  # pyright: ignore[reportArgumentType]
        if not torch.isfinite(self.weight).all() or not torch.isfinite(self.bias).all():
            raise UserError(
                f"heads fitted with {self.name} and weight decay {decay:g} are not finite: the "
                "loss has no minimum on these labels, or its parameters are out of their range"
            )
