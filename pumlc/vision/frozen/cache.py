"""Feature files: the name of a matrix's file says what decided it, and has its checksum."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pumlc.errors import UserError
from pumlc.files import DAMAGED_ARRAY, complete_file


def cached_matrix(
    folder: Path, name: str, num_rows: int, compute: Callable[[], np.ndarray]
) -> np.ndarray:
    """A matrix [N, D] from its file, or computed now and written there.

    The file is ``FOLDER/NAME-CHECKSUM.npy``. A file whose content has another checksum than its
    name is refused.

    Args:
        folder: the folder of the files; created if need be.
        name: says what decides the matrix.
        num_rows: N.
        compute: called if there is no file.

    Raises:
        UserError: the file is damaged, was changed or has another number of rows.
    """
    folder = folder.expanduser()
    file = next(iter(sorted(folder.glob(f"{name}-*.npy"))), None)
    if file is not None:
        return _read(file, num_rows)
    folder.mkdir(parents=True, exist_ok=True)  # before the work, which would be lost if it fails
    matrix = compute()
    with complete_file(folder / f"{name}-{_checksum(matrix)}.npy", binary=True) as stream:
        np.save(stream, matrix)
    return matrix


def _read(file: Path, num_rows: int) -> np.ndarray:
    advice = "delete it to compute the features again"
    try:
        matrix = np.load(file, allow_pickle=False)
    except DAMAGED_ARRAY as error:
        raise UserError(f"{file} is not a complete feature file; {advice}: {error}") from error
    if matrix.ndim != 2 or len(matrix) != num_rows:
        raise UserError(
            f"{file} has the shape {matrix.shape}, not one row for each of {num_rows} pictures; "
            f"{advice}"
        )
    if _checksum(matrix) != file.stem.rpartition("-")[2]:
        raise UserError(
            f"{file} was changed since it was written: its features have another checksum than "
            f"its name; {advice}"
        )
    return matrix


def _checksum(matrix: np.ndarray) -> str:
    digest = hashlib.sha256(repr((matrix.shape, matrix.dtype.str)).encode())
    digest.update(np.ascontiguousarray(matrix).data)
    return digest.hexdigest()[:16]
