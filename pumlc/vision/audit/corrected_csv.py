"""Apply corrections to a CSV file of labels; all other cells and the order of rows stay."""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from pumlc.audit.corrections import Applied, Correction
from pumlc.errors import UserError
from pumlc.files import complete_file, read_cells
from pumlc.labels.cells import literal_list
from pumlc.vision.data.formats.csv_table import header_of

Unlisted = Literal["unknown", "negative"]
_SHOWN = 51  # rows that show what kind of cells a file has
_LONG_FORM = {"split", "image", "labels", "negatives"}
_WIDE = {"present": "1", "absent": "-1", "unknown": "0"}
_WIDE_TWO_STATES = {"present": "1", "absent": "0"}


@dataclass(frozen=True)
class _Form:
    """How a file spells the state of a label."""

    header: list[str]
    state: Callable[[list[str], str], str]
    put: Callable[[list[str], str, str], None]
    classes: set[str]


def is_own_csv(labels: Path) -> bool:
    """Whether a file has one of the two forms that `correct_csv` can change cell by cell.

    Lists of Python under ``labels`` are another form.
    """
    if labels.suffix.lower() != ".csv":
        return False
    header = header_of(labels)
    if header is None or header.delimiter != ",":
        return False
    rows = [cells for _, cells in islice(read_cells(labels), _SHOWN)]
    names = [name.strip() for name in rows[0]] if rows else []
    own = {"split", "image"} <= set(names)
    if "labels" not in names:
        return own
    column = names.index("labels")
    cells = [row[column].strip() for row in rows[1:] if len(row) > column]
    has_lists = any(literal_list(cell) is not None for cell in cells)
    return own and set(names) <= _LONG_FORM and not has_lists


def correct_csv(
    labels: Path, corrections: Sequence[Correction], out: Path, *, unlisted: Unlisted | None = None
) -> Applied:
    """Write ``labels`` with the corrections to ``out``, in the same form.

    The forms are those of `pumlc.vision.data.readers.csv_file.read_csv`. In the long form a class
    that becomes absent is written into the column ``negatives``, which is added if need be. If an
    unlisted class is absent in this file, it is only removed from ``labels``.

    Args:
        labels: the CSV file.
        corrections: one for each label, without contradictions.
        out: the file to write.
        unlisted: what it means in this file that a row does not list a class; in the form with one
            column per class, what 0 or an empty cell means. By default the state that people saw
            in the audit.

    Raises:
        UserError: the file has neither form; a correction is "unknown" and the file does not have
            that state; no correction is about a picture of the file; or people saw unlisted labels
            as absent and as unknown.
    """
    lines = list(read_cells(labels))
    header = [name.strip() for name in lines[0][1]] if lines else []
    if "image" not in header:
        raise UserError(f"{labels}: no column 'image' in the first line; got {header}")
    if unlisted is None:
        unlisted = _meaning_of_silence(labels, header, lines, corrections)
    form = _form(header, lines, unlisted)
    _refuse_unsayable(labels, corrections, form, unlisted)
    by_image: dict[str, list[Correction]] = {}
    for correction in corrections:
        by_image.setdefault(correction.image, []).append(correction)
    applied = Applied.nothing()
    rows = []
    for line, row in lines[1:]:
        if len(row) != len(header):
            raise UserError(
                f"{labels}, line {line}: {len(row)} cells, but the header has {len(header)}"
            )
        row = row + [""] * (len(form.header) - len(header))
        for correction in by_image.pop(row[header.index("image")], ()):
            _apply(correction, row, form, applied)
        rows.append(row)
    for left in by_image.values():
        applied.missing.extend(left)
    applied.require_some(labels, (row[header.index("image")] for row in rows))
    _write(out, form.header, rows)
    return applied


def _form(header: list[str], lines: Sequence[tuple[int, list[str]]], unlisted: Unlisted) -> _Form:
    return _long(header, lines, unlisted) if "labels" in header else _wide(header, unlisted)


