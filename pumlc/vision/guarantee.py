"""Thresholds of a run that keep a promise about recall or precision."""

from typing import Any, NamedTuple

import numpy as np
from accelerate import Accelerator
from scipy.sparse import csr_array

from pumlc.errors import UserError
from pumlc.estimators.fitted_labels import label_counts
from pumlc.labels import SparseLabels
from pumlc.labels.known_cells import labels_at, measured_cells, row_numbers
from pumlc.metrics import (
    labels_needed,
    positives_needed,
    precision_thresholds,
    recall_thresholds,
)
from pumlc.vision.audit.parts import training_parts
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.frozen.left_out import read_left_out
from pumlc.vision.known_logits import score_known
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.run_data import split_of_run
from pumlc.vision.scoring import as_listed, score_images


class Guarantee(NamedTuple):
    """What `guaranteed_thresholds` returns.

    Attributes:
        thresholds: [C] probabilities; inf for a class that the promise cannot be made for.
        known: [C], numbers of the known labels of the part that the promise rests on: of present
            labels for a recall; of all for a precision.
        needed: [C], how many of them a class needs; for a precision at least, all of them present.
    """

    thresholds: np.ndarray
    known: np.ndarray
    needed: np.ndarray


def guaranteed_thresholds(
    predictor: VisionPredictor,
    accelerator: Accelerator,
    *,
    recall: float | None = None,
    precision: float | None = None,
    confidence: float,
    batch_size: int = 64,
) -> Guarantee:
    """Fit `pumlc.metrics.recall_thresholds` or `precision_thresholds` on the held-out part.

    For heads on frozen features, all training pictures are used: each has logits by heads that
    never saw it. A recall assumes that the known positives are a random sample of all positives, a
    precision that a present label is known as often as an absent one. The weights of a network may
    have been chosen by the same part, which makes its probabilities a little too good.

    Args:
        predictor: the run and its weights.
        accelerator: devices and processes.
        recall: share of the true tags to be found, in (0, 1).
        precision: in the place of ``recall``, share of true ones among those that are found.
        confidence: probability that this holds, for each class by itself.
        batch_size: pictures per batch.

    Raises:
        UserError: the run held nothing out, its data have changed, or the promise can be made for
            no class.
        ValueError: not one of ``recall`` and ``precision``.
    """
    if (recall is None) == (precision is None):
        raise ValueError("give a recall or a precision")
    images, labels, probabilities = _unseen(predictor, accelerator, batch_size)
    # heads on frozen features are promised by all training pictures
    more = "label more pictures" if predictor.config.is_frozen else "set a larger data.validation"
    if recall is not None:
        return _of_recall(images, labels, probabilities, recall, confidence, more)
    assert precision is not None
    return _of_precision(images, labels, probabilities, precision, confidence, more)


def _unseen(
    predictor: VisionPredictor, accelerator: Accelerator, batch_size: int
) -> tuple[LabelledImages, Any, Any]:
    """Pictures that the classifier has not seen, their labels, and its probabilities for them.

    Labels and probabilities are [N, C]; of very many labels both are CSR with the known ones.
    """
    images = _training_part(predictor) if predictor.config.is_frozen else _held_out(predictor)
    matrix, bad = images.matrix, BadPictures(images)
    if isinstance(matrix, SparseLabels):
        labels, logits = _known_logits(predictor, images, accelerator, batch_size, bad)
        rest = np.flatnonzero(~np.isnan(logits.data))
        labels = csr_array(labels)
        kept = np.zeros(labels.nnz, labels.dtype)
        kept[rest] = labels.data[rest]  # of pictures that could not be read, none is known
        labels = csr_array((kept, labels.indices, labels.indptr), shape=labels.shape)
        return images, labels, predictor.probabilities(logits)
    if predictor.config.is_frozen:
        logits = read_left_out(predictor.run.path, len(images), len(images.classes))
        rest = np.flatnonzero(np.isfinite(logits).all(axis=1))  # the others could not be read
    else:
        logits = score_images(
            predictor.model, images, accelerator, batch_size=batch_size, workers=0, bad=bad
        )
        rest = bad.rest()
    return images, images.labels[rest], predictor.probabilities(logits[rest])


