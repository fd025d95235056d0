"""Features as the ridge heads see them, a block of rows at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

Reduce = Callable[[np.ndarray], np.ndarray]
"""Takes an array of this rank; returns the sum of the arrays of all ranks."""

Features = Any
"""A real array, a memory map of one, or a sparse matrix of scipy, [N, D]."""

BLOCK_ENTRIES = 2**23


@dataclass(frozen=True)
class Design:
    """The map from a row x of features to phi(x) = ((x - mean) / spread, 1), of width D + 1.

    The last entry is the intercept. It is penalised like every other coefficient, which costs
    little: the features are scaled so that the mean squared length of a row without it is 1.

    Attributes:
        mean: [D], zeros where the features are not centred.
        spread: [D], what each feature is divided by.
    """

    mean: np.ndarray
    spread: np.ndarray

    @property
    def width(self) -> int:
        """Entries of phi(x)."""
        return len(self.mean) + 1

    def rows(self, features: Features, index: np.ndarray | slice) -> Any:
        """phi of the rows of ``index``, [M, D + 1], sparse where the features are."""
        if sparse.issparse(features):
            chosen = sparse.csr_array(features)[index]
            scaled = chosen @ sparse.diags_array(1 / self.spread)
            ones = np.ones((chosen.shape[0], 1), chosen.dtype)
            return sparse.hstack([scaled, ones], format="csr")
        chosen = np.asarray(features[index])
        scaled = np.ones((len(chosen), self.width), chosen.dtype)
        np.subtract(chosen, self.mean, out=scaled[:, :-1], casting="same_kind")
        np.divide(scaled[:, :-1], self.spread, out=scaled[:, :-1], casting="same_kind")
        return scaled


def fit_design(
    features: Features,
    row_weights: np.ndarray,
    *,
    standardize: bool,
    reduce: Reduce | None = None,
) -> Design:
    """Scale the features so that the weighted mean squared length of a row is 1.

    Args:
        features: [N, D], dense (a memory map is read block by block) or sparse.
        row_weights: [N], not negative.
        standardize: first bring each feature to mean 0 and variance 1; a constant one becomes 0.
        reduce: sum over the ranks, each of which holds a part of the rows.

    Raises:
        ValueError: sparse features with ``standardize``, which would make them dense; a feature
            that is not finite, or too large to be squared.
    """
    total_over_ranks = reduce or (lambda array: array)
    total = float(total_over_ranks(np.array([row_weights.sum()]))[0])
    num_features = features.shape[1]
    if sparse.issparse(features):
        if standardize:
            raise ValueError("sparse features cannot be centred: standardize=False")
        squares = features.multiply(features)
        total_square = total_over_ranks(np.array([(row_weights @ squares).sum()]))[0]
        _require_finite(features, np.array([total_square]))
        length = np.sqrt(total_square / total) or 1.0
        return Design(np.zeros(num_features), np.full(num_features, length))
    mean = np.zeros(num_features)
    if standardize:
        for rows in slices(features.shape):
            mean += row_weights[rows] @ np.asarray(features[rows], np.float64)
        mean = total_over_ranks(mean) / total
    variance = np.zeros(num_features)  # in a second pass: a difference of squares loses digits
    for rows in slices(features.shape):
        centred = np.asarray(features[rows], np.float64) - mean
        variance += row_weights[rows] @ centred**2
    variance = total_over_ranks(variance) / total
    _require_finite(features, variance)
    if not standardize:
        length = np.sqrt(variance.sum()) or 1.0
        return Design(mean, np.full(num_features, length))
    deviation = np.sqrt(variance)
    # what is left of a constant feature is rounding, relative to its size
    constant = deviation <= 10 * np.finfo(np.float32).eps * np.abs(mean)
    if np.result_type(features) == np.float64:
        constant = deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)
    length = np.sqrt(np.count_nonzero(~constant)) or 1.0
    return Design(mean, np.where(constant, np.inf, deviation * length))


def _require_finite(features: Features, variance: np.ndarray) -> None:
    """Name the first feature that is not finite, if one has spoiled a sum.

    Raises:
        ValueError: there is one.
    """
    if np.isfinite(variance).all():
        return
    for rows in slices(features.shape):
        block = features[rows]
        block = block.toarray() if sparse.issparse(block) else np.asarray(block)
        wrong = np.argwhere(~np.isfinite(block))
        if len(wrong):
            row, column = wrong[0]
            raise ValueError(
                f"features: row {rows.start + row}, column {column} is {block[row, column]}; "
                "features must be finite"
            )


def slices(shape: tuple[int, ...], *, width: int | None = None) -> Iterator[slice]:
    """Slices of rows such that rows times ``width`` (by default the columns) stay below 64 MB."""
    rows = max(1, BLOCK_ENTRIES // max(1, shape[1] if width is None else width))
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0]))


def identical_rows(features: Features) -> np.ndarray:
    """A number for each row, int64 [N], the same for rows that are equal in every entry."""
    count = features.shape[0]
    digests = np.empty(count, "V16")
    if sparse.issparse(features):
        matrix = sparse.csr_array(features, copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        for row in range(count):
            part = slice(matrix.indptr[row], matrix.indptr[row + 1])
            key = matrix.indices[part].tobytes() + matrix.data[part].tobytes()
            digests[row] = _digest(key)
        return _first_of_equal(digests)
    for rows in slices(features.shape):
        block = np.ascontiguousarray(features[rows]) + 0.0  # -0.0 is 0.0
        for row, values in enumerate(block, rows.start):
            digests[row] = _digest(values.tobytes())
    return _first_of_equal(digests)


def _first_of_equal(digests: np.ndarray) -> np.ndarray:
    """For each entry the place of the first one that is equal, int64 [N]."""
    _, first, places = np.unique(digests, return_index=True, return_inverse=True)
    return first[places.reshape(-1)]


def joined_groups(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The finest groups that split no group of either numbering.

    Args:
        first: [N], equal for rows of a group.
        second: [N], another numbering of the same rows.

    Returns:
        int64 [N], numbered from 0 in the order of their first rows.

    Example:
        >>> joined_groups(np.array([7, 7, 8, 9]), np.array([0, 1, 1, 3])).tolist()
        [0, 0, 0, 1]
    """
    numbers = [np.unique(each, return_inverse=True)[1] for each in (first, second)]
    edges = sparse.coo_array((np.ones(len(first), bool), (numbers[0], numbers[1])))
    graph = sparse.block_array([[None, edges], [edges.T, None]], format="csr")
    joined = connected_components(graph, directed=False)[1][numbers[0]]
    order = np.unique(joined, return_index=True)[1]
    return np.argsort(np.argsort(order))[np.unique(joined, return_inverse=True)[1]]


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()