def _meaning_of_silence(
    labels: Path,
    header: list[str],
    lines: Sequence[tuple[int, list[str]]],
    corrections: Sequence[Correction],
) -> Unlisted:
    """The state in which people saw the labels that the file does not list."""
    form, image = _form(header, lines, "unknown"), header.index("image")
    row_of = {row[image]: row for _, row in lines[1:] if len(row) == len(header)}
    seen: dict[str, Correction] = {}
    for correction in corrections:
        row, name = row_of.get(correction.image), correction.class_name
        if row is None or name not in form.classes:
            continue
        if correction.given in ("absent", "unknown") and form.state(row, name) == "unknown":
            seen.setdefault(correction.given, correction)
    if len(seen) == 2:
        raise UserError(
            f"unlisted: of two labels that {labels} does not list, people saw one as absent "
            f"({seen['absent'].place}) and one as unknown ({seen['unknown'].place}). Say what "
            "unlisted labels mean: negative or unknown"
        )
    return "negative" if "absent" in seen else "unknown"


def _apply(correction: Correction, row: list[str], form: _Form, applied: Applied) -> None:
    name = correction.class_name
    state = form.state(row, name) if name in form.classes else None
    if applied.judge(correction, state):
        form.put(row, name, correction.corrected)


def _long(header: list[str], lines: Sequence[tuple[int, list[str]]], unlisted: Unlisted) -> _Form:
    """The long form: one cell of present classes, and possibly one of absent classes."""
    silent = "absent" if unlisted == "negative" else "unknown"
    full = header if "negatives" in header or silent == "absent" else [*header, "negatives"]
    place = {name: full.index(name) for name in ("labels", "negatives") if name in full}
    states = {"labels": "present", "negatives": "absent"}

    def listed(row: list[str], column: str) -> list[str]:
        if place[column] >= len(row):
            return []
        return [name.strip() for name in row[place[column]].split("|") if name.strip()]

    def state(row: list[str], name: str) -> str:
        return next((states[c] for c in place if name in listed(row, c)), silent)

    def put(row: list[str], name: str, said: str) -> None:
        for column in place:
            names = [other for other in listed(row, column) if other != name]
            if states[column] == said and said != silent:
                names.append(name)
            # a bar after a single name says that its comma separates nothing
            bar = "|" if len(names) == 1 and ("," in names[0] or ";" in names[0]) else ""
            row[place[column]] = "|".join(names) + bar

    classes = {
        name
        for _, row in lines[1:]
        if len(row) == len(header)
        for column in place
        if column in header
        for name in listed(row, column)
    }
    return _Form(full, state, put, classes)


def _wide(header: list[str], unlisted: Unlisted) -> _Form:
    """The wide form: one column per class."""
    values = _WIDE if unlisted == "unknown" else _WIDE_TWO_STATES
    column = {name: place for place, name in enumerate(header) if name not in ("split", "image")}

    def state(row: list[str], name: str) -> str:
        try:
            value = float(row[column[name]].strip() or 0)
        except ValueError:
            value = 0  # the reader refuses a cell that is not a label
        silent = "unknown" if unlisted == "unknown" else "absent"
        return {1: "present", -1: "absent"}.get(int(value), silent)

    def put(row: list[str], name: str, said: str) -> None:
        row[column[name]] = values[said]

    return _Form(header, state, put, set(column))


def _refuse_unsayable(
    labels: Path, corrections: Sequence[Correction], form: _Form, unlisted: Unlisted
) -> None:
    if unlisted == "unknown":
        return
    for correction in corrections:
        if correction.corrected == "unknown":
            raise UserError(
                f"{correction.place}: {correction.class_name!r} of {correction.image} should "
                f"become unknown, but {labels} has no unknown labels if data.unlisted is negative. "
                "Write the file with one column per class (1 present, -1 absent, 0 unknown), or "
                "list the absent classes in a column 'negatives', and leave out data.unlisted"
            )


def _write(out: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with complete_file(out) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
