"""Two Gaussians over the losses of the given labels: the small-loss one holds the clean labels."""

import numpy as np
from numpy.typing import ArrayLike

from pumlc.labels import NEGATIVE, POSITIVE, validate

_ROUNDS = 50
_CONVERGED = 1e-4  # of losses that were scaled to a variance of 1
_LEAST_VARIANCE = 1e-6  # of these, too


def clean_probabilities(losses: ArrayLike, labels: ArrayLike) -> np.ndarray:
    r"""The probability that a given label is clean, by its loss.

    To the losses of the positives of each class, and to those of its negatives, a mixture of two
    Gaussians is fitted by expectation maximisation. With g the component of the smaller mean,

    .. math:: p_G = \frac{\pi_g \mathcal N(\ell; \mu_g, \sigma_g^2)}
        {\sum_h \pi_h \mathcal N(\ell; \mu_h, \sigma_h^2)}

    A loss below the smaller mean, where the wider Gaussian may win again, counts as at that mean.
    The fit starts at the quartiles of the losses. Fewer than two different losses are clean.

    Args:
        losses: finite numbers [N, C].
        labels: [N, C] in {1, 0, -1}.

    Returns:
        [N, C]; 1 for unknown labels.

    Raises:
        ValueError: unequal shapes, an invalid label, or a loss that is not finite.

    Source: Song, Kim & Lee (BalanceMix, AAAI 2024, arXiv 2312.07087), equations 6 to 8.

    Example:
        >>> losses = [[0.1], [0.2], [0.1], [3.0]]
        >>> clean_probabilities(losses, [[1], [1], [1], [1]]).round(2).ravel()
        array([1., 1., 1., 0.])
    """
    labels, losses = validate(labels, "labels"), np.asarray(losses, np.float64)
    if losses.shape != labels.shape:
        raise ValueError(f"losses have shape {losses.shape}, labels {labels.shape}")
    if not np.isfinite(losses).all():
        raise ValueError("losses are not finite")
    clean = np.ones(labels.shape)
    for value in (POSITIVE, NEGATIVE):
        for column in range(labels.shape[1]):
            rows = np.flatnonzero(labels[:, column] == value)
            if len(rows) > 1:
                clean[rows, column] = _small_loss_share(losses[rows, column])
    return clean


def _small_loss_share(losses: np.ndarray) -> np.ndarray:
    """Posterior of the component with the smaller mean, [n]."""
    spread = losses.std()
    if spread <= 1e-12 * max(1.0, abs(float(losses.mean()))):
        return np.ones(len(losses))
    scaled = (losses - losses.mean()) / spread
    means = np.quantile(scaled, [0.25, 0.75])
    if means[0] == means[1]:  # most losses are equal
        means = np.array([scaled.min(), scaled.max()])
    variances, shares = np.ones(2), np.full(2, 0.5)
    for _ in range(_ROUNDS):
        posterior = _posterior(scaled, means, variances, shares)
        weight = posterior.sum(axis=1) + 1e-12
        before, means = means, posterior @ scaled / weight
        errors = (scaled - means[:, None]) ** 2
        variances = (posterior * errors).sum(axis=1) / weight + _LEAST_VARIANCE
        shares = weight / weight.sum()
        if np.abs(means - before).max() < _CONVERGED:
            break
    small = int(means.argmin())
    return _posterior(np.maximum(scaled, means[small]), means, variances, shares)[small]


def _posterior(
    values: np.ndarray, means: np.ndarray, variances: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    errors = (values - means[:, None]) ** 2 / variances[:, None]
    log = np.log(shares)[:, None] - (errors + np.log(variances)[:, None]) / 2
    likelihood = np.exp(log - log.max(axis=0))
    return likelihood / likelihood.sum(axis=0)
