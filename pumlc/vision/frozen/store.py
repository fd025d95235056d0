"""Features stored by the content of pictures, so that a renamed picture is found again."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pumlc.errors import UserError
from pumlc.files import complete_file

DIGEST = "S32"  # numpy type of a digest, 16 bytes in hexadecimal, which can be sorted and searched


def content_digest(content: bytes) -> bytes:
    """The digest by which a picture is found, 32 characters."""
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


class FeatureStore:
    """Rows of features in a folder, each with the digest of its picture.

    A file ``CHECKSUM.npy`` holds some rows and is never changed. Processes that write at the same
    time write different files; a picture that two of them computed is stored twice and read once.

    Args:
        folder: the folder of one network in one precision; created when something is added.
        width: D.

    Raises:
        UserError: a file is damaged, was changed, or does not hold features of this width.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder, self.width = folder, width
        self._type = np.dtype([("picture", DIGEST), ("features", np.float32, (width,))])
        self._parts = [self._read(file) for file in sorted(folder.glob("*.npy"))]

    def find(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Look up the features of pictures.

        Args:
            digests: [N].

        Returns:
            bool [N], which pictures were found, and their features float32 [N, D], zeros for the
            others.
        """
        found = np.zeros(len(digests), bool)
        features = np.zeros((len(digests), self.width), np.float32)
        for part in self._parts:
            names = part["picture"]
            order = np.argsort(names)
            places = np.searchsorted(names, digests, sorter=order)
            rows = order[np.minimum(places, len(names) - 1)]
            here = ~found & (names[rows] == digests)
            features[here] = part["features"][rows[here]]
            found |= here
        return found, features

    def add(self, digests: Iterable[bytes], features: np.ndarray) -> None:
        """Store features [n, D] of n pictures, n at least 1, in a new file."""
        rows = np.empty(len(features), self._type)
        rows["picture"], rows["features"] = list(digests), features
        self.folder.mkdir(parents=True, exist_ok=True)
        with complete_file(self.folder / f"{_checksum(rows)}.npy", binary=True) as stream:
            np.save(stream, rows)
        self._parts.append(rows)

    def _read(self, file: Path) -> np.ndarray:
        advice = "delete it to compute its features again"
        try:
            rows = np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UserError(f"{file} is not a complete feature file; {advice}: {error}") from error
        if rows.dtype != self._type or rows.ndim != 1 or not len(rows):
            raise UserError(f"{file} does not hold features of length {self.width}; {advice}")
        if _checksum(rows) != file.stem:
            raise UserError(
                f"{file} was changed since it was written: its content has another checksum than "
                f"its name; {advice}"
            )
        return rows


def _checksum(rows: np.ndarray) -> str:
    digest = hashlib.blake2b(repr(rows.dtype.descr).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(rows).view(np.uint8).data)
    return digest.hexdigest()
