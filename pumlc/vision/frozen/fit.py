"""Heads fitted on the features of a run's training part, with their leave-one-out figures."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pumlc.estimators.calibration import fit_left_out_thresholds, shares_threshold
from pumlc.estimators.class_calibration import calibrate_classes
from pumlc.estimators.design import identical_rows, joined_groups
from pumlc.estimators.fitted_labels import fitted_labels, never_absent
from pumlc.estimators.kernel_heads import Gain, GaussianPart, Kernel, fit_kernel_heads
from pumlc.estimators.logit_curve import LogitCurve
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.metrics import expected_thresholds, fit_thresholds, mean_average_precision
from pumlc.vision.config import AUTO, LEAST_SQUARES, OPEN_VOCABULARY, VisionConfig
from pumlc.vision.frozen.loss_heads import fit_loss_heads
from pumlc.vision.scoring import as_listed, probabilities_of


@dataclass(frozen=True)
class FittedHeads:
    """Heads with slope and bias of the calibration in them.

    Attributes:
        coefficients: [D, C].
        intercept: [C].
        gaussian: heads with a Gaussian kernel, whose mean with the linear ones is the logit; None:
            the linear heads stand alone.
        left_out_logits: float32 [N, C], each row by heads that have not seen its labels; of very
            many labels CSR with the measured ones.
        thresholds: [C], the probabilities that give the highest F1 of each class on these logits.
        threshold: the same, one for all classes.
        sharing: numbers of the classes that have the threshold of all classes.
        mean_average_precision: mAP of these logits by the known labels, in percent.
        curve: what is done to the logits before the sigmoid gives probabilities.
        facts: which heads were fitted, why, and what chose them, as plain JSON.
    """

    coefficients: np.ndarray
    intercept: np.ndarray
    gaussian: GaussianPart | None
    left_out_logits: Any
    thresholds: np.ndarray
    threshold: float
    sharing: list[int]
    mean_average_precision: float
    curve: LogitCurve
    facts: dict[str, Any]


def choose_heads(config: VisionConfig, labels: np.ndarray) -> tuple[str, str]:
    """Choose the kind of heads by the settings, or else by the labels.

    Args:
        config: the settings of the run.
        labels: [N, C] in {1, 0, -1}.

    Returns:
        ``least_squares`` or ``loss``, and a sentence that says why.
    """
    said = choose_kind(config)
    if said is not None:
        return said
    count = int(never_absent(labels).sum())
    more = int(never_absent(as_listed(labels, config.data)).sum()) - count
    if not (labels == UNKNOWN).any():
        return LEAST_SQUARES, "least squares in closed form: all labels are known"
    return LEAST_SQUARES, why_least_squares(count, more, labels.shape[1])


def why_least_squares(never: int, rarely: int, classes: int) -> str:
    """A sentence about heads on labels of which some are unknown.

    Args:
        never: number of classes that are never known to be absent.
        rarely: number of those that are in a few pictures only, which people have chosen.
        classes: number of all classes.
    """
    if not never + rarely:
        reason = "each class is fitted on the pictures where its label is known"
    else:
        few = f", {rarely} in a few pictures only" if rarely else ""
        reason = (
            f"{never} of {classes} classes are never known to be absent{few}; for them unknown "
            "counts as absent, and a probability allows for the share that is not listed"
        )
    return f"least squares in closed form: {reason}"


def choose_kind(config: VisionConfig) -> tuple[str, str] | None:
    """The kind of heads that the settings name, and why; None: the labels decide."""
    named = config.loss.name not in (AUTO, LEAST_SQUARES)
    if config.heads == "loss" or (config.heads == "auto" and named):
        return "loss", f"heads of the loss {config.loss.name}, as the settings say"
    if config.heads == "kernel":
        return (
            LEAST_SQUARES,
            "least squares in closed form with a Gaussian kernel, as the settings say",
        )
    if config.heads == "least_squares" or config.loss.name == LEAST_SQUARES:
        return LEAST_SQUARES, "least squares in closed form, as the settings say"
    return None


def left_out_together(features: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Numbers [N], equal for pictures of a group and for pictures with the same features.

    Args:
        features: [N, D].
        groups: [N], equal for pictures that must stay together; None: each may be left out alone.
    """
    identical = identical_rows(features)
    return identical if groups is None else joined_groups(groups, identical)


