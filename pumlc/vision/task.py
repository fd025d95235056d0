"""The vision task: model, data and loss that the training loop uses for images."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from pumlc.engine.batches import EpochBatches
from pumlc.engine.task import Validation
from pumlc.errors import UserError, closest, warn_user
from pumlc.labels import SparseLabels
from pumlc.labels.known_cells import MeasuredCells, measured_cells
from pumlc.losses import Loss, find_loss, pu_mixup_loss, weigh_classes
from pumlc.progress import Progress
from pumlc.vision.config import VisionConfig
from pumlc.vision.data.bad_pictures import BadPictures, read_bad_rows
from pumlc.vision.data.class_warnings import warn_of_classes, warn_of_similar_classes
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.loader import TrainingPictures, batches_of, training_loader
from pumlc.vision.data.mixup import mix_halves
from pumlc.vision.data.split import training_data
from pumlc.vision.data.transforms import training_transform
from pumlc.vision.known_logits import score_known
from pumlc.vision.models.build import build_for_training
from pumlc.vision.models.tower import save_tower
from pumlc.vision.run_data import refuse_unfit_test
from pumlc.vision.run_record import (
    BadList,
    refuse_empty_training,
    refuse_unfit_validation,
    run_facts,
    write_run_record,
)
from pumlc.vision.scoring import (
    as_listed,
    resampled_scores,
    score_images,
    to_device,
    validate_logits,
)


class VisionTask:
    """Model, data and loss of an image run; satisfies `pumlc.engine.task.Task`.

    Args:
        config: the settings of the run.
        folder: folder of a resumed run, which lists the pictures it has skipped; None: a new run.

    Raises:
        UserError: the data cannot be read or cannot be trained or evaluated on, the loss does not
            take its parameters, or the network cannot be built.
    """

    def __init__(self, config: VisionConfig, folder: Path | None = None) -> None:
        self.config = config
        self._loss = find_loss(config.loss.name, imports=True)
        listed = [] if folder is None else read_bad_rows(folder)
        self.data = training_data(config.data, seed=config.train.seed, skipped=listed)
        self._bad_list = BadList(self.data, config.data, listed)
        self._bad = BadPictures(self.data.train)
        self.classes = self.data.train.classes
        self._loss.check(config.loss.parameters, num_classes=len(self.classes))
        self._class_weights = _class_weights(config.loss.class_weights, self.classes)
        warn_of_similar_classes(self.data.train.source, self.classes)
        self.model = build_for_training(config, self.classes, self.data.train.matrix)
        self._batches: EpochBatches | None = None
        self._loader: Any = None
        self._start_score: float | None = None  # of another run, from whose head this one starts
        self._end_scores: list[float] = []
        refuse_empty_training(self.data.train, config.loss.name)
        if self.data.validation is not None:  # check it now, not after an epoch
            refuse_unfit_validation(self.data.validation, config.data.name)
        if folder is None:
            refuse_unfit_test(config.data, self.classes)
        _warn_of_positives_alone(self.data.train, self._loss, config)
        warn_of_classes(self.data)

    def facts(self) -> dict[str, Any]:
        """What run.json says about data and model: plain JSON."""
        return run_facts(self.data, self.model)

    def write_files(self, folder: Path) -> None:
        """Record in the run folder which labels were hidden and which pictures were seen."""
        self._bad_list.folder = folder
        write_run_record(folder, self.data, self.config.data.root)
        save_tower(self.model.backbone, folder)

    def start(self, accelerator: Accelerator) -> None:
        """Put the weights of the classes where the logits are; score the head of another run."""
        if self._class_weights is not None:
            self._class_weights = self._class_weights.to(accelerator.device)
        if self.model.has_trained_head:
            found = self.validate(accelerator)
            self._start_score = None if found is None else found.score

    def steps_per_epoch(self, world_size: int) -> int:
        return self._epoch_batches(world_size).steps

    def _epoch_batches(self, world_size: int, rank: int = 0) -> EpochBatches:
        train = self.config.train
        return EpochBatches(
            len(self.data.train),
            train.batch_size,
            seed=train.seed,
            rank=rank,
            world_size=world_size,
            accumulate=train.accumulate,
        )

    def batches(
        self, epoch: int, accelerator: Accelerator, first: int = 0
    ) -> Iterable[dict[str, Tensor]]:
        if self._batches is None:
            train = self.config.train
            transform = training_transform(self.model.data_config, self.config.data.augmentation)
            pictures = TrainingPictures(self.data.train, transform, seed=train.seed)
            self._batches = self._epoch_batches(
                accelerator.num_processes, accelerator.process_index
            )
            self._loader = training_loader(pictures, self._batches, train.workers)
        self._batches.epoch, self._batches.first = epoch, first
        # Nobody reads this draw. An earlier loader drew it in each epoch, and mixup draws from the
        # same generator: without it every published figure of a run with mixup would change.
        torch.empty((), dtype=torch.int64).random_()
        return self._read_batches(accelerator)

    def _read_batches(self, accelerator: Accelerator) -> Iterator[dict[str, Tensor]]:
        """The batches of the loader's current epoch; bad pictures are listed at once."""
        noted = len(self._bad.reasons)
        try:
            for batch in batches_of(self._loader, self._bad):
                if len(self._bad.reasons) > noted:
                    noted = len(self._bad.reasons)
                    self._bad_list.note("train", self._bad)
                yield batch.content
            if accelerator.num_processes > 1:
                self._bad.merge(gather_object([self._bad.reasons]))
        finally:
            if len(self._bad.reasons) > noted:
                self._bad_list.note("train", self._bad)

    def training_step(
        self, network: nn.Module, batch: dict[str, Tensor], accelerator: Accelerator, step: int
    ) -> dict[str, Tensor]:
        images = to_device(batch["image"], accelerator.device, self.model.data_config)
        targets = batch["labels"].to(accelerator.device, non_blocking=True)
        settings = self.config.loss
        mix = settings.mixup_weight > 0
        if mix:
            # one pass over pictures and mixtures: with two passes DDP would reduce twice
            mixed, permutation, lam = mix_halves(images, settings.mixup_beta)
            logits = self._logits(network, torch.cat([images, mixed]))
            logits, mixed_logits = logits[: len(images)], logits[len(images) :]
        else:
            logits = self._logits(network, images)
        extra: dict[str, Any] = {}
        if settings.statistics == "global" and accelerator.num_processes > 1:
            extra["process_group"] = torch.distributed.group.WORLD
        loss = self._loss(logits, targets, **settings.parameters, **extra)
        _check_value(loss, settings.name)
        # with a process group every process has its part of the gradient of the global loss; DDP
        # averages these parts, but they must be added
        total = loss * accelerator.num_processes if extra else loss
        parts = {settings.name: loss.detach()}
        if mix:
            regulariser = pu_mixup_loss(
                logits, targets, mixed_logits, permutation=permutation, lam=lam
            )
            total = total + settings.mixup_weight * regulariser
            parts["mixup"] = regulariser.detach()
        accelerator.backward(total)
        shown = loss if not mix else loss + settings.mixup_weight * regulariser
        return {"loss": shown.detach(), **parts}

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        logits = network(images)
        return logits if self._class_weights is None else weigh_classes(logits, self._class_weights)

    def state_dict(self) -> dict[str, Tensor]:
        # every random choice follows from seed, epoch and row
        score = self._start_score
        return {} if score is None else {"start_score": torch.tensor(score, dtype=torch.float64)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if "start_score" in state:
            self._start_score = float(state["start_score"])

    def validate(self, accelerator: Accelerator) -> Validation | None:
        images = self.data.validation
        if images is None:
            return None
        bad = BadPictures(images)
        show = partial(Progress().show, "validation")
        settings: dict[str, Any] = {
            "batch_size": self.config.train.batch_size,
            "bad": bad,
            "progress": show if accelerator.is_main_process else None,
        }
        labels: Any = images.matrix
        try:
            if isinstance(labels, SparseLabels):
                labels = measured_cells(as_listed(labels, self.config.data))
                known = score_known(self.model, images, labels.labels, accelerator, **settings)
                logits: Any = known.logits
            else:
                labels = as_listed(labels, self.config.data)
                logits = score_images(self.model, images, accelerator, **settings)
        finally:
            self._bad_list.note("validation", bad)
        rest = bad.rest()
        logits = logits[rest]
        labels = labels.subset(rest) if isinstance(labels, MeasuredCells) else labels[rest]
        validation = validate_logits(logits, labels)
        if self.config.train.selection == "one-standard-error":
            groups = None if images.groups is None else images.groups[rest]
            validation = replace(validation, resamples=resampled_scores(logits, labels, groups))
        if accelerator.is_main_process:
            self._warn_of_an_end_below_the_start(validation.score, len(rest))
        return validation

    def _warn_of_an_end_below_the_start(self, score: float, count: int) -> None:
        """Say so if neither the last nor the averaged weights rank as well as another run's head.

        Args:
            score: mAP of the held-out part.
            count: the number of its pictures.
        """
        last = self._batches is not None and self._batches.epoch == self.config.train.epochs - 1
        if not last or self._start_score is None:
            return
        self._end_scores.append(score)
        best = max(self._end_scores)
        expected = 1 if self.config.train.ema_decay is None else 2
        if len(self._end_scores) == expected and best < self._start_score:
            warn_user(
                f"the network ends below the head that it started from: mAP {best:.2f} against "
                f"{self._start_score:.2f} on the {count} held-out pictures. Keep that run, or try "
                "fewer train.epochs or a smaller train.learning_rate"
            )


def _class_weights(given: dict[str, float], classes: tuple[str, ...]) -> Tensor | None:
    """The weight of each class [C]; None where all are 1."""
    for name in given:
        if name not in classes:
            raise UserError(f"loss.class_weights: no class {name!r}; {closest(name, classes)}")
    return torch.tensor([given.get(name, 1.0) for name in classes]) if given else None


def _check_value(loss: Any, name: str) -> None:
    """Refuse a wrong value of the user's own loss, before the backward pass fails on it."""
    if not isinstance(loss, Tensor) or loss.ndim or not loss.is_floating_point():
        got = f"{loss.dtype} {list(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
        raise UserError(f"loss.name {name} must return one floating-point number, got {got}")


def _warn_of_positives_alone(train: LabelledImages, loss: Loss, config: VisionConfig) -> None:
    """Warn of a loss that is minimal if every class is predicted for every picture."""
    settings = config.loss
    if train.counts()["negative"] or loss.uses_unknown(settings.parameters) is not False:
        return
    advice = (
        ". If the labels that a row does not list are absent, set data.unlisted negative"
        if config.data.name in ("csv", "labels")
        else ""
    )
    warn_user(
        f"{train.source}: no label is known to be negative, and {settings.name} with "
        f"{settings.parameters} ignores unknown labels. So every class will be predicted for every "
        "picture. Losses for positives alone are pu, and bce, asl and hill with unknown: "
        f"negative{advice}"
    )
