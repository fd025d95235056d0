"""Probabilities of all classes from scores, whatever is known of each class."""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse

from pumlc.estimators.asymptotes import MISSED, Errors, fit_curve
from pumlc.estimators.calibration import calibrate, fit_sigmoid
from pumlc.estimators.fitted_labels import label_counts, never_absent
from pumlc.estimators.logit_curve import STRAIGHT, LogitCurve, fit_logit_curve
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.labels.known_cells import row_numbers, stored_by_class

ENOUGH = 20
"""Known labels of either kind from which a class has a slope and bias of its own.

Of 1, 5, 20, 50 and never, 20 had about the least cross entropy of known training labels that were
left out, on the VOC subset and the COCO part with 10, 50 and 100 % of the labels known.
"""
_NO_ERRORS = (Errors(),)
_CURVE_LABELS = 1_000_000  # more say no more about a few knots, and take seconds


class ClassCalibration(NamedTuple):
    """What `calibrate_classes` returns.

    Attributes:
        slope, bias: [C]; sigmoid(curve(slope * score + bias)) is the probability of being present.
        own: bool [C], fitted for the class alone; the others share what was fitted for all.
        listed: estimated share of what is present that is listed, in classes of which only present
            labels are known; 1 where there are none.
        curve: the same for all classes; `STRAIGHT` where a sigmoid does as well.
    """

    slope: np.ndarray
    bias: np.ndarray
    own: np.ndarray
    listed: float
    curve: LogitCurve = STRAIGHT

    def as_json(self) -> dict[str, Any]:
        """What a run keeps: slope, bias and curve, by whom they are shared, and what is listed."""
        return {
            "slope": self.slope.tolist(),
            "bias": self.bias.tolist(),
            "own": np.flatnonzero(self.own).tolist(),
            "listed": self.listed,
            "curve": self.curve.as_json(),
        }


def calibrate_classes(
    scores: Any, labels: Any, *, alone: np.ndarray | None = None
) -> ClassCalibration:
    """Slope above 0 and bias of each class, and a curve, by what the known labels can bear.

    - With at least `ENOUGH` known present and known absent labels: Platt's sigmoid of its own.
    - With fewer of one kind: a logistic curve over all such labels together, whose slope and bias
      differ with the share of present labels alone (`pumlc.estimators.asymptotes`).
    - Never known to be absent: the same, where unknown labels count as not listed and the share of
      present labels that are listed is estimated. The probability is that of being present, not of
      being listed, if what is listed is a random part of what is present.
    - Without a known label: the means of the others.
    - If every class is known to be absent somewhere, one curve on top for all classes, where it is
      better than a sigmoid (`pumlc.estimators.logit_curve`).

    Args:
        scores: [N, C], finite, of models that have not seen the labels; logits for example.
        labels: [N, C] in {1, 0, -1}, one of them present; or both CSR that store the known labels.
        alone: bool [C], only with CSR: in these classes what is not listed is stored as absent.
    """
    if issparse(labels):
        scores, labels = csr_array(scores, dtype=np.float64), csr_array(labels)
        positives_alone = np.zeros(labels.shape[1], bool) if alone is None else alone  # pyright: ignore
    else:
        scores = np.asarray(scores, np.float64)
        positives_alone = never_absent(labels) & (labels == UNKNOWN).any(axis=0)
    return _calibrated(scores, labels, positives_alone)


def _calibrated(scores: Any, labels: Any, alone: np.ndarray) -> ClassCalibration:
    present, absent = label_counts(labels)
    own = ~alone & (np.minimum(present, absent) >= ENOUGH)
    few = ~alone & ~own & (present + absent > 0)
    slope, bias, listed = np.full(len(own), np.nan), np.full(len(own), np.nan), 1.0
    if own.any():
        slope[own], bias[own] = _each(scores[:, own], labels[:, own])
    if few.any():
        together = ~alone & (present + absent > 0)
        slope[few], bias[few] = _together(scores[:, together], labels[:, together], few[together])
    if alone.any():
        listed_or_not = labels[:, alone]
        if not issparse(labels):
            listed_or_not = np.where(listed_or_not == UNKNOWN, NEGATIVE, listed_or_not)
        curve = fit_curve(scores[:, alone], listed_or_not, errors=MISSED)
        slope[alone], bias[alone], listed = curve.slope, curve.bias, 1 - curve.missed
    rest = np.isnan(slope)
    slope[rest], bias[rest] = slope[~rest].mean(), bias[~rest].mean()
    curve = STRAIGHT if alone.any() else _curve(scores, labels, slope, bias)
    return ClassCalibration(slope, bias, own, listed, curve)


def _curve(scores: Any, labels: Any, slope: np.ndarray, bias: np.ndarray) -> LogitCurve:
    """The curve of all known labels, or of those of some rows."""
    number = sum(int(each.sum()) for each in label_counts(labels))
    if number > _CURVE_LABELS:
        chance = np.random.RandomState(0).rand(labels.shape[0])
        some = np.flatnonzero(chance < _CURVE_LABELS / number)
        scores, labels = scores[some], labels[some]
    if issparse(labels):
        rows, columns = row_numbers(labels), labels.indices
        known, signs = scores.data, labels.data
    else:
        rows, columns = np.nonzero(labels != UNKNOWN)
        known, signs = scores[rows, columns], labels[rows, columns]
    return fit_logit_curve(known * slope[columns] + bias[columns], signs == POSITIVE, rows)


def _each(scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Slope and bias of each class by its own labels."""
    if not issparse(labels):
        return calibrate(scores, labels, np.ones(len(labels)))
    pairs = []
    for entries in stored_by_class(labels):
        own = scores.data[entries], labels.data[entries] == POSITIVE
        pairs.append(fit_sigmoid(*own, np.ones(len(entries))))
    slope, bias = np.array(pairs).T
    return slope, bias


def _together(scores: Any, labels: Any, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and bias of some of the classes, from the labels of all."""
    present, absent = label_counts(labels)
    if present.any() and absent.any():
        curve = fit_curve(scores, labels, errors=_NO_ERRORS)
        return curve.slope[wanted], curve.bias[wanted]
    return _each(scores[:, wanted], labels[:, wanted])
