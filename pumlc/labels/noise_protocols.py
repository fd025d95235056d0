"""Noise protocols: mislabelling, class changes, shares of positives, single ones, visibility.

Each function returns a new int8 matrix, draws from a generator of its own and leaves UNKNOWN alone
unless it says otherwise. The streams are independent of the masks of `pumlc.labels.protocols` with
the same seed. A warning tells of labels that are 1 or 0 (unknown) alone, where 0 may be meant as
negative.
"""

import numpy as np
from numpy.typing import ArrayLike

from pumlc.labels.convention import (
    NEGATIVE,
    POSITIVE,
    UNKNOWN,
    row_blocks,
    warn_without_negatives,
    writable,
)

_STREAM = 2  # 0 and 1 are those of masks and of `flip`


def _generator(seed: int) -> np.random.RandomState:
    return np.random.RandomState([seed, _STREAM])


def _noisy(labels: ArrayLike) -> np.ndarray:
    """The matrix to change."""
    noisy = writable(labels, None)
    warn_without_negatives(noisy)
    return noisy


def _check_rate(rate: float, name: str = "rate") -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"{name} is {rate}, outside [0, 1]")


def mislabel(labels: ArrayLike, rate: float, *, seed: int) -> np.ndarray:
    r"""Let positives change their class; a frequent class takes them more often.

    .. math:: P(i \to j) = \tau \, \frac{N_j}{N - N_i}, \qquad j \ne i

    where N_j is the number of positives of class j and N their sum. Class i becomes NEGATIVE in the
    row and class j POSITIVE. A class that two labels change to is positive once. A class that is
    UNKNOWN stays so.

    Args:
        labels: [N, C] in {1, 0, -1}.
        rate: :math:`\tau`, in [0, 1].
        seed: of the draws.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label, a rate outside [0, 1], or a rate above 0 and fewer than two
            classes with a positive.

    Source: Song et al., "Toward Robustness in Multi-label Classification: A Data Augmentation
    Strategy against Imbalance and Noise" (BalanceMix, AAAI 2024, arXiv 2312.07087), "Mis".

    Example:
        >>> mislabel([[1, -1, -1], [-1, 1, -1], [-1, 1, -1]], 1.0, seed=0)
        array([[-1,  1, -1],
               [ 1, -1, -1],
               [ 1, -1, -1]], dtype=int8)
    """
    _check_rate(rate)
    noisy = _noisy(labels)
    counts = (noisy == POSITIVE).sum(0)
    if rate > 0 and (counts > 0).sum() < 2:
        raise ValueError(
            f"mislabelling needs two classes with a positive label, got {(counts > 0).sum()}"
        )
    weights = np.broadcast_to(counts.astype(np.float64), (len(counts), len(counts))).copy()
    return _change_classes(noisy, rate, weights, seed)


def symmetric_noise(labels: ArrayLike, rate: float, *, seed: int) -> np.ndarray:
    """Let each positive become any other class with the same probability ``rate / (C - 1)``.

    Like `mislabel`, with all other classes equally likely.

    Args:
        labels: [N, C] in {1, 0, -1}, C at least 2.
        rate: probability that a positive changes its class, in [0, 1].
        seed: of the draws.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label, fewer than two classes, or a rate outside [0, 1].

    Source: Xia et al., "Holistic Label Correction for Noisy Multi-Label Classification" (HLC, ICCV
    2023), symmetric noise.

    Example:
        >>> symmetric_noise([[1, -1], [-1, 1]], 1.0, seed=0)
        array([[-1,  1],
               [ 1, -1]], dtype=int8)
    """
    _check_rate(rate)
    noisy = _noisy(labels)
    num_classes = _two_classes(noisy)
    return _change_classes(noisy, rate, np.ones((num_classes, num_classes)), seed)


def pair_flip(labels: ArrayLike, rate: float, *, seed: int) -> np.ndarray:
    """Let each positive of class i become class i + 1, the last the first, with one probability.

    Like `mislabel`, with one target for each class.

    Args:
        labels: [N, C] in {1, 0, -1}, C at least 2.
        rate: probability that a positive changes its class, in [0, 1].
        seed: of the draws.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label, fewer than two classes, or a rate outside [0, 1].

    Source: that of `symmetric_noise`, pair-flip noise.

    Example:
        >>> pair_flip([[1, -1, -1], [-1, -1, 1]], 1.0, seed=0)
        array([[-1,  1, -1],
               [ 1, -1, -1]], dtype=int8)
    """
    _check_rate(rate)
    noisy = _noisy(labels)
    _two_classes(noisy)
    return _change_classes(noisy, rate, np.roll(np.eye(noisy.shape[1]), 1, axis=1), seed)


def _two_classes(labels: np.ndarray) -> int:
    if labels.shape[1] < 2:
        raise ValueError(
            f"labels have shape {labels.shape}; two classes are needed, since a label changes its "
            "class"
        )
    return labels.shape[1]


def _change_classes(noisy: np.ndarray, rate: float, weights: np.ndarray, seed: int) -> np.ndarray:
    """Move positives to other classes, in place.

    Args:
        noisy: [N, C].
        rate: probability that a positive moves.
        weights: [C, C] of the targets of each class, in any scale; the diagonal does not count.
        seed: of the draws.
    """
    random = _generator(seed)
    rows, columns = np.nonzero(noisy == POSITIVE)
    moves = random.random_sample(len(rows)) < rate
    places = random.random_sample(len(rows))  # for all: a higher rate keeps these moves
    rows, columns, places = rows[moves], columns[moves], places[moves]
    np.fill_diagonal(weights, 0.0)
    cumulative = weights.cumsum(axis=1)
    targets = np.empty_like(columns)
    for column in np.unique(columns):
        own = columns == column
        row = cumulative[column]
        targets[own] = np.searchsorted(row, places[own] * row[-1], side="right")
    noisy[rows, columns] = NEGATIVE
    given = noisy[rows, targets] != UNKNOWN
    noisy[rows[given], targets[given]] = POSITIVE
    return noisy


