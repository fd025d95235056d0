"""Training procedures around a loss that expect wrong labels, for heads on frozen features."""

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pumlc.estimators import class_transitions, clean_probabilities, confident_errors
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.vision.config import LossConfig
from pumlc.vision.frozen.heads import Heads
from pumlc.vision.frozen.loss_heads import fit_loss_heads

_CROSS_FIT = LossConfig(name="bce", parameters={"unknown": "ignore"})
_CROSS_FIT_DECAYS = (1e-2, 1e-3)
_FORGET_EPOCHS = 10


def without_errors(features: Tensor, labels: np.ndarray, seed: int) -> np.ndarray:
    """The labels without those that confident learning prunes, which become UNKNOWN.

    The probabilities are those of five-fold cross-fitted heads with binary cross entropy. A class
    that no label is known of has none to be pruned.

    Args:
        features: [N, D].
        labels: [N, C] in {1, 0, -1}.
        seed: of the folds.
    """
    known = (labels != UNKNOWN).any(axis=0)
    cleaned = labels.copy()
    if known.any():
        heads = fit_loss_heads(
            features.numpy(),
            np.ascontiguousarray(labels[:, known]),
            _CROSS_FIT,
            seed=seed,
            weight_decays=_CROSS_FIT_DECAYS,
        )
        probabilities = torch.from_numpy(heads.left_out).double().sigmoid().numpy()
        part = labels[:, known]
        cleaned[:, known] = np.where(confident_errors(probabilities, part), UNKNOWN, part)
    return cleaned


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of every label, [B, C]; 0 for unknown ones."""
    losses = F.softplus(torch.where(labels == POSITIVE, -logits, logits))
    return losses.masked_fill(labels == UNKNOWN, 0.0)


class CoTeaching(Heads):
    """Every head has a peer; each is trained on the labels with the smallest losses of the other.

    In epoch T the share R(T) = 1 - forget_rate * min(T / 10, 1) of the known labels of a batch is
    kept, of each class and of its positives and negatives apart: losses of rare positives are
    larger, and would be the first to go. At least one label of a kind is kept. The peers start at
    small random weights: equal heads would stay equal. Scores are those of the first head.

    Source: Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy
    Labels" (NeurIPS 2018), by label instead of by picture.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.peers = [copy.deepcopy(head) for head in self.heads]
        for head in (*self.heads, *self.peers):
            nn.init.normal_(head.weight, std=1e-3, generator=self.generator)
        for group in list(self.optimizer.param_groups):
            self.optimizer.add_param_group(self._of_peer(group))

    def _of_peer(self, group: dict[str, Any]) -> dict[str, Any]:
        (parameter,) = group["params"]
        for head, peer in zip(self.heads, self.peers, strict=True):
            for own, of_peer in zip(head.parameters(), peer.parameters(), strict=True):
                if own is parameter:
                    kept = {name: group[name] for name in ("lr", "weight_decay")}
                    return {"params": [of_peer], **kept}
        raise AssertionError("a parameter of no head")

    def train_epoch(self, features: Tensor, batch_size: int, epoch: int) -> None:
        self.kept = 1 - self.method.forget_rate * min(epoch / _FORGET_EPOCHS, 1.0)
        super().train_epoch(features, batch_size, epoch)

    def total_loss(self, features: Tensor, rows: Tensor, parameters: dict[str, Any]) -> Tensor:
        labels, total = self.labels[rows], torch.zeros(())
        for head, peer in zip(self.heads, self.peers, strict=True):
            losses = [_losses(each(features), labels) for each in (head, peer)]
            small = [small_losses(each.detach(), labels, self.kept) for each in losses]
            for own, chosen in zip(losses, reversed(small), strict=True):
                total = total + own.masked_fill(~chosen, 0.0).sum() / len(rows)
        return total


def small_losses(losses: Tensor, labels: Tensor, kept: float) -> Tensor:
    """The share of the positives and of the negatives of each class with the smallest losses.

    Args:
        losses: [B, C].
        labels: [B, C] in {1, 0, -1}.
        kept: the share; rounded up to a number of labels.

    Returns:
        bool [B, C]; unknown labels are not chosen.
    """
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    for value in (POSITIVE, NEGATIVE):
        own = labels == value
        order = losses.masked_fill(~own, torch.inf).argsort(dim=0, stable=True).argsort(dim=0)
        # 1e-6: the float product may lie just above a whole number
        chosen |= own & (order < (kept * own.sum(0) - 1e-6).ceil())
    return chosen


