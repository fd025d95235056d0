"""Scores of labelled rows by closed-form heads that have not seen the row's labels."""

import numpy as np

from pumlc.estimators import fit_least_squares
from pumlc.estimators.design import identical_rows, joined_groups
from pumlc.estimators.gaussian import GaussianMap, affordable, affordable_landmarks
from pumlc.estimators.kernel_heads import fit_gaussian, mean_left_out
from pumlc.labels import validate


def left_out_scores(
    features: np.ndarray, labels: np.ndarray, *, groups: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """Leave-one-out scores of least squares, the mean of linear ones and a Gaussian kernel.

    Each row is scored by the fit on all other rows; rows of a group, and rows with identical
    features, are left out together (`pumlc.estimators.fit_least_squares`). With u the standardised
    features at length 1 the kernel is exp(-|u - v|^2), on at most 2,000 landmarks (Nystroem;
    Williams & Seeger 2001). It takes cube roots of features of which none is negative, as after a
    ReLU: a few large ones then no longer decide how near two rows are (docs/audit.md).
    Where each class is known in rows of its own, there are as many decompositions as classes. Then
    the landmarks are fewer, and the linear part is left out if it would take minutes.

    Args:
        features: [N, D], of a network that has not been trained on these labels.
        labels: [N, C] in {1, 0, -1}; wrong ones too.
        groups: [N], equal for rows that belong together (one patient, one scene); None: none do.
        seed: chooses the landmarks.

    Returns:
        float32 [N, C]; within a class, and roughly between classes, higher is more likely present.

    Raises:
        ValueError: features and labels have different lengths, or an invalid label.
    """
    labels = validate(labels, "labels")
    if len(features) != len(labels):
        raise ValueError(f"{len(features)} features, but {len(labels)} rows of labels")
    together = identical_rows(features)
    if groups is not None:
        together = joined_groups(groups, together)
    landmarks, decompositions = affordable_landmarks(labels)
    near = np.cbrt(features) if features.min() >= 0 else features
    mapped = GaussianMap.build(near, landmarks, seed=seed).of(near)
    gaussian = fit_gaussian(mapped, labels, groups=together)
    if not affordable(decompositions, min(features.shape)):
        return gaussian.loo_scores.astype(np.float32)
    linear = fit_least_squares(features, labels, groups=together)
    return mean_left_out(linear, gaussian).astype(np.float32)
