"""Retrieval metrics at k: precision, nDCG, recall and propensity-scored precision.

All take ``top_ids``, integers [N, >= k]: the label indices of each row, best first; -1 is padding:
a place without a prediction, which is a miss. A label named twice among the first k is an error.
``positives`` is a scipy sparse matrix [N, L] whose nonzero entries are the positives. Every row
counts: one without positives adds 0 to a mean. Figures are in percent.
"""

from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

PROPENSITY_PRESETS = MappingProxyType(
    {
        "default": {"a": 0.55, "b": 1.5},
        "wikipedia": {"a": 0.5, "b": 0.4},  # WikiLSHTC-325K, Wikipedia-500K
        "amazon": {"a": 0.6, "b": 2.6},  # Amazon-670K, Amazon-3M
    }
)
"""The two parameters of `inverse_propensities` by data set, as they are published."""


def _positives(matrix: Any, name: str = "positives") -> sparse.csr_array:
    """The same matrix in canonical form: sorted, without duplicates and explicit zeros."""
    if not sparse.issparse(matrix):
        raise ValueError(f"{name} are a {type(matrix).__name__}, not a scipy sparse matrix [N, L]")
    matrix = matrix.tocoo()
    if (matrix.data < 0).any():
        raise ValueError(f"{name} hold negative entries; a nonzero entry is a positive")
    # bool before duplicates are added up: 256 ones of a small integer type would give 0
    canonical = sparse.csr_array(matrix.astype(bool), copy=True)
    canonical.sum_duplicates()
    canonical.eliminate_zeros()
    return canonical