def subtract_and_add(
    labels: ArrayLike, *, subtracted: float = 0.0, added: float = 0.0, seed: int
) -> np.ndarray:
    """Turn a share of the positives into false negatives, and add another share of false positives.

    Of P positives ``round(subtracted P)`` become NEGATIVE, and ``round(added P)`` negatives become
    POSITIVE, all drawn uniformly without replacement: subtractive noise (``added`` 0), additive
    noise (``subtracted`` 0) or mixed noise. Both shares count the positives of ``labels``.

    Args:
        labels: [N, C] in {1, 0, -1}.
        subtracted: share of the positives that is missed, in [0, 1].
        added: number of invented positives over the number of positives, at least 0.
        seed: of the draws.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label, a share out of its range, or more invented positives than
            there are negatives.

    Source: Burgert, Ravanbakhsh & Demir, "On the Effects of Different Types of Label Noise in
    Multi-Label Remote Sensing Image Classification" (IEEE TGRS 2022).

    Example:
        >>> noisy = subtract_and_add([[1, 1, -1, -1], [1, 1, -1, -1]], subtracted=0.5, seed=0)
        >>> int((noisy == 1).sum())
        2
    """
    _check_rate(subtracted, "subtracted")
    if not 0 <= added < np.inf:
        raise ValueError(f"added is {added}, below 0 or not finite")
    noisy = _noisy(labels)
    flat = noisy.reshape(-1)
    positives, negatives = (np.flatnonzero(flat == value) for value in (POSITIVE, NEGATIVE))
    missed, invented = (round(share * len(positives)) for share in (subtracted, added))
    if invented > len(negatives):
        raise ValueError(
            f"added {added} of {len(positives)} positives are {invented} labels, but only "
            f"{len(negatives)} are negative"
        )
    random = _generator(seed)
    flat[random.permutation(positives)[:missed]] = NEGATIVE
    flat[random.permutation(negatives)[:invented]] = POSITIVE
    return noisy


def miss_all_but_one(labels: ArrayLike, *, seed: int) -> np.ndarray:
    """Keep one positive per row, drawn uniformly; the other positives become NEGATIVE.

    A method that takes the rest for negative sees a single-positive annotation so. The positive is
    drawn from another stream than that of `keep_single_positive`, which hides the rest.

    Args:
        labels: [N, C] in {1, 0, -1}.
        seed: of the draws.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label.

    Source: Cole et al., "Multi-Label Learning from Single Positive Labels" (CVPR 2021).

    Example:
        >>> miss_all_but_one([[1, 1, -1, 0], [-1, -1, 1, 0]], seed=0)
        array([[-1,  1, -1,  0],
               [-1, -1,  1,  0]], dtype=int8)
    """
    noisy = _noisy(labels)
    random = _generator(seed)
    for rows in row_blocks(noisy.shape):
        block = noisy[rows]
        positive = block == POSITIVE
        draws = np.where(positive, random.random_sample(block.shape), -1.0)
        block[positive & (draws < draws.max(axis=1, keepdims=True, initial=-1.0))] = NEGATIVE
    return noisy


def miss_by_visibility(
    labels: ArrayLike, visibility: ArrayLike, rate: float, *, seed: int
) -> np.ndarray:
    r"""Let positives go missing because they are hard to see.

    .. math::

        P(\text{missing}) = \begin{cases} 2 \rho (1 - r) & \rho \le 1/2 \\
        1 - 2 (1 - \rho)\, r & \rho > 1/2 \end{cases}

    where r in (0, 1) is the rank of the positive's visibility among the positives of its class:
    near 0 for the least visible, the mean rank for equal ones. The mean of P over each class is
    :math:`\rho`: visibility decides only which positives are missing. They become NEGATIVE.

    Args:
        labels: [N, C] in {1, 0, -1}.
        visibility: [N, C], higher for what is easier to see; for example scores of a model.
        rate: :math:`\rho`, in [0, 1].
        seed: of the draws.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label, another shape or nan in ``visibility``, a rate outside [0, 1].

    Example:
        >>> labels, scores = [[1], [1], [1], [1]], [[0.9], [0.1], [0.8], [0.2]]
        >>> miss_by_visibility(labels, scores, 0.5, seed=9).ravel()
        array([ 1, -1,  1, -1], dtype=int8)
    """
    from scipy.stats import rankdata

    _check_rate(rate)
    noisy = _noisy(labels)
    visibility = np.asarray(visibility, np.float64)
    if visibility.shape != noisy.shape:
        raise ValueError(f"visibility has shape {visibility.shape}, labels {noisy.shape}")
    if np.isnan(visibility).any():
        raise ValueError("visibility holds nan")
    random = _generator(seed)
    for column, scores in zip(noisy.T, visibility.T, strict=True):
        rows = np.flatnonzero(column == POSITIVE)
        ranks = (rankdata(scores[rows]) - 0.5) / max(1, len(rows))
        missing = 2 * rate * (1 - ranks) if rate <= 0.5 else 1 - 2 * (1 - rate) * ranks
        column[rows[random.random_sample(len(rows)) < missing]] = NEGATIVE
    return noisy