class LabelWise(Heads):
    """Labels are clean, changed or weighted, by their losses; decided anew before every epoch.

    A label whose `clean_probabilities` is above 1/2 is kept. Another becomes what the head gives a
    probability above ``relabel_threshold``. The rest keep their labels and count by that
    probability. The first ``warmup_epochs`` are plain. The paper averages two augmented views, of
    which features have one; its sampler of rare classes and its mixing are left out.

    Source: Song, Kim & Lee (BalanceMix, AAAI 2024, arXiv 2312.07087), equations 6 to 10.
    """

    def train_epoch(self, features: Tensor, batch_size: int, epoch: int) -> None:
        known = self.labels != UNKNOWN
        self.decisions = [(self.labels, known.float()) for _ in self.heads]
        if epoch > self.method.warmup_epochs:
            with torch.no_grad():
                logits = [head(features) for head in self.heads]
            threshold = self.method.relabel_threshold
            self.decisions = [managed_labels(each, self.labels, threshold) for each in logits]
        super().train_epoch(features, batch_size, epoch)

    def total_loss(self, features: Tensor, rows: Tensor, parameters: dict[str, Any]) -> Tensor:
        total = torch.zeros(())
        for head, (labels, weights) in zip(self.heads, self.decisions, strict=True):
            losses = _losses(head(features), labels[rows]) * weights[rows]
            total = total + losses.sum() / len(rows)
        return total


def managed_labels(logits: Tensor, labels: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Labels after the decisions of `LabelWise`, and the weight of each, 0 for unknown ones."""
    losses = _losses(logits, labels).double().numpy()
    clean = torch.from_numpy(clean_probabilities(losses, labels.numpy()))
    known, probabilities = labels != UNKNOWN, logits.sigmoid()
    doubted = known & (clean <= 0.5)
    present, absent = (
        doubted & (probabilities > threshold),
        doubted & (probabilities < 1 - threshold),
    )
    changed = labels.masked_fill(present, POSITIVE).masked_fill(absent, NEGATIVE)
    weights = torch.where(doubted & ~present & ~absent, clean, 1.0).float()
    return changed, weights * known


class EstimatedTransitions(Heads):
    """The rates of the reweighted loss are estimated once, after the warm-up, for each head.

    The labels that `clean_probabilities` puts above 1/2 are the selected ones of
    `class_transitions`. In the warm-up the rates are 0: binary cross entropy.

    Source: Li et al. (NeurIPS 2022), T-estimator, with importance reweighting.
    """

    def train_epoch(self, features: Tensor, batch_size: int, epoch: int) -> None:
        if epoch == 1:
            self.rates: list[dict[str, Tensor]] = [{} for _ in self.heads]
        if epoch == self.method.warmup_epochs + 1:
            with torch.no_grad():
                self.rates = [self._estimated(head(features)) for head in self.heads]
        super().train_epoch(features, batch_size, epoch)

    def _estimated(self, logits: Tensor) -> dict[str, Tensor]:
        losses = _losses(logits, self.labels).double().numpy()
        labels = self.labels.numpy()
        found = class_transitions(labels, clean_probabilities(losses, labels) > 0.5)
        return {name: torch.from_numpy(rate).float() for name, rate in found._asdict().items()}

    def total_loss(self, features: Tensor, rows: Tensor, parameters: dict[str, Any]) -> Tensor:
        labels = self.labels[rows]
        return sum(
            (
                self.loss(head(features), labels, **{**parameters, **rates})
                for head, rates in zip(self.heads, self.rates, strict=True)
            ),
            start=torch.zeros(()),
        )


HEADS: dict[str, type[Heads]] = {
    "plain": Heads,
    "confident-learning": Heads,
    "co-teaching": CoTeaching,
    "label-wise": LabelWise,
    "transitions": EstimatedTransitions,
}
"""How heads are trained in each procedure."""
