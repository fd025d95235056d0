"""Labels on which people have decided, so that an audit does not ask about them again."""

from pathlib import Path

import numpy as np

from pumlc.audit.corrections import decisions_file, read_corrections
from pumlc.vision.data.images import LabelledImages


def decided_labels(images: LabelledImages, file: Path | None) -> np.ndarray | None:
    """Which labels people have decided on, bool [N, C]; see `decided_pairs`."""
    pairs = decided_pairs(images, file)
    if pairs is None:
        return None
    decided = np.zeros(images.matrix.shape, bool)
    for row, column in pairs:
        decided[row, column] = True
    return decided


def decided_pairs(images: LabelledImages, file: Path | None) -> list[tuple[int, int]] | None:
    """The labels on which people have decided, as rows and columns.

    Decisions about other pictures are ignored, for example those of another part.

    Args:
        images: pictures and classes.
        file: a file of `pumlc.audit.read_corrections`; None: the one beside the label file.

    Returns:
        Rows and columns, or None if there is no file of decisions.

    Raises:
        UserError: ``file`` does not exist, or is not a file of decisions.
    """
    if file is None:
        file = decisions_file(images.source)
        if not file.is_file():
            return None
    pairs = {correction.key for correction in read_corrections([file])}
    column_of = {name: column for column, name in enumerate(images.classes)}
    wanted = {image.encode() for image, _ in pairs}
    row_of = {path: row for row, path in enumerate(images.paths.tolist()) if path in wanted}
    found = ((row_of.get(image.encode()), column_of.get(name)) for image, name in pairs)
    return [(row, column) for row, column in found if row is not None and column is not None]
