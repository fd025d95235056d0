"""Heads for classes by their names: what a run has learned, in a file of its folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pumlc.engine.checkpoint import load_weights, save_weights
from pumlc.engine.run import entry_of
from pumlc.errors import UserError
from pumlc.estimators.named_classes import NamedClasses
from pumlc.vision.models.class_vectors import text_vectors, vectors_checksum

FILE = "class_texts.safetensors"
_PARTS = ("coefficients", "intercept", "mean", "covariance", "weights")


@dataclass(frozen=True)
class ClassTexts:
    """The map from features to vectors of class names, and the encoder of the names.

    Attributes:
        named: the map.
        threshold: the probability from which a class without pictures is called present.
        source: the encoder of names: ``pip``, a folder or a file.
        checksum: of the encoder's files.
    """

    named: NamedClasses
    threshold: float
    source: str
    checksum: str

    def heads(
        self, names: Sequence[str], source: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients [F, K] and intercept [K] of classes by their names.

        Args:
            names: K names.
            source: where the encoder is now; None: where it was.

        Raises:
            UserError: the encoder is missing or is another one.
        """
        place = source or self.source
        if vectors_checksum(place) != self.checksum:
            raise UserError(
                f"model.label_vectors {place}: not the encoder of class names that the run was "
                f"trained with ({self.source}): its files differ; name a copy of that one"
            )
        vectors = text_vectors(place, names)
        if vectors.shape[1] != len(self.named.intercept):  # a damaged run
            raise UserError(f"{FILE}: not for vectors of {vectors.shape[1]} numbers")
        return self.named.heads(vectors)


def write_class_texts(run: Path, texts: ClassTexts) -> None:
    """Write what a run has learned of names into its folder."""
    parts = {name: np.asarray(getattr(texts.named, name), np.float64) for name in _PARTS}
    entry = {"threshold": texts.threshold, "source": texts.source, "encoder": texts.checksum}
    save_weights(run / FILE, {k: torch.from_numpy(v) for k, v in parts.items()}, entry)


def read_class_texts(run: Path, width: int) -> ClassTexts:
    """Read what a run has learned of names.

    Args:
        run: the run folder.
        width: F, the length of its features.

    Raises:
        UserError: the run finds no classes by name, or the file is damaged.
    """
    path = run / FILE
    if not path.is_file():
        raise UserError(
            f"the classes of {run} are fixed: it was not trained to find classes by their names; "
            "see heads open_vocabulary (recipe frozen_open_vocabulary)"
        )
    parts, entry = load_weights(path), entry_of(path)
    size = parts["intercept"].numel() if "intercept" in parts else 0
    shapes = {
        **{"coefficients": (width, size), "intercept": (size,), "mean": (size,)},
        **{"covariance": (size, size), "weights": (3,)},
    }
    if {name: tuple(value.shape) for name, value in parts.items()} != shapes:
        raise UserError(f"{path}: not the map of features of {width} numbers to class names")
    if not all(torch.isfinite(value).all() for value in parts.values()):
        raise UserError(f"{path}: some of its numbers are not finite")
    named = NamedClasses(**{name: value.double().numpy() for name, value in parts.items()})
    return ClassTexts(named, *_checked(entry, path))


def _checked(entry: dict[str, Any], path: Path) -> tuple[float, str, str]:
    """Threshold, source and checksum; the file may come from anyone."""
    threshold, source, checksum = [entry.get(name) for name in ("threshold", "source", "encoder")]
    if not isinstance(source, str) or not isinstance(checksum, str):
        raise UserError(f"{path}: it does not say which encoder made the vectors of names")
    if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise UserError(f"{path}: its threshold must be a number in [0, 1], got {threshold!r:.80}")
    return float(threshold), source, checksum
