"""The audit of a run: which labels of its data are probably wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from accelerate import Accelerator

from pumlc.audit.left_out import left_out_scores
from pumlc.audit.noise_model import fit_noise_model
from pumlc.engine.config import require
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.labels import NEGATIVE, POSITIVE
from pumlc.progress import ShowProgress
from pumlc.vision.audit.decided import decided_labels
from pumlc.vision.audit.known_audit import cell_figures, is_sparse, rank_cells
from pumlc.vision.audit.known_scores import score_known_parts
from pumlc.vision.audit.part_features import part_features, progress_of, readable_parts
from pumlc.vision.audit.parts import Part, groups_of, training_parts
from pumlc.vision.audit.suspects import AuditedPart, finding_figures, rank_part, suspect_rows
from pumlc.vision.config import DataConfig, VisionConfig
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.split import read_split
from pumlc.vision.evaluation import logits_of
from pumlc.vision.frozen.left_out import read_left_out
from pumlc.vision.models.weights import RANDOM
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.run_data import other_place
from pumlc.vision.scoring import as_listed, labels_as_validated


@dataclass(frozen=True)
class AuditResult:
    """What `audit_run` returns.

    Attributes:
        run: the run folder.
        scored_by: ``weights``, the name of the network's weights (in a run of heads on frozen
            features, heads fitted without a training picture score it, and ``left_out`` says how);
            or ``folds`` of closed-form heads. With left-out scores also the estimated rates
            ``missed`` and ``invented`` of `pumlc.audit.noise_model.NoiseModel`.
        figures: part -> given label -> `pumlc.vision.audit.suspects.finding_figures`.
        parts: the parts with their suspects.
        bad_pictures: part -> image and reason of each picture that was skipped.
    """

    run: Path
    scored_by: dict[str, Any]
    figures: dict[str, dict[str, dict[str, float | int | None]]]
    parts: list[AuditedPart]
    bad_pictures: dict[str, list[dict[str, str]]]

    @property
    def rows(self) -> list[list[Any]]:
        """`pumlc.vision.audit.suspects.suspect_rows` of all parts."""
        return [row for part in self.parts for row in suspect_rows(part)]

    def summary(self) -> dict[str, Any]:
        """Everything but the rows, as plain JSON."""
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
    top: int | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    root: str | None = None,
    csv: str | None = None,
    labels: str | None = None,
    positive_list: str | None = None,
    decisions: Path | None = None,
    bad_pictures: Literal["error", "skip"] | None = None,
    progress: ShowProgress | None = None,
) -> AuditResult:
    """Rank the suspicious labels of a run's data, each kind of label in its own list.

    Args:
        run_dir: the run folder.
        accelerator: devices and processes.
        split: "train", with the labels that the run saw, and with its validation part as a separate
            part; or another split, with its labels as they are.
        weights: name of the saved weights that score; by default the preferred ones.
        folds: score with closed-form heads instead, on features of the network that the run started
            from; each picture is scored by heads that have not seen its labels
            (`left_out_scores`). Each picture is left out by itself, which is no slower than 5
            folds, so the number changes nothing.
        top: number of labels of each kind and part; by default as many as are worth a look
            (`pumlc.vision.audit.suspects.rank_part`).
        batch_size: pictures per batch.
        workers: threads that read pictures; 0: only this one; None: one per core.
        root: folder of the data, if they have moved; by default that of the run.
        csv: the CSV file, if it has moved.
        labels: the label file, if it has moved.
        positive_list: place of the run's list, if it has moved; for split "train".
        decisions: a file of `pumlc.audit.read_corrections`; the audit does not ask about these
            labels again. By default the one beside the label file, if there is one.
        bad_pictures: what to do with pictures that cannot be read; by default as in the run.
        progress: called while pictures are scored or their features are computed.

    Raises:
        UserError: an argument is out of its range or does not go with another one, the run is a
            text run, or its data have changed since; see also `VisionPredictor` and the readers.
    """
    run_dir = Path(run_dir)
    facts = RunFolder(run_dir).read()
    if facts["config"].get("task") != "vision":
        raise UserError(f"{run_dir} is a text run; this audit is for image runs")
    for name, value in (("top", top), ("batch_size", batch_size)):
        require(value is None or value >= 1, name, value, "at least 1")
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
        config.data,
        root,
        csv,
        positive_list=positive_list,
        bad_pictures=bad_pictures,
        labels=labels,
    )
    config = replace(config, data=data)
    random = RANDOM if config.model.weights is None else None
    if folds is not None and facts.get("starting_weights", random) == RANDOM:
        raise UserError(
            f"folds: {run_dir} started from random weights, whose features say nothing; audit it "
            "without folds"
        )
    parts = _parts(run_dir, data, split, predictor)
    sizes = {"batch_size": batch_size, "workers": workers}
    bad = [BadPictures(part.images) for part in parts]
    if is_sparse(parts):
        parts, cells, scored_by = score_known_parts(
            parts, bad, predictor, config, accelerator, progress, folds=folds, top=top, **sizes
        )
        result = AuditResult(run_dir, scored_by, {}, [], _named(parts, bad))
        for number, part in enumerate(parts):
            audited = rank_cells(part, cells, number, top=top, decisions=decisions)
            result.parts.append(audited)
            result.figures[part.name] = cell_figures(part, cells, number)
        return result
    if folds is None:
        scores = _scores_of_network(parts, bad, predictor, accelerator, progress, **sizes)
    else:
        scores = _left_out_scores(parts, bad, config, folds, progress, **sizes)
    result = AuditResult(run_dir, scores.scored_by, {}, [], _named(parts, bad))
    for part, vectors, probabilities, wrong in zip(*scores[:4], strict=True):
        decided = decided_labels(part.images, decisions)
        audited = rank_part(part, probabilities, vectors, wrong=wrong, top=top, decided=decided)
        result.parts.append(audited)
        result.figures[part.name] = finding_figures(part, probabilities)
    return result


def _named(parts: Sequence[Part], bad: Sequence[BadPictures]) -> dict[str, list[dict[str, str]]]:
    return {part.name: each.named() for part, each in zip(parts, bad, strict=True)}


def _scored(
    part: Part,
    predictor: VisionPredictor,
    accelerator: Accelerator,
    bad: BadPictures,
    progress: ShowProgress | None,
    *,
    batch_size: int,
    workers: int | None,
) -> np.ndarray:
    """Logits by the run's network; with heads on features, by heads that never saw the picture."""
    images = part.images
    if not predictor.config.is_frozen or part.name != "train":
        show = progress_of(part, progress)
        return logits_of(predictor, images, accelerator, batch_size, workers, bad, show)
    logits = read_left_out(predictor.run.path, len(images), len(images.classes))
    for row in np.flatnonzero(np.isnan(logits[:, 0])).tolist():
        bad.add(row, f"{images.path(row)} ({images.place(row)}): skipped by the run")
    return logits


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


