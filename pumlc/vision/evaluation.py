"""Evaluation of an image run: all metrics of every saved set of weights, named by definition."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from accelerate import Accelerator

from pumlc.engine.config import require
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.labels import NEGATIVE
from pumlc.metrics import (
    average_precision,
    expected_calibration_error,
    mean_average_precision,
    oracle_thresholds,
    precision_recall_f1,
)
from pumlc.progress import ShowProgress
from pumlc.vision.config import DataConfig
from pumlc.vision.data.bad_pictures import BadPictures, read_bad_rows
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.seen import count_seen, fingerprints
from pumlc.vision.data.split import read_split, training_data
from pumlc.vision.evaluation_report import report
from pumlc.vision.frozen.scoring import frozen_logits
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.scoring import (
    labels_as_validated,
    probabilities_of,
    refuse_one_sided,
    score_images,
)

__all__ = [
    "DEFINITIONS",
    "OPTIONS",
    "evaluate_run",
    "logits_of",
    "measure",
    "measured_labels",
    "other_place",
    "refuse_unfit_test",
    "report",
    "split_of_run",
]

DEFINITIONS = ("sklearn", "asl", "voc2007", "voc2012")
# options of `evaluate_run` and `report` that a text run does not have
OPTIONS = frozenset(
    {
        *("csv", "labels", "classes", "positive_list", "unlisted", "bad_pictures"),
        *("oracle", "per_class"),
    }
)


def evaluate_run(
    run_dir: Path | str,
    accelerator: Accelerator,
    *,
    split: str = "test",
    weights: Sequence[str] | None = None,
    root: str | None = None,
    csv: str | None = None,
    labels: str | None = None,
    positive_list: str | None = None,
    unlisted: Literal["unknown", "negative"] | None = None,
    bad_pictures: Literal["error", "skip"] | None = None,
    classes: Sequence[str] | None = None,
    oracle: bool = False,
    batch_size: int = 64,
    workers: int | None = None,
    progress: ShowProgress | None = None,
) -> dict[str, Any]:
    """Score a split with each set of saved weights of a run.

    Args:
        run_dir: the run folder.
        accelerator: devices and processes.
        split: split of the data set; its labels are used as they are, none is hidden. Also
            "validation": the part that the run held out, with the labels it saw, measured as in
            training (`labels_as_validated`).
        weights: names of saved weights; by default all of them, one row each.
        root: folder of the data, if they have moved; by default that of the run.
        csv: another CSV file, which becomes the data set.
        labels: another label file or folder, which becomes the data set.
        positive_list: place of the run's list, if it has moved; for "validation".
        unlisted: CSV: what it means that a row of the split does not list a class; by default as in
            the settings of the run (``unlisted_test`` for the split test, else ``unlisted``).
        bad_pictures: what to do with pictures that cannot be read; by default as in the run.
        classes: also report the mean over these classes.
        oracle: also report thresholds fitted on the labels of this very split, named as such.
        batch_size: pictures per batch of a process.
        workers: threads that read pictures; 0: only this one; None: one per core.
        progress: called with the name of what is scored, the pictures done, and their number.

    Returns:
        Plain JSON. ``bad_pictures`` lists the skipped pictures. For the others it has N, classes,
        the number of unknown labels that are left out, the known labels of each class, and how many
        pictures the run has trained on or held out (``seen``, by their names). For each set of
        weights it has mAP under each definition (percent), AP of each class (percent, None without
        a positive), and precision, recall and F1 of each decision rule. Thresholds come from the
        validation part of the run, never from this split, unless ``oracle`` asks for those too.
        ``preferred`` names the weights that `RunFolder.preferred_weights` chooses, if they were
        evaluated. None stands for a missing number.

    Raises:
        UserError: There is no such run, weights, split or class; ``positive_list`` is given with a
            split other than "validation"; or the split has no known positive or no known negative
            label, so that no ranking can be wrong.
    """
    require(
        positive_list is None or split == "validation",
        "data.positive_list",
        positive_list,
        f"left out with split {split}, whose labels are those of the data set",
    )
    run = RunFolder(run_dir)
    names = list(weights) if weights else list(run.index())
    if not names:
        raise UserError(f"{run.path} has no saved weights yet: no epoch of it is finished")
    results: dict[str, Any] = {
        "run": str(run.path),
        "split": split,
        **run.preference(names),
        "weights": {},
    }
    images: LabelledImages | None = None
    for name in names:
        predictor = VisionPredictor(run.path, name, device=str(accelerator.device))
        if images is None:
            data = other_place(
                predictor.config.data,
                root,
                csv,
                unlisted,
                positive_list,
                bad_pictures,
                labels=labels,
            )
            images = split_of_run(data, split, predictor)
            refuse_one_sided(images, measured_labels(images, split)[0], split, data.name)
        bad = BadPictures(images)
        shown = None if progress is None else partial(progress, f"{split}, weights {name}")
        logits = logits_of(predictor, images, accelerator, batch_size, workers, bad, shown)
        if not results["weights"]:
            rest = bad.rest()
            # the other weights are measured on the same pictures
            images, logits = replace(images.subset(rest), bad_pictures="error"), logits[rest]
            results |= {"bad_pictures": bad.named(), **_described(images, split, run, data.root)}
        if not np.isfinite(logits).all():
            raise UserError(
                f"{run.path}: weights {name!r} give logits that are not finite: the training has "
                "diverged"
            )
        truth, _ = measured_labels(images, split)
        entry = measure(logits, truth, images.classes, predictor, classes, oracle=oracle)
        entry["global_threshold_in"] = list(predictor.global_in)
        results["weights"][name] = {"epoch": run.index()[name]["epoch"], **entry}
    return _without_nan(results)


def refuse_unfit_test(data: DataConfig, classes: tuple[str, ...]) -> None:
    """Refuse a test split that an evaluation would refuse, before training.

    Its labels decide nothing else. A split that is missing or cannot be read is no error here:
    training needs none.

    Args:
        data: names the data set.
        classes: the trained classes.

    Raises:
        UserError: The test split has other classes, or labels by which nothing can be measured.
    """
    try:
        test = read_split(data, "test")
    except UserError:
        return
    if test.classes != classes:
        different = sorted(set(test.classes) ^ set(classes)) or "their order"
        raise UserError(
            f"{test.source}: the split test has other classes than train, so the run could not be "
            f"evaluated; the difference: {different}"
        )
    refuse_one_sided(test, test.matrix, "test", data.name)


def measured_labels(images: LabelledImages, split: str) -> tuple[np.ndarray, int]:
    """The labels [N, C] to measure a split by, and in how many classes unknown became negative."""
    return labels_as_validated(images.labels) if split == "validation" else (images.labels, 0)


def _described(images: LabelledImages, split: str, run: RunFolder, root: str) -> dict[str, Any]:
    """The part of a result that describes the evaluated pictures."""
    labels, changed = measured_labels(images, split)
    return {
        "source": images.source,
        "N": len(images),
        "classes": len(images.classes),
        "classes_without_negative": int((labels.min(axis=0) != NEGATIVE).sum()),
        "classes_unknown_as_negative": changed,
        "unknown_labels": replace(images, matrix=labels).counts()["unknown"],
        "known_labels": _known_labels(images),
        "seen": count_seen(run.path / "pictures.npz", images, root),
        "untrained_classes": run.read().get("untrained_classes", []),
    }


def _without_nan(value: Any) -> Any:
    """The same value with None for nan, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


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


