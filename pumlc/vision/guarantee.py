"""Thresholds of a run that find a promised share of the true tags."""

from typing import NamedTuple

import numpy as np
from accelerate import Accelerator

from pumlc.errors import UserError
from pumlc.labels import POSITIVE
from pumlc.metrics import positives_needed, recall_thresholds
from pumlc.vision.evaluation import split_of_run
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.scoring import probabilities_of, score_images


class Guarantee(NamedTuple):
    """What `guaranteed_thresholds` returns.

    Attributes:
        thresholds: [C]; inf for a class that the promise cannot be made for.
        positives: [C], known positives of the held-out part.
        needed: how many of them the promise takes.
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
    """`pumlc.metrics.recall_thresholds` by the part that the run held out.

    Its known positives must be drawn at random from all positives. The weights may have been chosen
    by the same part, which makes the scores a little too good where few epochs were compared.

    Args:
        predictor: the run and its weights.
        accelerator: devices and processes.
        recall: share of the true tags to be found, in (0, 1).
        confidence: probability that this holds, of each class by itself.
        batch_size: pictures at a time.

    Raises:
        UserError: the run held nothing out, its data have changed, or the promise can be made for
            no class.
    """
    images = split_of_run(predictor.config.data, "validation", predictor)
    needed = positives_needed(recall=recall, confidence=confidence)
    positives = (images.labels == POSITIVE).sum(axis=0)
    if positives.max() < needed:
        best = int(positives.argmax())
        raise UserError(
            f"recall {recall:g} with confidence {confidence:g} takes {needed} known present labels "
            f"of a class in the held-out part; {images.classes[best]!r} has the most, "
            f"{positives[best]}. Hold out more (data.validation), or ask for less"
        )
    logits = score_images(predictor.model, images, accelerator, batch_size=batch_size, workers=0)
    probabilities = probabilities_of(logits)
    found = recall_thresholds(probabilities, images.labels, recall=recall, confidence=confidence)
    return Guarantee(np.where(np.isnan(found), np.inf, found), positives, needed)
