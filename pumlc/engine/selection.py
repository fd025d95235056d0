"""Which of the weights of a run to use, by their scores on the held-out part.

The weights of the last epoch, averaged if there is an average, are those of the planned length.
Others take their place if the held-out part can tell that they are better: if their score is higher
by more than `SURE` standard errors of the difference. If it is higher by more than one, the mean of
both is used. A held-out part of a few dozen rows seldom can tell, and the best of many epochs is
then mostly the luckiest.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# an average with a larger share of the weights it started from is never preferred
LARGEST_START_SHARE = 0.1
ERRORS = "standard_errors"
"""The key of an entry that has, for other weights, the standard error of their score minus its;
None where the held-out part is too small to have one."""
MEAN = "mean"
"""The name of weights that are the mean of two others."""
MEAN_OF = "mean_of"
"""The key of their entry that has the names of the others with their epochs."""
SURE = 2.5
"""Standard errors from which on the better weights are used alone."""
FEWEST = 10
"""A part with fewer known positives (rows, where each row has a score) has no standard error: drawn
from so few, it is itself too uncertain."""


@dataclass(frozen=True)
class Selection:
    """What `select_weights` found.

    Attributes:
        name: the weights to use.
        last: those of the last epoch, averaged if there is an average; None before there are any.
        best: those with the best score; None without a held-out part.
        epoch: of ``best``.
        difference: score of ``best`` minus score of ``last``; None if either is missing.
        error: standard error of the difference; None if it is not known.
        too_small: the part is too small for a standard error, and so the last weights stay. Else
            without an error the best are used.
        mean_of: names of ``best`` and ``last`` with their epochs, if the difference lies between
            one and `SURE` standard errors: their mean is used, once it is there.
    """

    name: str
    last: str | None
    best: str | None = None
    epoch: int | None = None
    difference: float | None = None
    error: float | None = None
    too_small: bool = False
    mean_of: dict[str, int] | None = None

    def columns(self) -> dict[str, float]:
        """The columns of metrics.csv; none if the best are used whatever the error."""
        if self.difference is None or (self.error is None and not self.too_small):
            return {}
        columns = {"selection/best_minus_last": self.difference}
        return (
            columns if self.error is None else {**columns, "selection/standard_error": self.error}
        )

    def line(self) -> str | None:
        """The selection in a line for a person; None if the best are used whatever the error."""
        if self.difference is None or (self.error is None and not self.too_small):
            return None
        if not self.difference:
            return f"weights to use: {self.last}; none score higher on the held-out part"
        start = (
            f"weights to use: {self.name}; on the held-out part {self.best} (epoch {self.epoch}) "
            f"scores {self.difference:.2f}"
        )
        if self.error is None:
            return f"{start} above {self.last}, but the part is too small to tell"
        if self.name == self.last:
            than = "at most one standard error"
        elif self.name == MEAN:
            than = f"more than one standard error and at most {SURE:g}: the mean of both is used"
        else:
            than = f"more than {SURE:g} standard errors"
        return f"{start} +- {self.error:.2f} above {self.last}, {than}"


def without_selection(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of metrics.csv without the columns of `Selection.columns`."""
    return {name: value for name, value in row.items() if not name.startswith("selection/")}


def select_weights(index: Mapping[str, dict[str, Any]]) -> Selection:
    """Choose among the weights of a run.

    An average that is still dominated by the weights that the run started from plays no part. Nor
    does the mean of other weights than those that are there: a run that went on has others.

    Args:
        index: name of the weights -> their entry, see `RunFolder.index`.
    """
    mean = index.get(MEAN, {})
    index = {
        name: entry
        for name, entry in index.items()
        if name != MEAN and entry.get("start_share", 0.0) <= LARGEST_START_SHARE
    }
    last = next((name for name in ("last-ema", "last") if name in index), None)
    scores = {name: e["score"] for name, e in index.items() if e.get("score") is not None}
    if not scores:
        return Selection(last or "last", last)
    # of equal scores the longest trained
    best = max(scores, key=lambda name: (scores[name], index[name]["epoch"]))
    if last is None or last not in scores:
        return Selection(best, last, best, index[best]["epoch"])
    difference = scores[best] - scores[last]
    errors = index[last].get(ERRORS, {})
    error = errors.get(best)
    too_small = best in errors and error is None
    keep = too_small or (error is not None and difference <= error)
    mean_of = None
    if not keep and error is not None and difference <= SURE * error:
        mean_of = {name: index[name]["epoch"] for name in (best, last)}
    name = last if keep else best
    if mean_of is not None and mean.get(MEAN_OF) == mean_of:
        name = MEAN
    epoch = index[best]["epoch"]
    return Selection(name, last, best, epoch, difference, error, too_small, mean_of)


class HeldOutScores:
    """What a run remembers of its looks at the held-out part.

    Attributes:
        best: name of weights (``best``, ``best-ema``) -> the best score so far.
    """

    def __init__(self) -> None:
        self.best: dict[str, float] = {}
        self._resamples: dict[str, np.ndarray] = {}

    def improve(self, name: str, score: float, resamples: np.ndarray | None) -> bool:
        """Whether no earlier score of these weights was better; it is then the best.

        Args:
            name: ``best`` or ``best-ema``.
            score: of this look.
            resamples: [R], the score on resamples of the rows; None: they are not known.
        """
        # the later of equal scores: a small validation part is soon ranked perfectly
        if score < self.best.get(name, -math.inf):
            return False
        self.best[name] = score
        self._keep(name, resamples)
        return True

    def compare(self, last: str, resamples: np.ndarray | None) -> dict[str, Any]:
        """What the entry of the last weights says of others, for `select_weights`.

        Args:
            last: their name.
            resamples: [R], their score on resamples of the rows.
        """
        self._keep(last, resamples)
        if resamples is None:
            return {}
        kept = self._resamples.items()
        return {ERRORS: {name: standard_error(found, resamples) for name, found in kept}}

    def _keep(self, name: str, resamples: np.ndarray | None) -> None:
        self._resamples.pop(name, None)
        if resamples is not None:
            self._resamples[name] = resamples

    def state(self) -> dict[str, Any]:
        """Plain numbers, from which `load` goes on."""
        resamples = {name: found.tolist() for name, found in self._resamples.items()}
        return {"best": self.best, "resamples": resamples}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; those of earlier versions have no resamples."""
        self.best = state["best"]
        self._resamples = {n: np.array(found) for n, found in state.get("resamples", {}).items()}


def standard_error(scores: np.ndarray, others: np.ndarray) -> float | None:
    """Standard error of the difference between two scores on the same rows.

    Args:
        scores: [R], the one on resamples of the rows; nan where a resample has no score.
        others: [R], the other on the same resamples.

    Returns:
        None with fewer than two resamples that have both.
    """
    differences = scores - others
    differences = differences[~np.isnan(differences)]
    return float(differences.std(ddof=1)) if len(differences) > 1 else None