def logits_of(
    predictor: VisionPredictor,
    images: LabelledImages,
    accelerator: Accelerator,
    batch_size: int,
    workers: int | None,
    bad: BadPictures,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Logits [N, C] of pictures: by the whole network, or by its head on cached features.

    For the arguments see `score_images`; a bad picture has a row of nan.
    """
    if predictor.config.is_frozen:
        return frozen_logits(
            predictor.model,
            images,
            predictor.config.features,
            accelerator,
            batch_size=batch_size,
            bad=bad,
        )
    return score_images(
        predictor.model,
        images,
        accelerator,
        batch_size=batch_size,
        workers=workers,
        bad=bad,
        progress=progress,
    )


def measure(
    logits: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    predictor: VisionPredictor,
    subset: Sequence[str] | None = None,
    *,
    oracle: bool = False,
) -> dict[str, Any]:
    """All metrics of one set of logits.

    Args:
        logits: [N, C].
        labels: [N, C] in {1, 0, -1}.
        class_names: C names.
        predictor: gives the fitted thresholds.
        subset: names of classes for a further mean.
        oracle: also decide by thresholds fitted on ``labels`` themselves.

    Returns:
        One entry of ``weights`` in the result of `evaluate_run`.

    Raises:
        UserError: ``subset`` names an unknown class.
    """
    each = 100 * average_precision(logits, labels)
    result: dict[str, Any] = {
        "mAP": {
            definition: mean_average_precision(logits, labels, definition=definition)
            for definition in DEFINITIONS
        },
        "classes_averaged": int((~np.isnan(each)).sum()),
        "AP": {
            name: None if math.isnan(value) else float(value)
            for name, value in zip(class_names, each, strict=True)
        },
    }
    if subset:
        columns = [_column(name, class_names) for name in subset]
        result["mAP_of_classes"] = {
            "classes": list(subset),
            "sklearn": mean_average_precision(
                logits[:, columns], labels[:, columns], definition="sklearn"
            ),
        }
    probabilities = probabilities_of(logits)
    rules: dict[str, dict[str, Any]] = {"threshold 0.5": {"threshold": 0.5}}
    if predictor.fitted:
        where = f"fitted on {predictor.fitted_on}"
        rules[f"threshold {where}"] = {"threshold": predictor.global_threshold}
        rules[f"thresholds per class {where}"] = {"threshold": predictor.thresholds}
    if oracle:
        for name, per_class in (("threshold", False), ("thresholds per class", True)):
            fitted = oracle_thresholds(probabilities, labels, per_class=per_class)
            rules[f"oracle {name}, fitted on these very labels"] = {"threshold": fitted}
    if len(class_names) > 3:
        rules["top 3"] = {"top_k": 3}
    result["ECE"] = expected_calibration_error(probabilities, labels)
    result["decisions"] = {
        name: precision_recall_f1(probabilities, labels, **rule) for name, rule in rules.items()
    }
    return result


def _known_labels(images: LabelledImages) -> dict[str, dict[str, int]]:
    """The numbers of positive and negative labels of each class."""
    counts = images.class_counts()
    pairs = zip(counts["positive"].tolist(), counts["negative"].tolist(), strict=True)
    return {
        name: {"positive": positive, "negative": negative}
        for name, (positive, negative) in zip(images.classes, pairs, strict=True)
    }


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
        root, csv, unlisted, positive_list, bad_pictures, labels: see `evaluate_run`; None: as in
            the settings.

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
    if unlisted is None:
        return data
    if data.name not in ("csv", "labels"):
        raise UserError(
            f"data.unlisted is for CSV files; the data set {data.name} defines itself what an "
            "unlisted label means"
        )
    return replace(data, unlisted=unlisted, unlisted_test=unlisted)


def _column(name: str, class_names: Sequence[str]) -> int:
    if name not in class_names:
        raise UserError(f"unknown class {name!r}; valid: {', '.join(class_names)}")
    return list(class_names).index(name)
