"""Logits of pictures, and their validation by known labels."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from scipy.sparse import csr_array, issparse
from torch import Tensor

from pumlc.engine.batches import gather_rows, own_rows
from pumlc.engine.selection import FEWEST
from pumlc.engine.task import Validation
from pumlc.errors import UserError
from pumlc.estimators.class_calibration import calibrate_classes
from pumlc.estimators.fitted_labels import (
    AnyLabels,
    chosen_negatives_as_unlisted,
    label_counts,
    never_absent,
)
from pumlc.estimators.logit_curve import STRAIGHT, LogitCurve
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN, SparseLabels
from pumlc.labels.known_cells import MeasuredCells, measured_cells
from pumlc.labels.sparse import has_label
from pumlc.metrics import (
    expected_thresholds,
    fit_thresholds,
    mean_average_precision,
    resample_counts,
    resampled_mean_average_precision,
)
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.loader import Pictures, batches_of, scoring_loader
from pumlc.vision.data.observation import Observation
from pumlc.vision.data.transforms import evaluation_transform, normalised

_RESAMPLES = (20, 100)
"""Fewest and most resamples of a validation part."""
_RESAMPLED_CELLS = 3e7
"""Known labels times resamples that are ranked at most, beyond the fewest: a second of one core."""


def to_device(pixels: Tensor, device: torch.device, data_config: dict[str, Any]) -> Tensor:
    """Normalise pictures on the device of the network.

    Args:
        pixels: [B, H, W, 3] uint8.
        device: the device of the network.
        data_config: timm's ``mean`` and ``std`` of the weights.

    Returns:
        [B, 3, H, W] float32.
    """
    bytes_there = pixels.to(device, non_blocking=True)
    return normalised(bytes_there, data_config["mean"], data_config["std"])


def score_images(
    model: Any,
    images: LabelledImages,
    accelerator: Accelerator,
    *,
    batch_size: int,
    workers: int | None = None,
    bad: BadPictures | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Logits of pictures; each picture is scored exactly once, on any number of processes.

    Args:
        model: a `pumlc.vision.Classifier` on the device of ``accelerator``; scored in eval mode.
        images: the pictures; their labels play no part.
        accelerator: devices and processes.
        batch_size: pictures per batch of a process.
        workers: threads that read pictures; 0: only this one; None: one per core.
        bad: collects the pictures that cannot be read, on every process; by default only warnings
            name them.
        progress: called with the pictures that this process has done, and their total number.

    Returns:
        [N, C] float32 in the order of ``images``, on every process; nan for a bad picture.

    Raises:
        UserError: A picture is missing or cannot be decoded, and the settings do not skip it.
    """
    rows = own_rows(len(images), accelerator)
    logits = np.full((len(rows), len(images.classes)), np.nan, np.float32)
    sizes = {"batch_size": batch_size, "workers": workers}
    for keys, scored in scored_blocks(
        model, images, accelerator, **sizes, bad=bad, progress=progress
    ):
        logits[keys] = scored
    return gather_rows(logits, len(images), accelerator)


