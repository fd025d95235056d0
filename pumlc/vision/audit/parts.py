"""The parts of a data set that an audit ranks separately, with the labels that the run saw."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.labels import LabelMatrix, read_manifest
from pumlc.labels.manifest import restored_labels
from pumlc.labels.sparse import label_rows
from pumlc.vision.config import DataConfig
from pumlc.vision.data.bad_pictures import read_bad_rows
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.seen import fingerprints
from pumlc.vision.data.split import TrainingData, training_data, true_rows


class Part(NamedTuple):
    """Pictures that are ranked together.

    Attributes:
        name: "train", "validation" or that of a split.
        images: the pictures with the labels that are suspected.
        true_labels: [N, C] in {1, 0, -1}, sparse if those of the pictures are; None where no label
            was changed on purpose.
    """

    name: str
    images: LabelledImages
    true_labels: LabelMatrix | None

    def subset(self, rows: np.ndarray) -> "Part":
        """The given rows, in the given order; the same part where they are all of it."""
        if len(rows) == len(self.images):
            return self
        true_labels = None if self.true_labels is None else label_rows(self.true_labels, rows)
        return Part(self.name, self.images.subset(rows), true_labels)


def training_parts(run_dir: Path, config: DataConfig, seed: int) -> list[Part]:
    """The validation part of a run, if there is one, and its training part, as training saw them.

    Args:
        run_dir: the run folder.
        config: the data of the run, where they are now.
        seed: the seed of the run, which decided the held-out part.

    Raises:
        UserError: pictures or labels have changed since the run.
    """
    data = training_data(config, seed=seed, skipped=read_bad_rows(run_dir))
    manifest = read_manifest(run_dir / "label_manifest.npz")
    if (data.manifest.shape, data.manifest.mask_hash) != (manifest.shape, manifest.mask_hash):
        raise UserError(
            f"{data.train.source} has changed since the run: it has {data.manifest.shape} labels "
            f"with mask {data.manifest.mask_hash}, but the run was trained on {manifest.shape} "
            f"with mask {manifest.mask_hash}; an audit needs the labels of the run: name that file "
            "with data.labels or data.csv, or train again"
        )
    if RunFolder(run_dir).read().get("data", fingerprints(data)) != fingerprints(data):
        raise UserError(
            f"{data.train.source}: pictures or labels are not those that {run_dir} was trained on"
        )
    true_labels = None
    if manifest.changes:
        *_, true_labels = true_rows(replace(data, manifest=manifest), config, "train")
    of_train = None if true_labels is None else label_rows(true_labels, data.rows)
    parts = [Part("train", data.train, of_train)]
    if data.validation is not None:
        held_out = None if true_labels is None else _true_validation(true_labels, data)
        parts.insert(0, Part("validation", data.validation, held_out))
    return parts


def _true_validation(true_labels: LabelMatrix, data: TrainingData) -> LabelMatrix:
    """The true labels of the validation part, which may be a separate split."""
    if data.validation_manifest is None:
        assert data.validation_rows is not None
        return label_rows(true_labels, data.validation_rows)
    assert data.validation is not None
    return restored_labels(data.validation_manifest, data.validation.matrix)


def groups_of(parts: Sequence[Part]) -> np.ndarray | None:
    """Numbers of the groups of all parts; None: there are none, or each picture is one."""
    numbers = [part.images.groups for part in parts if part.images.groups is not None]
    if len(numbers) < len(parts) or all(len(np.unique(own)) == len(own) for own in numbers):
        return None  # a part numbers single pictures by itself, but groups are those of the file
    return np.concatenate(numbers)
