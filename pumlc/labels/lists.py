"""Positive-only label lists in the text format of SPLC: a picture and its class indices a line."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pumlc.labels.convention import POSITIVE, UNKNOWN


def read_positive_list(path: str | Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read ``NAME,INDEX INDEX ...`` lines; what is not listed is UNKNOWN.

    The lists that SPLC and Hill ship (COCO with 75 %, 40 % or one of the positives left, NUS-WIDE)
    take every other label as negative: the ``unknown="negative"`` of a loss, not of the data.

    Shapes: -> names [N] and labels int8 [N, num_classes] in {1, 0}, in the order of the file.
    Raises: ValueError naming file and line for no comma or several (a name has none), a missing
    name, an index that is no integer in [0, num_classes), or a name listed twice; for a file that
    is empty or not UTF-8.
    Source: Zhang et al., "Simple and Robust Loss Design for Multi-Label Learning with Missing
    Labels", arXiv 2112.07368.
    """
    names, rows, columns = [], [], []
    for row, (_, name, indices) in enumerate(positive_list(path, num_classes)):
        names.append(name)
        rows += [row] * len(indices)
        columns += indices
    labels = np.full((len(names), num_classes), UNKNOWN, dtype=np.int8)
    labels[rows, columns] = POSITIVE
    return np.array(names), labels


def positive_list(path: str | Path, num_classes: int) -> Iterator[tuple[int, str, list[int]]]:
    """Line number, name and class indices of every picture of such a list, without a matrix.

    Raises: ValueError as ``read_positive_list``, on the way.
    """
    names: set[str] = set()
    for number, line in _lines(path):
        name, *indices = (part.strip() for part in line.split(","))
        if not name or len(indices) != 1:
            raise ValueError(
                f"{path}, line {number}: {line.strip()!r} is not NAME,INDEX ... with one comma"
            )
        if name in names:
            raise ValueError(f"{path}, line {number}: {name} is listed already")
        names.add(name)
        for index in indices[0].split():
            if not index.isdecimal() or int(index) >= num_classes:
                raise ValueError(
                    f"{path}, line {number}: {index!r} is no class index in [0, {num_classes})"
                )
        yield number, name, [int(index) for index in indices[0].split()]
    if not names:
        raise ValueError(f"{path} lists no picture")


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are not blank; a byte order mark is none of the text."""
    with open(path, encoding="utf-8-sig") as lines:
        try:
            yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 ({error.reason})") from None