class _Scores(NamedTuple):
    """Scores of all parts.

    Attributes:
        parts: the readable pictures of each part.
        vectors: [N, D] of each part; pictures that look alike have vectors close to each other.
        probabilities: [N, C] of each part.
        wrong: [N, C] of each part, estimated probabilities of errors; None: not estimated.
        scored_by: see `AuditResult`.
    """

    parts: list[Part]
    vectors: list[np.ndarray]
    probabilities: list[np.ndarray]
    wrong: Sequence[np.ndarray | None]
    scored_by: dict[str, Any]


def _scores_of_network(
    parts: Sequence[Part],
    bad: Sequence[BadPictures],
    predictor: VisionPredictor,
    accelerator: Accelerator,
    progress: ShowProgress | None,
    *,
    batch_size: int,
    workers: int | None,
) -> _Scores:
    """Scores by the run's network, which was trained on some of the labels."""
    logits = [
        _scored(
            part,
            predictor,
            accelerator,
            each,
            progress,
            batch_size=batch_size,
            workers=workers,
        )
        for part, each in zip(parts, bad, strict=True)
    ]
    logits = [each[b.rest()] for each, b in zip(logits, bad, strict=True)]
    readable = readable_parts(parts, bad)
    scored_by: dict[str, Any] = {"weights": predictor.weights}
    if predictor.config.is_frozen and any(part.name == "train" for part in parts):
        # no head has seen the picture that it scores, so the shares of errors can be estimated
        scored_by["left_out"] = predictor.fitted_on
        return _estimated(readable, logits, logits, scored_by, predictor.config)
    probabilities, wrong = [predictor.probabilities(each) for each in logits], [None] * len(parts)
    # pictures that look alike to the network have similar logits
    return _Scores(readable, logits, probabilities, wrong, scored_by)


def _left_out_scores(
    parts: Sequence[Part],
    bad: Sequence[BadPictures],
    config: VisionConfig,
    folds: int,
    progress: ShowProgress | None,
    *,
    batch_size: int,
    workers: int | None,
) -> _Scores:
    """Scores by closed-form heads on the pictures of all parts, with each picture left out.

    In a class whose known labels are all positive, or negative only where people have decided so,
    unknown counts as negative: it has no other negatives.
    """
    sizes = {"batch_size": batch_size, "workers": workers}
    features = part_features(parts, bad, config, progress, **sizes)
    parts = readable_parts(parts, bad)
    labels = _judged_labels(parts, config)
    scores = left_out_scores(np.concatenate(features), labels, groups=groups_of(parts))
    ends = np.cumsum([len(part.images) for part in parts])[:-1]
    scored_by = {"folds": folds, "heads": "least squares"}
    return _estimated(parts, features, np.split(scores, ends), scored_by, config)


def _judged_labels(parts: Sequence[Part], config: VisionConfig) -> np.ndarray:
    labels = np.concatenate([part.images.labels for part in parts])
    labels, _ = labels_as_validated(as_listed(labels, config.data))
    for sign, name in ((POSITIVE, "present"), (NEGATIVE, "absent")):
        if not (labels == sign).any():
            raise UserError(f"no label of the data is {name}, so nothing can be learned from them")
    return labels


def _estimated(
    parts: list[Part],
    vectors: list[np.ndarray],
    scores: Sequence[np.ndarray],
    scored_by: dict[str, Any],
    config: VisionConfig,
) -> _Scores:
    """Probabilities and shares of errors, estimated from left-out scores."""
    model = fit_noise_model(np.concatenate(scores), _judged_labels(parts, config))
    ends = np.cumsum([len(part.images) for part in parts])[:-1]
    rates = {"missed": model.missed, "invented": model.invented}
    probabilities, wrong = np.split(model.probabilities, ends), np.split(model.wrong, ends)
    return _Scores(parts, vectors, probabilities, wrong, {**scored_by, **rates})
