"""The manifest of `SparseLabels`: the true labels themselves, which take no more than is known."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from pumlc.errors import UserError
from pumlc.files import complete_file
from pumlc.labels.convention import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.labels.sparse import SparseLabels

ARRAYS = ("indptr", "indices", "data", "silent")
"""Of the true labels, in the file."""
_LABELS = (POSITIVE, UNKNOWN, NEGATIVE)


@dataclass(frozen=True, eq=False)
class SparseManifest:
    """What became of the true labels of one split; see `pumlc.labels.LabelManifest`.

    Attributes:
        protocol: the function that hid or flipped labels.
        seed: its seed.
        parameters: its numbers, plain JSON.
        mask_hash: `sparse_mask_hash` of the labels that the run has seen.
        truth: the true labels.
        changes: whether any label was removed or flipped.
    """

    protocol: str
    seed: int
    parameters: dict[str, Any]
    mask_hash: str
    truth: SparseLabels
    changes: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Of the label matrix, [N, C]."""
        return self.truth.shape

    def restore(self, labels: SparseLabels) -> SparseLabels:
        """The true labels.

        Args:
            labels: that the run has seen.

        Raises:
            UserError: labels of another shape or with another mask: the data have changed.
        """
        found = sparse_mask_hash(labels)
        if labels.shape != self.shape or found != self.mask_hash:
            raise UserError(
                f"labels {labels.shape} with mask {found} are not those of the manifest: "
                f"{self.shape} with mask {self.mask_hash}; the data set has changed"
            )
        return self.truth


def sparse_mask_hash(labels: SparseLabels) -> str:
    """12 hex digits that identify which labels are known, whatever they say."""
    shape, indptr, indices, data, silent = labels.pieces()
    digest = hashlib.sha1(usedforsecurity=False)
    for piece in (shape, indptr, indices, data != 0, silent != 0):
        digest.update(np.ascontiguousarray(piece).data)
    return digest.hexdigest()[:12]


def compare_sparse(
    true: SparseLabels,
    observed: SparseLabels,
    *,
    protocol: str,
    seed: int,
    parameters: dict[str, Any],
) -> SparseManifest:
    """How the ``observed`` labels differ from the ``true`` ones.

    Args:
        true, observed: [N, C]; UNKNOWN is observed where it is true.
        protocol, seed, parameters: of the function that made the one of the other.

    Raises:
        ValueError: unequal shapes.
    """
    if true.shape != observed.shape:
        raise ValueError(f"observed labels have shape {observed.shape}, true ones {true.shape}")
    changes = observed is not true
    return SparseManifest(protocol, seed, parameters, sparse_mask_hash(observed), true, changes)


def write_sparse_manifest(path: str | Path, manifest: SparseManifest) -> None:
    """Write a manifest as an npz file, which is complete or absent."""
    header = {name: getattr(manifest, name) for name in ("protocol", "seed", "parameters")}
    shape, *pieces = manifest.truth.pieces()
    with complete_file(path, binary=True) as file:
        np.savez(
            file,
            header=np.array(json.dumps(header)),
            shape=shape,
            mask_hash=np.array(manifest.mask_hash),
            changes=np.array(manifest.changes),
            **dict(zip(ARRAYS, pieces, strict=True)),
        )


def sparse_manifest(
    path: str | Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> SparseManifest:
    """The manifest of the arrays of a file, which may come from anyone.

    Args:
        path: the file, for messages.
        header: protocol, seed and parameters.
        arrays: all of the file.

    Raises:
        UserError: they do not fit together.
    """
    wrong = f"{path} is no label manifest: its labels do not fit together"
    pieces = indptr, indices, data, silent = [arrays[name] for name in ARRAYS]
    kinds = (np.int64, np.int32, np.int8, np.int8)
    number, width = (int(size) for size in arrays["shape"])
    if (
        any(a.dtype != k or a.ndim != 1 for a, k in zip(pieces, kinds, strict=True))
        or arrays["changes"].shape != ()
        or (len(silent), len(indptr)) != (number, number + 1)
        or not len(indices) == len(data) == indptr[-1]
        or indptr[0] != 0
        or (np.diff(indptr) < 0).any()
    ):
        raise UserError(wrong)
    rising = np.diff(indices) > 0
    rising[indptr[1:-1][(indptr[1:-1] > 0) & (indptr[1:-1] < len(indices))] - 1] = True
    in_range = not len(indices) or (indices.min() >= 0 and indices.max() < width)
    if (
        not in_range
        or not rising.all()
        or not all(np.isin(a, _LABELS).all() for a in (data, silent))
    ):
        raise UserError(wrong)
    truth = SparseLabels(csr_array((data, indices, indptr), shape=(number, width)), silent)
    return SparseManifest(
        **header,
        mask_hash=str(arrays["mask_hash"]),
        truth=truth,
        changes=bool(arrays["changes"]),
    )
