"""Labels on which people have decided, so that an audit does not ask about them again."""

from pathlib import Path

import numpy as np

from pumlc.audit.corrections import decisions_file, read_corrections
from pumlc.vision.data.images import LabelledImages


def decided_labels(images: LabelledImages, file: Path | None) -> np.ndarray | None:
    """Which labels people have decided on.

    Decisions about other pictures are ignored, for example those of another part.

    Args:
        images: pictures and classes.
        file: a file of `pumlc.audit.read_corrections`; None: the one beside the label file.

    Returns:
        bool [N, C], or None if there is no file of decisions.

    Raises:
        UserError: ``file`` does not exist, or is not a file of decisions.
    """
    if file is None:
        file = decisions_file(images.source)
        if not file.is_file():
            return None
    decided = np.zeros(images.matrix.shape, bool)
    pairs = {correction.key for correction in read_corrections([file])}
    column_of = {name: column for column, name in enumerate(images.classes)}
    wanted = {image.encode() for image, _ in pairs}
    row_of = {path: row for row, path in enumerate(images.paths.tolist()) if path in wanted}
    for image, name in pairs:
        row, column = row_of.get(image.encode()), column_of.get(name)
        if row is not None and column is not None:
            decided[row, column] = True
    return decided