def fit_heads(
    features: np.ndarray,
    labels: np.ndarray,
    config: VisionConfig,
    *,
    groups: np.ndarray | None = None,
) -> FittedHeads:
    """Fit heads on all rows; left-out scores give the penalty, probabilities and thresholds.

    A class without a known label gets the same probability for every picture: the share of present
    labels among all known labels.

    Args:
        features: float32 [N, D].
        labels: [N, C] in {1, 0, -1}, at least one of them 1.
        config: the settings of the run.
        groups: [N], of `left_out_together`; None: its groups of identical pictures.
    """
    kind, reason = choose_heads(config, labels)
    groups = left_out_together(features) if groups is None else groups
    given, labels = labels, as_listed(labels, config.data)
    fitted = fitted_labels(labels)
    known = fitted.any(axis=0)
    facts: dict[str, Any] = {"heads": kind, "why": reason}
    told = given[:, known] if kind == "loss" else fitted[:, known]
    coefficients, intercept, gaussian, scores = _fit(kind, features, told, config, groups, facts)
    calibration = calibrate_classes(scores, labels[:, known])
    slope, bias = (each.astype(np.float32) for each in calibration[:2])
    own = int(calibration.own.sum())
    together = len(slope) - own
    facts["calibration"] = {"own": own, "together": together, "listed": calibration.listed}
    constant = calibration.curve.inverse()(_prior_logit(fitted))
    logits = np.full(labels.shape, constant, np.float32)
    logits[:, known] = scores * slope + bias
    if kind == LEAST_SQUARES:
        facts["log_odds"] = log_odds_facts(slope, bias, np.ravel(known), constant)
    weights = np.zeros((features.shape[1], labels.shape[1]), np.float32)
    weights[:, known] = coefficients * slope
    constants = np.full(labels.shape[1], constant, np.float32)
    constants[known] = intercept * slope + bias
    if gaussian is not None:
        gaussian = _of_all_classes(gaussian.calibrated(slope, bias), np.ravel(known), constants)
    probabilities = probabilities_of(logits, curve=calibration.curve)
    alone = never_absent(labels) & (calibration.listed < 1)
    thresholds, shared = _thresholds(probabilities, fitted, np.ravel(alone))
    one = fit_thresholds(probabilities, fitted, per_class=False)
    return FittedHeads(
        weights,
        constants,
        gaussian,
        logits,
        thresholds,
        float(np.ravel(one)[0]),
        np.flatnonzero(shared).tolist(),
        mean_average_precision(logits, fitted, definition="sklearn"),
        calibration.curve,
        facts,
    )


def log_odds_facts(
    slope: np.ndarray, bias: np.ndarray, known: np.ndarray, constant: float
) -> dict[str, list[float]]:
    """Slope and bias [C] that made log-odds of scores near +1 and -1, to be undone where needed.

    Args:
        slope, bias: of the classes with a known label.
        known: bool [C], which those are.
        constant: the logit of every picture in the other classes, whose score is 0.
    """
    slopes, biases = np.ones(len(known)), np.full(len(known), float(constant))
    slopes[known], biases[known] = slope, bias
    return {"slope": slopes.tolist(), "bias": biases.tolist()}


def _thresholds(
    probabilities: np.ndarray, labels: np.ndarray, alone: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A threshold for each class, [C], and which of them are that of all classes, bool [C].

    In classes of ``alone`` what is not listed says nothing about a decision.
    """
    thresholds, shared = fit_left_out_thresholds(probabilities, labels), shares_threshold(labels)
    if alone.any():
        thresholds[alone] = expected_thresholds(probabilities[:, alone])
    return thresholds, shared & ~alone


def _fit(
    kind: str,
    features: np.ndarray,
    labels: np.ndarray,
    config: VisionConfig,
    groups: np.ndarray,
    facts: dict[str, Any],
) -> tuple[np.ndarray, np.ndarray, GaussianPart | None, np.ndarray]:
    """Coefficients [D, C], intercept [C], kernel and left-out scores [N, C]; adds to the facts."""
    facts["left_out_blocks"] = len(np.unique(groups))
    if kind == LEAST_SQUARES:
        heads = fit_kernel_heads(features, labels, kernel=_kernel(config), groups=groups)
        facts.update(penalty=heads.penalty, left_out="leave-one-out")
        part, linear = heads.gaussian_part(), heads.linear
        if heads.gain is not None:
            facts["why"] += "; " + _described(heads.gain, part is not None)
            facts["cross_entropy"] = heads.gain._asdict()
        if heads.gaussian is not None and part is not None:
            facts["kernel"] = {"penalty": heads.gaussian.penalty, "landmarks": len(part.landmarks)}
        return linear.coefficients, linear.intercept, part, heads.loo_scores
    seed = config.train.seed
    heads = fit_loss_heads(features, labels, config.loss, seed=seed, groups=groups)
    facts.update(weight_decay=heads.weight_decay, left_out="out-of-fold")
    return heads.coefficients, heads.intercept, None, heads.left_out


def _kernel(config: VisionConfig) -> Kernel:
    if config.heads == "kernel":
        return "both"
    return "auto" if config.heads in ("auto", OPEN_VOCABULARY) else "linear"


def _described(gain: Gain, taken: bool) -> str:
    """The choice of the kernel as part of a sentence."""
    change = 1 - gain.both / gain.linear
    error = gain.standard_error / gain.linear
    what = "a Gaussian kernel beside the linear heads" if taken else "linear heads alone: a kernel"
    verb = "lowers" if change >= 0 else "raises"
    return (
        f"{what} {verb} the left-out cross entropy by {100 * abs(change):.1f} +- "
        f"{100 * error:.1f} %"
    )


def _of_all_classes(part: GaussianPart, known: np.ndarray, constants: np.ndarray) -> GaussianPart:
    """The part of the known classes as one of all classes; the others keep their constants."""
    coefficients = np.zeros((len(part.landmarks), len(known)), np.float32)
    coefficients[:, known] = part.coefficients
    intercept = constants.copy()
    intercept[known] = part.intercept
    return replace(part, coefficients=coefficients, intercept=intercept)


def prior_logit(present: int, absent: int) -> float:
    """Log-odds that a known label is present, with one label of each sign added.

    Args:
        present, absent: numbers of known labels.
    """
    return float(np.log((present + 1) / (absent + 1)))


def _prior_logit(labels: np.ndarray) -> float:
    return prior_logit(*((labels == sign).sum() for sign in (POSITIVE, NEGATIVE)))
