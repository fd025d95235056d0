"""The record of data and model in a run folder, for every way to train."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pumlc.errors import UserError
from pumlc.labels import write_manifest
from pumlc.vision.data.bad_pictures import BadPictures, BadRow, bad_rows, write_bad_rows
from pumlc.vision.data.config import DataConfig
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.seen import fingerprints, write_seen
from pumlc.vision.data.split import TrainingData, true_rows
from pumlc.vision.models.classifier import Classifier
from pumlc.vision.scoring import labels_as_validated, refuse_one_sided, refuse_without_positives


def run_facts(data: TrainingData, model: Classifier) -> dict[str, Any]:
    """The facts about data and model in run.json, as plain JSON."""
    train, validation = data.train, data.validation
    return {
        "classes": list(train.classes),
        "train_pictures": len(train),
        "validation_pictures": 0 if validation is None else len(validation),
        "train_labels": train.counts(),
        "label_mask": data.manifest.mask_hash,
        "data": fingerprints(data),
        "untrained_classes": [
            name
            for name, count in zip(train.classes, train.class_counts()["positive"], strict=True)
            if not count
        ],
        "starting_weights": model.starting_weights,
        "local_global": list(model.converted),
        "local_global_convolutions": len(model.converted),
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


def write_run_record(folder: Path, data: TrainingData, root: str) -> None:
    """Record which labels were hidden and which pictures were seen.

    Args:
        folder: the run folder.
        data: the training and the validation part.
        root: the folder of the data, as the settings name it.
    """
    path = folder / "label_manifest.npz"
    write_seen(folder / "pictures.npz", data, root)
    write_manifest(path, data.manifest)
    if data.validation_manifest is not None:
        write_manifest(path.with_stem(f"{path.stem}_val"), data.validation_manifest)


def refuse_empty_training(train: LabelledImages, loss: str) -> None:
    """Refuse a training part without a positive label.

    Args:
        train: the training part.
        loss: name of what would be trained, for the message.

    Raises:
        UserError: There is no positive label.
    """
    if not train.class_counts()["positive"].any():
        raise UserError(
            f"{train.source}: the training part has no positive label, so {loss} has nothing to "
            "learn"
        )


def refuse_unfit_validation(validation: LabelledImages, name: str) -> None:
    """Refuse a held-out part that cannot be measured, before anything is trained.

    Args:
        validation: the held-out part.
        name: of the data set, for the message.

    Raises:
        UserError: no label of it is positive, or none is negative.
    """
    labels, _ = labels_as_validated(validation.matrix)
    refuse_without_positives(labels)
    refuse_one_sided(validation, labels, "validation", name)


class BadList:
    """The list of pictures that a run has skipped, in its folder.

    Args:
        data: the training and the validation part of the run.
        config: the settings of the data.
        listed: the pictures that the run has already listed.

    Attributes:
        folder: where the list is written; None in processes that write nothing.
    """

    def __init__(self, data: TrainingData, config: DataConfig, listed: Iterable[BadRow]) -> None:
        self.folder: Path | None = None
        self._data, self._config = data, config
        self._listed = {(row.split, row.row): row for row in listed}

    def note(self, part: Literal["train", "validation"], bad: BadPictures) -> None:
        """Bring the list in the run folder up to date."""
        if self.folder is None or not bad.reasons:
            return
        split, rows, labels = true_rows(self._data, self._config, part)
        for row in bad_rows(split, bad, rows, labels):
            self._listed.setdefault((row.split, row.row), row)  # the first reason stays
        write_bad_rows(self.folder, [self._listed[key] for key in sorted(self._listed)])
