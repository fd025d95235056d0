"""Which pictures and labels a run has seen, so that later commands can tell when they differ."""

import hashlib
import os
from pathlib import Path

import numpy as np

from pumlc.vision.images import LabelledImages
from pumlc.vision.training_data import TrainingData


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


def write_seen(file: Path, data: TrainingData) -> None:
    """Keep a hash of each picture's name: 8 bytes a picture."""
    parts = {"train": _hashes(data.train)}
    if data.validation is not None:
        parts["validation"] = _hashes(data.validation)
    temporary = file.with_name(file.name + ".tmp")
    with temporary.open("wb") as stream:
        np.savez(stream, **parts)  # pyright: ignore[reportArgumentType]
    os.replace(temporary, file)


def count_seen(file: Path, images: LabelledImages) -> dict[str, int]:
    """How many pictures were in the ``train`` and in the ``validation`` part, by their names.

    Nothing for a run of a version that kept no hashes.
    """
    if not file.is_file():
        return {}
    names = _hashes(images)
    with np.load(file) as parts:
        return {part: int(np.isin(names, parts[part]).sum()) for part in parts.files}


def _hashes(images: LabelledImages) -> np.ndarray:
    # names within the data's folder, which may have been moved
    root = os.path.normpath(images.root)
    names = (os.path.normpath(os.path.join(root, path.decode())) for path in images.paths)
    digests = (
        hashlib.blake2b(os.path.relpath(name, root).encode(), digest_size=8).digest()
        for name in names
    )
    return np.frombuffer(b"".join(digests), np.uint64)
