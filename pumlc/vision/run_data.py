"""The data that a run is evaluated on: their place, a split of them, the labels to measure by."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pumlc.engine.config import require
from pumlc.errors import UserError, warn_user
from pumlc.labels import SparseLabels
from pumlc.vision.config import DataConfig
from pumlc.vision.data.bad_pictures import read_bad_rows
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.seen import fingerprints
from pumlc.vision.data.split import read_split, training_data
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.scoring import labels_as_validated, refuse_one_sided


def other_place(
    data: DataConfig,
    root: str | None,
    csv: str | None,
    unlisted: str | None = None,
    positive_list: str | None = None,
    bad_pictures: Literal["error", "skip"] | None = None,
    *,
    labels: str | None = None,
) -> DataConfig:
    """The data settings of a run, with the place where the data are now.

    Args:
        data: the settings of the run.
        root, csv, unlisted, positive_list, bad_pictures, labels: see
            `pumlc.vision.evaluation.evaluate_run`; None: as in the settings.

    Raises:
        UserError: ``csv`` and ``labels`` are both given; ``unlisted`` is given for a data set that
            is not a CSV file; ``positive_list`` is given together with ``csv``, or for a run that
            was trained without a list.
    """
    require(csv is None or labels is None, "data.csv", csv, "left out with data.labels")
    changes: dict[str, Any] = {}
    if positive_list is not None:
        if data.protocol != "positive-list":
            raise UserError(
                f"data.positive_list {positive_list}: the run was trained with data.protocol "
                f"{data.protocol}, not with a list"
            )
        require(
            csv is None,
            "data.positive_list",
            positive_list,
            "left out with data.csv, whose rows are a list already",
        )
        changes["positive_list"] = positive_list
    if bad_pictures is not None:
        changes["bad_pictures"] = bad_pictures
    if root is not None:
        changes["root"] = root
    if csv is not None:
        changes.update(csv=csv, name="csv", labels=None)
    if labels is not None:
        changes["labels"] = labels
    elsewhere = csv is not None or labels is not None
    if elsewhere and data.protocol == "positive-list":  # the list names the pictures of the run
        changes.update(protocol="proportion", positive_list=None)
    data = replace(data, **changes)
    named = "labels" if data.labels is not None else "csv"
    file = getattr(data, named)
    if not elsewhere and file is not None and not Path(file).exists():
        raise UserError(
            f"{file}: no such file or folder; the run was trained on it. If it has moved, or this "
            f"is another folder than then, name it with data.{named} (and its pictures with "
            "data.root)"
        )
    if unlisted is None:
        return data
    if data.name not in ("csv", "labels"):
        raise UserError(
            f"data.unlisted is for CSV files; the data set {data.name} defines itself what an "
            "unlisted label means"
        )
    return replace(data, unlisted=unlisted, unlisted_test=unlisted)


def split_of_run(data: DataConfig, split: str, predictor: VisionPredictor) -> LabelledImages:
    """A split of a run's data, or the part that the run held out.

    Args:
        data: the data of the run, where they are now.
        split: its name; "validation": the held-out part.
        predictor: the run.

    Raises:
        UserError: There is no such split, the held-out part has changed since, or the classes are
            not those of the run.
    """
    if split != "validation":
        return read_split(data, split, classes=predictor.labels)
    skipped = read_bad_rows(predictor.run.path)
    parts = training_data(data, seed=predictor.config.train.seed, skipped=skipped)
    held_out = parts.validation
    if held_out is None:
        raise UserError(f"no split 'validation': {predictor.run.path} held nothing out")
    current = fingerprints(parts)
    if predictor.run.read().get("data", current) != current:
        raise UserError(
            f"{held_out.source}: pictures or labels are not those that {predictor.run.path} was "
            "trained and validated on"
        )
    if held_out.classes != predictor.labels:
        raise UserError(
            f"{held_out.source}: its classes {held_out.classes} are not those of "
            f"{predictor.run.path}: {predictor.labels}"
        )
    return held_out


def measured_labels(images: LabelledImages, split: str) -> tuple[Any, int]:
    """The labels [N, C] to measure a split by, and in how many classes unknown became negative.

    Of very many labels they are CSR with the known ones alone.
    """
    if split == "validation":
        return labels_as_validated(images.matrix)
    matrix = images.matrix
    return (matrix.known() if isinstance(matrix, SparseLabels) else matrix), 0


def refuse_unfit_test(data: DataConfig, classes: tuple[str, ...]) -> None:
    """Refuse a test split that an evaluation would refuse, before training.

    Its labels decide nothing else. Training needs no test split: one that is missing or cannot be
    read is a warning, and nothing if the data set says that it has none.

    Args:
        data: names the data set.
        classes: the trained classes.

    Raises:
        UserError: The test split has other classes, or labels by which nothing can be measured.
    """
    reader = data.data_set.reader
    if "test" not in reader.splits(Path(data.root), data.options):
        return
    try:
        test = read_split(data, "test")
    except UserError as error:
        warn_user(f"the split test cannot be read, so the run could not be evaluated: {error}")
        return
    if test.classes != classes:
        different = sorted(set(test.classes) ^ set(classes)) or "their order"
        raise UserError(
            f"{test.source}: the split test has other classes than train, so the run could not be "
            f"evaluated; the difference: {different}"
        )
    refuse_one_sided(test, test.matrix, "test", data.name)