def scored_blocks(
    model: Any,
    images: LabelledImages,
    accelerator: Accelerator,
    *,
    batch_size: int,
    workers: int | None = None,
    bad: BadPictures | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """The logits of the pictures of this process, a batch at a time; see `score_images`.

    Yields:
        places in `own_rows` of the pictures that could be read, and their logits [B, C] float32.
    """
    bad = BadPictures(images) if bad is None else bad
    rows = own_rows(len(images), accelerator)
    pictures = Pictures(images, evaluation_transform(model.data_config), rows)
    was_training = model.training
    model.eval()
    done = 0
    for batch in batches_of(scoring_loader(pictures, batch_size, workers), bad):
        if batch.keys:
            with torch.inference_mode(), accelerator.autocast():
                pixels = to_device(batch.content, accelerator.device, model.data_config)
                scored = model(pixels).float().cpu().numpy()
            yield batch.keys, scored
        done = min(done + batch_size, len(rows))
        if progress is not None:
            progress(done, len(rows))
    model.train(was_training)
    if accelerator.num_processes > 1:
        bad.merge(gather_object([bad.reasons]))


def probabilities_of(
    logits: Any,
    slope: np.ndarray | float = 1.0,
    bias: np.ndarray | float = 0.0,
    curve: LogitCurve = STRAIGHT,
) -> Any:
    """Sigmoid of curve(slope * logits + bias), in float64: in float32 large logits would tie at 1.

    Args:
        logits: any shape; or CSR [N, C], of which the stored ones are meant.
        slope: above 0, of each class or of all.
        bias: the same.
        curve: the same for all classes.
    """
    from scipy.special import expit

    if issparse(logits):
        each = (
            np.broadcast_to(number, logits.shape[1])[logits.indices] for number in (slope, bias)
        )
        values = probabilities_of(logits.data, *each, curve=curve)
        return csr_array((values, logits.indices, logits.indptr), shape=logits.shape)
    return expit(curve(np.asarray(logits, np.float64) * slope + bias))


def as_listed(labels: AnyLabels, observation: Observation) -> AnyLabels:
    """The labels, where a few that people have decided to be absent count as unlisted.

    Args:
        labels: [N, C] in {1, 0, -1}, or sparse; not changed.
        observation: the settings of the run; labels that a protocol hides are drawn, and stay.
    """
    return labels if observation.hides_labels else chosen_negatives_as_unlisted(labels)


def labels_as_validated(labels: Any) -> tuple[Any, int]:
    """The labels by which a validation part is measured.

    If the known labels of a class are all positive, its average precision over known labels is 1
    for every ranking. So in such a class unknown counts as negative.

    Args:
        labels: [N, C] in {1, 0, -1}; not changed.

    Returns:
        The labels [N, C], and the number of classes in which unknown became negative. Of
        `SparseLabels` CSR with the known labels alone, see `measured_cells`.
    """
    if isinstance(labels, SparseLabels):
        cells = measured_cells(labels)
        return cells.labels, int(cells.alone.sum())
    positives_only = never_absent(labels)
    if not positives_only.any():
        return labels, 0
    changed = np.where(positives_only & (labels == UNKNOWN), NEGATIVE, labels)
    return changed, int(positives_only.sum())


def validate_logits(logits: Any, labels: Any) -> Validation:
    """Mean average precision, calibration and thresholds, from a validation part's known labels.

    The metric is named ``mAP``, or ``mAP_unknown_as_negative`` where `labels_as_validated` counts
    unknown labels as negative.

    Args:
        logits: [N, C]; or CSR of the cells of ``labels``.
        labels: [N, C] in {1, 0, -1}; or `measured_cells` of very many.

    Returns:
        The mAP, and as extras the thresholds: ``global``, ``per_class`` [C], and in ``global_in``
        the numbers of the classes whose own threshold could not be fitted.

    Raises:
        UserError: no class has a known positive, or a logit is not finite.
    """
    if isinstance(labels, MeasuredCells):
        alone, given = labels.alone, labels.labels
        judged, changed = given, int(alone.sum())
        calibrated = partial(calibrate_classes, alone=alone)
    else:
        alone, given, calibrated = never_absent(labels), labels, calibrate_classes
        judged, changed = labels_as_validated(labels)
    refuse_without_positives(given)
    if not np.isfinite(logits.data if issparse(logits) else logits).all():
        raise UserError(
            "logits of the validation part are not finite: the training has diverged. Usual "
            "causes: train.learning_rate too large, train.precision fp16"
        )
    calibration = calibrated(logits, given)
    name = "mAP_unknown_as_negative" if changed else "mAP"
    score = mean_average_precision(logits, judged, definition="sklearn")
    probabilities = probabilities_of(logits, calibration.slope, calibration.bias, calibration.curve)
    thresholds = {
        "global": float(fit_thresholds(probabilities, judged, per_class=False)),
        "per_class": np.ravel(fit_thresholds(probabilities, judged, per_class=True)).tolist(),
        # numbers of the classes whose own threshold could not be fitted; they use the global one
        "global_in": np.flatnonzero(label_counts(judged)[0] == 0).tolist(),
    }
    if calibration.listed < 1:  # what is not listed says nothing about a decision
        each = np.array(thresholds["per_class"])
        rows = labels.sampled if isinstance(labels, MeasuredCells) else slice(None)
        chosen = probabilities[rows][:, alone]  # of very many labels, all cells of these rows
        dense = chosen.toarray() if issparse(chosen) else chosen
        each[alone] = expected_thresholds(dense)
        thresholds["per_class"] = each.tolist()
    return Validation(
        score, {name: score}, {"thresholds": thresholds, "calibration": calibration.as_json()}
    )


def resampled_scores(logits: Any, labels: Any, groups: np.ndarray | None = None) -> np.ndarray:
    """The mAP of `validate_logits` on resamples of the pictures, always the same ones.

    Args:
        logits, labels: as `validate_logits` takes them.
        groups: [N], equal for pictures that are drawn together; None: each is drawn by itself.

    Returns:
        percent [R]; nan for a resample without a known positive label, and everywhere if there are
        fewer than `FEWEST`.
    """
    judged = labels.labels if isinstance(labels, MeasuredCells) else labels_as_validated(labels)[0]
    cells = judged.nnz if isinstance(judged, csr_array) else int(np.count_nonzero(judged))
    number = int(np.clip(_RESAMPLED_CELLS // max(1, cells), *_RESAMPLES))
    labelled = judged.data if isinstance(judged, csr_array) else judged
    if np.count_nonzero(labelled == POSITIVE) < FEWEST:
        return np.full(number, np.nan)
    rows = np.arange(logits.shape[0])
    if groups is not None:
        rows = np.unique(groups, return_inverse=True)[1]
    counts = resample_counts(int(rows.max()) + 1, number)[:, rows]
    return resampled_mean_average_precision(logits, judged, counts)


def refuse_without_positives(labels: Any) -> None:
    """Refuse a validation part that cannot select weights.

    Args:
        labels: [N, C] of the validation part; CSR or `SparseLabels` too.

    Raises:
        UserError: no label is positive.
    """
    if not has_label(labels, POSITIVE):
        raise UserError(
            f"the validation part ({labels.shape[0]} pictures) has no known positive label; hold "
            "out more with a larger data.validation, or nothing with data.validation 0"
        )


def refuse_one_sided(images: LabelledImages, labels: Any, split: str, name: str) -> None:
    """Refuse labels by which no ranking and no decision can be wrong.

    Args:
        images: the split.
        labels: [N, C], by which the split is measured.
        split: its name.
        name: the name of the data set.

    Raises:
        UserError: no label is positive, or none is negative.
    """
    where = f"{images.source}, split {split}: {images.counts()}"
    if not has_label(labels, POSITIVE):
        raise UserError(f"{where}: without a positive label there is nothing to measure")
    if not has_label(labels, NEGATIVE):
        advice = {
            "csv": ". If the labels that a row does not list are absent, set data.unlisted "
            "negative (for the split test data.unlisted_test in the settings). Else list the "
            "absent labels in the column negatives (with one column per class: as -1)",
            "labels": ". If the labels that the file does not list are absent, set data.values "
            "'{unlisted: absent}'; in a table with one column per class, say there which cell "
            "means absent",
        }
        raise UserError(
            f"{where}: without a negative label no ranking can be wrong, so neither AP nor "
            f"precision can be measured{advice.get(name, '')}"
        )
