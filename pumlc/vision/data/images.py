"""Pictures with labels, and the checks that every reader of them makes."""

import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pumlc.errors import UserError
from pumlc.files import read_text
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN, LabelMatrix, SparseLabels, dense
from pumlc.labels.convention import row_blocks
from pumlc.labels.sparse import label_row, label_rows
from pumlc.vision.data.stored_pictures import StoredPictures

MAX_PIXELS = 100_000_000
BAD_SHARE = 0.1


@dataclass(frozen=True)
class LabelledImages:
    """Pictures and their labels, in the order of the source. Nothing can be changed in place.

    Attributes:
        source: the file of the labels, for messages.
        root: folder to which `paths` are relative.
        paths: [N] UTF-8 bytes, read-only (one array, since a million objects would be large).
        matrix: [N, C] labels in {1, 0, -1}: int8, read-only, or sparse where they are very many.
        classes: C names.
        line_of: finds the line of ``source`` that lists one of `paths`; None: a row number is clear
            enough. Only errors use it, so no line number is stored per row.
        max_pixels: pictures with more pixels are not decoded.
        groups: [N] numbers, equal for pictures that must stay together; None: there are no groups.
        bad_pictures: whether a picture that cannot be read is an error or is skipped.
        bad_share: the largest share of pictures that are skipped; more are an error.
        removed: those of `paths` that a run has skipped and that the source no longer has.
        stored: where the pictures are that are inside of tar or Parquet files; None: all are files.
    """

    source: str
    root: Path
    paths: np.ndarray
    matrix: LabelMatrix
    classes: tuple[str, ...]
    line_of: Callable[[str], int | None] | None = None
    max_pixels: int = MAX_PIXELS
    groups: np.ndarray | None = None
    bad_pictures: Literal["error", "skip"] = "error"
    bad_share: float = BAD_SHARE
    removed: frozenset[bytes] = frozenset()
    stored: StoredPictures | None = None

    def __post_init__(self) -> None:
        for name in ("paths", "matrix"):
            if isinstance(array := getattr(self, name), np.ndarray):  # sparse ones are read-only
                view = array.view()  # shares the memory: no copy
                view.flags.writeable = False
                object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labels(self) -> np.ndarray:
        """[N, C] int8, dense: for a part that is scored, whose logits are four times as large.

        A matrix that is sparse is made dense in each call; training takes `row_labels`.
        """
        return dense(self.matrix)

    def row_labels(self, row: int) -> np.ndarray:
        """[C] int8 of one picture."""
        return label_row(self.matrix, row)

    def path(self, row: int) -> Path:
        """Path of one picture."""
        return self.root / self.paths[row].decode()

    def content(self, row: int) -> Path | bytes:
        """What a picture is decoded from: its path, or its bytes where no file has them alone.

        Raises:
            UserError: see `StoredPictures.read`.
        """
        if self.stored is None or not self.stored.has(row):
            return self.path(row)
        return self.stored.read(row)

    def place(self, row: int) -> str:
        """The place where the source lists a picture, for messages."""
        line = None if self.line_of is None else self.line_of(self.paths[row].decode())
        return f"row {row} of {self.source}" if line is None else f"{self.source}, line {line}"

    def may_skip(self, row: int) -> bool:
        """Whether a run may continue without a picture that cannot be read."""
        return self.bad_pictures == "skip" or self.paths[row] in self.removed

    def subset(self, rows: np.ndarray) -> "LabelledImages":
        """The given rows, in the given order."""
        groups = None if self.groups is None else self.groups[rows]
        matrix = label_rows(self.matrix, rows)
        stored = None if self.stored is None else self.stored.subset(rows)
        return replace(self, paths=self.paths[rows], matrix=matrix, groups=groups, stored=stored)

    def counts(self) -> dict[str, int]:
        """Number of positive, negative and unknown labels."""
        return {state: int(each.sum()) for state, each in self.class_counts().items()}

    def class_counts(self) -> dict[str, np.ndarray]:
        """The same for each class, [C], without a temporary array as large as the labels."""
        if isinstance(self.matrix, SparseLabels):
            return self.matrix.counts()
        values = {"positive": POSITIVE, "negative": NEGATIVE, "unknown": UNKNOWN}
        counts = {state: np.zeros(self.matrix.shape[1], np.int64) for state in values}
        for rows in row_blocks(self.matrix.shape):
            for state, value in values.items():
                counts[state] += (self.matrix[rows] == value).sum(axis=0)
        return counts


