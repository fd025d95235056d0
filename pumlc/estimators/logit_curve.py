"""One rising curve for the calibrated logits of all classes, where a sigmoid is not their shape."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

_KNOTS = 16
"""At most this many. Of 4, 8, 16 and 24, 8 and 16 had the largest gains of `_gains` on the training
labels of the COCO part, Corel5k and clip art; 16 alone had one above 0 on the VOC subset."""
_LEAST_LABELS = 50  # of either kind between two knots
_FOLDS = 5
_STANDARD_ERRORS = 2


class LogitCurve(NamedTuple):
    """A rising, piecewise linear function of logits, with slope 1 beyond its knots.

    It keeps the order of all logits. Without a knot it changes nothing.

    Attributes:
        at: [K] logits, rising.
        to: [K], what they become, rising.

    Example:
        >>> curve = LogitCurve(np.array([-2.0, 0.0]), np.array([-3.0, 0.0]))
        >>> curve(np.array([-4.0, -1.0, 5.0])).tolist()
        [-5.0, -1.5, 5.0]
        >>> curve.inverse()(np.array([-5.0, -1.5, 5.0])).tolist()
        [-4.0, -1.0, 5.0]
    """

    at: np.ndarray
    to: np.ndarray

    def __call__(self, logits: Any) -> Any:
        """What logits become, of any shape."""
        if not len(self.at):
            return logits
        below, above = np.minimum(logits - self.at[0], 0), np.maximum(logits - self.at[-1], 0)
        return np.interp(logits, self.at, self.to) + below + above

    def as_json(self) -> dict[str, list[float]]:
        """The knots, for a run folder."""
        return {"at": self.at.tolist(), "to": self.to.tolist()}

    def inverse(self) -> "LogitCurve":
        """The curve that leads back."""
        return LogitCurve(self.to, self.at)

    def bends(self) -> tuple[float, np.ndarray]:
        """The same function as x + offset + sum_k change_k max(0, x - at_k).

        Returns:
            The offset, and the changes of slope [K].
        """
        slopes = np.concatenate([[1.0], np.diff(self.to) / np.diff(self.at), [1.0]])
        return float(self.to[0] - self.at[0]), np.diff(slopes)


STRAIGHT = LogitCurve(np.empty(0), np.empty(0))
"""The curve that changes nothing."""


def fit_logit_curve(logits: np.ndarray, present: np.ndarray, rows: np.ndarray) -> LogitCurve:
    """Fit the curve to known labels of all classes, if that gains something on left-out rows.

    Isotonic regression cuts the sorted logits into blocks with rising shares of present labels.
    Neighbours are joined until each block has enough labels of either kind. Each block is then a
    knot: it leads from the log-odds of the mean probability, sigmoid of the logits, to those of the
    share of present labels. The knots stay if they lower the cross entropy of rows that they were
    not fitted on by more than two standard errors, over five folds of the rows.

    Args:
        logits: [n], finite, of models that have not seen the labels.
        present: bool [n], the labels.
        rows: [n], the number of the picture of each.

    Source: Zadrozny & Elkan 2002, for isotonic regression.
    """
    if min(present.sum(), (~present).sum()) < 2 * _LEAST_LABELS:
        return STRAIGHT
    curve = _knots(logits, present)
    if not len(curve.at):
        return curve
    gains = _gains(logits, present, rows)
    error = gains.std() * np.sqrt(len(gains))
    return curve if gains.sum() > _STANDARD_ERRORS * error else STRAIGHT


def _knots(logits: np.ndarray, present: np.ndarray) -> LogitCurve:
    order = np.argsort(logits, kind="stable")
    sorted_logits, sorted_present = logits[order], present[order]
    shares = IsotonicRegression().fit_transform(sorted_logits, sorted_present.astype(np.float64))
    ends = np.concatenate([np.flatnonzero(np.diff(shares) > 0) + 1, [len(order)]])
    counts = np.concatenate([[0], np.cumsum(sorted_present)])
    sums = np.concatenate([[0], np.cumsum(expit(sorted_logits))])
    at, to = [], []
    for start, end in _joined(ends, counts):
        of_present, size = counts[end] - counts[start], end - start
        at.append(logit((sums[end] - sums[start]) / size))
        to.append(logit((of_present + 0.5) / (size + 1)))
    rising = _rising(at, to)
    if len(rising) < 2:
        return STRAIGHT
    return LogitCurve(np.array(at)[rising], np.array(to)[rising])


def _joined(ends: np.ndarray, counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and last place of blocks that have enough labels of either kind.

    Args:
        ends: where the blocks of the regression end, rising; the last one is the number of labels.
        counts: present labels before each place.
    """
    total = int(ends[-1])
    least = max(_LEAST_LABELS, -(-min(counts[-1], total - counts[-1]) // _KNOTS))
    start, last = 0, None
    for end in ends.tolist():
        of_present = counts[end] - counts[start]
        if min(of_present, end - start - of_present) < least:
            continue
        if last is not None:
            yield last
        start, last = end, (start, end)
    if last is not None:
        yield last[0], total  # what is left at the end belongs to the last block


def _rising(at: list[float], to: list[float]) -> list[int]:
    """The knots that are clearly above the one before, in both directions."""
    least, kept = 1e-3, list(range(min(1, len(at))))
    for k in range(1, len(at)):
        if at[k] - at[kept[-1]] > least and to[k] - to[kept[-1]] > least:
            kept.append(k)
    return kept


def _gains(logits: np.ndarray, present: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """By how much a curve that has not seen a row lowers its cross entropy, for each row."""
    _, rows = np.unique(rows, return_inverse=True)
    number = int(rows.max()) + 1
    folds = (np.random.RandomState(0).permutation(number) % _FOLDS)[rows]
    signs = np.where(present, -1.0, 1.0)
    gains = np.zeros(len(logits))
    for fold in range(_FOLDS):
        held = folds == fold
        curve = _knots(logits[~held], present[~held])
        before, after = logits[held], curve(logits[held])
        gains[held] = np.logaddexp(0, signs[held] * before) - np.logaddexp(0, signs[held] * after)
    return np.bincount(rows, weights=gains)
