"""Thresholds of a run that find a promised share of the true tags."""

from typing import NamedTuple

import numpy as np
from accelerate import Accelerator

from pumlc.errors import UserError
from pumlc.labels import POSITIVE
from pumlc.metrics import positives_needed, recall_thresholds
from pumlc.vision.audit.parts import training_parts
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.frozen.left_out import read_left_out
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.run_data import split_of_run
from pumlc.vision.scoring import probabilities_of, score_images


class Guarantee(NamedTuple):
    """What `guaranteed_thresholds` returns.

    Attributes:
        thresholds: [C] probabilities; inf for a class without enough known positives.
        positives: [C], numbers of known positives of the held-out part.
        needed: how many of them a class needs for the promise.
    """

    thresholds: np.ndarray
    positives: np.ndarray
    needed: int


def guaranteed_thresholds(
    predictor: VisionPredictor,
    accelerator: Accelerator,
    *,
    recall: float,
    confidence: float,
    batch_size: int = 64,
) -> Guarantee:
    """Fit `pumlc.metrics.recall_thresholds` on the part that the run held out.

    For heads on frozen features, all training pictures are used: each has logits by heads that
    never saw it. The promise assumes that the known positives are a random sample of all positives.
    The weights of a network may have been chosen by the same part, which makes its probabilities a
    little too good.

    Args:
        predictor: the run and its weights.
        accelerator: devices and processes.
        recall: share of the true tags to be found, in (0, 1).
        confidence: probability that this holds, for each class by itself.
        batch_size: pictures per batch.

    Raises:
        UserError: the run held nothing out, its data have changed, or no class has enough known
            positives.
    """
    frozen = predictor.config.is_frozen
    images = _training_part(predictor) if frozen else _held_out(predictor)
    if frozen:
        logits = read_left_out(predictor.run.path, len(images), len(images.classes))
        rest = np.flatnonzero(np.isfinite(logits).all(axis=1))  # the others could not be read
    else:
        bad = BadPictures(images)
        logits = score_images(
            predictor.model, images, accelerator, batch_size=batch_size, workers=0, bad=bad
        )
        rest = bad.rest()
    labels, probabilities = images.labels[rest], probabilities_of(logits[rest])
    needed = positives_needed(recall=recall, confidence=confidence)
    positives = (labels == POSITIVE).sum(axis=0)
    if positives.max() < needed:
        best = int(positives.argmax())
        raise UserError(
            f"recall {recall:g} with confidence {confidence:g} needs {needed} known present labels "
            f"of a class in pictures that the classifier has not seen; {images.classes[best]!r} "
            f"has the most, {positives[best]}. Ask for less, or set a larger data.validation"
        )
    found = recall_thresholds(probabilities, labels, recall=recall, confidence=confidence)
    return Guarantee(np.where(np.isnan(found), np.inf, found), positives, needed)


def _held_out(predictor: VisionPredictor) -> LabelledImages:
    return split_of_run(predictor.config.data, "validation", predictor)


def _training_part(predictor: VisionPredictor) -> LabelledImages:
    run = predictor.run.path
    parts = training_parts(run, predictor.config.data, predictor.config.train.seed)
    return next(part.images for part in parts if part.name == "train")
