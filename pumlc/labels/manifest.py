"""The label manifest: which labels a protocol or noise changed, and what they truly were.

A training run never reads it; it is written beside the run so that an audit can be scored.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pumlc.errors import UserError
from pumlc.files import DAMAGED_ARRAY, complete_file
from pumlc.labels.convention import NEGATIVE, POSITIVE, UNKNOWN, row_blocks, validate
from pumlc.labels.sparse import LabelMatrix, SparseLabels, dense
from pumlc.labels.sparse_manifest import (
    ARRAYS,
    SparseManifest,
    sparse_manifest,
    write_sparse_manifest,
)

_ARRAYS = {"header", "shape", "mask_hash", "changed", "positive"}
_SPARSE_ARRAYS = {"header", "shape", "mask_hash", "changes", *ARRAYS}
_HEADER = {"protocol": str, "seed": int, "parameters": dict}


def _packbits(size: int, plane: Callable[[slice], np.ndarray]) -> NDArray[np.uint8]:
    """``np.packbits`` of a flat boolean array that ``plane`` gives a part at a time."""
    packed = np.empty(-(-size // 8), np.uint8)
    for part in row_blocks((size, 1)):  # each but the last has a multiple of 8 entries
        bits = np.packbits(plane(part))
        packed[part.start // 8 :][: len(bits)] = bits
    return packed


def mask_hash(labels: ArrayLike) -> str:
    """The first 12 hex digits of the SHA-1 of ``np.packbits(labels != UNKNOWN)``.

    It identifies which labels are known, by row and class, and not what they say.

    Args:
        labels: [N, C] in {1, 0, -1}.

    Raises:
        ValueError: an invalid label.

    Example:
        >>> mask_hash([[1, -1, 0], [0, 1, -1]])
        'a6f57425137e'
    """
    flat = validate(labels, "labels").ravel()
    return _sha1(_packbits(len(flat), lambda part: flat[part] != UNKNOWN))


def _sha1(known: np.ndarray) -> str:
    return hashlib.sha1(known.tobytes(), usedforsecurity=False).hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class PackedLabels:
    """A label matrix as two bit planes (``np.packbits`` of the flattened one), a quarter of int8.

    It keeps what was true while the matrix itself is overwritten with what is observed.

    Attributes:
        shape: of the matrix, [N, C].
        known: plane of the entries that are not UNKNOWN, uint8.
        positive: plane of the POSITIVE entries, uint8.
    """

    shape: tuple[int, int]
    known: np.ndarray
    positive: np.ndarray

    @staticmethod
    def pack(labels: ArrayLike, where: str = "labels") -> "PackedLabels":
        """Pack a label matrix.

        Args:
            labels: [N, C] in {1, 0, -1}.
            where: the argument or file that messages name.

        Raises:
            ValueError: an invalid label.

        Example:
            >>> PackedLabels.pack([[1, -1, 0], [0, 1, -1]]).positive
            array([136], dtype=uint8)
        """
        labels = validate(labels, where)
        flat = labels.ravel()
        known = _packbits(len(flat), lambda part: flat[part] != UNKNOWN)
        positive = _packbits(len(flat), lambda part: flat[part] == POSITIVE)
        return PackedLabels((labels.shape[0], labels.shape[1]), known, positive)


@dataclass(frozen=True, eq=False)
class LabelManifest:
    """What became of the true labels of one split; ``compare`` and ``read_manifest`` return it.

    Attributes:
        protocol: the function that hid or flipped labels.
        seed: its seed.
        parameters: its numbers, plain JSON.
        shape: of the label matrix, [N, C].
        mask_hash: `mask_hash` of the labels that the run has seen.
        changed_bits: ``np.packbits`` of the entries that were changed, over the flattened matrix.
        positive_bits: the same of the entries that are truly positive.
    """

    protocol: str
    seed: int
    parameters: dict[str, Any]
    shape: tuple[int, int]
    mask_hash: str
    changed_bits: np.ndarray
    positive_bits: np.ndarray

    def _plane(self, bits: np.ndarray) -> np.ndarray:
        count = self.shape[0] * self.shape[1]
        return np.unpackbits(bits, count=count).view(bool).reshape(self.shape)

    def changed(self) -> np.ndarray:
        """Boolean [N, C]: the entries whose label was removed or flipped."""
        return self._plane(self.changed_bits)

    @property
    def changes(self) -> bool:
        """Whether any label was removed or flipped."""
        return bool(self.changed_bits.any())

    def restore(self, labels: ArrayLike) -> np.ndarray:
        """The true labels.

        Args:
            labels: that the run has seen, [N, C].

        Returns:
            int8 [N, C].

        Raises:
            UserError: labels of another shape or with another mask: the data have changed.
        """
        labels = validate(labels, "labels")
        if labels.shape != self.shape or mask_hash(labels) != self.mask_hash:
            raise UserError(
                f"labels {labels.shape} with mask {mask_hash(labels)} are not those of the "
                f"manifest: {self.shape} with mask {self.mask_hash}; the data set has changed"
            )
        truth = labels.copy()
        truth[self.changed()] = NEGATIVE
        truth[self._plane(self.positive_bits)] = POSITIVE
        return truth


def restored_labels(manifest: LabelManifest | SparseManifest, labels: LabelMatrix) -> LabelMatrix:
    """The true labels, dense or sparse as those that the run has seen.

    Raises:
        UserError: see ``restore`` of the two.
    """
    if isinstance(manifest, SparseManifest):
        assert isinstance(labels, SparseLabels)
        return manifest.restore(labels)
    return manifest.restore(dense(labels))


def compare(
    true: PackedLabels,
    observed: ArrayLike,
    *,
    protocol: str,
    seed: int,
    parameters: dict[str, Any],
) -> LabelManifest:
    """How the ``observed`` labels differ from the ``true`` ones.

    Args:
        true: [N, C], packed.
        observed: [N, C] in {1, 0, -1}; UNKNOWN wherever ``true`` is.
        protocol: the function that hid or flipped labels.
        seed: its seed.
        parameters: its numbers, plain JSON.

    Raises:
        ValueError: invalid labels, unequal shapes, or a label observed where none is true.

    Example:
        >>> true, observed = PackedLabels.pack([[1, -1], [-1, 1]]), [[1, 0], [0, -1]]
        >>> compare(true, observed, protocol="by hand", seed=0, parameters={}).changed()
        array([[False,  True],
               [ True,  True]])
    """
    seen = PackedLabels.pack(observed, "observed")
    if true.shape != seen.shape:
        raise ValueError(f"observed labels have shape {seen.shape}, true ones {true.shape}")
    for part in row_blocks((len(seen.known), 1)):
        invented = (seen.known[part] & ~true.known[part]).view(np.uint8)
        if invented.any():
            entry = 8 * part.start + int(np.flatnonzero(np.unpackbits(invented))[0])
            row, column = divmod(entry, true.shape[1])
            value = np.asarray(observed)[row, column]
            raise ValueError(f"observed: row {row}, column {column} is {value}, the truth unknown")
    mask = _sha1(seen.known)
    changed = np.bitwise_xor(seen.known, true.known, out=seen.known)  # in place: they are large
    changed |= np.bitwise_xor(seen.positive, true.positive, out=seen.positive)
    return LabelManifest(protocol, seed, parameters, true.shape, mask, changed, true.positive)


def write_manifest(path: str | Path, manifest: LabelManifest | SparseManifest) -> None:
    """Write a manifest as an npz file, which is complete or absent.

    Args:
        path: the file; its folder exists. What is there is replaced.
        manifest: what is written.

    Example:
        >>> import tempfile
        >>> true, observed = PackedLabels.pack([[1, -1], [-1, 1]]), [[1, 0], [0, -1]]
        >>> with tempfile.TemporaryDirectory() as run:
        ...     file = Path(run, "label_manifest.npz")
        ...     manifest = compare(true, observed, protocol="by hand", seed=0, parameters={})
        ...     write_manifest(file, manifest)
        ...     read_manifest(file).restore(observed)
        array([[ 1, -1],
               [-1,  1]], dtype=int8)
    """
    if isinstance(manifest, SparseManifest):
        write_sparse_manifest(path, manifest)
        return
    header = {name: getattr(manifest, name) for name in _HEADER}
    with complete_file(path, binary=True) as file:
        np.savez_compressed(
            file,
            header=np.array(json.dumps(header)),
            shape=np.array(manifest.shape),
            mask_hash=np.array(manifest.mask_hash),
            changed=manifest.changed_bits,
            positive=manifest.positive_bits,
        )


def read_manifest(path: str | Path) -> LabelManifest | SparseManifest:
    """Read a file of ``write_manifest``; the file may come from anyone.

    Args:
        path: the file.

    Raises:
        UserError: there is no such file, it is no manifest, it is damaged, or its parts do not
            fit together.
    """
    arrays = _arrays(Path(path))
    shape = arrays["shape"]
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or shape.min() < 0:
        raise UserError(f"{path} is no label manifest: its shape is {shape.tolist()}, not N and C")
    if "indptr" in arrays:
        return sparse_manifest(path, _header(path, str(arrays["header"])), arrays)
    num_rows, num_classes = (int(size) for size in shape)
    num_bytes = -(-num_rows * num_classes // 8)
    for name in ("changed", "positive"):
        plane = arrays[name]
        if plane.dtype != np.uint8 or plane.shape != (num_bytes,):
            raise UserError(
                f"{path} is no label manifest: {name} is {plane.dtype} {list(plane.shape)}, not "
                f"the {num_bytes} bytes of {num_rows} x {num_classes} labels"
            )
    return LabelManifest(
        **_header(path, str(arrays["header"])),
        shape=(num_rows, num_classes),
        mask_hash=str(arrays["mask_hash"]),
        changed_bits=arrays["changed"],
        positive_bits=arrays["positive"],
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a manifest, not yet checked."""
    if not path.is_file():
        raise UserError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no label manifest: no npz file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            needed = _SPARSE_ARRAYS if "indptr" in archive.files else _ARRAYS
            arrays = {name: np.asarray(archive[name]) for name in needed & set(archive.files)}
    except DAMAGED_ARRAY as error:
        raise UserError(f"{path} is no label manifest: {error}") from error
    missing = sorted(needed - set(arrays))
    if missing:
        raise UserError(f"{path} is no label manifest: it lacks {', '.join(missing)}")
    return arrays


def _header(path: str | Path, text: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no label manifest: its header is not JSON ({error})") from error
    if not isinstance(header, dict) or set(header) != set(_HEADER):
        raise UserError(
            f"{path} is no label manifest: its header is not {', '.join(_HEADER)} alone"
        )
    for name, kind in _HEADER.items():
        if type(header[name]) is not kind:
            raise UserError(
                f"{path} is no label manifest: {name} is {header[name]!r}, not of type "
                f"{kind.__name__}"
            )
    return header
