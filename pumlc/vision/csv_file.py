"""Reader of a CSV file of labels, streaming: a million rows are never a million dicts."""

import csv
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from pumlc.engine.config import closest
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.vision.images import LabelledImages, checked_images, refuse_duplicates, require_file

_WIDE_VALUES = {"1": POSITIVE, "0": UNKNOWN, "": UNKNOWN, "-1": NEGATIVE}


def read_csv(
    file: Path,
    root: Path,
    split: str,
    *,
    unlisted: Literal["unknown", "negative"],
    classes: Sequence[str] | None = None,
) -> LabelledImages:
    """Read one split of a CSV file of labels.

    Two forms. Long: columns ``split,image,labels`` and optionally ``negatives``, several labels
    separated by ``|``; a class in neither column is ``unlisted``. Wide: columns ``split,image`` and
    one column per class with 1 (present), -1 (absent), 0 or nothing (unknown).

    Args:
        file: the CSV file.
        root: folder that ``image`` is relative to.
        split: rows of this value of the column ``split``.
        unlisted: what the long form's silence means.
        classes: the valid class names in their order; by default all that the file mentions, in
            any split, sorted (wide form: the columns).

    Raises:
        ValueError: a missing column, picture, split or class, an unknown class, a picture listed
            twice, a label that is none; with the line and what is valid.
    """
    columns = _columns(file)
    long_form = "labels" in columns
    names, counts, width = _survey(file, columns, long_form)
    if not counts[split]:
        raise ValueError(f"{file}: no row of split {split!r}; the file has {sorted(counts)}")
    names = tuple(classes or names)
    if not long_form:
        for name in names:
            if name not in columns:
                raise ValueError(
                    f"{file}: no column for class {name!r}; {closest(name, sorted(columns))}"
                )
    labels = np.full((counts[split], len(names)), UNKNOWN, np.int8)
    if long_form and unlisted == "negative":
        labels[:] = NEGATIVE
    enter = _enter_long if long_form else _enter_wide
    column_of = {name: index for index, name in enumerate(names)}
    paths = np.empty(counts.total(), f"S{width}")
    lines = np.empty(len(paths), np.int64)
    own = array("q")
    for place, (line, row) in enumerate(_rows(file, columns)):
        paths[place], lines[place] = row[columns["image"]].encode(), line
        if row[columns["split"]] == split:
            enter(labels[len(own)], row, columns, column_of, f"{file}, line {line}")
            own.append(place)
    _refuse_repeated(file, paths, lines)
    places = np.array(own)
    return checked_images(file, root, paths[places], labels, names, lines[places])


def has_split(file: Path, split: str) -> bool:
    """Whether the CSV file has rows of ``split``."""
    columns = _columns(file)
    return any(row[columns["split"]] == split for _, row in _rows(file, columns))


def _columns(file: Path) -> dict[str, int]:
    """Name -> position of the columns."""
    require_file(file, "data.csv must name a CSV file")
    header = next(_cells(file), (1, []))[1]
    for needed in ("split", "image"):
        if needed not in header:
            raise ValueError(
                f"{file}: no column {needed!r} in the first line; got {header}, expected the "
                "header split,image,labels or split,image and one column per class"
            )
    refuse_duplicates(header, f"{file}: column")
    return {name: position for position, name in enumerate(header)}


def _cells(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not empty; blanks after a comma do not count."""
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, skipinitialspace=True)
        try:
            yield from ((reader.line_num, row) for row in reader if row)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{file}, after line {reader.line_num}: not UTF-8 ({error.reason}); save the table "
                "as CSV in UTF-8"
            ) from None
        except csv.Error as error:
            raise ValueError(f"{file}, line {reader.line_num}: not CSV ({error})") from None


def _rows(file: Path, columns: dict[str, int]) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row below the header."""
    lines = _cells(file)
    next(lines)
    for line, row in lines:
        if len(row) != len(columns):
            raise ValueError(
                f"{file}, line {line}: {len(row)} cells, the header has {len(columns)}; a cell "
                "with a comma needs quotes"
            )
        yield line, row


def _survey(
    file: Path, columns: dict[str, int], long_form: bool
) -> tuple[tuple[str, ...], Counter[str], int]:
    """All classes of the file, the rows of each split and the bytes of the longest path.

    Raises:
        ValueError: a row names no picture, or a class looks like several.
    """
    mentioned: set[str] = set()
    counts: Counter[str] = Counter()
    width = 1
    for line, row in _rows(file, columns):
        if not row[columns["image"]]:
            raise ValueError(f"{file}, line {line}: the cell image is empty")
        counts[row[columns["split"]]] += 1
        width = max(width, len(row[columns["image"]].encode()))
        if long_form:
            mentioned.update(_listed(row, columns, "labels"), _listed(row, columns, "negatives"))
    if not long_form:
        return tuple(name for name in columns if name not in ("split", "image")), counts, width
    for name in sorted(mentioned):
        parts = [part.strip() for part in name.replace(";", ",").split(",")]
        if len(parts) > 1 and mentioned.issuperset(parts):
            raise ValueError(
                f"{file}: the class {name!r} looks like the classes {parts}; several labels are "
                "separated by |"
            )
    return tuple(sorted(mentioned)), counts, width


def _refuse_repeated(file: Path, paths: np.ndarray, lines: np.ndarray) -> None:
    """Raise ValueError if a picture is listed twice, in whatever splits; names both lines."""
    order = np.argsort(paths, kind="stable")
    repeated = np.flatnonzero(paths[order[1:]] == paths[order[:-1]])
    if len(repeated):
        first, second = order[repeated[0]], order[repeated[0] + 1]
        name = bytes(paths[first]).decode()
        raise ValueError(
            f"{file}: image {name!r} is in line {lines[first]} and again in line {lines[second]}; "
            "a picture has one row, in one split"
        )


def _listed(row: list[str], columns: dict[str, int], column: str) -> list[str]:
    """The labels in a cell of the long form."""
    if column not in columns:
        return []
    return [name.strip() for name in row[columns[column]].split("|") if name.strip()]


def _enter_long(
    labels: np.ndarray,
    row: list[str],
    columns: dict[str, int],
    column_of: dict[str, int],
    where: str,
) -> None:
    """Write a row of the long form into ``labels`` [C]."""
    positives, negatives = _listed(row, columns, "labels"), _listed(row, columns, "negatives")
    for name in positives + negatives:
        if name not in column_of:
            raise ValueError(f"{where}: unknown class {name!r}; {closest(name, list(column_of))}")
    both = set(positives) & set(negatives)
    if both:
        raise ValueError(f"{where}: {sorted(both)} in labels and in negatives")
    labels[[column_of[name] for name in positives]] = POSITIVE
    labels[[column_of[name] for name in negatives]] = NEGATIVE


def _enter_wide(
    labels: np.ndarray,
    row: list[str],
    columns: dict[str, int],
    column_of: dict[str, int],
    where: str,
) -> None:
    """Write a row of the wide form into ``labels`` [C]."""
    for name, index in column_of.items():
        value = row[columns[name]].strip()
        if value not in _WIDE_VALUES:
            raise ValueError(
                f"{where}, column {name!r}: label {value!r}; valid: 1, 0 or nothing, -1"
            )
        labels[index] = _WIDE_VALUES[value]
