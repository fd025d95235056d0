"""Scores of labelled rows by closed-form heads that have not seen the row's labels."""

import numpy as np

from pumlc.estimators import fit_least_squares
from pumlc.labels import validate

_LANDMARKS = 2000
_CUBES = 1e11  # sum of the cubes of the sizes of all decompositions: about a minute on one core


def left_out_scores(features: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Leave-one-out scores of least squares, linear and with a Gaussian kernel, added.

    Each row is scored by the fit on all other rows; rows with identical features are left out
    together (`pumlc.estimators.fit_least_squares`). With u the standardised features at length 1
    the kernel is exp(-|u - v|^2), on at most 2,000 landmarks (Nystroem; Williams & Seeger 2001).
    Where each class is known in rows of its own, there are as many decompositions as classes. Then
    the landmarks are fewer, and the linear part is left out if it would take minutes.

    Args:
        features: [N, D], of a network that has not been trained on these labels.
        labels: [N, C] in {1, 0, -1}; wrong ones too.
        seed: chooses the landmarks.

    Returns:
        float32 [N, C]; within a class, and roughly between classes, higher is more likely present.

    Raises:
        ValueError: features and labels have different lengths, or an invalid label.
    """
    labels = validate(labels, "labels")
    if len(features) != len(labels):
        raise ValueError(f"{len(features)} features, but {len(labels)} rows of labels")
    patterns = len(np.unique(np.packbits(labels != 0, axis=0), axis=1).T)
    landmarks = int(np.clip((_CUBES / patterns) ** (1 / 3), 128, _LANDMARKS))
    mapped = _kernel_features(features, landmarks, seed)
    scores = fit_least_squares(mapped, labels, standardize=False).loo_scores
    if patterns * min(features.shape) ** 3 <= _CUBES:
        scores = scores + fit_least_squares(features, labels).loo_scores
    return scores.astype(np.float32)


def _kernel_features(features: np.ndarray, landmarks: int, seed: int) -> np.ndarray:
    """[N, R] whose inner products are the kernel, exactly so where N is at most ``landmarks``."""
    spread = features.std(axis=0)
    units = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    chosen = units
    if len(units) > landmarks:
        chosen = units[np.random.RandomState(seed).choice(len(units), landmarks, replace=False)]
    values, basis = np.linalg.eigh(_kernel(chosen, chosen).astype(np.float64))
    kept = values > 1e-7 * values[-1]  # a smaller one is rounding in single precision
    root = basis[:, kept] / np.sqrt(values[kept])
    return _kernel(units, chosen) @ root.astype(np.float32)


def _kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.exp(2 * (left @ right.T - 1)).astype(np.float32)
