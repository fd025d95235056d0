"""Label noise of an image run: its settings, and the function that applies it.

The settings are importable without torch: the command line builds its help from here.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from pumlc.engine.config import require
from pumlc.errors import UserError
from pumlc.labels import (
    flip,
    mislabel,
    miss_all_but_one,
    miss_by_visibility,
    pair_flip,
    subtract_and_add,
    symmetric_noise,
)

Kind = Literal[
    "flip",
    "uniform",
    "mislabel",
    "symmetric",
    "pair-flip",
    "subtractive",
    "additive",
    "mixed",
    "single-positive",
    "hard-to-see",
]
_RATE_ALONE = ("rate",)
_TAKES: dict[str, tuple[str, ...]] = {
    "flip": ("false_negative", "false_positive"),
    "mixed": ("subtracted", "added"),
    "single-positive": (),
    "hard-to-see": ("rate", "visibility"),
}
"""The settings of a kind; all other kinds take only the rate."""


@dataclass(kw_only=True)
class NoiseConfig:
    """Wrong training labels by a protocol of the literature; docs/noise.md has their laws."""

    kind: Kind
    """flip: positives and negatives become wrong at two rates; uniform: every label at one rate;
    mislabel, symmetric, pair-flip: a positive becomes another class (mislabel: often a frequent
    one, symmetric: any, pair-flip: the next); subtractive, additive, mixed: positives are missed,
    added, or both, as shares of the positives; single-positive: a picture keeps one positive;
    hard-to-see: positives of low visibility are missed"""
    rate: float | None = None
    """all kinds but flip, mixed and single-positive: probability, or share, of wrong labels"""
    false_negative: float | None = None
    """flip: rate at which a positive becomes negative"""
    false_positive: float | None = None
    """flip: rate at which a negative becomes positive"""
    subtracted: float | None = None
    """mixed: missed positives divided by all positives"""
    added: float | None = None
    """mixed: added positives divided by all positives"""
    visibility: str | None = None
    """hard-to-see: numpy file (.npy) with a number for each training picture and class, higher if
    the class is easier to see, for example a model's scores. A sweep of heads on features does not
    need it: it takes the leave-one-out scores of heads on complete labels"""

    def __post_init__(self) -> None:
        kind = self.kind
        valid = f"one of {', '.join(get_args(Kind))}"
        require(kind in get_args(Kind), "noise.kind", kind, valid)
        taken = _TAKES.get(kind, _RATE_ALONE)
        for name in ("rate", "false_negative", "false_positive", "subtracted", "added"):
            value = getattr(self, name)
            if name not in taken:
                others = f"; {kind} takes {', '.join(taken)}" if taken else ""
                require(value is None, f"noise.{name}", value, f"left out with {kind}{others}")
                continue
            of_positives = name == "added" or kind == "additive"  # may exceed the positives
            valid = "a number of at least 0" if of_positives else "a number in [0, 1]"
            most = sys.float_info.max if of_positives else 1.0
            require(value is not None and 0 <= value <= most, f"noise.{name}", value, valid)
        require(
            self.visibility is None or "visibility" in taken,
            "noise.visibility",
            self.visibility,
            f"left out with {kind}",
        )


def add_noise(
    labels: np.ndarray, config: NoiseConfig, *, seed: int, visibility: np.ndarray | None = None
) -> np.ndarray:
    """Make some labels wrong.

    Args:
        labels: [N, C] in {1, 0, -1}; not changed.
        config: the kind of noise and its rates.
        seed: seed of the draws.
        visibility: [N, C], for hard-to-see without a file.

    Returns:
        int8 [N, C], a new matrix.

    Raises:
        UserError: the labels cannot have this noise (one class cannot become another), or the file
            of visibilities does not fit.
    """
    if config.kind == "hard-to-see" and config.visibility is not None:
        visibility = _read_visibility(Path(config.visibility), labels.shape)
    try:
        return _noise_of(config, visibility)(labels, seed=seed)
    except ValueError as error:
        raise UserError(f"noise.kind {config.kind}: {error}") from error


def _noise_of(config: NoiseConfig, visibility: np.ndarray | None) -> Callable[..., np.ndarray]:
    """The function of a kind, with all of its numbers but the seed."""

    def with_rate(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        return lambda labels, seed: function(labels, config.rate, seed=seed)

    def with_numbers(function: Callable[..., np.ndarray], **numbers: Any):
        return lambda labels, seed: function(labels, **numbers, seed=seed)

    if config.kind == "hard-to-see" and visibility is None:
        raise UserError("noise.visibility must be a file with noise.kind hard-to-see, got None")
    return {
        "flip": with_numbers(
            flip, false_negative=config.false_negative, false_positive=config.false_positive
        ),
        "uniform": with_numbers(flip, false_negative=config.rate, false_positive=config.rate),
        "mislabel": with_rate(mislabel),
        "symmetric": with_rate(symmetric_noise),
        "pair-flip": with_rate(pair_flip),
        "subtractive": with_numbers(subtract_and_add, subtracted=config.rate),
        "additive": with_numbers(subtract_and_add, added=config.rate),
        "mixed": with_numbers(subtract_and_add, subtracted=config.subtracted, added=config.added),
        "single-positive": with_numbers(miss_all_but_one),
        "hard-to-see": with_numbers(miss_by_visibility, visibility=visibility, rate=config.rate),
    }[config.kind]


def _read_visibility(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read the numbers of noise.visibility, [N, C]."""
    try:
        found = np.load(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"noise.visibility {file}: no such file") from error
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"noise.visibility {file}: not a numpy array: {error}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu" or found.shape != shape:
        got = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "an archive"
        pictures, classes = shape
        raise UserError(
            f"noise.visibility {file}: expected a number for each of {pictures} pictures and "
            f"{classes} classes, got {got}"
        )
    if np.isnan(found).any():
        raise UserError(f"noise.visibility {file}: it has nan; every entry must be a number")
    return found
