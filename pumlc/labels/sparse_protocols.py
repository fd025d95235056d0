"""Partial-label protocols and flips of `SparseLabels`: one draw for each known label.

The laws are those of `pumlc.labels.protocols` and `pumlc.labels.noise`, and so are the labels of a
matrix without UNKNOWN, for the protocols that draw a number an entry. Where labels are unknown the
dense functions draw numbers for these too, and with the same seed give another mask.
"""

import numpy as np
from scipy.sparse import csr_array

from pumlc.labels.convention import NEGATIVE, POSITIVE, UNKNOWN, row_blocks
from pumlc.labels.noise import STREAM
from pumlc.labels.sparse import SparseLabels, kept_entries


def keep_known_proportion(labels: SparseLabels, proportion: float, *, seed: int) -> SparseLabels:
    """Keep every known label with the same probability; the rest is UNKNOWN.

    A label stays where the number drawn for it is below ``proportion``, in the order of rows and
    columns.

    Args:
        labels: [N, C].
        proportion: of the known labels that are kept, in [0, 1].
        seed: of the draws.

    Raises:
        ValueError: a proportion outside [0, 1].
    """
    if not 0 <= proportion <= 1:
        raise ValueError(f"proportion is {proportion}, outside [0, 1]")
    known = labels.known()
    return _kept(known, _below(proportion, known.nnz, seed))


def keep_single_known_positive(labels: SparseLabels, *, seed: int) -> SparseLabels:
    """Keep one positive a row, drawn uniformly; everything else is UNKNOWN.

    Args:
        labels: [N, C].
        seed: of the draws, one a row.
    """
    known = labels.known()
    positive = known.data == POSITIVE
    before = np.concatenate([[0], np.cumsum(positive)])[known.indptr]  # positives above each row
    count = np.diff(before)
    drawn = np.random.RandomState(seed).random_sample(len(labels))
    chosen = (before[:-1] + np.floor(drawn * count).astype(np.int64))[count > 0]
    kept = np.zeros(known.nnz, bool)
    kept[np.flatnonzero(positive)[chosen]] = True
    return _kept(known, kept)


def keep_fixed_per_known_class(labels: SparseLabels, count: int, *, seed: int) -> SparseLabels:
    """Keep ``count`` positives and negatives of every class, drawn without replacement.

    Args:
        labels: [N, C].
        count: labels of each sign that a class keeps; a class with fewer keeps them all.
        seed: of the draws, class by class, positives first.

    Raises:
        ValueError: a negative count.
    """
    if count < 0:
        raise ValueError(f"count is {count}, below 0")
    known = labels.known()
    random, kept = np.random.RandomState(seed), np.zeros(known.nnz, bool)
    by_class = np.argsort(known.indices, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(known.indices, minlength=labels.shape[1]))])
    for start, end in zip(ends[:-1], ends[1:], strict=True):
        entries = by_class[start:end]
        for sign in (POSITIVE, NEGATIVE):
            candidates = entries[known.data[entries] == sign]
            if len(candidates):
                number = min(count, len(candidates))
                kept[random.choice(candidates, number, replace=False)] = True
    return _kept(known, kept)


def flip_known(
    labels: SparseLabels,
    *,
    false_negative: float | np.ndarray,
    false_positive: float | np.ndarray,
    seed: int,
) -> SparseLabels:
    """Turn positives NEGATIVE and negatives POSITIVE at given rates; UNKNOWN stays UNKNOWN.

    Args:
        labels: [N, C].
        false_negative, false_positive: in [0, 1], one rate or [C].
        seed: of the draws, a stream of its own as that of `pumlc.labels.flip`.

    Raises:
        ValueError: a rate outside [0, 1], or a wrong number of rates.
    """
    rates = [np.asarray(rate, np.float64) for rate in (false_negative, false_positive)]
    for rate in rates:
        if rate.shape not in ((), (labels.shape[1],)) or not ((rate >= 0) & (rate <= 1)).all():
            raise ValueError(f"rates must be in [0, 1], one or [{labels.shape[1]}], got {rate}")
    known = labels.known()
    miss, invention = (np.broadcast_to(rate, labels.shape[1:])[known.indices] for rate in rates)
    limit = np.where(known.data == POSITIVE, miss, invention)
    data = known.data.copy()
    data[_below(limit, known.nnz, [seed, STREAM])] *= -1
    silent = np.full(len(labels), UNKNOWN, np.int8)
    return SparseLabels(csr_array((data, known.indices, known.indptr), shape=known.shape), silent)


def _below(limit: float | np.ndarray, number: int, seed: int | list[int]) -> np.ndarray:
    """Whether the number drawn for each label is below its limit, bool; drawn block by block."""
    random, limits = np.random.RandomState(seed), np.broadcast_to(limit, number)
    below = np.empty(number, bool)
    for block in row_blocks((number, 1)):
        below[block] = random.random_sample(len(below[block])) < limits[block]
    return below


def _kept(known: csr_array, kept: np.ndarray) -> SparseLabels:
    """The labels that are kept, the others unknown."""
    silent = np.full(known.indptr.size - 1, UNKNOWN, np.int8)
    return SparseLabels(kept_entries(known, kept), silent)
