"""Partial-label protocols: what part of a complete label matrix a method gets to see.

Each function returns a new int8 matrix and draws from a generator of its own: the same seed gives
the same labels on any machine, and numpy's global random state is neither read nor changed.
"""

import numpy as np
from numpy.typing import ArrayLike

from pumlc.labels.convention import NEGATIVE, POSITIVE, UNKNOWN, row_blocks, writable


def _check_proportion(proportion: float) -> None:
    if not 0 <= proportion <= 1:
        raise ValueError(f"proportion is {proportion}, outside [0, 1]")


def keep_proportion(
    labels: ArrayLike, proportion: float, *, seed: int = 0, out: np.ndarray | None = None
) -> np.ndarray:
    """Keep every label, positive or negative, with the same probability; the rest is UNKNOWN.

    An entry stays where ``RandomState(seed).random_sample((N, C)) < proportion``: with seed 0 and
    the data set's own row order this is the mask of HCP-MLR-PL (SST, SARB, HST, DSRB) and of
    PU-MLC. A row may lose all its labels.

    Args:
        labels: [N, C] in {1, 0, -1}.
        proportion: of the labels that are kept, in [0, 1].
        seed: of the draws.
        out: int8 [N, C] to write to instead of a new matrix; it may be ``labels`` itself.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label or a proportion outside [0, 1].

    Source: Chen et al., "Structured Semantic Transfer for Multi-Label Recognition with Partial
    Labels", AAAI 2022, and its code.

    Example:
        >>> keep_proportion([[1, -1, 1, -1], [-1, -1, 1, 1]], 0.6)
        array([[ 1,  0,  0, -1],
               [-1,  0,  1,  0]], dtype=int8)
    """
    _check_proportion(proportion)
    kept = writable(labels, out)
    random = np.random.RandomState(seed)
    for rows in row_blocks(kept.shape):  # consecutive draws: the blocks do not change the stream
        block = kept[rows]
        block[random.random_sample(block.shape) >= proportion] = UNKNOWN
    return kept


def keep_single_positive(
    labels: ArrayLike, *, seed: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Keep one positive per row, drawn uniformly; everything else is UNKNOWN.

    A row without a positive becomes all UNKNOWN. On a matrix without UNKNOWN, seed 1200 and the
    row order of the original lists give the labels of the single-positive benchmark.

    Args:
        labels: [N, C] in {1, 0, -1}.
        seed: of the draws.
        out: int8 [N, C] to write to instead of a new matrix; it may be ``labels`` itself.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label.

    Source: Cole et al., "Multi-Label Learning from Single Positive Labels", CVPR 2021.

    Example:
        >>> keep_single_positive([[1, 1, -1], [-1, 1, -1], [-1, -1, -1]], seed=1200)
        array([[1, 0, 0],
               [0, 1, 0],
               [0, 0, 0]], dtype=int8)
    """
    observed = writable(labels, out)
    random = np.random.RandomState(seed)
    for row in observed:
        positives = np.flatnonzero(row == POSITIVE)
        random.shuffle(positives)
        # the benchmark shuffles the negatives too before it keeps none: part of its random stream
        random.shuffle(np.flatnonzero(row == NEGATIVE))
        row[:] = UNKNOWN
        row[positives[:1]] = POSITIVE
    return observed


def keep_proportion_torch(
    labels: ArrayLike, proportion: float, *, seed: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Keep every label with the same probability, drawn as torch on a CPU draws: DualCoOp's way.

    An entry stays where ``torch.manual_seed(seed); torch.rand(N, C) < proportion`` on float32. The
    published masks were drawn without a seed and saved. Their law and their N (82,081 annotated
    COCO pictures) can be reproduced; those masks cannot.

    Args:
        labels: [N, C] in {1, 0, -1}.
        proportion: of the labels that are kept, in [0, 1].
        seed: of the draws.
        out: int8 [N, C] to write to instead of a new matrix; it may be ``labels`` itself.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label or a proportion outside [0, 1].

    Source: Sun et al., "DualCoOp: Fast Adaptation to Multi-Label Recognition with Limited
    Annotations", NeurIPS 2022, and its code.

    Example:
        >>> keep_proportion_torch([[1, -1, 1, -1], [-1, -1, 1, 1]], 0.6, seed=0)
        array([[ 1,  0,  1, -1],
               [-1,  0,  1,  0]], dtype=int8)
    """
    _check_proportion(proportion)
    kept = writable(labels, out)
    random = np.random.RandomState(seed)
    for rows in row_blocks(kept.shape):
        block = kept[rows]
        # torch makes a float32 in [0, 1) of the low 24 bits of a word of the Mersenne Twister
        words = random.randint(0, 2**32, size=block.shape, dtype=np.uint32) & np.uint32(2**24 - 1)
        block[words.astype(np.float32) * np.float32(2**-24) >= np.float32(proportion)] = UNKNOWN
    return kept


def keep_fixed_per_class(
    labels: ArrayLike, count: int, *, seed: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Keep ``count`` positives and ``count`` negatives of every class: CSL's fixed per class (FPC).

    The rows are drawn without replacement, class by class, positives first; a class with fewer
    keeps them all. Everything else is UNKNOWN.

    Args:
        labels: [N, C] in {1, 0, -1}.
        count: labels of each sign that a class keeps, at least 0.
        seed: of the draws.
        out: int8 [N, C] to write to instead of a new matrix; it may be ``labels`` itself.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label or a negative count.

    Source: Ben-Baruch et al., "Multi-label Classification with Partial Annotations using
    Class-aware Selective Loss", CVPR 2022, and its code (published counts: 1000 and more).

    Example:
        >>> keep_fixed_per_class([[1, -1], [1, 1], [-1, -1], [-1, -1]], 1, seed=0)
        array([[ 0,  0],
               [ 1,  1],
               [-1,  0],
               [ 0, -1]], dtype=int8)
    """
    if count < 0:
        raise ValueError(f"count is {count}, below 0")
    observed = writable(labels, out)
    random = np.random.RandomState(seed)
    for column in observed.T:
        rows = [np.flatnonzero(column == value) for value in (POSITIVE, NEGATIVE)]
        column[:] = UNKNOWN
        for value, candidates in zip((POSITIVE, NEGATIVE), rows, strict=True):
            if len(candidates):
                kept = random.choice(candidates, min(count, len(candidates)), replace=False)
                column[kept] = value
    return observed


def drop_proportion(
    labels: ArrayLike, proportion: float, *, seed: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Make every label UNKNOWN with the same probability: CSL's random per sample (RPS).

    An entry is dropped where ``RandomState(seed).random_sample((N, C)) < proportion``. In law this
    is ``keep_proportion`` of ``1 - proportion``; seed by seed it is another mask.

    Args:
        labels: [N, C] in {1, 0, -1}.
        proportion: of the labels that are dropped, in [0, 1].
        seed: of the draws.
        out: int8 [N, C] to write to instead of a new matrix; it may be ``labels`` itself.

    Returns:
        int8 [N, C].

    Raises:
        ValueError: an invalid label or a proportion outside [0, 1].

    Source: as ``keep_fixed_per_class``.

    Example:
        >>> drop_proportion([[1, -1, 1, -1], [-1, -1, 1, 1]], 0.6, seed=0)
        array([[ 0, -1,  1,  0],
               [ 0, -1,  0,  1]], dtype=int8)
    """
    _check_proportion(proportion)
    kept = writable(labels, out)
    random = np.random.RandomState(seed)
    for rows in row_blocks(kept.shape):
        block = kept[rows]
        block[random.random_sample(block.shape) < proportion] = UNKNOWN
    return kept
