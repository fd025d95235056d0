"""Suspects of an audit and predictions as pre-annotations of Label Studio, for a person to decide.

In a task every class of the picture is open: what is suggested is chosen already, and what the
person leaves unchosen is absent. So the tasks, once finished, are labels like any others.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pumlc.errors import UserError, closest
from pumlc.files import read_cells, write_json
from pumlc.vision.data.formats.csv_table import unescaped
from pumlc.vision.data.formats.label_studio import suggested_task
from pumlc.vision.data.label_table import (
    ABSENT_CODE,
    PRESENT_CODE,
    UNKNOWN_CODE,
    LabelTable,
)
from pumlc.vision.data.table_builder import TableBuilder

_SUSPECTS = ("image", "class", "given", "suspicion")
_PREDICTIONS = ("path", "label", "score", "present")


@dataclass
class _Suggested:
    """What is suggested of one picture.

    Attributes:
        codes: class -> code of present or absent.
        score: the largest suspicion, or probability of what is present; None: there is none.
        notes: what a person reads beside the picture.
    """

    codes: dict[str, int] = field(default_factory=dict)
    score: float | None = None
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, code: int, score: float | None, note: str = "") -> None:
        self.codes[name] = code
        if score is not None:
            self.score = max(score, self.score or 0.0)
        self.notes += [note] if note else []


def is_predictions(path: Path) -> bool:
    """Whether a file is one of ``pumlc predict``."""
    return path.suffix.lower() == ".csv" and path.is_file() and _header(path) == _PREDICTIONS


def predictions_table(path: Path) -> LabelTable:
    """The pictures and classes of a file of predictions, every label of them unknown.

    Raises:
        UserError: see `write_suggestions`.
    """
    found = _read(path)
    classes = sorted({name for suggested in found.values() for name in suggested.codes})
    builder = TableBuilder(path, "predictions", classes)
    for image in found:
        builder.add(image, (), rest=UNKNOWN_CODE)
    return builder.table()


def write_suggestions(table: LabelTable, file: Path, out: Path, *, prefix: str = "") -> int:
    """Write a task for each picture of a file of suspects or predictions, in the file's order.

    Args:
        table: the labels that the file is about. What it does not suggest stays as it is there.
        file: ``suspects.csv`` of an audit, or the CSV file of ``pumlc predict``.
        out: the JSON file.
        prefix: what Label Studio needs before a path, as ``/data/local-files/?d=``.

    Returns:
        the number of tasks.

    Raises:
        UserError: the file is neither, or names a picture or class that the table has not.
    """
    row_of = {path: row for row, path in enumerate(table.paths)}
    column_of = {name: column for column, name in enumerate(table.classes)}
    tasks = []
    for image, suggested in _read(file).items():
        if image not in row_of:
            raise UserError(f"{file}: {image!r} is not a picture of {table.source}")
        codes = table.row_codes(row_of[image])
        for name, code in suggested.codes.items():
            if name not in column_of:
                nearest = closest(name, column_of)
                raise UserError(f"{file}: {table.source} has no class {name!r}; {nearest}")
            codes[column_of[name]] = code
        names = [table.classes[column] for column in (codes == PRESENT_CODE).nonzero()[0].tolist()]
        split = None if table.splits is None else table.splits[row_of[image]]
        tasks.append(
            suggested_task(
                prefix + image,
                names,
                score=suggested.score,
                note="; ".join(suggested.notes),
                classes=table.classes if not tasks else None,
                split=split,
            )
        )
    if not tasks:
        raise UserError(f"{file}: there is nothing to suggest in it")
    write_json(out, tasks)
    return len(tasks)


def _header(path: Path) -> tuple[str, ...]:
    return tuple(next(read_cells(path), (1, []))[1])


def _read(path: Path) -> dict[str, _Suggested]:
    """Picture -> what is suggested, in the order of the file."""
    header = _header(path)
    if header != _PREDICTIONS and not set(_SUSPECTS) <= set(header):
        raise UserError(
            f"{path}: neither suspects ({', '.join(_SUSPECTS)}) nor predictions "
            f"({', '.join(_PREDICTIONS)}); its columns are {', '.join(header)}"
        )
    found: dict[str, _Suggested] = {}
    lines = _prediction_lines if header == _PREDICTIONS else _suspect_lines
    for image, *said in lines(path, header):
        found.setdefault(image, _Suggested()).add(*said)  # pyright: ignore[reportArgumentType]
    return found


def _rows(path: Path, header: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    lines = read_cells(path)
    next(lines, None)
    for line, cells in lines:
        if len(cells) != len(header):
            raise UserError(f"{path}, line {line}: {len(cells)} cells, expected {len(header)}")
        yield line, dict(zip(header, map(unescaped, cells), strict=True))


def _prediction_lines(path: Path, header: tuple[str, ...]) -> Iterator[tuple[object, ...]]:
    codes = {"1": PRESENT_CODE, "0": ABSENT_CODE}
    for line, row in _rows(path, header):
        if row["present"] not in codes:
            raise UserError(f"{path}, line {line}: present is {row['present']!r}; valid: 1, 0")
        score = _number(path, line, row["score"])
        is_present = row["present"] == "1"
        yield row["path"], row["label"], codes[row["present"]], score if is_present else None


def _suspect_lines(path: Path, header: tuple[str, ...]) -> Iterator[tuple[object, ...]]:
    # what the model believes: the contrary of what was given
    codes = {"present": ABSENT_CODE, "absent": PRESENT_CODE, "unknown": PRESENT_CODE}
    for line, row in _rows(path, header):
        if row["given"] not in codes:
            valid = ", ".join(codes)
            raise UserError(f"{path}, line {line}: given is {row['given']!r}; valid: {valid}")
        score = _number(path, line, row["suspicion"])
        note = f"{row['class']}: given {row['given']}, suspicion {score:.2f}"
        yield row["image"], row["class"], codes[row["given"]], score, note


def _number(path: Path, line: int, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= 1:
        raise UserError(f"{path}, line {line}: {text!r} is not a number between 0 and 1")
    return number
