"""Features whose inner products are a Gaussian kernel, for heads that are linear in them."""

from dataclasses import dataclass

import numpy as np

from pumlc.labels import UNKNOWN

LANDMARKS = 2000
_CUBES = 1e11  # sum of the cubes of the sizes of all decompositions: about a minute on one core


@dataclass(frozen=True)
class GaussianMap:
    """The map from a row of features to m(x), of width R, with m(x) . m(y) = exp(-|u - v|^2).

    u and v are the standardised features at length 1. With fewer landmarks than rows the kernel is
    that of Nystroem's method (Williams & Seeger 2001).

    Attributes:
        mean: [D].
        spread: [D].
        landmarks: [L, D], at length 1.
        root: [L, R]; its product with its transpose is the inverse of the landmarks' kernel.
    """

    mean: np.ndarray
    spread: np.ndarray
    landmarks: np.ndarray
    root: np.ndarray

    @staticmethod
    def build(features: np.ndarray, landmarks: int = LANDMARKS, *, seed: int = 0) -> "GaussianMap":
        """Standardise by these rows, [N, D], and choose landmarks among them."""
        spread = features.std(axis=0)
        mean, spread = features.mean(axis=0), np.where(spread > 0, spread, 1)
        chosen = _units(features, mean, spread)
        if len(chosen) > landmarks:
            random = np.random.RandomState(seed)
            chosen = chosen[random.choice(len(chosen), landmarks, replace=False)]
        values, basis = np.linalg.eigh(_kernel(chosen, chosen).astype(np.float64))
        kept = values > 1e-7 * values[-1]  # a smaller one is rounding in single precision
        root = (basis[:, kept] / np.sqrt(values[kept])).astype(np.float32)
        return GaussianMap(mean, spread, chosen, root)

    def rows(self, features: np.ndarray) -> np.ndarray:
        """The map of each row of features [N, D], float32 [N, R].

        Example:
            >>> features = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]])
            >>> rows = GaussianMap.build(features).rows(features)
            >>> (rows @ rows.T).diagonal().round(3)
            array([1., 1., 1.], dtype=float32)
        """
        return _kernel(_units(features, self.mean, self.spread), self.landmarks) @ self.root


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


def _units(features: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    units = (features - mean) / spread
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return units


def _kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.exp(2 * (left @ right.T - 1)).astype(np.float32)
