"""Reader of a CSV file of labels, row by row, so that a million rows need little memory."""

import contextlib
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from pumlc.engine.config import require
from pumlc.errors import UserError, closest, warn_user
from pumlc.files import read_cells
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.vision.data.images import LabelledImages, checked_images, refuse_duplicates, require_file
from pumlc.vision.data.label_rows import LabelRows
from pumlc.vision.data.readers.data_set import DataSet, UnlistedOptions

SPLITS = ("train", "test", "val")
_LONG_FORM = ("split", "image", "labels", "negatives")
_WIDE_VALUES = {"1": POSITIVE, "0": UNKNOWN, "": UNKNOWN, "-1": NEGATIVE}


@dataclass(kw_only=True)
class CsvOptions(UnlistedOptions):
    """Settings of a CSV file."""

    csv: str | None = field(default=None, metadata={"place": True})
    """the CSV file, for name csv"""

    def __post_init__(self) -> None:
        valid = "a file exactly when data.name is csv"
        require(self.csv is not None, "data.csv", self.csv, valid)


@dataclass(frozen=True)
class CsvReader:
    """Reads the splits of one file."""

    options: ClassVar[type] = CsvOptions

    def splits(self, root: Path, options: CsvOptions) -> tuple[str, ...]:
        file = Path(options.csv or "")
        columns = _columns(file)
        there = {row[columns["split"]] for _, row in _rows(file, columns)}
        return tuple(split for split in SPLITS if split in there)

    def read(
        self, root: Path, split: str, options: CsvOptions, classes: tuple[str, ...] | None = None
    ) -> LabelledImages:
        return read_csv(
            Path(options.csv or ""),
            root,
            split,
            unlisted=options.unlisted_test if split == "test" else options.unlisted,
            unlisted_wide=options.unlisted,
            classes=classes,
        )


def read_csv(
    file: Path,
    root: Path,
    split: str,
    *,
    unlisted: Literal["unknown", "negative"],
    unlisted_wide: Literal["unknown", "negative"] = "unknown",
    classes: Sequence[str] | None = None,
) -> LabelledImages:
    """Read one split of a CSV file of labels.

    There are two forms. The long form has the columns ``split,image,labels`` and optionally
    ``negatives``, with several labels separated by ``|``; a class in neither column is
    ``unlisted``. The wide form has the columns ``split,image`` and one column per class with 1
    (present), -1 (absent), 0 or an empty cell (``unlisted_wide``).

    Args:
        file: the CSV file.
        root: folder to which ``image`` is relative.
        split: "train", "test" or "val": rows with this value in the column ``split``.
        unlisted: what an unlisted class means in the long form.
        unlisted_wide: what 0 or an empty cell means in the wide form.
        classes: the valid class names in their order; by default all that the file mentions in any
            split, sorted (wide form: the columns).

    Raises:
        UserError: a column, picture, split or class is missing or unknown, a picture is listed
            twice in any spelling, or a cell is not a label; the message has the line and what is
            valid.
    """
    columns = _columns(file)
    long_form = "labels" in columns
    names, counts, width = _survey(file, columns, long_form)
    if not counts[split]:
        raise UserError(f"{file}: no row of split {split!r}; the file has {sorted(counts)}")
    names = tuple(classes or names)
    if not long_form:
        _require_columns(file, columns, names)
    silent = NEGATIVE if (unlisted if long_form else unlisted_wide) == "negative" else UNKNOWN
    labels = LabelRows(counts[split], len(names), silent)
    entries = _entries_long if long_form else _entries_wide
    column_of = {name: index for index, name in enumerate(names)}
    paths = np.empty(counts.total(), f"S{width}")
    lines = np.empty(len(paths), np.int32)
    own = array("q")
    for place, (line, row) in enumerate(_rows(file, columns)):
        paths[place], lines[place] = row[columns["image"]].encode(), line
        if row[columns["split"]] == split:
            labels.add(*entries(row, columns, column_of, f"{file}, line {line}"))
            own.append(place)
    _refuse_repeated(file, root, paths, lines)
    places = np.array(own)
    found = labels.finished()
    images = checked_images(file, root, paths[places], found, names, lines[places])
    return replace(images, line_of=partial(_line_of, file))


def _columns(file: Path) -> dict[str, int]:
    """Name -> position of the columns."""
    require_file(file, "data.csv must name a CSV file")
    header = [name.strip() for name in next(read_cells(file), (1, []))[1]]
    for needed in ("split", "image"):
        if needed not in header:
            raise UserError(
                f"{file}: no column {needed!r} in the first line; got {header}, expected the "
                "header split,image,labels or split,image and one column per class. Files without "
                f"splits and other formats are read with data.labels {file} in place of data.csv"
            )
    refuse_duplicates(header, f"{file}: column")
    if "" in header:
        raise UserError(
            f"{file}: column {header.index('') + 1} has no name; is it an index (pandas: "
            "to_csv(index=False))?"
        )
    if "labels" in header:
        for name in header:
            if name not in _LONG_FORM:
                raise UserError(
                    f"{file}: unknown column {name!r} beside the column 'labels'; "
                    f"{closest(name, _LONG_FORM)}"
                )
    return {name: position for position, name in enumerate(header)}


