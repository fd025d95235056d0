"""From the scores of ranked labels to probabilities, and which of them count as present."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from pumlc.errors import UserError
from pumlc.estimators.calibration import fit_sigmoid
from pumlc.plain_numbers import is_finite_number


@dataclass(frozen=True)
class Decisions:
    """One sigmoid and one threshold for all labels, so that probabilities rank as scores do.

    Attributes:
        slope: above 0; the probability of a score is ``sigmoid(slope * score + bias)``.
        bias: see there.
        threshold: the probability from which a label counts as present.
        fitted_on: the documents that told, which the model was not fitted on.
    """

    slope: float
    bias: float
    threshold: float
    fitted_on: str

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Of scores of any shape; 0 where a score is -inf, a place without a label."""
        return expit(self.slope * np.asarray(scores, np.float64) + self.bias)

    def to_json(self) -> dict[str, Any]:
        """What the index of the weights keeps of them."""
        return asdict(self)

    @staticmethod
    def from_entry(entry: Mapping[str, Any], where: str) -> "Decisions | None":
        """Those of an entry of the index of the weights; None where none were fitted.

        Args:
            entry: it may come from anyone.
            where: the file, for the message.

        Raises:
            UserError: they are damaged.
        """
        stored = entry.get("extras", {}).get("decisions")
        if stored is None:
            return None
        names = ("slope", "bias", "threshold")
        if not (
            isinstance(stored, dict)
            and all(is_finite_number(stored.get(name)) for name in names)
            and stored["slope"] > 0
            and isinstance(stored.get("fitted_on"), str)
        ):
            raise UserError(f"{where}: extras.decisions has no {', '.join(names)}: {stored!r:.80}")
        slope, bias, threshold = (float(stored[name]) for name in names)
        return Decisions(slope, bias, threshold, stored["fitted_on"])


def fit_decisions(
    scores: np.ndarray, hits: np.ndarray, positives: int, *, fitted_on: str
) -> Decisions:
    """Sigmoid and threshold of ranked labels of documents that the model was not fitted on.

    The sigmoid has the least cross entropy on the listed pairs, the threshold the highest F1 over
    all pairs; a label that is not listed is one that is missed.

    Args:
        scores: [N, k], best first; -inf where there is no label.
        hits: bool [N, k], whether the document has the label.
        positives: labels of the documents in all, those that are not listed too.
        fitted_on: what the documents are.

    Example:
        >>> scores = np.array([[3.0, 1.0], [2.0, -np.inf]])
        >>> hits = np.array([[True, False], [True, False]])
        >>> decisions = fit_decisions(scores, hits, 2, fitted_on="validation")
        >>> bool(decisions.probabilities(2.0) > decisions.threshold > decisions.probabilities(1.0))
        True
    """
    listed = np.isfinite(scores)
    flat, found = scores[listed].astype(np.float64), hits[listed]
    if not len(flat):
        return Decisions(1.0, 0.0, 0.5, fitted_on)
    slope, bias = fit_sigmoid(flat, found, np.ones(len(flat)))
    order = np.argsort(-flat, kind="stable")
    ranked, right = flat[order], np.cumsum(found[order])
    f1 = 2 * right / (np.arange(1, len(ranked) + 1) + max(positives, 1))
    last = np.append(ranked[1:] < ranked[:-1], True)  # equal scores are decided alike
    best = int(np.argmax(np.where(last, f1, -1)))
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best]
    middle = (ranked[best] + below) / 2
    return Decisions(slope, bias, float(expit(slope * middle + bias)), fitted_on)
