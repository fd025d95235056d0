"""Heads on features for very many labels: least squares on the labels that are known alone."""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from pumlc.errors import UserError
from pumlc.estimators.calibration import fit_left_out_thresholds, shares_threshold
from pumlc.estimators.class_calibration import ClassCalibration, calibrate_classes
from pumlc.estimators.fitted_labels import label_counts
from pumlc.estimators.known_least_squares import fit_known_least_squares
from pumlc.labels import SparseLabels
from pumlc.labels.known_cells import MeasuredCells
from pumlc.metrics import expected_thresholds, fit_thresholds, mean_average_precision
from pumlc.vision.config import LEAST_SQUARES, VisionConfig
from pumlc.vision.frozen.fit import (
    FittedHeads,
    choose_kind,
    log_odds_facts,
    prior_logit,
    why_least_squares,
)
from pumlc.vision.scoring import as_listed, probabilities_of


def choose_known_heads(config: VisionConfig, labels: SparseLabels) -> tuple[str, str]:
    """The same as `pumlc.vision.frozen.fit.choose_heads`.

    Raises:
        UserError: the settings ask for heads of a loss, which needs a matrix.
    """
    if config.heads == "kernel":
        raise UserError(
            f"heads kernel: {labels.shape[0]} pictures x {labels.shape[1]} classes are too many "
            "for a matrix of labels, which the kernel needs; valid for so many: heads "
            "least_squares, or a network (heads none)"
        )
    said = choose_kind(config)
    if said is not None and said[0] != LEAST_SQUARES:
        raise UserError(
            f"heads of the loss {config.loss.name}: {labels.shape[0]} pictures x "
            f"{labels.shape[1]} classes are too many for a matrix, which they need; valid for so "
            "many: heads least_squares, or a network (heads null)"
        )
    if said is not None:
        return said
    alone = _never_absent(labels)
    return LEAST_SQUARES, why_least_squares(
        alone, _never_absent(as_listed(labels, config.data)) - alone, labels.shape[1]
    )


def _never_absent(labels: SparseLabels) -> int:
    """How many classes are known to be present somewhere and absent nowhere."""
    counts = labels.counts()
    return int(((counts["positive"] > 0) & (counts["negative"] == 0)).sum())


def fit_known_heads(
    features: np.ndarray,
    labels: SparseLabels,
    cells: MeasuredCells,
    config: VisionConfig,
    *,
    groups: np.ndarray | None = None,
) -> FittedHeads:
    """The heads of `pumlc.vision.frozen.fit.fit_heads`, from the cells that are known.

    Args:
        features: float32 [N, D].
        labels: [N, C], at least one of them 1.
        cells: `measured_cells` of these labels `as_listed`.
        config: the settings of the run.
        groups: [N], equal for rows that are left out together; None: those of identical pictures.

    Returns:
        The heads, whose left-out logits are CSR with the cells.
    """
    kind, reason = choose_known_heads(config, labels)
    heads = fit_known_least_squares(features, labels, cells, groups=groups)
    known = np.sum(label_counts(cells.labels), axis=0) > 0
    calibration = calibrate_classes(
        heads.loo_scores[:, known], cells.labels[:, known], alone=cells.alone[known]
    )
    present, absent = (int(each.sum()) for each in label_counts(cells.labels))
    slope = np.zeros(len(known), np.float32)
    constant = calibration.curve.inverse()(prior_logit(present, absent))
    bias = np.full(len(known), constant, np.float32)
    slope[known], bias[known] = calibration.slope, calibration.bias
    columns = heads.loo_scores.indices
    values = heads.loo_scores.data * slope[columns] + bias[columns]
    arrays = (values, columns, heads.loo_scores.indptr)
    logits = csr_array(arrays, shape=labels.shape)
    probabilities = probabilities_of(logits, curve=calibration.curve)
    thresholds = fit_left_out_thresholds(probabilities, cells.labels)
    shared = shares_threshold(cells.labels)
    if calibration.listed < 1:
        chosen = probabilities[cells.sampled][:, cells.alone].toarray()
        thresholds[cells.alone] = expected_thresholds(chosen)
        shared &= ~cells.alone
    return FittedHeads(
        (heads.coefficients * slope).astype(np.float32),
        (heads.intercept * slope + bias).astype(np.float32),
        None,
        logits,
        thresholds,
        float(fit_thresholds(probabilities, cells.labels, per_class=False)),
        np.flatnonzero(shared).tolist(),
        mean_average_precision(logits, cells.labels, definition="sklearn"),
        calibration.curve,
        {
            "heads": kind,
            "why": reason,
            "penalty": heads.penalty,
            "left_out": "leave-one-out",
            "calibration": _described(calibration),
            "log_odds": log_odds_facts(slope[known], bias[known], known, constant),
        },
    )


def _described(calibration: ClassCalibration) -> dict[str, Any]:
    own = int(calibration.own.sum())
    return {"own": own, "together": len(calibration.own) - own, "listed": calibration.listed}