def require_file(file: Path, problem: str) -> None:
    """Raise UserError unless ``file`` exists; ``problem`` begins the message."""
    if not os.path.isfile(file):  # unlike Path.is_file, it is False for a name that is too long
        state = "is not a file" if os.path.exists(file) else "does not exist"
        raise UserError(f"{problem}: {file} {state}")


def stripped_lines(file: Path, problem: str) -> list[str]:
    """The lines of a UTF-8 text file without surrounding blanks; blank lines are left out.

    Args:
        file: the file.
        problem: the beginning of the message if the file does not exist.

    Raises:
        UserError: the file does not exist or is not UTF-8.
    """
    require_file(file, problem)
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]


def names_in(folder: Path) -> set[str]:
    """Names in a folder; none if there is no such folder."""
    return set(os.listdir(folder)) if os.path.isdir(folder) else set()


def refuse_duplicates(names: Iterable[str], what: str) -> None:
    """Raise UserError if a name occurs twice; ``what`` says where, and what the names mean."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{what} {name!r} occurs twice")
        seen.add(name)


def checked_images(
    file: Path,
    folder: Path,
    paths: Sequence[str] | np.ndarray,
    labels: LabelMatrix,
    classes: tuple[str, ...],
    lines: np.ndarray | None = None,
) -> LabelledImages:
    """Pictures and labels, after a check that there are some and that every picture is a file.

    Args:
        file: the file of the labels.
        folder: the folder to which ``paths`` are relative.
        paths: names, or already [N] UTF-8 bytes.
        labels: [N, C] in {1, 0, -1}, int8 or sparse.
        classes: C names.
        lines: [N] lines of ``file``, for messages; None: they name the row.

    Raises:
        UserError: there is no picture or no class, or a picture is missing (the message names the
            first one with its row or line).
    """
    if not len(paths):
        raise UserError(f"{file}: the split is empty")
    if not classes:
        raise UserError(f"{file}: no classes")
    encoded = paths if isinstance(paths, np.ndarray) else _encoded(file, paths)
    missing = _missing(folder, encoded)
    if len(missing):
        if not folder.exists():
            raise UserError(
                f"{folder}: no such folder; the pictures of {file} are to be below it (data.root)"
            )
        row = int(missing[0])
        first = folder / encoded[row].decode()
        raise UserError(
            f"{file}: {len(missing)} of {len(paths)} pictures are missing, the first is "
            f"{f'row {row}' if lines is None else f'line {lines[row]}'}: "
            f"{first}{' is not a file' if os.path.exists(first) else ''}"
        )
    return LabelledImages(str(file), folder, encoded, labels, classes)


def _encoded(file: Path, paths: Sequence[str]) -> np.ndarray:
    """The paths as [N] UTF-8 bytes; refuses names of a JSON file that no file can have."""
    names = []
    for row, path in enumerate(paths):
        try:
            names.append(path.encode())
        except UnicodeEncodeError as error:
            raise UserError(f"{file}: row {row}: {path!r} is no name of a picture") from error
        if "\0" in path:
            raise UserError(f"{file}: row {row}: {path!r} is no name of a picture")
    return np.array(names)


def _missing(folder: Path, paths: np.ndarray) -> np.ndarray:
    """The rows whose path is not a regular file, ascending.

    It lists each folder once, because a million stat calls are slow, and one folder at a time,
    because a million names are large.
    """
    rows_in: dict[str, array[int]] = {}
    for row, path in enumerate(paths):
        rows_in.setdefault(os.path.dirname(path.decode()), array("q")).append(row)
    missing: list[int] = []
    for name, rows in rows_in.items():
        here = folder / name
        present = _files(here) if os.path.isdir(here) else set()
        missing += [r for r in rows if os.path.basename(paths[r].decode()) not in present]
    return np.sort(np.array(missing, dtype=np.int64))


def _files(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:  # the listing says which entries are files
        return {entry.name for entry in entries if entry.is_file()}
