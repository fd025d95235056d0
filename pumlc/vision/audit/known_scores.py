"""Scores of the parts of an audit whose labels are too many for a matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from accelerate import Accelerator
from scipy.sparse import csr_array
from scipy.special import expit

from pumlc.estimators.asymptotes import fit_curve, probability_wrong
from pumlc.estimators.design import identical_rows, joined_groups
from pumlc.estimators.known_least_squares import fit_known_least_squares
from pumlc.labels import SparseLabels
from pumlc.labels.convention import row_blocks
from pumlc.labels.known_cells import measured_cells, row_numbers
from pumlc.progress import ShowProgress
from pumlc.vision.audit.known_cells import (
    CellScorer,
    ScoredCells,
    judged_matrices,
    logit_blocks,
    measured_parts,
    stacked_labels,
)
from pumlc.vision.audit.part_features import part_features, progress_of, readable_parts
from pumlc.vision.audit.parts import Part, groups_of
from pumlc.vision.audit.suspects import LONGEST, NOT_ESTIMATED
from pumlc.vision.config import VisionConfig
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.frozen.left_out import read_left_out
from pumlc.vision.frozen.scoring import frozen_features_of, head_logits
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.scoring import as_listed, probabilities_of, scored_blocks


@dataclass(frozen=True)
class CellScores:
    """Scores of all parts.

    Attributes:
        cells: of each part.
        vectors: [N, D] of each part.
        probabilities: [K] of each part.
        wrong: [K] of each part, or None.
        rates: the estimated rates of errors, if there are.
    """

    cells: list[ScoredCells]
    vectors: list[np.ndarray]
    probabilities: list[np.ndarray]
    wrong: list[np.ndarray | None]
    rates: dict[str, float]


def score_known_parts(
    parts: list[Part],
    bad: Sequence[BadPictures],
    predictor: VisionPredictor,
    config: VisionConfig,
    accelerator: Accelerator,
    progress: ShowProgress | None,
    *,
    folds: int | None,
    top: int | None,
    **sizes: Any,
) -> tuple[list[Part], CellScores, dict[str, Any]]:
    """Score known labels, and the best unknown ones of each class.

    Args:
        parts: the parts.
        bad: of each part, the pictures that could not be read; filled here.
        predictor, config, accelerator, progress, folds, top: see `pumlc.vision.audit.run`.
        sizes: batch_size and workers.

    Returns:
        The readable pictures of each part, their scores, and what scored them.
    """
    if folds is not None:
        features = part_features(parts, bad, config, progress, **sizes)
        parts = readable_parts(parts, bad)
        by_folds = {"folds": folds, "heads": "least squares"}
        scores = _cells_left_out(parts, features, config, top)
        return parts, scores, {**by_folds, **scores.rates}
    by_weights: dict[str, Any] = {"weights": predictor.weights}
    if predictor.config.is_frozen and any(part.name == "train" for part in parts):
        features = [
            frozen_features_of(
                predictor.model,
                part.images,
                predictor.config.features,
                accelerator,
                bad=each,
                batch_size=sizes["batch_size"],
                progress=progress_of(part, progress),
            )[each.rest()]
            for part, each in zip(parts, bad, strict=True)
        ]
        scores = _cells_of_heads(parts, bad, features, predictor, top)
        by_weights |= {"left_out": predictor.fitted_on, **scores.rates}
        return readable_parts(parts, bad), scores, by_weights
    settings = [
        {"bad": each, "progress": progress_of(part, progress), **sizes}
        for part, each in zip(parts, bad, strict=True)
    ]
    return parts, _cells_of_network(parts, predictor, accelerator, settings, top), by_weights


def _cells_of_network(
    parts: Sequence[Part],
    predictor: VisionPredictor,
    accelerator: Accelerator,
    settings: Sequence[Mapping[str, Any]],
    top: int | None,
) -> CellScores:
    """Scores by the run's network.

    Args:
        parts: the parts.
        predictor: the run.
        accelerator: devices and processes.
        settings: of `scored_blocks`, for each part.
        top: length of the lists, if it was said.
    """
    cells, vectors = [], []
    for part, each in zip(parts, settings, strict=True):
        blocks = scored_blocks(predictor.model, part.images, accelerator, **each)
        scorer = CellScorer(part, top or NOT_ESTIMATED)
        one, vector = scorer.score(blocks, accelerator, vectors=True)
        cells.append(one)
        vectors.append(vector)
    probabilities = [
        probabilities_of(
            one.logits, predictor.slope[one.columns], predictor.bias[one.columns], predictor.curve
        )
        for one in cells
    ]
    return CellScores(cells, vectors, probabilities, [None] * len(cells), {})


def _cells_of_heads(
    parts: Sequence[Part],
    bad: Sequence[BadPictures],
    features: Sequence[np.ndarray],
    predictor: VisionPredictor,
    top: int | None,
) -> CellScores:
    """Scores by the heads of a frozen run; of training labels by heads that never saw them."""

    def logits_of(block: np.ndarray) -> np.ndarray:
        return head_logits(predictor.model, block)

    cells = []
    for part, each, own in zip(parts, bad, features, strict=True):
        assert isinstance(part.images.matrix, SparseLabels)
        listed, rest = as_listed(part.images.matrix, predictor.config.data), each.rest()
        whole = measured_cells(listed)
        measured = whole.subset(rest)
        scorer = CellScorer(part.subset(rest), top or LONGEST, measured)
        one, _ = scorer.score(logit_blocks(own, logits_of, len(part.images.classes)))
        if part.name == "train":
            stored = read_left_out(predictor.run.path, whole.labels.nnz)
            _overwrite(one, measured.labels, stored[np.isin(row_numbers(whole.labels), rest)])
        cells.append(one)
    return _estimated(cells, list(features))


def _cells_left_out(
    parts: Sequence[Part], features: Sequence[np.ndarray], config: VisionConfig, top: int | None
) -> CellScores:
    """Scores by least squares on the labels of all parts, with each picture left out.

    Args:
        parts: the readable pictures of each part.
        features: [N, D] of each part, of a network that has not seen the labels.
        config: the settings of the run.
        top: length of the lists, if it was said.
    """
    labels = stacked_labels([part.images.matrix for part in parts])  # pyright: ignore
    measured = measured_cells(as_listed(labels, config.data))
    all_features, groups = np.concatenate(features), groups_of(parts)
    together = identical_rows(all_features)
    if groups is not None:
        together = joined_groups(groups, together)
    heads = fit_known_least_squares(all_features, labels, measured, groups=together)

    def logits_of(block: np.ndarray) -> np.ndarray:
        return block @ heads.coefficients + heads.intercept

    cells, start = [], 0
    sizes = [len(part.images) for part in parts]
    for part, own, each in zip(parts, features, measured_parts(measured, sizes), strict=True):
        scorer = CellScorer(part, top or LONGEST, each)
        one, _ = scorer.score(logit_blocks(own, logits_of, len(part.images.classes)))
        rows = np.arange(start, start + len(own))
        _overwrite(one, each.labels, csr_array(heads.loo_scores[rows]).data)
        start += len(own)
        cells.append(one)
    return _estimated(cells, list(features))


def _overwrite(cells: ScoredCells, measured: csr_array, logits: np.ndarray) -> None:
    """Left-out logits take the place of those of the fitted heads, in place."""
    keys = row_numbers(measured).astype(np.int64) * cells.shape[1] + measured.indices
    cells.logits[np.searchsorted(cells.keys(), keys)] = logits


def _estimated(cells: list[ScoredCells], vectors: list[np.ndarray]) -> CellScores:
    """Probabilities and shares of errors, estimated from left-out scores."""
    curve = fit_curve(*judged_matrices(cells))
    probabilities, wrong = [], []
    for one in cells:
        own, doubt = np.empty((2, len(one.rows)))
        for block in row_blocks((len(own), 1)):
            columns, judged = one.columns[block], one.judged[block]
            own[block] = expit(one.logits[block] * curve.slope[columns] + curve.bias[columns])
            invented = curve.invented[columns]
            doubt[block] = probability_wrong(own[block], judged, curve.missed, invented)
        probabilities.append(own)
        wrong.append(doubt)
    rates = {"missed": curve.missed, "invented": float(curve.invented.mean())}
    return CellScores(cells, vectors, probabilities, wrong, rates)
