"""Probabilities of all classes from scores, whatever is known of each class."""

from typing import Any, NamedTuple

import numpy as np

from pumlc.estimators.asymptotes import MISSED, Errors, fit_curve
from pumlc.estimators.calibration import calibrate
from pumlc.estimators.fitted_labels import never_absent
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN

ENOUGH = 20
"""Known labels of either kind from which a class has a slope and bias of its own.

Of 1, 5, 20, 50 and never, 20 had about the least cross entropy of known training labels that were
left out, on the VOC subset and the COCO part with 10, 50 and 100 % of the labels known.
"""
_NO_ERRORS = (Errors(),)


class ClassCalibration(NamedTuple):
    """What `calibrate_classes` returns.

    Attributes:
        slope, bias: [C]; sigmoid(slope * score + bias) is the probability of being present.
        own: bool [C], fitted for the class alone; the others share what was fitted for all.
        listed: estimated share of what is present that is listed, in classes of which only present
            labels are known; 1 where there are none.
    """

    slope: np.ndarray
    bias: np.ndarray
    own: np.ndarray
    listed: float

    def as_json(self) -> dict[str, Any]:
        """What a run keeps: slope and bias, by whom they are shared, and what is listed."""
        return {
            "slope": self.slope.tolist(),
            "bias": self.bias.tolist(),
            "own": np.flatnonzero(self.own).tolist(),
            "listed": self.listed,
        }


def calibrate_classes(scores: np.ndarray, labels: np.ndarray) -> ClassCalibration:
    """Slope above 0 and bias of each class, by what its known labels can bear.

    - With at least `ENOUGH` known present and known absent labels: Platt's sigmoid of its own.
    - With fewer of one kind: a logistic curve over all such labels together, whose slope and bias
      differ with the share of present labels alone (`pumlc.estimators.asymptotes`).
    - Never known to be absent: the same, where unknown labels count as not listed and the share of
      present labels that are listed is estimated. The probability is that of being present, not of
      being listed, if what is listed is a random part of what is present.
    - Without a known label: the means of the others.

    Args:
        scores: [N, C], finite, of models that have not seen the labels; logits for example.
        labels: [N, C] in {1, 0, -1}, one of them present.
    """
    scores = np.asarray(scores, np.float64)
    present, absent = ((labels == sign).sum(axis=0) for sign in (POSITIVE, NEGATIVE))
    alone = never_absent(labels) & (labels == UNKNOWN).any(axis=0)
    own = ~alone & (np.minimum(present, absent) >= ENOUGH)
    few = ~alone & ~own & (present + absent > 0)
    slope, bias, listed = np.full(len(own), np.nan), np.full(len(own), np.nan), 1.0
    if own.any():
        slope[own], bias[own] = calibrate(scores[:, own], labels[:, own], np.ones(len(labels)))
    if few.any():
        together = ~alone & (present + absent > 0)
        slope[few], bias[few] = _together(scores[:, together], labels[:, together], few[together])
    if alone.any():
        unlisted_absent = np.where(labels[:, alone] == UNKNOWN, NEGATIVE, labels[:, alone])
        curve = fit_curve(scores[:, alone], unlisted_absent, errors=MISSED)
        slope[alone], bias[alone], listed = curve.slope, curve.bias, 1 - curve.missed
    rest = np.isnan(slope)
    slope[rest], bias[rest] = slope[~rest].mean(), bias[~rest].mean()
    return ClassCalibration(slope, bias, own, listed)


def _together(
    scores: np.ndarray, labels: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slope and bias of some of the classes, from the labels of all."""
    if (labels == POSITIVE).any() and (labels == NEGATIVE).any():
        curve = fit_curve(scores, labels, errors=_NO_ERRORS)
        return curve.slope[wanted], curve.bias[wanted]
    each = calibrate(scores[:, wanted], labels[:, wanted], np.ones(len(labels)))
    return each[0], each[1]
