"""Scores of labelled rows by closed-form heads that have not seen the row's labels."""

import numpy as np

from pumlc.estimators import fit_least_squares
from pumlc.labels import UNKNOWN, validate

_LANDMARKS = 2000
_CUBES = 1e11  # sum of the cubes of the sizes of all decompositions: about a minute on one core

_NEIGHBOURS = 25
_COMPARED = 20_000
_BLOCK = 2**24  # cosines, or labels of neighbours, in memory at a time
_SAME = 1 - 1e-6  # the cosine from which features are taken for identical


def left_out_scores(features: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Leave-one-out scores: least squares, linear and with a kernel, and neighbours, added.

    Each row is scored by the fit on all other rows; rows with identical features are left out
    together (`pumlc.estimators.fit_least_squares`). With u the standardised features at length 1
    the kernel is exp(-|u - v|^2), on at most 2,000 landmarks (Nystroem; Williams & Seeger 2001).
    The third part is the mean label of the 25 nearest other rows by the cosine of u, weighted by
    it; of more than 20,000 rows that many, drawn at random, are looked at.
    Where each class is known in rows of its own, there are as many decompositions as classes. Then
    the landmarks are fewer, and the linear part is left out if it would take minutes.

    Args:
        features: [N, D], of a network that has not been trained on these labels.
        labels: [N, C] in {1, 0, -1}; wrong ones too.
        seed: chooses the landmarks, and the rows that are looked at.

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
    return (scores + _neighbours(_units(features), labels, seed)).astype(np.float32)


def _units(features: np.ndarray) -> np.ndarray:
    """The standardised features at length 1."""
    spread = features.std(axis=0)
    units = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return units / np.maximum(
        np.linalg.norm(units, axis=1, keepdims=True), np.finfo(np.float32).tiny
    )


def _neighbours(units: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """[N, C], the mean label of each row's nearest other rows, weighted by their cosine.

    An unknown label counts as the mean of its class.
    """
    rows = np.arange(len(units))
    pool = rows
    if len(rows) > _COMPARED:
        pool = np.sort(np.random.RandomState(seed).choice(rows, _COMPARED, replace=False))
    known = (labels != UNKNOWN).astype(np.float32)
    values = labels.astype(np.float32)
    # of each class without the row itself
    means = (values.sum(axis=0) - values) / np.maximum(known.sum(axis=0) - known, 1)
    values, known = values[pool], known[pool]
    count = min(_NEIGHBOURS, len(pool) - 1)
    scores = np.zeros(labels.shape, np.float32)
    if count < 1:
        return scores
    width = max(len(pool), count * labels.shape[1])
    for block in np.array_split(rows, 1 + len(rows) * width // _BLOCK):
        cosines = units[block] @ units[pool].T
        cosines[cosines > _SAME] = -2  # the row itself, and copies of it
        near = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        weights = np.maximum(np.take_along_axis(cosines, near, axis=1), 1e-3)
        weights /= weights.sum(axis=1, keepdims=True)
        share = np.einsum("nk,nkc->nc", weights, known[near])
        scores[block] = np.einsum("nk,nkc->nc", weights, values[near]) + (1 - share) * means[block]
    return scores


def _kernel_features(features: np.ndarray, landmarks: int, seed: int) -> np.ndarray:
    """[N, R] whose inner products are the kernel, exactly so where N is at most ``landmarks``."""
    units = _units(features)
    chosen = units
    if len(units) > landmarks:
        chosen = units[np.random.RandomState(seed).choice(len(units), landmarks, replace=False)]
    values, basis = np.linalg.eigh(_kernel(chosen, chosen).astype(np.float64))
    kept = values > 1e-7 * values[-1]  # a smaller one is rounding in single precision
    root = basis[:, kept] / np.sqrt(values[kept])
    return _kernel(units, chosen) @ root.astype(np.float32)


def _kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.exp(2 * (left @ right.T - 1)).astype(np.float32)
