"""Ridge heads of very many classes, fitted and left out on the labels that are known alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from pumlc.estimators.design import (
    BLOCK_ENTRIES,
    Design,
    Features,
    fit_design,
    identical_rows,
    slices,
)
from pumlc.estimators.least_squares import PENALTIES, choose_penalty
from pumlc.estimators.leave_out import PrimalSpectrum, left_out_residuals
from pumlc.estimators.problem import Fit, Problem, whole_groups
from pumlc.estimators.weighting import Weighting
from pumlc.labels import POSITIVE, SparseLabels
from pumlc.labels.known_cells import MeasuredCells, stored_by_class
from pumlc.labels.sparse import positives_of

_KEPT_ENTRIES = 2**26  # of decompositions kept from the choice to the fit
_PATTERN_CELLS = 2**25  # of classes that are fitted together


@dataclass(frozen=True)
class KnownLeastSquares:
    """What `fit_known_least_squares` returns; the fields are those of `LeastSquares`.

    Attributes:
        coefficients: [D, C]; zeros for a class without a known label.
        intercept: [C].
        loo_scores: [N, C] CSR with the cells of the measured labels.
        penalty: the one that was chosen.
    """

    coefficients: np.ndarray
    intercept: np.ndarray
    loo_scores: csr_array
    penalty: float


def fit_known_least_squares(
    features: Features,
    labels: SparseLabels,
    cells: MeasuredCells,
    *,
    penalties: Sequence[float] = PENALTIES,
    groups: np.ndarray | None = None,
) -> KnownLeastSquares:
    """The fit of `fit_least_squares`, and leave-one-out scores of the measured cells alone.

    A class is fitted on the rows where its label is known. A class that is never known to be absent
    is fitted on all rows, with what is not listed as absent. If that were too many cells, only sums
    over the rows are made (no matrix of labels), and the cells of the sampled rows choose the
    penalty; there a row is left out by itself, without the others of its group.

    Args:
        features: real [N, D], dense or a memory map.
        labels: [N, C].
        cells: `measured_cells` of these labels.
        penalties: candidates, above 0.
        groups: [N], equal for rows that are left out together; None: rows with identical features.
    """
    number, width = labels.shape
    design = fit_design(features, np.ones(number), standardize=True)
    groups = identical_rows(features) if groups is None else groups
    fits = _Fits(features, design, groups, cells.labels)
    parts: list[_Fits | _ListedFits] = [fits]
    if len(cells.sampled) < number:
        parts.append(_ListedFits(features, design, labels, cells))
        fits.left_to_others = cells.alone
    candidates = tuple(sorted(set(penalties)))
    errors = np.full((len(candidates), width), np.nan)
    for part in parts:
        for classes, each in part.errors(candidates):
            errors[:, classes] = each
    penalty = choose_penalty(candidates, errors)
    theta = np.zeros((design.width, width))
    scores = np.zeros(cells.labels.nnz, np.float32)
    for part in parts:
        part.finish(penalty, theta, scores)
    coefficients = theta[:-1] / design.spread[:, None]
    dtype = np.result_type(features, np.float32)
    arrays = (scores, cells.labels.indices, cells.labels.indptr)
    return KnownLeastSquares(
        coefficients.astype(dtype),
        (theta[-1] - design.mean @ coefficients).astype(dtype),
        csr_array(arrays, shape=labels.shape),
        penalty,
    )


class _Rows:
    """Some rows of features, which are read when they are needed."""

    def __init__(self, features: Features, rows: np.ndarray) -> None:
        self._features, self._rows = features, rows
        self.shape = (len(rows), features.shape[1])

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self._features[self._rows[index]])


class _Fits:
    """Classes that are fitted on their own known rows; those known in all rows, together."""

    def __init__(
        self, features: Features, design: Design, groups: np.ndarray, labels: csr_array
    ) -> None:
        self._features, self._design, self._groups = features, design, groups
        self._labels = labels
        self._row_of = np.repeat(np.arange(len(groups), dtype=np.int32), np.diff(labels.indptr))
        self._kept: dict[int, Fit] = {}
        self.left_to_others = np.zeros(labels.shape[1], bool)  # pyright: ignore

    def _problems(self) -> Iterator[tuple[np.ndarray, list[np.ndarray], Problem]]:
        """Classes, their entries, and the problem of each pattern of known rows."""
        whole: list[tuple[int, np.ndarray]] = []
        for column, entries in enumerate(stored_by_class(self._labels)):
            if not len(entries) or self.left_to_others[column]:
                continue
            if len(entries) < len(self._groups):  # hardly ever the rows of another class
                yield self._problem([(column, entries)])
                continue
            whole.append((column, entries))
            if len(whole) * len(entries) >= _PATTERN_CELLS:
                yield self._problem(whole)
                whole = []
        if whole:
            yield self._problem(whole)

    def _problem(
        self, together: list[tuple[int, np.ndarray]]
    ) -> tuple[np.ndarray, list[np.ndarray], Problem]:
        columns, entries = np.array([one[0] for one in together]), [one[1] for one in together]
        rows = self._row_of[entries[0]]
        labels = np.stack([self._labels.data[own] for own in entries], axis=1)
        whole = len(rows) == len(self._groups)
        groups = np.unique(self._groups[rows], return_inverse=True)[1]
        blocks = list(whole_groups(groups, max(1, BLOCK_ENTRIES // self._design.width)))
        weighting = Weighting(labels, np.ones(len(rows)), None)
        features = self._features if whole else _Rows(self._features, rows)
        problem = Problem(features, self._design, weighting, labels, groups, blocks, None)
        return columns, entries, problem

    def errors(self, penalties: tuple[float, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Leave-one-out errors, [P, classes], of some classes at a time."""
        kept = 0
        for number, (columns, _, problem) in enumerate(self._problems()):
            ((_, fit),) = problem.fits()
            yield columns, problem.errors(fit, penalties)
            if kept + fit.num_entries < _KEPT_ENTRIES:
                self._kept[number] = fit
                kept += fit.num_entries

    def finish(self, penalty: float, theta: np.ndarray, scores: np.ndarray) -> None:
        """Write coefficients and leave-one-out scores."""
        for number, (columns, entries, problem) in enumerate(self._problems()):
            ready = {0: self._kept.pop(number)} if number in self._kept else {}
            ((_, fit),) = problem.fits(ready)
            theta[:, columns] = fit.spectrum.coefficients(fit.projected, penalty)
            own = np.zeros(problem.weighting.labels.shape, np.float32)
            problem.leave_out(fit, penalty, own)
            for place, each in enumerate(entries):
                scores[each] = own[:, place]


