"""Linear heads on features of a frozen backbone, trained with a loss of the package."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pumlc.labels import NEGATIVE, POSITIVE
from pumlc.losses import find_loss, pu_mixup_loss
from pumlc.vision.config import KNOWN
from pumlc.vision.data.mixup import mix_halves
from pumlc.vision.frozen.config import Method


class Heads:
    """Linear heads, one per candidate, that see the same batches and start at zero.

    Args:
        width: D, the length of a feature vector.
        labels: [N, C] in {1, 0, -1}, of the rows to train on.
        rates: learning rates of Adam.
        method: the loss.
        seed: decides order and mixtures; the global random state is neither read nor changed.
        decays: decoupled weight decays, combined with every rate; biases have none.

    Attributes:
        candidates: learning rate and weight decay of each head.

    Raises:
        UserError: the method names a user's own loss that cannot be imported.
    """

    def __init__(
        self,
        width: int,
        labels: Tensor,
        rates: list[float],
        method: Method,
        seed: int,
        decays: Sequence[float] = (0.0,),
    ) -> None:
        self.candidates = list(itertools.product(rates, decays))
        self.labels, self.method = labels, method
        self.loss = find_loss(method.loss.name, imports=True)
        # without torch's own initialisation, which would draw from the global random state
        self.heads = [
            nn.Linear(width, labels.shape[1], device="meta").to_empty(device="cpu")
            for _ in self.candidates
        ]
        for head in self.heads:
            for parameter in head.parameters():
                nn.init.zeros_(parameter)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [parameter], "lr": rate, "weight_decay": decay * (name == "weight")}
                for head, (rate, decay) in zip(self.heads, self.candidates, strict=True)
                for name, parameter in head.named_parameters()
            ],
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.random = np.random.RandomState(seed)

    def train_epoch(self, features: Tensor, batch_size: int, epoch: int) -> None:
        """One pass in random order; a remainder smaller than a batch joins the last batch.

        Args:
            features: [N, D], the rows of the labels.
            batch_size: rows per step.
            epoch: its number, counted from 1; the parameters of the loss may depend on it.
        """
        order = torch.randperm(len(features), generator=self.generator)
        steps = max(1, len(order) // batch_size)
        parameters = self.loss_parameters(epoch)
        for step in range(steps):
            end = None if step == steps - 1 else (step + 1) * batch_size
            rows = order[step * batch_size : end]
            loss = self.total_loss(features[rows], rows, parameters)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def logits(self, features: Tensor) -> list[np.ndarray]:
        """Logits [N, C] of each head for features [N, D]."""
        with torch.no_grad():
            return [head(features).numpy() for head in self.heads]

    def loss_parameters(self, epoch: int) -> dict[str, Any]:
        """The keyword arguments of the loss in an epoch, counted from 1."""
        parameters = self.method.parameters(epoch)
        return {
            name: known_prior(self.labels) if value == KNOWN else value
            for name, value in parameters.items()
        }

    def total_loss(self, features: Tensor, rows: Tensor, parameters: dict[str, Any]) -> Tensor:
        """The sum of loss and mixup term over all heads, for one batch.

        Args:
            features: [B, D].
            rows: which of the rows they are, [B].
            parameters: of the loss, in this epoch.
        """
        labels = self.labels[rows]
        settings, total = self.method.loss, torch.zeros(())
        mixed, permutation, lam = features, torch.empty(0), 0.0
        if settings.mixup_weight:
            mixed, permutation, lam = mix_halves(
                features, settings.mixup_beta, generator=self.generator, random=self.random
            )
        for head in self.heads:
            logits = head(features)
            total = total + self.loss(logits, labels, **parameters)
            if settings.mixup_weight:
                term = pu_mixup_loss(logits, labels, head(mixed), permutation=permutation, lam=lam)
                total = total + settings.mixup_weight * term
        return total


def known_prior(labels: Tensor) -> Tensor:
    """The share of positives among the known labels of each class, [C]; 0 if none is known."""
    positive = (labels == POSITIVE).sum(0).float()
    negative = (labels == NEGATIVE).sum(0).float()
    return positive / (positive + negative).clamp(min=1)


def standardisation(features: np.ndarray) -> Callable[[np.ndarray], Tensor]:
    """The map that standardises features [N, D] by the means and deviations of the given ones."""
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    return lambda others: torch.from_numpy((others - mean) / deviation).float()
