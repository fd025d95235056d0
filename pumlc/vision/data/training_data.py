"""What training may see of a data set, and apart from it what it may not."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.engine.config import closest
from pumlc.errors import UserError
from pumlc.labels import (
    LabelManifest,
    PackedLabels,
    compare,
    drop_proportion,
    flip,
    keep_fixed_per_class,
    keep_proportion,
    keep_proportion_torch,
    keep_single_positive,
)
from pumlc.labels.convention import row_blocks
from pumlc.vision.config import DataConfig
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.positive_list import keep_listed
from pumlc.vision.data.readers.coco_voc import read_coco, read_voc
from pumlc.vision.data.readers.csv_file import has_split, read_csv
from pumlc.vision.data.readers.list_files import read_nus_wide
from pumlc.vision.data.sources import source


def read_split(
    config: DataConfig, split: str, *, classes: tuple[str, ...] | None = None
) -> LabelledImages:
    """Read one split of the data set a config names, with all of its labels.

    Args:
        classes: the classes of a trained model, which the data set must have.

    Raises:
        UserError: see the readers; or the classes differ from ``classes``.
    """
    root = Path(config.root)
    if config.name == "csv":
        assert config.csv is not None
        unlisted = config.unlisted_test if split == "test" else config.unlisted
        return read_csv(
            Path(config.csv),
            root,
            split,
            unlisted=unlisted,
            unlisted_wide=config.unlisted,
            classes=classes,
        )
    if config.name in ("voc2007", "voc2012"):
        images = read_voc(root, split, name=config.name, difficult=config.difficult)
    elif config.name in ("coco", "coco2014", "coco2017"):
        images = read_coco(root, split, name=config.name, unannotated=config.unannotated)
    elif config.name == "nuswide":
        images = read_nus_wide(root, split, unannotated=config.unannotated)
    else:
        images = source(config.name).read(root, split)
    if classes is not None and images.classes != classes:
        different = sorted(set(images.classes) ^ set(classes)) or "their order"
        raise UserError(f"{images.source}: other classes than the model's: {different}")
    return images


def observe(
    labels: np.ndarray, config: DataConfig, classes: tuple[str, ...] | None = None
) -> LabelManifest:
    """Leave of the true labels what the annotator of a config would have written down, in place.

    First some labels become wrong (``false_negative``, ``false_positive``), then most go missing
    (``protocol``, ``known``). In place, because a second matrix of a million rows is half a
    gigabyte; the truth stays as bit planes in the manifest. All protocols but positive-list, which
    is one of pictures, not of labels alone: `training_data`.

    Args:
        labels: [N, C] int8 in {1, 0, -1}, overwritten.
        classes: C names, for rates that are given by class.

    Returns:
        the record of what was changed, for ``label_manifest.npz``.

    Raises:
        UserError: a rate for a class that is not among ``classes``.
    """
    assert config.protocol != "positive-list"
    true = PackedLabels.pack(labels)
    seed = config.label_seed
    rates = {"false_negative": config.false_negative, "false_positive": config.false_positive}
    if any(rates.values()):
        each = {name: _class_rates(name, rate, classes or ()) for name, rate in rates.items()}
        flip(labels, **each, seed=seed, out=labels)
    parameters: dict[str, Any] = {"known": config.known, **rates}
    if config.protocol == "single-positive":
        keep_single_positive(labels, seed=seed, out=labels)
    elif config.protocol == "csl-fpc":
        assert config.known_per_class is not None
        keep_fixed_per_class(labels, config.known_per_class, seed=seed, out=labels)
        parameters["known_per_class"] = config.known_per_class
    elif config.known < 1:
        if config.protocol == "proportion":
            keep_proportion(labels, config.known, seed=seed, out=labels)
        elif config.protocol == "dualcoop":
            keep_proportion_torch(labels, config.known, seed=seed, out=labels)
        else:
            drop_proportion(labels, 1 - config.known, seed=seed, out=labels)
    return compare(true, labels, protocol=config.protocol, seed=seed, parameters=parameters)


def _observe_list(images: LabelledImages, config: DataConfig) -> tuple[np.ndarray, LabelManifest]:
    """What `observe` is for labels alone, by ``positive_list``; also the rows that it lists."""
    assert config.positive_list is not None
    true = PackedLabels.pack(images.labels)
    file, root = Path(config.positive_list), Path(config.root)
    try:
        rows = keep_listed(images, file, root)
    except ValueError:
        if config.unannotated == "drop":
            _refuse_list_of_dropped(images, config, file, root)
        raise
    parameters = {"positive_list": config.positive_list}
    seed = config.label_seed
    manifest = compare(
        true, images.labels, protocol=config.protocol, seed=seed, parameters=parameters
    )
    return rows, manifest


def _refuse_list_of_dropped(
    images: LabelledImages, config: DataConfig, file: Path, root: Path
) -> None:
    """Say what is wrong with a list that fits all pictures, only not those with an annotation."""
    whole = read_split(dataclasses.replace(config, unannotated="keep"), "train")
    try:
        listed = keep_listed(whole, file, root)
    except ValueError:
        return  # another error of the list
    kept = set(images.paths)
    dropped = [whole.path(row).name for row in listed if whole.paths[row] not in kept]
    raise UserError(
        f"{file}: {len(dropped)} of its pictures have no annotation, the first is {dropped[0]!r}, "
        f"and data.unannotated drop has left those out of {images.source}; valid: "
        "data.unannotated keep, or a list without them"
    ) from None


def _class_rates(
    name: str, rate: float | dict[str, float], classes: tuple[str, ...]
) -> float | list[float]:
    if not isinstance(rate, dict):
        return rate
    unknown = sorted(set(rate) - set(classes))
    if unknown:
        raise UserError(f"data.{name}: no class {unknown[0]!r}; {closest(unknown[0], classes)}")
    return [rate.get(name, 0.0) for name in classes]


@dataclass(frozen=True)
class TrainingData:
    """What training may see, and apart from it what it may not.

    Attributes:
        train: pictures with their observed labels.
        validation: held-out pictures with their observed labels; None if nothing is held out.
        rows: rows of the training split that ``train`` holds, in their order. A protocol may leave
            out pictures: these are in neither part, without a known label in ``manifest``.
        validation_rows: those that ``validation`` holds; None if it is no part of that split.
        manifest: what was hidden or flipped, over all rows of the training split; for the file
            ``label_manifest.npz`` alone.
        validation_manifest: the same over ``validation`` where that is no part of the training
            split; for the file ``label_manifest_val.npz`` alone.
    """

    train: LabelledImages
    validation: LabelledImages | None
    rows: np.ndarray
    validation_rows: np.ndarray | None
    manifest: LabelManifest
    validation_manifest: LabelManifest | None = None


def training_data(config: DataConfig, *, seed: int) -> TrainingData:
    """Read the training split, hide labels by the protocol, hold out the validation part.

    The labels are hidden before the split, over all rows in their order, so that the mask is the
    published one. Rows of a CSV file's own split ``val`` lose labels by the same protocol. A
    positive-only list defines both parts: what it does not name is left out.

    Raises:
        UserError: see `read_split` and `keep_listed`; or the validation part or the rest would be
            empty.
    """
    seen = read_split(config, "train")
    if config.protocol == "positive-list":
        rows, manifest = _observe_list(seen, config)
    else:
        rows, manifest = np.arange(len(seen)), observe(seen.labels, config, seen.classes)
    if config.csv is not None and has_split(Path(config.csv), "val"):
        validation = read_split(config, "val", classes=seen.classes)
        changed = observe(validation.labels, config, validation.classes)
        return TrainingData(seen, validation, rows, None, manifest, changed)
    if config.validation == 0:
        return TrainingData(_moved_up(seen, rows), None, rows, None, manifest)
    held_out = round(config.validation * len(rows))
    if not 0 < held_out < len(rows):
        raise UserError(
            f"data.validation {config.validation} of {len(rows)} pictures leaves no picture on "
            "one side"
        )
    order = np.random.RandomState(seed).permutation(len(rows))
    held, rest = rows[np.sort(order[:held_out])], rows[np.sort(order[held_out:])]
    validation = seen.subset(held)
    return TrainingData(_moved_up(seen, rest), validation, rest, held, manifest)


def _moved_up(images: LabelledImages, rows: np.ndarray) -> LabelledImages:
    """The given ascending rows, their labels moved to the front of the same matrix."""
    labels = images.labels[: len(rows)]
    for block in row_blocks(labels.shape):  # rows[i] >= i: none is overwritten before it is read
        labels[block] = images.labels[rows[block]]
    return dataclasses.replace(images, paths=images.paths[rows], labels=labels)