def _rows(file: Path, columns: dict[str, int]) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row below the header."""
    lines = read_cells(file)
    next(lines)
    for line, row in lines:
        if len(row) != len(columns):
            raise UserError(
                f"{file}, line {line}: {len(row)} cells, the header has {len(columns)}; a cell "
                "with a comma needs quotes"
            )
        yield line, row


def _survey(
    file: Path, columns: dict[str, int], long_form: bool
) -> tuple[tuple[str, ...], Counter[str], int]:
    """All classes of the file, the number of rows of each split, and the longest path in bytes.

    Raises:
        UserError: a row has a split that is not in `SPLITS` or names no picture, or a class looks
            like several.
    """
    mentioned: set[str] = set()
    counts: Counter[str] = Counter()
    width, has_bar = 1, False
    for line, row in _rows(file, columns):
        if not row[columns["image"]]:
            raise UserError(f"{file}, line {line}: the cell image is empty")
        split = row[columns["split"]]
        if split not in SPLITS:
            raise UserError(
                f"{file}, line {line}: unknown split {split!r}; valid: {', '.join(SPLITS)}"
            )
        counts[split] += 1
        width = max(width, len(row[columns["image"]].encode()))
        if long_form:
            mentioned.update(_listed(row, columns, "labels"), _listed(row, columns, "negatives"))
            has_bar = has_bar or any("|" in cell for cell in row)
    if not long_form:
        return tuple(name for name in columns if name not in ("split", "image")), counts, width
    _check_separator(file, mentioned, has_bar)
    return tuple(sorted(mentioned)), counts, width


def _check_separator(file: Path, classes: set[str], has_bar: bool) -> None:
    """Look for class names that are probably several classes, joined by a comma or a semicolon.

    If some cell separates labels by a bar, this is only a warning.

    Raises:
        UserError: there is such a name, and no cell of the file has a bar.
    """
    for name in sorted(classes):
        parts = [part.strip() for part in name.replace(";", ",").split(",")]
        if len(parts) == 1 or not classes.issuperset(parts):
            continue
        if not has_bar:
            raise UserError(
                f"{file}: the class {name!r} looks like the classes {parts}; several labels are "
                f"separated by |. If it is one class, write a bar after it: '{name}|'"
            )
        warn_user(
            f"{file}: {name!r} is one class, beside the classes {parts}; several labels are "
            "separated by |",
        )


def _require_columns(file: Path, columns: dict[str, int], names: tuple[str, ...]) -> None:
    for name in names:
        if name not in columns:
            raise UserError(
                f"{file}: no column for class {name!r}; {closest(name, sorted(columns))}"
            )


def _refuse_repeated(file: Path, root: Path, paths: np.ndarray, lines: np.ndarray) -> None:
    """Raise UserError if a picture is listed twice, in any splits; the message names both lines.

    Two spellings of a path are one picture. Full paths are compared by hash, since a million of
    them would be the largest thing in memory; only paths with equal hashes are compared in full.
    """
    full = _full_path(root)
    names = (path.decode() for path in paths)
    hashes = np.fromiter((hash(full(name)) for name in names), np.int64, len(paths))
    order = np.argsort(hashes, kind="stable")
    repeated = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    pairs = zip(order[repeated].tolist(), order[repeated + 1].tolist(), strict=True)
    for first, second in sorted(pairs, key=lambda pair: pair[1]):
        name, again = bytes(paths[first]).decode(), bytes(paths[second]).decode()
        if full(name) == full(again):
            raise UserError(
                f"{file}: image {name!r} is in line {lines[first]} and again in line "
                f"{lines[second]}{'' if name == again else f' as {again!r}'}; a picture has one "
                "row, in one split"
            )


def _full_path(root: Path) -> Callable[[str], str]:
    """A function that gives all spellings of a path one form; it asks the disk once per folder."""
    folder_of = lru_cache(maxsize=10_000)(lambda folder: os.path.realpath(root / folder))

    def full(image: str) -> str:
        folder, name = os.path.split(image)
        return os.path.join(folder_of(folder), name)

    return full


def _line_of(file: Path, image: str) -> int | None:
    """The line of a picture; None if the file has changed and no longer lists it."""
    with contextlib.suppress(UserError, OSError):
        columns = _columns(file)
        for line, row in _rows(file, columns):
            if row[columns["image"]] == image:
                return line
    return None


def _listed(row: list[str], columns: dict[str, int], column: str) -> list[str]:
    """The labels in a cell of the long form."""
    if column not in columns:
        return []
    return [name.strip() for name in row[columns[column]].split("|") if name.strip()]


def _entries_long(
    row: list[str], columns: dict[str, int], column_of: dict[str, int], where: str
) -> tuple[list[int], list[int]]:
    """The present and the absent classes of a row of the long form, by number."""
    positives, negatives = _listed(row, columns, "labels"), _listed(row, columns, "negatives")
    for name in positives + negatives:
        if name not in column_of:
            raise UserError(f"{where}: unknown class {name!r}; {closest(name, list(column_of))}")
    both = set(positives) & set(negatives)
    if both:
        raise UserError(f"{where}: {sorted(both)} in labels and in negatives")
    return [column_of[name] for name in positives], [column_of[name] for name in negatives]


def _entries_wide(
    row: list[str], columns: dict[str, int], column_of: dict[str, int], where: str
) -> tuple[list[int], list[int]]:
    """The same of a row of the wide form."""
    found: dict[int, list[int]] = {POSITIVE: [], UNKNOWN: [], NEGATIVE: []}
    for name, index in column_of.items():
        value = row[columns[name]].strip()
        label = _WIDE_VALUES.get(value)
        if label is None:
            label = _number(value, f"{where}, column {name!r}")
        found[label].append(index)
    return found[POSITIVE], found[NEGATIVE]


def _number(value: str, where: str) -> int:
    """A label in another spelling: pandas writes 1.0 as soon as a cell of the column is empty."""
    with contextlib.suppress(ValueError):
        if float(value) in (POSITIVE, UNKNOWN, NEGATIVE):
            return int(float(value))
    raise UserError(
        f"{where}: label {value!r}; valid: 1, 0 or nothing, -1 (names of classes go into a column "
        "'labels')"
    )


DATA_SETS = {"csv": DataSet(CsvReader(), held_out="val")}
