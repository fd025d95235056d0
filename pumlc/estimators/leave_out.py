"""Ridge regression with one weighting of the rows, and leave-one-out predictions of every row.

For rows phi_i with weights w_i and targets t_i the coefficients are

    theta = (sum_i w_i phi_i phi_i^T + penalty I)^-1 sum_i w_i t_i phi_i

With Psi = W^1/2 Phi, the residuals rho = W^1/2 (t - Phi theta) and the hat matrix
H = Psi (Psi^T Psi + penalty I)^-1 Psi^T, a group g of rows is predicted by the fit without it as

    t_g - W_g^-1/2 (I - H_gg)^-1 rho_g

which is exact (Allen's PRESS, 1974; by blocks: Cook & Weisberg 1982). One eigendecomposition
serves all penalties: of Psi^T Psi (`PrimalSpectrum`, from sums over blocks of rows) or of
Psi Psi^T (`DualSpectrum`, where the rows are fewer than the features).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

_BATCH_ENTRIES = 2**22


@dataclass(frozen=True)
class Rows:
    """Rows of one weighting as a spectrum sees them.

    Attributes:
        vectors: [M, R]; H_ij = sum_k vectors_ik hat_k vectors_jk; hat depends on the penalty.
        identity: 1 where I - H = I - V diag(.) V^T is computed as it stands, 0 where V is a full
            basis, so that I - H = V diag(penalty / (values + penalty)) V^T loses no digit.
        squares: the squares of ``vectors``, which every penalty needs.
    """

    vectors: np.ndarray
    identity: float
    squares: np.ndarray

    @staticmethod
    def from_vectors(vectors: np.ndarray, identity: float) -> "Rows":
        return Rows(vectors, identity, vectors**2)


@dataclass(frozen=True)
class PrimalSpectrum:
    """Eigendecomposition of Psi^T Psi, [D + 1, D + 1]."""

    values: np.ndarray
    basis: np.ndarray

    @staticmethod
    def from_gram(gram: np.ndarray) -> "PrimalSpectrum":
        values, basis = np.linalg.eigh(gram)
        return PrimalSpectrum(np.maximum(values, 0), basis)

    def rows(self, psi: Any) -> Rows:
        return Rows.from_vectors(np.asarray(psi @ self.basis.astype(psi.dtype)), 1.0)

    def project_targets(self, moments: np.ndarray) -> np.ndarray:
        """From Psi^T W^1/2 t, [D + 1, C], to the coordinates of the basis, [R, C]."""
        return self.basis.T @ moments

    def factors(self, penalty: float) -> np.ndarray:
        """What stands between V and V^T in I - H, beside the identity."""
        return -1 / (self.values + penalty)

    def coefficients(self, projected: np.ndarray, penalty: float) -> np.ndarray:
        """theta, [D + 1, C]."""
        return self.basis @ (projected / (self.values + penalty)[:, None])

    def project(self, phi: Any) -> np.ndarray:
        """Coordinates of other rows, [K, R].

        Their scores are ``project(phi) @ (projected / (values + penalty))``.
        """
        return np.asarray(phi @ self.basis)


@dataclass(frozen=True)
class DualSpectrum:
    """Eigendecomposition of Psi Psi^T, [M, M]."""

    values: np.ndarray
    basis: np.ndarray
    psi: Any

    @staticmethod
    def from_rows(psi: Any) -> "DualSpectrum":
        kernel = psi @ psi.T
        kernel = kernel.toarray() if hasattr(kernel, "toarray") else kernel
        values, basis = np.linalg.eigh(np.asarray(kernel, np.float64))
        return DualSpectrum(np.maximum(values, 0), basis, psi)

    def rows(self, psi: Any) -> Rows:
        """``psi`` is all of the rows, as the decomposition has them."""
        return Rows.from_vectors(self.basis, 0.0)

    def project_targets(self, weighted_targets: np.ndarray) -> np.ndarray:
        """From W^1/2 t, [M, C], to the coordinates of the basis, [R, C]."""
        return self.basis.T @ weighted_targets

    def factors(self, penalty: float) -> np.ndarray:
        return penalty / (self.values + penalty)

    def coefficients(self, projected: np.ndarray, penalty: float) -> np.ndarray:
        return self.psi.T @ (self.basis @ (projected / (self.values + penalty)[:, None]))

    def project(self, phi: Any) -> np.ndarray:
        kernel = phi @ self.psi.T
        kernel = kernel.toarray() if hasattr(kernel, "toarray") else kernel
        return np.asarray(kernel) @ self.basis


Spectrum = PrimalSpectrum | DualSpectrum


def left_out_residuals(
    spectrum: Spectrum,
    rows: Rows,
    projected: np.ndarray,
    weighted_targets: np.ndarray,
    groups: np.ndarray,
    penalty: float,
) -> np.ndarray:
    """(I - H_gg)^-1 rho_g for every group g, [M, C]: W^1/2 (t - the fit without the group).

    Args:
        rows: the rows, with all members of every group that occurs.
        projected: [R, C], of ``project_targets``.
        weighted_targets: W^1/2 t of the rows, [M, C].
        groups: [M], equal for rows that are left out together.
    """
    vectors, factors = rows.vectors, spectrum.factors(penalty)
    weighted = (factors[:, None] * projected).astype(vectors.dtype)
    residuals = rows.identity * weighted_targets + vectors @ weighted
    members = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[members], return_index=True, return_counts=True)
    single = members[starts[sizes == 1]]
    own = rows.identity + rows.squares @ factors.astype(vectors.dtype)
    left_out = np.empty_like(residuals)
    left_out[single] = residuals[single] / own[single, None]
    for size in np.unique(sizes[sizes > 1]):
        together = members[starts[sizes == size, None] + np.arange(size)]
        step = max(1, _BATCH_ENTRIES // (int(size) * max(int(size), vectors.shape[1])))
        for start in range(0, len(together), step):
            chosen = together[start : start + step]
            block = vectors[chosen].astype(np.float64)
            matrix = rows.identity * np.eye(size) + (block * factors) @ block.swapaxes(1, 2)
            left_out[chosen] = np.linalg.solve(matrix, residuals[chosen])
    return left_out


def outside_shift(
    spectrum: Spectrum,
    outside: np.ndarray,
    outside_groups: np.ndarray,
    rows: Rows,
    left_out: np.ndarray,
    groups: np.ndarray,
    penalty: float,
) -> np.ndarray:
    """What rows that the fit did not use owe to members of their groups, in their scores, [K, C].

    The fit without a group has the coefficients theta - (Psi^T Psi + penalty I)^-1 Psi_g^T times
    the group's left-out residuals.

    Args:
        outside: [K, R], of ``project``.
        outside_groups: [K], in the numbers of ``groups``.
        left_out: of `left_out_residuals`.
    """
    weighted = outside / (spectrum.values + penalty)
    shift = np.zeros((len(outside), left_out.shape[1]))
    for group in np.intersect1d(outside_groups, groups):
        member, own = outside_groups == group, groups == group
        shift[member] = weighted[member] @ rows.vectors[own].T.astype(np.float64) @ left_out[own]
    return shift