def _contains(matrix: Any, ids: np.ndarray) -> np.ndarray:
    """Boolean [N, k]: whether entry (i, ids[i, j]) is set; False for -1."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    keys = rows * matrix.shape[1] + matrix.indices  # increasing: rows and columns are sorted
    wanted = np.arange(len(ids))[:, None] * matrix.shape[1] + ids
    place = np.searchsorted(keys, wanted)
    return (np.append(keys, -1)[place] == wanted) & (ids >= 0)


def _check_ids(top_ids: ArrayLike, shape: tuple[int, int], k: int) -> np.ndarray:
    """Return the first k columns, int64."""
    ids = np.asarray(top_ids)
    if ids.ndim != 2 or ids.dtype.kind not in "iu" or len(ids) != shape[0]:
        raise ValueError(
            f"top_ids: {ids.dtype} {ids.shape}; expected integers [{shape[0]}, k], a row for each "
            "row of positives"
        )
    if not 1 <= k <= ids.shape[1]:
        raise ValueError(f"k is {k}, not between 1 and the {ids.shape[1]} columns of top_ids")
    if not len(ids):
        raise ValueError("top_ids has no rows")
    ids = ids[:, :k].astype(np.int64)
    wrong = (ids < -1) | (ids >= shape[1])
    if wrong.any():
        row, rank = np.argwhere(wrong)[0]
        raise ValueError(
            f"top_ids: row {row}, rank {rank} is {ids[row, rank]}, not a label in [0, {shape[1]}) "
            "or -1 (padding)"
        )
    in_order = np.sort(ids, axis=1)
    twice = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)
    if twice.any():
        row, rank = np.argwhere(twice)[0]
        raise ValueError(f"top_ids: row {row} names label {in_order[row, rank]} twice")
    return ids


def _hits(top_ids: ArrayLike, positives: Any, k: int) -> tuple[np.ndarray, sparse.csr_array]:
    positives = _positives(positives)
    return _contains(positives, _check_ids(top_ids, positives.shape, k)), positives


def precision_at_k(top_ids: ArrayLike, positives: Any, k: int) -> float:
    """P@k = mean over rows of (positives among the top k) / k, in percent.

    Args:
        top_ids: integers [N, >= k], best first.
        positives: sparse [N, L].
        k: how many places count.

    Returns:
        percent.

    Raises:
        ValueError: ids outside [-1, L), a label twice in a row, k beyond the columns of top_ids,
            positives that are not sparse or negative, or no rows.

    Example:
        >>> positives = sparse.csr_array([[0, 1, 1], [1, 0, 0]])
        >>> precision_at_k([[1, 0], [2, -1]], positives, 2)
        25.0
    """
    hits, _ = _hits(top_ids, positives, k)
    return float(100 * hits.mean())


def recall_at_k(top_ids: ArrayLike, positives: Any, k: int) -> float:
    """R@k = mean over rows of (positives among the top k) / (positives), in percent.

    A row without a positive counts as 0.

    Args:
        top_ids: integers [N, >= k], best first.
        positives: sparse [N, L].
        k: how many places count.

    Returns:
        percent.

    Raises:
        ValueError: see ``precision_at_k``.

    Example:
        >>> positives = sparse.csr_array([[0, 1, 1], [1, 0, 0]])
        >>> recall_at_k([[1, 0], [2, -1]], positives, 2)
        25.0
    """
    hits, positives = _hits(top_ids, positives, k)
    return float(100 * (hits.sum(axis=1) / np.maximum(np.diff(positives.indptr), 1)).mean())


def ndcg_at_k(top_ids: ArrayLike, positives: Any, k: int) -> float:
    r"""nDCG@k = mean over rows of DCG / best DCG, in percent; 0 without a positive.

    .. math:: \mathrm{DCG} = \sum_{r = 1}^{k} \frac{y_{l(r)}}{\log_2(r + 1)}

    :math:`l(r)` is the label at rank r, and y is 1 for a positive. The best DCG has the positives
    at the ranks 1..min(k, number of positives).

    Args:
        top_ids: integers [N, >= k], best first.
        positives: sparse [N, L].
        k: how many places count.

    Returns:
        percent.

    Raises:
        ValueError: see ``precision_at_k``.

    Example:
        >>> positives = sparse.csr_array([[0, 1, 1], [1, 0, 0]])
        >>> round(ndcg_at_k([[0, 1], [0, 1]], positives, 2), 2)
        69.34
    """
    return float(100 * ndcg_of_rows(top_ids, positives, k).mean())


def ndcg_of_rows(top_ids: ArrayLike, positives: Any, k: int) -> np.ndarray:
    """DCG / best DCG of every row, of which `ndcg_at_k` is the mean.

    Args:
        top_ids: integers [N, >= k], best first.
        positives: sparse [N, L].
        k: how many places count.

    Returns:
        fractions [N]; 0 without a positive.

    Raises:
        ValueError: see ``precision_at_k``.

    Example:
        >>> positives = sparse.csr_array([[0, 1, 1], [1, 0, 0]])
        >>> ndcg_of_rows([[0, 1], [0, 1]], positives, 2).round(4)
        array([0.3869, 1.    ])
    """
    hits, positives = _hits(top_ids, positives, k)
    gains = 1 / np.log2(np.arange(2, k + 2))
    best = np.cumsum(gains)[np.clip(np.diff(positives.indptr), 1, k) - 1]
    return (hits * gains).sum(axis=1) / best


def inverse_propensities(positives: Any, *, a: float, b: float) -> np.ndarray:
    r"""One over the propensity of each label, from the TRAINING positives.

    .. math:: \frac{1}{p_l} = 1 + (\ln N - 1)\,(b + 1)^a\,(n_l + b)^{-a}

    ``a`` and ``b`` belong to the data set: ``**PROPENSITY_PRESETS[name]`` with the name
    ``"wikipedia"``, ``"amazon"`` or, for all others, ``"default"``.

    Args:
        positives: sparse [N, L], of the training part; n_l of them are in column l.
        a: exponent.
        b: offset.

    Returns:
        float64 [L].

    Raises:
        ValueError: positives that are not sparse or negative.

    Source: Jain et al., "Extreme Multi-label Loss Functions for Recommendation, Tagging, Ranking &
    Other Missing Label Applications", KDD 2016.

    Example:
        >>> positives = sparse.csr_array([[1, 0], [1, 0], [1, 1]])
        >>> inverse_propensities(positives, **PROPENSITY_PRESETS["default"]).round(4)
        array([1.0714, 1.0986])
    """
    positives = _positives(positives)
    counts = np.bincount(positives.indices, minlength=positives.shape[1])
    return 1 + (np.log(positives.shape[0]) - 1) * (b + 1) ** a * (counts + b) ** -a


def propensity_precision_at_k(
    top_ids: ArrayLike, positives: Any, k: int, inverse_propensities: ArrayLike
) -> float:
    r"""PSP@k: the propensity-scored hits over the best attainable, in percent.

    .. math::

        \frac{\sum_i \sum_{l \in T_i} y_{il} w_l}
             {\sum_i \max_{|S| = k} \sum_{l \in S} y_{il} w_l} \qquad w_l = 1 / p_l

    :math:`T_i` are the top k of row i. It is a ratio of two sums over all rows, as the Extreme
    Classification Repository reports it. nan if there is no positive at all.

    Args:
        top_ids: integers [N, >= k], best first.
        positives: sparse [N, L].
        k: how many places count.
        inverse_propensities: w, [L].

    Returns:
        percent.

    Raises:
        ValueError: see ``precision_at_k``; or another number of propensities.

    Source: as ``inverse_propensities``.

    Example:
        >>> positives = sparse.csr_array([[0, 1, 1], [1, 0, 0]])
        >>> propensity_precision_at_k([[1], [0]], positives, 1, [1.0, 2.0, 5.0])
        50.0
    """
    positives = _positives(positives)
    ids = _check_ids(top_ids, positives.shape, k)
    weights = np.asarray(inverse_propensities, dtype=np.float64)
    if weights.shape != (positives.shape[1],):
        raise ValueError(
            f"inverse_propensities have shape {weights.shape}, not [{positives.shape[1]}]"
        )
    gained = weights[ids[_contains(positives, ids)]].sum()
    rows = np.repeat(np.arange(positives.shape[0]), np.diff(positives.indptr))
    attainable = weights[positives.indices]
    order = np.lexsort((-attainable, rows))  # within each row the largest first
    rank = np.arange(len(order)) - positives.indptr[rows]
    best = attainable[order][rank < k].sum()
    return float(100 * gained / best) if best else np.nan


def drop_excluded(
    top_ids: ArrayLike, positives: Any, excluded: Any
) -> tuple[np.ndarray, sparse.csr_array]:
    """Take the excluded (row, label) pairs out of predictions and truth.

    Some data sets come with such pairs (a filter file): a product and itself, say. The labels below
    a dropped one move up, and the row is padded with -1: search for k labels more than the most
    that a row excludes.

    Args:
        top_ids: integers [N, K], best first.
        positives: sparse [N, L].
        excluded: sparse [N, L].

    Returns:
        ids [N, K] and positives [N, L] without the excluded pairs.

    Raises:
        ValueError: see ``precision_at_k``; or the shapes of the matrices differ.

    Example:
        >>> positives = sparse.csr_array([[0, 1, 1], [1, 0, 0]])
        >>> itself = sparse.csr_array([[0, 1, 0], [0, 0, 1]])
        >>> ids, left = drop_excluded([[1, 2], [0, 1]], positives, itself)
        >>> ids.tolist(), left.toarray().astype(int).tolist()
        ([[2, -1], [0, 1]], [[0, 0, 1], [1, 0, 0]])
    """
    positives, excluded = _positives(positives), _positives(excluded, "excluded")
    if positives.shape != excluded.shape:
        raise ValueError(f"positives have shape {positives.shape}, excluded {excluded.shape}")
    ids = _check_ids(top_ids, positives.shape, np.shape(top_ids)[-1])
    ids = np.where(_contains(excluded, ids), -1, ids)
    order = np.argsort(ids == -1, axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1), _positives(positives > excluded)
