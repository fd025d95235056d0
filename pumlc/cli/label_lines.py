"""A file with a class a line, in the place of the classes of an image run."""

from pathlib import Path
from typing import TYPE_CHECKING

from pumlc.errors import UserError

if TYPE_CHECKING:
    from pumlc.vision.predictor import VisionPredictor


def use_labels(predictor: "VisionPredictor", file: Path, label_vectors: str | None) -> str:
    """Let a predictor choose among the classes of a file.

    Args:
        predictor: of an image run.
        file: a class a line.
        label_vectors: where the encoder of class names is, if it has moved.

    Returns:
        a line that says how many classes are found by their names.

    Raises:
        UserError: the file cannot be read, or the run cannot do it; see `use_labels` of the
            predictor.
    """
    from pumlc.text.data.readers import read_labels

    labels = read_labels(file)
    try:
        new = predictor.use_labels(labels, label_vectors=label_vectors)
    except UserError as error:
        raise UserError(f"--labels {file}: {error}") from error
    named = f"labels: {len(labels) - new} of the run, {new} new ones by their names"
    return f"{named}, with the threshold of classes withheld in training" if new else named
