"""Positive-only label lists in the text format of SPLC: a line is a picture and its classes."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np

from pumlc.errors import UserError
from pumlc.files import read_text
from pumlc.labels.convention import POSITIVE, UNKNOWN

_MOST_DIGITS = 9  # of a class index; Python refuses to read thousands of them


def read_positive_list(path: str | Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read ``NAME,INDEX INDEX ...`` lines; what is not listed is UNKNOWN.

    SPLC and Hill ship such lists (COCO with 75 %, 40 % or one of the positives left, NUS-WIDE) and
    take every other label as negative. Here that is ``unknown="negative"`` of a loss; the data say
    UNKNOWN.

    Args:
        path: the file, UTF-8.
        num_classes: C.

    Returns:
        names [N] and labels int8 [N, C] in {1, 0}, in the order of the file.

    Raises:
        UserError: the file does not exist, lists nothing or is not UTF-8. Or, with file and line:
            a line has not exactly one comma (a name has none), a name is missing or listed twice,
            an index is no integer in [0, C).

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
    """The pictures of such a list one by one, without a matrix.

    Args:
        path: the file.
        num_classes: C.

    Yields:
        line number, name and class indices of a picture.

    Raises:
        UserError: see `read_positive_list`; at the line that is wrong.
    """
    names: set[str] = set()
    for number, line in enumerate(StringIO(read_text(path), newline=None), 1):
        if not line.strip():
            continue
        name, *indices = (part.strip() for part in line.split(","))
        if not name or len(indices) != 1:
            raise UserError(
                f"{path}, line {number}: {line.strip()!r} is not NAME,INDEX ... with one comma"
            )
        if name in names:
            raise UserError(f"{path}, line {number}: {name} is listed already")
        names.add(name)
        for index in indices[0].split():
            digits = index.isascii() and index.isdecimal() and len(index) <= _MOST_DIGITS
            if not digits or int(index) >= num_classes:
                raise UserError(
                    f"{path}, line {number}: {index[:40]!r} is no class index in [0, {num_classes})"
                )
        yield number, name, [int(index) for index in indices[0].split()]
    if not names:
        raise UserError(f"{path} lists no picture")
