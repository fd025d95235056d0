"""Evaluation of an image run: all metrics of every saved set of weights, named by definition."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from accelerate import Accelerator
from scipy.sparse import issparse

from pumlc.engine.config import require
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.estimators.fitted_labels import label_counts
from pumlc.metrics import (
    average_precision,
    expected_calibration_error,
    mean_average_precision,
    oracle_thresholds,
    precision_recall_f1,
)
from pumlc.progress import ShowProgress
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.seen import count_seen
from pumlc.vision.evaluation_report import report
from pumlc.vision.frozen.scoring import frozen_logits, known_frozen_logits
from pumlc.vision.known_logits import TOP, KnownLogits, score_known
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.run_data import measured_labels, other_place, split_of_run
from pumlc.vision.scoring import probabilities_of, refuse_one_sided, score_images

__all__ = [
    "DEFINITIONS",
    "OPTIONS",
    "evaluate_run",
    "logits_of",
    "measure",
    "report",
]

DEFINITIONS = ("sklearn", "asl", "voc2007", "voc2012")
"""The definitions of average precision that an evaluation reports."""
OPTIONS = frozenset(
    {
        *("csv", "labels", "classes", "positive_list", "unlisted", "bad_pictures"),
        *("oracle", "per_class"),
    }
)
"""Options of `evaluate_run` and `report` that a text run does not have."""


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
            training (`measured_labels`).
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
    truth: Any = None
    changed = 0
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
            truth, changed = measured_labels(images, split)
            refuse_one_sided(images, truth, split, data.name)
        bad = BadPictures(images)
        shown = None if progress is None else partial(progress, f"{split}, weights {name}")
        logits = logits_of(
            predictor, images, accelerator, batch_size, workers, bad, shown, known=truth
        )
        if not results["weights"]:
            rest = bad.rest()
            # the other weights are measured on the same pictures
            images = replace(images.subset(rest), bad_pictures="error")
            if isinstance(logits, KnownLogits):
                logits, truth = logits.subset(rest), truth[rest]
            else:
                logits, (truth, changed) = logits[rest], measured_labels(images, split)
            described = _described(images, truth, changed, run, data.root)
            results |= {"bad_pictures": bad.named(), **described}
        stored = logits.logits.data if isinstance(logits, KnownLogits) else logits
        if not np.isfinite(stored).all():
            raise UserError(
                f"{run.path}: weights {name!r} give logits that are not finite: the training has "
                "diverged"
            )
        entry = measure(logits, truth, images.classes, predictor, classes, oracle=oracle)
        entry["global_threshold_in"] = list(predictor.global_in)
        results["weights"][name] = {"epoch": run.index()[name]["epoch"], **entry}
    return _without_nan(results)


def _described(
    images: LabelledImages, labels: Any, changed: int, run: RunFolder, root: str
) -> dict[str, Any]:
    """The part of a result that describes the evaluated pictures."""
    known = labels.nnz if issparse(labels) else np.count_nonzero(labels)
    absent = label_counts(labels)[1]
    return {
        "source": images.source,
        "N": len(images),
        "classes": len(images.classes),
        "classes_without_negative": int((absent == 0).sum()),
        "classes_unknown_as_negative": changed,
        "unknown_labels": len(images) * len(images.classes) - int(known),
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


def logits_of(
    predictor: VisionPredictor,
    images: LabelledImages,
    accelerator: Accelerator,
    batch_size: int,
    workers: int | None,
    bad: BadPictures,
    progress: Callable[[int, int], None] | None = None,
    *,
    known: Any = None,
) -> Any:
    """Logits [N, C] of pictures: by the whole network, or by its head on cached features.

    For the arguments see `score_images`; a bad picture has a row of nan. With ``known``, labels as
    CSR, they are `KnownLogits`.
    """
    settings: dict[str, Any] = {"batch_size": batch_size, "bad": bad, "progress": progress}
    if predictor.config.is_frozen:
        score, settings["config"] = frozen_logits, predictor.config.features
    else:
        score, settings["workers"] = score_images, workers
    if not issparse(known):
        return score(predictor.model, images, accelerator=accelerator, **settings)
    score = known_frozen_logits if predictor.config.is_frozen else score_known
    settings["probabilities"] = predictor.probabilities
    return score(predictor.model, images, known, accelerator=accelerator, **settings)


def measure(
    logits: Any,
    labels: Any,
    class_names: Sequence[str],
    predictor: VisionPredictor,
    subset: Sequence[str] | None = None,
    *,
    oracle: bool = False,
) -> dict[str, Any]:
    """All metrics of one set of logits.

    Args:
        logits: [N, C]; or `KnownLogits`.
        labels: [N, C] in {1, 0, -1}; or CSR with the cells of these.
        class_names: C names.
        predictor: gives the fitted thresholds.
        subset: names of classes for a further mean.
        oracle: also decide by thresholds fitted on ``labels`` themselves.

    Returns:
        One entry of ``weights`` in the result of `evaluate_run`.

    Raises:
        UserError: ``subset`` names an unknown class.
    """
    in_top = None
    if isinstance(logits, KnownLogits):
        logits, in_top = logits.logits, logits.in_top
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
    probabilities = predictor.probabilities(logits)
    rules: dict[str, dict[str, Any]] = {"threshold 0.5": {"threshold": 0.5}}
    if predictor.fitted:
        where = f"fitted on {predictor.fitted_on}"
        rules[f"threshold {where}"] = {"threshold": predictor.global_threshold}
        rules[f"thresholds per class {where}"] = {"threshold": predictor.thresholds}
    if oracle:
        for name, per_class in (("threshold", False), ("thresholds per class", True)):
            fitted = oracle_thresholds(probabilities, labels, per_class=per_class)
            rules[f"oracle {name}, fitted on these very labels"] = {"threshold": fitted}
    result["ECE"] = expected_calibration_error(probabilities, labels)
    if predictor.calibrated_on:
        uncalibrated = expected_calibration_error(probabilities_of(logits), labels)
        result |= {"ECE_uncalibrated": uncalibrated, "calibrated_on": predictor.calibrated_on}
    result["decisions"] = {
        name: precision_recall_f1(probabilities, labels, **rule) for name, rule in rules.items()
    }
    if len(class_names) > TOP:
        # what is known of very many labels lacks the rest of its row, by which the top was found
        top = (probabilities, {"top_k": TOP}) if in_top is None else (in_top, {"threshold": 1})
        result["decisions"][f"top {TOP}"] = precision_recall_f1(top[0], labels, **top[1])
    return result


def _known_labels(images: LabelledImages) -> dict[str, dict[str, int]]:
    """The numbers of positive and negative labels of each class."""
    counts = images.class_counts()
    pairs = zip(counts["positive"].tolist(), counts["negative"].tolist(), strict=True)
    return {
        name: {"positive": positive, "negative": negative}
        for name, (positive, negative) in zip(images.classes, pairs, strict=True)
    }


def _column(name: str, class_names: Sequence[str]) -> int:
    if name not in class_names:
        raise UserError(f"unknown class {name!r}; valid: {', '.join(class_names)}")
    return list(class_names).index(name)