class _ListedFits:
    """Classes of which only present labels are known, of so many rows that no matrix is made."""

    def __init__(
        self, features: Features, design: Design, labels: SparseLabels, cells: MeasuredCells
    ) -> None:
        self._features, self._design, self._cells = features, design, cells
        self._classes = np.flatnonzero(cells.alone)
        present = csr_array(positives_of(labels)[:, cells.alone], dtype=np.float32)
        gram = np.zeros((design.width, design.width))
        moments = np.zeros((design.width, len(self._classes)))
        for rows in slices(features.shape):
            phi = design.rows(features, rows)
            gram += phi.T @ phi
            # targets are 1 where a label is listed and -1 elsewhere: 2 listed - 1
            moments += 2 * (present[rows].T @ phi).T - phi.sum(axis=0)[:, None]
        self._spectrum = PrimalSpectrum.from_gram(gram)
        self._projected = self._spectrum.project_targets(moments)

    def _left_out(self, penalties: tuple[float, ...]) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Rows, targets [B, classes], and residuals for each penalty."""
        sampled = self._cells.sampled
        step = max(1, BLOCK_ENTRIES // max(self._design.width, len(self._classes)))
        for start in range(0, len(sampled), step):
            rows = sampled[start : start + step]
            psi = self._design.rows(self._features, rows)
            targets = self._cells.labels[rows][:, self._classes].toarray().astype(psi.dtype)
            seen = self._spectrum.rows(psi)
            given = (self._spectrum, seen, self._projected, targets, np.arange(len(rows)))
            yield rows, targets, [left_out_residuals(*given, each) for each in penalties]

    def errors(self, penalties: tuple[float, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Leave-one-out errors on the sampled rows, [P, classes]."""
        squares = np.zeros((len(penalties), len(self._classes)))
        present = np.zeros(len(self._classes))
        for _, targets, residuals in self._left_out(penalties):
            squares += [(each**2).sum(axis=0) for each in residuals]
            present += (targets == POSITIVE).sum(axis=0)
        number = len(self._cells.sampled)
        both = (present > 0) & (present < number)
        yield self._classes, np.where(both, squares / number, np.nan)

    def finish(self, penalty: float, theta: np.ndarray, scores: np.ndarray) -> None:
        """Write coefficients, and leave-one-out scores of the sampled rows."""
        theta[:, self._classes] = self._spectrum.coefficients(self._projected, penalty)
        labels = self._cells.labels
        for rows, targets, (residuals,) in self._left_out((penalty,)):
            values = targets - residuals
            for row, own in zip(rows.tolist(), values, strict=True):
                span = np.arange(int(labels.indptr[row]), int(labels.indptr[row + 1]))
                scores[span[self._cells.alone[labels.indices[span]]]] = own
