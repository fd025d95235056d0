"""The vision task: what the training loop drives for images."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pumlc.engine.batches import EpochBatches
from pumlc.engine.task import Validation
from pumlc.errors import UserError
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN, write_manifest
from pumlc.losses import LOSSES, pu_mixup_loss
from pumlc.vision.config import VisionConfig
from pumlc.vision.data.class_warnings import warn_of_classes, warn_of_similar_classes
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.loader import TrainingPictures, batches_of, training_loader
from pumlc.vision.data.seen import fingerprints, write_seen
from pumlc.vision.data.split import training_data
from pumlc.vision.data.transforms import training_transform
from pumlc.vision.models.build import build_for_training
from pumlc.vision.scoring import (
    refuse_without_positives,
    score_images,
    to_device,
    validate_logits,
)


class VisionTask:
    """Model, data and loss of an image run; satisfies `pumlc.engine.task.Task`.

    Args:
        config: the settings of the run.
    """

    def __init__(self, config: VisionConfig) -> None:
        self.config = config
        self.data = training_data(config.data, seed=config.train.seed)
        self.classes = self.data.train.classes
        if config.data.csv is not None:
            warn_of_similar_classes(Path(config.data.csv), self.classes)
        self.model = build_for_training(config, self.classes, self.data.train.labels)
        self._loss = LOSSES[config.loss.name]
        try_loss(config.loss.name, config.loss.parameters, len(self.classes))
        self._batches: EpochBatches | None = None
        self._loader: Any = None
        _refuse_empty_training(self.data.train, config.loss.name)
        if self.data.validation is not None:  # now, not after an epoch
            refuse_without_positives(self.data.validation.labels)
        _warn_of_positives_alone(self.data.train, config)
        warn_of_classes(self.data)

    def facts(self) -> dict[str, Any]:
        """What run.json says about data and model."""
        train, validation = self.data.train, self.data.validation
        return {
            "classes": list(self.classes),
            "train_pictures": len(train),
            "validation_pictures": 0 if validation is None else len(validation),
            "train_labels": train.counts(),
            "label_mask": self.data.manifest.mask_hash,
            "data": fingerprints(self.data),
            "local_global": list(self.model.converted),
        }

    def write_files(self, folder: Path) -> None:
        """Record which labels were hidden and which pictures seen, apart from the data."""
        path = folder / "label_manifest.npz"
        write_seen(folder / "pictures.npz", self.data, self.config.data.root)
        write_manifest(path, self.data.manifest)
        if self.data.validation_manifest is not None:
            write_manifest(path.with_stem(f"{path.stem}_val"), self.data.validation_manifest)

    def start(self, accelerator: Accelerator) -> None:
        """Nothing is left to set: the weights come from the configuration."""

    def steps_per_epoch(self, world_size: int) -> int:
        train = self.config.train
        return len(
            EpochBatches(
                len(self.data.train), train.batch_size, seed=train.seed, world_size=world_size
            )
        )

    def batches(self, epoch: int, accelerator: Accelerator) -> Iterable[dict[str, Tensor]]:
        if self._batches is None:
            train = self.config.train
            transform = training_transform(self.model.data_config, self.config.data.augmentation)
            pictures = TrainingPictures(self.data.train, transform, seed=train.seed)
            self._batches = EpochBatches(
                len(pictures),
                train.batch_size,
                seed=train.seed,
                rank=accelerator.process_index,
                world_size=accelerator.num_processes,
            )
            self._loader = training_loader(pictures, self._batches, train.workers)
        self._batches.epoch = epoch
        # the number that a DataLoader without a generator takes of the global one in every epoch if
        # it has no workers: runs keep the numbers that they had when it was such a one
        torch.empty((), dtype=torch.int64).random_()
        return batches_of(self._loader)

    def training_step(
        self, network: nn.Module, batch: dict[str, Tensor], accelerator: Accelerator, step: int
    ) -> dict[str, float]:
        images = to_device(batch["image"], accelerator.device)
        targets = batch["labels"].to(accelerator.device, non_blocking=True)
        settings = self.config.loss
        mix = settings.mixup_weight > 0
        if mix:
            # one pass over pictures and mixtures: two would need DDP to reduce twice
            mixed, permutation, lam = mix_halves(images, settings.mixup_beta)
            logits = network(torch.cat([images, mixed]))
            logits, mixed_logits = logits[: len(images)], logits[len(images) :]
        else:
            logits = network(images)
        extra: dict[str, Any] = {}
        if settings.statistics == "global" and accelerator.num_processes > 1:
            extra["process_group"] = torch.distributed.group.WORLD
        loss = self._loss(logits, targets, **settings.parameters, **extra)
        # with a process group every process holds its slice of the gradient of the global loss,
        # which DDP averages where it should add
        total = loss * accelerator.num_processes if extra else loss
        parts = {settings.name: loss.item()}
        if mix:
            regulariser = pu_mixup_loss(
                logits, targets, mixed_logits, permutation=permutation, lam=lam
            )
            total = total + settings.mixup_weight * regulariser
            parts["mixup"] = regulariser.item()
        accelerator.backward(total)
        shown = loss if not mix else loss + settings.mixup_weight * regulariser
        return {"loss": shown.item(), **parts}

    def state_dict(self) -> dict[str, Tensor]:
        return {}  # every random choice follows from seed, epoch and row

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        assert not state

    def validate(self, accelerator: Accelerator) -> Validation | None:
        images = self.data.validation
        if images is None:
            return None
        logits = score_images(
            self.model,
            images,
            accelerator,
            batch_size=self.config.train.batch_size,
            workers=self.config.train.workers,
        )
        return validate_logits(logits, images.labels)


def mix_halves(images: Tensor, beta: float) -> tuple[Tensor, Tensor, float]:
    """Mixtures of the first half of a batch, permuted, with its second half.

    The middle picture of an odd batch is in no mixture.

    Args:
        images: [B, 3, H, W].
        beta: the coefficient is drawn from Beta(beta, beta).

    Returns:
        mixtures [B // 2, 3, H, W], the permutation [B // 2] of the first half, the coefficient.
    """
    half = len(images) // 2
    permutation = torch.randperm(half)
    lam = float(torch.distributions.Beta(beta, beta).sample())
    permutation = permutation.to(images.device)
    return lam * images[:half][permutation] + (1 - lam) * images[-half:], permutation, lam


def try_loss(
    name: str, parameters: dict[str, Any], num_classes: int, *, where: str = "loss."
) -> None:
    """Refuse a value the loss does not take before there is a run folder, not in the first step.

    Raises:
        UserError: with the parameters, after ``where``, and what the loss says of them.
    """
    targets = torch.tensor([[POSITIVE], [NEGATIVE]]).expand(2, num_classes)
    try:
        LOSSES[name](torch.zeros(2, num_classes), targets, **parameters)
    except Exception as error:  # whatever a loss does with a value of a kind it does not expect
        raise UserError(f"{where}parameters {parameters}: {error}") from None


def _refuse_empty_training(train: LabelledImages, loss: str) -> None:
    if train.labels.max() != POSITIVE:
        raise UserError(
            f"{train.source}: the training part has no positive label, so {loss} has nothing to "
            "learn"
        )


def _warn_of_positives_alone(train: LabelledImages, config: VisionConfig) -> None:
    """Warn, in the name of the caller's caller, of a loss that nothing keeps from one answer.

    Whether a loss looks at unknown labels its gradient says. It is taken in as many classes as
    there are: a loss may leave out the unknown labels of the highest scores alone.
    """
    if train.counts()["negative"]:
        return
    settings, num_classes = config.loss, len(train.classes)
    logits = torch.linspace(-3, 3, 2 * num_classes).reshape(2, num_classes).requires_grad_()
    targets = torch.full((2, num_classes), UNKNOWN)
    targets[0, 0] = POSITIVE
    LOSSES[settings.name](logits, targets, **settings.parameters).backward()
    assert logits.grad is not None
    if not logits.grad[targets == UNKNOWN].any():
        advice = (
            ". If what a row does not list is absent: data.unlisted negative"
            if config.data.name == "csv"
            else ""
        )
        warnings.warn(
            f"{train.source}: no label is known to be negative, and {settings.name} with "
            f"{settings.parameters} leaves out the unknown ones: every class will be predicted for "
            "every picture. Losses for positives alone: pu, or bce, asl, hill with unknown: "
            f"negative{advice}",
            stacklevel=3,
        )
