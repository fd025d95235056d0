"""A record of the pictures and labels that a run has seen, so that later changes are noticed."""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np

from pumlc.errors import UserError
from pumlc.files import DAMAGED_ARRAY, complete_file
from pumlc.labels import SparseLabels
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.split import TrainingData


def fingerprint(images: LabelledImages) -> str:
    """SHA-1 of the names, their order, and the labels of a part of the data."""
    kind = repr((images.paths.dtype.str, images.classes)).encode()
    digest = hashlib.sha1(kind, usedforsecurity=False)
    digest.update(np.ascontiguousarray(images.paths).data)
    if isinstance(images.matrix, SparseLabels):
        for piece in images.matrix.pieces():
            digest.update(piece.data)
    else:
        digest.update(np.ascontiguousarray(images.matrix).data)
    return digest.hexdigest()


def fingerprints(data: TrainingData) -> dict[str, str | None]:
    """The fingerprints of the two parts that a run sees, for run.json."""
    validation = None if data.validation is None else fingerprint(data.validation)
    return {"train": fingerprint(data.train), "validation": validation}


def write_seen(file: Path, data: TrainingData, root: str) -> None:
    """Write a hash of each picture's name, 8 bytes each.

    Args:
        file: the file to write.
        data: the training and the validation part.
        root: the folder of the data; names are relative to it.
    """
    parts = {"train": _hashes(data.train, root)}
    if data.validation is not None:
        parts["validation"] = _hashes(data.validation, root)
    with complete_file(file, binary=True) as stream:
        np.savez(stream, **parts)  # pyright: ignore[reportArgumentType]


def count_seen(file: Path, images: LabelledImages, root: str) -> dict[str, int]:
    """Count the pictures that a run has seen in each part, by their names.

    Args:
        file: a file of `write_seen`.
        images: the pictures to look up.
        root: the present folder of the data, which may have been moved as a whole.

    Returns:
        ``train`` or ``validation`` -> number of pictures; empty if there is no such file (an early
        version wrote none).

    Raises:
        UserError: the file holds something else.
    """
    if not file.is_file():
        return {}
    names = _hashes(images, root)
    problem = f"{file}: not the hashes of the pictures that a run has seen"
    if not zipfile.is_zipfile(file):
        raise UserError(problem)
    try:
        with np.load(file, allow_pickle=False) as parts:
            hashes = {part: parts[part] for part in parts.files}
    except DAMAGED_ARRAY as error:
        raise UserError(f"{problem} ({error})") from error
    return {part: int(np.isin(names, each).sum()) for part, each in hashes.items()}


def _hashes(images: LabelledImages, root: str) -> np.ndarray:
    # relative to `root`, since below `images.root` pictures of two splits may have one name
    folder = os.path.abspath(images.root)
    paths = (os.path.normpath(os.path.join(folder, path.decode())) for path in images.paths)
    names = (os.path.relpath(path, os.path.abspath(root)) for path in paths)
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(digests), np.uint64)
