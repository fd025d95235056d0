"""Ridge fits of many classes on the same rows, with few of the rows in memory at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from pumlc.estimators.design import (
    BLOCK_ENTRIES,
    Design,
    Features,
    Reduce,
    fit_design,
    identical_rows,
)
from pumlc.estimators.leave_out import (
    DualSpectrum,
    PrimalSpectrum,
    Spectrum,
    left_out_residuals,
    outside_shift,
)
from pumlc.estimators.weighting import Weighting
from pumlc.labels import NEGATIVE, POSITIVE

_GRAM_ENTRIES = 2**27  # of matrices that are summed in one pass over the rows: 1 GiB


@dataclass(frozen=True)
class Fit:
    """The decomposition of one weighting, and the targets of its classes in its coordinates."""

    classes: np.ndarray
    spectrum: Spectrum
    projected: np.ndarray

    @property
    def num_entries(self) -> int:
        """Numbers that are held."""
        return self.spectrum.basis.size


@dataclass(frozen=True)
class _Part:
    """A block of rows as one weighting sees it.

    Attributes:
        inside: places in the block of the rows with a weight, [M].
        root: square roots of the weights, [M].
        psi: root times phi, [M, D + 1].
        labels: [M, classes].
        fitted: what is fitted, the labels or other numbers, [M, classes].
    """

    inside: np.ndarray
    root: np.ndarray
    psi: Any
    labels: np.ndarray
    fitted: np.ndarray

    @property
    def targets(self) -> np.ndarray:
        """root times the targets, [M, classes]."""
        return self.root[:, None] * self.fitted


@dataclass(frozen=True)
class Problem:
    """Features, labels and weights, and the ways through them."""

    features: Features
    design: Design
    weighting: Weighting
    targets: np.ndarray
    groups: np.ndarray
    blocks: list[np.ndarray | slice]
    reduce: Reduce | None

    @staticmethod
    def build(
        features: Features,
        labels: np.ndarray,
        row_weights: ArrayLike | None,
        class_weights: ArrayLike | None,
        groups: ArrayLike | None,
        targets: ArrayLike | None,
        *,
        standardize: bool,
        reduce: Reduce | None,
    ) -> "Problem":
        """Check and scale; the arguments are those of `fit_least_squares`."""
        count, num_classes = labels.shape
        if features.shape[0] != count:
            raise ValueError(f"features have {features.shape[0]} rows, labels {count}")
        weights = _row_weights(row_weights, count, reduce)
        if class_weights is not None:
            class_weights = np.asarray(class_weights, np.float64)
            if class_weights.shape != (num_classes, 2) or not (class_weights >= 0).all():
                raise ValueError(
                    f"class_weights have shape {class_weights.shape}; they must be "
                    f"[{num_classes}, 2] and not negative"
                )
        if groups is None:
            numbers = identical_rows(features)
        else:
            numbers = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
            if len(numbers) != count:
                raise ValueError(f"groups have {len(numbers)} rows, labels {count}")
        design = fit_design(features, weights, standardize=standardize, reduce=reduce)
        blocks = list(whole_groups(numbers, max(1, BLOCK_ENTRIES // design.width)))
        weighting = Weighting(labels, weights, class_weights)
        fitted = labels if targets is None else np.asarray(targets)
        if fitted.shape != labels.shape or not np.isfinite(fitted).all():
            raise ValueError(f"targets have shape {fitted.shape}; {labels.shape} and finite ones")
        return Problem(features, design, weighting, fitted, numbers, blocks, reduce)

    def fits(self, ready: dict[int, Fit] | None = None) -> Iterator[tuple[int, Fit]]:
        """One fit for each weighting, with its number; fits in ``ready`` are not computed again."""
        ready = ready or {}
        waiting: list[tuple[int, np.ndarray]] = []
        most = max(1, _GRAM_ENTRIES // self.design.width**2)
        for number, classes in enumerate(self.weighting.patterns(self.reduce)):
            num_rows = np.count_nonzero(self.weighting.weights(classes[0]))
            if number in ready:
                yield number, ready.pop(number)
            elif self.reduce is None and num_rows <= self.design.width:
                yield number, self._dual(classes)
            else:
                waiting.append((number, classes))
                if len(waiting) == most:
                    yield from self._primal(waiting)
                    waiting = []
        if waiting:
            yield from self._primal(waiting)

    def _dual(self, classes: np.ndarray) -> Fit:
        part = self._part(classes, slice(None))
        spectrum = DualSpectrum.from_rows(part.psi)
        return Fit(classes, spectrum, spectrum.project_targets(part.targets))

    def _primal(self, waiting: list[tuple[int, np.ndarray]]) -> Iterator[tuple[int, Fit]]:
        width = self.design.width
        grams: list[Any] = [np.zeros((width, width)) for _ in waiting]
        moments = [np.zeros((width, len(classes))) for _, classes in waiting]
        for block in self.blocks:
            phi = self.design.rows(self.features, block)
            for place, (_, classes) in enumerate(waiting):
                part = self._part(classes, block, phi)
                grams[place] += part.psi.T @ part.psi
                moments[place] += part.psi.T @ part.targets.astype(part.psi.dtype)
        for place, (number, classes) in enumerate(waiting):
            gram, moment = np.asarray(grams[place]), moments[place]
            grams[place] = None  # its decomposition takes its place
            if self.reduce is not None:
                gram, moment = self.reduce(gram), self.reduce(moment)
            spectrum = PrimalSpectrum.from_gram(gram)
            yield number, Fit(classes, spectrum, spectrum.project_targets(moment))

    def _part(self, classes: np.ndarray, block: np.ndarray | slice, phi: Any = None) -> _Part:
        weights = self.weighting.weights(classes[0], block)
        inside = np.flatnonzero(weights)
        root = np.sqrt(weights[inside])
        if phi is None:
            psi = self.design.rows(self.features, np.arange(len(self.groups))[block][inside])
        else:
            psi = phi if len(inside) == len(weights) else phi[inside]
        if (root != 1).any():
            factor = root.astype(psi.dtype)
            is_sparse = sparse.issparse(psi)
            psi = sparse.diags_array(factor) @ psi if is_sparse else psi * factor[:, None]
        labels = self.weighting.labels[block][inside][:, classes]
        fitted = labels
        if self.targets is not self.weighting.labels:
            fitted = self.targets[block][inside][:, classes]
        return _Part(inside, root, psi, labels, fitted)

    def _blocks_of(self, fit: Fit) -> list[np.ndarray | slice]:
        return [slice(None)] if isinstance(fit.spectrum, DualSpectrum) else self.blocks

    def errors(self, fit: Fit, penalties: Sequence[float]) -> np.ndarray:
        """Leave-one-out mean squared error on known labels, [P, classes]; nan without both signs.

        The rows are weighted as they are in the fit.
        """
        squares = np.zeros((len(penalties), len(fit.classes)))
        present, absent = np.zeros((2, len(fit.classes)))
        for block in self._blocks_of(fit):
            part = self._part(fit.classes, block)
            rows, groups = fit.spectrum.rows(part.psi), self.groups[block][part.inside]
            for place, penalty in enumerate(penalties):
                residuals = left_out_residuals(
                    fit.spectrum, rows, fit.projected, part.targets, groups, penalty
                )
                squares[place] += (residuals**2).sum(axis=0)
            present += part.root**2 @ (part.labels == POSITIVE)
            absent += part.root**2 @ (part.labels == NEGATIVE)
        if self.reduce is not None:
            squares, present, absent = map(self.reduce, (squares, present, absent))
        both = (present > 0) & (absent > 0)
        return np.where(both, squares / np.where(both, present + absent, 1), np.nan)

    def leave_out(self, fit: Fit, penalty: float, scores: np.ndarray) -> None:
        """Write the leave-one-out scores of the fit's classes into ``scores``, zeros [N, C].

        For rows that the fit did not use it writes only what they lose with the members of their
        groups; `add_unused` adds their scores, for all classes at once.
        """
        for block in self._blocks_of(fit):
            part = self._part(fit.classes, block)
            places = np.arange(len(self.groups))[block]
            rows, groups = fit.spectrum.rows(part.psi), self.groups[places]
            inside_groups = groups[part.inside]
            residuals = left_out_residuals(
                fit.spectrum, rows, fit.projected, part.targets, inside_groups, penalty
            )
            inside = np.ix_(places[part.inside], fit.classes)
            scores[inside] = part.fitted - residuals / part.root[:, None]
            # a row that the fit did not use, of a group that it did
            others = np.isin(groups, inside_groups)
            others[part.inside] = False
            if others.any():
                phi = self.design.rows(self.features, places[others])
                scores[np.ix_(places[others], fit.classes)] -= outside_shift(
                    fit.spectrum,
                    fit.spectrum.project(phi),
                    groups[others],
                    rows,
                    residuals,
                    inside_groups,
                    penalty,
                )

    def add_unused(self, theta: np.ndarray, scores: np.ndarray) -> None:
        """Add phi theta to the entries of ``scores``, [N, C], that the fits did not use."""
        for block in self.blocks:
            phi = self.design.rows(self.features, block)
            own = np.asarray(phi @ theta.astype(scores.dtype))
            for column in range(scores.shape[1]):
                own[self.weighting.weights(column, block) > 0, column] = 0
            scores[block] += own


def _row_weights(row_weights: ArrayLike | None, count: int, reduce: Reduce | None) -> np.ndarray:
    weights = np.ones(count) if row_weights is None else np.asarray(row_weights, np.float64)
    if weights.shape != (count,):
        raise ValueError(f"row weights have shape {weights.shape}, not [{count}]")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("row weights must be finite and not negative")
    total = np.array([weights.sum()])
    if not (total if reduce is None else reduce(total))[0] > 0:
        raise ValueError("all row weights are zero: at least one must be above 0")
    return weights


def whole_groups(groups: np.ndarray, rows: int) -> Iterator[np.ndarray | slice]:
    """Blocks of about ``rows`` rows; slices where every row is a group of its own."""
    _, starts, sizes = np.unique(groups, return_index=True, return_counts=True)
    if (sizes == 1).all():
        for start in range(0, len(groups), rows):
            yield slice(start, min(start + rows, len(groups)))
        return
    order = np.argsort(starts[np.searchsorted(np.unique(groups), groups)], kind="stable")
    sizes = sizes[np.argsort(starts)]  # in the order of the groups' first rows
    ends, start = np.cumsum(sizes), 0
    for place, end in enumerate(ends):
        next_end = ends[place + 1] if place + 1 < len(ends) else np.inf
        if next_end - start > rows:
            yield np.sort(order[start:end])
            start = end
