"""The readable pictures of the parts of an audit, and their features."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from pumlc.progress import ShowProgress
from pumlc.vision.audit.parts import Part
from pumlc.vision.config import VisionConfig
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.frozen.features import frozen_network, pooled_features


def progress_of(part: Part, progress: ShowProgress | None) -> Callable[[int, int], None] | None:
    """What shows the progress of one part."""
    return None if progress is None else partial(progress, f"pictures of {part.name}")


def readable_parts(parts: Sequence[Part], bad: Sequence[BadPictures]) -> list[Part]:
    """The parts without the pictures that could not be read."""
    return [part.subset(each.rest()) for part, each in zip(parts, bad, strict=True)]


def part_features(
    parts: Sequence[Part],
    bad: Sequence[BadPictures],
    config: VisionConfig,
    progress: ShowProgress | None,
    *,
    batch_size: int,
    workers: int | None,
) -> list[np.ndarray]:
    """Pooled features of the readable pictures, by the network that the run started from.

    Args:
        parts: the parts.
        bad: of each part, the pictures that could not be read; filled here.
        config: the settings of the run.
        progress: called while features are computed.
        batch_size, workers: see `pooled_features`.
    """
    network = frozen_network(config.data, config.model)
    return [
        pooled_features(
            network,
            part.images,
            batch_size=batch_size,
            workers=workers,
            progress=progress_of(part, progress),
            bad=each,
        )[each.rest()]
        for part, each in zip(parts, bad, strict=True)
    ]
