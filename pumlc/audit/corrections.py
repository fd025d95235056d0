"""What people decided about labels: a CSV file of the review page, read and combined."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pumlc.errors import UserError, closest
from pumlc.files import long_cells, read_text, write_csv

COLUMNS = ("image", "class", "given", "corrected")
GIVEN_STATES = ("present", "absent", "unknown", "uncertain")
DECISIONS = ("present", "absent", "unknown")
_QUOTED = ("'", "=", "+", "-", "@", "\t", "\r")  # a file for spreadsheets puts a ' before these


@dataclass(frozen=True)
class Correction:
    """A decision of a person about a label.

    Attributes:
        image: the picture or document, as the label file spells it.
        class_name: the class.
        given: what the label file said when the person looked.
        corrected: what the person said: present, absent, or unknown for "cannot say".
        place: file and line, for messages.
    """

    image: str
    class_name: str
    given: str
    corrected: str
    place: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What the decision is about."""
        return self.image, self.class_name


class Combined(NamedTuple):
    """What `combine_corrections` returns.

    Attributes:
        agreed: one correction for each label that all answers agree on, in the order of the files.
        contradictions: for each other label all of its answers.
    """

    agreed: list[Correction]
    contradictions: list[list[Correction]]


class Applied(NamedTuple):
    """What became of corrections of a label file.

    Attributes:
        changed: those that change a label.
        confirmed: those that the file agrees with already.
        overtaken: those about a known label that is neither what the person saw nor what they said,
            since the file was changed meanwhile. The file keeps its label.
        missing: those about a picture or class that the file does not have.
    """

    changed: list[Correction]
    confirmed: list[Correction]
    overtaken: list[Correction]
    missing: list[Correction]

    @staticmethod
    def nothing() -> "Applied":
        """Before the first correction."""
        return Applied([], [], [], [])

    def judge(self, correction: Correction, state: str | None) -> bool:
        """Sort a correction into one of the lists, by what the file says now.

        Args:
            correction: what a person said.
            state: what the file says now; None: it has no such label.

        Returns:
            True if the label is to be changed.
        """
        if state is None:
            self.missing.append(correction)
        elif state == correction.corrected:
            self.confirmed.append(correction)
        elif state in (correction.given, "unknown", "uncertain"):
            self.changed.append(correction)
            return True
        else:
            self.overtaken.append(correction)
        return False

    def require_some(self, labels: Path, images: Iterable[str]) -> None:
        """Refuse corrections of another file.

        Raises:
            UserError: no correction is about a label of this one.
        """
        if self.missing and not (self.changed or self.confirmed or self.overtaken):
            first, there = self.missing[0], list(images)
            has_image = first.image in there
            near = closest(first.image, there[:1000])
            raise UserError(
                f"{first.place}: no correction is about a name and class of {labels}; the first "
                f"is {first.class_name!r} of {first.image!r}; "
                + ("the picture is there, the class is not" if has_image else near)
            )


def read_corrections(paths: Iterable[Path | str]) -> list[Correction]:
    """All decisions of all files, in their order.

    A file has the columns image, class, given and corrected in any order; others are ignored. So
    suspects.csv with a column ``corrected`` is such a file. Cells are separated by commas,
    semicolons or tabs. A row whose ``corrected`` is empty is
    no decision. A ``'`` that keeps a spreadsheet from running a name is taken off.

    Args:
        paths: CSV files in UTF-8.

    Raises:
        UserError: a file is not there, is no CSV, lacks a column, or holds another state.
    """
    found: list[Correction] = []
    for path in paths:
        found += _read_file(Path(path))
    return found


def combine_corrections(corrections: Iterable[Correction]) -> Combined:
    """Bring the answers of several people together.

    Two answers to one label that differ are a contradiction; so are "cannot say" and "present".

    Example:
        >>> said = [Correction("a.jpg", "cat", "absent", "present")]
        >>> combine_corrections([*said, *said]).agreed == said
        True
        >>> other = Correction("a.jpg", "cat", "absent", "absent")
        >>> len(combine_corrections([*said, other]).contradictions)
        1
    """
    answers: dict[tuple[str, str], list[Correction]] = {}
    for correction in corrections:
        answers.setdefault(correction.key, []).append(correction)
    agreed, contradictions = [], []
    for same in answers.values():
        if len({correction.corrected for correction in same}) == 1:
            agreed.append(same[0])
        else:
            contradictions.append(same)
    return Combined(agreed, contradictions)


def decisions_file(labels: Path | str) -> Path:
    """Where the decisions about a label file, or folder, are kept: beside it."""
    path = Path(labels)
    return path.with_name(f"{path.name}.decisions.csv")


def write_corrections(path: Path | str, corrections: Iterable[Correction]) -> None:
    """Write a file that `read_corrections` reads."""
    rows = ((c.image, c.class_name, c.given, c.corrected) for c in corrections)
    write_csv(path, COLUMNS, ([_guarded(cell) for cell in row] for row in rows))


def _guarded(cell: str) -> str:
    # a cell that begins with a ' gets one more, since the reader takes one off
    return f"'{cell}" if cell.startswith("'") else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_QUOTED) else cell


def _read_file(path: Path) -> list[Correction]:
    rows = _rows(path)
    header = [name.strip() for name in rows[0][1]] if rows else []
    for name in COLUMNS:
        if name not in header:
            raise UserError(
                f"{path}: no column {name!r} in the first line; got {header}, expected the header "
                f"{','.join(COLUMNS)}"
            )
    column = {name: header.index(name) for name in COLUMNS}
    found = []
    for line, row in rows[1:]:
        place = f"{path}, line {line}"
        if len(row) != len(header):
            raise UserError(f"{place}: {len(row)} cells, the header has {len(header)}")
        cells = {name: row[column[name]] for name in COLUMNS}
        if cells["corrected"].strip():
            found.append(_correction(cells, place))
    return found


def _correction(cells: Mapping[str, str], place: str) -> Correction:
    states = {}
    for name, valid in (("given", GIVEN_STATES), ("corrected", DECISIONS)):
        states[name] = cells[name].strip().lower()
        if states[name] not in valid:
            raise UserError(f"{place}: {name} is {cells[name]!r}; {closest(cells[name], valid)}")
    return Correction(_unguarded(cells["image"]), _unguarded(cells["class"]), **states, place=place)


def _rows(path: Path) -> Sequence[tuple[int, list[str]]]:
    """Line and cells of every row; a name may hold a line break, so a row may take many lines."""
    rows, line = [], 1
    text = read_text(path)
    header = text.partition("\n")[0]
    # spreadsheets of many countries save a file with commas as one with semicolons
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        with long_cells():
            for row in reader:
                if row:
                    rows.append((line, row))
                line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}, line {line}: not CSV ({error}); is a quote not closed?"
        ) from error
    return rows
