"""Label a training split by a positive-only list."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from pumlc.errors import UserError
from pumlc.labels import POSITIVE, UNKNOWN, LabelMatrix, SparseLabels
from pumlc.labels.lists import positive_list
from pumlc.vision.data.images import LabelledImages, require_file


def keep_listed(images: LabelledImages, file: Path, root: Path) -> tuple[LabelMatrix, np.ndarray]:
    """Keep the positives that a list has for each picture, and make every other label unknown.

    A name in the list is the path of a picture below ``root``. If no picture has that path, it is
    the file name of a picture, which no other picture may share. A positive of the list that is
    truly negative is kept: it is an error of the annotator. A picture that is not listed loses all
    of its labels.

    Args:
        images: pictures with all of their labels.
        file: the list, see `pumlc.labels.read_positive_list`.
        root: folder of the data set.

    Returns:
        [N, C] in {1, 0}, sparse where the pictures' labels are, and the ascending rows of the
        pictures that are listed.

    Raises:
        UserError: the list is missing or malformed, a name fits no picture or several, a picture
            is listed twice, or a listed class has an unknown true label.
    """
    require_file(file, "data.positive_list must name a list of pictures")
    find = _finder(images, file, root)
    columns_of: dict[int, list[int]] = {}
    lines = np.zeros(len(images), np.int64)  # the line that lists a row; 0: none
    strange: list[str] = []
    for line, name, columns in positive_list(file, len(images.classes)):
        row = find(line, name)
        if row is None:
            strange.append(f"{name!r} in line {line}")
            continue
        if lines[row]:
            raise UserError(
                f"{file}, line {line}: picture {name!r} is listed already, in line {lines[row]}"
            )
        truth = images.row_labels(row)
        for column in columns:
            if truth[column] == UNKNOWN:
                raise UserError(
                    f"{file}, line {line}: picture {name!r} is listed with class {column} "
                    f"({images.classes[column]}), whose label is unknown in {images.source}; "
                    "valid: classes with a known label (voc: all, with data.difficult negative)"
                )
        columns_of[row] = columns
        lines[row] = line
    if strange:
        first = images.path(0)
        raise UserError(
            f"{file}: {len(strange)} of its names are not pictures of the training split of "
            f"{images.source}, the first is {strange[0]}; valid: names like "
            f"{os.path.relpath(first, root)!r} or {first.name!r}"
        )
    return _positives(columns_of, images.matrix), np.flatnonzero(lines)


def _positives(columns_of: dict[int, list[int]], like: LabelMatrix) -> LabelMatrix:
    """Labels that are POSITIVE in the columns of each row, in the form of others."""
    rows = np.repeat(list(columns_of), [len(each) for each in columns_of.values()])
    columns = np.array([column for each in columns_of.values() for column in each], np.int64)
    if isinstance(like, SparseLabels):
        at = np.unique(np.stack([rows, columns]), axis=1)
        stored = csr_array(
            (np.full(len(at[0]), POSITIVE, np.int8), (at[0], at[1])), shape=like.shape
        )
        return SparseLabels(stored.sorted_indices(), np.full(len(like), UNKNOWN, np.int8))
    labels = np.full(like.shape, UNKNOWN, np.int8)
    labels[rows.astype(np.int64), columns] = POSITIVE
    return labels


def _finder(images: LabelledImages, file: Path, root: Path) -> Callable[[int, str], int | None]:
    """A function that finds the row of the picture that a line names; None: there is none."""
    folder = os.path.relpath(images.root, root)
    paths = [os.path.normpath(os.path.join(folder, path.decode())) for path in images.paths]
    row_of = {path: row for row, path in enumerate(paths)}
    first: dict[str, int] = {}
    second: dict[str, int] = {}
    for row, path in enumerate(paths):
        name = os.path.basename(path)
        (second if name in first else first)[name] = row

    def find(line: int, name: str) -> int | None:
        row = row_of.get(os.path.normpath(name))
        if row is None and name in second:
            raise UserError(
                f"{file}, line {line}: several pictures have the file name {name!r}; write a path "
                f"below {root}, such as {paths[first[name]]!r} or {paths[second[name]]!r}"
            )
        return first.get(name) if row is None else row

    return find
