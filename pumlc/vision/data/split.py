"""Read a split of a data set, hide labels from training, and hold out a part."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pumlc.errors import UserError, warn_user
from pumlc.labels import (
    UNKNOWN,
    LabelManifest,
    LabelMatrix,
    PackedLabels,
    SparseLabels,
    SparseManifest,
    compare,
)
from pumlc.labels.manifest import restored_labels
from pumlc.labels.sparse import positives_of
from pumlc.labels.sparse_manifest import compare_sparse
from pumlc.progress import working
from pumlc.vision.data.bad_pictures import BadRow, restored
from pumlc.vision.data.config import DataConfig, formats_with
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.observe import observe, observe_sparse
from pumlc.vision.data.partition import hold_out
from pumlc.vision.data.positive_list import keep_listed

Manifest = LabelManifest | SparseManifest


def read_split(
    config: DataConfig,
    split: str,
    *,
    classes: tuple[str, ...] | None = None,
    skipped: Sequence[BadRow] = (),
) -> LabelledImages:
    """Read one split of the data set that a config names, with all of its labels.

    Args:
        config: names the data set; its protocol plays no part.
        split: name of the split.
        classes: the classes of a trained model, which the data set must have.
        skipped: the list of skipped pictures of a run; those that the split no longer has are put
            back (`restored`).

    Raises:
        UserError: see the readers; or the classes differ from ``classes``.
    """
    reader = config.data_set.reader
    with working(f"reading the split {split} of {config.name} in {config.root}"):
        images = reader.read(Path(config.root), split, config.options, classes)
    if classes is not None and images.classes != classes:
        different = sorted(set(images.classes) ^ set(classes)) or "their order"
        raise UserError(
            f"{images.source}: its classes are not those of the model; the difference: {different}"
        )
    return dataclasses.replace(
        restored(images, [row for row in skipped if row.split == split]),
        max_pixels=config.max_pixels,
        bad_pictures=config.bad_pictures,
        bad_share=config.bad_share,
    )


@dataclass(frozen=True)
class TrainingData:
    """The data that training may see; only the manifests record the true labels.

    Attributes:
        train: pictures with their observed labels.
        validation: held-out pictures with their observed labels; None if nothing is held out.
        rows: rows of the training split that ``train`` holds, in its order. A protocol may leave
            out pictures: these are in neither part and have no known label in ``manifest``.
        validation_rows: rows of the training split that ``validation`` holds; None if it is not a
            part of that split.
        manifest: which labels were hidden or flipped, over all rows of the training split; only for
            the file ``label_manifest.npz``.
        validation_manifest: the same for ``validation``, if that is not a part of the training
            split; only for the file ``label_manifest_val.npz``.
    """

    train: LabelledImages
    validation: LabelledImages | None
    rows: np.ndarray
    validation_rows: np.ndarray | None
    manifest: Manifest
    validation_manifest: Manifest | None = None


def training_data(config: DataConfig, *, seed: int, skipped: Sequence[BadRow] = ()) -> TrainingData:
    """Read the training split, hide labels by the protocol, hold out the validation part.

    The labels are hidden before a part is held out, over all rows in their order, so that the mask
    is the published one. If the files have a split to hold out (``val`` of a CSV file), that is the
    validation part, and its labels are hidden by the same protocol. A positive-only list defines
    both parts: pictures that it does not name are left out.

    Args:
        config: data set, protocol, and the proportion to hold out.
        seed: chooses the held-out part.
        skipped: the list of skipped pictures of an existing run, see `read_split`.

    Raises:
        UserError: see `read_split` and `keep_listed`; or the validation part or the rest would be
            empty.
    """
    _warn_of_idle_options(config)
    if config.protocol == "positive-list":
        images, rows, manifest = _listed(config, skipped)
        whole = images
    else:
        whole = read_split(config, "train", skipped=skipped)
        images, manifest = _observed(whole, config)
        rows = np.arange(len(images))
    if _has_own_validation(config):
        assert config.data_set.held_out is not None
        held_out = config.data_set.held_out
        own = read_split(config, held_out, classes=images.classes, skipped=skipped)
        validation, validation_manifest = _observed(own, config)
        return TrainingData(images, validation, rows, None, manifest, validation_manifest)
    if config.validation == 0:
        train = images if len(rows) == len(images) else images.subset(rows)
        return TrainingData(train, None, rows, None, manifest)
    if images.groups is None:
        held, rest = _held_out(rows, config.validation, seed)
    else:
        # by the labels of the file: the part is the same whatever a protocol hides
        held, rest = _held_out_groups(whole, rows, config.validation, seed)
    return TrainingData(images.subset(rest), images.subset(held), rest, held, manifest)


def true_rows(
    data: TrainingData, config: DataConfig, part: Literal["train", "validation"]
) -> tuple[str, np.ndarray, LabelMatrix]:
    """The split, the rows and the true labels of a part.

    Args:
        data: the data of the run.
        config: its settings.
        part: a part that it has.

    Returns:
        The split that the part comes from, its rows there, and the true labels [N, C] of the split.
    """
    if part == "validation" and data.validation_rows is None:
        assert data.validation is not None
        assert data.validation_manifest is not None
        assert config.data_set.held_out is not None
        labels = restored_labels(data.validation_manifest, data.validation.matrix)
        return config.data_set.held_out, np.arange(len(labels)), labels
    rows = data.rows if part == "train" else data.validation_rows
    assert rows is not None
    if isinstance(data.manifest, SparseManifest):
        return "train", rows, data.manifest.truth
    observed = np.full(data.manifest.shape, UNKNOWN, np.int8)  # rows in neither part stay unknown
    observed[data.rows] = data.train.labels
    if data.validation is not None and data.validation_rows is not None:
        observed[data.validation_rows] = data.validation.labels
    return "train", rows, data.manifest.restore(observed)


def _has_own_validation(config: DataConfig) -> bool:
    """Whether the files have a split that serves as the validation part."""
    data_set = config.data_set
    if data_set.held_out is None:
        return False
    return data_set.held_out in data_set.reader.splits(Path(config.root), config.options)


def _observed(images: LabelledImages, config: DataConfig) -> tuple[LabelledImages, Manifest]:
    """The pictures with the labels that a run may see."""
    labels, classes, seed = images.matrix, images.classes, config.label_seed
    if isinstance(labels, SparseLabels):
        observed, manifest = observe_sparse(labels, config, classes, seed=seed)
    else:
        observed, manifest = observe(labels, config, classes, seed=seed)
    return dataclasses.replace(images, matrix=observed), manifest


def _held_out(rows: np.ndarray, proportion: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows that are held out and the others, both ascending.

    Raises:
        UserError: one of the two would be empty.
    """
    count = round(proportion * len(rows))
    if not 0 < count < len(rows):
        raise UserError(
            f"data.validation {proportion} of {len(rows)} pictures leaves the held-out part or the "
            "rest empty"
        )
    order = np.random.RandomState(seed).permutation(len(rows))
    return rows[np.sort(order[:count])], rows[np.sort(order[count:])]


