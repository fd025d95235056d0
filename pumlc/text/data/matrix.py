"""Sparse matrices of texts and labels: who has which, as files and from pairs."""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from pumlc.errors import UserError

SparseMatrix: TypeAlias = Any  # scipy annotates no shape


def read_matrix(path: Path) -> SparseMatrix:
    """Bool CSR [N, L] of a file that scipy wrote: where the relevance is above 0.

    Raises:
        UserError: the file is missing or damaged, holds another kind of array, or a relevance
            that is negative or no number; it names the file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        entries = _entries(sp.load_npz(path))
    except Exception as error:  # a damaged file raises whatever zip, numpy or scipy stumble over
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: not a sparse matrix written by scipy ({reason})") from None
    wrong = ~(np.isfinite(entries.data) & (entries.data >= 0))
    if wrong.any():
        first = np.argmax(wrong)
        raise UserError(
            f"{path}: row {entries.row[first]} holds {entries.data[first]}; relevance is 0 or "
            "positive"
        )
    return canonical(entries)


def pairs_to_matrix(pairs: list[tuple[int, int]], shape: tuple[int, int]) -> SparseMatrix:
    """Bool CSR of a shape, true at the pairs (row, column)."""
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return canonical(sp.csr_array((np.ones(len(pairs), bool), (rows, columns)), shape))


def canonical(matrix: SparseMatrix) -> SparseMatrix:
    """Bool CSR with sorted columns, no duplicates and no stored zeros."""
    # bool before duplicates are added up: small integers would wrap around, 256 ones to 0
    matrix = sp.csr_array(matrix.astype(bool))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def _entries(stored: SparseMatrix) -> SparseMatrix:
    """The same as COO; ValueError if it is no matrix of numbers or an index is out of range."""
    if stored.ndim != 2:
        raise UserError(f"it has {stored.ndim} dimensions, a matrix has 2")
    if stored.dtype.kind not in "biuf":
        raise UserError(f"it holds {stored.dtype}, not numbers")
    if hasattr(stored, "check_format"):  # COO checks itself; diagonals have no indices
        # before conversion, which trusts the indices with memory
        stored.check_format(full_check=True)
    return stored.tocoo()
