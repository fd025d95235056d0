"""Label matrices as scikit-learn's users write them: 1 present, 0 absent, nan unknown."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN

Unlisted = Literal["absent", "unknown"]

CONVERSION = "np.where(Y == 1, 1.0, np.where(Y == -1, 0.0, np.nan))"


@dataclass(frozen=True)
class States:
    """Labels in the convention of this package.

    Attributes:
        labels: int8 [N, C] in {1, 0, -1}.
        values: for a label vector [N] its two values, the absent one first; None for a matrix.
    """

    labels: np.ndarray
    values: np.ndarray | None


def read_states(Y: Any, *, unlisted: Unlisted) -> States:
    """The labels of a matrix [N, C], dense or sparse, or of a vector [N] of one label.

    Args:
        Y: 1 present, 0 absent, nan unknown; in a vector nan and any two values, of which the
            greater one means present.
        unlisted: what is meant by a 0 of a dense matrix and by an entry that a sparse one does not
            store. A stored 0 of a sparse matrix is absent, a stored nan unknown.

    Raises:
        ValueError: other values, a matrix of {1, 0, -1}, a vector without two values.
    """
    if Y is None:
        raise ValueError("PartialLabelClassifier requires y to be passed, but the target y is None")
    if sparse.issparse(Y):
        return States(_sparse_labels(sparse.csr_array(Y), unlisted), None)
    matrix = _with_nan(np.asarray(Y))
    if matrix.ndim == 1:
        return States(*_vector_labels(matrix))
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise ValueError(f"Y has shape {matrix.shape}; give [N, C], or [N] for one label")
    if matrix.dtype == bool:
        matrix = matrix.astype(np.int8)
    elif matrix.dtype.kind not in "iuf":
        matrix = _as_numbers(matrix)
    _check_values(matrix)
    unknown = np.isnan(matrix) if matrix.dtype.kind == "f" else np.zeros(matrix.shape, bool)
    labels = np.where(matrix == 1, POSITIVE, NEGATIVE if unlisted == "absent" else UNKNOWN)
    return States(np.where(unknown, UNKNOWN, labels).astype(np.int8), None)


def _with_nan(entries: np.ndarray) -> np.ndarray:
    """The same with nan in the place of pandas' NA, which is not even equal to itself.

    Columns of integers and booleans with missing values become arrays of objects with it.
    """
    if entries.dtype != object:
        return entries
    # by its name: pandas may not be installed
    missing = np.array([type(entry).__name__ == "NAType" for entry in entries.flat], bool)
    if not missing.any():
        return entries
    filled = np.where(missing.reshape(entries.shape), np.nan, entries)
    try:
        return filled.astype(np.float64)
    except (TypeError, ValueError):
        return filled


def _as_numbers(matrix: np.ndarray) -> np.ndarray:
    try:
        return matrix.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Unknown label type: Y [N, C] holds {matrix.dtype}; write 1 (present), 0 (absent) or "
            "nan (unknown)"
        ) from error


def _check_values(values: np.ndarray) -> None:
    wrong = (values != 0) & (values != 1) & (values == values)
    if not wrong.any():
        return
    first = values[wrong][0]
    if (values[wrong] == -1).all():
        raise ValueError(
            "Y holds -1; here 1 is present, 0 absent and nan unknown. If -1 means unknown, as in "
            "sklearn.semi_supervised, put nan in its place. Labels of 1 (present), 0 (unknown) "
            f"and -1 (absent) become these by {CONVERSION}"
        )
    hint = ""
    if values.dtype.kind in "iu" and (values[wrong] == 2).all():
        hint = (
            "; scikit-learn's cross_val_predict turns nan into 2 for every method but 'predict': "
            "take pumlc.estimators.cross_val_predict, or the leave-one-out scores, loo_scores_"
        )
    raise ValueError(
        f"Unknown label type: Y [N, C] holds {first}; write 1 (present), 0 (absent) or nan "
        f"(unknown){hint}"
    )


def _sparse_labels(matrix: sparse.csr_array, unlisted: Unlisted) -> np.ndarray:
    if matrix.dtype.kind not in "biuf":
        raise ValueError(f"Unknown label type: a sparse Y of {matrix.dtype}")
    data = matrix.data.astype(np.float64)
    _check_values(data)
    fill = NEGATIVE if unlisted == "absent" else UNKNOWN
    num_rows, num_labels = matrix.shape  # type: ignore[misc]
    labels = np.full((num_rows, num_labels), fill, np.int8)
    rows = np.repeat(np.arange(num_rows), np.diff(matrix.indptr))
    states = np.where(data == 1, POSITIVE, np.where(data == 0, NEGATIVE, UNKNOWN))
    labels[rows, matrix.indices] = states
    return labels


def _vector_labels(vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unknown = np.isnan(vector) if vector.dtype.kind == "f" else np.zeros(len(vector), bool)
    known = vector[~unknown]
    if not len(known):
        raise ValueError("y holds no known label: every value is nan (unknown)")
    if known.dtype.kind == "f" and not np.isfinite(known).all():
        raise ValueError("y holds an infinite value; a label vector has two values, or nan")
    check_classification_targets(known)
    kind = type_of_target(known, input_name="y", raise_unknown=True)
    values = np.unique(known)
    if len(values) > 2 or kind != "binary":
        hint = ""
        if known.dtype.kind in "if" and set(values) == {-1, 0, 1}:
            hint = f" If 0 is unknown and -1 absent: {CONVERSION.replace('Y', 'y')}."
        raise ValueError(
            f"Only binary classification is supported. The type of the target is {kind}: y has the "
            f"values {', '.join(map(str, values[:5]))}.{hint}"
        )
    if len(values) < 2:
        raise ValueError(f"y holds 1 class only, {values[0]!r}; a label vector needs two")
    labels = np.full((len(vector), 1), UNKNOWN, np.int8)
    labels[~unknown, 0] = np.where(known == values[1], POSITIVE, NEGATIVE)
    return labels, values


def check_columns(labels: np.ndarray) -> None:
    """Refuse classes without a known label: nothing could be fitted on them.

    Raises:
        ValueError: there is such a class.
    """
    empty = np.flatnonzero(~labels.any(axis=0))
    if len(empty):
        raise ValueError(
            f"Y: {len(empty)} of {labels.shape[1]} labels have no known entry, the first is column "
            f"{empty[0]}; leave these columns out"
        )
