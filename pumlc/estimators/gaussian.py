"""Features whose inner products are a Gaussian kernel, for heads that are linear in them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pumlc.estimators.design import Design, Features, fit_design, identical_rows
from pumlc.labels import UNKNOWN

LANDMARKS = 2000
_CUBES = 1e11  # sum of the cubes of the sizes of all decompositions: about a minute on one core
_STORED_ENTRIES = 2**27  # of mapped rows that are kept, not computed again: 512 MiB


@dataclass(frozen=True)
class GaussianMap:
    """The map from a row of features to m(x), of width R, with m(x) . m(y) = exp(-|u - v|^2).

    u and v are the standardised features at length 1. With fewer landmarks than rows the kernel is
    that of Nystroem's method (Williams & Seeger 2001).

    Attributes:
        design: the standardisation.
        landmarks: [L, D], at length 1.
        root: [L, R]; its product with its transpose is the inverse of the landmarks' kernel.
    """

    design: Design
    landmarks: np.ndarray
    root: np.ndarray

    @staticmethod
    def build(
        features: Features,
        landmarks: int = LANDMARKS,
        *,
        row_weights: np.ndarray | None = None,
        standardize: bool = True,
        seed: int = 0,
    ) -> "GaussianMap":
        """Standardise by these rows, [N, D], and choose landmarks among the different ones.

        Args:
            features: dense, or a memory map.
            landmarks: at most so many.
            row_weights: [N], not negative; rows of weight 0 play no part. None: 1.
            standardize: bring each feature to mean 0 and variance 1.
            seed: of the landmarks.
        """
        weights = np.ones(features.shape[0]) if row_weights is None else row_weights
        design = fit_design(features, weights, standardize=standardize)
        numbers = np.where(weights > 0, identical_rows(features), -1)
        rows = np.unique(numbers, return_index=True)[1]
        rows = np.sort(rows[numbers[rows] >= 0])
        if len(rows) > landmarks:
            random = np.random.RandomState(seed)
            rows = np.sort(random.choice(rows, landmarks, replace=False))
        chosen = _units(design, features, rows)
        values, basis = np.linalg.eigh(_kernel(chosen, chosen).astype(np.float64))
        kept = values > 1e-7 * values[-1]  # a smaller one is rounding in single precision
        root = (basis[:, kept] / np.sqrt(values[kept])).astype(chosen.dtype)
        return GaussianMap(design, chosen, root)

    @property
    def width(self) -> int:
        """R."""
        return self.root.shape[1]

    def rows(self, features: Features, index: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The map of rows of features [N, D]: [M, R].

        Example:
            >>> features = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]], np.float32)
            >>> rows = GaussianMap.build(features).rows(features)
            >>> (rows @ rows.T).diagonal().round(3)
            array([1., 1., 1.], dtype=float32)
        """
        return _kernel(_units(self.design, features, index), self.landmarks) @ self.root

    def of(self, features: Features) -> Any:
        """The map of all rows, as features [N, R].

        Many rows are mapped when they are read, block by block, and not kept.
        """
        if features.shape[0] * self.width > _STORED_ENTRIES:
            return Mapped(self, features)
        return self.rows(features)


class Mapped:
    """Mapped rows [N, R] that are computed each time they are read.

    Attributes:
        shape, dtype: those of the array that it stands for.
    """

    def __init__(self, kernel: GaussianMap, features: Features) -> None:
        self._kernel, self._features = kernel, features
        self.shape = (features.shape[0], kernel.width)
        self.dtype = kernel.root.dtype

    def __getitem__(self, index: np.ndarray | slice) -> np.ndarray:
        return self._kernel.rows(self._features, index)


def affordable_landmarks(labels: np.ndarray, most: int = LANDMARKS) -> tuple[int, int]:
    """Landmarks that keep a fit to about a minute, and how many decompositions it takes.

    Classes that are known in the same rows share a decomposition.

    Args:
        labels: [N, C] in {1, 0, -1}.
        most: landmarks at most.
    """
    patterns = len(np.unique(np.packbits(labels != UNKNOWN, axis=0), axis=1).T)
    return int(np.clip((_CUBES / patterns) ** (1 / 3), 128, most)), patterns


def affordable(decompositions: int, size: int) -> bool:
    """Whether this many decompositions of this size take about a minute at most."""
    return decompositions * size**3 <= _CUBES


def gaussian_scores(
    features: Features, design: Design, landmarks: np.ndarray, coefficients: np.ndarray
) -> np.ndarray:
    """Kernel of rows [N, D] with landmarks [L, D], times coefficients [L, C]: [N, C]."""
    return _kernel(_units(design, features, slice(None)), landmarks) @ coefficients


def _units(design: Design, features: Features, index: np.ndarray | slice) -> np.ndarray:
    units = design.rows(features, index)[:, :-1]
    length = np.linalg.norm(units, axis=1, keepdims=True)
    return units / np.maximum(length, np.finfo(np.float32).tiny)


def _kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.exp(2 * (left @ right.T - 1))
