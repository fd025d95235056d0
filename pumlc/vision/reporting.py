"""The figures of an image run that a report shows: a scored split, and thresholds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from pumlc.errors import UserError
from pumlc.labels import sparse
from pumlc.report import SplitScores, pictures_to_show, thumbnail
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.decode import load_image
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.evaluation import logits_of
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.run_data import measured_labels, other_place, split_of_run
from pumlc.vision.scoring import refuse_one_sided

SIDE = 150
"""Pixels of the longer side of a picture in a report."""


def split_scores(
    run_dir: Path,
    accelerator: Accelerator,
    *,
    split: str = "test",
    root: str | None = None,
    csv: str | None = None,
    labels: str | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    pictures: bool = False,
) -> SplitScores:
    """Labels of a split, probabilities and thresholds of the preferred weights.

    Args:
        run_dir: the run folder.
        accelerator: devices and processes.
        split: as for `pumlc.vision.evaluation.evaluate_run`.
        root: folder of the data, if they have moved; by default that of the run.
        csv: another CSV file.
        labels: another label file.
        batch_size: pictures per batch.
        workers: threads that read pictures; 0: only this one; None: one per core.
        progress: called with the pictures done and their number.
        pictures: also small copies of the pictures that tell most of a class.

    Raises:
        UserError: see `pumlc.vision.evaluation.evaluate_run`.
    """
    predictor = VisionPredictor(run_dir, None, device=str(accelerator.device))
    data = other_place(predictor.config.data, root, csv, labels=labels)
    images = split_of_run(data, split, predictor)
    if len(images) * len(images.classes) > sparse.DENSE_LIMIT:
        raise UserError(
            f"{images.source}, split {split}: {len(images)} pictures x {len(images.classes)} "
            "classes are too many for a report, which draws all scores; valid for so many: "
            "pumlc evaluate and pumlc audit"
        )
    bad = BadPictures(images)
    logits = logits_of(predictor, images, accelerator, batch_size, workers, bad, progress)
    rest = bad.rest()
    images, logits = images.subset(rest), logits[rest]
    if not np.isfinite(logits).all():
        raise UserError(f"{run_dir}: logits are not finite: the training has diverged")
    known, _ = measured_labels(replace(images, matrix=images.labels), split)
    refuse_one_sided(images, known, split, data.name)
    scores = SplitScores(
        classes=images.classes,
        paths=[path.decode() for path in images.paths.tolist()],
        labels=known,
        probabilities=predictor.probabilities(logits),
        thresholds=np.asarray(predictor.thresholds),
    )
    return replace(scores, pictures=_pictures(images, scores) if pictures else {})


def _pictures(images: LabelledImages, scores: SplitScores) -> dict[int, bytes]:
    """Small copies of the pictures that tell most of a class."""
    return {
        row: thumbnail(
            load_image(images.path(row), at_least=SIDE, max_pixels=images.max_pixels), side=SIDE
        )
        for row in pictures_to_show(scores)
    }
