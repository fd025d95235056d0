"""The label manifest: which labels a protocol or noise changed, and what they truly were.

A training run never reads it; it is written beside the run so that an audit can be scored.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pumlc.labels.convention import NEGATIVE, POSITIVE, UNKNOWN, row_blocks, validate


def _packbits(size: int, plane: Callable[[slice], np.ndarray]) -> NDArray[np.uint8]:
    """``np.packbits`` of a flat boolean array that ``plane`` gives a part at a time."""
    packed = np.empty(-(-size // 8), np.uint8)
    for part in row_blocks((size, 1)):  # of a multiple of 8 entries, all but the last
        bits = np.packbits(plane(part))
        packed[part.start // 8 :][: len(bits)] = bits
    return packed


def mask_hash(labels: ArrayLike) -> str:
    """The first 12 hex digits of the SHA-1 of ``np.packbits(labels != UNKNOWN)``.

    It identifies which labels are known, in which order of rows and classes, whatever they say.

    Shapes: labels [N, C] in {1, 0, -1}.
    Raises: ValueError for an invalid label.

    >>> mask_hash([[1, -1, 0], [0, 1, -1]])
    'a6f57425137e'
    """
    flat = validate(labels, "labels").ravel()
    return _sha1(_packbits(len(flat), lambda part: flat[part] != UNKNOWN))


def _sha1(known: np.ndarray) -> str:
    return hashlib.sha1(known.tobytes()).hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class PackedLabels:
    """A label matrix as two bit planes (``np.packbits`` of the flattened one), a quarter of int8.

    It keeps what was true while the matrix itself is overwritten with what is observed.
    """

    shape: tuple[int, int]
    known: np.ndarray
    positive: np.ndarray

    @staticmethod
    def of(labels: ArrayLike, where: str = "labels") -> "PackedLabels":
        """Pack labels [N, C] in {1, 0, -1}.

        Raises: ValueError for an invalid label.

        >>> PackedLabels.of([[1, -1, 0], [0, 1, -1]]).positive
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

    ``changed_bits`` and ``positive_bits`` are bit planes over the flattened matrix (``packbits``):
    the entries that were changed, and those that are truly positive.
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

    def restore(self, labels: ArrayLike) -> np.ndarray:
        """Return the true labels, int8 [N, C], given the labels that the run has seen.

        Raises: ValueError for labels of another shape or with another mask.
        """
        labels = validate(labels, "labels")
        if labels.shape != self.shape or mask_hash(labels) != self.mask_hash:
            raise ValueError(
                f"labels {labels.shape} with mask {mask_hash(labels)} are not those of the "
                f"manifest: {self.shape} with mask {self.mask_hash}"
            )
        truth = labels.copy()
        truth[self.changed()] = NEGATIVE
        truth[self._plane(self.positive_bits)] = POSITIVE
        return truth


def compare(
    true: PackedLabels,
    observed: ArrayLike,
    *,
    protocol: str,
    seed: int,
    parameters: dict[str, Any],
) -> LabelManifest:
    """How the ``observed`` labels differ from the ``true`` ones.

    ``protocol``: the function that hid or flipped them, ``parameters``: its numbers, for JSON.

    Shapes: both [N, C] in {1, 0, -1}; what is UNKNOWN in ``true`` must be so in ``observed``.
    Raises: ValueError for invalid labels, unequal shapes, or a label observed where none is true.

    >>> true = PackedLabels.of([[1, -1], [-1, 1]])
    >>> compare(true, [[1, 0], [0, -1]], protocol="by hand", seed=0, parameters={}).changed()
    array([[False,  True],
           [ True,  True]])
    """
    seen = PackedLabels.of(observed, "observed")
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


def write_manifest(path: str | Path, manifest: LabelManifest) -> None:
    """Write a manifest as an npz file, which is complete or absent (written, then renamed).

    >>> import tempfile
    >>> true, observed = PackedLabels.of([[1, -1], [-1, 1]]), [[1, 0], [0, -1]]
    >>> with tempfile.TemporaryDirectory() as run:
    ...     file = Path(run, "label_manifest.npz")
    ...     manifest = compare(true, observed, protocol="by hand", seed=0, parameters={})
    ...     write_manifest(file, manifest)
    ...     read_manifest(file).restore(observed)
    array([[ 1, -1],
           [-1,  1]], dtype=int8)
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    header = {name: getattr(manifest, name) for name in ("protocol", "seed", "parameters")}
    with open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            header=np.array(json.dumps(header)),
            shape=np.array(manifest.shape),
            mask_hash=np.array(manifest.mask_hash),
            changed=manifest.changed_bits,
            positive=manifest.positive_bits,
        )
    os.replace(temporary, path)


def read_manifest(path: str | Path) -> LabelManifest:
    """Read a file of ``write_manifest``.

    Raises: ValueError naming the file if it is something else.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no label manifest: no npz file")
    with np.load(path) as archive:
        missing = {"header", "shape", "mask_hash", "changed", "positive"} - set(archive.files)
        if missing:
            raise ValueError(f"{path} is no label manifest: it lacks {', '.join(sorted(missing))}")
        return LabelManifest(
            **json.loads(str(archive["header"])),
            shape=(int(archive["shape"][0]), int(archive["shape"][1])),
            mask_hash=str(archive["mask_hash"]),
            changed_bits=archive["changed"],
            positive_bits=archive["positive"],
        )
