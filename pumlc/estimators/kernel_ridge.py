r"""Kernel ridge regression of many sparse labels, and every row predicted without itself.

With K the kernel of all N rows and T their targets, 1 where a row has a label and 0 elsewhere:

.. math:: \alpha = (K + \lambda I)^{-1} T, \qquad f(x) = k(x)^\top \alpha, \qquad
          t_i - f_{-i}(x_i) = \alpha_i / [(K + \lambda I)^{-1}]_{ii}

Of more rows than memory holds a kernel of, M are *anchors*: the features of a row are then its
kernel with these, and ridge regression on them (the Nystroem model) has

.. math:: W = (K_{MN} K_{NM} + \lambda K_{MM})^{-1} K_{MN} T, \qquad
          t_i - f_{-i}(x_i) = (t_i - f(x_i)) / (1 - k_i^\top (\cdot)^{-1} k_i)

Anchors are chosen without a look at labels, so this leave-one-out is exact too. Rows of a group are
left out together, with blocks in the place of the quotients.

Source: Allen 1974 (PRESS); Rifkin, Yeo & Poggio 2003; Williams & Seeger 2001 (Nystroem).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import get_lapack_funcs

KernelRows = Callable[[np.ndarray], np.ndarray]
"""From row numbers [n] to their kernel with the anchors, [n, M]."""

ROWS_AT_A_TIME = 1024
_IN_DOUBLE = 4096  # so many unknowns are solved in float64, more in float32
_JITTER = 1e-6  # on the diagonal of the anchors' kernel, relative to its mean


class KernelProblem:
    """The rows, their targets and their anchors, for any penalty.

    Args:
        kernel: rows of the kernel. It is asked for blocks of rows, more than once.
        targets: sparse [N, L].
        groups: [N], equal for rows that are left out together.
        anchors: [M] ascending row numbers; None: every row.

    Raises:
        ValueError: sizes do not fit.

    Example:
        >>> import scipy.sparse as sp
        >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> problem = KernelProblem(
        ...     lambda rows: np.exp(-((x[rows] - x.T) ** 2)),
        ...     sp.csr_array([[1], [1], [0], [0]]),
        ...     groups=np.arange(4),
        ... )
        >>> fit = problem.solve(0.1)
        >>> [round(float(score), 2) for _, scores in fit.left_out() for score in scores[:, 0]]
        [0.37, 0.33, 0.26, -0.09]
    """

    def __init__(
        self,
        kernel: KernelRows,
        targets: Any,
        *,
        groups: np.ndarray,
        anchors: np.ndarray | None = None,
    ) -> None:
        self.kernel, self.targets, self.anchors = kernel, targets.tocsr(), anchors
        self.count = targets.shape[0]
        if len(groups) != self.count:
            raise ValueError(f"groups have {len(groups)} rows, targets {self.count}")
        self.blocks = list(whole_groups(groups, ROWS_AT_A_TIME))
        size = self.count if anchors is None else len(anchors)
        self._dtype = np.float64 if size <= _IN_DOUBLE or anchors is not None else np.float32
        self._system = self._kernel_matrix() if anchors is None else self._normal_matrix(anchors)

    def _kernel_matrix(self) -> np.ndarray:
        """K, [N, N]."""
        matrix = np.empty((self.count, self.count), self._dtype)
        for start in range(0, self.count, ROWS_AT_A_TIME):
            rows = np.arange(start, min(start + ROWS_AT_A_TIME, self.count))
            matrix[rows] = self.kernel(rows)
        return matrix

    def _normal_matrix(self, anchors: np.ndarray) -> np.ndarray:
        """K_MN K_NM, [M, M]; also what else is summed over the rows."""
        matrix = np.zeros((len(anchors), len(anchors)), self._dtype)
        moments = np.zeros((len(anchors), self.targets.shape[1]), np.float32)
        for start in range(0, self.count, ROWS_AT_A_TIME):
            rows = np.arange(start, min(start + ROWS_AT_A_TIME, self.count))
            block = self.kernel(rows)
            matrix += block.T @ block
            moments += (self.targets[rows].T @ block).T
        self._moments = moments
        own = self.kernel(anchors).astype(self._dtype)
        own[np.diag_indices(len(anchors))] += _JITTER * np.diag(own).mean()
        self._anchor_kernel = own
        return matrix

    def solve(self, penalty: float) -> "KernelFit":
        """The fit with a penalty.

        Raises:
            ValueError: it is not above 0.
        """
        if not penalty > 0:
            raise ValueError(f"penalty is {penalty}; it must be above 0")
        matrix = self._system.copy()
        if self.anchors is None:
            matrix[np.diag_indices(self.count)] += penalty
            inverse = symmetric_inverse(matrix)
            coefficients = (self.targets.T @ inverse).T
        else:
            matrix += penalty * self._anchor_kernel
            inverse = symmetric_inverse(matrix)
            coefficients = inverse @ self._moments
        return KernelFit(self, penalty, inverse, np.ascontiguousarray(coefficients, np.float32))


@dataclass(frozen=True)
class KernelFit:
    """The fit of one penalty.

    Attributes:
        problem: what was fitted.
        penalty: the penalty.
        inverse: of the system that was solved, [N, N] or [M, M].
        coefficients: float32 [M, L]: the scores of a row are its kernel with the anchors times
            these.
    """

    problem: KernelProblem
    penalty: float
    inverse: np.ndarray
    coefficients: np.ndarray

    def left_out(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers [n] and their scores [n, L] by the fit without them and their group."""
        targets = self.problem.targets
        return self._left_out(
            self.coefficients, lambda rows: targets[rows].toarray().astype(np.float32)
        )

    def further(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same regression on other targets: nothing is decomposed again.

        Args:
            targets: [N, D], dense.

        Returns:
            coefficients float32 [M, D], and float32 [N, D], each row by the fit without it and its
            group.
        """
        problem = self.problem
        if problem.anchors is None:
            moments = targets
        else:
            moments = np.zeros((len(self.inverse), targets.shape[1]))
            for start in range(0, problem.count, ROWS_AT_A_TIME):
                rows = np.arange(start, min(start + ROWS_AT_A_TIME, problem.count))
                moments += problem.kernel(rows).T @ targets[rows]
        coefficients = (self.inverse @ moments).astype(np.float32)
        without = np.empty(targets.shape, np.float32)
        for rows, scores in self._left_out(coefficients, lambda rows: targets[rows]):
            without[rows] = scores
        return coefficients, without

    def _left_out(
        self, coefficients: np.ndarray, targets_of: Callable[[np.ndarray], np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for rows, groups in self.problem.blocks:
            targets = targets_of(rows)
            if self.problem.anchors is None:
                residuals, matrix = coefficients[rows], self.inverse[np.ix_(rows, rows)]
            else:
                kernel = self.problem.kernel(rows)
                residuals = targets - kernel @ coefficients
                matrix = np.eye(len(rows)) - kernel @ self.inverse @ kernel.T
            yield rows, targets - _without_group(residuals, matrix, groups)


def _without_group(residuals: np.ndarray, matrix: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Residuals [n, L] of the fit as those of the fits without a row's group.

    Args:
        residuals: alpha or t - f of the rows.
        matrix: [n, n], the inverse or I - H of the same rows.
        groups: [n], whole groups.
    """
    divided = residuals / np.diag(matrix).astype(residuals.dtype)[:, None]
    for own in _members(groups):
        if len(own) > 1:
            divided[own] = np.linalg.solve(matrix[np.ix_(own, own)], residuals[own])
    return divided


def _members(groups: np.ndarray) -> list[np.ndarray]:
    """Places of the rows of each group."""
    order = np.argsort(groups, kind="stable")
    starts = np.unique(groups[order], return_index=True)[1]
    return np.split(order, starts[1:])


def whole_groups(groups: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of about ``size`` rows that split no group: row numbers, and their groups.

    >>> [rows.tolist() for rows, _ in whole_groups(np.array([0, 1, 0, 2]), 2)]
    [[0, 2], [1, 3]]
    """
    block: list[np.ndarray] = []
    for own in _members(groups):
        if block and sum(map(len, block)) + len(own) > size:
            rows = np.concatenate(block)
            yield rows, groups[rows]
            block = []
        block.append(own)
    if block:
        rows = np.concatenate(block)
        yield rows, groups[rows]


def symmetric_inverse(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a positive definite matrix, in its place.

    Raises:
        ValueError: it is not positive definite.
    """
    transposed = matrix.T  # the same matrix, in the order of LAPACK: nothing is copied
    factor, invert = get_lapack_funcs(("potrf", "potri"), (transposed,))
    transposed, problem = factor(transposed, lower=1, overwrite_a=1, clean=0)
    if not problem:
        transposed, problem = invert(transposed, lower=1, overwrite_c=1)
    if problem:
        raise ValueError("the kernel is not positive definite with this penalty; take a larger one")
    inverse = transposed.T  # its upper triangle is the inverse
    for start in range(0, len(inverse), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        square = inverse[rows, rows]
        inverse[rows, rows] = np.triu(square) + np.triu(square, 1).T
        inverse[start + len(square) :, rows] = inverse[rows, start + len(square) :].T
    return inverse
