"""The data that a run is evaluated on: their place, a split of them, the labels to measure by."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from pumlc.engine.config import require
from pumlc.errors import UserError
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
    """The data of a run where they are now: another folder, another CSV file.

    Args:
        data: the settings of the run.
        root, csv, unlisted, positive_list, bad_pictures, labels: see
            `pumlc.vision.evaluation.evaluate_run`; None: as in the settings.

    Raises:
        UserError: ``unlisted`` for a data set that is no CSV file, ``positive_list`` for a run
            that was not trained with one or together with ``csv``; ``csv`` and ``labels``.
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
    if elsewhere and data.protocol == "positive-list":  # of the run's pictures; these are others
        changes.update(protocol="proportion", positive_list=None)
    data = replace(data, **changes)
    if unlisted is None:
        return data
    if data.name not in ("csv", "labels"):
        raise UserError(
            f"data.unlisted is of CSV files; the data set is {data.name}, where what is not listed "
            "is defined"
        )
    return replace(data, unlisted=unlisted, unlisted_test=unlisted)


def split_of_run(data: DataConfig, split: str, predictor: VisionPredictor) -> LabelledImages:
    """A split of a run's data; "validation": what the run held out, if it is still the same.

    Raises:
        UserError: it is not, there is no such split, or its classes are others than the run's.
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
        raise UserError(f"{held_out.source}: other classes than the model's: {held_out.classes}")
    return held_out


def measured_labels(images: LabelledImages, split: str) -> tuple[np.ndarray, int]:
    """The labels that a split is measured by, and in how many classes unknown became negative."""
    return labels_as_validated(images.labels) if split == "validation" else (images.labels, 0)


def refuse_unfit_test(data: DataConfig, classes: tuple[str, ...]) -> None:
    """Refuse a test split that an evaluation would refuse, before the training that it is for.

    Its labels decide nothing else. A split that is not there, or cannot be read, is left to the
    evaluation: training needs none.

    Args:
        data: names the data set.
        classes: those that are trained.

    Raises:
        UserError: the split test has other classes, or labels by which nothing can be measured.
    """
    try:
        test = read_split(data, "test")
    except UserError:
        return
    if test.classes != classes:
        different = sorted(set(test.classes) ^ set(classes)) or "their order"
        raise UserError(
            f"{test.source}: other classes in the split test than in train, so that nothing could "
            f"be evaluated: {different}"
        )
    refuse_one_sided(test, test.labels, "test", data.name)