def _known_logits(
    predictor: VisionPredictor,
    images: LabelledImages,
    accelerator: Accelerator,
    batch_size: int,
    bad: BadPictures,
) -> tuple[csr_array, csr_array]:
    """Known labels and their logits, CSR; nan for pictures that could not be read."""
    assert isinstance(images.matrix, SparseLabels)
    if not predictor.config.is_frozen:
        labels = images.matrix.known()
        settings = {"batch_size": batch_size, "workers": 0, "bad": bad}
        return labels, score_known(predictor.model, images, labels, accelerator, **settings).logits
    # the cells of the heads; of these, what the file does not list counts as absent for no promise
    cells = measured_cells(as_listed(images.matrix, predictor.config.data)).labels
    stored = read_left_out(predictor.run.path, cells.nnz)
    told = labels_at(images.matrix.known(), row_numbers(cells), cells.indices)
    places = cells.indices, cells.indptr
    labels = csr_array((told, *places), shape=cells.shape)
    return labels, csr_array((stored, *places), shape=cells.shape)


def _of_recall(
    images: LabelledImages,
    labels: Any,
    probabilities: Any,
    recall: float,
    confidence: float,
    more: str,
) -> Guarantee:
    needed = positives_needed(recall=recall, confidence=confidence)
    positives, _ = label_counts(labels)
    if positives.max() < needed:
        best = int(positives.argmax())
        raise UserError(
            f"recall {recall:g} with confidence {confidence:g} needs {needed} known present labels "
            f"of a class in pictures that the classifier has not seen; {images.classes[best]!r} "
            f"has the most, {positives[best]}. Ask for less, or {more}"
        )
    found = recall_thresholds(probabilities, labels, recall=recall, confidence=confidence)
    return Guarantee(_inf_for_nan(found), positives, np.full(len(positives), needed))


def _of_precision(
    images: LabelledImages,
    labels: Any,
    probabilities: Any,
    precision: float,
    confidence: float,
    more: str,
) -> Guarantee:
    known = np.sum(label_counts(labels), axis=0)
    needed = np.array(
        [labels_needed(int(one), precision=precision, confidence=confidence) for one in known]
    )
    found = precision_thresholds(probabilities, labels, precision=precision, confidence=confidence)
    if np.isnan(found).all():
        absent = bool(label_counts(labels)[1].any())
        raise UserError(_no_precision(images, known, needed, precision, confidence, absent, more))
    return Guarantee(_inf_for_nan(found), known, needed)


def _no_precision(
    images: LabelledImages,
    known: np.ndarray,
    needed: np.ndarray,
    precision: float,
    confidence: float,
    absent: bool,
    more: str,
) -> str:
    """Why no class can be promised a precision, and what would give more known labels."""
    what = f"precision {precision:g} with confidence {confidence:g}"
    if not absent:
        return (
            f"{what} needs known absent labels; {images.source} has present ones alone, which say "
            "nothing of false alarms. recall can be promised"
        )
    best = int((known - needed).argmax())
    have = (
        f"{images.classes[best]!r}, for example, has {known[best]} known labels and needs at least "
        f"{needed[best]} present ones of the highest probability, with no absent one among them"
    )
    return (
        f"{what} cannot be promised for any class by pictures that the classifier has not seen: "
        f"{have}. Ask for less, or {more}"
    )


def _inf_for_nan(thresholds: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(thresholds), np.inf, thresholds)


def _held_out(predictor: VisionPredictor) -> LabelledImages:
    return split_of_run(predictor.config.data, "validation", predictor)


def _training_part(predictor: VisionPredictor) -> LabelledImages:
    run = predictor.run.path
    parts = training_parts(run, predictor.config.data, predictor.config.train.seed)
    return next(part.images for part in parts if part.name == "train")