def _held_out_groups(
    images: LabelledImages, rows: np.ndarray, proportion: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same with whole groups on one side, stratified over the labels of the file."""
    chosen = images.subset(rows)
    held = hold_out(
        positives_of(chosen.matrix),
        proportion,
        groups=chosen.groups,
        seed=seed,
        what="data.validation",
    )
    return rows[held], np.delete(rows, held)


def _listed(
    config: DataConfig, skipped: Sequence[BadRow]
) -> tuple[LabelledImages, np.ndarray, Manifest]:
    """The training split with the labels of the positive-only list, and the rows that it names."""
    assert config.positive_list is not None
    images = read_split(config, "train", skipped=skipped)
    file, root = Path(config.positive_list), Path(config.root)
    try:
        labels, rows = keep_listed(images, file, root)
    except UserError as error:
        if "unannotated" in config.data_set.option_names and config.unannotated == "drop":
            _refuse_list_of_dropped(images, config, file, error)
        raise
    made: dict[str, Any] = {
        "protocol": config.protocol,
        "seed": config.label_seed,
        "parameters": {"positive_list": config.positive_list},
    }
    if isinstance(labels, SparseLabels):
        assert isinstance(images.matrix, SparseLabels)
        manifest = compare_sparse(images.matrix, labels, **made)
    else:
        manifest = compare(PackedLabels.pack(images.labels), labels, **made)
    return dataclasses.replace(images, matrix=labels), rows, manifest


def _refuse_list_of_dropped(
    images: LabelledImages, config: DataConfig, file: Path, error: UserError
) -> None:
    """Explain the error if the list fits all pictures, but not those with an annotation."""
    whole = read_split(dataclasses.replace(config, unannotated="keep"), "train")
    try:
        _, listed = keep_listed(whole, file, Path(config.root))
    except UserError:
        return  # the list has another fault, the one that the caller raises
    kept = set(images.paths)
    dropped = [whole.path(row).name for row in listed if whole.paths[row] not in kept]
    raise UserError(
        f"{file}: {len(dropped)} of its pictures have no annotation, the first is {dropped[0]!r}, "
        f"and data.unannotated drop has left those out of {images.source}; valid: "
        "data.unannotated keep, or a list without them"
    ) from error


def _warn_of_idle_options(config: DataConfig) -> None:
    """Warn of policies of other formats; a recipe may have them, so they are no error."""
    for name in config.idle_options():
        warn_user(
            f"data.{name} {getattr(config, name)} has no effect with data.name {config.name}: it "
            f"is a setting of {', '.join(formats_with(name))}"
        )
