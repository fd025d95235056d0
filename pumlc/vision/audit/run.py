"""The audit of a run: which labels of its data are probably wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from accelerate import Accelerator

from pumlc.engine.config import require
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.labels import NEGATIVE, POSITIVE
from pumlc.losses import LOSSES
from pumlc.progress import ShowProgress
from pumlc.vision.audit.out_of_fold import out_of_fold_logits
from pumlc.vision.audit.parts import Part, training_parts
from pumlc.vision.audit.suspects import finding_figures, suspect_rows
from pumlc.vision.config import DataConfig, LossConfig, VisionConfig
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.split import read_split
from pumlc.vision.evaluation import other_place
from pumlc.vision.frozen.features import frozen_network, pooled_features
from pumlc.vision.models.weights import RANDOM
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.scoring import probabilities_of, score_images


@dataclass(frozen=True)
class AuditResult:
    """What `audit_run` returns.

    Attributes:
        run: the run folder.
        scored_by: ``weights``, the name of the network's; or of heads ``folds``, ``loss``,
            ``learning_rate``, ``epochs`` and ``agreement``.
        figures: part -> given label -> `pumlc.vision.audit.suspects.finding_figures`.
        rows: `pumlc.vision.audit.suspects.suspect_rows` of all parts.
        bad_pictures: part -> image and reason of each picture that was skipped.
    """

    run: Path
    scored_by: dict[str, Any]
    figures: dict[str, dict[str, dict[str, float | int | None]]]
    rows: list[list[Any]]
    bad_pictures: dict[str, list[dict[str, str]]]

    def summary(self) -> dict[str, Any]:
        """All but the rows, as plain JSON."""
        return {
            "run": str(self.run),
            **self.scored_by,
            "parts": self.figures,
            "bad_pictures": self.bad_pictures,
        }


def audit_run(
    run_dir: Path | str,
    accelerator: Accelerator,
    *,
    split: str = "train",
    weights: str | None = None,
    folds: int | None = None,
    top: int = 100,
    batch_size: int = 64,
    workers: int | None = None,
    root: str | None = None,
    csv: str | None = None,
    positive_list: str | None = None,
    bad_pictures: Literal["error", "skip"] | None = None,
    progress: ShowProgress | None = None,
) -> AuditResult:
    """Rank the labels that a run's data contradict, each kind of label in a list of its own.

    Args:
        run_dir: the run folder.
        accelerator: devices and processes.
        split: "train", with the labels that the run saw and its validation part as a part of its
            own; or another split, with its labels as they are.
        weights: name of the saved weights that score; by default the preferred ones.
        folds: score by linear heads instead, on features of the network that the run started from,
            each picture by heads that have not seen its labels: `out_of_fold_logits`. They are
            trained with the run's loss; with bce if that is a loss of the user's own, which an
            audit never imports.
        top: labels of each kind and part.
        batch_size: pictures at a time.
        workers: threads that read pictures; 0: none but this one; None: one a core.
        root: another place of the data; by default that of the run.
        csv: another place of the CSV file.
        positive_list: another place of the list that the run was trained with, for split "train".
        bad_pictures: what becomes of pictures that cannot be read; by default as in the run.
        progress: called while pictures are scored, or their features computed.

    Raises:
        UserError: an argument is out of its range or does not go with another one, the run is one
            of texts, or its data have changed since; see also `VisionPredictor` and the readers.
    """
    run_dir = Path(run_dir)
    facts = RunFolder(run_dir).read()
    if facts["config"].get("task") != "vision":
        raise UserError(f"{run_dir} is a run of texts; an audit is one of labels of pictures")
    for name, value in (("top", top), ("batch_size", batch_size)):
        require(value >= 1, name, value, "at least 1")
    require(
        positive_list is None or split == "train",
        "data.positive_list",
        positive_list,
        f"left out with split {split}, whose labels are those of the data set",
    )
    if folds is not None:
        _check_folds(folds, split, weights, accelerator)
    predictor = VisionPredictor(run_dir, weights, str(accelerator.device))
    config = predictor.config
    data = other_place(
        config.data, root, csv, positive_list=positive_list, bad_pictures=bad_pictures
    )
    config = replace(config, data=data)
    random = RANDOM if config.model.weights is None else None
    if folds is not None and facts.get("starting_weights", random) == RANDOM:
        raise UserError(f"folds: {run_dir} started from random weights, which have no features")
    parts = _parts(run_dir, data, split, predictor)
    sizes = {"batch_size": batch_size, "workers": workers}
    bad = [BadPictures(part.images) for part in parts]
    if folds is None:
        scored_by: dict[str, Any] = {"weights": predictor.weights}
        logits = [
            score_images(
                predictor.model,
                part.images,
                accelerator,
                **sizes,
                bad=each,
                progress=_progress_of(part, progress),
            )
            for part, each in zip(parts, bad, strict=True)
        ]
        parts = [part.subset(each.rest()) for part, each in zip(parts, bad, strict=True)]
        logits = [each[b.rest()] for each, b in zip(logits, bad, strict=True)]
    else:
        parts, logits, scored_by = _scored_out_of_fold(
            parts, config, folds, progress, **sizes, bad=bad
        )
    named = {part.name: each.named() for part, each in zip(parts, bad, strict=True)}
    result = AuditResult(run_dir, scored_by, {}, [], named)
    for part, part_logits in zip(parts, logits, strict=True):
        probabilities = probabilities_of(part_logits)
        result.rows.extend(suspect_rows(part, probabilities, top))
        result.figures[part.name] = finding_figures(part, probabilities)
    return result


def _progress_of(part: Part, progress: ShowProgress | None) -> Callable[[int, int], None] | None:
    return None if progress is None else partial(progress, f"pictures of {part.name}")


def _parts(run_dir: Path, data: DataConfig, split: str, predictor: VisionPredictor) -> list[Part]:
    if split == "train":
        return training_parts(run_dir, data, predictor.config.train.seed)
    return [Part(split, read_split(data, split, classes=predictor.labels), None)]


def _check_folds(folds: int, split: str, weights: str | None, accelerator: Accelerator) -> None:
    require(
        folds >= 2 and split == "train" and weights is None,
        "folds",
        folds,
        "at least 2, with split train and without weights",
    )
    if accelerator.num_processes > 1:
        raise UserError(f"folds: heads are trained in one process, not {accelerator.num_processes}")


def loss_of_heads(loss: LossConfig, labels: np.ndarray) -> LossConfig:
    """The run's loss or, in the place of a loss that is not the package's own, bce.

    Unknown labels are left out by that, unless some class has known positives alone: then they
    count as negative, since nothing else would tell its pictures apart.
    """
    if loss.name in LOSSES:
        return loss
    positives_only = (labels == POSITIVE).any(0) & ~(labels == NEGATIVE).any(0)
    unknown = "negative" if positives_only.any() else "ignore"
    return LossConfig(name="bce", parameters={"unknown": unknown})


def _scored_out_of_fold(
    parts: Sequence[Part],
    config: VisionConfig,
    folds: int,
    progress: ShowProgress | None,
    *,
    batch_size: int,
    workers: int | None,
    bad: Sequence[BadPictures],
) -> tuple[list[Part], list[np.ndarray], dict[str, Any]]:
    """What could be read of each part, its logits, cross-fitted over the pictures of all, and which
    heads gave them."""
    network = frozen_network(config.data, config.model)
    features = [
        pooled_features(
            network,
            part.images,
            batch_size=batch_size,
            workers=workers,
            progress=_progress_of(part, progress),
            bad=each,
        )[each.rest()]
        for part, each in zip(parts, bad, strict=True)
    ]
    parts = [part.subset(each.rest()) for part, each in zip(parts, bad, strict=True)]
    labels = np.concatenate([part.images.labels for part in parts])
    loss = loss_of_heads(config.loss, labels)
    heads = out_of_fold_logits(
        np.concatenate(features), labels, loss, folds=folds, seed=config.train.seed
    )
    ends = np.cumsum([len(part.images) for part in parts])[:-1]
    chosen = {
        "learning_rate": heads.learning_rate,
        "epochs": heads.epochs,
        "agreement": heads.agreement,
    }
    return parts, np.split(heads.logits, ends), {"folds": folds, "loss": loss.name, **chosen}
