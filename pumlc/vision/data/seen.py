"""Which pictures and labels a run has seen, so that later commands can tell when they differ."""

import hashlib
import os
from pathlib import Path

import numpy as np

from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.training_data import TrainingData


def fingerprint(images: LabelledImages) -> str:
    """SHA-1 of names, their order, and labels of a part of the data."""
    digest = hashlib.sha1(repr((images.paths.dtype.str, images.classes)).encode())
    digest.update(np.ascontiguousarray(images.paths).data)
    digest.update(np.ascontiguousarray(images.labels).data)
    return digest.hexdigest()


def fingerprints(data: TrainingData) -> dict[str, str | None]:
    """Those of the two parts that a run sees, for run.json."""
    validation = None if data.validation is None else fingerprint(data.validation)
    return {"train": fingerprint(data.train), "validation": validation}


def write_seen(file: Path, data: TrainingData, root: str) -> None:
    """Keep a hash of each picture's name below ``root``, the folder of the data: 8 bytes each."""
    parts = {"train": _hashes(data.train, root)}
    if data.validation is not None:
        parts["validation"] = _hashes(data.validation, root)
    temporary = file.with_name(file.name + ".tmp")
    with temporary.open("wb") as stream:
        np.savez(stream, **parts)  # pyright: ignore[reportArgumentType]
    os.replace(temporary, file)


def count_seen(file: Path, images: LabelledImages, root: str) -> dict[str, int]:
    """How many pictures were in the ``train`` and in the ``validation`` part, by their names.

    Names are those below ``root``, where the data are now: they may have been moved as a whole.

    Nothing for a run of a version that kept no hashes.
    """
    if not file.is_file():
        return {}
    names = _hashes(images, root)
    with np.load(file) as parts:
        return {part: int(np.isin(names, parts[part]).sum()) for part in parts.files}


def _hashes(images: LabelledImages, root: str) -> np.ndarray:
    # not below `images.root`: there, pictures of two splits may have the same names
    folder = os.path.abspath(images.root)
    paths = (os.path.normpath(os.path.join(folder, path.decode())) for path in images.paths)
    names = (os.path.relpath(path, os.path.abspath(root)) for path in paths)
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(digests), np.uint64)
