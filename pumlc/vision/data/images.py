"""Pictures with labels, and the checks that every reader of them makes."""

import json
import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.errors import UserError
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.labels.convention import row_blocks


@dataclass(frozen=True)
class LabelledImages:
    """Pictures and their labels, in the order of the source.

    Attributes:
        source: the file the labels come from, for messages.
        root: folder that `paths` are relative to.
        paths: [N] UTF-8 bytes (one array: a million paths are no million Python objects).
        labels: [N, C] int8 in {1, 0, -1}.
        classes: C names.
        line_of: finds the line of ``source`` that lists one of `paths`, where a row is not easily
            found otherwise. Asked by an error alone: no number per row is kept.
    """

    source: str
    root: Path
    paths: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    line_of: Callable[[str], int | None] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, row: int) -> Path:
        """Path of one picture."""
        return self.root / self.paths[row].decode()

    def place(self, row: int) -> str:
        """Where the source lists a picture, for messages."""
        line = None if self.line_of is None else self.line_of(self.paths[row].decode())
        return f"row {row} of {self.source}" if line is None else f"{self.source}, line {line}"

    def subset(self, rows: np.ndarray) -> "LabelledImages":
        """The given rows, in the given order."""
        return replace(self, paths=self.paths[rows], labels=self.labels[rows])

    def counts(self) -> dict[str, int]:
        """Number of positive, negative and unknown labels."""
        return {name: int(each.sum()) for name, each in self.class_counts().items()}

    def class_counts(self) -> dict[str, np.ndarray]:
        """The same of each class, [C], without a temporary of the size of the labels."""
        names = {"positive": POSITIVE, "negative": NEGATIVE, "unknown": UNKNOWN}
        found = {name: np.zeros(self.labels.shape[1], np.int64) for name in names}
        for rows in row_blocks(self.labels.shape):
            for name, value in names.items():
                found[name] += (self.labels[rows] == value).sum(axis=0)
        return found


def require_file(file: Path, problem: str) -> None:
    """Raise UserError unless ``file`` exists; ``problem`` says what follows from that."""
    if not file.is_file():
        found = "is no file" if file.exists() else "does not exist"
        raise UserError(f"{problem}: {file} {found}")


def read_text(file: Path, problem: str) -> str:
    """The text of a file in UTF-8, without its byte order mark if it has one.

    Raises:
        UserError: the file does not exist (``problem`` says what follows from that) or is not
            UTF-8.
    """
    require_file(file, problem)
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 ({error.reason}, byte {error.start})") from None


def read_json(file: Path, problem: str) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: see `read_text`; or it is not JSON.
    """
    try:
        return json.loads(read_text(file, problem))
    except json.JSONDecodeError as error:
        raise UserError(f"{file}: not JSON ({error})") from None


def refuse_duplicates(names: Iterable[str], what: str) -> None:
    """Raise UserError if a name occurs twice; ``what`` says where and what the names are."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{what} {name!r} occurs twice")
        seen.add(name)


def checked_images(
    file: Path,
    folder: Path,
    paths: Sequence[str] | np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...],
    lines: np.ndarray | None = None,
) -> LabelledImages:
    """Pictures and labels, after a check that there are some and that every picture is a file.

    Args:
        file: where the labels come from.
        folder: what ``paths`` are relative to.
        paths: names, or already [N] UTF-8 bytes.
        lines: [N] lines of ``file``, for messages, where a row is not easily found otherwise.

    Raises:
        UserError: no picture, no class, or a missing picture (the first is named with its row or
            line).
    """
    if not len(paths):
        raise UserError(f"{file}: the split is empty")
    if not classes:
        raise UserError(f"{file}: no classes")
    encoded = paths if isinstance(paths, np.ndarray) else np.array([n.encode() for n in paths])
    missing = _missing(folder, encoded)
    if len(missing):
        row = int(missing[0])
        first = folder / encoded[row].decode()
        raise UserError(
            f"{file}: {len(missing)} of {len(paths)} pictures are missing, the first is "
            f"{f'row {row}' if lines is None else f'line {lines[row]}'}: "
            f"{first}{' is no file' if first.exists() else ''}"
        )
    return LabelledImages(str(file), folder, encoded, labels, classes)


def _missing(folder: Path, paths: np.ndarray) -> np.ndarray:
    """Ascending rows without a picture; what is no regular file is none.

    One listing per folder, because a million stat calls are slow; one folder at a time, because a
    million names are large.
    """
    rows_in: dict[str, array[int]] = {}
    for row, path in enumerate(paths):
        rows_in.setdefault(os.path.dirname(path.decode()), array("q")).append(row)
    missing: list[int] = []
    for name, rows in rows_in.items():
        here = folder / name
        present = _files(here) if here.is_dir() else set()
        missing += [r for r in rows if os.path.basename(paths[r].decode()) not in present]
    return np.sort(np.array(missing, dtype=np.int64))


def _files(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:  # the listing itself says what is a file
        return {entry.name for entry in entries if entry.is_file()}
