"""Sparse matrices of texts and labels: who has which, as files and from pairs."""

import math
import zipfile
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.lib import format as npy

from pumlc.errors import UserError
from pumlc.files import DAMAGED_ARRAY

SparseMatrix: TypeAlias = Any  # scipy annotates no shape

HIGHEST_RATIO = 1100  # deflate makes data at most 1032 times as small


def stored_shape(path: Path) -> tuple[int, int]:
    """The shape that a file of scipy claims; nothing is reserved for what it claims.

    Raises:
        UserError: the file is missing or damaged, or one of its arrays is not as large as it says.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            largest = HIGHEST_RATIO * path.stat().st_size
            for member in archive.infolist():
                _check_size(archive, member, largest)
            with archive.open("shape.npy") as stream:
                shape = npy.read_array(stream, allow_pickle=False)
        if shape.dtype.kind not in "iu":
            raise TypeError(f"its shape is of {shape.dtype}")
        if shape.shape != (2,):
            raise ValueError(f"it has {shape.size} dimensions, a matrix has 2")
    except DAMAGED_ARRAY as error:
        raise _not_a_matrix(path, error) from error
    return int(shape[0]), int(shape[1])


def read_matrix(path: Path) -> SparseMatrix:
    """Bool CSR [N, L] of a file that scipy wrote: True where the relevance is above 0.

    Compare `stored_shape` with what is expected first: a file of few bytes can claim a shape that
    no memory holds.

    Raises:
        UserError: the file is missing or damaged, holds another kind of array, or a relevance
            is negative or not a number; the message names the file.
    """
    stored_shape(path)
    try:
        entries = _entries(sp.load_npz(path))
    except DAMAGED_ARRAY as error:
        raise _not_a_matrix(path, error) from error
    wrong = ~(np.isfinite(entries.data) & (entries.data >= 0))
    if wrong.any():
        first = np.argmax(wrong)
        raise UserError(
            f"{path}: row {entries.row[first]} holds {entries.data[first]}; relevance is 0 or "
            "positive"
        )
    return canonical(entries)


def pairs_to_matrix(pairs: list[tuple[int, int]], shape: tuple[int, int]) -> SparseMatrix:
    """Bool CSR of a shape, True at the pairs (row, column)."""
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return canonical(sp.csr_array((np.ones(len(pairs), bool), (rows, columns)), shape))


def canonical(matrix: SparseMatrix) -> SparseMatrix:
    """Bool CSR with sorted columns, no duplicates and no stored zeros."""
    # bool before duplicates are added up: 256 ones of a small integer type would give 0
    matrix = sp.csr_array(matrix.astype(bool))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def _not_a_matrix(path: Path, error: Exception) -> UserError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return UserError(f"{path}: not a sparse matrix written by scipy ({reason})")


def _check_size(archive: zipfile.ZipFile, member: zipfile.ZipInfo, largest: int) -> None:
    """Raise ValueError if the array of a member is not as large as its header says.

    Args:
        archive: the opened file.
        member: one of its arrays.
        largest: bytes that the whole file can hold at most.
    """
    if member.file_size > largest:
        raise ValueError(f"{member.filename} claims {member.file_size} bytes")
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = npy.read_array_header_1_0(stream)
        else:
            shape, _, dtype = npy.read_array_header_2_0(stream)
        size = member.file_size - stream.tell()
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds Python objects")
    if math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{member.filename} claims the shape {shape} in {size} bytes")


def _entries(stored: SparseMatrix) -> SparseMatrix:
    """The same as COO; ValueError if it is no matrix of numbers or an index is out of range."""
    if stored.dtype.kind not in "biuf":
        raise ValueError(f"it holds {stored.dtype}, not numbers")
    if hasattr(stored, "check_format"):  # COO checks itself; diagonals have no indices
        # before conversion, which trusts the indices with memory
        stored.check_format(full_check=True)
    return stored.tocoo()
